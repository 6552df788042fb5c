"""Every event as a name and flat values: what spans, logs and OpenTelemetry's log events have in common."""

from __future__ import annotations

from resilient_foundry.events import (
    AttemptAnswered,
    AttemptEnded,
    AttemptStarted,
    CallRejected,
    CallShed,
    ChaosInjected,
    CircuitClosed,
    CircuitHalfOpened,
    CircuitListenerFailed,
    CircuitOpened,
    CircuitProbed,
    Event,
    FallbackDenied,
    FellBack,
    HedgeDenied,
    HedgeStarted,
    HedgeWon,
    HeldBack,
    LimitChanged,
    Queued,
    Remedied,
    ResumeDenied,
    RetriesExhausted,
    RetryDenied,
    RetryScheduled,
    StreamResumed,
    TimedOut,
)
from resilient_foundry.telemetry.names import Names

Value = str | int | float | bool
Values = dict[str, Value]

KINDS_OF_LIMITS = {"read": "first_byte", "deadline": "total", "progress": "idle"}
"""What the phases of `TimedOut` are called outside, where that differs."""


def described(event: Event, names: Names) -> tuple[str, Values] | None:
    """The name of an event, and its values without those that are not known; None for one that has no name.

    Seconds are floats. Nothing here quotes a request, an answer or the text of an error.
    """
    found = _described(event, names)
    if found is None:
        return None
    name, values = found
    return name, {key: value for key, value in values.items() if value is not None}


def _described(event: Event, names: Names) -> tuple[str, dict[str, Value | None]] | None:
    match event:
        case AttemptStarted():
            return names.attempt_started, {"attempt": event.number}
        case AttemptAnswered():
            return names.attempt_answered, {"attempt": event.number, "status": event.status, "after": event.after}
        case AttemptEnded():
            return names.attempt_ended, {
                "attempt": event.number,
                "status": event.status,
                "outcome": event.outcome.value,
                "after": event.after,
                "bytes": event.bytes,
            }
        case RetryScheduled():
            return names.retry_scheduled, {
                "attempt": event.attempt,
                "delay": event.wait,
                "delay_source": event.source,
                "reason": event.reason,
            }
        case RetriesExhausted():
            return names.retry_exhausted, {"attempts": event.attempts, "reason": event.reason}
        case RetryDenied():
            return names.retry_denied, {"attempt": event.attempt, "reason": event.reason, "by": event.why}
        case StreamResumed():
            return names.stream_resumed, {"attempt": event.attempt, "characters": event.characters}
        case ResumeDenied():
            return names.resume_denied, {"by": event.why, "characters": event.characters}
        case CircuitOpened():
            return names.circuit_changed, {
                "name": event.circuit,
                "to": "open",
                "trigger": event.reason or None,
                "retry_in": event.retry_after,
            }
        case CircuitHalfOpened():
            return names.circuit_changed, {"name": event.circuit, "from": "open", "to": "half_open"}
        case CircuitClosed():
            return names.circuit_changed, {"name": event.circuit, "to": "closed"}
        case CircuitProbed():
            return names.circuit_probed, {"name": event.circuit, "works": event.works}
        case CircuitListenerFailed():
            return names.circuit_listener_failed, {
                "name": event.circuit,
                "listener": event.listener,
                "error": event.error,
            }
        case CallRejected():
            return names.circuit_rejected, {
                "name": event.circuit,
                "retry_in": event.retry_after,
                "watched_only": event.watched_only or None,
            }
        case TimedOut():
            return names.timeout, {"kind": KINDS_OF_LIMITS.get(event.phase, event.phase), "limit": event.limit}
        case _:
            return _of_the_others(event, names)


def _of_the_others(event: Event, names: Names) -> tuple[str, dict[str, Value | None]] | None:
    match event:
        case Queued():
            return names.queued, {"name": event.limiter, "seconds": event.seconds}
        case CallShed():
            return names.shed, {"name": event.limiter, "by": event.why}
        case LimitChanged():
            return names.limit_changed, {"name": event.limiter, "limit": event.limit}
        case HeldBack():
            return names.held_back, {"name": event.origin, "seconds": event.seconds}
        case FellBack():
            return names.fell_back, {"target": event.target, "reason": event.reason}
        case FallbackDenied():
            return names.fallback_denied, {"target": event.target, "reason": event.reason, "by": event.why}
        case HedgeStarted():
            return names.hedge_started, {"number": event.number, "after": event.after}
        case HedgeDenied():
            return names.hedge_denied, {"by": event.why}
        case HedgeWon():
            return names.hedge_won, {"number": event.number}
        case ChaosInjected():
            return names.chaos, {"fault": event.fault}
        case Remedied():
            return names.remedied, {"name": event.remedy, "seconds": event.seconds, "worked": event.worked}
        case _:
            return None
