"""What happened, as frozen facts; and the ledger of a call, which every answer and every error carries."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar

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


NEVER_CLOSED = "never closed"
"""The detail of an end that was found out only when the answer was collected."""


@dataclass(frozen=True, slots=True)
class BodyEnd:
    """How a body ended; `verdict` is set by a policy that looked inside."""

    outcome: Outcome
    error: BaseException | None = None
    verdict: Verdict | None = None
    detail: str = ""


class Event:
    """Something that happened to a call. `str(event)` says it to a person, empty where the ledger says it better.

    `level` is the one of the logging module at which it is logged: nothing is louder than INFO but giving up, changes
    of a circuit, and what needs somebody's hand.
    """

    __slots__ = ()
    level: ClassVar[int] = logging.INFO

    def __str__(self) -> str:
        return ""


@dataclass(frozen=True, slots=True)
class AttemptStarted(Event):
    """A request is about to go out; `number` counts from 1."""

    level: ClassVar[int] = logging.DEBUG
    number: int


@dataclass(frozen=True, slots=True)
class AttemptAnswered(Event):
    """The head of an answer arrived, `after` seconds from the start of its attempt."""

    level: ClassVar[int] = logging.DEBUG
    number: int
    status: int
    after: float


@dataclass(frozen=True, slots=True)
class AttemptEnded(Event):
    """The attempt is over, `after` seconds from its start: its body ended, or it never got an answer."""

    level: ClassVar[int] = logging.DEBUG
    number: int
    status: int | None
    outcome: Outcome
    after: float
    bytes: int
    detail: str = ""


@dataclass(frozen=True, slots=True)
class RetryScheduled(Event):
    """Another attempt follows after `wait` seconds; `source` says who asked for that wait."""

    attempt: int
    wait: float
    reason: str
    source: str
    """`backoff` or `retry_after`."""

    def __str__(self) -> str:
        word = " (the server's word)" if self.source == "retry_after" else ""
        return f"waits {self.wait:.3f} s{word} because of {self.reason}"


_WHY_NOT = {
    "deadline": "the wait would outlast the deadline",
    "not_repeatable": "it may have been acted on, and the caller does not say that twice does no harm",
    "body_sent": "its body can't be sent a second time",
    "same_failure_twice": "the same failure came twice",
    "told_not_to": "the server says so",
    "wait_too_long": "the server asks for a longer wait than is allowed",
    "caller": "the request itself is to blame",
    "budget": "the retry budget of its origin is spent",
    "circuit_open": "the circuit is open, and would refuse it",
}


@dataclass(frozen=True, slots=True)
class RetryDenied(Event):
    """A failure that would have been retried is not; `why` says what forbids it."""

    attempt: int
    reason: str
    why: str
    """`deadline`, `not_repeatable`, `body_sent`, `same_failure_twice`, `told_not_to`, `wait_too_long`, `caller`,
    `budget`, `circuit_open`, `attempts_of_an_earlier_leg`."""

    def __str__(self) -> str:
        return f"is not tried again after {self.reason}: {_WHY_NOT.get(self.why, self.why.replace('_', ' '))}"


@dataclass(frozen=True, slots=True)
class RetriesExhausted(Event):
    """The last attempt failed too; its failure is what the caller gets."""

    level: ClassVar[int] = logging.WARNING
    attempts: int
    reason: str

    def __str__(self) -> str:
        return f"gives up after {self.attempts} attempt{'s' if self.attempts > 1 else ''}: {self.reason}"


@dataclass(frozen=True, slots=True)
class StreamResumed(Event):
    """A stream that broke was asked for again and goes on behind the `characters` that the caller already has."""

    attempt: int
    characters: int

    def __str__(self) -> str:
        return f"goes on with attempt {self.attempt}, behind the {self.characters} characters already delivered"


@dataclass(frozen=True, slots=True)
class ResumeDenied(Event):
    """A stream that broke in its middle, behind the `characters` that the caller has, is not continued."""

    why: str
    """`not_deterministic`, `tool_call`, `another_answer`, `unknown_events`, `attempts`, `refused` (by another policy),
    or one of `RetryDenied`."""
    characters: int = 0

    def __str__(self) -> str:
        return f"is not continued behind the {self.characters} characters delivered: {self.why.replace('_', ' ')}"


@dataclass(frozen=True, slots=True)
class CircuitOpened(Event):
    """A circuit opened; the next probe is admitted after `retry_after` seconds, and none where a hand holds it open."""

    level: ClassVar[int] = logging.WARNING
    circuit: str
    retry_after: float | None
    reason: str = ""
    """`failures`, `failure_rate`, `slow_calls`, `probe` or `by_hand`, where it is known; `retry_after` where the server
    asked for more rest than these would have given it."""

    def __str__(self) -> str:
        reason = "failures in a row" if self.reason == "failures" else self.reason.replace("_", " ")
        why = f" ({reason})" if reason else ""
        when = "no probe until it is let go" if self.retry_after is None else f"next probe in {self.retry_after:.1f} s"
        return f"circuit for {self.circuit} opened{why}; {when}"


@dataclass(frozen=True, slots=True)
class CircuitHalfOpened(Event):
    """A circuit admits a probe."""

    level: ClassVar[int] = logging.WARNING
    circuit: str

    def __str__(self) -> str:
        return f"circuit for {self.circuit} admits a probe"


@dataclass(frozen=True, slots=True)
class CircuitClosed(Event):
    """A circuit closed again."""

    level: ClassVar[int] = logging.WARNING
    circuit: str

    def __str__(self) -> str:
        return f"circuit for {self.circuit} closed"


@dataclass(frozen=True, slots=True)
class CircuitProbed(Event):
    """A cheap request found out whether the server works again; `works` says what it found."""

    circuit: str
    works: bool

    def __str__(self) -> str:
        return f"circuit for {self.circuit} was probed: the server {'works' if self.works else 'still fails'}"


@dataclass(frozen=True, slots=True)
class CircuitListenerFailed(Event):
    """A listener of pybreaker's circuit raised; the call goes on. Both are given by the names of their classes."""

    level: ClassVar[int] = logging.WARNING
    circuit: str
    listener: str
    error: str

    def __str__(self) -> str:
        return f"a listener of the circuit for {self.circuit} failed: {self.listener} raised {self.error}"


