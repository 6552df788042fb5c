"""Spans for tests: by hand, drawn by hypothesis, and told to OpenTelemetry's own SDK."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from resilient_foundry.traces.tree import KINDS, STATUSES, Link, Span, SpanEvent

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
BEGAN = 1_800_000_000_000_000_000

_hex = st.sampled_from("0123456789abcdef")
trace_ids = st.text(_hex, min_size=32, max_size=32)
span_ids = st.text(_hex, min_size=16, max_size=16)
moments = st.integers(1, 2**63 - 1)
_scalars = st.text(max_size=5) | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False)
attributes: st.SearchStrategy[dict[str, Any]] = st.dictionaries(
    st.text(max_size=5), _scalars | st.lists(_scalars, max_size=3).map(tuple), max_size=3
)
spans = st.builds(
    Span,
    trace_id=trace_ids,
    span_id=span_ids,
    parent_id=st.none() | span_ids,
    name=st.text(max_size=5),
    kind=st.sampled_from(KINDS),
    start=moments,
    end=st.none() | moments,
    status=st.sampled_from(STATUSES),
    status_message=st.text(max_size=5),
    attributes=attributes,
    events=st.lists(st.builds(SpanEvent, st.text(max_size=5), moments, attributes), max_size=2).map(tuple),
    links=st.lists(st.builds(Link, trace_ids, span_ids, attributes), max_size=2).map(tuple),
    service=st.text(max_size=2),
    scope=st.text(max_size=2),
)


def told_to_an_sdk() -> tuple[TracerProvider, InMemorySpanExporter]:
    """A provider, and where its spans are."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider, exporter


def finished(exporter: InMemorySpanExporter) -> tuple[ReadableSpan, ...]:
    """Those that have ended."""
    found: tuple[ReadableSpan, ...] = exporter.get_finished_spans()
    return found
