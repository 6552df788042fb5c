"""Parts of a call side by side: begun by one of them, and none outlives it; in every async way and in rehearsal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from resilient_foundry import Stack
from resilient_foundry.flow import (
    Branch,
    Flow,
    Proceed,
    Request,
    Response,
    begin,
    now,
    respond,
    sleep,
    together,
    wait,
    wait_for_any,
)
from resilient_foundry.signal import Signal
from resilient_foundry.testing import rehearse, scripted
from tests.ways import LIBRARIES, over

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Story:
    """A policy that asks for several things at once."""

    story: Callable[[object], Flow[Any]]

    def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
        """Tell it, and answer with what it says."""
        del request, proceed
        said = yield from together(self.story)
        return (yield from respond(200, content=str(said).encode()))


async def told(way: str, story: Callable[[object], Flow[Any]]) -> str:
    """What a story says in this way."""
    library: Any = LIBRARIES[way.partition("-")[0]]
    async with library.AsyncClient(transport=over(Stack(Story(story)), scripted(module=library))) as client:
        text: str = (await client.get("http://foundry.local/")).text
        return text


def after(seconds: float, value: str) -> Flow[str]:
    yield from sleep(seconds)
    return value


def fails(seconds: float) -> Flow[str]:
    yield from sleep(seconds)
    raise ZeroDivisionError("a part failed")


def first_of_two(group: object) -> Flow[str | None]:
    slow = yield from begin(group, after(60, "slow"))
    quick = yield from begin(group, after(0.001, "quick"))
    assert (yield from wait_for_any([slow, quick], None)) is True
    assert not slow.ended.is_given
    return quick.value


async def test_the_first_that_ends_is_taken_and_the_others_do_not_hold_up_the_call(async_way: str) -> None:
    assert await told(async_way, first_of_two) == "quick"


async def test_a_wait_for_several_ends_at_its_moment(async_way: str) -> None:
    def story(group: object) -> Flow[bool]:
        slow = yield from begin(group, after(60, "slow"))
        return (yield from wait_for_any([slow], (yield from now()) + 0.001))

    assert await told(async_way, story) == "False"


async def test_one_that_has_ended_already_is_not_waited_for(async_way: str) -> None:
    def story(group: object) -> Flow[list[str | None]]:
        a = yield from begin(group, after(0, "a"))
        b = yield from begin(group, after(0, "b"))
        branches: list[Branch[str]] = [a, b]
        for branch in branches:
            yield from wait_for_any([branch], None)
        assert (yield from wait_for_any(branches, None)) is True
        return [branch.value for branch in branches]

    assert await told(async_way, story) == "['a', 'b']"


async def test_what_a_part_raises_is_kept_for_whoever_began_it(async_way: str) -> None:
    """One that fails does not end the others."""

    def story(group: object) -> Flow[str]:
        bad = yield from begin(group, fails(0))
        good = yield from begin(group, after(0.001, "good"))
        yield from wait_for_any([good], None)
        return f"{good.value}, {type(bad.error).__name__}"

    assert await told(async_way, story) == "good, ZeroDivisionError"


async def test_what_the_part_itself_raises_ends_the_others_and_leaves_as_itself(async_way: str) -> None:
    """Not in a group of one."""
    ended: list[str] = []

    def hangs() -> Flow[None]:
        try:
            yield from sleep(3600)
        finally:
            ended.append("hangs")

    def story(group: object) -> Flow[str]:
        yield from begin(group, hangs())
        yield from sleep(0.001)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await told(async_way, story)
    assert ended == ["hangs"]


async def test_groups_within_groups_end_with_them(async_way: str) -> None:
    def inner(group: object) -> Flow[str | None]:
        quick = yield from begin(group, after(0.001, "inner"))
        yield from begin(group, after(60, "slow"))
        yield from wait_for_any([quick], None)
        return quick.value

    def story(group: object) -> Flow[str | None]:
        branch = yield from begin(group, together(inner))
        yield from begin(group, after(60, "slow"))
        yield from wait_for_any([branch], None)
        return branch.value

    assert await told(async_way, story) == "inner"
    assert rehearse(Story(story)).content == b"inner"


@pytest.mark.parametrize("name", LIBRARIES)
def test_synchronous_code_says_that_it_does_one_thing_at_a_time(name: str) -> None:
    library: Any = LIBRARIES[name]
    with (
        library.Client(transport=over(Stack(Story(first_of_two)), scripted(module=library))) as client,
        pytest.raises(TypeError, match="a synchronous call does one thing at a time"),
    ):
        client.get("http://foundry.local/")


def test_in_a_rehearsal_they_take_turns_on_the_clock() -> None:
    """Whose moment comes first goes on first, and no time passes but the longest of them."""
    seen: list[tuple[str, float]] = []

    def steps(name: str, *seconds: float) -> Flow[None]:
        for one in seconds:
            yield from sleep(one)
            seen.append((name, (yield from now()) - 1000.0))

    def story(group: object) -> Flow[str]:
        a = yield from begin(group, steps("a", 1, 3, 3))
        b = yield from begin(group, steps("b", 2, 4))
        yield from wait_for_any([a], None)
        yield from wait_for_any([b], None)
        return "done"

    assert rehearse(Story(story)).elapsed == 7.0
    assert seen == [("a", 1.0), ("b", 2.0), ("a", 4.0), ("b", 6.0), ("a", 7.0)]


def test_in_a_rehearsal_one_that_is_cancelled_stops_where_it_waits() -> None:
    seen: list[str] = []

    def part() -> Flow[None]:
        try:
            yield from sleep(5)
            seen.append("went on")
        finally:
            seen.append("ended")

    def story(group: object) -> Flow[str]:
        yield from begin(group, part())
        yield from sleep(1)
        return "done"

    history = rehearse(Story(story))
    assert (history.content, history.elapsed, seen) == (b"done", 1.0, ["ended"])


def test_in_a_rehearsal_a_signal_that_one_gives_wakes_the_other() -> None:
    signal = Signal()

    def gives() -> Flow[None]:
        yield from sleep(3)
        signal.give()

    def story(group: object) -> Flow[bool]:
        yield from begin(group, gives())
        return (yield from wait(signal, None))

    history = rehearse(Story(story))
    assert (history.content, history.elapsed) == (b"True", 3.0)


def test_a_rehearsal_that_waits_for_ever_says_so() -> None:
    """A test must not hang."""

    def story(group: object) -> Flow[bool]:
        yield from begin(group, after(1, "nothing more"))
        return (yield from wait(Signal(), None))

    with pytest.raises(AssertionError, match="waits for ever"):
        rehearse(Story(story))
