"""What a call of the client tells OpenTelemetry, in each colour and with both libraries."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest
from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler, SamplingResult
from opentelemetry.trace import SpanKind, StatusCode

from resilient_foundry import CircuitBreaker, ConcurrencyLimit, Deadline, Stack, StreamGuard, Tracing
from resilient_foundry.foundry import AsyncFoundryClient, FoundryClient, StreamInterruptedError
from resilient_foundry.testing import Answer, busy, failed, lost, ok, unsent
from tests.foundry.servers import fault
from tests.foundry.telemetry import (
    CHAT,
    MODEL,
    SAID,
    STATUS,
    Runner,
    Told,
    answer,
    chat,
    maybe,
    piece,
    runner,
    stack_of,
    stream,
    take,
)
from tests.ways import NAMES

POST, GET = "POST /v1/chat/completions", "GET /status"
NOT_LOADED = fault(400, "Model not loaded: Model 'm' must be loaded before inference").body
ASKED = ("foundry_local status", [GET])


_COLLECTED = [name for name in NAMES if name not in {"httpx-asyncio", "httpx-trio"}]


@pytest.fixture(params=NAMES)
def way(request: pytest.FixtureRequest) -> Runner:
    """Each of the six ways in turn."""
    return runner(request.param)


@pytest.fixture
def sync() -> Runner:
    """One of them, where the colour makes no difference."""
    return runner("httpx-sync")


@pytest.fixture
def told() -> Told:
    return Told()


def outcome(told: Told) -> tuple[str, str | None, StatusCode]:
    about = told.about
    return about["resilient_foundry.outcome"], about.get("error.type"), told.call.status.status_code


def test_a_chat_is_one_span_with_its_attempts_and_what_is_asked_on_the_way(way: Runner, told: Told) -> None:
    """The waits stand between the attempts, which are its own; the status has a span and attempts of its own."""
    way.run(told, chat, busy(retry_after=2), lost(after=1), answer())
    assert told.tree() == (CHAT, [ASKED, POST, POST, POST])
    assert told.call.kind is SpanKind.CLIENT
    assert [told.seconds(one) for one in told.attempts] == [(0.25, 0.25), (2.25, 3.25), (5.25, 6.25)]
    assert told.seconds(told.call) == (0.0, 6.25)
    assert outcome(told) == ("recovered", None, StatusCode.UNSET)
    assert [one.status.status_code.name for one in told.attempts] == ["ERROR", "ERROR", "UNSET"]


def test_a_chat_says_what_was_asked_and_what_came(sync: Runner, told: Told) -> None:
    """By the names of the conventions for generative AI."""
    asked: dict[str, Any] = {
        "max_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 7,
        "stop": ["END"],
        "presence_penalty": 0.1,
        "frequency_penalty": 0.2,
        "metadata": {"top_k": "40"},
        "response_format": {"type": "json_object"},
    }

    async def act(client: Any) -> object:
        return await chat(client, **asked)

    stack = stack_of(told.tracing(name="foundry"), Deadline(30))
    sync.run(told, act, busy(retry_after=2), answer(), stack=stack, strict=False)
    assert told.about == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "foundry_local",
        "gen_ai.request.model": MODEL,
        "gen_ai.request.max_tokens": 9,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_p": 0.9,
        "gen_ai.request.seed": 7,
        "gen_ai.request.stop_sequences": ("END",),
        "gen_ai.request.presence_penalty": 0.1,
        "gen_ai.request.frequency_penalty": 0.2,
        "gen_ai.request.top_k": 40.0,
        "gen_ai.output.type": "json",
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.response.model": "m-cpu:1",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 2,
        "gen_ai.usage.reasoning.output_tokens": 1,
        "gen_ai.usage.cache_read.input_tokens": 3,
        "server.address": "127.0.0.1",
        "server.port": 5273,
        "resilient_foundry.pipeline": "foundry",
        "resilient_foundry.outcome": "recovered",
        "resilient_foundry.attempts": 2,
        "resilient_foundry.retry.total_delay": 2.0,
        "resilient_foundry.deadline": 30.0,
        "resilient_foundry.deadline.remaining": 27.0,
    }


def test_a_sampler_is_told_what_and_whom(sync: Runner) -> None:
    """A sampler decides when a span begins, by what is known then."""
    seen: dict[str, Any] = {}

    class Look(Sampler):
        def should_sample(self, *args: Any, **named: Any) -> SamplingResult:
            seen.setdefault(named.get("name") or args[2], dict(named.get("attributes") or args[4] or {}))
            return ALWAYS_ON.should_sample(*args, **named)

        def get_description(self) -> str:
            return "look"

    told = Told(sampler=Look())
    sync.run(told, chat, answer())
    wanted = {"gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model", "server.address", "server.port"}
    assert wanted <= set(seen[CHAT])


def test_a_stream_is_one_span_to_its_end(way: Runner, told: Told) -> None:
    """With the time to its first piece, from the question on, and what was measured of it."""
    way.run(told, take, unsent(), stream(*SAID))
    assert told.tree() == (CHAT, [ASKED, POST, POST])
    assert told.seconds(told.call) == (0.0, 2.75)
    about = told.about
    assert about["gen_ai.request.stream"] is True
    assert about["gen_ai.response.time_to_first_chunk"] == 1.75
    assert about["resilient_foundry.stream.completed"] is True
    assert outcome(told) == ("recovered", None, StatusCode.UNSET)


def test_embeddings_are_an_operation_too(way: Runner, told: Told) -> None:
    vectors = {"data": [{"index": 0, "embedding": [1.0]}], "model": "e:1", "usage": {"prompt_tokens": 4}}

    async def act(client: Any) -> Any:
        return await maybe(client.embed("words"))

    way.run(told, act, ok(json.dumps(vectors).encode()))
    assert told.tree() == (f"embeddings {MODEL}", [ASKED, "POST /v1/embeddings"])
    assert told.call.kind is SpanKind.CLIENT
    assert (told.about["gen_ai.usage.input_tokens"], told.about["gen_ai.response.model"]) == (4, "e:1")
    assert "gen_ai.usage.output_tokens" not in told.about


def test_the_care_of_models_is_internal(way: Runner, told: Told) -> None:
    """Its own requests stand right under it, what else it asks under a span each."""

    async def act(client: Any) -> Any:
        return await maybe(client.list_models())

    way.run(told, act, ok(b'{"data": []}'), ok(b"[]"))
    loaded = ("foundry_local loaded_models", ["GET /models/loaded"])
    assert told.tree() == ("foundry_local list_models", [ASKED, "GET /v1/models", loaded])
    assert told.call.kind is SpanKind.INTERNAL
    assert told.about["resilient_foundry.outcome"] == "success"
    assert told.measured("gen_ai.client.operation.duration") == []


def test_a_service_that_is_not_there_fails_its_health_check(sync: Runner, told: Told) -> None:
    """Which raises nothing, and whose span says so all the same."""

    async def act(client: Any) -> Any:
        return await maybe(client.health_check())

    sync.ask(sync.client(stack_of(told.tracing(), attempts=1), unsent()), act)
    assert told.call.name == "foundry_local health_check"
    assert outcome(told) == ("failed", "httpx.ConnectError", StatusCode.ERROR)


@pytest.mark.parametrize(
    ("answers", "kind", "attempts"),
    [
        ([busy(retry_after=0)] * 3, "503", 3),
        ([failed(400, b'{"error": {"message": "no", "type": "invalid_request_error"}}')], "400", 1),
        ([unsent()] * 3, "httpx.ConnectError", 3),
        ([ok(b"<html>")], "resilient_foundry.foundry.errors.ProtocolError", 1),
    ],
)
def test_a_chat_that_fails_says_by_what(sync: Runner, told: Told, answers: list[Any], kind: str, attempts: int) -> None:
    """The status, as text, or the class of the error; never its words."""
    sync.run(told, chat, *answers)
    assert outcome(told) == ("failed", kind, StatusCode.ERROR)
    assert told.call.status.description is None
    assert told.about["resilient_foundry.attempts"] == attempts


def test_what_the_client_refuses_itself_has_no_attempt(way: Runner, told: Told) -> None:
    """And what is wrong in it does no harm on its way into a span."""

    async def act(client: Any) -> object:
        wrong: Any = {"stop": 5, "seed": 2**70, "max_tokens": "9", "metadata": [], "response_format": 3}
        return await chat(client, model="m\ud800:1", **wrong)

    way.run(told, act)
    assert told.tree() == ("chat m?:1", [ASKED])
    kind = "resilient_foundry.foundry.errors.InvalidRequestError"
    assert outcome(told) == ("failed", kind, StatusCode.ERROR)
    assert not {"gen_ai.request.seed", "gen_ai.request.stop_sequences"} & set(told.about)


def test_what_an_open_circuit_refuses_has_no_attempt(way: Runner, told: Told) -> None:
    """Neither its outcome nor its events speak of a request."""

    async def act(client: Any) -> None:
        await chat(client)
        told.exporter.clear()
        await chat(client)

    way.run(told, act, unsent(), stack=Stack(told.tracing(), CircuitBreaker(failures=1)))
    assert told.tree() == CHAT
    assert outcome(told) == ("rejected", "resilient_foundry.errors.CircuitOpenError", StatusCode.ERROR)
    assert told.about["resilient_foundry.attempts"] == 0
    assert [event.name for event in told.call.events] == ["resilient_foundry.circuit_breaker.rejected"]


def test_what_a_limiter_refuses_has_no_attempt(sync: Runner, told: Told) -> None:
    async def act(client: Any) -> None:
        said = client.stream_complete("to be?")
        next(said)
        await chat(client)
        said.close()

    stack = Stack(told.tracing(), ConcurrencyLimit(1, queue=0))
    sync.run(told, act, stream(*SAID), stack=stack)
    trees = {
        (span.attributes or {})["resilient_foundry.outcome"]: told.tree(span) for span in told.spans if not span.parent
    }
    assert trees == {"abandoned": (CHAT, [ASKED, POST]), "rejected": CHAT}


def test_a_passed_deadline_is_a_failure_and_no_refusal(sync: Runner, told: Told) -> None:
    stack = stack_of(told.tracing(), Deadline(3))
    sync.run(told, chat, answer(after=9), stack=stack)
    assert outcome(told) == ("failed", "resilient_foundry.errors.DeadlineExceededError", StatusCode.ERROR)
    assert told.about["resilient_foundry.deadline.remaining"] == 0.0


IN_BAND = json.dumps({"error": {"message": "out of memory", "type": "server_error"}})
HALF = [
    (stream(*SAID, ends=False, last=IN_BAND), "stream_error"),
    (stream(*SAID, ends=False), "stream_truncated"),
    (stream(*SAID, ends=False, breaks="ReadError"), "{library}.ReadError"),
    (stream(*SAID, ends=False, breaks="ReadTimeout"), "{library}.ReadTimeout"),
]


@pytest.mark.parametrize(("half", "kind"), HALF)
def test_half_an_answer_fails_the_chat_and_not_the_attempts_status(
    way: Runner, told: Told, half: Answer, kind: str
) -> None:
    """The status of the attempt stays 200: that this differs from the outcome is what somebody looks for."""
    error, got = way.run(told, take, half)
    assert isinstance(error, Exception)
    assert got == list(SAID)
    assert outcome(told) == ("failed", kind.format(library=way.library.__name__), StatusCode.ERROR)
    (attempt,) = told.attempts
    about = dict(attempt.attributes or {})
    assert about["http.response.status_code"] == 200
    assert told.about["resilient_foundry.stream.completed"] is False
    assert told.about["gen_ai.response.id"] == "chatcmpl-1"
    assert told.seconds(attempt)[1] <= told.seconds(told.call)[1]


@pytest.mark.parametrize(("half", "kind"), HALF[:2])
def test_a_failed_stream_is_told_so_where_nobody_guards_it(sync: Runner, told: Told, half: Answer, kind: str) -> None:
    sync.run(told, take, half, stack=Stack(told.tracing()))
    assert outcome(told) == ("failed", kind, StatusCode.ERROR)


def test_who_closes_a_stream_early_has_abandoned_it(way: Runner, told: Told) -> None:
    """Which is no error; it ends then and there."""

    async def act(client: Any) -> Any:
        return await take(client, pieces=1)

    way.run(told, act, stream(*SAID))
    assert outcome(told) == ("abandoned", None, StatusCode.UNSET)
    assert told.seconds(told.call) == (0.0, 0.75)
    assert told.about["resilient_foundry.stream.completed"] is False
    assert dict(told.attempts[0].attributes or {})["resilient_foundry.attempt.outcome"] == "abandoned"
    assert told.attempts[0].status.status_code is StatusCode.UNSET
    assert told.exporter.get_finished_spans()[-1] is told.call, "a call ends after what stands under it"


@pytest.mark.parametrize("way", _COLLECTED, indirect=True)  # httpx 0.28 keeps the others
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_stream_that_was_dropped_ends_with_its_last_piece(way: Runner, told: Told) -> None:
    """Found out by the next call, whenever that is: a collector runs in the middle of anything."""

    async def act(client: Any) -> Any:
        await take(client, pieces=1, drop=True)
        for _ in range(3):  # an event loop ends generators that were dropped, when it has the time
            gc.collect()
            if way.colour != "sync":
                await anyio.lowlevel.checkpoint()
        assert [span.name for span in told.spans if span.name == CHAT] == []
        way.clock.now += 3600
        return await chat(client)

    way.run(told, act, stream(*SAID), answer())
    dropped, _ = [span for span in told.spans if span.name == CHAT]
    (attempt,) = [span for span in told.under(dropped) if span.name == POST]
    for span in (dropped, attempt):
        assert ((span.end_time or 0) - (dropped.start_time or 0)) / 1e9 == pytest.approx(0.75)
        assert (span.attributes or {})["resilient_foundry.stream.completed"] is False
    assert (dropped.attributes or {})["resilient_foundry.outcome"] == "abandoned"
    durations = [total for about, _, total in told.measured("gen_ai.client.operation.duration") if about]
    assert durations == [pytest.approx(1.75)]


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_closing_the_client_ends_what_was_dropped(sync: Runner, told: Told) -> None:
    """No later call may come to find it."""

    async def act(client: Any) -> Any:
        await take(client, pieces=1, drop=True)
        client.close()

    sync.run(told, act, stream(*SAID))
    assert outcome(told) == ("abandoned", None, StatusCode.UNSET)
    assert told.tree() == (CHAT, [ASKED, POST])


def test_a_stream_that_was_continued_is_one_answer_of_two_attempts(way: Runner, told: Told) -> None:
    async def act(client: Any) -> Any:
        return await take(client, seed=7)

    broken, rest = stream(SAID[0], ends=False, breaks="ReadError"), stream(*SAID)
    _, got = way.run(told, act, broken, rest, stack=stack_of(told.tracing(), resume=True))
    assert "".join(got) == "To be"
    assert told.tree() == (CHAT, [ASKED, POST, POST])
    assert outcome(told) == ("recovered", None, StatusCode.UNSET)
    assert told.about["resilient_foundry.stream.completed"] is True
    assert (told.attempts[1].attributes or {})["http.request.resend_count"] == 1


def test_cancelling_is_no_error(told: Told) -> None:
    """Neither of the call nor of its attempt."""
    way = runner("httpx-asyncio")

    async def act(client: Any) -> None:
        asked = asyncio.ensure_future(client.complete("to be?"))
        await asyncio.sleep(1.25)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked

    class Slow(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.method == "POST":
                await asyncio.sleep(60)
            return httpx.Response(200, content=b'{"modelCachePath": "/c", "pid": 1}')

    def client() -> AsyncFoundryClient:
        return AsyncFoundryClient(
            "http://127.0.0.1:5273", stack=stack_of(told.tracing()), transport=Slow(), model=MODEL
        )

    way.ask(client, act)
    assert outcome(told) == ("cancelled", None, StatusCode.UNSET)
    (attempt,) = told.attempts
    assert (attempt.attributes or {})["resilient_foundry.attempt.outcome"] == "cancelled"
    assert attempt.status.status_code is StatusCode.UNSET
    assert told.seconds(told.call) == (0.0, 1.25)


def test_what_is_mended_within_a_call_stands_under_a_span_of_its_own(way: Runner, told: Told) -> None:
    """Its requests are none of the call's attempts."""
    state = ok(b'{"status": "loaded"}', after=4)
    missing = failed(400, NOT_LOADED)
    loading = [ok(b"[]"), ok(b"[]"), state, ok(b'["m:1"]')]

    async def act(client: Any) -> object:
        return await chat(client)

    answers = [missing, *loading, answer()]
    result = way.run(told, act, *answers, load=True, aliases={"m": MODEL})
    assert getattr(result, "content", result) == "To be"
    load = (
        "foundry_local load_model",
        ["GET /models/loaded", "GET /models/loaded", "GET /models/load/{model}", "GET /models/loaded"],
    )
    assert told.tree() == (CHAT, [ASKED, POST, load, POST])
    (repair,) = [span for span in told.spans if span.name == load[0]]
    assert (repair.attributes or {})["resilient_foundry.outcome"] == "success"
    assert told.seconds(repair) == (0.25, 4.25)
    assert (told.attempts[1].attributes or {})["http.request.resend_count"] == 1
    assert told.about["resilient_foundry.attempts"] == 2


