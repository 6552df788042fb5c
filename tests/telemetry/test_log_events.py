"""Events by OpenTelemetry's log API."""

from typing import Any

import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from resilient_foundry import Retry, Stack, Tracing
from resilient_foundry.testing import busy, failed, ok, rehearse


class Backend:
    """Takes spans and log records."""

    def __init__(self) -> None:
        self.kept = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]  # the SDK left its type away
        self.kept_spans = InMemorySpanExporter()
        self.logs, self.tracers = LoggerProvider(shutdown_on_exit=False), TracerProvider(shutdown_on_exit=False)
        self.logs.add_log_record_processor(SimpleLogRecordProcessor(self.kept))
        self.tracers.add_span_processor(SimpleSpanProcessor(self.kept_spans))

    def tracing(self, events: str, **settings: Any) -> Tracing:
        return Tracing(logger_provider=self.logs, calls="always", events=events, **settings)

    @property
    def records(self) -> list[Any]:
        """Of the SDK's own kind, whose module is private."""
        return [each.log_record for each in self.kept.get_finished_logs()]

    @property
    def told_by_spans(self) -> list[str]:
        return [event.name for span in self.kept_spans.get_finished_spans() for event in span.events]


def test_an_event_is_a_log_record_with_a_name_in_the_trace_of_its_call() -> None:
    """At the moment at which it happened, with the values that the event of a span has, and a sentence for people."""
    backend = Backend()
    rehearse(Stack(backend.tracing("log", tracer_provider=backend.tracers), Retry()), busy(retry_after=2), ok())
    (record,) = backend.records
    (call,) = [span for span in backend.kept_spans.get_finished_spans() if span.parent is None]
    assert call.context is not None
    assert call.start_time is not None
    assert record.event_name == "resilient_foundry.retry.scheduled"
    assert dict(record.attributes) == {"attempt": 1, "delay": 2.0, "delay_source": "retry_after", "reason": "503"}
    assert (record.trace_id, record.span_id) == (call.context.trace_id, call.context.span_id)
    assert (record.body, record.severity_text) == ("waits 2.000 s (the server's word) because of 503", "INFO")
    assert record.timestamp == call.start_time
    assert backend.told_by_spans == []


@pytest.mark.parametrize(("events", "spans", "records"), [("span", 2, 0), ("log", 0, 2), ("both", 2, 2)])
def test_events_go_where_they_are_wanted(events: str, spans: int, records: int) -> None:
    backend = Backend()
    stack = Stack(backend.tracing(events, tracer_provider=backend.tracers), Retry(attempts=2))
    rehearse(stack, failed(503), failed(503))
    assert (len(backend.told_by_spans), len(backend.records)) == (spans, records)


def test_giving_up_is_a_warning() -> None:
    backend = Backend()
    rehearse(Stack(backend.tracing("log"), Retry(attempts=2)), failed(503), failed(503))
    assert [record.severity_text for record in backend.records] == ["INFO", "WARN"]


def test_events_are_told_where_nobody_takes_spans() -> None:
    """Without a trace, then."""
    backend = Backend()
    rehearse(Stack(backend.tracing("log"), Retry()), failed(503), ok())
    assert [(record.event_name, record.trace_id) for record in backend.records] == [
        ("resilient_foundry.retry.scheduled", 0)
    ]


def test_without_an_sdk_nothing_is_told() -> None:
    """And nothing is broken."""
    assert Tracing(events="log").provider() is None
    assert rehearse(Stack(Tracing(events="log"), Retry()), failed(503), ok()).waits != []


def test_a_way_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^Tracing.events is one of 'span', 'log', 'both', not 'logs'$"):
        Tracing(events="logs")
