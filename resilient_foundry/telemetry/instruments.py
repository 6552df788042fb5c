"""The metrics of calls and attempts, failures included."""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry.context import Context
from opentelemetry.metrics import Meter

from resilient_foundry.events import Event
from resilient_foundry.telemetry.names import Names

_REQUEST_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""The bounds that the HTTP conventions advise."""
_ATTEMPTS = (1, 2, 3, 4, 6, 8)


class Instruments:
    """What is counted and measured. The context of a measurement is that of its span, for exemplars."""

    def __init__(self, meter: Meter, names: Names) -> None:
        self._names = names
        self._requests = meter.create_histogram(
            names.request_duration,
            unit="s",
            description="Duration of HTTP client requests, one for each attempt.",
            explicit_bucket_boundaries_advisory=_REQUEST_SECONDS,
        )
        self._calls = meter.create_histogram(
            names.call_duration,
            unit="s",
            description="Duration of calls with all their attempts and waits.",
            explicit_bucket_boundaries_advisory=_REQUEST_SECONDS,
        )
        self._attempts = meter.create_histogram(
            names.call_attempts,
            unit="{attempt}",
            description="Attempts of a call.",
            explicit_bucket_boundaries_advisory=_ATTEMPTS,
        )

    def attempt_ended(
        self,
        seconds: float,
        attributes: Mapping[str, str | int],
        context: Context | None,
    ) -> None:
        """An attempt is over, whether or not it was answered."""
        self._requests.record(seconds, attributes, context)

    def call_ended(
        self,
        pipeline: str,
        outcome: str,
        error_type: str | None,
        seconds: float,
        attempts: int,
        context: Context | None,
    ) -> None:
        """A call is over."""
        names = self._names
        attributes = {names.pipeline: pipeline, names.outcome: outcome}
        self._attempts.record(attempts, attributes, context)
        if error_type is not None:
            attributes[names.error_type] = error_type
        self._calls.record(seconds, attributes, context)

    def happened(self, event: Event, pipeline: str, context: Context | None) -> None:
        """An event of a call."""


class NoInstruments(Instruments):
    """Where nobody has set up metrics."""

    def __init__(self) -> None:
        """Nothing is made."""

    def attempt_ended(self, seconds: float, attributes: Mapping[str, str | int], context: Context | None) -> None:
        """Nothing."""

    def call_ended(
        self,
        pipeline: str,
        outcome: str,
        error_type: str | None,
        seconds: float,
        attempts: int,
        context: Context | None,
    ) -> None:
        """Nothing."""

    def happened(self, event: Event, pipeline: str, context: Context | None) -> None:
        """Nothing."""
