"""Events as log records."""

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from resilient_foundry import (
    Backoff,
    CircuitBreaker,
    Deadline,
    Fallback,
    Retry,
    Stack,
    StreamGuard,
    Target,
    Tracing,
)

URL = "http://user:word@foundry.local/v1/chat?key=secret"
NOW = Backoff(base=0.0)
LOGGER = logging.getLogger("resilient_foundry")


class Kept(logging.Handler):
    """Keeps records, and the span that is the current one when they are handled."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[dict[str, Any]] = []
        self.spans: list[int] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(vars(record) | {"words": record.getMessage()})
        self.spans.append(trace.get_current_span().get_span_context().span_id)

    def of(self, name: str) -> dict[str, Any]:
        """The fields of the only record of this event."""
        (found,) = [each for each in self.records if each.get("otel.event.name") == f"resilient_foundry.{name}"]
        return found


@pytest.fixture(scope="module")
def kept() -> Iterator[Kept]:
    kept, before, propagates = Kept(), LOGGER.level, LOGGER.propagate
    LOGGER.addHandler(kept)
    LOGGER.setLevel(logging.DEBUG)
    LOGGER.propagate = False
    yield kept
    LOGGER.setLevel(before)
    LOGGER.removeHandler(kept)
    LOGGER.propagate = propagates


@pytest.fixture(autouse=True)
def _emptied(kept: Kept) -> None:  # pyright: ignore[reportUnusedFunction] - pytest finds it
    kept.records.clear()
    kept.spans.clear()


def get(stack: Stack, *answers: int | Exception, url: str = URL, **said: Any) -> None:
    """One call, which may fail, against these answers."""
    left = list(answers)

    def answer(request: httpx.Request) -> httpx.Response:
        del request
        found = left.pop(0)
        if isinstance(found, Exception):
            raise found
        return httpx.Response(found)

    with (
        httpx.Client(transport=stack.over(httpx.MockTransport(answer))) as client,
        contextlib.suppress(httpx.HTTPError, RuntimeError),
    ):
        client.request("GET", url, **said)


def test_a_record_has_the_event_in_flat_fields(kept: Kept) -> None:
    """Formatters and handlers take numbers and texts; of an object OpenTelemetry's handler warns each time."""
    get(Stack(Retry(backoff=NOW)), 503, 200)
    record = kept.of("retry.scheduled")
    assert record["words"] == "GET http://foundry.local: waits 0.000 s because of 503"
    assert {key: value for key, value in record.items() if "." in key} == {
        "otel.event.name": "resilient_foundry.retry.scheduled",
        "http.request.method": "GET",
        "server.address": "foundry.local",
        "server.port": 80,
        "resilient_foundry.attempt": 1,
        "resilient_foundry.delay": 0.0,
        "resilient_foundry.delay_source": "backoff",
        "resilient_foundry.reason": "503",
    }


def test_the_span_of_the_call_is_the_current_one_while_a_record_is_handled(kept: Kept) -> None:
    """Whoever correlates logs with traces looks there."""
    spans, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    get(Stack(Tracing(tracer_provider=provider, calls="always"), Retry(backoff=NOW)), 503, 200)
    (call,) = [span for span in spans.get_finished_spans() if span.parent is None]
    assert call.context is not None
    assert set(kept.spans) == {call.context.span_id}
    assert len(kept.spans) > 5
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_where_the_attempt_is_all_there_is_its_span_is_the_current_one(kept: Kept) -> None:
    spans, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    get(Stack(Tracing(tracer_provider=provider)), 200)
    (attempt,) = spans.get_finished_spans()
    assert attempt.context is not None
    assert set(kept.spans) == {attempt.context.span_id}


def test_without_a_trace_the_callers_own_span_stays_the_current_one(kept: Kept) -> None:
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("mine")
    with tracer.start_as_current_span("mine") as mine:
        get(Stack(Retry(backoff=NOW)), 503, 200)
    assert set(kept.spans) == {mine.get_span_context().span_id}


SECRETS = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=8).map("hush{}".format)


@settings(max_examples=15, deadline=None, database=None)
@given(
    secret=SECRETS,
    answers=st.lists(st.sampled_from([200, 400, 404, 429, 500, 503, "lost", "late", "odd"]), min_size=12, max_size=12),
)
def test_nothing_that_is_told_of_a_call_holds_a_secret(kept: Kept, secret: str, answers: list[int | str]) -> None:
    """User, password, query, headers, bodies and texts of errors, through a whole stack: in no log, span or event."""
    kept.records.clear()
    spans, tracers = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    logs = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]  # the SDK left its type away
    loggers = LoggerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    loggers.add_log_record_processor(SimpleLogRecordProcessor(logs))
    errors: dict[str, Exception] = {
        "lost": httpx.ReadError(secret),
        "late": httpx.ReadTimeout(secret),
        "odd": RuntimeError(secret),
    }
    stack = Stack.unchecked(
        Tracing(tracer_provider=tracers, logger_provider=loggers, events="both"),
        Deadline(30),
        Fallback(Target("http://other.local", headers={"x-key": secret})),
        Retry(attempts=3, backoff=NOW),
        CircuitBreaker(failures=3, open_seconds=60),
        StreamGuard(),
    )
    get(
        stack,
        *(errors[each] if isinstance(each, str) else each for each in answers),
        url=f"http://{secret}:{secret}@foundry.local/v1/chat?key={secret}#{secret}",
        headers={"authorization": secret, "idempotency-key": secret},
        json={"model": "phi", "messages": [{"role": "user", "content": secret}]},
    )
    told = [str(record) for record in kept.records]
    told += [span.to_json() for span in spans.get_finished_spans()]
    told += [record.to_json() for record in logs.get_finished_logs()]
    assert len(told) >= 4
    assert [line for line in told if secret in line] == []
