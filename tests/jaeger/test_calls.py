"""Calls that were traced, read back from a real Jaeger: what somebody sees who opens it because a chat was slow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from resilient_foundry import AttemptTimeout, Backoff, CallOptions, Retry, Stack, StreamGuard, Tracing
from resilient_foundry.foundry import FoundryClient
from resilient_foundry.foundry.runtime import RESILIENCE, LocalRuntime
from resilient_foundry.harness.faults import Answer, CutBeforeFirstEvent, Reset, each_post
from resilient_foundry.harness.proxy import FaultProxy
from resilient_foundry.testing import attempt, call, verify_trace, wait
from resilient_foundry.traces.jaeger import Jaeger
from resilient_foundry.traces.sdk import from_sdk
from resilient_foundry.traces.tree import Trace, traces_of
from tests.jaeger.server import JaegerServer
from tests.servers import Server, replies, script
from tests.ways import LIBRARIES, NAMES, Way, over, way_named

pytestmark = pytest.mark.jaeger
BUSY = Answer(503, {"Retry-After": "1"}, b'{"error": {"message": "busy"}}')


def several(count: int) -> bool:
    return count > 1


def named(request: Any) -> None:  # of either library
    request.extensions["resilience"] = CallOptions(repeatable=True, name="chat by openai")


class Service:
    """A program that is traced; what it did is sent to Jaeger, and read back."""

    def __init__(self, name: str, otlp: str, jaeger: Jaeger) -> None:
        self._kept = InMemorySpanExporter()
        self._exporter = OTLPSpanExporter(f"{otlp}/v1/traces")
        self._jaeger = jaeger
        provider = TracerProvider(resource=Resource({"service.name": name}), shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._kept))
        self.tracing = Tracing(name="shop", tracer_provider=provider)

    def traces(self) -> Iterator[tuple[Trace, Trace]]:
        """Each trace as it was made, and as Jaeger tells it."""
        spans = self._kept.get_finished_spans()
        assert self._exporter.export(spans).name == "SUCCESS"
        for made in traces_of(from_sdk(spans)):
            yield made, self._jaeger.trace(made.trace_id, spans=len(made.spans))

    def close(self) -> None:
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # the exporter left its type away


@pytest.fixture
def service(jaeger_server: JaegerServer, jaeger: Jaeger, request: pytest.FixtureRequest) -> Iterator[Service]:
    """A service of the test's own, since all tests share one Jaeger."""
    service = Service(request.node.name, jaeger_server.otlp, jaeger)
    yield service
    service.close()


@pytest.fixture(scope="module")
def runtime() -> Iterator[LocalRuntime]:
    """The real Foundry Local."""
    with LocalRuntime(RESILIENCE) as runtime:
        yield runtime


