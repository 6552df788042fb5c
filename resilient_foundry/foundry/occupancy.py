"""Who uses which model in this client, so that none is unloaded under a running answer.

2.2.1 does not survive unloading that overlaps with inference for long (a use after free, then the process is gone), so
an unload waits for the answers of its client to end. Answers go on together; only unloading wants a model for itself.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Use:
    """A use of the model that has these names (alias, name, id: whatever is known); `alone` to unload it."""

    names: frozenset[str]
    alone: bool = False

    def meets(self, other: Use) -> bool:
        """Whether the two can't go on together."""
        return (self.alone or other.alone) and not self.names.isdisjoint(other.names)


@dataclass(slots=True, eq=False)
class Waiter:
    """Somebody who wants to begin a use; `wake` is called when it may be worth trying again.

    From any thread, and from finalisers: it takes no lock.
    """

    use: Use
    wake: Callable[[], None]


class Occupancy:
    """The uses going on, and who waits. State of one client, shared by its threads or tasks; under a short lock.

    While somebody waits to be alone, no further use of that model begins, or a busy client would never unload.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._uses: list[Use] = []
        self._ended: deque[Use] = deque()
        self._waiting: list[Waiter] = []

    def enter(self, waiter: Waiter) -> bool:
        """Begin the use, if it meets no other; else the waiter is woken when one of them ends."""
        use = waiter.use
        with self._lock:
            if waiter not in self._waiting:
                self._waiting.append(waiter)
            self._settle()  # after it waits: a use that ends from here on wakes it
            before = [] if use.alone else [other.use for other in self._waiting if other.use.alone]
            if any(use.meets(other) for other in (*self._uses, *before)):
                return False
            self._uses.append(use)
            self._waiting.remove(waiter)
            return True

    def forget(self, waiter: Waiter) -> None:
        """It waits no more; whoever waited behind it is woken. Harmless for one that has entered."""
        with self._lock:
            if waiter not in self._waiting:
                return
            self._waiting.remove(waiter)
        self._wake()

    def leave(self, use: Use) -> None:
        """End this use. The collector may call it, for a forgotten stream, inside `enter`: so it takes no lock."""
        self._ended.append(use)
        self._wake()

    def _settle(self) -> None:
        """Under the lock."""
        while self._ended:
            self._uses.remove(self._ended.popleft())

    def _wake(self) -> None:
        for waiter in tuple(self._waiting):
            waiter.wake()
