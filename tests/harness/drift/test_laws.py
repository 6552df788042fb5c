"""What is true of drift whatever the servers say."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, cast

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from resilient_foundry.harness.drift import Area, Grade
from resilient_foundry.harness.evidence import Chunk, Ended, Exchange, Response
from tests.harness.drift.sides import CHAT, EVENTS, answered, drifted

NAMES = st.sampled_from(["id", "text", "count", "object", "type", "choices", "usage", "x"])
VALUES = st.none() | st.booleans() | st.integers() | st.sampled_from(["hello", "there", "", "a b"])
JSON = st.recursive(
    VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=12
)
OBJECTS = st.dictionaries(NAMES, JSON, min_size=1, max_size=4)
BODIES = st.lists(OBJECTS, min_size=1, max_size=4)
STREAMS = st.lists(
    st.sampled_from(
        [
            b'data: {"choices":[{"delta":{"role":"assistant"}}]}\n\n',
            b'data: {"choices":[{"delta":{"content":"\xc3\xb6"}}]}\n\n',
            b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\r\n\r\n',
            b'data: {"error":{"message":"no"}}\n\n',
            b": comment\n\n",
            b"data: [DONE]\n\n",
        ]
    ),
    max_size=8,
).map(b"".join)


def other_values(value: Any, chance: random.Random) -> Any:  # JSON: anything
    """The same shape with other texts and numbers; words of small fields stay, for they are no mere values."""
    if isinstance(value, dict):
        known = cast("dict[str, Any]", value)
        return {name: item if is_word(name, item) else other_values(item, chance) for name, item in known.items()}
    if isinstance(value, list):
        return [other_values(item, chance) for item in cast("list[object]", value)]
    if isinstance(value, bool):
        return chance.random() < 0.5
    if isinstance(value, int):
        return chance.randint(-99, 99)
    return chance.choice(["", "other", "ünï"]) if isinstance(value, str) else value


def is_word(name: str, value: object) -> bool:
    """A word of the protocol, in a small field."""
    return name in {"object", "type"} and isinstance(value, str)


def objects_in(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in it, itself first."""
    inner: Iterable[Any] = ()
    if isinstance(value, dict):
        known = cast("dict[str, Any]", value)
        yield known
        inner = known.values()
    elif isinstance(value, list):
        inner = cast("list[object]", value)
    for item in inner:
        yield from objects_in(item)


def streams(body: bytes, cuts: list[int]) -> list[Exchange]:
    """One stream, cut there."""
    edges = [0, *sorted(cuts), len(body)]
    parts = [body[start:end] for start, end in pairwise(edges)]
    chunks = tuple(Chunk(float(place), part) for place, part in enumerate(parts))
    return [Exchange(CHAT, Response(200, EVENTS, 0.0, chunks), Ended(at=9.0))]


@settings(max_examples=40)
@given(BODIES)
def test_nothing_drifts_from_itself(bodies: list[dict[str, Any]]) -> None:
    assert drifted(answered(*bodies), answered(*bodies)).findings == ()


@settings(max_examples=40)
@given(STREAMS)
def test_no_stream_drifts_from_itself(body: bytes) -> None:
    assert drifted(streams(body, []), streams(body, [])).findings == ()


@settings(max_examples=40)
@given(BODIES, BODIES, st.integers(0, 999))
def test_values_do_not_matter(before: list[Any], after: list[Any], seed: int) -> None:
    """Other texts, ids and numbers, the same drift: answers of two models can't be compared word by word."""
    assume(len(before) == len(after))
    once = drifted(answered(*before), answered(*after))
    chance = random.Random(seed)  # noqa: S311 - no secret
    others = [other_values(each, chance) for each in after]
    again = drifted(answered(*before), answered(*others))
    assert [(each.grade, each.says) for each in once.findings] == [(each.grade, each.says) for each in again.findings]


@settings(max_examples=40)
@given(STREAMS, st.data())
def test_cutting_a_stream_elsewhere_changes_only_its_framing(body: bytes, data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=6))
    found = drifted(streams(body, []), streams(body, cuts))
    assert {each.area for each in found.findings} <= {Area.FRAMING}
    assert found.grade is Grade.COMPATIBLE


@settings(max_examples=40)
@given(BODIES, JSON, st.data())
def test_a_member_more_is_never_breaking(bodies: list[dict[str, Any]], value: Any, data: st.DataObject) -> None:
    """Clients are to ignore what they do not know."""
    grown = json.loads(json.dumps(bodies))
    for each in data.draw(st.lists(st.sampled_from(list(objects_in(grown))), min_size=1)):
        each["new member"] = value
    found = drifted(answered(*bodies), answered(*grown))
    assert found.grade is Grade.COMPATIBLE
    assert any("new member is new" in each.says for each in found.findings)


@settings(max_examples=40)
@given(BODIES, st.data())
def test_a_required_member_less_is_always_breaking(bodies: list[dict[str, Any]], data: st.DataObject) -> None:
    always = [name for name in bodies[0] if all(name in each for each in bodies)]
    assume(always)
    lost = data.draw(st.sampled_from(always))
    less = [{name: item for name, item in each.items() if name != lost} for each in bodies]
    found = drifted(answered(*bodies), answered(*less))
    assert ("breaking", f"{lost} is gone") in [(each.grade.name.lower(), each.says) for each in found.findings]


@settings(max_examples=40)
@given(BODIES, BODIES)
def test_what_is_gone_one_way_is_new_the_other_way(before: list[Any], after: list[Any]) -> None:
    """Members appear and disappear symmetrically; only what that means depends on the direction."""
    assume(len(before) == len(after))
    there = drifted(answered(*before), answered(*after)).findings
    back = drifted(answered(*after), answered(*before)).findings
    gone = {each.says.partition(" is gone")[0] for each in there if " is gone" in each.says}
    new = {each.says.removesuffix(" is new") for each in back if each.says.endswith(" is new")}
    assert gone <= new
