"""The library's own time limits, made to follow a deadline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

_SHORTEST = 0.001
"""Seconds. A socket whose timeout is 0 does not time out but stops blocking, which is another thing."""
_UNLIMITED = dict.fromkeys(("connect", "pool", "write", "read"))


class LiveLimits(dict[str, float | None]):
    """What stands at `request.extensions["timeout"]`: httpcore reads it anew at the beginning of each phase.

    Until the head of the answer is there, every limit is at most the time left. After that, `read` is the limit of a
    chunk of the body, which httpcore reads once a body.
    """

    __slots__ = ("_clock", "_until", "body")

    def __init__(
        self, limits: Mapping[str, float | None], *, until: float | None, body: float | None, clock: Callable[[], float]
    ) -> None:
        super().__init__(limits if len(limits) == len(_UNLIMITED) else {**_UNLIMITED, **limits})
        self._until = until
        self.body = body
        self._clock = clock
        if until is not None:  # for those who read the dictionary as it lies there
            left = until - clock()
            for phase, limit in limits.items():
                if limit is None or limit > left:
                    self[phase] = max(_SHORTEST, left)

    def head_arrived(self, *, deadline_covers_the_body: bool) -> None:
        """What follows is the body, whose limit is read once: at most the time left, where the deadline covers it."""
        if deadline_covers_the_body and self._until is not None:
            left = max(_SHORTEST, self._until - self._clock())
            self.body = left if self.body is None else min(self.body, left)
        self._until = None
        self["read"] = self.body

    def shorten_the_body(self, seconds: float) -> None:
        """No chunk of the body is to be waited for longer than this; to be said before its first one is."""
        if self.body is None or seconds < self.body:
            self.body = seconds
            super().__setitem__("read", seconds)

    def get(self, key: str, default: Any = None) -> Any:
        """The limit of a phase that begins now."""
        limit = _get(self, key, default)
        if self._until is None:
            return limit
        left = self._until - self._clock()
        if limit is not None and limit <= left:
            return limit
        return max(_SHORTEST, left)

    def __getitem__(self, key: str) -> float | None:
        limit: float | None = self.get(key)
        return limit


_get = dict[str, Any].get  # asked some eight times with every request; `super()` would take half as long again
