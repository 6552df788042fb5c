"""A time limit on a part of a task, on asyncio: hundreds of calls share one timer of their loop.

A timer of its own for each call costs as much as all else that a stack does for it: almost none of them ever goes off.
So the calls of a loop stand in one set, and the timer is set to the earliest moment of them. When it goes off it is
set anew, to the earliest of those that are there by then; as limits are alike, that is about once in their length.

Cancelling follows asyncio.timeout: the task is cancelled once, and takes it back (`uncancel`) where the part ends.
"""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType
from typing import Self


class Watch:
    """Cancels the task that made it, once `deadline` (on the loop's clock) has passed: no earlier than `moment`.

    `deadline` may be moved, between `moment` and later; say so by `moved`. What is raised within is not changed:
    `fired` says, after the block, that the CancelledError which left it was caused by this limit, and by nobody else;
    it is swallowed then.
    """

    __slots__ = ("_before", "_keeper", "_task", "deadline", "fired", "moment")

    def __init__(self, keeper: _Keeper, task: asyncio.Task[object], moment: float, grace: float) -> None:
        self._keeper = keeper
        self._task = task
        self._before = task.cancelling()
        self.moment = moment
        self.deadline = moment + grace
        self.fired = False
        keeper.watches[self] = None
        if moment < keeper.wakes:
            keeper.wake_at(moment)

    def moved(self, deadline: float) -> None:
        """The deadline is another."""
        self.deadline = deadline
        if deadline < self._keeper.wakes:
            self._keeper.wake_at(deadline)

    def fire(self) -> None:
        """The moment has come."""
        self.fired = True
        self._task.cancel()

    def end(self, error: BaseException | None) -> bool:
        """The part is over; whether it ended because of this limit."""
        self._keeper.watches.pop(self, None)
        if not self.fired:
            return False
        return self._task.uncancel() <= self._before and isinstance(error, asyncio.CancelledError)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        self.fired = self.end(value)
        return self.fired


class _Keeper:
    """The timer of one loop, and who waits for it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.watches: dict[Watch, None] = {}
        self.wakes = float("inf")
        self._timer: asyncio.TimerHandle | None = None

    def wake_at(self, moment: float) -> None:
        """Look again at this moment, which is earlier than the one that was set."""
        if self._timer is not None:
            self._timer.cancel()
        self.wakes = moment
        self._timer = self.loop.call_at(moment, self._look)

    def _look(self) -> None:
        self._timer, self.wakes = None, float("inf")
        now, earliest = self.loop.time(), float("inf")
        for watch in list(self.watches):
            if watch.deadline <= now:
                del self.watches[watch]
                watch.fire()
            else:
                earliest = min(earliest, watch.moment if watch.moment > now else watch.deadline)
        if earliest != float("inf"):
            self.wake_at(earliest)


_here = threading.local()
"""The keeper of the loop that runs in this thread."""


def watch(seconds: float, grace: float) -> Watch | None:
    """A limit on the running task, so many seconds from now; None where it is no task of asyncio."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:  # trio
        return None
    task = asyncio.current_task()
    if task is None:  # trio, as a guest of asyncio's loop
        return None
    keeper: _Keeper | None = getattr(_here, "keeper", None)
    if keeper is None or keeper.loop is not loop:
        keeper = _here.keeper = _Keeper(loop)
    return Watch(keeper, task, loop.time() + seconds, grace)
