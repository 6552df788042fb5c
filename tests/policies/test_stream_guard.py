"""The outcome of a streamed answer, read off its events while the bytes pass through untouched."""

import gzip
import json
from collections.abc import AsyncIterator, Mapping
from itertools import pairwise
from typing import Any

import anyio
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_foundry import AttemptTimeout, Backoff, CircuitBreaker, Retry, Stack, StreamGuard
from resilient_foundry.events import Outcome, TimedOut
from resilient_foundry.faults import Verdict
from resilient_foundry.flow import Flow, Proceed, Request, Response, Source, give, pour, pull, sleep
from resilient_foundry.testing import Answer, History, events, failed, ok, rehearse, scripted
from tests.over import over

AT_ONCE = Backoff(base=0, cap=0)
HEAD = {"content-type": "text/event-stream; charset=utf-8"}
ROLE = json.dumps({"choices": [{"delta": {"role": "assistant", "content": ""}}]})
WORD = json.dumps({"choices": [{"delta": {"content": "Hello"}}]})
LAST = json.dumps({"choices": [{"delta": {}, "finish_reason": "stop"}]})
ERROR = json.dumps({"error": {"type": "server_error", "message": "the prompt was: secret"}})


def outcome(history: History) -> Outcome | None:
    return history.ledger.attempts[0].outcome


def stream(*chunks: bytes, **more: Any) -> Answer:
    return Answer(headers=HEAD, chunks=chunks, **more)


@given(cuts=st.lists(st.integers(0, 200), max_size=12))
def test_the_bytes_pass_through_untouched_however_they_are_cut(cuts: list[int]) -> None:
    whole = b"".join(events(ROLE, WORD, LAST, "[DONE]").chunks)
    edges = sorted({0, len(whole), *(cut % len(whole) for cut in cuts)})
    chunks = [whole[start:end] for start, end in pairwise(edges)]
    history = rehearse(StreamGuard(), stream(*chunks))
    assert history.content == whole
    assert outcome(history) is Outcome.COMPLETE


def taken(*chunks: bytes) -> float:
    """Seconds until the answer was handed over, of chunks a second apart."""
    history = rehearse(StreamGuard(), stream(*chunks, pause=1), read=False)
    return history.elapsed


def test_holds_the_answer_until_its_first_event_with_content() -> None:
    assert taken(*events(WORD, WORD, LAST, "[DONE]").chunks) == 1.0
    assert taken(*events(ROLE, WORD, LAST, "[DONE]").chunks) == 2.0
    assert taken(b": comment\n\n", b"event: ping\n\n", *events("anything at all", "[DONE]").chunks) == 3.0


def test_half_an_event_is_no_event() -> None:
    assert taken(b"data: ", b"x", b"\n", b"\n", b"data: [DONE]\n\n") == 4.0


def test_an_end_is_worth_handing_over_too() -> None:
    assert taken(*events(ROLE, LAST, "[DONE]").chunks) == 2.0
    assert taken(*events(ROLE, "[DONE]").chunks) == 2.0


@pytest.mark.parametrize(
    "said",
    [
        json.dumps({"choices": [{"delta": {"role": "assistant", "tool_calls": [{"id": "1"}]}}]}),
        json.dumps({"choices": []}) + ' "role"',
        json.dumps(["role"]),
        json.dumps({"choices": [{"text": "Hello"}]}),
        json.dumps({"choices": [], "usage": {"total_tokens": 3}}),
        json.dumps({"type": "response.output_text.delta", "delta": "Hello"}),
        json.dumps({"type": "content_block_delta", "delta": {"type": "text_delta", "text": "Hello"}}),
        '"role"',
    ],
)
def test_what_says_more_than_a_role_is_content(said: str) -> None:
    assert taken(*events(said, WORD).chunks) == 1.0


