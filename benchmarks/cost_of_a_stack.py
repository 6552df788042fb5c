"""What a stack adds to a request, and what OpenTelemetry adds to that.

A bare client, an empty stack, each policy by itself, the stacks that are made of them, and what one would build
otherwise (`peers`) make the same GET: in httpx and httpx2, sync and async, over a transport that answers from memory at
once, and over a real connection to a server on another core; some of them with an SDK of OpenTelemetry in each of its
states. Each has a process of its own. They take turns, and each turn is compared with the bare client's of the same
round. What is told is processor time, which a busy machine changes least; a span that was recorded is exported between
the turns, to nowhere, and not counted.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from benchmarks.contenders import ALL, EMPTY, FIVE, FOR_STREAMS, STANDARD, contenders, five, from_memory
from benchmarks.isolated import Taken, Watch, isolated
from benchmarks.origin import apart, origin
from benchmarks.peers import BREAKER, OPENAI, OTEL, PEERS, RETRIES, STAMINA, TOGETHER, TRACED, available, missing
from benchmarks.question import Figures, Question
from benchmarks.race import CONTROL, is_trusted, race, standings
from benchmarks.sdk import BATCH, METRICS, NO_SDK, SAMPLED_OUT, STATES, telemetry
from resilient_foundry import Stack, Tracing
from resilient_foundry._extras import require

BARE = "bare client"
TRACING = "Tracing()"
FIVE_TRACED = "Tracing() + five policies"
WAYS = tuple((library, colour) for library in ("httpx", "httpx2") for colour in ("sync", "async"))
_IN_THREE_STATES = (NO_SDK, SAMPLED_OUT, BATCH)


def _in(name: str, states: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"{name}, {state}" for state in states)


OF_PEERS = {
    "memory": (RETRIES, BREAKER, STAMINA, OPENAI, *_in(OTEL, STATES), TOGETHER, *_in(TRACED, _IN_THREE_STATES)),
    "loopback": (*_in(OTEL, _IN_THREE_STATES), TOGETHER, *_in(TRACED, _IN_THREE_STATES)),
    "a stream from memory": (),
}
OURS = {
    "memory": (FIVE, *_in(TRACING, STATES[1:]), *_in(FIVE_TRACED, STATES)),
    "loopback": (EMPTY, FIVE, *_in(FIVE_TRACED, _IN_THREE_STATES), STANDARD, ALL),
    "a stream from memory": FOR_STREAMS,
}
"""Beside which each policy by itself is measured in memory."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the answers come from."""

    requests: int
    """In a turn: some ten milliseconds of them."""
    rounds: int
    path: str = "/"


PLACES = {
    "memory": Place(100, 11),
    "loopback": Place(40, 35),
    "a stream from memory": Place(30, 9, "/events"),
}


def names(place: str, library: str, colour: str) -> list[str]:
    """Who makes requests there; the bare client first, and once more as the control."""
    alone = contenders(colour) if place == "memory" else ()
    ours = dict.fromkeys((*alone, *OURS[place]))
    there = available(library, colour)
    return [BARE, CONTROL, *ours, *(name for name in OF_PEERS[place] if name.partition(", ")[0] in there)]


def measure(quick: bool) -> Figures:
    """All of it; quickly, one way of memory and of loopback."""
    if quick:
        return measured(("memory", "loopback"), (("httpx", "sync"),), rounds=1)
    return measured(PLACES, WAYS)


