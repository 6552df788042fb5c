"""What the standard stack adds to a request.

A bare client, an empty stack, each policy by itself and `Stack.standard()` make the same GET: in httpx and httpx2, sync
and async, over a transport that answers from memory at once and over a real connection to a tiny server in a process of
its own. They take turns in short blocks, and each block is compared with the bare client's of the same round, so that
what else the machine does falls on all alike; what is told are medians over the rounds.

    python -m benchmarks.cost_of_a_stack [--rounds N] [--seconds S] [--json] [--plot FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.server import loopback
from resilient_foundry import AttemptTimeout, CircuitBreaker, Deadline, Retry, Stack, Tracing
from resilient_foundry._extras import require

BARE = "bare client"
STANDARD = "Stack.standard()"
CONTENDERS: dict[str, Callable[[], Stack] | None] = {
    BARE: None,
    "Stack()": Stack,
    "Tracing()": lambda: Stack(Tracing()),
    "Deadline(30)": lambda: Stack(Deadline(30.0)),
    "Retry()": lambda: Stack(Retry()),
    "CircuitBreaker()": lambda: Stack(CircuitBreaker()),
    "AttemptTimeout()": lambda: Stack(AttemptTimeout()),
    STANDARD: Stack.standard,
}
WAYS = tuple((library, colour) for library in ("httpx", "httpx2") for colour in ("sync", "async"))
REQUESTS = {"memory": 10, "loopback": 5}
"""Requests in a block: a millisecond or two of them, so that few blocks are interrupted by whatever else runs."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One contender in one way over one transport: medians over the rounds, of a request."""

    transport: str
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
    """The contenders of one way over one transport, and how long a request took each of them, round by round."""

    transport: str
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
                self.transport,
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
    parser = argparse.ArgumentParser(prog="cost_of_a_stack", description="What does the standard stack add?")
    parser.add_argument("--rounds", type=int, default=400, help="how many at most (400)")
    parser.add_argument("--seconds", type=float, default=20.0, help="no round begins later than this (20)")
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
            opened.enter_context(_race(transport, library, colour, url, runner))
            for transport in REQUESTS
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
    standard = [cell for cell in cells if cell.contender == STANDARD]
    added = sorted(cell.added for cell in standard)
    shares = sorted(100 * (cell.ratio - 1) for cell in standard if cell.transport == "loopback")
    return (
        f"The standard stack adds {added[0]:.0f} to {added[-1]:.0f} µs to a request, "
        f"{shares[0]:.0f} to {shares[-1]:.0f} % of one over loopback."
    )


def table(cells: Sequence[Cell]) -> str:
    """A row for each contender, a column for each way; µs, and times the bare client."""
    lines: list[str] = []
    for transport in REQUESTS:
        lines += [
            f"{'over ' + transport:<18}" + "".join(f"{f'{library} {colour}':>15}" for library, colour in WAYS),
        ]
        for name in CONTENDERS:
            row = [cell for cell in cells if (cell.transport, cell.contender) == (transport, name)]
            told = [
                f"{cell.microseconds:.0f} µs" if name == BARE else f"{cell.added:+.0f} µs {cell.ratio:.2f}x"
                for cell in row
            ]
            lines.append(f"{name:<18}" + "".join(f"{each:>15}" for each in told))
        lines.append("")
    return "\n".join(lines).rstrip()


def plot(cells: Sequence[Cell], file: Path) -> None:
    """What each contender adds, as bars; a figure without a screen."""
    figure: Any = require("matplotlib.figure", extra="bench").Figure(figsize=(10, 5), layout="constrained")
    names = [name for name in CONTENDERS if name != BARE]
    height = 0.8 / len(WAYS)
    panels = figure.subplots(1, len(REQUESTS), sharey=True)
    for axes, transport in zip(panels, REQUESTS, strict=True):
        for number, (library, colour) in enumerate(WAYS):
            added = {
                cell.contender: cell.added
                for cell in cells
                if (cell.transport, cell.library, cell.colour) == (transport, library, colour)
            }
            places = [place + (number - (len(WAYS) - 1) / 2) * height for place in range(len(names))]
            axes.barh(places, [added[name] for name in names], height, label=f"{library} {colour}")
        axes.set_title(f"over {transport}")
        axes.set_xlabel("µs added to a request")
        axes.set_yticks(range(len(names)), names)
    panels[0].invert_yaxis()
    panels[-1].legend()
    figure.suptitle("What does the standard stack add to a request?")
    figure.savefig(file)


@contextmanager
def _race(transport: str, library: str, colour: str, url: str, runner: asyncio.Runner) -> Generator[Race]:
    """The contenders, each with a client of its own. Libraries are `Any`: the two share no class."""
    module: Any = require(library, extra="httpx2") if library == "httpx2" else require(library, extra="")
    block = _sync_block if colour == "sync" else _async_block
    with ExitStack() as opened:
        blocks = {
            name: opened.enter_context(
                block(_transport(module, transport, colour, make), module, url, transport, runner)
            )
            for name, make in CONTENDERS.items()
        }
        yield Race(transport, library, colour, blocks)


def _transport(module: Any, transport: str, colour: str, make: Callable[[], Stack] | None) -> Any:
    if transport == "memory":

        def ok(_request: Any) -> Any:
            return module.Response(200, content=b"ok")

        wire = module.MockTransport(ok)
    else:
        kind = module.HTTPTransport if colour == "sync" else module.AsyncHTTPTransport
        wire = kind(verify=False)  # no TLS here, and certificates take long to load
    over: Any = make().over if make is not None else None
    return over(wire) if over else wire


@contextmanager
def _sync_block(
    wire: Any, module: Any, url: str, transport: str, _runner: asyncio.Runner
) -> Generator[Callable[[], float]]:
    count = REQUESTS[transport]
    with module.Client(transport=wire) as client:

        def block() -> float:
            began = time.perf_counter()
            for _ in range(count):
                client.get(url)
            return (time.perf_counter() - began) / count

        yield block


@contextmanager
def _async_block(
    wire: Any, module: Any, url: str, transport: str, runner: asyncio.Runner
) -> Generator[Callable[[], float]]:
    count = REQUESTS[transport]
    client = module.AsyncClient(transport=wire)

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