@pytest.mark.parametrize(
    "said",
    [
        json.dumps({"choices": [{"delta": None}], "role": 1}),
        json.dumps({"choices": [{"delta": {"content": "", "tool_calls": []}}]}),
        json.dumps({"choices": [], "prompt_filter_results": [{}]}),
        json.dumps({"type": "response.created", "response": {"role": "assistant"}}),
        json.dumps({"type": "response.output_text.delta", "delta": ""}),
        json.dumps({"type": "message_start", "message": {"role": "assistant"}}),
        json.dumps({"type": "content_block_delta", "delta": {"type": "text_delta", "text": ""}}),
        json.dumps({"type": "ping"}),
    ],
)
def test_what_is_said_before_anything_is_generated_is_no_content(said: str) -> None:
    assert taken(*events(said, WORD).chunks) == 2.0


@pytest.mark.parametrize("ending", [["[DONE]"], [LAST], [LAST, "[DONE]"], [LAST, json.dumps({"usage": {}})]])
def test_a_stream_that_says_that_it_is_over_is_complete(ending: list[str]) -> None:
    """Foundry Local 1.x ends with a finish reason, 2.x with [DONE]; either will do."""
    assert outcome(rehearse(StreamGuard(), events(WORD, *ending))) is Outcome.COMPLETE


@pytest.mark.parametrize(
    ("said", "missing"),
    [
        ([ROLE], "no finish_reason and no [DONE]"),
        ([ROLE, WORD], "no finish_reason and no [DONE]"),
        ([WORD, json.dumps({"choices": [], "usage": {}})], "no finish_reason and no [DONE]"),
        ([json.dumps({"choices": [{"text": "Hello"}]})], "no finish_reason and no [DONE]"),
        ([json.dumps({"type": "response.created"})], "no response.completed"),
        ([json.dumps({"type": "response.output_text.done", "text": "Hello"})], "no response.completed"),
        ([json.dumps({"type": "message_start"})], "no message_stop"),
        ([], "no event"),
    ],
)
def test_a_clean_end_without_one_is_a_truncated_answer(said: list[str], missing: str) -> None:
    history = rehearse(StreamGuard(), events(*said))
    assert outcome(history) is Outcome.TRUNCATED
    assert history.error is None
    assert history.ledger.attempts[0].detail == missing


@pytest.mark.parametrize("last", ["response.completed", "response.incomplete", "message_stop"])
@pytest.mark.parametrize("named", [True, False])
def test_responses_and_messages_have_ends_of_their_own(last: str, *, named: bool) -> None:
    """OpenAI's responses and Anthropic's messages send no [DONE]; the type stands in the data, the event, or both."""
    data = json.dumps({"type": last} if not named else {"sequence_number": 1})
    end = f"event: {last}\ndata: {data}\n\n".encode() if named else f"data: {data}\n\n".encode()
    delta = b'data: {"type": "response.output_text.delta", "delta": "a"}\n\n'
    assert outcome(rehearse(StreamGuard(), stream(delta, end))) is Outcome.COMPLETE
    assert outcome(rehearse(StreamGuard(), stream(delta))) is Outcome.TRUNCATED


def test_every_choice_must_have_finished() -> None:
    """Two answers are told in one stream; that one of them is whole says nothing of the other."""

    def choice(index: int, **said: object) -> str:
        return json.dumps({"choices": [{"index": index, **said}]})

    began = [choice(0, delta={"content": "a"}), choice(1, delta={"content": "b"})]
    first, second = choice(0, delta={}, finish_reason="stop"), choice(1, delta={}, finish_reason="length")
    assert outcome(rehearse(StreamGuard(), events(*began, first))) is Outcome.TRUNCATED
    assert outcome(rehearse(StreamGuard(), events(*began, first, second))) is Outcome.COMPLETE


def test_a_stream_of_unknown_events_may_end_anywhere() -> None:
    """Nobody knows its last event, so a good foreign stream is not called truncated."""
    assert outcome(rehearse(StreamGuard(), events("anything", '{"tick": 1}'))) is Outcome.COMPLETE
    assert outcome(rehearse(StreamGuard(), stream(b"event: ping\ndata: 1\n\n"))) is Outcome.COMPLETE