def measured(places: Iterable[str], ways: Iterable[tuple[str, str]], *, rounds: int | None = None) -> Figures:
    """What a request took everybody at these places in these ways; microseconds."""
    cells: list[dict[str, Any]] = []
    strayed: list[str] = []
    ways = tuple(ways)
    with origin() as server, apart():
        for place in places:
            for library, colour in ways:
                make = partial(contender, place, library, colour, server.url, PLACES[place].requests)
                with isolated(make, names(place, library, colour)) as turns:
                    taken = race(turns, rounds=rounds or PLACES[place].rounds, seconds=30.0)
                cpu = standings({name: [1e6 * one.cpu for one in of] for name, of in taken.items()}, BARE)
                wall = standings({name: [1e6 * one.wall for one in of] for name, of in taken.items()}, BARE)
                if not is_trusted(cpu):
                    strayed.append(f"{place}, {library} {colour}")
                cells += [
                    {
                        "place": place,
                        "library": library,
                        "colour": colour,
                        "contender": name,
                        "cpu": asdict(cpu[name]),
                        "wall": asdict(wall[name]),
                    }
                    for name in taken
                ]
    return {"cells": cells, "strayed": strayed, "left_out": missing()}


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure to reach, and what was seen of it."""

    what: str
    reach: float
    place: str
    contender: str
    peers: tuple[str, ...]
    colour: str | None = None
    """The one that it is for, where not for both."""
    added: bool = False
    """Whether it speaks of microseconds; else of times the bare client."""

    def seen(self, figures: Figures, contender: str, library: str) -> float | None:
        """What it speaks of, of this contender in this library; None where that was not measured."""
        found = [
            float(cell["cpu"]["added" if self.added else "ratio"]["median"])
            for cell in figures["cells"]
            if (cell["place"], cell["contender"], cell["library"]) == (self.place, contender, library)
            and self.colour in {None, cell["colour"]}
        ]
        return max(found, default=None)

    def is_reached(self, figures: Figures) -> bool | None:
        """Whether the figure for httpx, which it was set for, is not above it."""
        seen = self.seen(figures, self.contender, "httpx")
        return None if seen is None else seen <= self.reach

    def told(self, figure: float | None) -> str:
        """A figure of this kind, in words."""
        if figure is None:
            return "not measured"
        return f"{figure:+.1f} µs" if self.added else f"{figure:.3f} x"


_PEERS = (TOGETHER, f"{TRACED}, {NO_SDK}")
GOALS = (
    Goal("five policies, in memory, sync", 12.0, "memory", FIVE, _PEERS, "sync", added=True),
    Goal("five policies, in memory, async", 20.0, "memory", FIVE, _PEERS, "async", added=True),
    *(
        Goal(
            f"with Tracing, over loopback, {state}",
            most,
            "loopback",
            f"{FIVE_TRACED}, {state}",
            (f"{TRACED}, {state}",),
        )
        for state, most in ((NO_SDK, 1.05), (SAMPLED_OUT, 1.10), (BATCH, 1.18))
    ),
)


def answer(figures: Figures) -> str:
    """The answer, in one sentence."""
    sync, asynchronous, *traced = [goal.told(goal.seen(figures, goal.contender, "httpx")) for goal in GOALS]
    reached = [goal.is_reached(figures) for goal in GOALS]
    return (
        f"In memory, over httpx, five policies add {sync} to a synchronous request and {asynchronous} to an "
        f"asynchronous one; over loopback, with Tracing, a request takes {traced[0]} the processor time of a bare "
        f"one without an SDK, {traced[1]} sampled out and {traced[2]} recorded; {reached.count(True)} of "
        f"{len(reached)} figures are reached."
    )


def table(figures: Figures) -> str:
    """The figures to reach, and a table for each place."""
    parts = [_goals(figures), *(_of_a_place(figures, place) for place in PLACES)]
    if figures["strayed"]:
        parts.append(f"Not to be trusted, the bare client strayed from itself: {'; '.join(figures['strayed'])}.")
    if figures["left_out"]:
        parts.append(f"Left out, since they are not installed: {', '.join(figures['left_out'])}.")
    return "\n\n".join(part for part in parts if part)


_WORDS = {True: "yes", False: "no", None: ""}


def _goals(figures: Figures) -> str:
    lines = [
        "| processor time over a bare client | to reach | httpx | reached | httpx2 | built otherwise, httpx |",
        "|---|---:|---:|---|---:|---:|",
    ]
    for goal in GOALS:
        ours, newer = (goal.told(goal.seen(figures, goal.contender, library)) for library in ("httpx", "httpx2"))
        reached = _WORDS[goal.is_reached(figures)]
        peers = "; ".join(goal.told(goal.seen(figures, peer, "httpx")) for peer in goal.peers)
        lines.append(f"| {goal.what} | {goal.told(goal.reach)} | {ours} | {reached} | {newer} | {peers} |")
    lines.append(f"\nBuilt otherwise: {TOGETHER}; {TRACED} instrumentation. It has neither deadline nor limit.")
    return "\n".join(lines)


def _of_a_place(figures: Figures, place: str) -> str:
    """A row for each contender, a column for each way: the bare client's microseconds, and what the others add."""
    cells = [cell for cell in figures["cells"] if cell["place"] == place]
    ways = list(dict.fromkeys((cell["library"], cell["colour"]) for cell in cells))
    if not ways:
        return ""
    lines = [
        f"| µs of a request, {place} | " + " | ".join(f"{library} {colour}" for library, colour in ways) + " |",
        "|---|" + "---:|" * len(ways),
    ]
    for name in _in_order(cells):
        row = {(cell["library"], cell["colour"]): _told(cell) for cell in cells if cell["contender"] == name}
        lines.append(f"| {name} | " + " | ".join(row.get(way, "") for way in ways) + " |")
    return "\n".join(lines)


def tracing(figures: Figures) -> str:
    """What tracing by itself adds, ours and OpenTelemetry's; synchronous, over httpx in memory."""
    added = {
        cell["contender"]: float(cell["cpu"]["added"]["median"])
        for cell in figures["cells"]
        if (cell["place"], cell["library"], cell["colour"]) == ("memory", "httpx", "sync")
    }
    added[f"{TRACING}, {NO_SDK}"] = added[TRACING]
    lines = [f"| µs of processor time | {' | '.join(STATES)} |", "|---|" + "---:|" * len(STATES)]
    for words, name, without in (
        ("`Tracing`, the span of a call that is one attempt", TRACING, EMPTY),
        ("`Tracing` around five policies, the spans of a call and its attempt", FIVE_TRACED, FIVE),
        ("OpenTelemetry's instrumentation, one span", OTEL, BARE),
    ):
        cells = [added.get(f"{name}, {state}") for state in STATES]
        told = ["" if cell is None else f"{cell - added[without]:.1f}" for cell in cells]
        lines.append(f"| {words} | {' | '.join(told)} |")
    return "\n".join(lines)


