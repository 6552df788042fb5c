"""What stands between an SDK and its server in these tests."""

from __future__ import annotations

from typing import Any

from resilient_foundry import AttemptTimeout, Backoff, CallOptions, CircuitBreaker, Retry, Stack, StreamGuard
from resilient_foundry.flow import Flow, Proceed, Request, Response


def stack(*outermost: Any, done: str | None = "[DONE]") -> Stack:
    """Three attempts without waits; `done` ends a stream of events."""
    return Stack(
        *outermost,
        Retry(attempts=3, backoff=Backoff(base=0.0)),
        CircuitBreaker(failures=5),
        AttemptTimeout(connect=2.0, pool=2.0, write=2.0, read=20.0),
        StreamGuard(done=done),
    )


class Repeatable:
    """Says of every call that it may be repeated, as a chat without `store` may."""

    def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
        """Pass the request on."""
        request.extensions.setdefault("resilience", CallOptions(repeatable=True))
        return (yield from proceed(request))


def open_circuit(url: Any) -> CircuitBreaker:
    """A breaker whose circuit for this URL, of either library, has been opened by hand."""
    breaker = CircuitBreaker()
    breaker.circuit(url).breaker.open()
    return breaker
