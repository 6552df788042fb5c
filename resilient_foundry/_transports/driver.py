"""What the two drivers have in common: one call, its ledger, its answers, and all questions that need no waiting."""

from __future__ import annotations

import copy
import logging
import math
import random
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, Self

import stamina

from resilient_foundry import sse
from resilient_foundry._transports.body import AsyncBody, Body, SyncBody, lost, settle_the_lost
from resilient_foundry._transports.cookies import Cookies
from resilient_foundry._transports.library import Library, described
from resilient_foundry._transports.limits import LiveLimits
from resilient_foundry._transports.logs import is_enabled_for, log
from resilient_foundry._transports.rewind import rewind_of
from resilient_foundry.call import (
    ATTEMPT,
    IDLE,
    MORE_LEGS,
    NO_OPTIONS,
    NO_SHORTCUT,
    OPTIONS,
    SHARED,
    Shared,
    Taken,
    Traced,
    belongs_to,
    options_of,
    shared_of,
    with_extensions,
)
from resilient_foundry.effects import (
    Begin,
    Draw,
    Effect,
    Fail,
    Give,
    History,
    Listen,
    Now,
    Pace,
    Pour,
    Remember,
    Repeat,
    Respond,
    RetryMode,
    Tell,
    Today,
    Together,
    Watch,
)
from resilient_foundry.errors import ResilienceError
from resilient_foundry.events import Attempt, AttemptEnded, AttemptStarted, Event, Ledger, Outcome, TimedOut
from resilient_foundry.origin import origin

_BETWEEN_LEGS = 1.0
"""Seconds after a deadline from which on what looks like a leg is another call: clients send legs one after the other,
and whoever goes on by hand later means something new."""
_PHASES = {
    "ConnectTimeout": "connect",
    "PoolTimeout": "pool",
    "WriteTimeout": "write",
    "ReadTimeout": "read",
}


ASKED_MOST = frozenset({Now, Tell, Watch, History, RetryMode, Remember, Draw, Today, Listen, Pace})
"""What is answered at once. A call asks for some ten of these: they are not to be looked for among all others first."""


@dataclass(frozen=True, slots=True)
class World:
    """Time and chance, as they are; tests hand in others."""

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    draw: Callable[[], float] = random.random  # jitter needs no secrecy
    has_shortcuts: bool = True
    """Whether calls to which nothing happens may be made without asking the flows; what comes of them is the same."""
    blocking: Any = None
    """What makes a synchronous driver where waiting blocks no thread, as on a virtual clock; `SyncDriver` otherwise."""


WORLD: ContextVar[World] = ContextVar("world", default=World())  # noqa: B039 - it is frozen
"""The world of the transports that are made here."""


Steps = tuple[Callable[[Any], Any], ...]
"""What the policies of a stack that has a shortcut do there, outermost first."""
_THE_FIRST = AttemptStarted(1)
_GOOD, _NOT_GOOD, _FAILURES = 200, 300, 400
"""RFC 9110 section 15."""


class _Nobody:
    """A call of no transport of ours."""

    closed = 0
    has_failed = False

    def look_above(self, request: object) -> None:
        """Nobody is there to be warned."""


_NOBODY = _Nobody()


