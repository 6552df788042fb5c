"""OpenTelemetry's instrumentation of httpx and httpx2, switched on, with our `Tracing` and without.

It makes a span where it stands. Switched on for the library, that is around HTTPTransport: one for each attempt.
Switched on for a client (`instrument_client`), that is around the transport which the client has at that moment.
"""

from __future__ import annotations

import importlib
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from resilient_foundry import Backoff, Retry, Stack, Tracing, wrap
from tests.servers import Handler, Server, replies, script
from tests.ways import LIBRARIES

httpx_instrumentation: Any = importlib.import_module("opentelemetry.instrumentation.httpx")  # half typed
INSTRUMENTORS = {"httpx": "HTTPXClientInstrumentor", "httpx2": "HTTPX2ClientInstrumentor"}
WHO = {"resilient_foundry": "ours", "opentelemetry.instrumentation.httpx": "theirs", "caller": "caller"}


class Spans:
    """What was exported, and a tracer for the code that makes the call."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.caller = self.provider.get_tracer("caller")

    def lines(self) -> list[str]:
        """Every span as the way to it from the root, in order of their ends."""
        ended = self._exporter.get_finished_spans()
        by_id = {span.context.span_id: span for span in ended if span.context is not None}
        return [" > ".join(self._way_to(span, by_id)) for span in ended]

    def _way_to(self, span: ReadableSpan, by_id: dict[int, ReadableSpan]) -> list[str]:
        assert span.instrumentation_scope is not None
        before = self._way_to(by_id[span.parent.span_id], by_id) if span.parent is not None else []
        return [*before, f"{WHO[span.instrumentation_scope.name]} {span.name}"]

    def ids_of(self, who: str) -> list[str]:
        """The ids of the spans that somebody made, in order of their ends."""
        return [
            f"{span.context.span_id:016x}"
            for span in self._exporter.get_finished_spans()
            if span.context is not None
            and span.instrumentation_scope is not None
            and WHO[span.instrumentation_scope.name] == who
        ]


@pytest.fixture
def spans() -> Spans:
    return Spans()


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> Any:
    """Each library in turn."""
    return LIBRARIES[request.param]


@contextmanager
def instrumented(library: Any, spans: Spans) -> Generator[None]:
    """The instrumentation, switched on for every client of the library."""
    instrumentor = getattr(httpx_instrumentation, INSTRUMENTORS[library.__name__])()
    instrumentor.instrument(tracer_provider=spans.provider)
    try:
        yield
    finally:
        instrumentor.uninstrument()


def instrument_client(client: Any, library: Any, spans: Spans) -> None:
    """The instrumentation, switched on for this client as it stands."""
    instrumentor = getattr(httpx_instrumentation, INSTRUMENTORS[library.__name__])
    instrumentor.instrument_client(client, tracer_provider=spans.provider)


def retrying(*outermost: Any) -> Any:
    """A stack over any library."""
    return Stack(*outermost, Retry(attempts=2, backoff=Backoff(base=0.0)))


def busy_once() -> Handler:
    """One 503, then 200."""
    return script(replies(503), replies(200))


def test_without_tracing_each_attempt_is_a_span_of_theirs(library: Any, spans: Spans) -> None:
    """Side by side, under whatever span the caller is in."""
    with (
        Server(busy_once()) as server,
        instrumented(library, spans),
        retrying().client(library.Client) as client,
        spans.caller.start_as_current_span("call"),
    ):
        assert client.get(server.url).status_code == 200
    assert spans.lines() == ["caller call > theirs GET", "caller call > theirs GET", "caller call"]


def test_with_tracing_no_attempt_has_a_span_of_theirs(library: Any, spans: Spans) -> None:
    """One span an attempt, ours, and the server belongs to it."""
    tracing = Tracing(tracer_provider=spans.provider)
    with (
        Server(busy_once()) as server,
        instrumented(library, spans),
        retrying(tracing).client(library.Client) as client,
        spans.caller.start_as_current_span("call"),
    ):
        assert client.get(server.url).status_code == 200
    ours = "caller call > ours resilience http"
    assert spans.lines() == [f"{ours} > ours GET", f"{ours} > ours GET", ours, "caller call"]
    assert [asked.headers["traceparent"].split("-")[2] for asked in server.asked] == spans.ids_of("ours")[:2]


@pytest.mark.anyio
async def test_so_it_is_asynchronously(library: Any, spans: Spans) -> None:
    """On asyncio and on trio."""
    tracing = Tracing(tracer_provider=spans.provider)
    with Server(busy_once()) as server, instrumented(library, spans):
        async with retrying(tracing).client(library.AsyncClient) as client:
            assert (await client.get(server.url)).status_code == 200
    attempt = "ours resilience http > ours GET"
    assert spans.lines() == [attempt, attempt, "ours resilience http"]


def test_a_client_that_is_instrumented_last_has_one_span_of_theirs_for_the_call(library: Any, spans: Spans) -> None:
    """It stands around our stack."""
    stack = retrying(Tracing(tracer_provider=spans.provider))
    with Server(busy_once()) as server, stack.client(library.Client) as client:
        instrument_client(client, library, spans)
        with pytest.warns(RuntimeWarning, match="one span of HTTP too many"):
            assert client.get(server.url).status_code == 200
        assert client.get(server.url).status_code == 200  # of which nobody is told again
    ours = "theirs GET > ours resilience http"
    again = ["theirs GET", ours, f"{ours} > ours GET"]
    assert sorted(spans.lines()) == sorted([*again, *again, f"{ours} > ours GET"])


@pytest.mark.parametrize(("names", "measured"), [("", 2), ("http", 0), ("http/dup", 0)])
def test_then_no_attempt_is_measured_twice_under_one_name(
    library: Any, spans: Spans, monkeypatch: pytest.MonkeyPatch, names: str, measured: int
) -> None:
    """Theirs can't be withheld; with the stable names, ours is."""
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", names)
    reader = InMemoryMetricReader()
    tracing = Tracing(tracer_provider=spans.provider, meter_provider=MeterProvider([reader], shutdown_on_exit=False))
    with Server(busy_once()) as server, retrying(tracing).client(library.Client) as client:
        instrument_client(client, library, spans)
        with pytest.warns(RuntimeWarning, match="one span of HTTP too many"):
            client.get(server.url)
    data = reader.get_metrics_data()
    assert data is not None
    points = [
        point
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == "http.client.request.duration"
        for point in metric.data.data_points
    ]
    assert len(points) == measured


def test_a_client_that_is_instrumented_first_has_one_for_each_attempt(library: Any, spans: Spans) -> None:
    """Our stack stands around it."""
    with Server(busy_once()) as server, library.Client() as client:
        instrument_client(client, library, spans)
        wrap(client, retrying())
        assert client.get(server.url).status_code == 200
    assert spans.lines() == ["theirs GET", "theirs GET"]


def test_the_callers_span_is_the_current_one_again_after_the_call(library: Any, spans: Spans) -> None:
    """What the caller does next is no part of the attempt, also where that failed."""
    tracing = Tracing(tracer_provider=spans.provider)
    with retrying(tracing).client(library.Client) as client, spans.caller.start_as_current_span("call"):
        with pytest.raises(library.ConnectError):
            client.get("http://127.0.0.1:9")
        spans.caller.start_span("next").end()
    assert spans.lines()[-2:] == ["caller call > caller next", "caller call"]
