"""Contenders that take turns, so that what else the machine does falls on all alike; and what they are to each other.

A round lets each of them run once, in an order drawn anew. Each is compared with the baseline of the same round. One
of them should be the baseline a second time (`CONTROL`): what it differs by is what the machine adds by itself, and
nothing is concluded where that is much.
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from resilient_foundry.tuning.figures import Estimate, estimate

T = TypeVar("T")

CONTROL = "control"
"""The name of the contender that is the baseline once more."""
TRUSTED = 0.06
"""How far the control may be from 1 for a conclusion to be drawn."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One contender against the baseline: medians over the rounds, each with its interval."""

    figure: Estimate
    """What was measured of it."""
    added: Estimate
    """More than the baseline, in the same round."""
    ratio: Estimate
    """To the baseline, in the same round."""


def race(
    contenders: Mapping[str, Callable[[], T]], *, rounds: int, seconds: float, seed: int = 1
) -> dict[str, list[T]]:
    """Let them run, round by round: at most `rounds`, none begun after `seconds`, one at least; what each measured.

    A round to warm up is not counted. What is alive before the first round is not looked at by the collector again.
    """
    chance = random.Random(seed)  # noqa: S311 - the same order each time
    names = list(contenders)
    for run in contenders.values():
        run()
    measured: dict[str, list[T]] = {name: [] for name in names}
    gc.collect()
    gc.freeze()
    try:
        latest = time.monotonic() + seconds
        for number in range(max(1, rounds)):
            if number and time.monotonic() > latest:
                break
            chance.shuffle(names)
            for name in names:
                measured[name].append(contenders[name]())
    finally:
        gc.unfreeze()
    return measured


def standings(measured: Mapping[str, list[float]], baseline: str) -> dict[str, Standing]:
    """What each is to the baseline."""
    base = measured[baseline]
    return {
        name: Standing(
            estimate(figures),
            estimate([one - other for one, other in zip(figures, base, strict=True)]),
            estimate([one / other for one, other in zip(figures, base, strict=True)]),
        )
        for name, figures in measured.items()
    }


def is_trusted(found: Mapping[str, Standing]) -> bool:
    """Whether the control says that a difference of this run means something; True where none ran."""
    control = found.get(CONTROL)
    return control is None or abs(control.ratio.median - 1) <= TRUSTED
