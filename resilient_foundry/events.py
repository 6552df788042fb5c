"""What happened, as frozen facts; and the ledger of a call, which every answer and every error carries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from resilient_foundry.faults import Verdict


class Outcome(Enum):
    """How an attempt ended, judged at the end of its body."""

    COMPLETE = "complete"
    """The whole answer arrived."""

    IN_BAND_ERROR = "in-band error"
    """A stream reported a failure inside a good status."""

    TRUNCATED = "truncated"
    """A stream ended cleanly without its terminator."""

    BROKEN = "broken"
    """The connection failed before the answer was whole."""

    STALLED = "stalled"
    """A time limit passed."""

    ABANDONED = "abandoned"
    """The caller closed the answer before its end."""

    CANCELLED = "cancelled"
    """The caller's task was cancelled, or the program interrupted."""


@dataclass(frozen=True, slots=True)
class BodyEnd:
    """How a body ended; `verdict` is set by a policy that looked inside."""

    outcome: Outcome
    error: BaseException | None = None
    verdict: Verdict | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class AttemptStarted:
    """A request is about to go out; `number` counts from 1."""

    number: int


@dataclass(frozen=True, slots=True)
class AttemptAnswered:
    """The head of an answer arrived, `after` seconds from the start of its attempt."""

    number: int
    status: int
    after: float


@dataclass(frozen=True, slots=True)
class AttemptEnded:
    """The attempt is over, `after` seconds from its start: its body ended, or it never got an answer."""

    number: int
    status: int | None
    outcome: Outcome
    after: float
    bytes: int
    detail: str = ""


@dataclass(frozen=True, slots=True)
class RetryScheduled:
    """Another attempt follows after `wait` seconds; `source` says who asked for that wait."""

    attempt: int
    wait: float
    reason: str
    source: str
    """`backoff` or `retry_after`."""


@dataclass(frozen=True, slots=True)
class RetryDenied:
    """A failure that would have been retried is not; `why` says what forbids it."""

    attempt: int
    reason: str
    why: str
    """`deadline`, `not_repeatable`, `body_sent`, `same_failure_twice`, `told_not_to`, `wait_too_long`, `caller`."""


@dataclass(frozen=True, slots=True)
class RetriesExhausted:
    """The last attempt failed too; its failure is what the caller gets."""

    attempts: int
    reason: str


@dataclass(frozen=True, slots=True)
class CircuitOpened:
    """A circuit opened; the next probe is admitted after `retry_after` seconds."""

    circuit: str
    retry_after: float


@dataclass(frozen=True, slots=True)
class CircuitHalfOpened:
    """A circuit admits a probe."""

    circuit: str


@dataclass(frozen=True, slots=True)
class CircuitClosed:
    """A circuit closed again."""

    circuit: str


@dataclass(frozen=True, slots=True)
class CircuitListenerFailed:
    """A listener of pybreaker's circuit raised; the call goes on. Both are given by the names of their classes."""

    circuit: str
    listener: str
    error: str


@dataclass(frozen=True, slots=True)
class CallRejected:
    """An open circuit refused a call; nothing was sent."""

    circuit: str
    retry_after: float | None


@dataclass(frozen=True, slots=True)
class TimedOut:
    """A time limit passed; `phase` is connect, pool, write, read, idle or deadline, `limit` is in seconds."""

    phase: str
    limit: float | None


Event = (
    AttemptStarted
    | AttemptAnswered
    | AttemptEnded
    | RetryScheduled
    | RetryDenied
    | RetriesExhausted
    | CircuitOpened
    | CircuitHalfOpened
    | CircuitClosed
    | CircuitListenerFailed
    | CallRejected
    | TimedOut
)
CircuitEvent = CircuitOpened | CircuitHalfOpened | CircuitClosed | CircuitListenerFailed
Listener = Callable[[Event], None]


