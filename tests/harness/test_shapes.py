"""Whether JSON has the shape that is expected."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_foundry.harness.shapes import differences, each, one_of, optional, shown

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def positive(value: object) -> bool:
    """Numbers above nought."""
    return isinstance(value, int) and value > 0


@given(JSON)
def test_a_value_has_the_shape_of_itself(value: Any) -> None:
    assert list(differences(value, value)) == []


@given(JSON, JSON)
def test_a_shape_and_a_value_that_differ_are_told_apart(value: Any, shape: Any) -> None:
    """But for members that the shape does not ask for, and for 1 and 1.0, which are one number in JSON."""
    found = list(differences(value, shape))
    assert all(sentence.startswith("$") for sentence in found)
    if type(value) is not type(shape) and not {type(value), type(shape)} <= {int, float}:
        assert found


@pytest.mark.parametrize(
    ("value", "shape", "sentence"),
    [
        ({"a": 1}, {"a": str}, "$.a is 1, not str"),
        ({"a": True}, {"a": int}, "$.a is True, not int"),
        ({"a": True}, {"a": 1}, "$.a is True, not 1"),
        ({"a": 1}, {"a": True}, "$.a is 1, not True"),
        ({"a": None}, {"a": int | str}, "$.a is None, not int | str"),
        ({}, {"a": str}, "$ has no 'a'"),
        ([], {"a": str}, "$ is [], not an object"),
        ({"a": {"b": 2}}, {"a": {"b": 3}}, "$.a.b is 2, not 3"),
        ({"a": 2}, {"a": optional(str)}, "$.a is 2, not str"),
        ("c", one_of("a", "b"), "$ is 'c', not one of 'a', 'b'"),
        (True, one_of(1, 2), "$ is True, not one of 1, 2"),
        ([1], [int, int], "$ has 1 items, not 2"),
        ([1, "b"], [int, int], "$[1] is 'b', not int"),
        ("ab", [str], "$ is 'ab', not an array"),
        ([], each(int, least=1), "$ has 0 items, fewer than 1"),
        ([1, "b"], each(int), "$[1] is 'b', not int"),
        ("ab", each(str), "$ is 'ab', not an array"),
        (-1, positive, "$ is -1, which is not positive"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(value: Any, shape: Any, sentence: str) -> None:
    assert list(differences(value, shape)) == [sentence]


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        ({"a": 1, "b": 2}, {"a": 1}),
        ({}, {"a": optional(str)}),
        (1, float),
        (1.5, float | None),
        (None, float | None),
        ([1, 2], each(positive, least=2)),
        ("b", one_of("a", "b")),
    ],
)
def test_what_a_shape_leaves_open_is_open(value: Any, shape: Any) -> None:
    assert list(differences(value, shape)) == []


def test_every_difference_is_said() -> None:
    assert len(list(differences({"a": 1, "b": "x"}, {"a": str, "b": int, "c": int}))) == 3


def test_a_long_value_is_cut_and_stays_on_one_line() -> None:
    assert shown("a\nb" * 100, 10) == "'a\\nba\\nba…"
    assert shown("a", 3) == "'a'"
