"""What is being mended, and what was lately: a pure machine that lets one caller mend a thing and the others wait."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from dataclasses import dataclass, field

from resilient_foundry.signal import Signal


@dataclass(frozen=True, slots=True)
class Yours:
    """Nobody mends it: the caller does now, and says how it ended. `ended` is given then."""

    ended: Signal


@dataclass(frozen=True, slots=True)
class UnderWay:
    """Somebody mends it; `ended` is given when that has ended, however."""

    ended: Signal


@dataclass(frozen=True, slots=True)
class Mended:
    """It was mended after the caller had met it."""


@dataclass(frozen=True, slots=True)
class Resting:
    """Mending failed lately, for the reason `why`, and is not tried again for so many seconds."""

    seconds: float
    why: str


Turn = Yours | UnderWay | Mended | Resting


@dataclass(slots=True)
class _Known:
    """What is known of one thing. Moments are monotonic seconds."""

    under_way: Signal | None = None
    mended_at: float | None = None
    rests_until: float | None = None
    why: str = ""


@dataclass(slots=True, eq=False)
class Repairs:
    """The repairs of one remedy, each thing by its name; of the `limit` met last. Safe in threads and tasks at once.

    Who got `Yours` calls `mended` or `failed`, and `leave` in any case: a repair that was left without a word, by a
    call that was cancelled, is the next caller's.
    """

    limit: int = 64
    _things: OrderedDict[str, _Known] = field(default_factory=OrderedDict[str, _Known])
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _owner: int = field(default_factory=os.getpid)

    def turn(self, thing: str, *, met: float, now: float) -> Turn:
        """Whose turn it is to mend a thing that a call met which was sent at the moment `met`."""
        with self._locked():
            known = self._known(thing)
            if known.under_way is not None:
                return UnderWay(known.under_way)
            if known.mended_at is not None and known.mended_at >= met:
                return Mended()
            if known.rests_until is not None and now < known.rests_until:
                return Resting(known.rests_until - now, known.why)
            known.under_way = Signal()
            return Yours(known.under_way)

    def why(self, thing: str) -> str:
        """Why it could not be mended when that was tried last; empty where it could."""
        with self._locked():
            return self._known(thing).why

    def mended(self, thing: str, turn: Yours, *, now: float) -> None:
        """The caller mended it."""
        self._settle(thing, turn, _Known(mended_at=now))

    def failed(self, thing: str, turn: Yours, *, why: str, until: float) -> None:
        """The caller could not; nobody tries again before the moment `until`."""
        self._settle(thing, turn, _Known(rests_until=until, why=why))

    def leave(self, thing: str, turn: Yours) -> None:
        """The caller mends it no longer, and all who wait are woken. After `mended` or `failed` only that is left."""
        self._settle(thing, turn, _Known())
        turn.ended.give()

    def _settle(self, thing: str, turn: Yours, known: _Known) -> None:
        with self._locked():
            if self._known(thing).under_way is turn.ended:
                self._things[thing] = known

    def _known(self, thing: str) -> _Known:
        """Under the lock. Forgets the thing that was met longest ago, unless somebody mends it."""
        known = self._things.setdefault(thing, _Known())
        self._things.move_to_end(thing)
        if len(self._things) > self.limit:
            idle = (name for name, one in self._things.items() if one.under_way is None and one is not known)
            self._things.pop(next(idle, ""), None)
        return known

    def _locked(self) -> threading.Lock:
        """After a fork, what other threads of the parent had under way never ends: it is forgotten with their lock."""
        if self._owner != os.getpid():
            self._lock, self._owner = threading.Lock(), os.getpid()
            self._things = OrderedDict()
        return self._lock