def test_what_could_not_be_mended_is_marked(sync: Runner, told: Told) -> None:
    missing = failed(400, NOT_LOADED)
    sync.run(told, chat, missing, failed(500), load=True, aliases={"m": MODEL})
    (repair,) = [span for span in told.spans if span.name == "foundry_local load_model"]
    assert repair.status.status_code is StatusCode.ERROR
    assert (repair.attributes or {})["error.type"] == "500"
    assert outcome(told) == ("failed", "400", StatusCode.ERROR)


def test_two_chats_in_turns_keep_their_own_trees_and_leave_the_callers_context_alone(way: Runner, told: Told) -> None:
    """No span is ever the current one while the caller has the word."""

    async def act(client: Any) -> None:
        outer = told.provider.get_tracer("test").start_span("outer")
        token = contexts.attach(trace.set_span_in_context(outer))
        before = contexts.get_current()
        one, other = client.stream_complete("one"), client.stream_complete("other")
        for said in (one, other) * len(SAID):
            await anext(said) if hasattr(said, "__anext__") else next(said)
            assert contexts.get_current() is before
        for said in (one, other):
            await maybe(said.aclose() if hasattr(said, "aclose") else said.close())
        assert contexts.get_current() is before
        contexts.detach(token)
        outer.end()

    way.run(told, act, stream(*SAID), stream(*SAID))
    assert told.tree() == ("outer", [(CHAT, [ASKED, POST]), (CHAT, [POST])])


