"""Whether what `resilient-foundry tune` recommends is what a sweep of all limits finds best.

For each kind of server tune is let loose with its own budget, and then every limit takes its turn with as many callers.
What is recommended has to have nearly the best throughput of the sweep, and a p99 near that of the best; where tune saw
no clear winner it has to name no number, and that is all right, too. The best of many is best by chance as well, so it
is measured once more, in turns with what was recommended, and that is what counts.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any

from benchmarks.origin import Behaviour, apart, origin
from benchmarks.question import LINES, Figures, Question
from resilient_foundry.tuning.advice import Advice
from resilient_foundry.tuning.calls import Budget, Service, Way, calling
from resilient_foundry.tuning.capacity import rates
from resilient_foundry.tuning.figures import estimated_quantile
from resilient_foundry.tuning.load import closed
from resilient_foundry.tuning.tune import Limits, Tuning, tune

THROUGHPUT = 0.95
P99 = 1.1
REUSE = 0.99
KINDS: Mapping[str, Behaviour] = {
    "answers at once": Behaviour(),
    "takes 50 ms, any number at once": Behaviour(delay=0.05),
    "four slots of 20 ms": Behaviour(delay=0.02, slots=4),
    "eight slots, lognormal around 20 ms, closes after 2 s": Behaviour(
        delay=0.02, spread="lognormal", slots=8, idle=2.0
    ),
    "one at a time, 10 ms": Behaviour(delay=0.01, slots=1),
}
LIMITS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
CALLERS = 32


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured. Seconds."""

    tuned: float = 40.0
    """Of tune, for a kind."""
    swept: float = 0.5
    """Of the sweep, for a limit in a round."""
    rounds: int = 3
    kinds: Sequence[str] = tuple(KINDS)
    limits: Sequence[int] = LIMITS
    callers: int = CALLERS


def measure(quick: bool) -> Figures:
    """Every kind of server, with the library that has most to tune."""
    some = tuple(KINDS)
    return measured(Effort(tuned=5.0, swept=0.1, rounds=1, kinds=(some[2], some[4]))) if quick else measured(Effort())


def measured(effort: Effort, *, library: str = "httpx2") -> Figures:
    """Tune, then sweep."""
    found: list[dict[str, Any]] = []
    for kind in effort.kinds:
        with apart(), origin(KINDS[kind]) as server:
            service = Service(url=server.url, ip="127.0.0.1", library=library)
            allowed = Limits(requests=100_000, seconds=effort.tuned, callers=effort.callers)
            tuned = asyncio.run(tune(service, allowed))
            limits = sorted({*effort.limits, tuned.tried.limit})
            found.append(
                {
                    "kind": kind,
                    "recommended": None if tuned.advice is None else asdict(tuned.advice),
                    "objections": list(tuned.objections),
                    "reuse": tuned.contenders[0].reuse,
                    "requests": tuned.requests,
                    "seconds": tuned.seconds,
                    "sweep": (sweep := asyncio.run(_swept(service, tuned, limits, effort, effort.rounds))),
                    "again": asyncio.run(_swept(service, tuned, _rivals(sweep, tuned), effort, 2 * effort.rounds)),
                }
            )
    return {"library": library, "callers": effort.callers, "kinds": found}


def _rivals(sweep: Sequence[Mapping[str, Any]], tuned: Tuning) -> list[int]:
    """What tune tried last, the limit of the best throughput, and of those that are near it that of the best p99."""
    best = max(sweep, key=lambda each: each["rate"])
    equals = [each for each in sweep if each["rate"] >= THROUGHPUT * best["rate"]]
    quickest = min(equals, key=lambda each: each["p99"]["median"])
    return sorted({tuned.tried.limit, best["limit"], quickest["limit"]})


async def _swept(
    service: Service, tuned: Tuning, limits: Sequence[int], effort: Effort, rounds: int
) -> list[dict[str, Any]]:
    chance = random.Random(1)  # noqa: S311 - the same order each time
    seen: dict[int, tuple[list[float], list[float]]] = {limit: ([], []) for limit in limits}
    for _ in range(rounds):
        for limit in chance.sample(list(limits), len(limits)):
            rate, latencies = await _one(service, replace(tuned.tried, limit=limit), effort)
            seen[limit][0].append(rate)
            seen[limit][1].extend(latencies)
    return [
        {"limit": limit, "rate": median(many), "p99": asdict(estimated_quantile(latencies, 0.99))}
        for limit, (many, latencies) in seen.items()
    ]


