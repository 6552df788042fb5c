"""The stacks that are measured: each policy by itself, as it is most used, and all of them together.

None of them ever has anything to do but look: every answer is good and comes at once.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Any

from benchmarks.origin import EVENTS
from resilient_foundry import (
    AdaptiveLimit,
    AttemptTimeout,
    Chaos,
    CircuitBreaker,
    ConcurrencyLimit,
    Deadline,
    Fallback,
    Hedge,
    RateLimit,
    Remedy,
    Retry,
    RetryBudget,
    Stack,
    StreamGuard,
    Tracing,
)
from resilient_foundry.flow import Flow, Policy, Proceed, Request, Response

Make = Callable[[], Stack]

EMPTY = "Stack()"
STANDARD = "Stack.standard()"
INFERENCE = "Stack.inference()"
FIVE = "five policies"
ALL = "all together"
FOR_STREAMS = (EMPTY, "StreamGuard()", STANDARD, INFERENCE, ALL)
"""Those for which it makes a difference whether the answer is a stream of events."""

_RATE = 1e6
"""Calls a second: more than there are."""
_ELSEWHERE = "http://127.0.0.1:9"
"""Asked by nobody, because what is asked first answers."""


class _NothingToCure:
    """Notices nothing."""

    name = "nothing_done"
    doing = "doing nothing about"
    failures: tuple[type[Exception], ...] = ()

    def prepare(self, request: Request) -> Request:
        """As it is."""
        return request

    def noticed(self, request: Request, failure: Response | Exception) -> Flow[str | None]:
        """Nothing."""
        yield from ()
        del request, failure
        return None

    def mend(self, request: Request, proceed: Proceed, thing: str) -> Flow[str]:
        """Never asked."""
        yield from ()
        del request, proceed
        return thing


_ALONE: dict[str, Callable[[], Policy]] = {
    "Tracing()": Tracing,
    "Deadline(30)": lambda: Deadline(30.0),
    "Fallback(url)": lambda: Fallback(_ELSEWHERE),
    "Retry()": Retry,
    "Retry(budget)": lambda: Retry(budget=RetryBudget()),
    "Remedy(cure)": lambda: Remedy(_NothingToCure()),
    "Hedge(1)": lambda: Hedge(1.0),
    "RateLimit()": RateLimit,
    "RateLimit(rate)": lambda: RateLimit(_RATE),
    "CircuitBreaker()": CircuitBreaker,
    "CircuitBreaker(rate)": lambda: CircuitBreaker(failure_rate=0.5),
    "ConcurrencyLimit(4)": lambda: ConcurrencyLimit(4),
    "ConcurrencyLimit(..)": lambda: ConcurrencyLimit(AdaptiveLimit()),
    "AttemptTimeout()": AttemptTimeout,
    "StreamGuard()": StreamGuard,
    "Chaos()": Chaos,
}
_ASYNC_ONLY = frozenset({"Hedge(1)"})
_TOGETHER = (
    "Tracing()",
    "Deadline(30)",
    "Fallback(url)",
    "Retry(budget)",
    "Remedy(cure)",
    "Hedge(1)",
    "RateLimit(rate)",
    "CircuitBreaker(rate)",
    "ConcurrencyLimit(..)",
    "AttemptTimeout()",
    "StreamGuard()",
    "Chaos()",
)
"""In the order in which they stand."""
PARTS: dict[str, tuple[str, ...]] = {
    STANDARD: ("Tracing()", "Deadline(30)", "Retry(budget)", "CircuitBreaker()", "AttemptTimeout()"),
    INFERENCE: (
        "Tracing()",
        "Deadline(30)",
        "Retry(budget)",
        "CircuitBreaker()",
        "AttemptTimeout()",
        "StreamGuard()",
    ),
    ALL: _TOGETHER,
}
"""What the larger ones are made of."""


def contenders(colour: str) -> dict[str, Make]:
    """The stacks for `sync` or `async`, by name; `Hedge` is for async alone."""
    left_out: frozenset[str] = frozenset() if colour == "async" else _ASYNC_ONLY
    return {
        EMPTY: Stack,
        **{name: _alone(make) for name, make in _ALONE.items() if name not in left_out},
        STANDARD: Stack.standard,
        INFERENCE: Stack.inference,
        ALL: lambda: Stack(*(_ALONE[name]() for name in _TOGETHER if name not in left_out)),
    }


def parts(name: str, colour: str) -> tuple[str, ...]:
    """The contenders of which this one is made."""
    return tuple(part for part in PARTS.get(name, ()) if part in contenders(colour))


def from_memory(module: Any, colour: str) -> Any:  # a library, and a transport of it
    """A transport that answers at once, `/events` with a stream of events in as many chunks."""
    events: Callable[[Iterable[bytes]], Any] = iter if colour == "sync" else _one_by_one

    def answer(request: Any) -> Any:
        if request.url.path == "/events":
            return module.Response(200, headers={"Content-Type": "text/event-stream"}, content=events(EVENTS))
        return module.Response(200, content=b"ok")

    return module.MockTransport(answer)


async def _one_by_one(events: Iterable[bytes]) -> AsyncGenerator[bytes]:
    for event in events:
        yield event


def five(*outer: Policy) -> Stack:
    """Retry, breaker, deadline, limits of an attempt, and a limit on calls at once; `outer` stands around them."""
    return Stack(*outer, Deadline(30.0), Retry(), CircuitBreaker(), ConcurrencyLimit(16), AttemptTimeout())


def _alone(make: Callable[[], Policy]) -> Make:
    return lambda: Stack(make())
