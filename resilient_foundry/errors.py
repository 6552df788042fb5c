"""What *we* refuse: calls that were not made, or were given up, by decision of a policy.

What leaves a transport is also an error of the HTTP library underneath (`httpx.TransportError`, or
`httpx.TimeoutException` where time ran out), so existing `except` clauses keep working. What a *server* said is never
one of these; see `resilient_foundry.foundry.errors`.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal


class ResilienceError(Exception):
    """A policy ended the call. Facts are attributes as well as words.

    `resilience` is the ledger of the call (`resilient_foundry.Ledger`), set when the error leaves the transport.
    """

    kind: ClassVar[Literal["transport", "timeout"]] = "transport"
    """Which of the library's own errors this one also is when it leaves a transport."""

    plain: ClassVar[type[ResilienceError] | None] = None
    """Of a class that also wears the library's: the one that it is without it."""

    resilience: Any = None  # the ledger: events.py stands beside this module, not above it

    def __reduce__(self) -> tuple[Any, ...]:
        """Between processes it travels as its plain class, with its facts and without ledger and request."""
        facts = {name: fact for name, fact in vars(self).items() if name not in {"resilience", "_request"}}
        return _unpacked, (type(self).plain or type(self), str(self), facts)


class CircuitOpenError(ResilienceError):
    """The circuit is open: the call was refused without being sent.

    `circuit` names it; `retry_after` is the number of seconds until the next probe is admitted, or None while a probe
    is under way and its result is awaited, and while a hand holds the circuit open.
    """

    def __init__(self, message: str, *, circuit: str = "", retry_after: float | None = None) -> None:
        self.circuit = circuit
        self.retry_after = retry_after
        super().__init__(message)


class DeadlineExceededError(ResilienceError):
    """The deadline of the call passed; `seconds` is how long the call was given."""

    kind: ClassVar[Literal["transport", "timeout"]] = "timeout"

    def __init__(self, message: str, *, seconds: float = 0.0) -> None:
        self.seconds = seconds
        super().__init__(message)


class ConcurrencyLimitError(ResilienceError):
    """A limit on calls at once had no place for the call: it was refused without being sent.

    `limiter` names the limit, `why` is `queue_full` or `waited_too_long`, `limit` is how many calls it lets out at
    once, `in_use` how many of its places were taken (also by calls that were given up and that the server is probably
    still working on), `waiting` how many calls waited for one, `waited` the seconds that this call had waited.
    """

    def __init__(
        self,
        message: str,
        *,
        limiter: str = "",
        why: str = "",
        limit: int = 0,
        in_use: int = 0,
        waiting: int = 0,
        waited: float = 0.0,
    ) -> None:
        self.limiter = limiter
        self.why = why
        self.limit = limit
        self.in_use = in_use
        self.waiting = waiting
        self.waited = waited
        super().__init__(message)


class RateLimitError(ResilienceError):
    """The turn of this call would come too late: it was refused without being sent.

    `origin` (scheme, host, port) is whose turns they are; `retry_after` is the number of seconds until a turn is free.
    """

    def __init__(self, message: str, *, origin: str = "", retry_after: float = 0.0) -> None:
        self.origin = origin
        self.retry_after = retry_after
        super().__init__(message)


class StackError(ValueError):
    """The policies of a stack contradict each other. The message says which, and what to do."""


def _unpacked(kind: type[ResilienceError], message: str, facts: dict[str, Any]) -> ResilienceError:
    error = kind(message)
    vars(error).update(facts)
    return error
