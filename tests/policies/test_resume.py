"""A stream that broke in its middle goes on behind the part that the caller has, or says that it can't."""

import json
from collections.abc import Mapping, Sequence
from itertools import count, pairwise
from typing import Any

import httpx
import pytest
import stamina
from hypothesis import example, given
from hypothesis import strategies as st

from resilient_foundry import (
    Backoff,
    CallOptions,
    CircuitBreaker,
    ResilienceError,
    Retry,
    RetryBudget,
    Stack,
    StreamGuard,
)
from resilient_foundry.events import (
    BodyEnd,
    Outcome,
    ResumeDenied,
    RetriesExhausted,
    RetryScheduled,
    StreamResumed,
)
from resilient_foundry.faults import Verdict
from resilient_foundry.flow import Flow, Proceed, Request, Response, watch
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
    rehearse,
    scripted,
    unsent,
)
from tests.over import over
from tests.ways import ledger_of

SSE = {"content-type": "text/event-stream"}
CALL = {"model": "phi", "messages": [{"role": "user", "content": "hi"}], "stream": True, "temperature": 0}
AT_ONCE = Backoff(base=0, cap=0)
ERROR = json.dumps({"error": {"type": "server_error", "message": "out of memory"}})


_number = count(1)


def said(text: str, *, field: str = "content", index: int = 0, **more: object) -> str:
    """An event of a chat with a piece of text. Each has an id and a time of its own, as no two answers are alike."""
    choice = {"index": index, "delta": {field: text}, "finish_reason": None, **more}
    number = next(_number)
    return json.dumps({"id": f"chat-{number}", "created": number, "choices": [choice]})


def role(index: int = 0) -> str:
    return json.dumps({"choices": [{"index": index, "delta": {"role": "assistant", "content": ""}}]})


def end(reason: str = "stop", index: int = 0) -> str:
    return json.dumps({"choices": [{"index": index, "delta": {}, "finish_reason": reason}]})


USAGE = json.dumps({"choices": [], "usage": {"total_tokens": 9}})


def chat(*texts: str, breaks: str | None = None) -> Answer:
    """A chat told in these pieces; whole, unless it breaks."""
    told = [role(), *map(said, texts)]
    return events(*told, breaks=breaks) if breaks else events(*told, end(), USAGE, "[DONE]")


def play(*answers: Said, asked: Mapping[str, Any] = CALL, attempts: int = 3, **settings: Any) -> History:
    stack = Stack(Retry(attempts=attempts, backoff=AT_ONCE), StreamGuard(resume=True))
    content = json.dumps(asked).encode()
    return rehearse(settings.pop("stack", stack), *answers, method="POST", content=content, **settings)


def data_of(content: bytes) -> list[Any]:
    """The events that a caller reads, by a reading of its own."""
    blocks = content.decode(errors="replace").split("\n\n")[:-1]  # what no blank line ends is no event
    found = [block.partition("data: ")[2] for block in blocks if "data: " in block]
    return [data if data == "[DONE]" else json.loads(data) for data in found]


def texts_of(content: bytes) -> dict[tuple[int, str], str]:
    """All text that a caller reads, by choice and field."""
    texts: dict[tuple[int, str], str] = {}
    for data in data_of(content):
        choices: list[dict[str, Any]] = data["choices"] if data != "[DONE]" else []
        for choice in choices:
            pieces: dict[str, Any] = {**(choice.get("delta") or {}), "text": choice.get("text")}
            for field, text in pieces.items():
                if field != "role" and text:
                    place = choice["index"], field
                    texts[place] = texts.get(place, "") + text
    return texts


def text_of(history: History) -> str:
    return "".join(texts_of(history.content).values())


def denials(history: History) -> list[tuple[str, int]]:
    return [(event.why, event.characters) for event in history.events if isinstance(event, ResumeDenied)]


def resumptions(history: History) -> list[tuple[int, int]]:
    return [(event.attempt, event.characters) for event in history.events if isinstance(event, StreamResumed)]


def outcomes(history: History) -> list[Outcome | None]:
    return [attempt.outcome for attempt in history.ledger.attempts]


# Going on


