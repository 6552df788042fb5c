"""RateLimit: how many requests an origin is sent in a time, and silence while it asks for it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from resilient_foundry.call import shared_of
from resilient_foundry.errors import RateLimitError
from resilient_foundry.events import CallShed, HeldBack, Queued
from resilient_foundry.faults import Verdict, judge_by_status
from resilient_foundry.flow import (
    Flow,
    Proceed,
    Request,
    Response,
    draw,
    history,
    now,
    retry_mode,
    tell,
    today,
    wait,
)
from resilient_foundry.origin import origin
from resilient_foundry.policies._checks import count, number, seconds
from resilient_foundry.policies.rate import Line, Lines, Turn
from resilient_foundry.policies.retry_after import retry_after


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Sends an origin at most `rate` requests in `per` seconds, and none while it asks for rest.

    `RateLimit(10)` sends ten a second, evenly: one each tenth of a second. With `burst` so many may go at once after a
    pause. Who comes too early waits for its turn, first come, first served. Every attempt counts, also one that gets
    no answer; one that a policy further in refuses before it is sent does not, nor does one that is cancelled while it
    waits: the others move up.

    A server that answers 429 or 503, or any other failure of its own, with a `Retry-After` holds all callers of its
    origin back for as long as it says, at most `longest_hold` seconds. Those that wait already wait longer. Afterwards
    they come one by one, by the rate, or without a rate spread over a tenth of the time they were held. The caller
    that got the answer is handed it at once. `RateLimit()` keeps no rate, and does this alone.

    A call that would wait for more than `longest_wait` seconds (None: however long), or beyond its deadline, is refused
    at once: it raises `RateLimitError` and nothing is sent. Nobody waits here while `stamina.set_testing(True)` holds.

    Stacks that hold the same object share its turns, in threads, asyncio and trio at once; the `max_origins` used last
    are remembered. Processes know nothing of each other.
    """

    rate: float | None = None
    per: float = field(default=1.0, kw_only=True)
    burst: int = field(default=1, kw_only=True)
    longest_wait: float | None = field(default=None, kw_only=True)
    longest_hold: float = field(default=120.0, kw_only=True)
    max_origins: int = field(default=1000, kw_only=True)
    lines: Lines = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.rate is not None:
            number("RateLimit.rate", self.rate, above=0.0)
        number("RateLimit.per", self.per, above=0.0)
        count("RateLimit.burst", self.burst)
        seconds("RateLimit.longest_wait", self.longest_wait)
        number("RateLimit.longest_hold", self.longest_hold, above=0.0)
        count("RateLimit.max_origins", self.max_origins)
        interval = self.per / self.rate if self.rate is not None else 0.0
        number("RateLimit.per / RateLimit.rate", interval)
        object.__setattr__(self, "lines", Lines(lambda: Line(interval, self.burst), self.max_origins))

    def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
        """Wait for a turn, send, and hear whether the server wants rest."""
        _, testing = yield from retry_mode()
        if testing:
            return (yield from proceed(request))
        name, entered = origin(request.url), (yield from now())
        line = self.lines.of(name, entered)
        until = shared_of(request).until
        turn = Turn(latest=self._latest(entered, until), draw=(yield from draw()))
        ledger = yield from history()
        sent: int | None = None
        try:
            yield from _turn(line, turn, name, entered, until)
            sent = len(ledger.attempts)  # looked at only now: requests beside this one write into the same ledger
            response = yield from proceed(request)
        finally:
            if sent is None or len(ledger.attempts) == sent:
                line.leave(turn)
        asked = yield from self._asked(response)
        if asked and line.hold((yield from now()), asked):
            yield from tell(HeldBack(name, asked))
        return response

    def _latest(self, entered: float, until: float | None) -> float:
        longest = math.inf if self.longest_wait is None else entered + self.longest_wait
        return longest if until is None else min(longest, until)

    def _asked(self, response: Response) -> Flow[float]:
        """The seconds of rest that the server asks for; 0 where it does not, or means this caller's request alone."""
        verdict = judge_by_status(response.status_code, response.headers, b"")
        if verdict not in {Verdict.BUSY, Verdict.SERVER}:  # not those of a redirect or a 413: RFC 9110 section 10.2.3
            return 0.0
        return min(retry_after(response.headers, (yield from today())) or 0.0, self.longest_hold)


def _turn(line: Line, turn: Turn, name: str, entered: float, until: float | None) -> Flow[None]:
    """Wait until it has come; raises `RateLimitError` where it comes too late."""
    asked = entered
    while (moment := line.ask(turn, asked)) > asked:
        if moment > turn.latest:
            told = line.is_held(asked)
            late = until is not None and moment > until
            yield from tell(
                CallShed(f"rate limit of {name}", "deadline" if late else "told_to_wait" if told else "rate")
            )
            why = f"{name} asks for rest" if told else f"the rate limit of {name} is used up"
            than = "the deadline of this call" if late else "this call may wait"
            raise RateLimitError(
                f"{why}: the next turn comes in {moment - asked:.1f} s, later than {than}; nothing was sent",
                origin=name,
                retry_after=moment - asked,
            )
        yield from wait(turn.signal, moment)
        asked = yield from now()
    if asked > entered:
        yield from tell(Queued(f"rate limit of {name}", asked - entered))
