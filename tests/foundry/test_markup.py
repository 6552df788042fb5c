"""Thoughts and tool markup in the text of 1.x."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilient_foundry.foundry.markup import Thinking, part, without_tool_calls

TEXTS = st.lists(st.sampled_from(["<think>", "</think>", "<th", "ink>", "</", "a", " ", "\n", "<", "é"])).map("".join)


@pytest.mark.parametrize(
    ("text", "said", "thought"),
    [
        ("plain", "plain", None),
        ("<think>hm</think>\n\nyes", "yes", "hm"),
        ("\n<think>hm</think>yes", "yes", "hm"),
        ("<think>never closed", "", "never closed"),
        ("say <think>not a thought</think>", "say <think>not a thought</think>", None),
        ("<thin", "<thin", None),
        ("<think>a</thi", "", "a</thi"),
        ("  leading", "  leading", None),
        ("", "", None),
    ],
)
def test_thoughts_that_open_a_text_are_parted_from_it(text: str, said: str, thought: str | None) -> None:
    """Markers later in the text are something that the model writes about."""
    assert part(text) == (said, thought)


@settings(deadline=None)
@given(TEXTS, st.integers(1, 5))
def test_pieces_make_no_difference(text: str, size: int) -> None:
    """A stream parts as the whole text does."""
    thinking = Thinking()
    parts = [thinking.feed(text[start : start + size]) for start in range(0, len(text), size)] + [thinking.end()]
    said, thought = "".join(one for one, _ in parts), "".join(other for _, other in parts)
    assert (said, thought or None) == part(text)


def test_the_markup_of_tool_calls_is_taken_out() -> None:
    """It was read already."""
    assert without_tool_calls('One moment. <tool_call>{"name": "a"}</tool_call>') == "One moment."
