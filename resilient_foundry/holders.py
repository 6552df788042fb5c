"""Who holds something for calls that are under way: circuits hold the place of a probe, limiters hold permits."""

from __future__ import annotations

import weakref
from typing import Protocol


class Holder(Protocol):
    """Can say what it holds."""

    def held(self) -> list[str]:
        """What calls have not given back yet, a few words each."""
        ...


holders: weakref.WeakSet[Holder] = weakref.WeakSet()
"""All that live; for who looks for leaks, and for nobody else."""
