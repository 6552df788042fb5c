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

from resilient_foundry import AttemptTimeout, Backoff, Retry, Stack, StreamGuard
from resilient_foundry.events import Outcome
from resilient_foundry.faults import Verdict
from resilient_foundry.flow import Flow, Proceed, Request, Response
from resilient_foundry.testing import Answer, History, events, failed, ok, rehearse, scripted
from tests.over import over

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
        json.dumps({"choices": [{"delta": None}], "role": 1}),
        json.dumps(["role"]),
        json.dumps({"type": "response.created", "response": {"role": "assistant"}}),
        '"role"',
    ],
)
def test_what_says_more_than_a_role_is_content(said: str) -> None:
    assert taken(*events(said, WORD).chunks) == 1.0


@pytest.mark.parametrize("ending", [["[DONE]"], [LAST], [LAST, "[DONE]"], [LAST, json.dumps({"usage": {}})]])
def test_a_stream_that_says_that_it_is_over_is_complete(ending: list[str]) -> None:
    """Foundry Local 1.x ends with a finish reason, 2.x with [DONE]; either will do."""
    assert outcome(rehearse(StreamGuard(), events(WORD, *ending))) is Outcome.COMPLETE


def test_a_clean_end_without_one_is_a_truncated_answer() -> None:
    history = rehearse(StreamGuard(), events(ROLE, WORD))
    assert outcome(history) is Outcome.TRUNCATED
    assert history.error is None
    assert history.ledger.attempts[0].detail == "no [DONE] at the end"


def test_an_empty_stream_is_truncated_too() -> None:
    assert outcome(rehearse(StreamGuard(), stream())) is Outcome.TRUNCATED


def test_the_word_done_inside_of_a_text_ends_nothing() -> None:
    assert outcome(rehearse(StreamGuard(), events(json.dumps({"text": "[DONE]"})))) is Outcome.TRUNCATED


def test_a_finish_reason_of_null_ends_nothing() -> None:
    word = json.dumps({"choices": [{"delta": {"content": "a"}, "finish_reason": None}]})
    assert outcome(rehearse(StreamGuard(), events(word))) is Outcome.TRUNCATED


def test_without_a_last_word_any_clean_end_will_do() -> None:
    assert outcome(rehearse(StreamGuard(done=None), events("anything"))) is Outcome.COMPLETE


def test_another_last_word_can_be_said() -> None:
    assert outcome(rehearse(StreamGuard(done="bye"), events("hello", "bye"))) is Outcome.COMPLETE
    assert outcome(rehearse(StreamGuard(done="bye"), events("hello", "[DONE]"))) is Outcome.TRUNCATED


@pytest.mark.parametrize(
    "chunk",
    [
        f"data: {ERROR}\n\n".encode(),
        b'event: error\ndata: {"type": "error"}\n\n',
        b"event: error\ndata: no json\n\n",
        b'data: {"error": "out of memory"}\n\n',
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


@pytest.mark.parametrize("wrong", [0, -5])
def test_the_size_of_an_event_is_positive(wrong: int) -> None:
    with pytest.raises(ValueError, match=r"StreamGuard\.max_event is at least 1"):
        StreamGuard(max_event=wrong)


def test_a_stream_that_says_nothing_but_comments_is_not_held_for_ever() -> None:
    """What is held lies in memory: after `max_event` bytes the caller gets the stream as it is."""
    comments = Answer(headers={"content-type": "text/event-stream"}, chunks=(b":" + b" " * 99 + b"\n",) * 100)
    history = rehearse(StreamGuard(max_event=1000), comments, read=False)
    assert history.ledger.attempts[0].chunks == 10
