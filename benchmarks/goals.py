"""The figures that are to be reached, each with what was seen of it.

A figure is reached or not by what was measured, and never because somebody wrote so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks import (
    cost_of_a_stack,
    cost_of_a_stream,
    cost_of_an_import,
    keepalive_race,
    queue_in_front,
    refusals,
    scale,
    threads,
    tune_against_the_sweep,
    work_of_a_stack,
)
from benchmarks.contenders import FIVE
from benchmarks.question import Figures

Seen = tuple[str, bool | None]
"""What was seen, in words, and whether it reaches the figure; None where it was not measured."""
_WORDS = {True: "yes", False: "**no**", None: "not measured"}


@dataclass(frozen=True, slots=True)
class Goal:
    """One row."""

    benchmark: str
    what: str
    reach: str
    seen: Callable[[Figures], Seen]
    """Of the figures of that benchmark."""
    before: str = ""
    """What others do, or what a bare client does, as it was measured before the work began."""


def table(found: Mapping[str, Figures]) -> str:
    """All of them, out of the figures of the benchmarks by their names."""
    lines = ["| what | to reach | seen | reached | of others, measured before |", "|---|---:|---:|---|---:|"]
    for goal in GOALS:
        seen, reached = goal.seen(found[goal.benchmark]) if goal.benchmark in found else ("", None)
        lines.append(f"| {goal.what} | {goal.reach} | {seen} | {_WORDS[reached]} | {goal.before} |")
    return "\n".join(lines)


def _of_a_stack(goal: cost_of_a_stack.Goal, before: str) -> Goal:
    def seen(figures: Figures) -> Seen:
        figure = goal.seen(figures, goal.contender, "httpx")
        return goal.told(figure), goal.is_reached(figures)

    return Goal("cost_of_a_stack", goal.what, goal.told(goal.reach), seen, before)


def _calls(figures: Figures) -> Seen:
    counts = sorted(of_way[FIVE] for of_way in figures["calls"][work_of_a_stack.TEXT].values())
    return f"{counts[0]} to {counts[-1]}", counts[-1] <= work_of_a_stack.GOAL_CALLS


def _garbage(figures: Figures) -> Seen:
    most = max(of_way[FIVE] for way, of_way in figures["garbage"].items() if way.startswith("httpx2"))
    return f"{most:g}", most <= work_of_a_stack.GOAL_GARBAGE


def _refusals(figures: Figures) -> Seen:
    least = min(1 / way["seconds"][refusals.CIRCUIT]["median"] for way in figures["ways"])
    return f"{least:,.0f}", least >= refusals.GOAL


def _import(figures: Figures) -> Seen:
    took = float(figures["programs"][cost_of_an_import.PACKAGE]["import"]["median"])
    return f"{took:.1f} ms", took <= cost_of_an_import.GOAL_OF_THE_IMPORT


def _cost_of_many(figures: Figures) -> Seen:
    times = float(figures["costs"]["origins"]["by_number"][-1]["times"]["median"])
    return f"{times:.2f} x", times <= scale.GOAL_OF_THE_COST


def _tune(figures: Figures) -> Seen:
    named = [kind for kind in figures["kinds"] if kind["recommended"] is not None]
    right = sum(map(tune_against_the_sweep.is_right, named))
    return f"{right} of {len(named)}", right == len(named)


def _weight_of_an_origin(figures: Figures) -> Seen:
    weight = float(figures["weights"][scale.STANDARD])
    return f"{weight:,.0f} bytes", weight <= scale.GOAL_OF_THE_WEIGHT


def _in_front(key: str) -> Callable[[Figures], Seen]:
    def seen(figures: Figures) -> Seen:
        figure, is_reached = queue_in_front.reached(figures)[key]
        return f"{figure:.2f} x", is_reached

    return seen


def _threads(figures: Figures) -> Seen:
    share = threads.ratio(figures, threads.SLOW, threads.OF, FIVE)
    return f"{share:.3f} x", share >= threads.GOAL


def _event(figures: Figures) -> Seen:
    added = cost_of_a_stream.added(figures, cost_of_a_stream.TYPED)
    return f"+{added:.1f} µs", added <= cost_of_a_stream.GOAL


def _peak(figures: Figures) -> Seen:
    growth = cost_of_a_stream.growth(figures)
    return f"{growth:+.0f} kB", growth <= cost_of_a_stream.GOAL_OF_THE_PEAK


def _first_event(figures: Figures) -> Seen:
    later = cost_of_a_stream.later(figures)
    return f"{later:.2f} ms", later <= cost_of_a_stream.GOAL_OF_THE_FIRST


def _weight_of_a_stream(figures: Figures) -> Seen:
    weight = float(figures["stream"])
    return f"{weight:,.0f} bytes", weight <= scale.GOAL_OF_A_STREAM


def _stale(figures: Figures) -> Seen:
    return f"{100 * keepalive_race.reached(figures)[0]:.1f} %", keepalive_race.reached(figures)[0] == 0.0


def _stale_with_retry(figures: Figures) -> Seen:
    return f"{100 * keepalive_race.reached(figures)[1]:.1f} %", keepalive_race.reached(figures)[1] == 0.0


_BEFORE = ("+70 µs", "+66 µs", "1.18 to 1.30 x", "1.23 to 1.35 x", "1.32 to 1.52 x")
GOALS: tuple[Goal, ...] = (
    *(_of_a_stack(goal, before) for goal, before in zip(cost_of_a_stack.GOALS, _BEFORE, strict=True)),
    Goal(
        "work_of_a_stack",
        "five policies: Python calls added to a request",
        f"at most {work_of_a_stack.GOAL_CALLS}",
        _calls,
        "261",
    ),
    Goal(
        "work_of_a_stack",
        "five policies: objects left to the garbage collector, httpx2",
        f"{work_of_a_stack.GOAL_GARBAGE}",
        _garbage,
    ),
    *(
        Goal(
            "queue_in_front",
            f"128 callers, 32 places, 50 ms, httpx: {what}" if key != "fair" else what,
            reach,
            _in_front(key),
            before,
        )
        for (key, what, reach), before in zip(
            queue_in_front.GOALS,
            ("283/s alone", "2.1 s alone", "10.5 alone", "3.3 s alone, 330 ms if fair"),
            strict=True,
        )
    ),
    Goal(
        "threads",
        f"{threads.OF} threads on one client, 50 ms",
        f"at least {threads.GOAL} x",
        _threads,
        "pybreaker.call 0.03 x",
    ),
    Goal(
        "cost_of_a_stream",
        "a streamed event, guarded and typed, over bytes",
        f"at most +{cost_of_a_stream.GOAL:g} µs",
        _event,
        "httpx-sse + json +4.6 µs, openai +80 µs",
    ),
    Goal(
        "cost_of_a_stream",
        "memory of a stream five times as long, guarded",
        f"at most +{cost_of_a_stream.GOAL_OF_THE_PEAK:g} kB",
        _peak,
    ),
    Goal(
        "cost_of_a_stream",
        "the first event of a stream comes later by",
        f"at most {cost_of_a_stream.GOAL_OF_THE_FIRST} ms",
        _first_event,
    ),
    Goal(
        "scale",
        "memory for an open stream, over httpx's own",
        f"at most {scale.GOAL_OF_A_STREAM:,.0f} bytes",
        _weight_of_a_stream,
    ),
    Goal(
        "keepalive_race",
        f"requests that meet a closing connection, at {keepalive_race.RECOMMENDED} of the server's limit",
        "0",
        _stale,
        "up to 30 %",
    ),
    Goal("keepalive_race", "those that the caller sees with `Retry`, at any expiry", "0", _stale_with_retry),
    Goal(
        "refusals",
        "refusals a second by an open circuit, at the transport",
        f"at least {refusals.GOAL:,.0f}",
        _refusals,
    ),
    Goal(
        "cost_of_an_import",
        "`import resilient_foundry`, beyond httpx",
        f"at most {cost_of_an_import.GOAL_OF_THE_IMPORT:.0f} ms",
        _import,
        "openai 385 ms",
    ),
    Goal(
        "scale",
        "what is added with 10,000 origins, against one",
        f"at most {scale.GOAL_OF_THE_COST} x",
        _cost_of_many,
    ),
    Goal(
        "scale",
        "memory for an origin",
        f"at most {scale.GOAL_OF_THE_WEIGHT:,.0f} bytes",
        _weight_of_an_origin,
        "0.7 to 1.8 kB of pybreaker",
    ),
    Goal(
        "tune_against_the_sweep",
        "servers for which `tune` names a limit, and it is right: throughput "
        f"{tune_against_the_sweep.THROUGHPUT} of the best, p99 {tune_against_the_sweep.P99} x the best's, reuse "
        f"{tune_against_the_sweep.REUSE}",
        "all",
        _tune,
        "reuse 0.03 by httpx's defaults",
    ),
)
