"""Who uses which model in this client, so that none is unloaded under a running answer.

2.2.1 does not survive unloading that overlaps with inference for long (a use after free, then the process is gone), so
an unload waits for the answers of its client to end. Answers go on together; only unloading wants a model for itself.
"""

from __future__ import annotations

import threading
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


class Occupancy:
    """The uses going on. State of one client, shared by its threads or tasks; held under a short lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._uses: list[Use] = []
        self._waiting: list[Callable[[], None]] = []

    def enter(self, use: Use, wake: Callable[[], None]) -> bool:
        """Begin this use, if it meets no other; else `wake` is called once when one of them ends."""
        with self._lock:
            if any(use.meets(other) for other in self._uses):
                self._waiting.append(wake)
                return False
            self._uses.append(use)
            return True

    def leave(self, use: Use) -> None:
        """End this use."""
        with self._lock:
            self._uses.remove(use)
            waiting, self._waiting = self._waiting, []
        for wake in waiting:
            wake()

    def forget(self, wake: Callable[[], None]) -> None:
        """Wake this one no more."""
        with self._lock:
            if wake in self._waiting:
                self._waiting.remove(wake)