@pytest.mark.parametrize(
    ("calls", "tree"),
    [("always", (CHAT, [ASKED, POST])), ("named", (CHAT, [ASKED, POST])), ("never", [GET, POST])],
)
def test_spans_of_calls_are_made_as_wanted(sync: Runner, told: Told, calls: str, tree: Any) -> None:
    """Without them the attempts stand alone, and the operation is measured all the same."""
    sync.run(told, chat, answer(), stack=stack_of(told.tracing(calls=calls)))
    roots = [told.tree(span) for span in told.spans if span.parent is None]
    assert roots == (tree if isinstance(tree, list) else [tree])
    assert [number for _, number, _ in told.measured("gen_ai.client.operation.duration")] == [1]


@pytest.mark.parametrize("made", ["over", "client", "wrap"])
def test_a_client_of_the_callers_own_is_traced_by_the_stack_under_it(told: Told, made: str) -> None:
    from resilient_foundry import wrap  # noqa: PLC0415 - beside its only use

    def serve(request: httpx.Request) -> httpx.Response:
        said = STATUS if request.method == "GET" else answer()
        return httpx.Response(200, content=b"".join(said.chunks))

    stack, wire = Stack(told.tracing()), httpx.MockTransport(serve)
    if made == "over":
        http = httpx.Client(transport=stack.over(wire))
    elif made == "client":
        http = stack.client(httpx.Client, transport=wire)
    else:
        http = wrap(httpx.Client(transport=wire), stack)
    with http, FoundryClient("http://127.0.0.1:5273", http_client=http, model=MODEL) as client:
        client.complete("to be?")
    assert told.tree() == (CHAT, [ASKED, POST])


