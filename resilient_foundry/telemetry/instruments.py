"""The metrics of calls and attempts, failures included."""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry.context import Context
from opentelemetry.metrics import Histogram, Meter

from resilient_foundry.events import Event
from resilient_foundry.telemetry.happenings import Happenings
from resilient_foundry.telemetry.names import Names

Attributes = Mapping[str, str | int]

_REQUEST_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""The bounds that the HTTP conventions advise."""
_MODEL_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
"""The bounds that the conventions for generative AI advise for seconds."""
_TOKENS = tuple(4**power for power in range(14))
"""1 to 67,108,864: the bounds that they advise for tokens."""
_ATTEMPTS = (1, 2, 3, 4, 6, 8)


class Instruments:
    """What is counted and measured. The context of a measurement is that of its span, for exemplars."""

    def __init__(self, meter: Meter, names: Names) -> None:
        self._names = names
        self._happenings = Happenings(meter, names)
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
        self._operations = _of_models(meter, names.operation_duration, "Duration of an operation of generative AI.")
        self._first_chunks = _of_models(
            meter, names.operation_first_chunk, "Time from the request to the first chunk of a streamed answer."
        )
        self._chunks = _of_models(
            meter, names.operation_per_chunk, "Time from one chunk of a streamed answer to the next."
        )
        self._tokens = meter.create_histogram(
            names.token_usage,
            unit="{token}",
            description="Tokens of an operation, as the server counts them.",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )

    def attempt_ended(self, seconds: float, attributes: Attributes, context: Context | None) -> None:
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
        self._happenings.told(event, pipeline, context)

    def operation_ended(self, seconds: float, attributes: Attributes, context: Context | None) -> None:
        """An operation of generative AI is over, with all its attempts and the stream of its answer."""
        self._operations.record(seconds, attributes, context)

    def first_chunk(self, seconds: float, attributes: Attributes, context: Context | None) -> None:
        """The first chunk of a streamed answer came, so long after the operation began."""
        self._first_chunks.record(seconds, attributes, context)

    def per_chunk(self, seconds: float, attributes: Attributes, context: Context | None) -> None:
        """A further chunk of a streamed answer came, so long after the one before."""
        self._chunks.record(seconds, attributes, context)

    def tokens(self, count: int, kind: str, attributes: Attributes, context: Context | None) -> None:
        """The server reported its count of tokens; `kind` is `input` or `output`."""
        self._tokens.record(count, {**attributes, self._names.token_type: kind}, context)


def _of_models(meter: Meter, name: str, description: str) -> Histogram:
    return meter.create_histogram(
        name, unit="s", description=description, explicit_bucket_boundaries_advisory=_MODEL_SECONDS
    )
