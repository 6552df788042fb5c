"""What reaches a server that fails and comes back, and what its callers get.

A hundred calls a second are made to a server that could answer 240, at fixed moments, whatever becomes of them; nobody
waits longer than half a second for an answer to begin. After two seconds the server fails for four, in one of two ways:
it answers 503 at once, or it works on 2 requests at a time instead of 12. Like most servers it also works on requests
whose callers have gone. The same is shown to bare clients, to what others repeat with, and to one policy of ours after
the other. Requests are counted by the server.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import stamina

from benchmarks.isolated import isolated
from benchmarks.origin import Behaviour, Origin, apart, origin
from benchmarks.peers import OPENAI, PEERS, RETRIES, available, missing
from benchmarks.question import Figures, Question
from benchmarks.sdk import Telemetry
from resilient_foundry import AdaptiveLimit, CircuitBreaker, ConcurrencyLimit, Retry, RetryBudget, Stack
from resilient_foundry._extras import require
from resilient_foundry.tuning.figures import quantile

Call = Callable[[str], Awaitable[Any]]

HEALTHY = Behaviour(delay=0.05, slots=12)
TROUBLES = {
    "dead": Behaviour(dead=(0.0, 1e9)),
    "overloaded": Behaviour(delay=0.05, slots=2),
}
WORDS = {"dead": "answers 503 at once", "overloaded": "works on 2 requests at a time, not on 12"}
PATIENCE = 0.5
"""Seconds that an answer is waited for."""
AT_ONCE = 0.1
"""Seconds within which a failure is one that came at once: twice as long as a good answer takes."""
_BIN = 0.25
_WINDOW = 0.5
_WELL = 0.95
"""The share of calls that must be answered well for the calls to have recovered."""
_LATEST = 0.1
"""Seconds that one call of a hundred may go out late: else the load that was meant was not made."""
_GRACE = 5.0
"""Seconds after the last call was made, after which whoever still waits has waited in vain."""
_SIDE_BY_SIDE = 2
_GOOD, _SOON, _LATE = "good", "failed at once", "failed late"


@dataclass(frozen=True, slots=True)
class Plan:
    """When what happens, in seconds from the start; and how many calls a second are made."""

    rate: float = 100.0
    healthy: float = 2.0
    trouble: float = 4.0
    after: float = 6.0

    @property
    def over(self) -> float:
        """When the server is well again."""
        return self.healthy + self.trouble

    @property
    def end(self) -> float:
        """When no more calls are made."""
        return self.over + self.after


NONE, LOOP = "no retries", "a loop of three tries"
HTTPX_RETRIES, TENACITY, OPENAIS = "httpx-retries", "pydantic-ai's, on tenacity", "the OpenAI SDK's own"
RETRY, BUDGET, BREAKER = "Retry()", "Retry(budget)", "Retry(budget), CircuitBreaker()"
STANDARD, LIMIT, ADAPTIVE = "Stack.standard()", "standard, ConcurrencyLimit(12)", "standard, AdaptiveLimit()"
CONTENDERS = (
    NONE,
    LOOP,
    HTTPX_RETRIES,
    TENACITY,
    OPENAIS,
    RETRY,
    BUDGET,
    BREAKER,
    STANDARD,
    LIMIT,
    ADAPTIVE,
)
_STACKS: dict[str, Callable[[], Stack]] = {
    RETRY: lambda: Stack(Retry()),
    BUDGET: lambda: Stack(Retry(budget=RetryBudget())),
    BREAKER: lambda: Stack(Retry(budget=RetryBudget()), CircuitBreaker()),
    STANDARD: Stack.standard,
    LIMIT: lambda: _with(ConcurrencyLimit(12)),
    ADAPTIVE: lambda: _with(ConcurrencyLimit(AdaptiveLimit())),
}
DRAWN = (NONE, LOOP, OPENAIS, RETRY, BUDGET, STANDARD, LIMIT)


def _with(limit: ConcurrencyLimit) -> Stack:
    """The standard stack with a limit in its place, which is above the limits of an attempt."""
    *outer, timeouts = Stack.standard()
    return Stack(*outer, limit, timeouts)


def measure(quick: bool) -> Figures:
    """Everybody in both kinds of trouble; quickly, three of them in one."""
    if quick:
        return measured((NONE, LOOP, STANDARD), ("dead",), Plan(rate=60.0, healthy=0.5, trouble=1.0, after=1.0))
    return measured(CONTENDERS, tuple(TROUBLES), Plan())


def measured(contenders: Sequence[str], troubles: Sequence[str], plan: Plan) -> Figures:
    """Each in a process of its own, with a server of its own; some of them side by side."""
    there = [name for name in contenders if _can_be_had(name)]
    cells = [f"{trouble}: {name}" for name in there for trouble in troubles]  # side by side: one that is easy on us
    with (
        apart(),
        isolated(partial(contender, plan), cells) as turns,
        ThreadPoolExecutor(_SIDE_BY_SIDE) as side_by_side,
    ):
        begun = [side_by_side.submit(turns[cell]) for cell in cells]
        found = [one.result() for one in begun]
    found.sort(key=lambda one: list(troubles).index(one["trouble"]))
    return {"plan": asdict(plan), "histories": found, "left_out": missing()}


def _can_be_had(name: str) -> bool:
    theirs = {HTTPX_RETRIES: ("httpx", RETRIES), TENACITY: ("httpx2", RETRIES), OPENAIS: ("httpx2", OPENAI)}
    library, peer = theirs.get(name, ("httpx2", ""))
    return not peer or peer in available(library, "async")


@dataclass(slots=True)
class History:
    """What happened: when requests reached the server, and each call, when it was to be made and how it went."""

    arrivals: list[float]
    """Seconds from the start."""
    calls: list[tuple[float, float, bool]] = field(default_factory=list[tuple[float, float, bool]])
    """(when it was to be made, how many seconds later it ended, whether its answer was good)."""
    late: list[float] = field(default_factory=list[float])
    """How many seconds later than it was to be made each call went out."""


def told(history: History, plan: Plan) -> Figures:
    """A history in figures: what is drawn, and what is said of it. Shares are of the calls of their time."""
    bins = round(plan.end / _BIN)
    answers = {kind: [0] * bins for kind in (_GOOD, _SOON, _LATE)}
    for made, took, good in history.calls:
        kind = _GOOD if good else _SOON if took <= AT_ONCE else _LATE
        answers[kind][min(int(made / _BIN), bins - 1)] += 1
    arrivals = [0] * bins
    for moment in history.arrivals:
        if 0 <= moment < plan.end:
            arrivals[int(moment / _BIN)] += 1
    in_trouble = [call for call in history.calls if plan.healthy <= call[0] < plan.over]
    failed = [took for _, took, good in in_trouble if not good]
    during = sum(plan.healthy <= moment < plan.over for moment in history.arrivals)
    return {
        "bin": _BIN,
        "arrivals": arrivals,
        "answers": answers,
        "load": during / len(in_trouble) if in_trouble else None,
        "peak": _peak(history.arrivals) / plan.rate,
        "to_fail": quantile(failed, 0.5) if failed else None,
        "good_in_trouble": _share(in_trouble),
        "good_after": _share([call for call in history.calls if call[0] >= plan.over]),
        "recovered": _recovered(answers, plan),
        "late": quantile(history.late, 0.99) if history.late else 0.0,
    }


def _share(calls: Sequence[tuple[float, float, bool]]) -> float | None:
    return sum(good for *_, good in calls) / len(calls) if calls else None


def _peak(arrivals: Sequence[float]) -> float:
    """The most requests a second, over half a second."""
    most = first = 0
    ordered = sorted(arrivals)
    for last, moment in enumerate(ordered):
        while moment - ordered[first] > _WINDOW:
            first += 1
        most = max(most, last - first + 1)
    return most / _WINDOW


def _recovered(answers: Mapping[str, Sequence[int]], plan: Plan) -> float | None:
    """Seconds from the server's recovery until nearly all calls are answered well, for good; None where they aren't."""
    totals = [sum(of) for of in zip(*answers.values(), strict=True)]
    since = None
    for number in range(round(plan.over / _BIN), len(totals)):
        well = answers[_GOOD][number] >= _WELL * totals[number]
        since = (number if since is None else since) if well else None
    return None if since is None else since * _BIN - plan.over


@contextmanager
def contender(plan: Plan, cell: str) -> Generator[Callable[[], Figures]]:
    """Its story, in this process."""
    trouble, _, name = cell.partition(": ")
    stamina.instrumentation.set_on_retry_hooks([])  # it would log each retry
    with origin(HEALTHY) as server:
        yield lambda: {
            "trouble": trouble,
            "contender": name,
            **told(asyncio.run(_history(server, name, trouble, plan)), plan),
        }


async def _history(server: Origin, name: str, trouble: str, plan: Plan) -> History:
    client, call = _caller(name)
    async with client:
        await call(server.url)  # the first connection is no part of the story
        server.reset()
        history = History([])
        began = time.monotonic()
        weather = asyncio.create_task(_weather(server, trouble, plan, began))
        calls: set[asyncio.Task[None]] = set()
        for number in range(round(plan.rate * plan.end)):
            moment = number / plan.rate
            await asyncio.sleep(max(0.0, began + moment - time.monotonic()))
            history.late.append(time.monotonic() - began - moment)
            task = asyncio.create_task(_one(call, server.url, history, began, moment))
            calls.add(task)
            task.add_done_callback(calls.discard)
        await weather
        if calls:
            _, late = await asyncio.wait(calls, timeout=_GRACE)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        history.arrivals += [moment - began for moment in server.arrivals()]
    return history


async def _weather(server: Origin, trouble: str, plan: Plan, began: float) -> None:
    await asyncio.sleep(max(0.0, began + plan.healthy - time.monotonic()))
    server.behave(TROUBLES[trouble])
    await asyncio.sleep(max(0.0, began + plan.over - time.monotonic()))
    server.behave(HEALTHY)


async def _one(call: Call, url: str, history: History, began: float, moment: float) -> None:
    good = False
    try:
        with suppress(Exception):  # what callers meet is what is measured
            answer = await call(url)
            good = answer.status_code == 200  # noqa: PLR2004 - the good one
    finally:
        history.calls.append((moment, time.monotonic() - began - moment, good))


def _caller(name: str) -> tuple[Any, Call]:
    """A client, and what makes a GET with it. httpx-retries knows httpx alone; the others have httpx2."""
    module: Any = require("httpx", extra="") if name == HTTPX_RETRIES else require("httpx2", extra="httpx2")
    limits = module.Limits(max_connections=400, max_keepalive_connections=400)  # none of them is to wait for the pool
    wire = module.AsyncHTTPTransport(verify=False, limits=limits)
    if name in {HTTPX_RETRIES, TENACITY}:
        over = PEERS[RETRIES].over
        wire = wire if over is None else over(module, "async", wire, Telemetry())
    elif name in _STACKS:
        stack: Any = _STACKS[name]()
        wire = stack.over(wire)
    client = module.AsyncClient(transport=wire, timeout=PATIENCE, trust_env=False)
    if name == LOOP:
        return client, partial(_three_tries, client)
    calling = PEERS[OPENAI].calling
    if name == OPENAIS and calling is not None:
        return client, calling(module, "async", client)
    return client, client.get


async def _three_tries(client: Any, url: str) -> Any:
    """As one writes it: again after 0.1 s, and after 0.2."""
    for attempt in range(2):
        with suppress(Exception):
            answer = await client.get(url)
            if answer.status_code < 500:  # noqa: PLR2004 - those are not tried again
                return answer
        await asyncio.sleep(0.1 * 2**attempt)
    return await client.get(url)


def answer(figures: Figures) -> str:
    """The answer, in one sentence."""
    found = {(one["trouble"], one["contender"]): one for one in figures["histories"]}
    trouble = "overloaded" if ("overloaded", LOOP) in found else "dead"
    loop, ours = found[trouble, LOOP], found[trouble, STANDARD]
    return (
        f"A server that {WORDS[trouble]} for {figures['plan']['trouble']:g} s is met by a loop of three tries with "
        f"{loop['load']:.1f} requests a call, and {_when(loop)}; by the standard stack with {ours['load']:.1f}, "
        f"and {_when(ours)}."
    )


def _when(one: Mapping[str, Any]) -> str:
    """When calls were answered well again."""
    if one["recovered"] is None:
        return f"{one['good_after']:.0%} of the calls after it are answered, until the end"
    return f"calls are answered again {one['recovered']:.2g} s after it"


_COLUMNS = (
    "requests a call",
    "peak, of the healthy rate",
    "s to fail",
    "answered meanwhile",
    "answered after it",
    "s to recover",
)


def table(figures: Figures) -> str:
    """A table for each kind of trouble, a row for each contender."""
    parts: list[str] = []
    for trouble in dict.fromkeys(one["trouble"] for one in figures["histories"]):
        lines = [f"| the server {WORDS[trouble]} | {' | '.join(_COLUMNS)} |", "|---|" + "---:|" * len(_COLUMNS)]
        lines += [
            f"| {one['contender']} | {one['load']:.2f} | {one['peak']:.1f} x | {_seconds(one['to_fail'])} | "
            f"{one['good_in_trouble']:.0%} | {one['good_after']:.0%} | {_seconds(one['recovered'], none='not')} |"
            for one in figures["histories"]
            if one["trouble"] == trouble
        ]
        parts.append("\n".join(lines))
    late = [f"{one['contender']} ({one['trouble']})" for one in figures["histories"] if one["late"] > _LATEST]
    if late:
        parts.append(f"Not to be trusted, since the machine was too busy to make its calls in time: {', '.join(late)}.")
    if figures["left_out"]:
        parts.append(f"Left out, since they are not installed: {', '.join(figures['left_out'])}.")
    return "\n\n".join(parts)


def _seconds(figure: float | None, *, none: str = "") -> str:
    return none if figure is None else f"{figure:.3f}" if 0 < figure < 1 else f"{figure:.2g}"


def draw(figures: Figures, figure: Any, colours: Mapping[str, str]) -> None:
    """Small multiples: what callers got, second by second, under a line of what reached the server."""
    troubles = list(dict.fromkeys(one["trouble"] for one in figures["histories"]))
    shown = [name for name in DRAWN if any(one["contender"] == name for one in figures["histories"])]
    rows = figure.subplots(len(shown), len(troubles), sharex=True, sharey=True, squeeze=False)
    plan = Plan(**figures["plan"])
    for one in figures["histories"]:
        if one["contender"] in shown:
            axes = rows[shown.index(one["contender"])][troubles.index(one["trouble"])]
            _panel(axes, one, plan, colours)
            axes.set_title(one["contender"], loc="left", fontsize=9, pad=2)
    for column, trouble in enumerate(troubles):
        rows[-1][column].set_xlabel(f"s; shaded: the server {WORDS[trouble]}")
    rows[len(shown) // 2][0].set_ylabel("calls and requests a second")
    handles, labels = rows[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))


_COLOURS = {_GOOD: "#2fa36b", _SOON: "#8a8f98", _LATE: "#d14d72"}


def _panel(axes: Any, one: Mapping[str, Any], plan: Plan, colours: Mapping[str, str]) -> None:
    moments = [number * one["bin"] for number in range(len(one["arrivals"]))]
    stacked = [[count / one["bin"] for count in one["answers"][kind]] for kind in _COLOURS]
    axes.stackplot(moments, stacked, labels=list(_COLOURS), colors=list(_COLOURS.values()), alpha=0.75, step="post")
    requests = [count / one["bin"] for count in one["arrivals"]]
    axes.step(moments, requests, where="post", color=colours["text"], linewidth=1.2, label="requests at the server")
    axes.axvspan(plan.healthy, plan.over, color=colours["line"], alpha=0.5, linewidth=0, zorder=0)
    axes.margins(x=0)
    axes.set_ylim(0, 4 * plan.rate)


QUESTION = Question(
    "outage",
    "What reaches a server that fails, and what do its callers get?",
    measure,
    answer,
    table,
    draw,
    (10.0, 11.0),
)

if __name__ == "__main__":
    QUESTION.main()
