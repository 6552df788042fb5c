"""What a stack adds to a request.

A bare client, an empty stack, each policy by itself and all of them together make the same GET: in httpx and httpx2,
sync and async, over a transport that answers from memory at once and over a real connection to a tiny server in a
process of its own; those that look into streams also get a small stream of events. They take turns in short blocks, and
each block is compared with the bare client's of the same round, so that what else the machine does falls on all alike;
what is told are medians over the rounds.

    python -m benchmarks.cost_of_a_stack [--rounds N] [--seconds S] [--json] [--plot FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import time
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.contenders import ALL, FOR_STREAMS, STANDARD, Make, contenders, from_memory
from benchmarks.server import loopback
from resilient_foundry._extras import require

BARE = "bare client"
WAYS = tuple((library, colour) for library in ("httpx", "httpx2") for colour in ("sync", "async"))


@dataclass(frozen=True, slots=True)
class Place:
    """Where the answers come from."""

    requests: int
    """In a block: a millisecond or two of them, so that few blocks are interrupted by whatever else runs."""
    path: str = "/"
    only: tuple[str, ...] | None = None
    """The contenders for which it matters, where not all of them run."""

    def contenders(self, colour: str) -> dict[str, Make | None]:
        """Who makes its requests here; the bare client first."""
        stacks = contenders(colour)
        return {BARE: None} | {name: stacks[name] for name in stacks if self.only is None or name in self.only}


PLACES = {
    "memory": Place(10),
    "loopback": Place(5),
    "memory, a stream": Place(5, "/events", FOR_STREAMS),
    "loopback, a stream": Place(5, "/events", FOR_STREAMS),
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One contender in one way at one place: medians over the rounds, of a request."""

    place: str
    library: str
    colour: str
    contender: str
    microseconds: float
    added: float
    """Microseconds more than the bare client in the same round."""
    ratio: float
    """To the bare client in the same round."""


