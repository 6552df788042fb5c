"""Locks after a fork: one that another thread held at that moment is never free again in the child."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Forked(Protocol):
    """Something that has a lock."""

    def after_fork(self) -> None:
        """Begin anew in the child, where the other threads are not."""
        ...


_all: weakref.WeakSet[Forked] = weakref.WeakSet()


def renewed_in_children(one: Forked) -> None:
    """Have `after_fork` called in each child, for as long as it lives."""
    _all.add(one)


def _renew() -> None:
    for one in list(_all):
        one.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
