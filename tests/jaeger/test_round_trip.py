"""What is sent over OTLP to a real Jaeger is what is read back from it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.util.types import AnyValue

from resilient_foundry.traces.jaeger import Jaeger, JaegerError, TraceNotFoundError, is_jaeger, jaeger_beside
from resilient_foundry.traces.jaeger_json import spans_of_jaeger_json
from resilient_foundry.traces.sdk import from_sdk
from resilient_foundry.traces.tree import Trace, traces_of
from tests.jaeger.server import JaegerServer

pytestmark = pytest.mark.jaeger

ATTRIBUTES: dict[str, AnyValue] = {
    "text": "ä€😀",
    "empty": "",
    "number": 42,
    "large": 2**53 + 1,
    "negative": -(2**63),
    "fraction": 0.1,
    "whole": 2.0,
    "yes": True,
    "no": False,
    "texts": ["a", "b"],
    "numbers": [1, 2],
    "fractions": [1.0, 2.5],
    "answers": [True, False],
    "nothing": list[str](),
    "json": '{"a": 1}',
    "error": False,
    "span.kind": "an attribute of somebody else's",
}


class Sent:
    """Spans of one service, as they were made and as they go to Jaeger."""

    def __init__(self, service: str, otlp: str) -> None:
        self._memory = InMemorySpanExporter()
        self._exporter = OTLPSpanExporter(f"{otlp}/v1/traces")
        self._provider = TracerProvider(resource=Resource({"service.name": service}), shutdown_on_exit=False)
        self._provider.add_span_processor(SimpleSpanProcessor(self._memory))
        self.service = service
        self.tracer: Tracer = self._provider.get_tracer("the library", "1.2")

    def now(self) -> list[Trace]:
        """Send all that has ended; the same spans as they are in memory."""
        spans = self._memory.get_finished_spans()
        self._memory.clear()
        assert self._exporter.export(spans).name == "SUCCESS"
        return traces_of(from_sdk(spans))

    def close(self) -> None:
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # the exporter left its type away


@pytest.fixture
def sent(jaeger_server: JaegerServer, request: pytest.FixtureRequest) -> Iterator[Sent]:
    """A service of the test's own, since all tests share one Jaeger."""
    sent = Sent(request.node.name, jaeger_server.otlp)
    yield sent
    sent.close()


def test_a_trace_is_read_back_as_it_was_made(jaeger: Jaeger, sent: Sent) -> None:
    """Every kind of attribute and of span, events, links, statuses, parents and nanoseconds: nothing is lost."""
    tracer = sent.tracer
    now = time.time_ns() // 1000 * 1000
    with tracer.start_as_current_span("another") as another:
        pass
    root = tracer.start_span(
        "chat phi",
        kind=SpanKind.CLIENT,
        attributes=ATTRIBUTES,
        links=[Link(another.get_span_context(), {"why": "hedge", "attempt": 2})],
        start_time=now + 1,
    )
    below = set_span_in_context(root)
    root.add_event("first", {"delay": 1.5, "attempt": 1, "texts": ["a"], "last": False}, timestamp=now + 2)
    root.add_event("first", timestamp=now + 2)
    root.add_event("no attributes", timestamp=now + 999)
    for number, kind in enumerate(SpanKind):
        tracer.start_span(kind.name, below, kind, start_time=now + 10 + number).end(now + 20)
    failed = tracer.start_span("POST", below, SpanKind.CLIENT, start_time=now + 30)
    failed.record_exception(ValueError("boom"), timestamp=now + 31)
    failed.set_status(Status(StatusCode.ERROR, "boom"))
    failed.end(now + 1_234_567)
    fine = tracer.start_span("fine", below, start_time=now + 40)
    fine.set_status(StatusCode.OK)
    fine.end(now + 41)
    root.end(now + 2_345_678)
    made, linked = sent.now()
    assert len(made.spans) == 8
    assert jaeger.trace(made.trace_id, spans=8) == made
    assert jaeger.trace(linked.trace_id.upper()) == linked