def test_without_tracing_nothing_is_told(sync: Runner, told: Told) -> None:
    async def act(client: Any) -> Any:
        return await take(client)

    result, _ = sync.run(told, act, stream(*SAID), stack=Stack(StreamGuard()))
    assert getattr(result, "content", result) == "To be"
    assert told.spans == []


def test_a_stack_over_a_stack_that_both_trace_keeps_each_others_attempts_apart(told: Told) -> None:
    """What the inner one makes of an attempt of the outer one stands under that."""

    def serve(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=b"".join((STATUS if request.method == "GET" else answer()).chunks))

    inner = Stack(Tracing(tracer_provider=told.provider, name="inner")).over(httpx.MockTransport(serve))
    with (
        httpx.Client(transport=Stack(told.tracing()).over(inner)) as http,
        FoundryClient("http://127.0.0.1:5273", http_client=http, model=MODEL) as client,
    ):
        client.complete("to be?")
    assert told.under(told.call)[1].name == POST
    assert told.tree(told.under(told.call)[1]) == (POST, [(CHAT, [POST])])


def test_operations_are_measured_with_their_failures(sync: Runner, told: Told) -> None:
    """Tokens only where the server has counted them."""

    async def act(client: Any) -> None:
        await chat(client)
        await chat(client)

    sync.run(told, act, answer(), failed(400), stack=stack_of(told.tracing()))
    common = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "foundry_local",
        "gen_ai.request.model": MODEL,
        "server.address": "127.0.0.1",
        "server.port": 5273,
    }
    durations = told.measured("gen_ai.client.operation.duration")
    assert durations == [(common, 1, 1.25), ({**common, "error.type": "400"}, 1, 0.0)]
    tokens = {about["gen_ai.token.type"]: total for about, _, total in told.measured("gen_ai.client.token.usage")}
    assert tokens == {"input": 7, "output": 2}


