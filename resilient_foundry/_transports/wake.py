"""Wake a task from another thread, whatever event loop it lives in."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from collections.abc import Callable


def waker(wake: Callable[[], object]) -> Callable[[], None]:
    """`wake`, to be called from any thread; it runs in the event loop that is running here, unless that has ended."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return _by_trio(wake)

    def by_asyncio() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(wake)

    return by_asyncio


def _by_trio(wake: Callable[[], object]) -> Callable[[], None]:
    trio = sys.modules["trio"]  # whoever runs in it has imported it
    token = trio.lowlevel.current_trio_token()

    def by_trio() -> None:
        with contextlib.suppress(trio.RunFinishedError):
            token.run_sync_soon(wake)

    return by_trio


_APART = 2
"""Turns of the event loop. After one alone a request of httpx 0.28 has not taken its connection yet."""
_turns = threading.local()
"""Of the loop that runs in this thread: who goes on when."""


async def one_by_one() -> None:
    """Go on some turns of the event loop after whoever was woken before; on asyncio alone.

    Answers that come together wake many who wait for a place, all in the same turn. The pool of httpx 0.28 would give
    the same idle connection to all of them, for it is marked as taken only a turn later (encode/httpcore#1000).
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:  # trio
        return
    line: asyncio.Lock | None = getattr(_turns, "line", None)
    if line is None or _turns.loop is not loop:
        _turns.loop, _turns.line = loop, asyncio.Lock()
        line = _turns.line
    async with line:
        for _ in range(_APART):
            await asyncio.sleep(0)
