"""The figures that are to be reached, each with what was seen of it.

A figure is reached or not by what was measured, and never because somebody wrote so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks import cost_of_a_stack, cost_of_an_import, refusals, scale, tune_against_the_sweep, work_of_a_stack
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
