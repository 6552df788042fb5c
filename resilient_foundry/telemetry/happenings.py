"""The metrics of what happens to calls: waits, refusals, limits that passed, circuits that change, hedges."""

from __future__ import annotations

import threading

from opentelemetry.context import Context
from opentelemetry.metrics import Meter

from resilient_foundry.events import (
    CallRejected,
    CallShed,
    CircuitClosed,
    CircuitHalfOpened,
    CircuitOpened,
    Event,
    HedgeStarted,
    HedgeWon,
    RetryDenied,
    RetryScheduled,
    TimedOut,
)
from resilient_foundry.telemetry.describe import KINDS_OF_LIMITS
from resilient_foundry.telemetry.names import Names

_DELAYS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_STATES = {CircuitOpened: "open", CircuitHalfOpened: "half_open", CircuitClosed: "closed"}


class Happenings:
    """Counts events. Attributes have few values each: names of pipelines, circuits and classes, never a URL's path."""

    def __init__(self, meter: Meter, names: Names) -> None:
        self._pipeline = names.pipeline
        self._delays = meter.create_histogram(
            names.retry_delay,
            unit="s",
            description="Waits before further attempts.",
            explicit_bucket_boundaries_advisory=_DELAYS,
        )
        self._rejections = meter.create_counter(
            names.rejections, unit="{call}", description="Calls that were refused, or not repeated, by a policy."
        )
        self._timeouts = meter.create_counter(names.timeouts, unit="{timeout}", description="Time limits that passed.")
        self._hedges = meter.create_counter(
            names.hedges, unit="{attempt}", description="Attempts begun beside another, and whose answer was taken."
        )
        self._standing = meter.create_up_down_counter(
            names.circuit_state, unit="{circuit}", description="Circuits in each state."
        )
        self._transitions = meter.create_counter(
            names.circuit_transitions, unit="{transition}", description="Changes of circuits."
        )
        self._states: dict[str, str] = {}
        self._lock = threading.Lock()

    def told(self, event: Event, pipeline: str, context: Context | None) -> None:
        """Count an event of a call."""
        about = {self._pipeline: pipeline}
        match event:
            case RetryScheduled():
                attributes = {**about, "reason": event.reason, "source": event.source}
                self._delays.record(event.wait, attributes, context)
            case CallRejected(watched_only=False):
                self._rejections.add(1, {**about, "by": "breaker"}, context)
            case CallShed():
                by = "rate_limit" if event.why in {"rate", "told_to_wait"} else "limiter"
                self._rejections.add(1, {**about, "by": by}, context)
            case RetryDenied(why="budget"):
                self._rejections.add(1, {**about, "by": "budget"}, context)
            case TimedOut():
                kind = KINDS_OF_LIMITS.get(event.phase, event.phase)
                self._timeouts.add(1, {**about, "kind": kind}, context)
            case HedgeStarted():
                self._hedges.add(1, {**about, "result": "started"}, context)
            case HedgeWon():
                self._hedges.add(1, {**about, "result": "won" if event.number > 1 else "lost"}, context)
            case CircuitOpened() | CircuitHalfOpened() | CircuitClosed():
                self._changed(event.circuit, _STATES[type(event)], context)
            case _:
                pass

    def _changed(self, circuit: str, to: str, context: Context | None) -> None:
        """A circuit changed. It counts from its first change on, before which it was closed."""
        with self._lock:
            before = self._states.get(circuit)
            self._states[circuit] = to
        came_from = before or "closed"
        if came_from == to:
            return
        if before is not None:
            self._standing.add(-1, {"name": circuit, "state": before}, context)
        self._standing.add(1, {"name": circuit, "state": to}, context)
        self._transitions.add(1, {"name": circuit, "from": came_from, "to": to}, context)
