"""What a contract may check of an answer, and what a failed check says."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from resilient_foundry.harness import CHAT, Answer, BrokenError
from resilient_foundry.harness.answer import expect
from resilient_foundry.harness.evidence import Ended, Exchange, Request, Response
from tests.harness.subjects import exchange

NOBODY = Exchange(Request("GET", "/status"), None, Ended("ConnectError", 0.0, "refused"))


def said(check: Callable[[], object]) -> str:
    """What the check says that fails."""
    with pytest.raises(BrokenError) as broken:
        check()
    return str(broken.value)


def test_checks_that_hold_give_the_answer_back() -> None:
    answer = Answer(exchange())
    chained = answer.status(200, 201).media("application/json").has({"a": int}).ended().holds(1, "one is true")
    assert chained is answer
    assert (answer.code, answer.body, answer.text, answer.json) == (200, b'{"a":1}', '{"a":1}', {"a": 1})


def test_a_failed_check_says_what_was_found_and_carries_the_evidence() -> None:
    seen = exchange(b'{"error":"no"}', 500)
    with pytest.raises(BrokenError) as broken:
        Answer(seen).status(200, 201)
    assert str(broken.value) == ('POST /v1/chat/completions: the status is 500, not 200 or 201: \'{"error":"no"}\'')
    assert broken.value.exchange is seen


@pytest.mark.parametrize(
    "media", ["application/json", "application/json; charset=utf-8", "application/json, Application/JSON"]
)
def test_parameters_case_and_repetition_of_a_media_type_do_not_count(media: str) -> None:
    """RFC 9110 section 8.3.1; some servers say it twice."""
    Answer(exchange(media=media)).media("application/json")


def test_another_media_type_does() -> None:
    assert "the media type is text/html, not application/json" in said(
        lambda: Answer(exchange(media="text/html")).media("application/json")
    )
    bare = Exchange(Request("GET", "/"), Response(200))
    assert "the media type is not said, not a/b" in said(lambda: Answer(bare).media("a/b"))


def test_what_is_no_json_is_described_not_quoted_at_length() -> None:
    assert "the answer is not JSON" in said(lambda: Answer(exchange(b"<html>")).has({}))


def test_three_differences_are_told_and_the_others_counted() -> None:
    told = said(lambda: Answer(exchange(b"{}")).has(dict.fromkeys("abcde", int)))
    assert told.endswith("$ has no 'a'; $ has no 'b'; $ has no 'c'; and 2 more")


def test_events_out_of_order_are_told_with_repetitions_counted() -> None:
    piece = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
    told = said(lambda: Answer(exchange(piece * 3 + b"data: [DONE]\n\n")).order(CHAT))
    assert told.endswith(f"the events are content x3 done, not {CHAT.order}")
    assert "the events are none" in said(lambda: Answer(exchange(b"")).order(CHAT))


def test_how_an_exchange_ended_can_be_asked() -> None:
    broken = Exchange(Request("GET", "/"), Response(200), Ended("ReadError", 1.0, "reset"))
    assert Answer(broken).ended("ReadError", "RemoteProtocolError").code == 200
    assert "ended as ReadError (reset), not complete" in said(Answer(broken).ended)


@pytest.mark.parametrize("check", ["code", "body", "json", "events"])
def test_without_an_answer_every_check_says_why_there_is_none(check: str) -> None:
    """A contract need not ask after each request whether there was a connection."""
    assert said(lambda: getattr(Answer(NOBODY), check)) == "GET /status: there was no answer: ConnectError (refused)"
    assert repr(Answer(NOBODY)) == "<ConnectError to GET /status>"


def test_whatever_else_is_to_be_true_can_be_said() -> None:
    assert said(lambda: Answer(exchange()).holds(condition=False, message="it is otherwise")).endswith(
        ": it is otherwise"
    )
    assert said(lambda: expect(condition=False, message="it is otherwise")) == "it is otherwise"
    expect(condition=True, message="it is so")
