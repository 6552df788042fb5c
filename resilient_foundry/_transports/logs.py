"""Events as log records of the logger `resilient_foundry`, with the event as structured field `resilience`.

Nothing is louder than INFO but giving up, changes of a circuit, and a listener that fails. Records hold no header,
query, body or error text.
"""

from __future__ import annotations

import logging

from resilient_foundry.events import (
    AttemptAnswered,
    AttemptEnded,
    AttemptStarted,
    CallRejected,
    CircuitClosed,
    CircuitHalfOpened,
    CircuitListenerFailed,
    CircuitOpened,
    Event,
    RetriesExhausted,
    RetryDenied,
    RetryScheduled,
    TimedOut,
)

_logger = logging.getLogger("resilient_foundry")
_logger.addHandler(logging.NullHandler())  # what is shown, and where, is the application's to say


def log(event: Event) -> None:
    """Write the event down, if anybody reads at its level."""
    level, text = _worded(event)
    if _logger.isEnabledFor(level):
        _logger.log(level, "%s", text, extra={"resilience": event})


def _worded(event: Event) -> tuple[int, str]:
    match event:
        case RetryScheduled():
            return logging.INFO, f"retry after attempt {event.attempt} in {event.wait:.3f} s: {event.reason}"
        case RetriesExhausted():
            return logging.WARNING, f"gave up after {event.attempts} attempts: {event.reason}"
        case RetryDenied():
            return logging.INFO, f"no retry after attempt {event.attempt}: {event.reason}, {event.why}"
        case CircuitOpened():
            return logging.WARNING, f"circuit for {event.circuit} opened for {event.retry_after:g} s"
        case CircuitHalfOpened():
            return logging.WARNING, f"circuit for {event.circuit} admits a probe"
        case CircuitClosed():
            return logging.WARNING, f"circuit for {event.circuit} closed"
        case CircuitListenerFailed():
            return (
                logging.WARNING,
                f"a listener of the circuit for {event.circuit} failed: {event.listener}, {event.error}",
            )
        case CallRejected():
            return logging.INFO, f"circuit for {event.circuit} refused a call"
        case TimedOut():
            return logging.INFO, f"{event.phase} limit passed"
        case AttemptStarted():
            return logging.DEBUG, f"attempt {event.number}"
        case AttemptAnswered():
            return logging.DEBUG, f"attempt {event.number} was answered {event.status} after {event.after:.3f} s"
        case AttemptEnded():
            end = f"{event.outcome.value} after {event.after:.3f} s, {event.bytes} bytes"
            return logging.DEBUG, f"attempt {event.number} ended: {end}"