@pytest.mark.parametrize("error", ["ReadError", "RemoteProtocolError", "ReadTimeout"])
def test_goes_on_behind_what_was_delivered(error: str) -> None:
    history = play(chat("To be", ", or", breaks=error), chat("To be", ", or", " not", " to be"))
    assert (history.error, text_of(history)) == (None, "To be, or not to be")
    assert resumptions(history) == [(2, 9)]
    assert denials(history) == []
    assert outcomes(history)[1] is Outcome.COMPLETE


def test_the_caller_sees_one_stream() -> None:
    """One role, one reason to finish, one usage, one end."""
    history = play(chat("a", "b", breaks="ReadError"), chat("a", "b", "c"))
    told = data_of(history.content)
    assert told[-3:] == [json.loads(end()), json.loads(USAGE), "[DONE]"]
    assert sum("role" in choice["delta"] for data in told[:-1] for choice in data["choices"]) == 1
    assert len(told) == 7


def test_a_stream_that_is_cut_off_cleanly_goes_on_too() -> None:
    history = play(events(role(), said("a")), chat("a", "b"))
    assert (history.error, text_of(history)) == (None, "ab")
    assert outcomes(history) == [Outcome.TRUNCATED, Outcome.COMPLETE]


def test_an_error_in_the_stream_goes_unseen_where_it_can_be_made_good() -> None:
    history = play(events(role(), said("a"), ERROR, "[DONE]"), chat("a", "b"))
    assert (history.error, text_of(history)) == (None, "ab")
    assert b"error" not in history.content
    assert outcomes(history) == [Outcome.IN_BAND_ERROR, Outcome.COMPLETE]


def test_the_event_at_the_seam_is_cut() -> None:
    """Chunks are cut elsewhere the second time; what is passed on of one is an event like the others."""
    history = play(chat("To b", breaks="ReadError"), chat("To", " be or", " not"))
    assert text_of(history) == "To be or not"
    seam = data_of(history.content)[2]
    assert seam["choices"][0]["delta"]["content"] == "e or"
    assert set(seam) == {"id", "created", "choices"}


def test_an_event_that_was_not_whole_is_told_by_the_next_answer() -> None:
    half = f"data: {said('b')}"[:-9].encode()
    first = Answer(headers=SSE, chunks=(*events(role(), said("a")).chunks, half), breaks="ReadError")
    history = play(first, chat("a", "b"))
    assert text_of(history) == "ab"
    assert half not in history.content


def test_it_may_break_as_often_as_attempts_are_left() -> None:
    history = play(
        chat("a", breaks="ReadError"),
        chat("a", "b", breaks="ReadError"),
        chat("ab", breaks="ReadError"),
        chat("abc"),
        attempts=4,
    )
    assert (history.error, text_of(history)) == (None, "abc")
    assert resumptions(history) == [(2, 1), (4, 2)]


def test_the_attempts_before_the_first_event_count() -> None:
    history = play(busy(), unsent(), chat("a", breaks="ReadError"), chat("ab"), attempts=3)
    assert isinstance(history.error, httpx.ReadError)
    assert denials(history) == [("attempts", 1)]
    assert history.sent == 3


@pytest.mark.parametrize("between", [busy(), failed(502), unsent(), lost(), events(role(), ERROR), events(role())])
def test_what_fails_between_is_retried_as_ever(between: Said) -> None:
    history = play(chat("a", breaks="ReadError"), between, chat("ab"))
    assert (history.error, text_of(history)) == (None, "ab")


def test_waits_before_it_asks_again() -> None:
    stack = Stack(Retry(backoff=Backoff(base=4)), StreamGuard(resume=True))
    history = play(chat("a", breaks="ReadError"), busy(retry_after=7), chat("ab"), stack=stack)
    assert history.waits == [2.0, 7.0]
    assert history.elapsed == 9.0
    assert [event.reason for event in history.events if isinstance(event, RetryScheduled)] == ["ReadError", "503"]


def test_the_connection_is_given_back_before_the_wait() -> None:
    closed: list[int] = []
    script = scripted(chat("a", breaks="ReadError"), chat("ab"))

    class Noting:
        def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
            closed.append(script.script.closed.total())
            return (yield from proceed(request))

    stack = Stack(Retry(backoff=AT_ONCE), Noting(), StreamGuard(resume=True))
    with httpx.Client(transport=over(stack, script)) as client:
        assert client.post("http://foundry.local/", json=CALL).status_code == 200
    assert closed == [0, 1]
    assert script.script.closed == {1: 1, 2: 1}


