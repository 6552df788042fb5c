"""Load on one server: so many callers one after the other (closed), or so many calls a second (open).

A closed loop waits for each answer before it asks again, so a server that stands still is asked less, and its worst
moments are hardly seen ("coordinated omission"). An open loop sends at fixed moments and counts from the moment at
which a call was meant to go out.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

Call = Callable[[], Awaitable[object]]
"""One call, up to the end of its answer; raises what it meets."""


@dataclass(slots=True)
class Load:
    """What came of it. Seconds; `latencies` of good answers alone, in the order in which they came."""

    latencies: list[float] = field(default_factory=list[float])
    errors: Counter[str] = field(default_factory=Counter[str])
    """How often which error was met, by its class."""
    seconds: float = 0.0
    cpu: float = 0.0
    """Seconds of processor time of this process."""
    ended: list[float] = field(default_factory=list[float])
    """When each good answer was there, counted from the beginning of the load."""

    @property
    def asked(self) -> int:
        """How many calls ended."""
        return len(self.latencies) + self.errors.total()

    @property
    def throughput(self) -> float:
        """Good answers a second."""
        return len(self.latencies) / self.seconds if self.seconds else 0.0

    @property
    def cpu_a_call(self) -> float:
        """Seconds of processor time, of this process, for one call."""
        return self.cpu / self.asked if self.asked else 0.0


def _never() -> bool:
    return False


async def closed(
    call: Call, *, callers: int, seconds: float, calls: int | None = None, enough: Callable[[], bool] = _never
) -> Load:
    """So many callers, each asking again once it has its answer; at most `calls` in all, none begun after `seconds`.

    Nor is one begun once `enough` says so.
    """
    load = Load()
    left = [calls if calls is not None else -1]
    began, cpu = time.perf_counter(), time.process_time()
    until = began + seconds

    async def ask() -> None:
        while left[0] and time.perf_counter() < until and not enough():
            left[0] -= 1
            await _timed(call, load, time.perf_counter(), began)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(callers):
            tasks.create_task(ask())
    load.seconds, load.cpu = time.perf_counter() - began, time.process_time() - cpu
    return load


async def opened(
    call: Call, *, rate: float, seconds: float, most: int = 10_000, enough: Callable[[], bool] = _never
) -> Load:
    """`rate` calls a second at even intervals, each measured from the moment at which it was meant to go out.

    Of calls under way there are at most `most`: what would be more counts as an error, `TooManyUnderWay`. None is begun
    once `enough` says so.
    """
    load = Load()
    began, cpu = time.perf_counter(), time.process_time()
    under_way: set[asyncio.Task[None]] = set()
    for number in range(round(rate * seconds)):
        moment = began + number / rate
        ahead = moment - time.perf_counter()
        if ahead > 0:
            await asyncio.sleep(ahead)
        elif not number % 50:
            await asyncio.sleep(0)  # who is late all the time lets the others run, too
        if enough():
            break
        if len(under_way) >= most:
            load.errors["TooManyUnderWay"] += 1
            continue
        task = asyncio.create_task(_timed(call, load, moment, began))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    while under_way:
        await asyncio.wait(under_way)
    load.seconds, load.cpu = time.perf_counter() - began, time.process_time() - cpu
    return load


async def _timed(call: Call, load: Load, since: float, began: float) -> None:
    try:
        await call()
    except Exception as error:  # noqa: BLE001 - what callers meet is what is measured
        load.errors[type(error).__name__] += 1
    else:
        now = time.perf_counter()
        load.latencies.append(now - since)
        load.ended.append(now - began)