def test_the_last_word_of_another_api_can_be_said() -> None:
    """Then a stream without it is truncated, whatever its events look like; the known ends are ends all the same."""
    assert outcome(rehearse(StreamGuard(done="bye"), events("hello", "bye"))) is Outcome.COMPLETE
    assert outcome(rehearse(StreamGuard(done="bye"), events("hello", "[DONE]"))) is Outcome.COMPLETE
    history = rehearse(StreamGuard(done="bye"), events("hello"))
    assert (outcome(history), history.ledger.attempts[0].detail) == (Outcome.TRUNCATED, "no bye at the end")


def test_the_word_done_inside_of_a_text_ends_nothing() -> None:
    said = json.dumps({"choices": [{"text": "[DONE]"}]})
    assert outcome(rehearse(StreamGuard(), events(said))) is Outcome.TRUNCATED


def test_a_finish_reason_of_null_ends_nothing() -> None:
    word = json.dumps({"choices": [{"delta": {"content": "a"}, "finish_reason": None}]})
    assert outcome(rehearse(StreamGuard(), events(word))) is Outcome.TRUNCATED


def test_a_finish_reason_inside_of_a_text_ends_nothing() -> None:
    word = json.dumps({"choices": [{"delta": {"content": '"finish_reason": "stop"'}}]})
    assert outcome(rehearse(StreamGuard(), events(word))) is Outcome.TRUNCATED


@pytest.mark.parametrize(
    "chunk",
    [
        f"data: {ERROR}\n\n".encode(),
        b'event: error\ndata: {"type": "error"}\n\n',
        b"event: error\ndata: no json\n\n",
        b'data: {"error": "out of memory"}\n\n',
        b'data: {"type": "error", "code": "server_error", "message": "secret"}\n\n',
        b'event: response.failed\ndata: {"type": "response.failed", "response": {"error": {"code": "x"}}}\n\n',
        b'event: error\ndata: {"type": "error", "error": {"type": "overloaded_error"}}\n\n',
    ],
)
def test_an_event_that_is_an_error_fails_the_stream(chunk: bytes) -> None:
    for history in (
        rehearse(StreamGuard(), stream(chunk)),
        rehearse(StreamGuard(), stream(*events(WORD).chunks, chunk, b"data: [DONE]\n\n")),
    ):
        assert outcome(history) is Outcome.IN_BAND_ERROR
        assert history.error is None
        assert history.content.endswith(chunk) or history.content.endswith(b"[DONE]\n\n")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ('{"type": "error", "code": "server_error"}', "server_error"),
        ('{"type": "error", "error": {"type": "overloaded_error"}}', "overloaded_error"),
        ('{"type": "response.failed", "response": {"error": {"code": "rate_limit_exceeded"}}}', "rate_limit_exceeded"),
        ('{"type": "response.failed", "response": {"error": null}}', "error"),
    ],
)
def test_each_dialect_has_its_own_place_for_the_kind_of_an_error(said: str, told: str) -> None:
    assert rehearse(StreamGuard(), events(said)).ledger.attempts[0].detail == told


def test_nothing_counts_after_the_last_event() -> None:
    assert outcome(rehearse(StreamGuard(), events(WORD, "[DONE]", ERROR))) is Outcome.COMPLETE


def test_an_error_that_a_connection_did_not_survive_is_the_error() -> None:
    """The server said what went wrong; that it then dropped the connection tells less, and blames nobody."""

    def judge(status: int, headers: Mapping[str, str], body: bytes) -> Verdict:
        del status, headers, body
        return Verdict.CALLER

    history = rehearse(StreamGuard(judge=judge), events(WORD, ERROR, breaks="ReadError"))
    attempt = history.ledger.attempts[0]
    assert (attempt.outcome, attempt.verdict, attempt.error) == (Outcome.IN_BAND_ERROR, Verdict.CALLER, "ReadError")
    assert isinstance(history.error, httpx.ReadError)


