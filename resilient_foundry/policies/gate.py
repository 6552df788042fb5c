"""A gate: so many may be inside at once, a bounded number waits outside, and who is next is decided here.

Values in, values out, under a short lock: it knows no colour and no clock. Whoever must wait is given a `Place` with a
signal, which is given when the place is theirs, or when there is something to look at anew. A place that is given back
goes to the next in the queue in the same step, so nobody overtakes, and what is free is never more than the limit.

    waiting ──(granted)──▶ held ──(given up while the server works on)──▶ lingering ──(its time is up)──▶ gone
       └──(gave up, or too late)──▶ gone ◀──(given back)──┘

Giving back takes no lock that it would have to wait for, because it happens wherever a call ends: also in a collector,
which may run in the middle of any of the methods below. What is given back is put down, and taken in by whoever holds
the lock, or gets it.
"""

from __future__ import annotations

import threading
from bisect import insort
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple, TypeVar

from resilient_foundry._forks import renewed_in_children
from resilient_foundry.signal import Signal

T = TypeVar("T")


class Standing(Enum):
    """Where a place stands."""

    WAITING = "waiting"
    HELD = "held"
    LINGERING = "lingering"
    GONE = "gone"


class Place:
    """A place in the gate, or in the queue for one. `load` is how many were inside when it was granted, this included.

    `epoch` counts the changes of the limit up to then.
    """

    __slots__ = ("epoch", "load", "rank", "signal", "standing", "until")

    def __init__(self, rank: tuple[int, float, int] = (0, 0.0, 0), until: float | None = None) -> None:
        self.rank = rank
        self.until = until
        self.standing = Standing.WAITING
        self.signal = _NEVER
        self.load = 0
        self.epoch = 0


_NEVER = Signal()
"""The signal of places that never waited; nobody hears it."""


class Snapshot(NamedTuple):
    """What a gate knew at one moment."""

    limit: int
    in_use: int
    """Places taken: by calls under way, and by those that linger."""
    waiting: int
    lingering: int


