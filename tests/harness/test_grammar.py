"""The order of the events of a stream."""

from __future__ import annotations

import json

import pytest

from resilient_foundry.harness import CHAT, Grammar, chat_kind, named_kind
from resilient_foundry.sse import Event

DONE = Event("[DONE]")


def chunk(finish: str | None = None, **delta: object) -> Event:
    """An event of a streamed chat."""
    return Event(json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}))


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (chunk(role="assistant"), "role"),
        (chunk(role="assistant", content="Hi"), "content"),
        (chunk(content=""), "other"),
        (chunk(reasoning_content="Hm"), "reasoning"),
        (chunk(tool_calls=["call"]), "call"),
        (chunk("stop", content=""), "finish"),
        (Event('{"choices":[],"usage":{}}'), "usage"),
        (Event('{"choices":[]}'), "other"),
        (Event('{"error":{"message":"no"}}'), "error"),
        (Event('{"message":"no"}', event="error"), "error"),
        (Event(" [DONE] "), "done"),
        (Event("[1]"), "garbage"),
        (Event("{"), "garbage"),
    ],
)
def test_an_event_of_a_chat_is_named_by_what_it_brings(event: Event, kind: str) -> None:
    assert chat_kind(event) == kind


@pytest.mark.parametrize(
    ("events", "accepted"),
    [
        ([chunk(role="assistant"), chunk(content="a"), chunk(content="b"), chunk("stop"), DONE], True),
        ([chunk("stop"), Event('{"choices":[],"usage":{"a":1}}'), DONE], True),
        ([chunk(content="a"), DONE], False),
        ([chunk("stop"), chunk(content="a"), DONE], False),
        ([chunk("stop")], False),
        ([chunk("stop"), DONE, DONE], False),
        ([], False),
    ],
)
def test_a_chat_is_in_order_or_it_is_not(events: list[Event], accepted: bool) -> None:
    """Nothing lost, nothing after its end."""
    assert CHAT.accepts(events) is accepted


def test_a_word_stands_for_a_whole_kind() -> None:
    """`done` is not the beginning of `done_for`, and a repetition repeats the word, not its last letter."""
    grammar = Grammar(named_kind, "response_done+")
    assert grammar.accepts([Event("{}", event="response.done")] * 2)
    assert not grammar.accepts([Event("{}", event="response.done.e")])


def test_named_events_are_words() -> None:
    assert [named_kind(each) for each in (Event("{}", event="response.output_text.delta"), DONE)] == [
        "response_output_text_delta",
        "done",
    ]