@dataclass(frozen=True, slots=True)
class CallRejected(Event):
    """An open circuit refused a call; nothing was sent. With `watched_only` it would have, and the call went out."""

    circuit: str
    retry_after: float | None
    watched_only: bool = False

    def __str__(self) -> str:
        would = "would be refused" if self.watched_only else "refused"
        return f"{would}: circuit for {self.circuit} is open"


@dataclass(frozen=True, slots=True)
class Queued(Event):
    """An attempt waited `seconds` for a place of a limiter, or for its turn under a rate."""

    limiter: str
    seconds: float

    def __str__(self) -> str:
        return f"waited {self.seconds:.3f} s for {self.limiter}"


@dataclass(frozen=True, slots=True)
class CallShed(Event):
    """A limiter refused a call; nothing was sent."""

    limiter: str
    why: str
    """`queue_full`, `waited_too_long`, `deadline`, `rate` or `told_to_wait`."""

    def __str__(self) -> str:
        return f"refused by {self.limiter}: {self.why.replace('_', ' ')}"


@dataclass(frozen=True, slots=True)
class LimitChanged(Event):
    """An adaptive limit found another value."""

    limiter: str
    limit: int

    def __str__(self) -> str:
        return f"{self.limiter} is {self.limit} now"


@dataclass(frozen=True, slots=True)
class HeldBack(Event):
    """A server asked for `seconds` of rest, and all callers of its origin are held back until then."""

    origin: str
    seconds: float

    def __str__(self) -> str:
        return f"all calls to {self.origin} are held back for {self.seconds:.3f} s, as the server asks"


@dataclass(frozen=True, slots=True)
class FellBack(Event):
    """What was asked first failed, and another target is asked."""

    target: str
    reason: str

    def __str__(self) -> str:
        return f"falls back to {self.target} because of {self.reason}"


@dataclass(frozen=True, slots=True)
class FallbackDenied(Event):
    """A target is not asked, although what was asked before it failed; `why` says what forbids it."""

    target: str
    reason: str
    why: str
    """`deadline`, `not_repeatable`, `body_sent`, `told_not_to`, or `no_model` (in a body that lies in memory)."""

    def __str__(self) -> str:
        return f"does not fall back to {self.target} after {self.reason}: {self.why.replace('_', ' ')}"


@dataclass(frozen=True, slots=True)
class HedgeStarted(Event):
    """A second attempt was begun beside one that is slow, or failed, `after` seconds."""

    number: int
    after: float

    def __str__(self) -> str:
        return f"asks once more beside what is under way, after {self.after:.3f} s (request {self.number})"


@dataclass(frozen=True, slots=True)
class HedgeDenied(Event):
    """No second attempt was begun beside a slow one; `why` says what forbids it."""

    why: str
    """`budget`, `not_repeatable` or `body_sent`."""

    def __str__(self) -> str:
        return f"does not ask a second time beside the first: {self.why.replace('_', ' ')}"


