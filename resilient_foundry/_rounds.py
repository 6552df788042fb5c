"""A thread that goes its rounds: it talks to a store in the background, for those who must not wait for it."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import weakref
from collections.abc import Callable

_REST = 0.2
"""Seconds between two rounds, at least."""
_LAST = 2.0
"""Seconds that the end of the program waits for the last one, at most."""

_logger = logging.getLogger("resilient_foundry")


class Rounds:
    """Runs a method of its owner, soon after `ask()` and at most every 0.2 s, in a daemon thread.

    The thread is there from the first `ask()` on, sleeps while nobody asks, ends with the owner, and is made anew in a
    child process, after the owner's own method for that. What was asked for is still done when the program ends, if
    that takes no more than two seconds. What `go` raises is logged once, at WARNING, until it comes through again:
    `where` can't be used, and what that means to those who are `alone`.
    """

    def __init__(self, go: Callable[[], None], after_fork: Callable[[], None], *, where: str, alone: str) -> None:
        self._go = weakref.WeakMethod(go)
        self._owner_after_fork = weakref.WeakMethod(after_fork)
        self._where = where
        self._alone = alone
        self._lost = False
        self._begin()
        _all.add(self)

    def _begin(self) -> None:
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._wanted = threading.Event()
        over = threading.Event()
        self._over = over
        wanted = self._wanted

        def end() -> None:
            over.set()
            wanted.set()

        weakref.finalize(self, end).atexit = False

    def ask(self) -> None:
        """Have a round gone soon. Waits for nobody."""
        if not self._wanted.is_set():
            self._wanted.set()
            if self._thread is None:
                self._start()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                whats_needed = (weakref.ref(self), self._wanted, self._over)
                thread = threading.Thread(target=_run, args=whats_needed, name=self._where, daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # there is none to be had, or the program is about to end: the next one tries anew
                    self._wanted.clear()
                else:
                    self._thread = thread

    def now(self) -> None:
        """Go a round in this thread, and wait for its end."""
        go = self._go()
        if go is None:
            return
        with self._turn:
            self._wanted.clear()
            try:
                go()
            except Exception as error:  # noqa: BLE001 - whatever it is, it must end neither the thread nor the program
                if not self._lost:
                    self._lost = True
                    _logger.warning("%s can't be used (%s); %s", self._where, _kind(error), self._alone)
            else:
                if self._lost:
                    self._lost = False
                    _logger.info("%s can be used again", self._where)

    def last(self) -> None:
        """Before the program ends: what was asked for is done, where that is likely to succeed, and soon."""
        thread = self._thread
        if thread is not None and not self._lost and (self._wanted.is_set() or self._turn.locked()):
            self._over.set()
            thread.join(_LAST)

    def after_fork(self) -> None:
        """The thread stayed with the parent, and may have held the locks."""
        self._begin()
        owner = self._owner_after_fork()
        if owner is not None:
            owner()


def _run(rounds: weakref.ref[Rounds], wanted: threading.Event, over: threading.Event) -> None:
    while True:
        wanted.wait()
        here = rounds()
        if here is None:
            return
        last = over.is_set()
        here.now()
        del here  # or the owner would never be let go
        if last or (over.wait(_REST) and not wanted.is_set()):
            return


def _kind(error: BaseException) -> str:
    return type(error.__cause__ or error).__name__


_all: weakref.WeakSet[Rounds] = weakref.WeakSet()


@atexit.register
def _last() -> None:
    for rounds in list(_all):
        rounds.last()


def _renew() -> None:
    for rounds in list(_all):
        rounds.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
