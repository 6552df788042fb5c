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
from resilient_foundry._transports.shortcut import Passing
from resilient_foundry.call import (
    IDLE,
    MORE_LEGS,
    Shared,
    belongs_to,
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


_FAILURES = 400
"""RFC 9110 section 15."""


class _Nobody:
    """A call of no transport of ours."""

    closed = 0
    has_failed = False

    def look_above(self, request: object) -> None:
        """Nobody is there to be warned."""


_NOBODY = _Nobody()


class Driver(Passing):
    """What both colours share: one call, its ledger, and the bodies that it opened."""

    opened: list[Any]
    cookies: Cookies | None = None
    side_by_side = False

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
        if self.told is not None:  # a flow ended before anybody asked for the attempt
            for one in self.given:
                one.put_back()
        if leg is not None:
            leg.under_way, leg.until, leg.passage = False, None, None
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
