"""Who holds something for calls that are under way: circuits hold the place of a probe, limiters hold permits."""

from __future__ import annotations

import weakref
from typing import Protocol, TypeVar

T = TypeVar("T")


class Holder(Protocol):
    """Can say what it holds."""

    def held(self) -> list[str]:
        """What calls have not given back yet, a few words each."""
        ...


holders: weakref.WeakSet[Holder] = weakref.WeakSet()
"""All that live; for who looks for leaks, and for nobody else."""


def all_of(living: weakref.WeakSet[T]) -> list[T]:
    """Those in the set just now; other threads may put more into it meanwhile."""
    while True:
        try:
            return list(living)
        except RuntimeError:  # one of them did so while it was looked through
            continue