def test_reasoning_and_answer_are_told_apart() -> None:
    def thinking(*pieces: str, breaks: str | None = None, then: Sequence[str] = ()) -> Answer:
        told = [role(), *(said(piece, field="reasoning_content") for piece in pieces), *map(said, then)]
        return events(*told, breaks=breaks) if breaks else events(*told, end(), "[DONE]")

    history = play(thinking("hm", breaks="ReadError"), thinking("h", "m, ", "so", then=["a"]))
    assert texts_of(history.content) == {(0, "reasoning_content"): "hm, so", (0, "content"): "a"}


def test_several_choices_go_on_each_by_itself() -> None:
    """They come in another order the second time, and one of them had come to its end."""
    first = events(role(0), role(1), said("a"), said("x", index=1), end("stop", 1), breaks="ReadError")
    second = events(role(1), said("x", index=1), end("stop", 1), role(0), said("ab"), end("length", 0), "[DONE]")
    history = play(first, second)
    assert texts_of(history.content) == {(0, "content"): "ab", (1, "content"): "x"}
    ends = [
        (choice["index"], choice["finish_reason"])
        for data in data_of(history.content)[:-1]
        for choice in data["choices"]
        if choice.get("finish_reason")
    ]
    assert ends == [(1, "stop"), (0, "length")]


def test_choices_that_share_an_event_are_cut_apart() -> None:
    def both(one: str, two: str) -> str:
        pieces = [{"index": 0, "delta": {"content": one}}, {"index": 1, "delta": {"content": two}}]
        return json.dumps({"choices": pieces})

    history = play(
        events(both("a", "x"), said("b"), breaks="ReadError"),
        events(both("ab", "xy"), both("", "z"), end(index=0), end(index=1), "[DONE]"),
    )
    assert texts_of(history.content) == {(0, "content"): "ab", (1, "content"): "xyz"}


def test_completions_go_on_as_chats_do() -> None:
    def completion(text: str, finish: str | None = None) -> str:
        return json.dumps({"choices": [{"index": 0, "text": text, "logprobs": None, "finish_reason": finish}]})

    history = play(events(completion("ab"), breaks="ReadError"), events(completion("abc"), completion("", "stop")))
    assert text_of(history) == "abc"


def test_what_foundry_1_says_twice_is_cut_twice() -> None:
    """It writes `delta` and `message` both, and the role in each."""

    def twice(text: str) -> str:
        delta: dict[str, object] = {"role": "assistant", "content": text, "tool_calls": []}
        return json.dumps({"choices": [{"index": 0, "delta": delta, "message": delta}], "usage": {"total_tokens": 1}})

    history = play(events(twice("ab"), breaks="ReadError"), events(twice("abc"), end()))
    seam = data_of(history.content)[1]["choices"][0]
    assert seam["delta"] == seam["message"] == {"role": "assistant", "content": "c", "tool_calls": []}


def test_a_choice_that_is_missing_is_asked_for_again() -> None:
    """That the others had come to their end says nothing of it."""
    first = events(said("a"), said("x", index=1), breaks="ReadError")
    half = events(said("ab"), end(), breaks="ReadError")
    whole = events(said("ab"), said("xy", index=1), end(), end(index=1))
    history = play(first, half, whole)
    assert texts_of(history.content) == {(0, "content"): "ab", (1, "content"): "xy"}


def test_comments_and_line_ends_of_any_kind_are_understood() -> None:
    first = Answer(
        headers=SSE,
        chunks=(b": hello\r\n\r\n", f"data: {said('a')}\r\n\r".encode(), f"\ndata: {said('b')}\r\r".encode()),
        breaks="ReadError",
    )
    second = Answer(
        headers=SSE,
        chunks=(
            b"\xef\xbb\xbf: again\n\n",
            f"data:{said('ab')}\r\n\r\n: c\n\ndata: {said('c')}\n\n".encode(),
            b"data: [DONE]\n\n",
        ),
    )
    history = play(first, second)
    with_newlines = history.content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    assert texts_of(with_newlines) == {(0, "content"): "abc"}
    assert b"again" not in history.content
    assert b": c\n\n" in history.content


def test_a_stream_that_broke_before_its_first_event_is_asked_for_again_as_well() -> None:
    """Who may be asked in the middle may be asked before."""
    for first in (lost(), events(role(), breaks="ReadError"), events(role()), events(ERROR), failed(502)):
        assert text_of(play(first, chat("a"))) == "a"
        assert play(first, options=CallOptions(repeatable=False)).sent == 1


