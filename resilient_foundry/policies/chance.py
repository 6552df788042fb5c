"""Chance that can be had again: the n-th call of a seed draws the same numbers, whoever makes it."""

from __future__ import annotations

import os
import threading

_STEP = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


class Draws:
    """Numbers in [0, 1) out of a seed: splitmix64 (Steele, Lea and Flood, OOPSLA 2014)."""

    __slots__ = ("_state",)

    def __init__(self, seed: int) -> None:
        self._state = _mixed(seed)

    def next(self) -> float:
        """The next number."""
        self._state = (self._state + _STEP) & _MASK
        return (_mixed(self._state) >> 11) / (1 << 53)


class Calls:
    """Counts calls, and gives each its own numbers; in any thread."""

    def __init__(self, seed: int) -> None:
        self._seed = _mixed(seed)
        self._calls = 0
        self._lock = threading.Lock()
        self._owner = os.getpid()

    def next(self) -> Draws:
        """The numbers of the next call."""
        with self._locked():
            self._calls += 1
            number = self._calls
        return Draws(self._seed ^ number)

    def _locked(self) -> threading.Lock:
        if self._owner != os.getpid():  # another thread may have held the lock at the fork
            self._lock, self._owner = threading.Lock(), os.getpid()
        return self._lock


def _mixed(state: int) -> int:
    state &= _MASK
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
    return state ^ (state >> 31)