def test_streams_are_measured_by_their_pieces(sync: Runner, told: Told) -> None:
    sync.run(told, take, stream("a", "b", "c"))
    ((_, number, first),) = told.measured("gen_ai.client.operation.time_to_first_chunk")
    assert (number, first) == (1, 0.75)
    ((_, number, between),) = told.measured("gen_ai.client.operation.time_per_output_chunk")
    assert (number, between) == (2, 1.0)
    assert told.measured("gen_ai.client.token.usage") == []


def test_counts_that_no_exporter_could_hold_are_left_out(sync: Runner, told: Told) -> None:
    """One number too large, or half a character, would cost everything that is exported with it."""
    said = {"id": "\ud800", "model": "m", "choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}
    usage = {"prompt_tokens": 2**70, "completion_tokens": -1}
    sync.run(told, chat, ok(json.dumps({**said, "usage": usage}).encode()))
    assert told.about["gen_ai.response.id"] == "?"
    assert not [name for name in told.about if "usage" in name]
    assert told.measured("gen_ai.client.token.usage") == []


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_threads_find_what_was_dropped_once(told: Told) -> None:
    """Each ends its own calls, and whoever comes first ends what nobody holds."""

    def serve(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, content=b"".join(STATUS.chunks))
        body = f"data: {piece('a')}\n\ndata: {piece('b', 'stop')}\n\ndata: [DONE]\n\n".encode()
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=body)

    stack = stack_of(told.tracing())
    with FoundryClient(
        "http://127.0.0.1:5273", stack=stack, transport=httpx.MockTransport(serve), model=MODEL
    ) as client:
        list(client.stream_complete("warm"))

        def work() -> None:
            for _ in range(20):
                next(client.stream_complete("dropped"))
                list(client.stream_complete("read"))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        list(client.stream_complete("last"))
    chats: list[ReadableSpan] = [span for span in told.spans if span.name == CHAT]
    outcomes = [str((span.attributes or {})["resilient_foundry.outcome"]) for span in chats]
    assert (outcomes.count("abandoned"), outcomes.count("success")) == (80, 82)


def test_an_interrupted_stream_carries_its_ledger_still(sync: Runner, told: Told) -> None:
    """What traces is a bystander."""
    error, _ = sync.run(told, take, HALF[1][0])
    assert isinstance(error, StreamInterruptedError)
    assert error.resilience is not None
    assert [attempt.status for attempt in error.resilience.attempts] == [200]