def test_jaegers_own_json_keeps_all_but_nanoseconds_lists_and_attributes_of_links(
    jaeger: Jaeger, sent: Sent, jaeger_server: JaegerServer
) -> None:
    """It is what an older Jaeger answers, and what the UI saves."""
    now = time.time_ns() // 1000 * 1000
    with sent.tracer.start_as_current_span("another") as another:
        pass
    root = sent.tracer.start_span(
        "chat phi", start_time=now, links=[Link(another.get_span_context(), {"why": "hedge"})]
    )
    span = sent.tracer.start_span("POST", set_span_in_context(root), SpanKind.CLIENT, start_time=now + 1999)
    span.set_attributes({"large": 2**53 + 1, "whole": 2.0, "yes": True, "texts": ["a", "b"], "error": "an attribute"})
    span.add_event("waited", {"delay": 1.0, "reason": "status 503"}, timestamp=now + 2999)
    span.set_status(Status(StatusCode.ERROR, "boom"))
    span.end(now + 3000)
    root.end(now + 4000)
    made, _ = sent.now()
    assert jaeger.trace(made.trace_id, spans=2) == made
    answer = httpx.get(f"{jaeger_server.url}/api/traces/{made.trace_id}", trust_env=False)
    first, second = made.spans
    assert Trace(spans_of_jaeger_json(answer.json())).spans == (
        replace(first, links=(replace(first.links[0], attributes={}),)),
        replace(
            second,
            start=now + 1000,
            end=now + 2000,
            attributes={**second.attributes, "texts": '["a","b"]'},
            events=(replace(second.events[0], at=now + 2000),),
        ),
    )


def test_a_span_without_duration_comes_back_a_nanosecond_long_and_without_notes(jaeger: Jaeger, sent: Sent) -> None:
    """Jaeger repairs it when it arrives, and says so in an attribute that nobody sent."""
    now = time.time_ns()
    sent.tracer.start_span("instant", start_time=now).end(now)
    (made,) = sent.now()
    (read,) = jaeger.trace(made.trace_id).spans
    assert (read.start, read.end, read.attributes) == (now, now + 1, {})


def test_times_are_those_that_were_sent_also_where_they_make_no_sense(jaeger: Jaeger, sent: Sent) -> None:
    """Jaeger would move what begins before its parent, since clocks differ; here nothing is hidden."""
    now = time.time_ns()
    root = sent.tracer.start_span("chat phi", start_time=now)
    sent.tracer.start_span("POST", set_span_in_context(root), start_time=now - 5_000_001).end(now - 3)
    root.end(now + 1_000_000)
    (made,) = sent.now()
    assert jaeger.trace(made.trace_id, spans=2) == made


def test_traces_are_found_by_what_is_known_of_a_span(jaeger: Jaeger, sent: Sent) -> None:
    """Name, attributes of whatever type, time and duration: of one and the same span."""
    now = time.time_ns()
    for number in range(3):
        start = now + number * 1_000_000
        span = sent.tracer.start_span(f"call {number}", start_time=start)
        span.set_attributes({"number": number, "share": number / 2, "even": number % 2 == 0, "text": 'a "b" & c'})
        span.add_event("waited", {"reason": f"status {number}"}, timestamp=start)
        span.set_status(StatusCode.ERROR if number == 2 else StatusCode.UNSET)
        span.end(start + 1_000_000 * (1 + number))
    made = sent.now()
    zero, one, two = made
    assert [jaeger.trace(each.trace_id) for each in made] == made
    find = jaeger.search
    name = sent.service
    assert find(name) == made
    assert len(find(name, limit=2)) == 2
    assert find(name, "call 1") == [one]
    assert find(name, tags={"number": 1}) == [one]
    assert find(name, tags={"share": 1.0, "text": 'a "b" & c'}) == [two]
    assert find(name, tags={"even": True}) == [zero, two]
    assert find(name, tags={"reason": "status 0"}) == [zero]
    assert find(name, min_duration=0.002) == [one, two]
    assert find(name, start=now + 500_000, end=now + 1_500_000) == [one]
    assert find(name, "call 1", tags={"number": 2}) == []
    assert find("a service that sent nothing") == []
    assert jaeger.operations(name) == ["call 0", "call 1", "call 2"]
    assert name in jaeger.services()


def test_what_jaeger_has_not_and_does_not_understand_is_said_in_one_sentence(jaeger_server: JaegerServer) -> None:
    """A trace id of yesterday is a common question to a Jaeger that keeps everything in memory."""
    with Jaeger(jaeger_server.url, patience=0) as jaeger:
        with pytest.raises(TraceNotFoundError, match=f"at {jaeger.url} has no trace {'a' * 32}, and was given 0 s"):
            jaeger.trace("a" * 32)
        with pytest.raises(JaegerError, match="refused: parameter 'service' is required"):
            jaeger.search("")


def test_a_jaeger_is_told_from_the_receiver_of_its_spans(jaeger_server: JaegerServer) -> None:
    """Both speak HTTP on neighbouring ports, and are easily taken for each other."""
    assert is_jaeger(jaeger_server.url)
    assert not is_jaeger(jaeger_server.otlp)
    assert jaeger_beside(jaeger_server.otlp) is None, "only from Jaeger's usual ports its others are known"
    with Jaeger(jaeger_server.otlp) as jaeger, pytest.raises(JaegerError, match=r"is no Jaeger: .* gave 404 with text"):
        jaeger.trace("a" * 32)
