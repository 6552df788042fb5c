"""A signal: given once, from any thread, and heard by whoever waits for it, in whatever colour."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable


class Signal:
    """Given once. Hands on to listeners, which neither block nor raise; one that comes late is called at once.

    Without a lock: a garbage collector may give it in the middle of anything. Each listener is taken out of the queue
    by exactly one thread, and that calls it.
    """

    __slots__ = ("_given", "_listeners")

    def __init__(self) -> None:
        self._given = False
        self._listeners: deque[Callable[[], None]] = deque()

    @property
    def is_given(self) -> bool:
        """Whether it was given."""
        return self._given

    def give(self) -> None:
        """Wake all who wait; once is enough."""
        self._given = True
        self._call()

    def hear(self, listener: Callable[[], None]) -> None:
        """Have this called when the signal is given; from the thread that gives it."""
        self._listeners.append(listener)
        if self._given:  # looked at after, so that nobody is missed who came just before
            self._call()

    def forget(self, listener: Callable[[], None]) -> None:
        """Call it no more."""
        with contextlib.suppress(ValueError, IndexError):  # it was called, or is being called just now
            self._listeners.remove(listener)

    def _call(self) -> None:
        while self._listeners:
            try:
                listener = self._listeners.popleft()
            except IndexError:  # another thread was faster
                return
            listener()