@dataclass(frozen=True, slots=True)
class HedgeWon(Event):
    """The answer of this one of the attempts that ran side by side was taken; numbers count from 1, the first."""

    number: int

    def __str__(self) -> str:
        return f"takes the answer that came first, of request {self.number}"


@dataclass(frozen=True, slots=True)
class ChaosInjected(Event):
    """A fault was made on purpose."""

    fault: str

    def __str__(self) -> str:
        return f"chaos: {self.fault}"


@dataclass(frozen=True, slots=True)
class Remedied(Event):
    """What stood in a call's way was mended, or could not be; the call goes on with what it then finds."""

    level: ClassVar[int] = logging.WARNING
    remedy: str
    """`model_loaded` or `service_found`."""
    detail: str
    seconds: float
    worked: bool = True

    def __str__(self) -> str:
        told = f"{self.remedy.replace('_', ' ')}, {self.detail}, {self.seconds:.3f} s"
        return f"remedy: {told}" if self.worked else f"remedy failed: no {told}"


@dataclass(frozen=True, slots=True)
class TimedOut(Event):
    """A time limit passed; `phase` is connect, pool, write, read, idle, progress or deadline, `limit` is in seconds."""

    phase: str
    limit: float | None

    def __str__(self) -> str:
        return f"{self.phase} limit passed" + (f" ({self.limit:g} s)" if self.limit is not None else "")


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
    first_event_after: float | None = None
    """When the first event with content of a stream arrived, where a `StreamGuard` looked."""

    def events(self) -> Iterator[tuple[float, Event]]:
        """What happened to it, and when, in seconds since the start of the call."""
        yield self.started, AttemptStarted(self.number)
        if self.status is not None and self.answered_after is not None:
            answered = AttemptAnswered(self.number, self.status, self.answered_after)
            yield self.started + self.answered_after, answered
        if self.outcome is not None and self.ended_after is not None:
            detail = self.detail or self.error or ""
            ended = AttemptEnded(self.number, self.status, self.outcome, self.ended_after, self.bytes, detail)
            yield self.started + self.ended_after, ended

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


class Ledger:
    """Everything that happened to one call, in order: `response.extensions["resilience"]` and `error.resilience`.

    A ledger of a streamed answer goes on until its body ends. It belongs to one call and is not shared.
    """

    __slots__ = (
        "__weakref__",
        "_events",
        "attempts",
        "context",
        "is_unwritten",
        "listeners",
        "log",
        "log_from",
        "request",
        "started",
    )

    def __init__(
        self,
        started: float,
        attempts: list[Attempt] | None = None,
        events: list[tuple[float, Event]] | None = None,
    ) -> None:
        self.started = started
        """The moment the call began, on the monotonic clock of its transport."""
        self.attempts: list[Attempt] = [] if attempts is None else attempts
        self._events = events
        self.is_unwritten = False
        """Whether nothing is to be said beyond what the attempts say by themselves, and nobody has asked for it yet."""
        self.listeners: Sequence[Listener] = ()
        self.context: object = None
        """What OpenTelemetry knows the call by, where it is traced."""
        self.request: Any = None
        self.log: Callable[[Ledger, Event], None] | None = None
        """Who writes events of the request into the log, from the level `log_from` on; before any listener."""
        self.log_from = 0

    @property
    def events(self) -> list[tuple[float, Event]]:
        """Seconds since the start of the call, and what happened then."""
        if self.is_unwritten:
            self.write()
        if self._events is None:
            self._events = []
        return self._events

    def write(self) -> None:
        """From here on everything that happens is written down when it does."""
        if self.is_unwritten:
            self.is_unwritten = False
            self._events = [fact for attempt in self.attempts for fact in attempt.events()]

    def listen(self, listener: Listener) -> None:
        """Have what happens from here on passed to this one, too."""
        self.listeners = [*self.listeners, listener]

    def forget(self, listener: Listener) -> None:
        """Pass no more to this one."""
        self.listeners = [other for other in self.listeners if other is not listener]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Ledger):
            return NotImplemented
        return (self.started, self.attempts, self.events) == (other.started, other.attempts, other.events)

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"Ledger(started={self.started!r}, attempts={self.attempts!r}, events={self.events!r})"

    def __reduce__(self) -> tuple[type[Ledger], tuple[Any, ...]]:
        """Between processes it travels without those who listen."""
        return Ledger, (self.started, self.attempts, self.events)

    def tell(self, event: Event, now: float) -> None:
        """Write down what happened, and pass it to whoever listens to this call."""
        self.events.append((now - self.started, event))
        if self.log is not None and event.level >= self.log_from:
            self.log(self, event)
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
    if isinstance(event, AttemptEnded):
        return ledger.attempts[event.number - 1].explain()
    return str(event)