def _in_order(cells: Iterable[Mapping[str, Any]]) -> list[str]:
    """The contenders; asynchronous code, which comes first here, has all of them."""
    return list(dict.fromkeys(cell["contender"] for cell in sorted(cells, key=lambda cell: str(cell["colour"]))))


def _told(cell: Mapping[str, Any]) -> str:
    cpu = cell["cpu"]
    if cell["contender"] == BARE:
        return f"{cpu['figure']['median']:.0f}"
    return f"{cpu['added']['median']:+.1f} ({cpu['ratio']['median']:.2f} x)"


def draw(figures: Figures, figure: Any, colours: Mapping[str, str]) -> None:
    """What each adds in memory, and what tracing makes of a request over loopback; httpx."""
    left, right = figure.subplots(1, 2, width_ratios=(5, 4))
    _bars(left, figures["cells"], "memory", lambda cell: float(cell["cpu"]["added"]["median"]))
    left.set_title("µs of processor time added to a request, in memory, httpx", loc="right")
    _bars(right, figures["cells"], "loopback", lambda cell: 100 * float(cell["cpu"]["ratio"]["median"]) - 100)
    right.set_title("% added to one over loopback, httpx", loc="right")
    right.axvline(0, color=colours["line"], linewidth=1)
    left.legend()


def _bars(axes: Any, cells: Sequence[Mapping[str, Any]], place: str, length: Callable[[Any], float]) -> None:
    shown = [cell for cell in cells if cell["place"] == place and cell["library"] == "httpx"]
    rows = [name for name in _in_order(shown) if name not in {BARE, CONTROL} and not name.endswith(METRICS)]
    for number, colour in enumerate(("sync", "async")):
        bars = [
            (rows.index(cell["contender"]) + 0.4 * (number - 0.5), length(cell))
            for cell in shown
            if cell["colour"] == colour and cell["contender"] in rows
        ]
        axes.barh([row for row, _ in bars], [width for _, width in bars], 0.36, label=colour)
    axes.set_yticks(range(len(rows)), rows)
    axes.invert_yaxis()


@contextmanager
def contender(
    place: str, library: str, colour: str, url: str, requests: int, name: str
) -> Generator[Callable[[], Taken]]:
    """What it does in its turn, in this process. Libraries are `Any`: the two share no class."""
    module: Any = require(library, extra="httpx2") if library == "httpx2" else require(library, extra="")
    who, _, state = name.partition(", ")
    address = url + PLACES[place].path
    with telemetry(state or NO_SDK) as told:
        wire = _transport(module, place, colour)
        peer = PEERS.get(who)
        if peer is None:
            wire = _over(_stack(who, colour, told), wire)
        elif peer.over is not None:
            wire = peer.over(module, colour, wire, told)
        block = _synchronous if colour == "sync" else _asynchronous
        client = (module.Client if colour == "sync" else module.AsyncClient)(transport=wire, trust_env=False)
        call = client.get if peer is None or peer.calling is None else peer.calling(module, colour, client)
        with block(client, partial(call, address), requests) as turn:

            def and_flush() -> Taken:
                taken = turn()
                told.flush()
                return taken

            yield and_flush


def _stack(name: str, colour: str, told: Any) -> Stack | None:
    if name in {BARE, CONTROL}:
        return None
    tracing = Tracing(tracer_provider=told.tracers, meter_provider=told.meters)
    if name == TRACING:
        return Stack(tracing)
    if name == FIVE:
        return five()
    if name == FIVE_TRACED:
        return five(tracing)
    return contenders(colour)[name]()


def _over(stack: Any, wire: Any) -> Any:  # its overloads tell the libraries apart, and here either may come
    if stack is None:
        return wire
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # of Hedge: nobody waits for a connection
        return stack.over(wire)


def _transport(module: Any, place: str, colour: str) -> Any:
    if place == "loopback":
        kind = module.HTTPTransport if colour == "sync" else module.AsyncHTTPTransport
        return kind(verify=False)  # no TLS here, and certificates take long to load
    return from_memory(module, colour)


@contextmanager
def _synchronous(client: Any, call: Callable[[], Any], requests: int) -> Generator[Callable[[], Taken]]:
    with client:

        def block() -> Taken:
            watch = Watch()
            with watch:
                for _ in range(requests):
                    call()
            return watch.divided(requests)

        yield block


@contextmanager
def _asynchronous(client: Any, call: Callable[[], Any], requests: int) -> Generator[Callable[[], Taken]]:
    async def block() -> Taken:
        watch = Watch()
        with watch:
            for _ in range(requests):
                await call()
        return watch.divided(requests)

    with asyncio.Runner() as runner:
        try:
            yield lambda: runner.run(block())
        finally:
            runner.run(client.aclose())


QUESTION = Question("cost_of_a_stack", "What does a stack add to a request?", measure, answer, table, draw, (14.0, 9.0))

if __name__ == "__main__":
    QUESTION.main()
