"""What many figures say together: quantiles, and how far the median of another sample might be from this one's."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

_RESAMPLES = 1000
_SHARE = 0.95


def quantile(figures: Sequence[float], share: float) -> float:
    """The smallest figure that at least this share of them does not exceed (nearest rank); nan of none.

    `share` is in (0, 1]. Never between two figures: every answer was measured.
    """
    if not figures:
        return float("nan")
    ordered = sorted(figures)
    rank = -int(-share * len(ordered) // 1)  # rounded up
    return ordered[max(0, min(rank, len(ordered)) - 1)]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A median, and the interval in which the medians of 95 % of the resamples lie."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.low:.3g} to {self.high:.3g})"


def estimate(figures: Sequence[float], *, of: Callable[[Sequence[float]], float] = median, seed: int = 1) -> Estimate:
    """What one figure of the sample is worth: `of` it, with the percentile bootstrap interval (Efron 1979).

    The same figures give the same interval: chance is seeded. Raises ValueError for no figures.
    """
    if not figures:
        raise ValueError("there is nothing to estimate: no figures were given")
    chance = random.Random(seed)  # noqa: S311 - no secret hangs on it
    seen = sorted(of(chance.choices(figures, k=len(figures))) for _ in range(_RESAMPLES))
    edge = round((1 - _SHARE) / 2 * _RESAMPLES)
    return Estimate(of(figures), seen[edge], seen[-1 - edge])


def estimated_quantile(figures: Sequence[float], share: float) -> Estimate:
    """A quantile, and the figures between which that of everything lies in 95 of 100 cases; nan of no figures.

    By ranks, n p +- 1.96 sqrt(n p (1 - p)), so nothing is supposed of how the figures are spread (Conover 1999, 3.2);
    figures that hang on each other make it a little too narrow.
    """
    if not figures:
        return Estimate(math.nan, math.nan, math.nan)
    ordered, middle = sorted(figures), len(figures) * share
    edge = 1.96 * math.sqrt(len(figures) * share * (1 - share))
    low, high = math.floor(middle - edge), math.ceil(middle + edge)
    at = [max(1, min(rank, len(ordered))) - 1 for rank in (low, high)]
    return Estimate(quantile(ordered, share), ordered[at[0]], ordered[at[1]])
