"""What the events of a model's stream have said so far."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_foundry.policies.transcript import Dialect, Transcript, choices_of, read
from resilient_foundry.sse import Event

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["error", "type", "choices", "delta", "index", "finish_reason", "text", "response", "usage"]
            ),
            inner,
            max_size=4,
        )
    ),
)


def event(data: object, kind: str = "message") -> Event:
    return Event(json.dumps(data), kind)


def chat(delta: object, finish: str | None = None, index: int = 0) -> Event:
    return event({"choices": [{"index": index, "delta": delta, "finish_reason": finish}]})


def after(*told: Event, done: str | None = None) -> Transcript:
    transcript = Transcript(done)
    for one in told:
        transcript.add(one)
    return transcript


@pytest.mark.parametrize(
    ("said", "dialect"),
    [
        (chat({"content": "a"}), Dialect.CHAT),
        (event({"choices": []}), Dialect.CHAT),
        (event({"type": "response.output_text.delta"}), Dialect.RESPONSES),
        (event({}, "response.reasoning.delta"), Dialect.RESPONSES),
        (event({"type": "content_block_delta"}), Dialect.MESSAGES),
        (event({}, "message_delta"), Dialect.MESSAGES),
        (event({"type": "thread.message.delta"}), None),
        (event({"choices": {}}), None),
        (event([]), None),
        (Event("[DONE]"), None),
        (Event("words"), None),
    ],
)
def test_an_event_is_known_by_its_shape(said: Event, dialect: Dialect | None) -> None:
    assert read(said).dialect is dialect


def test_the_type_stands_in_the_data_before_it_stands_in_the_event() -> None:
    assert read(event({"type": "response.completed"}, "message_stop")).dialect is Dialect.RESPONSES


def test_a_choice_without_an_index_has_its_place() -> None:
    said = read(event({"choices": [{"text": "a"}, {"index": 7}, None, {"index": "x"}]}))
    assert [index for index, _ in choices_of(said)] == [0, 7, 2, 3]


def test_a_stream_is_whole_when_every_choice_has_finished() -> None:
    assert not after().is_whole
    assert not after(chat({"content": "a"})).is_whole
    assert after(chat({"content": "a"}), chat({}, "stop")).is_whole
    assert not after(chat({"content": "a"}), chat({"content": "b"}, index=1), chat({}, "stop")).is_whole
    assert after(chat({"content": "a"}, "stop"), chat({"content": "b"}, "stop", index=1)).is_whole


@pytest.mark.parametrize("last", [Event("[DONE]"), event({"type": "response.completed"}), event({}, "message_stop")])
def test_nothing_counts_after_the_last_event(last: Event) -> None:
    transcript = after(chat({"content": "a"}), last, event({"error": "late"}), chat({"content": "b"}))
    assert (transcript.is_whole, transcript.error, transcript.missing) == (True, None, None)


def test_the_first_error_is_the_one_that_counts() -> None:
    assert after(event({"error": {"type": "one"}}), event({"error": {"type": "two"}})).error == "one"


def test_the_kind_of_an_error_is_a_word_and_no_quotation() -> None:
    """It is written into the ledger, into logs and spans, where no prompt may stand."""
    assert after(event({"error": {"type": "the prompt " * 6, "code": "overloaded"}})).error == "overloaded"
    assert after(event({"error": {"type": "the prompt " * 6}})).error == "error"


@pytest.mark.parametrize(("done", "missing"), [(None, None), ("bye", "no bye at the end")])
def test_a_last_event_of_its_own_is_missed_where_it_was_said(done: str | None, missing: str | None) -> None:
    assert after(Event("words"), done=done).missing == missing
    assert after(Event("words"), Event("bye"), done=done).missing is None
    assert after(Event("bye"), done=done).begun


@given(told=st.lists(st.builds(event, json_values, st.sampled_from(["message", "error", "ping"])), max_size=6))
def test_no_json_is_an_error_here(told: list[Event]) -> None:
    """A server may send anything; what is not understood is something all the same."""
    transcript = after(*told)
    assert isinstance(transcript.is_whole, bool)
    assert transcript.missing is None or isinstance(transcript.missing, str)