@dataclass(slots=True)
class Race:
    """The contenders of one way at one place, and how long a request took each of them, round by round."""

    place: str
    library: str
    colour: str
    blocks: dict[str, Callable[[], float]]
    """Each measures the seconds of one request."""
    seconds: dict[str, list[float]] = field(default_factory=dict[str, list[float]])

    def run_round(self, number: int) -> None:
        """Every contender once, beginning with another one each round."""
        names = list(self.blocks)
        first = number % len(names)
        for name in names[first:] + names[:first]:
            self.seconds.setdefault(name, []).append(self.blocks[name]())

    def cells(self) -> list[Cell]:
        """What came of it."""
        bare = self.seconds[BARE]
        return [
            Cell(
                self.place,
                self.library,
                self.colour,
                name,
                microseconds=1e6 * median(taken),
                added=1e6 * median(one - other for one, other in zip(taken, bare, strict=True)),
                ratio=median(one / other for one, other in zip(taken, bare, strict=True)),
            )
            for name, taken in self.seconds.items()
        ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print one sentence and a table."""
    parser = argparse.ArgumentParser(prog="cost_of_a_stack", description="What does a stack add?")
    parser.add_argument("--rounds", type=int, default=400, help="how many at most (400)")
    parser.add_argument("--seconds", type=float, default=60.0, help="no round begins later than this (60)")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the costs; needs the extra `bench`")
    asked = parser.parse_args(arguments)
    if asked.plot:
        require("matplotlib.figure", extra="bench")  # before anything is measured
    rounds, cells = measure(asked.rounds, asked.seconds)
    if asked.json:
        print(json.dumps({"answer": answer(cells), "rounds": rounds, "cells": [asdict(cell) for cell in cells]}))
    else:
        print(f"{answer(cells)}\n\n{table(cells)}\n\nMedians of {rounds} rounds.")
    if asked.plot:
        plot(cells, asked.plot)


def measure(rounds: int, seconds: float) -> tuple[int, list[Cell]]:
    """How many rounds were run, and what came of them."""
    latest = time.monotonic() + seconds
    with ExitStack() as opened:
        url = opened.enter_context(loopback())
        runner = opened.enter_context(asyncio.Runner())
        races = [
            opened.enter_context(_race(place, library, colour, url, runner))
            for place in PLACES
            for library, colour in WAYS
        ]
        for race in races:
            race.run_round(0)  # to warm up: connections, caches, specialised bytecode
            race.seconds.clear()
        gc.collect()
        gc.freeze()  # what stays is not looked at again; what requests leave behind is, as in real life
        done = 0
        while done < max(1, rounds) and (done == 0 or time.monotonic() < latest):
            for race in races:
                race.run_round(done)
            done += 1
        gc.unfreeze()
        return done, [cell for race in races for cell in race.cells()]


def answer(cells: Sequence[Cell]) -> str:
    """The answer, in one sentence."""
    standard, everything = (_of(cells, name, "memory") + _of(cells, name, "loopback") for name in (STANDARD, ALL))
    added, most = (sorted(cell.added for cell in found) for found in (standard, everything))
    shares = sorted(100 * (cell.ratio - 1) for cell in _of(cells, STANDARD, "loopback"))
    return (
        f"The standard stack adds {added[0]:.0f} to {added[-1]:.0f} µs to a request, "
        f"{shares[0]:.0f} to {shares[-1]:.0f} % of one over loopback; "
        f"all policies together add {most[0]:.0f} to {most[-1]:.0f} µs."
    )


def table(cells: Sequence[Cell]) -> str:
    """A row for each contender, a column for each way; µs, and times the bare client."""
    lines: list[str] = []
    for place, of_place in PLACES.items():
        lines.append(f"{'over ' + place:<24}" + "".join(f"{f'{library} {colour}':>15}" for library, colour in WAYS))
        for name in of_place.contenders("async"):
            row = {(cell.library, cell.colour): _told(cell) for cell in _of(cells, name, place)}
            lines.append(f"{name:<24}" + "".join(f"{row.get(way, ''):>15}" for way in WAYS))
        lines.append("")
    return "\n".join(lines).rstrip()


def _told(cell: Cell) -> str:
    return f"{cell.microseconds:.0f} µs" if cell.contender == BARE else f"{cell.added:+.0f} µs {cell.ratio:.2f}x"


def _of(cells: Sequence[Cell], contender: str, place: str) -> list[Cell]:
    return [cell for cell in cells if (cell.contender, cell.place) == (contender, place)]


def plot(cells: Sequence[Cell], file: Path) -> None:
    """What each contender adds, as bars; a figure without a screen."""
    figure: Any = require("matplotlib.figure", extra="bench").Figure(figsize=(16, 10), layout="constrained")
    height = 0.8 / len(WAYS)
    panels = list(figure.subplots(2, 2).flat)
    for axes, place in zip(panels, PLACES, strict=True):
        names = [name for name in PLACES[place].contenders("async") if name != BARE]
        for number, (library, colour) in enumerate(WAYS):
            added = {
                cell.contender: cell.added
                for cell in cells
                if (cell.place, cell.library, cell.colour) == (place, library, colour)
            }
            bars = [
                (row + (number - (len(WAYS) - 1) / 2) * height, added[name])
                for row, name in enumerate(names)
                if name in added
            ]
            axes.barh([row for row, _ in bars], [width for _, width in bars], height, label=f"{library} {colour}")
        axes.set_title(f"over {place}")
        axes.set_xlabel("µs added to a request")
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
    panels[0].legend()
    figure.suptitle("What does a stack add to a request?")
    figure.savefig(file)


@contextmanager
def _race(place: str, library: str, colour: str, url: str, runner: asyncio.Runner) -> Generator[Race]:
    """The contenders, each with a client of its own. Libraries are `Any`: the two share no class."""
    module: Any = require(library, extra="httpx2") if library == "httpx2" else require(library, extra="")
    with ExitStack() as opened:
        blocks: dict[str, Callable[[], float]] = {}
        for name, make in PLACES[place].contenders(colour).items():
            wire = _over(make, _transport(module, place, colour))
            address, count = url + PLACES[place].path, PLACES[place].requests
            if colour == "sync":
                block = _sync_block(module.Client(transport=wire), address, count)
            else:
                block = _async_block(module.AsyncClient(transport=wire), address, count, runner)
            blocks[name] = opened.enter_context(block)
        yield Race(place, library, colour, blocks)


def _over(make: Make | None, wire: Any) -> Any:
    if make is None:
        return wire
    stack: Any = make()
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # of Hedge: nobody waits for a connection
        return stack.over(wire)


def _transport(module: Any, place: str, colour: str) -> Any:
    if place.startswith("loopback"):
        kind = module.HTTPTransport if colour == "sync" else module.AsyncHTTPTransport
        return kind(verify=False)  # no TLS here, and certificates take long to load
    return from_memory(module, colour)


@contextmanager
def _sync_block(client: Any, url: str, count: int) -> Generator[Callable[[], float]]:
    with client:

        def block() -> float:
            began = time.perf_counter()
            for _ in range(count):
                client.get(url)
            return (time.perf_counter() - began) / count

        yield block


@contextmanager
def _async_block(client: Any, url: str, count: int, runner: asyncio.Runner) -> Generator[Callable[[], float]]:
    async def block() -> float:
        began = time.perf_counter()
        for _ in range(count):
            await client.get(url)
        return (time.perf_counter() - began) / count

    try:
        yield lambda: runner.run(block())
    finally:
        runner.run(client.aclose())


if __name__ == "__main__":
    main()
