"""How many calls at once are worth it: what a server does with 1, 2, 3 of them, and where more bring nothing more."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from statistics import harmonic_mean

from resilient_foundry.tuning.figures import Estimate, quantile

LIMITS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
"""How many at once are tried, one after the other."""
REACHED = 0.95
"""The share of the best throughput that is as good as the best."""
_GAIN = 1.03
_FLAT = 2
"""So many steps in a row that gain less than 3 % end the search."""
_RESAMPLES = 500
_EDGE = 0.025


@dataclass(frozen=True, slots=True)
class Step:
    """What so many calls at once came to."""

    limit: int
    rates: tuple[float, ...]
    """Answers a second, in each piece of the time in which it was measured."""
    latencies: tuple[float, ...]
    """Seconds that answers took the server and the way to it, without the wait for a place."""

    @property
    def rate(self) -> float:
        """Answers a second: of pieces with as many answers each, all answers by all the time."""
        return harmonic_mean(self.rates) if self.rates else 0.0

    def took(self, share: float) -> float:
        """The seconds in which so many of the answers came."""
        return quantile(self.latencies, share)


@dataclass(frozen=True, slots=True)
class Knee:
    """The smallest limit that is as good as the best, and how it was found."""

    limit: int
    best: int
    """The limit of the greatest throughput."""
    shares: dict[int, Estimate]
    """Of each limit, its throughput as a share of the best."""
    in_time: bool
    """Whether its p95 is within the budget, where one was given."""


def rates(ended: Sequence[float], *, at_once: int, pieces: int = 1) -> list[float]:
    """Answers a second, in so many pieces of a closed loop or fewer, from the moments at which answers were there.

    The first answers are left out, one for each that is under way at once: until then the line grows. A piece holds
    whole turns of all that are under way, and is counted from answer to answer, because answers of equal length come in
    bursts, of which a fixed time holds now one more and now one less.
    """
    skipped = min(at_once, len(ended) // 2)
    turns = max(1, (len(ended) - skipped) // at_once)
    pieces = min(pieces, turns)
    edges = [skipped + round(turns * number / pieces) * at_once for number in range(pieces)]
    found: list[float] = []
    for begin, end in zip(edges, [*edges[1:], len(ended)], strict=True):
        seconds = ended[end - 1] - ended[begin - 1] if begin else 0.0
        if seconds > 0:
            found.append((end - begin) / seconds)
    return found


def is_flat(rates: Sequence[float]) -> bool:
    """Whether the two last steps, in the order in which they were taken, each brought less than 3 % more."""
    if len(rates) <= _FLAT:
        return False
    return all(rates[-back] < _GAIN * max(rates[:-back]) for back in range(1, _FLAT + 1))


def knee(steps: Sequence[Step], *, p95: float | None = None) -> Knee:
    """The smallest limit whose share of the best throughput is at least 95 %, by all of its interval, or the best.

    With `p95`, seconds, a limit whose answers take longer is not taken; where all of them do, it is 1, and not in time.
    The interval is the percentile bootstrap of the ratio of throughputs (Efron 1979). Raises ValueError for no steps.
    """
    if not steps:
        raise ValueError("there is no knee without steps: nothing was measured")
    ordered = sorted(steps, key=lambda each: each.limit)
    in_time = [each for each in ordered if p95 is None or each.took(0.95) <= p95]
    best = max(in_time or ordered[:1], key=lambda each: each.rate)
    shares = {each.limit: _share(each, best) for each in ordered}
    fit = (each.limit for each in in_time if shares[each.limit].low >= REACHED)
    return Knee(next(fit, best.limit), best.limit, shares, bool(in_time))


def _share(step: Step, best: Step) -> Estimate:
    if step is best:
        return Estimate(1.0, 1.0, 1.0)
    chance = random.Random(1)  # noqa: S311 - no secret hangs on it
    seen = sorted(_resampled(step, chance) / _resampled(best, chance) for _ in range(_RESAMPLES))
    edge = round(_EDGE * _RESAMPLES)
    return Estimate(step.rate / best.rate, seen[edge], seen[-1 - edge])


def _resampled(step: Step, chance: random.Random) -> float:
    return harmonic_mean(chance.choices(step.rates, k=len(step.rates)))


def little(steps: Sequence[Step]) -> float:
    """How many are under way at the best throughput if each takes as long as alone: N = X R (Little 1961)."""
    alone = min(steps, key=lambda each: each.limit)
    return max(each.rate for each in steps) * alone.limit / alone.rate


@dataclass(frozen=True, slots=True)
class Scaling:
    """The universal scalability law, X(N) = rate N / (1 + contention (N - 1) + coherency N (N - 1)) (Gunther 2007)."""

    rate: float
    """Answers a second of one call at a time."""
    contention: float
    coherency: float

    def at(self, limit: float) -> float:
        """Answers a second of so many at once."""
        return self.rate * limit / (1 + self.contention * (limit - 1) + self.coherency * limit * (limit - 1))

    @property
    def peak(self) -> float:
        """The limit above which the law sees throughput fall; infinite where it sees none."""
        if not self.coherency:
            return math.inf
        return math.sqrt(max(0.0, 1 - self.contention) / self.coherency)


def fit(points: Sequence[tuple[int, float]]) -> Scaling | None:
    """The law that is nearest to limits and their throughputs, by relative least squares; None of less than three.

    N / X(N) is linear in what is looked for, and neither contention nor coherency is less than nothing: of the fits
    with and without each, the nearest that obeys.
    """
    least = 3
    points = [(limit, rate) for limit, rate in points if rate > 0]
    if len(points) < least:
        return None
    found: list[tuple[float, Scaling]] = []
    for with_contention, with_coherency in product((True, False), repeat=2):
        rows = [
            [
                rate / limit * part
                for part in _parts(limit, with_contention=with_contention, with_coherency=with_coherency)
            ]
            for limit, rate in points
        ]
        solved = _least_squares(rows)
        if solved is None or solved[0] <= 0 or min(solved) < 0:
            continue
        rest = iter(solved[1:])
        law = Scaling(
            1 / solved[0],
            next(rest) / solved[0] if with_contention else 0.0,
            next(rest) / solved[0] if with_coherency else 0.0,
        )
        missed = sum((sum(a * b for a, b in zip(row, solved, strict=True)) - 1) ** 2 for row in rows)
        found.append((missed, law))
    return min(found, key=lambda each: each[0])[1] if found else None


def _parts(limit: int, *, with_contention: bool, with_coherency: bool) -> list[float]:
    parts = [1.0]
    if with_contention:
        parts.append(limit - 1)
    if with_coherency:
        parts.append(limit * (limit - 1))
    return parts


def _least_squares(rows: Sequence[Sequence[float]]) -> list[float] | None:
    """The x for which every row times x is nearest to 1; the normal equations by Gauss-Jordan, None if singular."""
    size = len(rows[0])
    table = [
        [sum(row[i] * row[j] for row in rows) for j in range(size)] + [sum(row[i] for row in rows)] for i in range(size)
    ]
    for column in range(size):
        pivot = max(range(column, size), key=lambda each: abs(table[each][column]))
        if abs(table[pivot][column]) < 1e-12:  # noqa: PLR2004 - nothing is left of it
            return None
        table[column], table[pivot] = table[pivot], table[column]
        table[column] = [value / table[column][column] for value in table[column]]
        for other in range(size):
            if other != column:
                factor = table[other][column]
                table[other] = [a - factor * b for a, b in zip(table[other], table[column], strict=True)]
    return [row[-1] for row in table]
