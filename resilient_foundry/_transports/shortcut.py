"""The shortcut of a call to which nothing happens: what both drivers have in common. See `call.Shortcut`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from resilient_foundry._transports.body import Body
from resilient_foundry._transports.limits import LiveLimits
from resilient_foundry.call import (
    ATTEMPT,
    IDLE,
    NO_OPTIONS,
    NO_SHORTCUT,
    OPTIONS,
    SHARED,
    Shared,
    Taken,
    Traced,
    options_of,
    with_extensions,
)
from resilient_foundry.events import Attempt, AttemptStarted, Ledger
from resilient_foundry.origin import origin

if TYPE_CHECKING:
    from resilient_foundry._transports.driver import World
    from resilient_foundry._transports.library import Library

Steps = tuple[Callable[[Any], Any], ...]
"""What the policies of a stack that has a shortcut do there, outermost first."""
_THE_FIRST = AttemptStarted(1)
_GOOD, _NOT_GOOD = 200, 300
"""RFC 9110 section 15.3."""


class Passing:
    """A call on its shortcut; what policies see of it is `Passage`."""

    library: Library
    world: World
    clock: Callable[[], float]
    began: float
    ledger: Ledger
    request: Any
    shared: Shared
    given: list[Taken]
    """What policies took, outermost first."""
    attempt: Attempt
    live: LiveLimits | None
    options = NO_OPTIONS
    origin = ""
    limits: Mapping[str, float | None] | None = None
    idle: float | None = None
    budget: Any = None
    traced: Traced | None = None
    told: tuple[Any, BaseException | None] | None = None
    """What came of the first attempt, answer or error, where it went out before the flows were asked."""

    def set_out(self, request: Any, steps: Steps) -> bool:
        """Whether the call may take its shortcut; then every policy has taken what it needs."""
        extensions = request.extensions
        if SHARED in extensions or type(request.stream) is not self.library.byte_stream:
            return False  # a further leg, or a body that may not be sent twice
        shared = self.shared = extensions[SHARED] = Shared()
        shared.under_way = True
        self.request = request
        self.given = []
        try:
            if OPTIONS in extensions:
                self.options = options_of(request)
            self.origin = origin(request.url)
            for take in steps:
                one = take(self)
                if one is NO_SHORTCUT:
                    self.put_back()
                    return False
                if one is not None:
                    self.given.append(one)
        except Exception:  # noqa: BLE001 - the flows meet it as well, and raise it where it belongs
            self.put_back()
            return False
        except BaseException:
            self.put_back()
            raise
        return True

    def put_back(self) -> None:
        """The shortcut is not taken; the flows begin from nothing."""
        shared = self.shared
        shared.under_way, shared.until, shared.with_body, shared.limit = False, None, False, None
        for one in self.given:
            one.put_back()

    def taken_by(self, policy: object) -> Any:
        """What this policy took."""
        return next(one for one in self.given if one.policy is policy)

    def outgoing(self, request: Any) -> Any:
        """The first attempt of a call on its shortcut, with its limits; as `begin`."""
        ledger, shared, extensions = self.ledger, self.shared, request.extensions
        if self.budget is not None:
            self.budget.called(self.origin, self.began)
        is_heard = bool(ledger.listeners) or ledger.log_from <= logging.DEBUG
        headers = None if self.traced is None else self.traced.open(ledger, self.began, self.world.wall())
        self.attempt = attempt = Attempt(1, 0.0)
        ledger.attempts.append(attempt)
        if is_heard:
            ledger.tell(_THE_FIRST, self.began)
        else:
            ledger.is_unwritten = True
        until, idle = shared.until, self.idle
        if until is None and self.limits is None:
            self.live = None
            return request if headers is None else with_extensions(request, dict(extensions), headers)
        limits: Mapping[str, float | None] = self.limits or extensions.get("timeout") or {}
        body = limits.get("read")
        if idle is not None and body is not None and idle > body:
            body = idle
        self.live = LiveLimits(limits, until=until, body=body, clock=self.clock)
        changed = {**extensions, "timeout": self.live}
        if self.limits is not None:
            changed[IDLE] = idle
        return with_extensions(request, changed, headers)

    def good(self, response: Any, *, holds_streams: bool) -> Body | None:
        """The body of a good answer, on which the call has nothing more to do; None where the flows are to be asked."""
        status, shared = response.status_code, self.shared
        if not _GOOD <= status < _NOT_GOOD:
            return None
        now, until = self.clock(), shared.until
        if until is not None and now > until:
            return None
        if holds_streams and announces_a_stream(response.headers.raw):
            return None
        attempt, live, given = self.attempt, self.live, self.given
        covered = until is not None and shared.with_body
        if live is not None:
            if until is not None and covered and (live.body is None or until - now < live.body):
                covered = not announces_a_stream(response.headers.raw)  # else it makes no difference yet
            live.head_arrived(deadline_covers_the_body=covered)
        attempt.status, attempt.answered_after = status, now - self.began
        extensions = response.extensions
        extensions[ATTEMPT], extensions["resilience"] = attempt, self.ledger
        body = Body(self.library, self.ledger, attempt, self.began, self.clock)
        body.live = live
        if covered:
            body.until, body.response = until, response
        if given:
            given.reverse()  # whoever stands nearest to the network hears first
            body.response = response
        body.taken = given
        shared.under_way, shared.until, shared.with_body = False, None, False
        return body

    def tell_the_flows(self, response: Any, error: BaseException | None) -> Shared:
        """The first attempt is not all there is to the call: the flows are asked, and told of it as it was."""
        self.told = response, error
        shared = self.shared
        shared.until, shared.with_body = None, False
        shared.passage = self
        return shared

    def recall(self) -> Any:
        """What came of the attempt that went out before the flows were asked; raises what it met."""
        assert self.told is not None  # noqa: S101 - the caller has looked
        (response, error), self.told, self.shared.passage = self.told, None, None
        if error is None:
            return response
        try:
            raise error
        finally:
            del error  # it holds this frame


def announces_a_stream(headers: list[tuple[bytes, bytes]]) -> bool:
    """As `sse.announced_by`, of a head as it came over the wire."""
    for name, value in headers:
        if name.lower() == b"content-type":
            return b"text/event-stream" in value.lower()
    return False
