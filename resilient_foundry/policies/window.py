"""The calls of the last seconds, counted in a ring of buckets: a call costs the same however many there were."""

from __future__ import annotations

_BUCKETS = 10
"""As Polly has; so a window reaches back between nine tenths of its seconds and all of them."""


class Window:
    """How many calls ended within the last `seconds`, how many of them failed, and how many were slow."""

    def __init__(self, seconds: float) -> None:
        self._width = seconds / _BUCKETS
        self.clear()

    def clear(self) -> None:
        """Forget all calls."""
        self.calls = self.failures = self.slow = 0
        self._ring = [[0, 0, 0] for _ in range(_BUCKETS)]
        self._latest: int | None = None

    def record(self, now: float, *, failed: bool, slow: bool) -> None:
        """One call ended."""
        self.turn(now)
        bucket = self._ring[(self._latest or 0) % _BUCKETS]
        bucket[0] += 1
        bucket[1] += failed
        bucket[2] += slow
        self.calls += 1
        self.failures += failed
        self.slow += slow

    def turn(self, now: float) -> None:
        """Forget what is older than the window. A moment before the latest counts as the latest."""
        number = int(now // self._width)
        if self._latest is None:
            self._latest = number
        for passed in range(max(self._latest + 1, number - _BUCKETS + 1), number + 1):
            bucket = self._ring[passed % _BUCKETS]
            self.calls -= bucket[0]
            self.failures -= bucket[1]
            self.slow -= bucket[2]
            bucket[:] = 0, 0, 0
        self._latest = max(self._latest, number)