@pytest.mark.parametrize("said", ['{"error": null, "text": "a"}', '{"text": "the \\"error\\" of his ways"}', '"error"'])
def test_an_event_that_only_speaks_of_an_error_does_not(said: str) -> None:
    assert outcome(rehearse(StreamGuard(), events(said, "[DONE]"))) is Outcome.COMPLETE


def test_an_error_before_the_first_event_closes_the_connection_and_can_still_be_read() -> None:
    history = rehearse(StreamGuard(), stream(f"data: {ERROR}\n\n".encode(), b": never ending\n\n" * 50, pause=1))
    assert history.elapsed == 1.0
    assert history.content == f"data: {ERROR}\n\n".encode()
    assert history.script.closed == {1: 1}


def test_the_type_of_an_error_is_told_and_never_its_message() -> None:
    """It may quote the prompt."""
    history = rehearse(StreamGuard(), events(ERROR))
    assert history.ledger.attempts[0].detail == "server_error"
    assert "secret" not in history.ledger.explain()


@pytest.mark.parametrize("kind", [None, 7, "x" * 200, ["server_error"]])
def test_a_type_that_is_no_word_is_told_as_error(kind: object) -> None:
    history = rehearse(StreamGuard(), events(json.dumps({"error": {"type": kind}})))
    assert history.ledger.attempts[0].detail == "error"


def test_the_judge_says_whose_fault_an_in_band_error_is() -> None:
    def judge(status: int, headers: Mapping[str, str], body: bytes) -> Verdict:
        assert (status, headers["content-type"]) == (500, "text/event-stream")
        return Verdict.CALLER if b"context" in body else Verdict.SERVER

    for text, verdict in (("context too long", Verdict.CALLER), ("out of memory", Verdict.SERVER)):
        history = rehearse(StreamGuard(judge=judge), events(json.dumps({"error": text})))
        assert history.ledger.attempts[0].verdict is verdict


def test_a_stream_that_breaks_before_its_first_event_breaks_before_the_caller_has_it() -> None:
    history = rehearse(StreamGuard(), stream(b": comment\n\n", breaks="ReadError"))
    assert history.response is None
    assert isinstance(history.error, httpx.ReadError)
    assert outcome(history) is Outcome.BROKEN


def test_a_stream_that_broke_is_closed_before_it_is_asked_for_again() -> None:
    """Its connection would be missing in the pool: with room for one, the next attempt would wait for ever."""
    closed: list[int] = []
    script = scripted(stream(breaks="ReadError"), events("[DONE]"))

    class Noting:
        def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
            closed.append(script.script.closed.total())
            return (yield from proceed(request))

    stack = Stack(Retry(backoff=Backoff(base=0, cap=0)), Noting(), StreamGuard())
    with httpx.Client(transport=over(stack, script)) as client:
        assert client.get("http://foundry.local/").status_code == 200
    assert closed == [0, 1]