# Not going on


def test_another_answer_is_not_put_behind_the_first() -> None:
    history = play(chat("To be", breaks="ReadError"), chat("Tomorrow"))
    assert isinstance(history.error, httpx.ReadError)
    assert text_of(history) == "To be"
    assert denials(history) == [("another_answer", 5)]
    assert resumptions(history) == []
    assert "5 characters were delivered" in "".join(history.error.__notes__)
    assert "To be" not in "".join(history.error.__notes__)


@pytest.mark.parametrize(
    "other",
    [
        chat("To"),
        chat("To b"),
        chat("to be or"),
        events(said("To be", index=1), end(index=1), "[DONE]"),
        events(said("To be", field="reasoning_content"), "[DONE]"),
        events(said("To"), "[DONE]"),
        events("[DONE]"),
    ],
)
def test_an_answer_that_is_shorter_or_elsewhere_is_another_one(other: Answer) -> None:
    history = play(chat("To be", breaks="ReadError"), other)
    assert isinstance(history.error, httpx.ReadError)
    assert (text_of(history), denials(history)) == ("To be", [("another_answer", 5)])


def test_an_end_that_differs_is_another_answer() -> None:
    """What was said to have come to its end must not go on."""
    first = events(said("a"), said("x", index=1), end("stop", 1), breaks="ReadError")
    for other in (events(said("xy", index=1)), events(said("x", index=1), end("length", 1))):
        assert denials(play(first, other)) == [("another_answer", 2)]


@pytest.mark.parametrize(
    "calls", [{"tool_calls": [{"index": 0, "function": {"arguments": '{"a'}}]}, {"function_call": {"arguments": "{"}}]
)
def test_tool_calls_are_never_put_together(calls: Mapping[str, Any]) -> None:
    """Half a call and half another one may make a third that nobody asked for."""
    call = json.dumps({"choices": [{"index": 0, "delta": calls}]})
    history = play(events(role(), said("a"), call, breaks="ReadError"))
    assert isinstance(history.error, httpx.ReadError)
    assert (denials(history), history.sent) == ([("tool_call", 1)], 1)
    history = play(chat("a", breaks="ReadError"), events(role(), said("a"), call))
    assert isinstance(history.error, httpx.ReadError)
    assert (denials(history), history.sent) == ([("tool_call", 1)], 2)
    assert b"arguments" not in history.content


@pytest.mark.parametrize(
    "asked",
    [
        {**CALL, "temperature": 0.7},
        {**CALL, "temperature": None},
        {**CALL, "temperature": False},
        {key: value for key, value in CALL.items() if key != "temperature"},
        {**CALL, "stream": False},
        {**CALL, "seed": None, "temperature": 1},
    ],
)
def test_what_is_not_deterministic_is_not_asked_again(asked: Mapping[str, Any]) -> None:
    history = play(chat("a", breaks="ReadError"), asked=asked)
    assert isinstance(history.error, httpx.ReadError)
    assert (denials(history), history.sent) == ([("not_deterministic", 1)], 1)


def test_a_seed_makes_a_request_deterministic() -> None:
    assert text_of(play(chat("a", breaks="ReadError"), chat("ab"), asked={**CALL, "temperature": 1, "seed": 7})) == "ab"


def test_a_body_that_is_no_json_or_not_in_memory_says_nothing_of_that() -> None:
    for content in (b"no json", b"[]", iter([b"{}"])):
        history = rehearse(Stack(Retry(), StreamGuard(resume=True)), chat("a", breaks="ReadError"), content=content)
        assert denials(history) == [("not_deterministic", 1)]


def test_what_the_caller_forbids_to_repeat_is_not() -> None:
    history = play(chat("a", breaks="ReadError"), options=CallOptions(repeatable=False))
    assert (denials(history), history.sent) == ([("not_repeatable", 1)], 1)


@pytest.mark.parametrize(
    "event", ["plain words", '{"type": "response.output_text.delta", "delta": "a"}', '{"tick": 1}']
)
def test_events_of_other_shapes_are_not_put_together(event: str) -> None:
    history = play(events(said("a"), event, breaks="ReadError"))
    assert denials(history) == [("unknown_events", 1)]
    assert event.encode() in history.content
    history = play(chat("a", breaks="ReadError"), events(said("a"), event, said("b"), end()))
    assert denials(history) == [("unknown_events", 1)]
    assert text_of(history) == "a"