class Gate:
    """Lets `limit` in at once, and has at most `queue` wait. Give it `now`, monotonic seconds; it reads no clock."""

    def __init__(self, limit: int, queue: int) -> None:
        self._limit = limit
        self._queue = queue
        self._epoch = 0
        self.after_fork()
        renewed_in_children(self)

    def after_fork(self) -> None:
        """Begin empty, with a lock of its own: the calls that were under way are the parent's."""
        self._lock = threading.Lock()
        self._held: set[Place] = set()
        self._waiting: list[Place] = []
        self._lingering: list[tuple[float, int, Place]] = []
        self._given_back: list[tuple[Place, float | None]] = []
        self._number = 0
        self._now = float("-inf")

    @property
    def is_idle(self) -> bool:
        """Whether nobody is inside, and nobody waits."""
        return not (self._held or self._waiting or self._lingering)

    def enter(self) -> Place | None:
        """A place, where one is free and nobody waits for it."""
        place = None
        with self._lock:
            held = self._held
            in_use = len(held) + len(self._lingering)
            if in_use < self._limit:  # then nobody waits
                place = Place()
                held.add(place)
                place.standing, place.load, place.epoch = Standing.HELD, in_use + 1, self._epoch
        if self._given_back:
            self._take_back()
        return place

    def queue(self, now: float, *, priority: int = 0, since: float = 0.0, until: float | None = None) -> Place | None:
        """A place in the queue, or inside if there is one by now; None where the queue is full.

        The highest `priority` goes first, and of one priority whoever is here `since` the earliest moment. One that
        waits still at the moment `until` is passed over.
        """
        woken: list[Signal] = []
        with self._lock:
            self._sweep(now, woken)
            self._number += 1
            place = Place((-priority, since, self._number), until)
            if self._in_use < self._limit:  # then nobody waits
                self._let_in(place)
            else:
                if len(self._waiting) >= self._queue:
                    self._send_away_the_late(woken)
                if len(self._waiting) < self._queue:
                    place.signal = Signal()
                    insort(self._waiting, place, key=_rank)
                else:
                    place.standing = Standing.GONE
        self._wake(woken)
        return place if place.standing is not Standing.GONE else None

    def look(self, place: Place, now: float) -> float | None:
        """Let in whoever may come in by now; then the moment at which it is worth looking again, None for no such.

        Of a place that still waits the signal is fresh: hear that one.
        """
        woken: list[Signal] = []
        again = place.until
        with self._lock:
            self._sweep(now, woken)
            if place.standing is Standing.WAITING:
                if place.signal.is_given:
                    place.signal = Signal()
                if self._lingering and (again is None or self._lingering[0][0] < again):
                    again = self._lingering[0][0]
        self._wake(woken)
        return again

    def leave(self, place: Place, until: float | None = None) -> None:
        """Give the place back, inside or in the queue; with `until`, it stays taken up to that moment. Once counts."""
        lock = self._lock
        if until is None and not self._waiting and lock.acquire(blocking=False):
            try:
                calm = not self._waiting and place in self._held  # nobody is to be let in: it is only to be taken out
                if calm:
                    self._held.remove(place)
                    place.standing = Standing.GONE
            finally:
                lock.release()
            if calm:
                if self._given_back:
                    self._take_back()
                return
        self._given_back.append((place, until))
        self._take_back()

    def resize(self, limit: int, epoch: int) -> None:
        """Change the limit. Whoever is inside stays; of two changes at once the one of the later `epoch` counts."""
        woken: list[Signal] = []
        with self._lock:
            if epoch > self._epoch:
                self._limit, self._epoch = limit, epoch
                self._let_in_the_next(woken)
        self._wake(woken)

    def alone(self, function: Callable[[], T]) -> T:
        """What this gives, called while nobody else is called so; it takes no lock."""
        with self._lock:
            value = function()
        if self._given_back:
            self._take_back()
        return value

    def snapshot(self, now: float | None = None) -> Snapshot:
        """What it knows; with `now`, those whose time is up by then are not counted. It changes nothing."""
        with self._lock:
            lingering = sum(now is None or now < until for until, _, _ in self._lingering)
            seen = Snapshot(self._limit, len(self._held) + lingering, len(self._waiting), lingering)
        self._wake([])
        return seen

    @property
    def _in_use(self) -> int:
        return len(self._held) + len(self._lingering)

    def _take_back(self) -> None:
        """Take in what was given back, unless somebody else is at it, who looks once more when they are done."""
        lock = self._lock
        while self._given_back and lock.acquire(blocking=False):
            woken: list[Signal] = []
            try:
                while self._given_back:
                    self._take_in(*self._given_back.pop(0), woken)
                self._let_in_the_next(woken)
            finally:
                lock.release()
            for signal in woken:
                signal.give()

    def _wake(self, woken: list[Signal]) -> None:
        for signal in woken:
            signal.give()
        if self._given_back:
            self._take_back()

    def _take_in(self, place: Place, until: float | None, woken: list[Signal]) -> None:
        if place.standing is Standing.WAITING:
            place.standing = Standing.GONE
            if place in self._waiting:
                self._waiting.remove(place)
        elif place in self._held:
            self._held.remove(place)
            place.standing = Standing.GONE
            if until is not None and until > self._now:
                place.standing = Standing.LINGERING
                self._number += 1
                insort(self._lingering, (until, self._number, place))
                if self._lingering[0][2] is place:  # earlier than any that those who wait know of
                    woken.extend(waiting.signal for waiting in self._waiting)

    def _sweep(self, now: float, woken: list[Signal]) -> None:
        """The time of some is up."""
        self._now = max(self._now, now)
        while self._lingering and self._lingering[0][0] <= now:
            self._lingering.pop(0)[2].standing = Standing.GONE
        self._let_in_the_next(woken)

    def _let_in_the_next(self, woken: list[Signal]) -> None:
        while self._waiting and self._in_use < self._limit:
            place = self._waiting.pop(0)
            if self._is_late(place):
                place.standing = Standing.GONE
            else:
                self._let_in(place)
            woken.append(place.signal)

    def _let_in(self, place: Place) -> None:
        self._held.add(place)
        place.standing = Standing.HELD
        place.load = self._in_use
        place.epoch = self._epoch

    def _send_away_the_late(self, woken: list[Signal]) -> None:
        for place in [waiting for waiting in self._waiting if self._is_late(waiting)]:
            self._waiting.remove(place)
            place.standing = Standing.GONE
            woken.append(place.signal)

    def _is_late(self, place: Place) -> bool:
        return place.until is not None and place.until <= self._now


def _rank(place: Place) -> tuple[int, float, int]:
    return place.rank
