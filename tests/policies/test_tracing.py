"""One span for the logical call, one for each attempt."""

import asyncio
import gc
import json
import pickle
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode

from resilient_foundry import (
    Backoff,
    CallOptions,
    CircuitBreaker,
    Deadline,
    Retry,
    Stack,
    StreamGuard,
    Tracing,
)
from resilient_foundry.events import CircuitOpened
from resilient_foundry.flow import Flow, Proceed, Request, Response, sleep
from resilient_foundry.testing import (
    Answer,
    History,
    Said,
    VirtualTime,
    busy,
    events,
    failed,
    lost,
    ok,
    on,
    rehearse,
    scripted,
)
from tests.ways import over

URL = "http://user:word@foundry.local:5273/v1/chat?key=secret#part"


class Recorder:
    """What was exported, attempts before their call, because they end earlier."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracing = Tracing(tracer_provider=self.provider, calls="always")

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        return self.exporter.get_finished_spans()

    @property
    def call(self) -> ReadableSpan:
        (call,) = [span for span in self.spans if span.kind is not SpanKind.CLIENT or span.parent is None]
        return call

    @property
    def attempts(self) -> list[ReadableSpan]:
        return [span for span in self.spans if span is not self.call]

    def story(self) -> list[tuple[str, dict[str, Any]]]:
        return [(event.name, dict(event.attributes or {})) for event in self.call.events]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


Rehearse = Callable[..., History]


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_a_call_has_one_span_and_one_under_it_for_each_attempt(recorder: Recorder) -> None:
    rehearse(Stack(recorder.tracing, Retry()), failed(502), ok(), url=URL)
    call = recorder.call
    assert (call.name, call.kind, call.status.status_code) == ("resilience http", SpanKind.INTERNAL, StatusCode.UNSET)
    assert call.context is not None
    for attempt in recorder.attempts:
        assert (attempt.name, attempt.kind) == ("GET", SpanKind.CLIENT)
        assert attempt.parent is not None
        assert attempt.parent.span_id == call.context.span_id


def test_the_call_sums_up(recorder: Recorder) -> None:
    rehearse(Stack(recorder.tracing, Retry()), busy(retry_after=2), busy(retry_after=3), ok(), url=URL)
    assert attributes(recorder.call) == {
        "server.address": "foundry.local",
        "server.port": 5273,
        "resilient_foundry.attempts": 3,
        "resilient_foundry.outcome": "recovered",
        "resilient_foundry.pipeline": "http",
        "resilient_foundry.retry.total_delay": 5.0,
    }


def test_attempts_follow_the_http_conventions(recorder: Recorder) -> None:
    rehearse(Stack(recorder.tracing, Retry()), failed(502), ok(), url=URL)
    first, second = map(attributes, recorder.attempts)
    assert first == {
        "http.request.method": "GET",
        "url.full": "http://foundry.local:5273/v1/chat",
        "server.address": "foundry.local",
        "server.port": 5273,
        "http.response.status_code": 502,
        "error.type": "502",
        "resilient_foundry.attempt.number": 1,
        "resilient_foundry.attempt.outcome": "retryable",
        "resilient_foundry.stream.time_to_headers": 0.0,
        "resilient_foundry.stream.bytes": 6,
        "resilient_foundry.stream.chunks": 1,
        "resilient_foundry.stream.completed": True,
    }
    assert second["http.request.resend_count"] == 1
    assert second["http.response.status_code"] == 200
    assert "error.type" not in second


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
def test_4xx_and_5xx_are_errors_of_the_attempt_and_of_a_call_that_ends_so(recorder: Recorder, status: int) -> None:
    rehearse(Stack(recorder.tracing), failed(status), url=URL)
    for span in recorder.spans:
        assert span.status.status_code is StatusCode.ERROR
        assert attributes(span)["error.type"] == str(status)


def test_a_failure_that_was_made_good_does_not_mark_the_call(recorder: Recorder) -> None:
    rehearse(Stack(recorder.tracing, Retry()), lost(), ok(), url=URL)
    assert recorder.call.status.status_code is StatusCode.UNSET
    assert "error.type" not in attributes(recorder.call)
    assert attributes(recorder.attempts[0])["error.type"] == "httpx.ReadError"
    assert attributes(recorder.attempts[0])["resilient_foundry.attempt.outcome"] == "retryable"


def test_an_error_is_told_by_its_class(recorder: Recorder) -> None:
    rehearse(Stack(recorder.tracing), lost(), url=URL)
    for span in recorder.spans:
        assert attributes(span)["error.type"] == "httpx.ReadError"
        assert span.status.status_code is StatusCode.ERROR
        assert span.status.description is None


def test_waits_are_events_of_the_call(recorder: Recorder) -> None:
    rehearse(Stack(recorder.tracing, Retry(attempts=2)), busy(retry_after=2), failed(502), url=URL)
    scheduled = {"attempt": 1, "delay": 2.0, "delay_source": "retry_after", "reason": "503"}
    assert recorder.story() == [
        ("resilient_foundry.retry.scheduled", scheduled),
        ("resilient_foundry.retry.exhausted", {"attempts": 2, "reason": "502"}),
    ]


def test_what_is_not_repeated_says_why(recorder: Recorder) -> None:
    rehearse(Stack(recorder.tracing, Retry()), lost(), url=URL, method="POST")
    denied = {"attempt": 1, "reason": "ReadError", "by": "not_repeatable"}
    assert recorder.story() == [("resilient_foundry.retry.denied", denied)]


def test_changes_of_a_circuit_and_refusals_are_events(recorder: Recorder) -> None:
    breaker, clock = CircuitBreaker(failures=1, open_seconds=4), VirtualTime()
    name = "http://foundry.local:5273"
    change = "resilient_foundry.circuit_breaker.state_change"
    stories: list[list[tuple[str, dict[str, Any]]]] = []
    for answers, seconds in (([failed()], 1.0), ([], 3.0), ([ok()], 0.0)):
        recorder.exporter.clear()
        rehearse(Stack(recorder.tracing, breaker), *answers, url=URL, clock=clock)
        stories.append(recorder.story())
        clock.pass_(seconds)
    assert stories == [
        [(change, {"name": name, "to": "open", "trigger": "failures", "retry_in": 4.0})],
        [("resilient_foundry.circuit_breaker.rejected", {"name": name, "retry_in": 3.0})],
        [(change, {"name": name, "from": "open", "to": "half_open"}), (change, {"name": name, "to": "closed"})],
    ]


def test_a_passed_deadline_is_an_event_and_the_error_of_the_call(recorder: Recorder) -> None:
    rehearse(Stack(recorder.tracing, Deadline(3)), ok(after=9), url=URL)
    assert ("resilient_foundry.timeout", {"kind": "total", "limit": 3}) in recorder.story()
    assert attributes(recorder.call)["error.type"] == "resilient_foundry.errors.DeadlineExceededError"


def test_spans_end_with_the_body_and_not_with_its_head(recorder: Recorder) -> None:
    ended: list[int] = []

    class Look:
        def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
            response = yield from proceed(request)
            ended.append(len(recorder.spans))
            return response

    rehearse(Stack(Look(), recorder.tracing), events("a", "b"), url=URL)
    assert ended == [0]
    assert len(recorder.spans) == 2
    assert attributes(recorder.attempts[0])["resilient_foundry.stream.chunks"] == 2


@pytest.mark.parametrize(
    ("stream", "kind"),
    [
        (events('{"choices": [{"delta": {"content": "hello"}}]}'), "stream_truncated"),
        (events("hello", '{"error": {"type": "server_error"}}'), "stream_error"),
        (events("hello", breaks="ReadError"), "httpx.ReadError"),
        (events("hello", breaks="ReadTimeout"), "httpx.ReadTimeout"),
    ],
)
def test_a_stream_that_fails_marks_the_call(recorder: Recorder, stream: Answer, kind: str) -> None:
    rehearse(Stack(recorder.tracing, StreamGuard()), stream, url=URL)
    assert attributes(recorder.call)["error.type"] == kind
    assert recorder.call.status.status_code is StatusCode.ERROR


def test_a_stream_that_was_continued_is_one_good_call_of_two_attempts(recorder: Recorder) -> None:
    """The seam is an event of the call, and each attempt says when its first words came."""
    said = [json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}) for text in ("To be", " or not")]
    stack = Stack(recorder.tracing, Retry(backoff=Backoff(base=0)), StreamGuard(resume=True))
    answers = [events(said[0], breaks="ReadError", pause=1), events(*said, "[DONE]", pause=2)]
    rehearse(stack, *answers, url=URL, method="POST", content=b'{"stream": true, "seed": 7}')
    assert ("resilient_foundry.stream.resumed", {"attempt": 2, "characters": 5}) in recorder.story()
    assert recorder.call.status.status_code is not StatusCode.ERROR
    first_words = "resilient_foundry.stream.time_to_first_event"
    assert [attributes(attempt)[first_words] for attempt in recorder.attempts] == [1.0, 2.0]


def test_a_stream_that_was_not_continued_says_why(recorder: Recorder) -> None:
    stack = Stack(recorder.tracing, Retry(), StreamGuard(resume=True))
    rehearse(stack, events("words", breaks="ReadError"), url=URL)
    denied = {"by": "not_deterministic", "characters": 0}
    assert recorder.story() == [("resilient_foundry.stream.resume_denied", denied)]
    assert attributes(recorder.call)["error.type"] == "httpx.ReadError"


def test_a_body_that_breaks_marks_its_attempt(recorder: Recorder) -> None:
    rehearse(Stack(recorder.tracing), Answer(breaks="ReadError"), url=URL)
    (attempt,) = recorder.attempts
    assert attributes(attempt)["error.type"] == "httpx.ReadError"
    assert attributes(attempt)["resilient_foundry.stream.completed"] is False


@pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit])
def test_cancelling_a_call_is_no_error(recorder: Recorder, error: type[BaseException]) -> None:
    class Cancelled:
        def attempt(self, request: Request, proceed: Proceed) -> Flow[Response]:
            yield from proceed(request)
            raise error

        def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
            return (yield from proceed(request))

    rehearse(Stack(recorder.tracing, Cancelled()), ok(), url=URL)
    assert len(recorder.spans) == 2
    assert {span.status.status_code for span in recorder.spans} == {StatusCode.UNSET}


def test_a_caller_who_stops_reading_is_no_error(recorder: Recorder) -> None:
    rehearse(Stack(recorder.tracing), events("a", "b"), url=URL, read=False)
    assert {span.status.status_code for span in recorder.spans} == {StatusCode.UNSET}


def test_the_caller_may_name_describe_and_classify_the_call(recorder: Recorder) -> None:
    options = CallOptions(name="chat phi", kind="client", attributes={"gen_ai.request.model": "phi"})
    rehearse(Stack(recorder.tracing), ok(), url=URL, options=options)
    assert (recorder.call.name, recorder.call.kind) == ("chat phi", SpanKind.CLIENT)
    assert attributes(recorder.call)["gen_ai.request.model"] == "phi"


def test_a_stack_may_have_a_name(recorder: Recorder) -> None:
    rehearse(Stack(replace(recorder.tracing, name="billing")), ok(), url=URL)
    assert recorder.call.name == "resilience billing"


def test_a_method_that_nobody_knows_is_not_a_name(recorder: Recorder) -> None:
    """Else a caller could make as many span names as it likes."""
    rehearse(Stack(recorder.tracing), ok(), url=URL, method="BREW")
    (attempt,) = recorder.attempts
    assert (attempt.name, attributes(attempt)["http.request.method"]) == ("HTTP", "_OTHER")


def test_each_attempt_hands_on_its_own_context(recorder: Recorder) -> None:
    history = rehearse(Stack(recorder.tracing, Retry()), failed(502), ok(), url=URL)
    told = [request.headers["traceparent"].split("-")[2] for request in history.script.requests]
    assert told == [format(span.context.span_id, "016x") for span in recorder.attempts if span.context is not None]


def test_the_callers_own_request_carries_nothing_of_it(recorder: Recorder) -> None:
    request = httpx.Request("GET", URL)
    transport = Stack(recorder.tracing).over(httpx.MockTransport(lambda _: httpx.Response(200)))
    with httpx.Client(transport=transport) as client:
        client.send(request)
    assert "traceparent" not in request.headers


def test_a_span_that_is_current_becomes_the_parent(recorder: Recorder) -> None:
    tracer = recorder.provider.get_tracer("test")
    with tracer.start_as_current_span("outer") as outer:
        rehearse(Stack(recorder.tracing), ok(), url=URL)
        assert trace.get_current_span() is outer
    call = next(span for span in recorder.spans if span.name == "resilience http")
    assert call.parent is not None
    assert call.parent.span_id == outer.get_span_context().span_id


class Mistaken:
    """A policy that fails when it has an answer."""

    def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
        yield from proceed(request)
        raise ZeroDivisionError


def test_what_happens_after_the_span_of_a_call_has_ended_is_not_written_on_it(
    recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    """The answer of a call that failed is closed when all its policies are through; the SDK would warn of an event."""
    history = rehearse(Stack.unchecked(recorder.tracing, Mistaken(), CircuitBreaker(failures=1)), failed())
    assert [type(event) for event in history.events][-1] is CircuitOpened
    assert [record.getMessage() for record in caplog.records if record.name.startswith("opentelemetry")] == []


def test_a_call_whose_event_loop_is_gone_ends_its_spans_and_logs_no_error(
    recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    """The collector closes it, in a context that is not the call's own."""
    loop = asyncio.new_event_loop()
    sent = asyncio.Event()

    async def never(_request: httpx.Request) -> httpx.Response:
        sent.set()
        await asyncio.Event().wait()
        raise AssertionError

    client = httpx.AsyncClient(transport=Stack(recorder.tracing).over(httpx.MockTransport(never)))
    call = loop.create_task(client.get(URL))
    loop.run_until_complete(sent.wait())
    loop.close()
    del call
    gc.collect()
    assert [record.getMessage() for record in caplog.records if record.name.startswith("opentelemetry")] == []
    assert len(recorder.spans) == 2