@pytest.mark.parametrize("delta", [{"audio": {"data": "aGk="}}, {"content": [{"type": "text"}]}])
def test_what_is_no_text_is_not_put_together(delta: Mapping[str, Any]) -> None:
    event = json.dumps({"choices": [{"index": 0, "delta": delta}]})
    assert denials(play(events(said("a"), event, breaks="ReadError"))) == [("unknown_events", 1)]


def test_a_cut_does_not_go_through_the_probabilities_of_tokens() -> None:
    def probable(text: str) -> str:
        return said(text, logprobs={"content": [{"token": text}]})

    history = play(events(probable("a"), breaks="ReadError"), events(probable("ab"), end()))
    assert denials(history) == [("unknown_events", 1)]
    history = play(events(probable("a"), breaks="ReadError"), events(probable("a"), probable("b"), end()))
    assert text_of(history) == "ab"


def test_an_error_that_blames_the_caller_is_handed_over() -> None:
    def judge(status: int, headers: Mapping[str, str], body: bytes) -> Verdict:
        del status, headers, body
        return Verdict.CALLER

    stack = Stack(Retry(), StreamGuard(resume=True, judge=judge))
    answer = events(role(), said("a"), ERROR, "[DONE]")
    history = play(answer, stack=stack)
    assert (history.error, history.content) == (None, b"".join(answer.chunks))
    assert denials(history) == [("caller", 1)]


def test_an_error_in_the_stream_that_stays_is_handed_over_as_it_came() -> None:
    """The client reads it, and knows what to make of it."""
    answer = events(role(), said("a"), ERROR, "[DONE]")
    history = play(answer, chat("b"))
    assert (history.error, history.content) == (None, b"".join(answer.chunks[:3]))
    at_once = Answer(headers=SSE, chunks=(*answer.chunks[:2], b"".join(answer.chunks[2:])))
    assert play(at_once, chat("b")).content == b"".join(answer.chunks)


def test_a_truncated_stream_that_stays_so_is_an_error() -> None:
    """Who has streams continued need not look whether they are whole."""
    history = play(events(role(), said("a")), chat("b"))
    assert isinstance(history.error, httpx.RemoteProtocolError)
    assert "1 characters were delivered" in str(history.error)
    assert "no finish_reason" in str(history.error)


def test_nothing_is_asked_again_of_a_stream_that_was_whole() -> None:
    """A connection that breaks behind the last event takes nothing away."""
    answer = events(role(), said("a"), end(), "[DONE]", breaks="ReadError")
    history = play(answer)
    assert (history.error, history.content) == (None, b"".join(answer.chunks))


def test_nothing_is_asked_again_after_the_caller_closed() -> None:
    history = play(chat("a", breaks="ReadError"), read=False)
    assert (history.sent, outcomes(history)) == (1, [Outcome.ABANDONED])
    assert history.script.closed == {1: 1}


@pytest.mark.parametrize("stack", [Stack(Retry(attempts=1), StreamGuard(resume=True)), Stack(Retry(), StreamGuard())])
def test_without_attempts_or_without_resume_a_broken_stream_is_broken(stack: Stack) -> None:
    history = play(chat("a", breaks="ReadError"), stack=stack)
    assert isinstance(history.error, httpx.ReadError)
    assert (history.sent, text_of(history)) == (1, "a")


def test_an_open_circuit_is_not_asked() -> None:
    stack = Stack.unchecked(
        Retry(backoff=AT_ONCE), CircuitBreaker(failures=1, open_seconds=60), StreamGuard(resume=True)
    )
    history = play(chat("a", breaks="ReadError"), stack=stack)
    assert isinstance(history.error, httpx.ReadError)
    assert denials(history) == [("circuit_open", 1)]


def test_the_budget_bounds_what_is_asked_again() -> None:
    budget = RetryBudget(share=0.01, floor=0)
    stack = Stack(Retry(backoff=AT_ONCE, budget=budget), StreamGuard(resume=True))
    assert denials(play(chat("a", breaks="ReadError"), stack=stack)) == [("budget", 1)]


