"""A limit on a part of a task: all of a loop share one timer, and cancelling is taken back where the part ends."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from resilient_foundry._transports.watch import Watch, watch
from resilient_foundry.testing import VirtualTime, run_on

GRACE = 2.0


def within_a_loop(main: Callable[[VirtualTime], Awaitable[None]]) -> None:
    """On a clock on which waiting takes no time, from zero."""
    clock = VirtualTime(0.0)
    run_on(clock, main, clock)


def limited(seconds: float) -> Watch:
    limit = watch(seconds, GRACE)
    assert limit is not None
    return limit


def test_a_part_in_time_is_left_alone() -> None:
    async def main(clock: VirtualTime) -> None:
        with limited(5.0) as limit:
            await asyncio.sleep(4.0)
        assert not limit.fired
        await asyncio.sleep(10.0)
        assert clock.now == 14.0

    within_a_loop(main)


def test_a_part_that_is_late_is_cancelled_after_its_grace() -> None:
    async def main(clock: VirtualTime) -> None:
        with limited(5.0) as limit:
            await asyncio.sleep(60.0)
        assert limit.fired
        assert clock.now == 5.0 + GRACE
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0  # whoever waits next is not cancelled

    within_a_loop(main)


def test_the_grace_may_end_before_and_after_the_moment() -> None:
    """An answer has its head: what follows has no grace any more."""

    async def main(clock: VirtualTime) -> None:
        for head_after, ends in ((1.0, 5.0), (6.0, 6.0)):
            began = clock.now
            with limited(5.0) as limit:
                await asyncio.sleep(head_after)
                limit.moved(limit.moment)
                await asyncio.sleep(60.0)
            assert limit.fired
            assert clock.now - began == ends

    within_a_loop(main)


def test_many_share_a_timer_and_each_is_kept() -> None:
    """Begun in any order: what is set earlier than the timer sets it anew."""
    ended: dict[float, float] = {}

    async def main(clock: VirtualTime) -> None:
        async def part(seconds: float) -> None:
            with limited(seconds):
                await asyncio.sleep(100.0)
            ended[seconds] = clock.now

        await asyncio.gather(*map(part, (9.0, 3.0, 6.0, 3.0, 12.0)))

    within_a_loop(main)
    assert ended == {seconds: seconds + GRACE for seconds in (3.0, 6.0, 9.0, 12.0)}


def test_who_is_cancelled_by_somebody_else_is_not_swallowed() -> None:
    async def main(clock: VirtualTime) -> None:
        async def part() -> None:
            with limited(5.0):
                await asyncio.sleep(60.0)

        task = asyncio.ensure_future(part())
        await asyncio.sleep(1.0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert clock.now == 1.0

    within_a_loop(main)


def test_who_is_cancelled_by_both_stays_cancelled() -> None:
    """As asyncio.timeout has it: the other one's word counts."""

    async def main(clock: VirtualTime) -> None:
        async def part() -> None:
            with limited(5.0):
                try:
                    await asyncio.sleep(60.0)
                finally:
                    await asyncio.sleep(0.0)

        task = asyncio.ensure_future(part())
        asyncio.get_running_loop().call_at(clock.now + 5.0 + GRACE, task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task

    within_a_loop(main)


def test_what_the_part_raises_is_what_leaves_it() -> None:
    async def main(clock: VirtualTime) -> None:
        async def part() -> None:
            with limited(5.0):
                try:
                    await asyncio.sleep(60.0)
                finally:
                    _ = 1 / (clock.now - 5.0 - GRACE)

        with pytest.raises(ZeroDivisionError):
            await part()

    within_a_loop(main)


def test_there_is_none_without_asyncio() -> None:
    """Trio has scopes of its own, and so does anyio for it."""
    assert watch(5.0, GRACE) is None