@pytest.mark.anyio
async def test_a_stream_that_stalled_is_closed_before_it_is_asked_for_again() -> None:
    class Stalling(httpx.AsyncByteStream):
        closed = False

        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b": comment\n\n"
            await anyio.sleep_forever()

        async def aclose(self) -> None:
            self.closed = True

    streams: list[Stalling] = []

    class Server(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            del request
            assert all(stream.closed for stream in streams)
            if streams:
                return httpx.Response(200, headers=HEAD, content=b"data: [DONE]\n\n")
            streams.append(Stalling())
            return httpx.Response(200, headers=HEAD, stream=streams[0])

    stack = Stack(Retry(backoff=Backoff(base=0, cap=0)), AttemptTimeout(read=9, idle=0.005), StreamGuard())
    async with httpx.AsyncClient(transport=stack.over(Server())) as client:
        assert (await client.get("http://foundry.local/")).status_code == 200


def test_a_stream_that_breaks_later_stays_broken() -> None:
    history = rehearse(StreamGuard(), events(WORD, breaks="ReadError"))
    assert outcome(history) is Outcome.BROKEN
    assert history.content == events(WORD).chunks[0]


def test_a_caller_who_stops_reading_has_not_met_a_failure() -> None:
    history = rehearse(StreamGuard(), events(WORD, WORD, "[DONE]"), read=False)
    assert outcome(history) is Outcome.ABANDONED


@pytest.mark.parametrize("last", ["[DONE]", LAST, '{"type": "message_stop"}'])
def test_a_caller_who_stops_reading_at_the_end_has_read_it_all(last: str) -> None:
    """SDKs close a stream when its last event is there, and do not wait for the end of its bytes."""
    answer = stream(*events(last).chunks, b": more\n\n")
    history = rehearse(StreamGuard(), answer, read=False)
    assert outcome(history) is Outcome.COMPLETE
    assert history.script.closed == {1: 1}


@pytest.mark.anyio
async def test_a_stream_that_is_closed_at_its_end_is_closed_to_the_ground() -> None:
    """It is complete and not read to its end: what the library reads it by must not wait for the collector."""
    closed: list[str] = []

    class Going(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            try:
                yield b"data: [DONE]\n\n"
                await anyio.sleep_forever()
            finally:
                closed.append("generator")

        async def aclose(self) -> None:
            closed.append("stream")

    async def serve(request: httpx.Request) -> httpx.Response:
        del request
        return httpx.Response(200, headers=HEAD, stream=Going())

    async with (
        httpx.AsyncClient(transport=Stack(StreamGuard()).over(httpx.MockTransport(serve))) as client,
        client.stream("GET", "http://foundry.local/") as response,
    ):
        pass
    assert closed == ["generator", "stream"]
    assert response.extensions["resilience"].attempts[0].outcome is Outcome.COMPLETE


@pytest.mark.parametrize("status", [300, 400, 404, 429, 500])
def test_only_a_good_answer_can_be_a_truncated_one(status: int) -> None:
    """Some servers write the type of their streams on refusals as well: these have no events, and blame the caller."""
    refusal = Answer(status=status, headers=HEAD, chunks=(b'{"error": "no such model"}',))
    assert outcome(rehearse(StreamGuard(), refusal)) is Outcome.COMPLETE


def test_an_event_too_large_ends_the_judging_and_not_the_stream() -> None:
    large = b"data: " + b"x" * 5000 + b"\n\n"
    history = rehearse(StreamGuard(max_event=100), stream(large, large))
    assert history.content == large * 2
    assert outcome(history) is Outcome.COMPLETE


@pytest.mark.parametrize("answer", [ok(b"data: half"), failed(500, b"data: half"), failed(404)])
def test_answers_that_are_no_event_streams_pass_through(answer: Answer) -> None:
    history = rehearse(StreamGuard(), answer, read=False)
    assert history.elapsed == 0.0
    history = rehearse(StreamGuard(), answer)
    assert (outcome(history), history.content) == (Outcome.COMPLETE, answer.chunks[0])


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_an_answer_that_has_no_body_is_not_missing_its_end(method: str, status: int) -> None:
    """RFC 9110 section 6.4.1: to HEAD, and with 204 and 304, no content is sent, whatever its type."""
    history = rehearse(Stack(Retry(), StreamGuard()), Answer(status=status, headers=HEAD, chunks=()), method=method)
    assert outcome(history) is Outcome.COMPLETE
    assert history.sent == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "Text/Event-Stream; charset=UTF-8"},
        {**HEAD, "content-encoding": "Identity"},
        {**HEAD, "content-encoding": ""},
    ],
)
def test_names_in_the_head_are_read_in_any_case(headers: dict[str, str]) -> None:
    """RFC 9110 sections 8.3.1 and 8.4.1. Else a proxy that writes them otherwise would switch the guard off."""
    assert outcome(rehearse(StreamGuard(), Answer(headers=headers, chunks=events(WORD).chunks))) is Outcome.TRUNCATED