def test_a_chat_through_three_faults(service: Service, runtime: LocalRuntime) -> None:
    """A connection is reset, a server is busy and says for how long, a stream is cut; then comes the answer.

    One logical call, its attempts as siblings, why each failed, how long it waited and on whose word, when the first
    token came, how many there were, and where the deadline stood.
    """
    stack = Stack(*(service.tracing, *tuple(Stack.inference(attempts=4))[1:]))
    model = runtime.models[0].id
    with (
        FaultProxy(runtime.url, each_post(Reset(), BUSY, CutBeforeFirstEvent())) as proxy,
        FoundryClient(proxy.url, model=model, stack=stack) as foundry,
        foundry.stream_complete("What is resilience?") as stream,
    ):
        said = "".join(chunk.content for chunk in stream)
    assert said
    ((made, read),) = service.traces()
    good: dict[str, Any] = {"bytes": several, "chunks": several, "completed": True}
    expected = call(
        f"chat {model}",
        failed=False,
        outcome="recovered",
        attempts=4,
        operation="chat",
        provider="foundry_local",
        request_model=model,
        request_stream=True,
        finish_reasons=("stop",),
        input_tokens=lambda count: count > 0,
        output_tokens=lambda count: count > 0,
        time_to_first_chunk=lambda seconds: seconds > 1,
        total_delay=lambda seconds: seconds > 1,
        deadline=600.0,
        deadline_remaining=lambda seconds: 0 < seconds < 599,
    ) > [
        call("foundry_local status") > [attempt(200)],
        attempt("*.ReadError", failed=True, number=1, outcome="retryable"),
        wait(by="backoff"),
        attempt(503, failed=True, number=2, resend_count=1, outcome="retryable"),
        wait(at_least=1, by="retry_after", reason="503"),
        attempt("*.RemoteProtocolError", failed=True, status=200, number=3),
        wait(by="backoff"),
        attempt(200, failed=False, number=4, resend_count=3, outcome="success", **good),
    ]
    verify_trace(expected, made)
    verify_trace(expected, read)
    assert read.spans == made.spans  # to the nanosecond: order, durations, attributes, events
    (chat,) = read.roots
    _, first, busy, cut, last = read.children_of(chat)
    assert first.end is not None
    assert busy.end is not None
    assert cut.end is not None
    assert last.end is not None
    assert chat.end is not None
    assert cut.start - busy.end >= 1e9
    assert chat.start <= first.start <= first.end <= busy.start <= busy.end <= cut.start <= cut.end <= last.start
    assert last.end <= chat.end


@pytest.fixture(params=NAMES)
def way(request: pytest.FixtureRequest) -> Iterator[Way]:
    """Httpx and httpx2, each in threads, on asyncio and on trio."""
    way = way_named(request.param)
    try:
        yield way
    finally:
        way.close()


def test_calls_side_by_side_in_any_app_keep_their_trees(service: Service, way: Way) -> None:
    """Each has its own trace, whatever the others do in their threads or tasks."""
    stack = Stack(service.tracing, Retry(attempts=2, backoff=Backoff(base=0.01)), AttemptTimeout())
    busy_once = {path: script(replies(503), replies(200)) for path in ("/a", "/b", "/c")}
    with Server(lambda talk: busy_once[talk.asked.path](talk)) as server:
        client = way.client(stack)
        paths = list(busy_once)
        answers = way.together(len(paths), lambda: client.get(f"{server.url}{paths.pop()}"))
        assert [answer.result().status_code for answer in answers] == [200, 200, 200]
    expected = call("resilience shop", outcome="recovered", failed=False) > [
        attempt(503, failed=True),
        wait(by="backoff", reason="503"),
        attempt(200, resend_count=1),
    ]
    traces = list(service.traces())
    assert len(traces) == 3
    for made, read in traces:
        verify_trace(expected, read)
        assert read.spans == made.spans
        assert len({str(span.attributes["url.full"]) for span in read.spans if span.kind == "client"}) == 1


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_openai_sdk_over_our_transport(service: Service, runtime: LocalRuntime, library: str) -> None:
    """A stream that was cut before its first word is one call with two attempts."""
    module: Any = LIBRARIES[library]
    stack = Stack(service.tracing, Retry(backoff=Backoff(base=0.01)), StreamGuard())
    with (
        FaultProxy(runtime.url, each_post(CutBeforeFirstEvent())) as proxy,
        module.Client(transport=over(stack, module.HTTPTransport())) as http,
    ):
        client = openai.OpenAI(base_url=f"{proxy.url}/v1", api_key="none", http_client=http, max_retries=0)
        http.event_hooks["request"].append(named)
        stream = client.chat.completions.create(
            model=runtime.models[0].id, messages=[{"role": "user", "content": "What is resilience?"}], stream=True
        )
        assert "".join(piece.choices[0].delta.content or "" for piece in stream)
    ((made, read),) = service.traces()
    verify_trace(
        call("chat by openai", outcome="recovered", failed=False)
        > [attempt("*.RemoteProtocolError"), wait(by="backoff"), attempt(200, chunks=lambda count: count > 1)],
        read,
    )
    assert read.spans == made.spans
