"""Where it is better to wait: in the connection pool, or in a line in front of it.

More callers than connections have to wait somewhere. The pool of httpx 0.28 lets any of them go first, and wakes many
for each that may; a `ConcurrencyLimit` of the same number in front of it serves who came first. Two scenes: a server
that answers everybody after 50 ms, and one that works on four requests at once. Closed loops, by turns; clients have no
time limits of their own, so that those who wait are seen and not refused. What begins before everybody has been
answered once is not looked at.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.origin import Behaviour, apart, origin
from benchmarks.question import Figures, Question
from resilient_foundry import AttemptTimeout, CircuitBreaker, ConcurrencyLimit, Deadline, Retry, Stack
from resilient_foundry._extras import require
from resilient_foundry.tuning.figures import quantile
from resilient_foundry.tuning.load import Call, Load, closed

BARE = "httpx"
LIMIT = "httpx, ConcurrencyLimit in front"
FIVE = "httpx, five policies"
BARE_2 = "httpx2"
LIMIT_2 = "httpx2, ConcurrencyLimit in front"
AIOHTTP = "aiohttp"
CONTENDERS = (BARE, LIMIT, FIVE, BARE_2, LIMIT_2, AIOHTTP)
MORE_REQUESTS, SHARE_OF_THE_P99, EVENNESS = 2.0, 0.2, 1.25
"""To reach in the first scene: requests and p99 against bare httpx, and p99 against the median."""
FAIR = 1.1
"""To reach in the second: p99 against what each would wait if all waited alike."""

GOALS = (
    ("requests", "answers, against httpx alone", f"at least {MORE_REQUESTS:.1f} x"),
    ("p99", "p99, against httpx alone", f"at most {SHARE_OF_THE_P99:.2f} x"),
    ("evenness", "p99, against its median", f"at most {EVENNESS:.2f} x"),
    ("fair", "four slots: p99, against the fair share", f"at most {FAIR:.1f} x"),
)


@dataclass(frozen=True, slots=True)
class Scene:
    """A server, and who asks it."""

    name: str
    behaviour: Behaviour
    callers: int
    places: int
    """Connections, and places of the limit."""


MANY = Scene("128 callers, 32 connections, 50 ms", Behaviour(delay=0.05), 128, 32)
SLOTS = Scene("64 callers, 5 connections, 4 slots of 20 ms", Behaviour(delay=0.02, slots=4), 64, 5)
SCENES = (MANY, SLOTS)


def measure(quick: bool) -> Figures:
    """Every contender in both scenes."""
    return measured(rounds=1 if quick else 3, seconds=1.0 if quick else 4.0, contenders=CONTENDERS)


def measured(*, rounds: int, seconds: float, contenders: Sequence[str]) -> Figures:
    """What each served in so many rounds of so many seconds, one after the other."""
    missing = [name for name in contenders if name == AIOHTTP and _aiohttp() is None]
    found: dict[str, dict[str, list[dict[str, float]]]] = {scene.name: {} for scene in SCENES}
    with apart(), origin() as server, asyncio.Runner() as runner:
        for number in range(rounds):
            for scene in SCENES:
                names = [name for name in contenders if name not in missing]
                for name in names[number % len(names) :] + names[: number % len(names)]:
                    server.behave(scene.behaviour)
                    load = runner.run(_loaded(name, scene, server.url, seconds))
                    found[scene.name].setdefault(name, []).append(told_of(load, scene.callers))
    told = {scene: {name: _medians(of) for name, of in by_name.items()} for scene, by_name in found.items()}
    return {"scenes": told, "missing": missing}


def told_of(load: Load, callers: int) -> dict[str, float]:
    """What came of a load, but for the first answer of each caller."""
    begun = load.ended[callers - 1] if len(load.ended) > callers else 0.0
    settled = load.latencies[callers:] or load.latencies
    ends = [end for end in load.ended if end > begun] or [load.seconds]
    throughput = len(ends) / (ends[-1] - begun) if ends[-1] > begun else 0.0
    return {
        "throughput": throughput,
        "p50": quantile(settled, 0.5),
        "p99": quantile(settled, 0.99),
        "longest": max(settled),
        "cpu": load.cpu_a_call,
        "errors": float(load.errors.total()),
        "fair": callers / throughput if throughput else float("nan"),
    }


def _medians(of: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {key: median(one[key] for one in of) for key in of[0]}


async def _loaded(name: str, scene: Scene, url: str, seconds: float) -> Load:
    async with _calling(name, scene, url) as call:
        return await closed(call, callers=scene.callers, seconds=seconds)


@asynccontextmanager
async def _calling(name: str, scene: Scene, url: str) -> AsyncGenerator[Call]:
    if name == AIOHTTP:
        async with _by_aiohttp(scene, url) as call:
            yield call
        return
    library: Any = require("httpx2", extra="httpx2") if name.startswith("httpx2") else require("httpx", extra="")
    limits = library.Limits(max_connections=scene.places, max_keepalive_connections=scene.places)
    wire = library.AsyncHTTPTransport(limits=limits, verify=False)  # no TLS here, and certificates take long to load
    limit = ConcurrencyLimit(scene.places, queue=scene.callers)
    patient = AttemptTimeout(connect=60.0, pool=60.0, write=60.0, read=60.0)
    stacks: dict[str, Any] = {
        LIMIT: Stack(limit),
        LIMIT_2: Stack(limit),
        FIVE: Stack(Deadline(60.0), Retry(), CircuitBreaker(), limit, patient),
    }
    if name in stacks:
        wire = stacks[name].over(wire)
    async with library.AsyncClient(transport=wire, timeout=None) as client:
        yield lambda: client.get(url)


def _aiohttp() -> Any:
    with contextlib.suppress(ImportError):
        return require("aiohttp", extra="bench")
    return None


@asynccontextmanager
async def _by_aiohttp(scene: Scene, url: str) -> AsyncGenerator[Call]:
    aiohttp = _aiohttp()
    connector = aiohttp.TCPConnector(limit=scene.places)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None)) as session:

        async def call() -> object:
            async with session.get(url) as response:
                return await response.read()

        yield call


def reached(figures: Figures) -> dict[str, tuple[float, bool]]:
    """What was seen of each figure to reach, and whether it was reached."""
    many, slots = figures["scenes"][MANY.name], figures["scenes"][SLOTS.name]
    bare, ours = many[BARE], many[LIMIT]
    requests, share, even = (
        ours["throughput"] / bare["throughput"],
        ours["p99"] / bare["p99"],
        ours["p99"] / ours["p50"],
    )
    fair = slots[LIMIT]["p99"] / slots[LIMIT]["fair"]
    return {
        "requests": (requests, requests >= MORE_REQUESTS),
        "p99": (share, share <= SHARE_OF_THE_P99),
        "evenness": (even, even <= EVENNESS),
        "fair": (fair, fair <= FAIR),
    }


def answer(figures: Figures) -> str:
    """The answer, in one sentence."""
    many, slots, seen = figures["scenes"][MANY.name], figures["scenes"][SLOTS.name], reached(figures)
    word = "all figures are reached" if all(yes for _, yes in seen.values()) else "not all figures are reached"
    return (
        f"In front: 128 callers get {seen['requests'][0]:.1f} times the answers of httpx 0.28's pool, with a p99 of "
        f"{1e3 * many[LIMIT]['p99']:.0f} ms instead of {1e3 * many[BARE]['p99']:.0f}; before four slots, 64 "
        f"callers have a p99 of {1e3 * slots[LIMIT]['p99']:.0f} ms instead of {1e3 * slots[BARE]['p99']:.0f}; {word}."
    )


def table(figures: Figures) -> str:
    """A row for each contender, and the figures to reach."""
    lines: list[str] = []
    for scene, by_name in figures["scenes"].items():
        lines += [
            f"| {scene} | answers a second | p50 | p99 | longest | CPU a call |",
            "|---|---:|---:|---:|---:|---:|",
        ]
        lines += [
            f"| {name} | {of['throughput']:.0f} | {1e3 * of['p50']:.0f} ms | {1e3 * of['p99']:.0f} ms "
            f"| {1e3 * of['longest']:.0f} ms | {1e6 * of['cpu']:.0f} µs |"
            for name, of in by_name.items()
        ]
        lines.append("")
    lines += ["| ConcurrencyLimit in front of httpx | to reach | seen | reached |", "|---|---:|---:|---|"]
    seen = reached(figures)
    for key, what, reach in GOALS:
        figure, is_reached = seen[key]
        lines.append(f"| {what} | {reach} | {figure:.2f} x | {'yes' if is_reached else '**no**'} |")
    if figures["missing"]:
        lines.append(f"\nLeft out, because it is not installed: {', '.join(figures['missing'])}.")
    return "\n".join(lines)


def draw(figures: Figures, figure: Any, colours: Mapping[str, str]) -> None:
    """What half of the callers wait at most, and 99 of 100."""
    panels = figure.subplots(1, len(figures["scenes"]))
    for axes, (scene, by_name) in zip(panels, figures["scenes"].items(), strict=True):
        names = list(by_name)
        rows = range(len(names))
        axes.barh([row - 0.2 for row in rows], [1e3 * by_name[name]["p50"] for name in names], 0.38, label="p50")
        axes.barh([row + 0.2 for row in rows], [1e3 * by_name[name]["p99"] for name in names], 0.38, label="p99")
        axes.axvline(
            1e3 * by_name[LIMIT]["fair"], color=colours["text"], linestyle="--", linewidth=1, label="fair share"
        )
        axes.set_xscale("log")
        axes.set_yticks(rows, names if axes is panels[0] else [""] * len(names))
        axes.invert_yaxis()
        axes.set_title(scene)
        axes.set_xlabel("ms that a call takes")
    panels[0].legend()


QUESTION = Question(
    "queue_in_front",
    "Where is it better to wait: in the connection pool, or in a line in front of it?",
    measure,
    answer,
    table,
    draw,
    (12.0, 4.5),
)


if __name__ == "__main__":
    QUESTION.main()