def test_a_compressed_stream_passes_through() -> None:
    """Its events cannot be seen from here; what can't be judged is not called a failure, and not held back."""
    packed = gzip.compress(b"".join(events(WORD, "[DONE]").chunks))
    answer = Answer(headers={**HEAD, "content-encoding": "gzip"}, chunks=(packed[:9], packed[9:]), pause=1)
    history = rehearse(Stack(Retry(), StreamGuard()), answer, read=False)
    assert history.elapsed == 0.0
    history = rehearse(Stack(Retry(), StreamGuard()), answer)
    assert (history.sent, history.content, outcome(history)) == (1, packed, Outcome.COMPLETE)


@given(chunks=st.lists(st.binary(max_size=40), max_size=8))
def test_no_bytes_of_a_server_are_an_error_here(chunks: list[bytes]) -> None:
    history = rehearse(StreamGuard(max_event=50), stream(*chunks))
    assert history.error is None
    assert history.content == b"".join(chunks)


@given(
    data=st.recursive(
        st.none() | st.booleans() | st.text(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["error", "choices", "delta", "role", "type", "content"]), inner, max_size=4
            )
        ),
    )
)
def test_no_json_of_a_server_is_an_error_here(data: object) -> None:
    history = rehearse(StreamGuard(), events(json.dumps(data), "[DONE]"))
    assert history.error is None
    assert outcome(history) in {Outcome.COMPLETE, Outcome.IN_BAND_ERROR}


def test_deeply_nested_json_is_not_an_error_either() -> None:
    said = '{"error":' + "[" * 100_000
    assert rehearse(StreamGuard(), events(said, "[DONE]")).error is None


# Limits


KEEP_ALIVE = b": keep-alive\n\n"


def phases(history: History) -> list[str]:
    return [event.phase for event in history.events if isinstance(event, TimedOut)]


def test_the_wait_for_the_first_event_has_a_limit() -> None:
    """A server that sends its head at once and comments for ever would never be given up on otherwise."""
    history = rehearse(StreamGuard(first_event=10), stream(*[KEEP_ALIVE] * 50, pause=3))
    assert isinstance(history.error, httpx.ReadTimeout)
    assert (outcome(history), phases(history)) == (Outcome.STALLED, ["progress"])
    assert history.elapsed == 12.0  # a blocking read is looked at when it returns


@pytest.mark.parametrize("chunk", [KEEP_ALIVE, *events(ROLE).chunks, b"event: ping\ndata: {}\n\n", b"data: half an "])
def test_what_is_no_content_is_no_progress(chunk: bytes) -> None:
    history = rehearse(StreamGuard(progress=10), stream(*events(WORD).chunks, *[chunk] * 50, pause=3))
    assert (outcome(history), phases(history)) == (Outcome.STALLED, ["progress"])
    assert history.elapsed == 15.0
    assert history.content == events(WORD).chunks[0] + chunk * 4


def test_progress_in_time_is_enough_however_long_it_takes() -> None:
    chunks = [KEEP_ALIVE, *events(WORD).chunks] * 50
    history = rehearse(StreamGuard(first_event=10, progress=7), stream(*chunks, *events("[DONE]").chunks, pause=3))
    assert (history.error, outcome(history)) == (None, Outcome.COMPLETE)


def test_each_limit_ends_where_the_other_begins() -> None:
    assert rehearse(StreamGuard(first_event=2), events(WORD, "[DONE]", pause=1.5)).error is None
    assert rehearse(StreamGuard(first_event=2), stream(*events(WORD).chunks, *[KEEP_ALIVE] * 9, pause=1)).error is None
    assert rehearse(StreamGuard(progress=2), stream(*[KEEP_ALIVE] * 9, *events("[DONE]").chunks, pause=1)).error is None


def test_the_limit_of_the_first_event_begins_with_the_head() -> None:
    history = rehearse(StreamGuard(first_event=5), Answer(headers=HEAD, chunks=events(WORD, "[DONE]").chunks, after=60))
    assert history.error is None


