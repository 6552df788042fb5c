"""What contracts about chats share: what may be asked, and what was said."""

import json

import pytest
from hypothesis import given

from resilient_foundry.harness import Answer, BrokenError
from resilient_foundry.harness.conversations import (
    Messages,
    adds_up,
    chunks,
    conversations,
    endings,
    failures,
    finish,
    fractions,
    heard,
    holds_only,
    is_done,
    said,
)
from resilient_foundry.harness.evidence import Chunk, Exchange, Request, Response


def plain(value: object) -> Answer:
    """An answer in one piece."""
    body = json.dumps(value).encode()
    return Answer(Exchange(Request("POST", "/"), Response(200, chunks=(Chunk(0, body),))))


def stream(*events: object) -> Answer:
    """A stream of these events, cut into chunks of seven bytes."""
    body = "".join(f"data: {each if isinstance(each, str) else json.dumps(each)}\n\n" for each in events).encode()
    pieces = tuple(Chunk(0, body[at : at + 7]) for at in range(0, len(body), 7))
    return Answer(Exchange(Request("POST", "/"), Response(200, (("content-type", "text/event-stream"),), 0, pieces)))


def delta(text: str, reason: str | None = None) -> dict[str, object]:
    return {"choices": [{"delta": {"content": text}, "finish_reason": reason}]}


@given(conversations())
def test_a_conversation_ends_with_a_question_that_says_something(messages: Messages) -> None:
    """Whatever is drawn is a valid request: what a server refuses of it is the server's fault."""
    assert messages[-1]["role"] == "user"
    assert all(message["content"].encode() for message in messages)


@given(fractions(0, 2))
def test_a_fraction_stays_between_its_bounds_and_is_never_almost_nothing(fraction: float) -> None:
    """Logits are divided by a temperature; one near to nothing asks about arithmetic, and may end a runtime."""
    assert fraction == 0 or 2**-14 <= fraction <= 2


def test_what_was_said_is_the_content_of_the_first_choice() -> None:
    answer = plain({"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]})
    assert (said(answer), finish(answer)) == ("Hello", "stop")


def test_a_message_without_content_says_nothing() -> None:
    assert said(plain({"choices": [{"message": {"content": None}}]})) == ""


def test_an_answer_without_choices_is_broken_and_no_stumble() -> None:
    with pytest.raises(BrokenError, match=r"\$\.choices is empty"):
        said(plain({"choices": []}))


def test_a_stream_is_heard_whole() -> None:
    answer = stream(delta("Hel"), delta("lo"), delta("", "stop"), "[DONE]")
    assert (heard(answer), endings(answer), is_done(answer), failures(answer)) == ("Hello", ["stop"], True, [])


def test_an_error_within_a_stream_is_found() -> None:
    answer = stream(delta("Hel"), {"error": {"message": "no"}})
    assert (failures(answer), is_done(answer)) == ([{"message": "no"}], False)


def test_a_stream_without_events_is_broken() -> None:
    """Otherwise every promise about each of its events would hold."""
    with pytest.raises(BrokenError, match="no events"):
        chunks(stream())


def test_an_event_that_is_no_object_is_broken() -> None:
    with pytest.raises(BrokenError, match="event 1 is no JSON object"):
        chunks(stream(delta("Hel"), "lo"))


def test_a_field_that_nobody_knows_is_named() -> None:
    with pytest.raises(BrokenError, match="'IsDelta'"):
        holds_only(plain({}), {"id": 1, "IsDelta": False}, {"id"}, "$")


def test_tokens_that_do_not_add_up_are_told() -> None:
    usage = {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 6}
    with pytest.raises(BrokenError, match="counts 6 tokens in all, not 5"):
        adds_up(plain({}), usage)
