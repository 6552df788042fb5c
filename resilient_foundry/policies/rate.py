"""Whose turn it is under a rate, and when: the generic cell rate algorithm, by reservation.

Each call moves on the moment at which all calls so far are due, by one interval; the next may go when that moment, less
what may be sent in one burst, has come (ITU-T I.371; the bucket of tokens is the same thing seen from the other side).
Who comes too early stands in line and is told its moment, which it sleeps for by itself: nobody waits for another to
wake up. A moment that a server named holds the whole line back.

Who leaves takes no lock that it would have to wait for, as in a gate: a collector may find a call that waits, in the
middle of any of the methods below.
"""

from __future__ import annotations

import math
import os
import threading
from collections import OrderedDict
from collections.abc import Callable

from resilient_foundry.signal import Signal

_SPREAD = 0.1
"""Share of a rest that a server asked for: over it, those who waited for its end come back where no rate parts them."""


class Turn:
    """A caller's turn. It comes at `latest` at the latest, or not at all.

    `draw`, in [0, 1), parts it from others that were held back together. `signal` is given when its moment may have
    changed.
    """

    __slots__ = ("draw", "latest", "planned", "signal", "went")

    def __init__(self, *, latest: float = math.inf, draw: float = 0.0) -> None:
        self.latest = latest
        self.draw = draw
        self.signal = Signal()
        self.planned = math.inf
        """The moment that its caller was told last."""
        self.went: float | None = None
        """When it went, if it did."""


class Line:
    """The callers of one origin, in order of arrival. Times are monotonic seconds.

    `interval` is what lies between two calls, 0 where no rate is kept; `burst` is how many may go at once after a rest.
    """

    __slots__ = (
        "_asked",
        "_due",
        "_held",
        "_in_advance",
        "_interval",
        "_left",
        "_lock",
        "_owner",
        "_spread",
        "_waiting",
    )

    def __init__(self, interval: float = 0.0, burst: int = 1) -> None:
        self._interval = interval
        self._in_advance = (burst - 1) * interval
        self._due = -math.inf
        self._held = -math.inf
        self._asked = self._spread = 0.0
        self._owner = os.getpid()
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[Turn, None] = {}
        self._left: list[Turn] = []  # and no deque, which is made with room for 64

    @property
    def waiting(self) -> int:
        """How many callers stand in line."""
        return len(self._waiting)

    def ask(self, turn: Turn, now: float) -> float:
        """The moment at which this caller may go.

        One that has come, `now`, was taken: it goes. One after the caller's `latest` was not, and it is out of the
        line. Until any other the caller sleeps, or until its signal is given, and asks again.
        """
        with self._locked():
            waited = turn in self._waiting
            moment = self._moment(self._place(turn), turn, now)
            its_time = waited and turn.planned <= now  # those before it overslept, or will never wake
            if moment <= now or (its_time and self._moment(0, turn, now) <= now):
                moment = now
                self._waiting.pop(turn, None)
                turn.went = now
                # who woke a little late goes on the slot it was told, else each wake-up would slow all the others
                self._due = max(self._due, now - (self._interval if waited else 0.0)) + self._interval
            elif moment > turn.latest:
                self._waiting.pop(turn, None)
            else:
                self._waiting[turn] = None
                turn.planned = moment
                turn.signal = Signal()
            wake = self._earlier()
        self._wake(wake)
        return moment

    def leave(self, turn: Turn) -> None:
        """The caller doesn't wait any more; or it went, and sent nothing: its turn is another's."""
        self._left.append(turn)
        self._take_out()

    def hold(self, now: float, seconds: float) -> bool:
        """Let nobody go for so many seconds. Whether that is news: no hold is in force, or only a shorter one was."""
        with self._locked():
            news = now >= self._held or seconds > self._asked
            wake: list[Signal] = []
            if now + seconds > self._held:
                self._held = now + seconds
                self._asked = seconds if news else self._asked
                self._spread = 0.0 if self._interval else seconds * _SPREAD
                self._due = max(self._due, self._held + self._in_advance)  # they come one by one, and in no burst
                late = enumerate(self._waiting)
                wake = [turn.signal for place, turn in late if self._moment(place, turn, now) > turn.latest]
        self._wake(wake)
        return news

    def is_held(self, now: float) -> bool:
        """Whether it is the server that lets nobody go."""
        return now < self._held

    def is_idle(self, now: float) -> bool:
        """Whether nobody waits, and no call so far has to be remembered."""
        return not self._waiting and now >= max(self._due, self._held + self._spread)

    def _place(self, turn: Turn) -> int:
        if turn not in self._waiting:
            return len(self._waiting)
        return next(place for place, other in enumerate(self._waiting) if other is turn)

    def _moment(self, place: int, turn: Turn, now: float) -> float:
        free = max(now, self._due - self._in_advance)
        return max(free + place * self._interval, self._held + turn.draw * self._spread)

    def _earlier(self) -> list[Signal]:
        """The first in line, where it sleeps for longer than it has to; those behind it are told when it goes."""
        first = next(iter(self._waiting), None)
        if first is not None and first.planned - self._moment(0, first, -math.inf) > self._interval / 2:
            return [first.signal]
        return []

    def _locked(self) -> threading.Lock:
        if self._owner != os.getpid():  # at the fork another thread may have held the lock; who waits, waits there
            self._begin()
            self._owner = os.getpid()  # last: until then each thread of the child begins anew
        return self._lock

    def _take_out(self) -> None:
        """Take out who left, unless somebody else is at it, who looks once more when they are done."""
        lock = self._locked()
        while self._left and lock.acquire(blocking=False):
            try:
                while self._left:
                    turn = self._left.pop(0)
                    if turn in self._waiting:
                        del self._waiting[turn]
                    elif turn.went is not None and turn.went >= self._held:
                        self._due -= self._interval
                    turn.went = None
                wake = self._earlier()
            finally:
                lock.release()
            for signal in wake:
                signal.give()

    def _wake(self, signals: list[Signal]) -> None:
        """When no lock is held: listeners are called from here."""
        for signal in signals:
            signal.give()
        if self._left:
            self._take_out()


class Lines:
    """A line for each of the `limit` origins used last."""

    def __init__(self, make: Callable[[], Line], limit: int) -> None:
        self._make = make
        self._limit = limit
        self._lines: OrderedDict[str, Line] = OrderedDict()
        self._lock = threading.Lock()
        self._owner = os.getpid()

    def of(self, origin: str, now: float) -> Line:
        """The line of this origin, made if it is new."""
        with self._locked():
            line = self._lines.get(origin)
            if line is None:
                if len(self._lines) >= self._limit:
                    self._forget(now)
                line = self._lines[origin] = self._make()
            self._lines.move_to_end(origin)
            return line

    def _forget(self, now: float) -> None:
        """Drop the least recently used that is idle; where none is, the least recently used."""
        for origin, line in self._lines.items():
            if line.is_idle(now):
                del self._lines[origin]
                return
        self._lines.popitem(last=False)

    def _locked(self) -> threading.Lock:
        if self._owner != os.getpid():  # another thread may have held the lock at the fork
            self._lock, self._owner = threading.Lock(), os.getpid()
        return self._lock
