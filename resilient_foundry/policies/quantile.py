"""How long answers take, measured: a quantile over the latest of them."""

from __future__ import annotations

import math
import os
import threading
from bisect import bisect_left, insort
from collections import OrderedDict, deque

_LATEST = 200
"""Measurements that are kept of an origin: a 0.99 quantile needs a hundred, and more would make it slow to follow."""


class LatencyQuantile:
    """The quantile of the latest measurements of each of the `limit` origins used last. For any thread."""

    def __init__(self, quantile: float, *, warm_up: int, limit: int) -> None:
        self._quantile = quantile
        self._warm_up = warm_up
        self._limit = limit
        self._origins: OrderedDict[str, _Latest] = OrderedDict()
        self._lock = threading.Lock()
        self._owner = os.getpid()

    def of(self, origin: str) -> float | None:
        """Seconds within which that share of the answers came; None until enough were measured."""
        with self._locked():
            latest = self._origins.get(origin)
            if latest is None or len(latest.ordered) < self._warm_up:
                return None
            return latest.ordered[math.ceil(self._quantile * len(latest.ordered)) - 1]

    def took(self, origin: str, seconds: float) -> None:
        """An answer of this origin took so long."""
        with self._locked():
            latest = self._origins.get(origin)
            if latest is None:
                if len(self._origins) >= self._limit:
                    self._origins.popitem(last=False)
                latest = self._origins[origin] = _Latest(max(self._warm_up, _LATEST))
            self._origins.move_to_end(origin)
            latest.add(seconds)

    def _locked(self) -> threading.Lock:
        if self._owner != os.getpid():  # another thread may have held the lock at the fork
            self._lock, self._owner = threading.Lock(), os.getpid()
        return self._lock


class _Latest:
    """Measurements in the order in which they came, and in their own."""

    __slots__ = ("_came", "_most", "ordered")

    def __init__(self, most: int) -> None:
        self._most = most
        self._came: deque[float] = deque()
        self.ordered: list[float] = []

    def add(self, seconds: float) -> None:
        """Add one, and forget the oldest where there are enough."""
        if len(self._came) >= self._most:
            del self.ordered[bisect_left(self.ordered, self._came.popleft())]
        self._came.append(seconds)
        insort(self.ordered, seconds)