class Driver:
    """What both colours share: one call, its ledger, and the bodies that it opened."""

    opened: list[Any]
    cookies: Cookies | None = None
    side_by_side = False

    # What is known of a call on its shortcut; see `Passage`.
    options = NO_OPTIONS
    origin = ""
    limits: Mapping[str, float | None] | None = None
    idle: float | None = None
    budget: Any = None
    traced: Traced | None = None
    told: tuple[Any, BaseException | None] | None = None
    """What came of the first attempt, answer or error, where it went out before the flows were asked."""

    def __init__(
        self,
        library: Library,
        inner: Any,  # the wrapped transport
        world: World,
        owner: Any = _NOBODY,  # our own transport, which counts how often it was closed
    ) -> None:
        self.owner = owner
        self._closed_before = owner.closed
        self.library = library
        self.inner = inner
        self.world = world
        self.clock = world.monotonic
        self.began = began = world.monotonic()
        self.ledger = ledger = Ledger(began)
        ledger.log = log
        ledger.log_from = logging.DEBUG if is_enabled_for(logging.DEBUG) else logging.INFO
        if lost:
            settle_the_lost()

    def closing_into(self, opened: list[Any]) -> Self:  # SyncBody or AsyncBody
        """This driver, but for where it notes the answers that it opens."""
        other = copy.copy(self)
        other.opened = opened
        return other

    def tell(self, event: Event) -> None:
        self.ledger.tell(event, self.clock())

    def at_once(self, effect: Effect) -> Any:
        """Answer what needs no waiting."""
        match effect:
            case Now():
                return self.clock()
            case Tell():
                return self.tell(effect.event)
            case Watch():
                return self.stream_of(effect.response).body.watch(effect.watcher)
            case History():
                return self.ledger
            case RetryMode():
                return stamina.is_active(), stamina.is_testing()
            case Remember():
                return rewind_of(effect.request, self.library)
            case Draw():
                return self.world.draw()
            case Today():
                return self.world.wall()
            case Listen():
                return self.ledger.listen(effect.listener)
            case Pace():
                return self.stream_of(effect.response).body.keep_pace(effect.moment, effect.longest)
            case Respond():
                return self.library.Response(effect.status, headers=dict(effect.headers), content=effect.content)
            case Fail():
                raise getattr(self.library, effect.error)(effect.message)
            case Together() | Begin():
                raise TypeError(
                    "a synchronous call does one thing at a time, and a policy such as Hedge wants several: "
                    "use an AsyncClient, or leave that policy out"
                )
            case Give():
                raise TypeError("a flow gives a chunk, which only the story of a body may do: see flow.pour")
            case _:
                raise TypeError(f"a flow asked for {effect!r}, which no driver answers")

    def set_out(self, request: Any, steps: Steps) -> bool:
        """Whether the call may take its shortcut; then every policy has taken what it needs."""
        extensions = request.extensions
        if SHARED in extensions or type(request.stream) is not self.library.byte_stream:
            return False  # a further leg, or a body that may not be sent twice
        shared = self.shared = extensions[SHARED] = Shared()
        shared.under_way = True
        if OPTIONS in extensions:
            self.options = options_of(request)
        self.request = request
        self.origin = origin(request.url)
        self.given: list[Taken] = []
        try:
            for take in steps:
                one = take(self)
                if one is NO_SHORTCUT:
                    self.put_back()
                    return False
                if one is not None:
                    self.given.append(one)
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
        limits = self.limits
        if until is None and limits is None:
            self.live = None
            return request if headers is None else with_extensions(request, dict(extensions), headers)
        if limits is None:
            limits = extensions.get("timeout") or {}
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

    def enter(self, request: Any) -> Shared | None:
        """Begin a leg of the call; None where a stack further out has begun it."""
        self.shared = shared = shared_of(request)  # on the caller's own, from which the client makes the next leg
        if shared.under_way:
            return None
        shared.under_way = True
        carried = shared.carried
        late = carried is not None and carried + _BETWEEN_LEGS <= self.clock()
        if late or shared.answered is None or shared.answered == _looks(request):
            carried, shared.retries, shared.counted = None, 0, None  # no leg, but another call
        shared.until, shared.moment = carried, math.inf
        shared.carried = shared.answered = None
        return shared

    def exit(self, request: Any, leg: Shared | None, response: Any) -> None:
        """End the leg that `enter` began; `response` is None where it got no answer."""
        self.owner.has_failed = response is None or response.status_code >= _FAILURES
        if leg is not None:
            leg.under_way, leg.until = False, None
            if response is not None and response.status_code in MORE_LEGS:
                leg.answered = _looks(request)

    def ended_at(self, attempt: Attempt) -> float:
        """The monotonic moment at which an attempt ended."""
        return self.ledger.started + attempt.started + (attempt.ended_after or 0.0)

    def hand_over(self, request: Any, response: Any) -> Any:
        """Our stream under the answer that the caller gets, which carries the ledger, and the cookies of the others."""
        kept = self.stream_of(response)
        response.extensions["resilience"] = self.ledger
        if self.cookies is not None:
            self.cookies.keep(request, response)
        return kept

    def begin(self, request: Any) -> tuple[Any, Attempt, LiveLimits | None, float]:
        """Write an attempt into the ledger, and the limits on the request; raises where the transport was closed."""
        if self.owner.closed != self._closed_before:  # a connection opened now would be closed by nobody
            raise RuntimeError("Cannot send a request, as the client has been closed.")
        attempt = Attempt(number=len(self.ledger.attempts) + 1, started=self.clock() - self.ledger.started)
        self.ledger.attempts.append(attempt)
        self.tell(AttemptStarted(attempt.number))
        extensions: Mapping[str, Any] = request.extensions
        limits: Mapping[str, float | None] = extensions.get("timeout") or {}
        until, idle = self.shared.until, extensions.get(IDLE)
        if until is None and idle is None:
            return request, attempt, None, self.clock()
        read = limits.get("read")
        live = LiveLimits(limits, until=until, body=read if idle is None else _longer(read, idle), clock=self.clock)
        fresh = with_extensions(request, {**extensions, "timeout": live})
        return fresh, attempt, live, self.clock()

    def failed(self, attempt: Attempt, began: float, error: BaseException) -> None:
        """No answer came."""
        attempt.ended_after = self.clock() - began
        attempt.error = type(error).__name__
        if not isinstance(error, Exception):
            attempt.outcome = Outcome.CANCELLED
        elif self.library.is_timeout(error):
            attempt.outcome = Outcome.STALLED
            self.tell(TimedOut(phase=_PHASES.get(attempt.error, "read"), limit=None))
        else:
            attempt.outcome = Outcome.BROKEN
        self.tell(AttemptEnded(attempt.number, None, attempt.outcome, attempt.ended_after, 0, attempt.error))

    def answered(self, request: Any, response: Any, attempt: Attempt, live: LiveLimits | None, began: float) -> Body:
        """The head of an answer is there."""
        if "set-cookie" in response.headers:
            self.cookies = self.cookies or Cookies()
            self.cookies.bake(request, response)
        shared = self.shared
        covered = shared.with_body and not sse.announced_by(response.headers)
        if live is not None:
            live.head_arrived(deadline_covers_the_body=covered)
        attempt.status = response.status_code
        attempt.answered_after = self.clock() - began
        belongs_to(response, attempt)
        body = Body(self.library, self.ledger, attempt, began, self.clock)
        body.until = shared.until if covered else None
        body.live = live
        return body

    def stream_of(self, response: Any) -> Any:
        """Our stream under a response, SyncBody or AsyncBody. One that a policy made itself gets one now."""
        if isinstance(response, (SyncBody, AsyncBody)):  # what a story pulls from
            return response
        stream = getattr(response, "stream", None)
        if isinstance(stream, (SyncBody, AsyncBody)):
            return stream
        if not isinstance(response, self.library.Response):
            raise TypeError(
                f"a flow ended with {described(response)}, and ends with an answer: "
                f"`return response`, a {self.library.name}.Response"
            )
        if not came_whole(response):
            raise TypeError(
                f"a policy answered with a stream of its own; an answer that a policy makes has its content, as "
                f"{self.library.name}.Response(200, content=...)"
            )
        return self.adopt(response, self.body_of_ours(response))

    def body_of_ours(self, response: Any) -> Body:
        """What is known of a body that came off no wire."""
        attempt = Attempt(number=0, started=self.clock() - self.ledger.started, status=response.status_code)
        return Body(self.library, self.ledger, attempt, self.clock(), self.clock)

    def body_told(self, effect: Pour, source: Body) -> Body:
        """What is known of a body that a story tells."""
        if not effect.in_place:
            return self.body_of_ours(effect.response)
        attempt = source.attempt
        source.attempt = replace(attempt, number=0)  # from here on nobody looks at it
        attempt.bytes = attempt.chunks = 0
        body = Body(self.library, self.ledger, attempt, source.began, self.clock)
        body.until, body.live = source.until, source.live
        return body

    def adopt(self, response: Any, body: Body) -> Any:
        """Put our stream under a response that came from no transport."""
        raise NotImplementedError

    def leave(self, error: Exception) -> Exception:
        """What the caller gets to see of an error: the library's own class, with the ledger on it."""
        if isinstance(error, ResilienceError):
            error = self.library.dress(error)
        error.resilience = self.ledger  # type: ignore[attr-defined]  # every error carries its ledger
        return error