def test_when_attempts_end_the_error_of_the_stream_is_raised() -> None:
    """It is what the caller met; what came after stands in the ledger."""
    history = play(chat("a", breaks="ReadTimeout"), busy(), unsent())
    assert isinstance(history.error, httpx.ReadTimeout)
    assert denials(history) == [("attempts", 1)]
    assert any(isinstance(event, RetriesExhausted) for event in history.events)


@pytest.mark.parametrize(
    "other", [failed(404), ok(b"no stream"), Answer(status=200, headers={**SSE, "content-encoding": "gzip"})]
)
def test_an_answer_of_another_kind_continues_nothing(other: Answer) -> None:
    history = play(chat("a", breaks="ReadError"), other)
    assert isinstance(history.error, httpx.ReadError)
    assert denials(history) == [("another_answer", 1)]


def test_stamina_switches_it_off() -> None:
    stamina.set_active(False)
    try:
        assert play(chat("a", breaks="ReadError")).sent == 1
    finally:
        stamina.set_active(True)


@pytest.mark.parametrize("first", [chat("a", breaks="ReadError"), events(role(), said("a"))])
def test_stamina_in_testing_bounds_the_attempts(first: Answer) -> None:
    """One attempt is one attempt, also where a stream breaks."""
    stamina.set_testing(True, attempts=1)
    script = scripted(first, chat("ab"))
    try:
        with (
            httpx.Client(transport=over(Stack(Retry(), StreamGuard(resume=True)), script)) as client,
            pytest.raises(httpx.TransportError) as caught,
        ):
            client.post("http://foundry.local/", json=CALL)
    finally:
        stamina.set_testing(False)
    assert ResumeDenied("attempts", 1) in [event for _, event in ledger_of(caught.value).events]
    assert len(script.script.requests) == 1


def test_an_event_too_large_is_passed_on_and_ends_the_comparing() -> None:
    large = f"data: {said('x' * 500)}\n\n".encode()
    stack = Stack(Retry(), StreamGuard(resume=True, max_event=300))
    answer = Answer(headers=SSE, chunks=(*events(said("a")).chunks, large[:400], large[400:], large))
    history = play(answer, stack=stack)
    assert (history.error, history.content) == (None, b"".join(answer.chunks))
    history = play(
        chat("a", breaks="ReadError"), Answer(headers=SSE, chunks=(*events(said("a")).chunks, large)), stack=stack
    )
    assert denials(history) == [("unknown_events", 1)]
    assert text_of(history) == "a"


def test_what_is_no_failure_of_a_connection_is_raised_as_it_is() -> None:
    """A mistake in a program is not mended by asking again."""
    history = play(chat("a", breaks="DecodingError"))
    assert isinstance(history.error, httpx.DecodingError)
    assert (denials(history), history.sent) == ([], 1)
    with pytest.raises(AssertionError, match="asked once more"):
        play(chat("a", breaks="ReadError"))


def test_a_refusal_of_a_policy_further_in_is_told_as_one() -> None:
    class Refusing:
        def __init__(self) -> None:
            self.asked = 0

        def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
            self.asked += 1
            if self.asked > 1:
                raise ResilienceError("no more today")
            return (yield from proceed(request))

    stack = Stack(Retry(backoff=AT_ONCE), Refusing(), StreamGuard(resume=True))
    history = play(chat("a", breaks="ReadError"), stack=stack)
    assert isinstance(history.error, httpx.ReadError)
    assert denials(history) == [("refused", 1)]


# As a whole


UNTOUCHED = [
    b"".join(events(role(), said("a"), said("b"), end(), USAGE, "[DONE]").chunks),
    b"".join(events(role(), said("a"), end()).chunks) + b"data: half an ev",
    b": hello\r\n\r\n" + b"".join(events("words", "more words").chunks) + b"data: half an ev",
    b"".join(events(said("a"), json.dumps({"choices": [{"delta": {"tool_calls": [{}]}}]}), said("b"), end()).chunks),
]


@pytest.mark.parametrize("asked", [CALL, {}])
@given(whole=st.sampled_from(UNTOUCHED), places=st.lists(st.integers(0, 2000), max_size=12))
def test_what_does_not_break_passes_untouched(asked: Mapping[str, Any], whole: bytes, places: list[int]) -> None:
    """However it is cut into chunks, whatever it is: only its events are handed over in one piece each."""
    edges = sorted({0, len(whole), *(place % len(whole) for place in places)})
    chunks = tuple(whole[start:stop] for start, stop in pairwise(edges))
    assert play(Answer(headers=SSE, chunks=chunks), asked=asked).content == whole


