"""OpenTelemetry in each of the states that a program may have it in, without setting anything up for the process."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from opentelemetry.metrics import MeterProvider as AnyMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import DEFAULT_OFF

NO_SDK, SAMPLED_OUT, BATCH, METRICS = "no SDK", "sampled out", "SDK with batch", "SDK with batch and metrics"
STATES = (NO_SDK, SAMPLED_OUT, BATCH, METRICS)
_AN_HOUR = 3_600_000


class _Nowhere(SpanExporter):
    """Throws away what it gets."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        del spans
        return SpanExportResult.SUCCESS


@dataclass(frozen=True, slots=True)
class Telemetry:
    """Providers, to be handed to whoever traces; None is what a program has that set up none."""

    tracers: TracerProvider | None = None
    meters: AnyMeterProvider | None = None

    def flush(self) -> None:
        """Have everything exported that was recorded; until then nothing is, so that it can be done between turns."""
        if self.tracers is not None:
            self.tracers.force_flush()


@contextmanager
def telemetry(state: str) -> Generator[Telemetry]:
    """An SDK in that state, for the time of the block."""
    if state == NO_SDK:
        yield Telemetry()
        return
    tracers = TracerProvider(sampler=DEFAULT_OFF) if state == SAMPLED_OUT else TracerProvider()
    if state != SAMPLED_OUT:
        tracers.add_span_processor(
            BatchSpanProcessor(_Nowhere(), max_queue_size=100_000, schedule_delay_millis=_AN_HOUR)
        )
    metered = state == METRICS
    meters = MeterProvider(metric_readers=[InMemoryMetricReader()], shutdown_on_exit=False) if metered else None
    try:
        yield Telemetry(tracers, meters)
    finally:
        tracers.shutdown()
