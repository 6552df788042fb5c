"""Parts that run side by side on a virtual clock: threads of which one runs at a time, in the order of their moments.

For rehearsals alone, where time passes only when everybody waits.
"""

from __future__ import annotations

import contextvars
import heapq
import math
import threading
from collections.abc import Callable
from itertools import count
from typing import Protocol

from resilient_foundry.signal import Signal


class Clock(Protocol):
    """What time it is; moved by whoever has the turn."""

    now: float


class Cancelled(BaseException):
    """Raised in a part that is not wanted any more, where it waits."""


class _Player:
    """Somebody who waits for a turn."""

    def __init__(self) -> None:
        self.go = threading.Semaphore(0)
        self.waits_for: int | None = None
        """Which of its moments it waits for; what was said before that is void."""
        self.is_cancelled = False
        self.thread: threading.Thread | None = None


class Turns:
    """Whose turn it is: theirs whose moment comes first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._numbers = count()
        self._moments: list[tuple[float, int, _Player]] = []
        self._playing = _Player()

    def begin(self, part: Callable[[], None]) -> object:
        """Run a part in a turn of its own, from now on; gives what `cancel` takes."""
        player = _Player()

        def play() -> None:
            player.go.acquire()
            try:
                if not player.is_cancelled:
                    part()
            except Cancelled:
                pass
            finally:
                if not player.is_cancelled:
                    self._give_the_turn_on()

        context = contextvars.copy_context()
        player.thread = threading.Thread(target=context.run, args=(play,), daemon=True)
        player.thread.start()
        self._note(self._clock.now, player)
        return player

    def cancel(self, begun: object) -> None:
        """End a part where it waits; when this returns, it has ended."""
        assert isinstance(begun, _Player)  # noqa: S101 - what `begin` gave
        assert begun.thread is not None  # noqa: S101 - as above
        if begun.thread.is_alive():
            playing, self._playing = self._playing, begun
            begun.is_cancelled, begun.waits_for = True, None
            begun.go.release()
            begun.thread.join()
            self._playing = playing

    def pass_until(self, moment: float) -> None:
        """Let the others play until this moment has come."""
        me = self._playing
        if me.is_cancelled:  # cleaning up takes no time
            return
        self._note(moment, me)
        self._wait_for_a_turn(me)

    def wait_for(self, signal: Signal, until: float | None) -> None:
        """Let the others play until the signal is given, or the moment has come."""
        me = self._playing

        def wake() -> None:
            if me.waits_for is not None:
                self._note(self._clock.now, me)

        self._note(math.inf if until is None else until, me)
        signal.hear(wake)
        try:
            self._wait_for_a_turn(me)
        finally:
            signal.forget(wake)
        if until is None and not signal.is_given:
            raise AssertionError("the call waits for ever: nobody gives the signal that it waits for")

    def _note(self, moment: float, player: _Player) -> None:
        player.waits_for = next(self._numbers)
        heapq.heappush(self._moments, (moment, player.waits_for, player))

    def _wait_for_a_turn(self, me: _Player) -> None:
        self._give_the_turn_on()
        me.go.acquire()
        if me.is_cancelled:
            raise Cancelled

    def _give_the_turn_on(self) -> None:
        while True:
            moment, number, player = heapq.heappop(self._moments)
            if player.waits_for == number:
                break
        if moment != math.inf:
            self._clock.now = max(self._clock.now, moment)
        player.waits_for = None
        self._playing = player
        player.go.release()