@dataclass(slots=True)
class Attempt:
    """One request that went out, and what became of it. Times are seconds; `started` counts from the call's start."""

    number: int
    started: float
    status: int | None = None
    answered_after: float | None = None
    ended_after: float | None = None
    outcome: Outcome | None = None
    """None while the body has not ended."""
    verdict: Verdict | None = None
    error: str | None = None
    """The class of the error that ended the attempt; never its text, which may quote the request."""
    bytes: int = 0
    """Bytes of the body as they came over the wire."""
    chunks: int = 0
    detail: str = ""

    @property
    def failed_in_its_body(self) -> bool:
        """Whether the answer began well and its body said or showed that it failed."""
        return self.outcome in {Outcome.IN_BAND_ERROR, Outcome.TRUNCATED}

    def explain(self) -> str:
        """The attempt in one line, for a person."""
        what = str(self.status) if self.status is not None else (self.error or "under way")
        if self.outcome not in {None, Outcome.COMPLETE}:
            why = f": {self.error}" if self.error and self.status is not None else ""
            what += f", {self.outcome.value if self.outcome else ''}{why}"
        if self.detail:
            what += f" ({self.detail})"
        took = self.ended_after if self.ended_after is not None else self.answered_after
        return f"attempt {self.number}: {what}" + (f" after {took:.3f} s" if took is not None else "")


@dataclass(slots=True)
class Ledger:
    """Everything that happened to one call, in order: `response.extensions["resilience"]` and `error.resilience`.

    A ledger of a streamed answer goes on until its body ends. It belongs to one call and is not shared.
    """

    started: float
    """The moment the call began, on the monotonic clock of its transport."""
    attempts: list[Attempt] = field(default_factory=list[Attempt])
    events: list[tuple[float, Event]] = field(default_factory=list[tuple[float, Event]])
    """Seconds since the start of the call, and what happened then."""
    listeners: list[Listener] = field(default_factory=list[Listener], repr=False, compare=False)

    def __reduce__(self) -> tuple[type[Ledger], tuple[Any, ...]]:
        """Between processes it travels without those who listen."""
        return Ledger, (self.started, self.attempts, self.events)

    def tell(self, event: Event, now: float) -> None:
        """Write down what happened, and pass it to whoever listens to this call."""
        self.events.append((now - self.started, event))
        for listener in self.listeners:
            listener(event)

    @property
    def waits(self) -> list[float]:
        """The seconds waited before each further attempt, in order."""
        return [event.wait for _, event in self.events if isinstance(event, RetryScheduled)]

    def __str__(self) -> str:
        return self.explain()

    def explain(self) -> str:
        """The story of the call, a line an event, for a person."""
        lines: list[str] = []
        for at, event in self.events:
            told = _told(event, self)
            if told:
                lines.append(f"{at:8.3f} s  {told}")
        return "\n".join(lines)


def _told(event: Event, ledger: Ledger) -> str:
    match event:
        case AttemptEnded(number=number):
            return ledger.attempts[number - 1].explain()
        case RetryScheduled():
            word = " (the server's word)" if event.source == "retry_after" else ""
            return f"waits {event.wait:.3f} s{word} because of {event.reason}"
        case RetryDenied():
            return f"is not tried again after {event.reason}: {event.why.replace('_', ' ')}"
        case RetriesExhausted():
            return f"gives up after {event.attempts} attempts: {event.reason}"
        case CircuitOpened():
            return f"circuit for {event.circuit} opened; next probe in {event.retry_after:.1f} s"
        case CircuitHalfOpened():
            return f"circuit for {event.circuit} admits a probe"
        case CircuitClosed():
            return f"circuit for {event.circuit} closed"
        case CircuitListenerFailed():
            return f"a listener of the circuit for {event.circuit} failed: {event.listener} raised {event.error}"
        case CallRejected():
            return f"refused: circuit for {event.circuit} is open"
        case TimedOut():
            return f"{event.phase} limit passed" + (f" ({event.limit:g} s)" if event.limit is not None else "")
        case _:
            return ""