def test_a_blocking_read_of_a_silent_socket_ends_with_the_longer_limit() -> None:
    """The library's own limit of a chunk is shortened, with a limit of the client's or without one."""
    for limit in ({}, {"read": 60.0}):
        history = rehearse(StreamGuard(first_event=2, progress=3), events(WORD, pause=50), timeout=limit)
        assert (history.elapsed, phases(history)) == (3.0, ["progress"])


def test_the_time_that_the_caller_takes_is_not_held_against_the_server() -> None:
    class SlowReader:
        def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
            response = yield from proceed(request)
            yield from pour(response, self.read)
            return response

        def read(self, source: Source) -> Flow[None]:
            while (chunk := (yield from pull(source))) is not None:
                yield from sleep(100)
                yield from give(chunk)

    answer = stream(*events(WORD).chunks, KEEP_ALIVE, *events(WORD, "[DONE]").chunks, pause=2)
    history = rehearse(Stack.unchecked(SlowReader(), StreamGuard(progress=5)), answer)
    assert (history.error, history.elapsed) == (None, 408.0)


def test_a_stall_before_the_first_event_is_retried_unseen_and_with_more_patience() -> None:
    """The server began its prefill anew: as little time as before would end as before."""
    slow, quick = stream(*[KEEP_ALIVE] * 9, pause=3), stream(*[KEEP_ALIVE] * 5, *events("[DONE]").chunks, pause=3)
    history = rehearse(
        Stack(Retry(backoff=AT_ONCE), AttemptTimeout(growth=2), StreamGuard(first_event=10, progress=10)), slow, quick
    )
    assert [attempt.outcome for attempt in history.ledger.attempts] == [Outcome.STALLED, Outcome.COMPLETE]
    assert [attempt.first_event_after for attempt in history.ledger.attempts] == [None, 18.0]


def test_a_stall_counts_against_the_server() -> None:
    breaker = CircuitBreaker(failures=1, open_seconds=60)
    history = rehearse(
        Stack(breaker, StreamGuard(progress=5)), stream(*events(WORD).chunks, *[KEEP_ALIVE] * 9, pause=3)
    )
    assert outcome(history) is Outcome.STALLED
    assert breaker.circuit("http://foundry.local:5273").state == "open"


def test_the_ledger_says_when_the_first_event_came() -> None:
    """From the start of its attempt, whatever was waited before."""
    answer = Answer(headers=HEAD, chunks=events(ROLE, WORD, "[DONE]").chunks, after=5, pause=1)
    history = rehearse(Stack(Retry(backoff=Backoff(base=4)), StreamGuard()), failed(503, after=2), answer)
    assert [attempt.first_event_after for attempt in history.ledger.attempts] == [None, 7.0]


@pytest.mark.parametrize("field", ["first_event", "progress"])
@pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf")])
def test_a_limit_is_a_positive_number_of_seconds(field: str, wrong: float) -> None:
    settings: dict[str, Any] = {field: wrong}
    with pytest.raises(ValueError, match=rf"StreamGuard\.{field} is "):
        StreamGuard(**settings)


@pytest.mark.parametrize(("field", "wrong"), [("resume", 1), ("resume", "yes"), ("done", ""), ("done", 7)])
def test_a_setting_of_another_kind_is_refused(field: str, wrong: object) -> None:
    settings: dict[str, Any] = {field: wrong}
    with pytest.raises(TypeError, match=rf"StreamGuard\.{field} is "):
        StreamGuard(**settings)


@pytest.mark.parametrize("wrong", [0, -5])
def test_the_size_of_an_event_is_positive(wrong: int) -> None:
    with pytest.raises(ValueError, match=r"StreamGuard\.max_event is at least 1"):
        StreamGuard(max_event=wrong)


def test_a_stream_that_says_nothing_but_comments_is_not_held_for_ever() -> None:
    """What is held lies in memory: after `max_event` bytes the caller gets the stream as it is."""
    comments = Answer(headers={"content-type": "text/event-stream"}, chunks=(b":" + b" " * 99 + b"\n",) * 100)
    history = rehearse(StreamGuard(max_event=1000), comments, read=False)
    assert history.ledger.attempts[0].chunks == 10
