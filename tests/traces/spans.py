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


def told(**changes: Any) -> Span:
    """A span of one trace, by hand; `at` and `until` are milliseconds since it began."""
    at, until = changes.pop("at", 0), changes.pop("until", None)
    number = changes.pop("number")
    parent = changes.pop("under", None)
    return Span(
        trace_id=TRACE,
        span_id=f"{number:016x}",
        parent_id=f"{parent:016x}" if parent is not None else None,
        start=BEGAN + int(at * 1e6),
        end=None if until is None else BEGAN + int(until * 1e6),
        service="shop",
        **changes,
    )


def happened(name: str, at: float, /, **values: Any) -> SpanEvent:
    """An event, so many milliseconds since the trace began."""
    return SpanEvent(f"resilient_foundry.{name}", BEGAN + int(at * 1e6), values)


def chat(**changes: Any) -> list[Span]:
    """A streamed chat that meets a dead connection, a server that is busy, and one that answers."""
    first = {"http.request.method": "POST", "resilient_foundry.attempt.number": 1}
    waits = (
        happened("retry.scheduled", 2, attempt=1, delay=0.1, delay_source="backoff", reason="httpx.ConnectError"),
        happened("circuit_breaker.state_change", 107, name="http://127.0.0.1:5273", to="open", trigger="5 failures"),
        happened("retry.scheduled", 107, attempt=2, delay=1.0, delay_source="retry_after", reason="503"),
    )
    return [
        told(
            number=2,
            under=1,
            name="POST /v1/chat/completions",
            kind="client",
            at=1,
            until=2,
            status="error",
            attributes={**first, "error.type": "httpx.ConnectError", "resilient_foundry.attempt.outcome": "retryable"},
        ),
        told(
            number=3,
            under=1,
            name="POST /v1/chat/completions",
            kind="client",
            at=102,
            until=107,
            status="error",
            attributes={
                **first,
                "resilient_foundry.attempt.number": 2,
                "http.response.status_code": 503,
                "error.type": "503",
                "resilient_foundry.attempt.outcome": "retryable",
            },
        ),
        told(
            number=4,
            under=1,
            name="POST /v1/chat/completions",
            kind="client",
            at=1107,
            until=1500,
            attributes={
                **first,
                "resilient_foundry.attempt.number": 3,
                "http.response.status_code": 200,
                "resilient_foundry.attempt.outcome": "success",
                "resilient_foundry.stream.time_to_first_event": 0.12,
                "resilient_foundry.stream.chunks": 12,
                "resilient_foundry.stream.bytes": 3210,
                "resilient_foundry.stream.completed": True,
            },
        ),
        told(
            number=1,
            name="chat phi-4-mini",
            kind="client",
            at=0,
            until=1500,
            events=waits,
            **{
                "attributes": {
                    "resilient_foundry.outcome": "recovered",
                    "resilient_foundry.attempts": 3,
                    "gen_ai.usage.input_tokens": 17,
                    "gen_ai.usage.output_tokens": 12,
                    "gen_ai.response.time_to_first_chunk": 1.227,
                    "resilient_foundry.deadline": 30.0,
                    "resilient_foundry.deadline.remaining": 28.5,
                },
            }
            | changes,
        ),
    ]
