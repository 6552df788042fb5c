"""Is a recommendation better than what one has without it: the judge of a run in which they took turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from resilient_foundry.tuning.figures import Estimate

REACHED = 0.95
"""The share of the best throughput that a recommendation must have."""
SLOWER = 1.1
"""How many times the p99 of the best it may have."""
REUSE = 0.99
"""The least share of calls that find a connection open."""
ENOUGH = 300
"""The answers of one contender below which nothing is said about its p99: three of them decide about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """What one way of calling came to, in rounds in which all took turns. Seconds throughout."""

    name: str
    limit: int | None
    """Calls at once that it lets out; None is as many as there are callers."""
    rates: tuple[float, ...]
    """Answers a second in each round, of callers that ask again at once."""
    p50: float
    p99: Estimate
    """Of callers that ask again at once, the wait for a place included."""
    open_p99: Estimate
    """Of calls at fixed moments, from the moment at which each was meant to go out."""
    answers: int
    connects: int
    """Connections that it opened after it had been warmed up."""
    errors: dict[str, int]
    """What it met, by class."""

    @property
    def rate(self) -> float:
        """Answers a second, the median over the rounds."""
        return median(self.rates) if self.rates else 0.0

    @property
    def reuse(self) -> float:
        """The share of its answers that came over a connection which was there."""
        return max(0.0, 1 - self.connects / self.answers) if self.answers else 0.0


def objections(recommended: Contender, others: Sequence[Contender]) -> list[str]:
    """What speaks against the recommendation, in a sentence each; nothing if it is proved.

    It is compared with all others by throughput, round by round, and by both p99 with those whose throughput is within
    5 % of the best. A p99 speaks against it that is more than a tenth less, and outside of the interval of its own: of
    four others one has the best by chance.
    """
    if not recommended.rate:
        return ["there was no time left to prove anything: allow it more time, or more requests"]
    against: list[str] = []
    best = max([recommended, *others], key=lambda each: each.rate)
    share = _share(recommended, best)
    if share < REACHED:
        against.append(f"{best.name} has more throughput: {best.rate:.4g} a second against {recommended.rate:.4g}")
    equals = [each for each in others if _share(each, best) >= REACHED and not each.errors]
    for what, mine, its in (
        ("callers that ask again at once", recommended.p99, {each.name: each.p99 for each in equals}),
        ("calls at fixed moments", recommended.open_p99, {each.name: each.open_p99 for each in equals}),
    ):
        quicker = {name: it for name, it in its.items() if mine.median > SLOWER * it.median and mine.low > it.median}
        quickest = min(quicker, key=lambda name: quicker[name].median, default=None)
        if quickest is not None:
            against.append(
                f"{quickest} has a better p99 for {what}: "
                f"{quicker[quickest].median * 1000:.3g} ms against {mine.median * 1000:.3g} ms"
            )
    if recommended.reuse < REUSE:
        against.append(
            f"connections are not kept: {recommended.connects} were opened for {recommended.answers} answers"
        )
    if recommended.errors:
        met = ", ".join(f"{count} {name}" for name, count in sorted(recommended.errors.items()))
        against.append(f"calls failed: {met}")
    if recommended.answers < ENOUGH:
        against.append(f"{recommended.answers} answers are too few to tell one p99 from another; {ENOUGH} are enough")
    return against


def _share(one: Contender, other: Contender) -> float:
    """The throughput of one to that of another, in the same round: the median."""
    ratios = [mine / its for mine, its in zip(one.rates, other.rates, strict=False) if its]
    return median(ratios) if ratios else 0.0