def announces_a_stream(headers: list[tuple[bytes, bytes]]) -> bool:
    """As `sse.announced_by`, of a head as it came over the wire."""
    for name, value in headers:
        if name.lower() == b"content-type":
            return b"text/event-stream" in value.lower()
    return False


def _looks(request: Any) -> int:
    """What the legs of one call differ in: a redirect has another URL, an authentication another header."""
    return hash((request.method, str(request.url), tuple(request.headers.raw)))


def _longer(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else max(one, other)


def loop(effect: Repeat) -> Any:  # stamina's iterator class is private
    """Stamina's loop over the attempts: our waits, its instrumentation, its testing mode."""
    return stamina.retry_context(on=effect.wait_for, attempts=effect.attempts, timeout=None).with_name(
        effect.name, (), {}
    )


def came_whole(response: Any) -> bool:
    return bool(response.is_stream_consumed and response.is_closed)


def wrap(response: Any, stream: Any) -> None:
    """Put our stream under the response. One that was made with its content has been read before it came here."""
    if came_whole(response):
        stream.body.came_whole(response.content)
    elif response.status_code == _SWITCHING_PROTOCOLS:
        stream.body.finish(Outcome.COMPLETE)  # what follows is another protocol, and not ours to read
    response.stream = stream


_SWITCHING_PROTOCOLS = 101
