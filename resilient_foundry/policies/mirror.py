"""What this process knows of a circuit that others share, and what it has yet to tell them.

pybreaker reads and writes a `Mirror` as its storage, at once and without asking anybody. From time to time it is
reconciled with what the shared storage holds:

* an opening is known by its moment, and the later one is the one that counts: who knows of none, or of an earlier one,
  takes it over, and what was to be told of an earlier one is dropped;
* so a storage that has forgotten an opening is reminded of it: an open circuit that anybody saw stays open;
* closing is told, and taken over, where both mean the same opening;
* failures add up, and are never fewer than they were because the storage was away or has forgotten them.

That a process probes is its own affair: for the others the circuit is open until the probe has succeeded.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pybreaker

_CLOSED, _OPEN, _HALF_OPEN = pybreaker.STATE_CLOSED, pybreaker.STATE_OPEN, pybreaker.STATE_HALF_OPEN


@dataclass(frozen=True, slots=True)
class Held:
    """What the shared storage holds of a circuit."""

    state: str = _CLOSED
    failures: int = 0
    opened_at: datetime | None = None
    """When it last opened, in whole seconds."""


@dataclass(frozen=True, slots=True)
class News:
    """What the shared storage is to be told: in this order, and only what is not None, False or 0."""

    opened_at: datetime | None = None
    state: str | None = None
    reset: bool = False
    failures: int = 0
    """Further ones."""


class Mirror(pybreaker.CircuitBreakerStorage):
    """The storage of one circuit, in memory. `asked` is called when somebody looks at its state or changes it."""

    def __init__(self, name: str, asked: Callable[[], None]) -> None:
        super().__init__(name)
        self._asked = asked
        self._state = _CLOSED
        self._failures = 0
        self._successes = 0
        self._opened_at: datetime | None = None
        self._has_moved = False
        self._has_reset = False
        self._doubts = False
        self.is_due = True
        """Whether somebody has looked, or something changed, since this was last set to False."""
        self.after_fork()

    def after_fork(self) -> None:
        """A lock that another thread held at the fork is never free again in the child; the parent tells its news."""
        self._lock = threading.Lock()
        self._further = 0

    # What pybreaker asks and says

    @property
    def state(self) -> str:
        """`closed`, `open` or `half-open`."""
        self._ask()
        return self._state

    @state.setter
    def state(self, state: str) -> None:
        with self._lock:
            self._has_moved |= _shared(state) != _shared(self._state)
            self._state = state
        self._ask()  # a hand has moved it without a look

    @property
    def opened_at(self) -> datetime | None:
        """When it last opened."""
        return self._opened_at

    @opened_at.setter
    def opened_at(self, moment: datetime) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] - in its name
        with self._lock:
            if self._opened_at is not None:  # a clock that lags, or twice in a second: it is the later one all the same
                moment = max(moment, self._opened_at + timedelta(seconds=1))
            self._opened_at = moment

    @property
    def counter(self) -> int:
        """Failures in a row."""
        return self._failures

    def increment_counter(self) -> None:
        """One more failure."""
        with self._lock:
            self._failures += 1
            self._further += 1

    def reset_counter(self) -> None:
        """A success. Where no failure is known of, there is nothing to tell."""
        if self._failures:
            with self._lock:
                self._failures = self._further = 0
                self._has_reset = True

    @property
    def success_counter(self) -> int:
        """Successes of probes, in a row."""
        return self._successes

    def increment_success_counter(self) -> None:
        """One more success of a probe."""
        self._successes += 1

    def reset_success_counter(self) -> None:
        """It opened, or closed."""
        self._successes = 0

    def _ask(self) -> None:
        self.is_due = True
        self._asked()

    # The others

    def doubt(self) -> None:
        """The shared storage was away, and may have forgotten what it was told."""
        self._doubts = True

    def failed_to_tell(self, news: News) -> None:
        """What of the news was heard is not known."""
        with self._lock:
            self._doubts = True
            self._has_moved |= news.state is not None
            self._has_reset |= news.reset

    def reconcile(self, held: Held) -> News:
        """Take over what the others know; gives what they are to be told."""
        with self._lock:
            ours, theirs = _whole(self._opened_at), held.opened_at
            if theirs is not None and (ours is None or theirs > ours):
                news = self._follow(held)
            elif ours == theirs:
                news = self._agree(held)
            else:
                news = self._remind(held)
            self._has_moved = self._has_reset = self._doubts = False
            self._further = 0
            return news

    def _follow(self, held: Held) -> News:
        """Theirs is the later opening."""
        self._opened_at, self._state = held.opened_at, _shared(held.state)
        self._failures = held.failures + self._further
        return News(failures=self._further)

    def _agree(self, held: Held) -> News:
        """It is the same opening."""
        if not self._has_moved and _shared(self._state) != _shared(held.state):
            self._state = _shared(held.state)
        return self._count(held, News(state=_shared(self._state) if self._has_moved else None))

    def _remind(self, held: Held) -> News:
        """Ours is the later opening: it is new, or the storage has forgotten it."""
        self._doubts = True
        return self._count(held, News(opened_at=self._opened_at, state=_shared(self._state)))

    def _count(self, held: Held, news: News) -> News:
        before = 0 if self._has_reset else held.failures
        further = max(self._further, self._failures - before) if self._doubts else self._further
        self._failures = before + further
        return replace(news, reset=self._has_reset, failures=further)


def _shared(state: str) -> str:
    """What of a state is everybody's; a word that is not pybreaker's counts as closed."""
    return _OPEN if state in {_OPEN, _HALF_OPEN} else _CLOSED


def _whole(moment: datetime | None) -> datetime | None:
    """As the shared storage keeps it."""
    return None if moment is None else moment.replace(microsecond=0)
