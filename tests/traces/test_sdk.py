"""Spans of OpenTelemetry's SDK."""

from __future__ import annotations

import pytest
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, Status, StatusCode

from resilient_foundry.traces.sdk import from_sdk
from resilient_foundry.traces.tree import Link, SpanEvent


def test_everything_that_a_span_tells_is_there() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource({"service.name": "mine"}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("a.library")
    parent = tracer.start_span("call", start_time=10)
    child = tracer.start_span(
        "POST",
        context=trace.set_span_in_context(parent),
        kind=SpanKind.CLIENT,
        attributes={"text": "a", "list": ["a", "b"], "count": 3, "true": True, "part": 0.5},
        links=[trace.Link(parent.get_span_context(), {"why": "hedge"})],
        start_time=20,
    )
    child.add_event("waited", {"delay": 1.0}, timestamp=30)
    child.set_status(Status(StatusCode.ERROR, "said"))
    child.end(end_time=40)
    parent.end(end_time=50)
    first, second = from_sdk(exporter.get_finished_spans())
    ids = parent.get_span_context()
    assert (second.name, second.parent_id, second.kind, second.start, second.end) == ("call", None, "internal", 10, 50)
    assert second.trace_id == first.trace_id == f"{ids.trace_id:032x}"
    assert (first.name, first.parent_id, first.kind, first.start, first.end) == (
        "POST",
        second.span_id,
        "client",
        20,
        40,
    )
    assert first.attributes == {"text": "a", "list": ("a", "b"), "count": 3, "true": True, "part": 0.5}
    assert first.events == (SpanEvent("waited", 30, {"delay": 1.0}),)
    assert first.links == (Link(first.trace_id, second.span_id, {"why": "hedge"}),)
    assert (first.status, first.status_message, second.status) == ("error", "said", "unset")
    assert (first.service, first.scope) == ("mine", "a.library")


def test_a_span_that_has_not_ended_has_no_end() -> None:
    """Looked at while it lives, as by whoever hunts for spans that leak."""
    [span] = from_sdk([TracerProvider().get_tracer("a").start_span("open")])
    assert (span.name, span.end) == ("open", None)


def test_what_is_no_span_is_refused() -> None:
    with pytest.raises(TypeError, match="a span of OpenTelemetry's SDK is wanted, not 7"):
        from_sdk([7])