async def _one(service: Service, advice: Advice, effort: Effort) -> tuple[float, list[float]]:
    """Answers a second, and how long each took its caller."""
    advice = replace(advice, deadline=60.0, read=30.0)  # a limit that is too low is to be seen, not cut off
    budget = Budget(requests=50_000, seconds=60)
    async with calling(service, Way(str(advice.limit), advice), budget) as (call, _):
        await closed(call, callers=advice.limit, calls=2 * advice.limit, seconds=10)
        load = await closed(call, callers=effort.callers, seconds=effort.swept)
    at_once = min(advice.limit, effort.callers)
    ended = [moment for moment in load.ended if moment <= effort.swept]
    return (rates(ended, at_once=at_once) or [0.0])[0], load.latencies


def _share(kind: Mapping[str, Any]) -> float:
    """The throughput of the recommendation to that of the best of the sweep, in the turns that they took after it."""
    return float(_mine(kind)["rate"] / max(each["rate"] for each in kind["again"]))


def _slower(kind: Mapping[str, Any]) -> float:
    """Its p99 to the best of those that have nearly the best throughput."""
    best = max(each["rate"] for each in kind["again"])
    equals = [each["p99"]["median"] for each in kind["again"] if each["rate"] >= THROUGHPUT * best]
    return float(_mine(kind)["p99"]["median"] / min(equals))


def _mine(kind: Mapping[str, Any]) -> Mapping[str, Any]:
    limit = kind["recommended"]["limit"]
    return next(each for each in kind["again"] if each["limit"] == limit)


def is_right(kind: Mapping[str, Any]) -> bool:
    """Whether what was recommended is what the sweep finds best; no number is always right."""
    if kind["recommended"] is None:
        return True
    return _share(kind) >= THROUGHPUT and _slower(kind) <= P99 and kind["reuse"] >= REUSE


def answer(figures: Figures) -> str:
    """The answer, in one sentence."""
    kinds = figures["kinds"]
    named = [kind for kind in kinds if kind["recommended"] is not None]
    right = [kind for kind in named if is_right(kind)]
    word = ("reached" if len(right) == len(named) else "not reached") if named else "nothing is shown by that"
    silent = len(kinds) - len(named)
    return (
        f"Of {len(kinds)} kinds of server tune named a limit for {len(named)}, and {len(right)} of these had at least "
        f"{THROUGHPUT:.0%} of the best throughput of the sweep, a p99 within {P99} x of the best, and a reuse of at "
        f"least {REUSE}; for {silent} it named no number: {word}."
    )


def table(figures: Figures) -> str:
    """A row for each kind of server."""
    lines = [
        f"{figures['library']}, {figures['callers']} callers; the p99 is that of callers who ask again at once.",
        "",
        "| server | recommended | best of the sweep | throughput, of the best | p99, to the best | reuse | |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    for kind in figures["kinds"]:
        best = max(kind["sweep"], key=lambda each: each["rate"])
        swept = f"{best['limit']}: {best['rate']:,.0f}/s"
        if kind["recommended"] is None:
            why = kind["objections"][0]
            lines.append(f"| {kind['kind']} | no number | {swept} | | | {kind['reuse']:.3f} | {why} |")
            continue
        told = kind["recommended"]
        word = "reached" if is_right(kind) else "not reached"
        lines.append(
            f"| {kind['kind']} | {told['limit']}, kept {told['keepalive_expiry']:g} s | {swept} | {_share(kind):.2f} "
            f"| {_slower(kind):.2f} | {kind['reuse']:.3f} | {word} |"
        )
    return "\n".join(lines)


def draw(figures: Figures, figure: Any, colours: Mapping[str, str]) -> None:
    """Throughput against the limit, for each kind; where the recommendation stands."""
    axes: Any = figure.subplots()
    for number, kind in enumerate(figures["kinds"]):
        best = max(each["rate"] for each in kind["sweep"])
        colour = LINES[number % len(LINES)]
        limits = [each["limit"] for each in kind["sweep"]]
        axes.plot(limits, [each["rate"] / best for each in kind["sweep"]], label=kind["kind"], color=colour)
        if kind["recommended"] is not None:
            limit = kind["recommended"]["limit"]
            swept = next(each["rate"] for each in kind["sweep"] if each["limit"] == limit)
            axes.plot([limit], [swept / best], "o", color=colour, markersize=9)
    axes.axhline(THROUGHPUT, color=colours["text"], linestyle="--", linewidth=1)
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(LIMITS), [str(each) for each in LIMITS])
    axes.set_xlabel("calls at once; dots: what tune recommends")
    axes.set_ylabel("throughput, of the best of the sweep")
    axes.legend()


QUESTION = Question(
    "tune_against_the_sweep", "Does tune recommend what a sweep of all limits finds best?", measure, answer, table, draw
)

if __name__ == "__main__":
    QUESTION.main()