def test_an_event_is_handed_over_as_soon_as_it_is_whole() -> None:
    moments: list[float] = []
    clock = VirtualTime()

    class Noting:
        def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
            response = yield from proceed(request)
            yield from watch(response, self)
            return response

        def chunk(self, data: bytes, at: float) -> None:
            del data
            moments.append(at - 1000)

        def ended(self, end: BodyEnd, at: float) -> BodyEnd:
            del at
            return end

    first, second = events(said("a"), said("b")).chunks
    answer = Answer(
        headers=SSE, chunks=(first, second[:9], second[9:], b": a comment\n\n", b"data: [DONE]\n\n"), pause=1
    )
    play(answer, stack=Stack(Noting(), Retry(), StreamGuard(resume=True)), clock=clock)
    assert moments == [1.0, 3.0, 4.0, 5.0]


def test_the_outcome_is_the_one_of_what_the_caller_read() -> None:
    """Watchers further out are told of the joined stream, those further in of each answer."""
    seen: list[Outcome] = []

    class Watching:
        def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
            response = yield from proceed(request)
            yield from watch(response, self)
            return response

        def chunk(self, data: bytes, at: float) -> None: ...

        def ended(self, end: BodyEnd, at: float) -> BodyEnd:
            del at
            seen.append(end.outcome)
            return end

    def outcome_of(*answers: Said, **settings: Any) -> Outcome:
        play(*answers, stack=Stack(Watching(), Retry(backoff=AT_ONCE), StreamGuard(resume=True)), **settings)
        return seen.pop()

    assert outcome_of(chat("a", breaks="ReadError"), chat("ab")) is Outcome.COMPLETE
    assert outcome_of(chat("a", breaks="ReadError"), chat("b")) is Outcome.BROKEN
    assert outcome_of(chat("a", breaks="ReadTimeout"), chat("b")) is Outcome.STALLED
    assert outcome_of(events(said("a"), ERROR), chat("b")) is Outcome.IN_BAND_ERROR
    assert outcome_of(chat("a"), read=False) is Outcome.ABANDONED
    assert outcome_of(events("[DONE]", "more"), read=False) is Outcome.COMPLETE


cuts = st.lists(st.integers(0, 60), max_size=6)


def pieces(text: str, places: Sequence[int]) -> list[str]:
    """The text in pieces, cut at these places."""
    edges = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [text[start:stop] for start, stop in pairwise(edges)]


def cut_off(answer: Answer, at: int, by: str | None, chunks: Sequence[int]) -> Answer:
    """The answer up to this byte, in chunks cut at these places."""
    whole = b"".join(answer.chunks)
    kept = whole[: len(whole) - at % len(whole)] if by else whole
    edges = sorted({0, len(kept), *(place % (len(kept) + 1) for place in chunks)})
    parts = tuple(kept[start:stop] for start, stop in pairwise(edges))
    return Answer(headers=SSE, chunks=parts, breaks=None if by == "end" else by)


telling = st.tuples(cuts, st.integers(0, 2000), st.sampled_from([None, "ReadError", "end"]), cuts)


@given(text=st.text(min_size=1, max_size=60), tellings=st.lists(telling, min_size=1, max_size=4))
@example(text="a", tellings=[([], 1, "ReadError", []), ([], 0, None, [])])
def test_no_character_is_lost_or_told_twice(text: str, tellings: list[Any]) -> None:
    """Whatever the text, wherever it breaks and however it is cut: the caller has all of it, or an error and a part."""
    answers = [cut_off(chat(*pieces(text, places)), at, by, chunks) for places, at, by, chunks in tellings]
    history = play(*answers, chat(text), chat(text), chat(text), attempts=4)
    told = text_of(history)
    assert text.startswith(told)
    if history.error is None and history.ledger.attempts[-1].outcome is Outcome.COMPLETE:
        assert told == text


@given(text=st.text(min_size=1, max_size=30), other=st.text(max_size=30), places=cuts, at=st.integers(0, 2000))
def test_two_answers_are_never_mixed(text: str, other: str, places: list[int], at: int) -> None:
    history = play(cut_off(chat(*pieces(text, places)), at, "ReadError", []), chat(other))
    told = text_of(history)
    assert told in {text, other} if history.error is None else text.startswith(told)