def test_neither_credentials_nor_query_nor_texts_go_out(recorder: Recorder) -> None:
    answers: list[Said] = [failed(500, b"prompt: tell me"), lost(), events('{"error": {"message": "prompt"}}')]
    rehearse(Stack(recorder.tracing, Retry(), StreamGuard()), *answers, url=URL, method="PUT", content=b"prompt")
    exported = " ".join(span.to_json() for span in recorder.spans)
    for secret in ("word", "secret", "part", "prompt", "scripted"):
        assert secret not in exported


def test_without_an_sdk_nothing_is_made_and_nothing_is_sent() -> None:
    history = rehearse(Stack(Tracing(tracer_provider=trace.NoOpTracerProvider())), ok(), url=URL)
    assert "traceparent" not in history.script.requests[0].headers
    history = rehearse(Stack(Tracing()), ok(), url=URL)
    assert "traceparent" not in history.script.requests[0].headers


def test_what_is_not_sampled_is_not_recorded_and_still_handed_on() -> None:
    """The server learns that this trace is not sampled."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=ALWAYS_OFF)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    history = rehearse(Stack(Tracing(tracer_provider=provider), Retry()), failed(502), ok(), url=URL)
    assert exporter.get_finished_spans() == ()
    flags = history.script.requests[0].headers["traceparent"].rpartition("-")[2]
    assert int(flags, 16) & trace.TraceFlags.SAMPLED == 0


def test_the_url_of_an_attempt_is_the_one_that_was_asked(recorder: Recorder) -> None:
    """Escapes stay escapes: a decoded path is another URL, and may seem to have a query."""
    rehearse(recorder.tracing, ok(), url="http://foundry.local/a%2Fb%20c%3Fd?key=secret")
    assert attributes(recorder.attempts[0])["url.full"] == "http://foundry.local:80/a%2Fb%20c%3Fd"


def test_the_error_of_a_traced_call_travels_between_processes(recorder: Recorder) -> None:
    """Its ledger goes with it, and leaves those behind who listened."""
    error = rehearse(Stack(recorder.tracing, Retry()), lost(), method="POST").error
    assert error is not None
    arrived = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert [attempt.error for attempt in arrived.resilience.attempts] == ["ReadError"]


def after_a_failure(recorder: Recorder, *answers: Said) -> None:
    """The call that a circuit probes for."""
    stack = Stack(recorder.tracing, CircuitBreaker(failures=1, open_seconds=4, probe="/status"))
    clock = VirtualTime()
    rehearse(stack, failed(), url=URL, clock=clock)
    clock.pass_(5)
    recorder.exporter.clear()
    rehearse(stack, *answers, url=URL, clock=clock)


def test_a_probe_is_no_attempt_of_its_call(recorder: Recorder) -> None:
    """It stands beside them, marked: what comes after it is no resend, and nothing was recovered."""
    after_a_failure(recorder, ok(), ok())
    probe, attempt = map(attributes, recorder.attempts)
    assert (probe["url.template"], probe["resilient_foundry.aside"]) == ("/status", True)
    assert not {"http.request.resend_count", "resilient_foundry.attempt.number"} & set(probe)
    assert attempt["resilient_foundry.attempt.number"] == 1
    assert "http.request.resend_count" not in attempt
    about = attributes(recorder.call)
    assert (about["resilient_foundry.attempts"], about["resilient_foundry.outcome"]) == (1, "success")


def test_a_call_of_which_only_the_probe_went_out_was_refused(recorder: Recorder) -> None:
    after_a_failure(recorder, failed())
    about = attributes(recorder.call)
    assert (about["resilient_foundry.attempts"], about["resilient_foundry.outcome"]) == (0, "rejected")


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize(("pieces", "seconds"), [(1, 3.0), (0, 1.0)])
def test_an_answer_that_was_dropped_ends_with_its_last_piece(recorder: Recorder, pieces: int, seconds: float) -> None:
    """Or with its head, however late it is found out that nobody holds it."""
    clock = VirtualTime()
    answer = replace(events("a", "b", pause=2), after=1)
    with on(clock):
        transport: Any = over(Stack(recorder.tracing), scripted(answer, ok(), clock=clock))
    response = transport.handle_request(httpx.Request("GET", URL))
    chunks = iter(response.stream)
    for _ in range(pieces):
        next(chunks)
    del response, chunks
    gc.collect()
    clock.pass_(3600)
    transport.handle_request(httpx.Request("GET", URL)).close()
    for span in recorder.spans[:2]:
        assert span.start_time is not None
        assert span.end_time is not None
        assert (span.end_time - span.start_time) / 1e9 == seconds


class Late:
    """A policy behind which it is too late."""

    def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
        del request, proceed
        yield from sleep(1)
        raise TimeoutError


def test_a_deadline_that_passes_before_anything_went_out_is_a_failure(recorder: Recorder) -> None:
    """A refusal says that the server has too much to do, or does not work; this, that the caller gave no time."""
    options = CallOptions(deadline=1e-12)
    rehearse(Stack(recorder.tracing, Deadline(3), Late()), ok(), url=URL, options=options)
    assert attributes(recorder.call)["resilient_foundry.outcome"] == "failed"
