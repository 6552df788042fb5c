"""Wake a task from another thread, whatever event loop it lives in."""

from __future__ import annotations

import asyncio
import contextlib
import sys
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
