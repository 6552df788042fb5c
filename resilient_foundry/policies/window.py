"""The calls of the last seconds, counted in a ring of buckets: a call costs the same however many there were."""

from __future__ import annotations

_BUCKETS = 10
"""As Polly has; so a window reaches back between nine tenths of its seconds and all of them."""


class Window:
    """How many calls ended within the last `seconds`, how many of them failed, and how many were slow."""

    __slots__ = ("_latest", "_ring", "_width", "calls", "failures", "slow")

    def __init__(self, seconds: float) -> None:
        self._width = seconds / _BUCKETS
        self.clear()

    def clear(self) -> None:
        """Forget all calls."""
        self.calls = self.failures = self.slow = 0
        self._ring: list[int] | None = None  # made with the first call: most circuits count no rate
        self._latest = 0

    def record(self, now: float, *, failed: bool, slow: bool) -> None:
        """One call ended."""
        if self._ring is None:
            self._ring = [0] * (3 * _BUCKETS)
            self._latest = int(now // self._width)
        self.turn(now)
        bucket = 3 * (self._latest % _BUCKETS)
        self._ring[bucket] += 1
        self._ring[bucket + 1] += failed
        self._ring[bucket + 2] += slow
        self.calls += 1
        self.failures += failed
        self.slow += slow

    def turn(self, now: float) -> None:
        """Forget what is older than the window. A moment before the latest counts as the latest."""
        ring = self._ring
        if ring is None:
            return
        number = int(now // self._width)
        for passed in range(max(self._latest + 1, number - _BUCKETS + 1), number + 1):
            bucket = 3 * (passed % _BUCKETS)
            self.calls -= ring[bucket]
            self.failures -= ring[bucket + 1]
            self.slow -= ring[bucket + 2]
            ring[bucket : bucket + 3] = 0, 0, 0
        self._latest = max(self._latest, number)
