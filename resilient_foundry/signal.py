"""A signal: given once, from any thread, and heard by whoever waits for it, in whatever colour."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Signal:
    """Given once. Hands on to listeners, which neither block nor raise; one that comes late is called at once."""

    __slots__ = ("_given", "_listeners", "_lock")

    def __init__(self) -> None:
        self._given = False
        self._listeners: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    @property
    def is_given(self) -> bool:
        """Whether it was given."""
        return self._given

    def give(self) -> None:
        """Wake all who wait; once is enough."""
        with self._lock:
            self._given = True
            listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener()

    def hear(self, listener: Callable[[], None]) -> None:
        """Have this called when the signal is given; from the thread that gives it."""
        with self._lock:
            if not self._given:
                self._listeners.append(listener)
                return
        listener()

    def forget(self, listener: Callable[[], None]) -> None:
        """Call it no more."""
        with self._lock:
            if listener in self._listeners:
                self._listeners.remove(listener)
