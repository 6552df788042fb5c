"""Answers that nobody holds any more: kept from the collector until a call comes along that may close them.

The collector runs in the middle of anything, also inside the lock of the very pool that the answer's connection belongs
to. What it finds must not be closed then: httpx and httpcore close answers in the `finally` of generators, under that
lock. So an open answer is held by its HTTP client here, and a forgotten one is only put in a queue.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary


@dataclass(frozen=True, slots=True, eq=False)
class OpenAnswer:
    """A response of the HTTP library, and the iterator over its body."""

    response: Any
    body: Iterator[bytes]


class Leftovers:
    """The open answers of one HTTP client. Sets and queues change in one step, so threads need no lock for them."""

    def __init__(self) -> None:
        self._open: set[OpenAnswer] = set()
        self._forgotten: deque[OpenAnswer] = deque()

    def hold(self, answer: OpenAnswer) -> None:
        """Keep it from the collector."""
        self._open.add(answer)

    def forget(self, answer: OpenAnswer) -> None:
        """Leave it for the next call to close. The only thing here that a finaliser may do: no lock, no network."""
        self._forgotten.append(answer)

    def close(self, answer: OpenAnswer) -> None:
        """Close it now."""
        self._open.discard(answer)
        answer.response.close()

    def close_forgotten(self) -> None:
        """Close what was forgotten; that this fails is nothing to the call that does it."""
        while True:
            try:
                answer = self._forgotten.popleft()
            except IndexError:
                return
            with suppress(Exception):
                self.close(answer)


_LEFTOVERS: WeakKeyDictionary[Any, Leftovers] = WeakKeyDictionary()


def leftovers_of(http: Any) -> Leftovers:
    """Those of this HTTP client; also after the Foundry client over it is gone."""
    return _LEFTOVERS.setdefault(http, Leftovers())
