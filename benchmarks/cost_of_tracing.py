"""What tracing adds to a call, to an attempt and to a chunk: switched off, sampled out and on.

The same calls are made through the same stack, without `Tracing` and with it: where no SDK is set up, where the sampler
takes nothing, where spans are recorded and go to an exporter that throws them away, and where metrics are measured as
well. OpenTelemetry's own instrumentation of httpx does the same beside, around the transport that ours stands over.
Answers come from memory at once. All take turns in short blocks, and each block is compared with the one without
tracing in the same round; what is told are medians over the rounds, of the clock on the wall and of the CPU time of the
thread that calls. Exporting is done between the blocks, and not counted, as it is another thread's.

    python -m benchmarks.cost_of_tracing [--rounds N] [--seconds S] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib
import json
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from itertools import cycle
from statistics import median
from typing import Any

import httpx
import stamina
from opentelemetry.metrics import MeterProvider as AnyMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import DEFAULT_OFF

from resilient_foundry import Backoff, Retry, Stack, Tracing
from resilient_foundry.flow import Policy

COLOURS = ("sync", "async")
BARE, BASELINE = "bare httpx", "no tracing"
STATES = ("no SDK", "sampled out", "on", "on, metrics")
OURS, THEIRS, BOTH = "Tracing, ", "OpenTelemetry's, ", "both, "
CONTENDERS = (
    BARE,
    BASELINE,
    *(OURS + state for state in STATES),
    *(THEIRS + state for state in STATES),
    BOTH + "on",
)
"""`both` is our Tracing over a transport that theirs instruments: what they would make is left out."""
_URL = "http://foundry.local:5273/v1/models?key=secret"

Measured = tuple[float, float]
"""Seconds on the wall, and of the thread's CPU."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What is measured."""

    what: str
    """Of what the microseconds are."""
    policies: tuple[Policy, ...]
    statuses: tuple[int, ...] = (200,)
    """What the server answers, one attempt after the other."""
    chunks: int = 0
    """In the stream that it answers with; 0 for an answer that came whole."""
    calls: int = 10
    """In a block: some milliseconds of them, so that few blocks are interrupted by whatever else runs."""


_RETRY = Retry(attempts=3, backoff=Backoff(base=0.0, cap=0.0))
SCENES = {
    "one attempt": Scene("a call that is one attempt, and one span", ()),
    "a call": Scene("a call of one attempt, and two spans", (_RETRY,)),
    "three attempts": Scene("a call of three attempts, two waits, four spans", (_RETRY,), (503, 503, 200), 0, 3),
    "a chunk": Scene("a chunk of a stream of 200", (_RETRY,), chunks=200, calls=2),
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One contender in one scene and colour: medians over the rounds."""

    scene: str
    colour: str
    contender: str
    microseconds: float
    added: float
    """Microseconds more than without tracing in the same round."""
    cpu_added: float
    """The same, of the thread's CPU time."""


@dataclass(slots=True)
class Race:
    """The contenders of one scene in one colour, and what they took, round by round."""

    scene: str
    colour: str
    blocks: dict[str, Callable[[], Measured]]
    taken: dict[str, list[Measured]] = field(default_factory=dict[str, list[Measured]])

    def run_round(self, number: int) -> None:
        """Every contender once, beginning with another one each round."""
        names = list(self.blocks)
        first = number % len(names)
        for name in names[first:] + names[:first]:
            self.taken.setdefault(name, []).append(self.blocks[name]())

    def cells(self) -> list[Cell]:
        """What came of it."""
        without = self.taken[BASELINE]
        return [
            Cell(
                self.scene,
                self.colour,
                name,
                microseconds=1e6 * median(wall for wall, _ in taken),
                added=1e6 * median(one[0] - other[0] for one, other in zip(taken, without, strict=True)),
                cpu_added=1e6 * median(one[1] - other[1] for one, other in zip(taken, without, strict=True)),
            )
            for name, taken in self.taken.items()
        ]


class _Nowhere(SpanExporter):
    """Throws away what it gets."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        del spans
        return SpanExportResult.SUCCESS


class Telemetry:
    """An SDK in one of the states; of its own, so that nothing is set up for the process."""

    def __init__(self, state: str) -> None:
        self.tracers: TracerProvider | None = None
        self.meters: AnyMeterProvider | None = None
        if state == "sampled out":
            self.tracers = TracerProvider(sampler=DEFAULT_OFF)
        elif state != "no SDK":
            self.tracers = TracerProvider()
            self.tracers.add_span_processor(
                BatchSpanProcessor(_Nowhere(), max_queue_size=100_000, schedule_delay_millis=3_600_000)
            )
        if state.endswith("metrics"):
            self.meters = MeterProvider(metric_readers=[InMemoryMetricReader()], shutdown_on_exit=False)

    def flush(self) -> None:
        """Have everything exported that was recorded."""
        if self.tracers is not None:
            self.tracers.force_flush()

    def close(self) -> None:
        """End its threads."""
        if self.tracers is not None:
            self.tracers.shutdown()


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print one sentence and a table."""
    parser = argparse.ArgumentParser(prog="cost_of_tracing", description="What does tracing add?")
    parser.add_argument("--rounds", type=int, default=400, help="how many at most (400)")
    parser.add_argument("--seconds", type=float, default=50.0, help="no round begins later than this (50)")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    asked = parser.parse_args(arguments)
    rounds, cells = measure(asked.rounds, asked.seconds)
    if asked.json:
        print(json.dumps({"answer": answer(cells), "rounds": rounds, "cells": [asdict(cell) for cell in cells]}))
    else:
        print(f"{answer(cells)}\n\n{table(cells)}\n\nMedians of {rounds} rounds.")


def measure(rounds: int, seconds: float) -> tuple[int, list[Cell]]:
    """How many rounds were run, and what came of them."""
    latest = time.monotonic() + seconds
    with ExitStack() as opened:
        opened.callback(stamina.instrumentation.set_on_retry_hooks, stamina.instrumentation.get_on_retry_hooks())
        stamina.instrumentation.set_on_retry_hooks([])  # it would log each retry
        runner = opened.enter_context(asyncio.Runner())
        races = [opened.enter_context(_race(scene, colour, runner)) for scene in SCENES for colour in COLOURS]
        for race in races:
            race.run_round(0)  # to warm up: caches, specialised bytecode
            race.taken.clear()
        gc.collect()
        gc.freeze()  # what stays is not looked at again; what calls leave behind is, as in real life
        done = 0
        while done < max(1, rounds) and (done == 0 or time.monotonic() < latest):
            for race in races:
                race.run_round(done)
            done += 1
        gc.unfreeze()
        return done, [cell for race in races for cell in race.cells()]


def answer(cells: Sequence[Cell]) -> str:
    """The answer, in one sentence."""
    found = {(cell.scene, cell.contender): cell.added for cell in cells if cell.colour == "sync"}
    ours = [found["one attempt", OURS + state] for state in STATES]
    theirs = [found["one attempt", THEIRS + state] for state in STATES]
    return (
        f"Tracing adds {ours[0]:.1f} µs to a call of one attempt where no SDK is set up, {ours[1]:.0f} µs where it is "
        f"sampled out, {ours[2]:.0f} µs where it is recorded and {ours[3]:.0f} µs with metrics; OpenTelemetry's own "
        f"instrumentation adds {theirs[0]:.0f}, {theirs[1]:.0f}, {theirs[2]:.0f} and {theirs[3]:.0f} µs; a chunk of a "
        f"stream that is recorded takes {found['a chunk', OURS + 'on']:.2f} µs more."
    )


def table(cells: Sequence[Cell]) -> str:
    """A row for each contender, a column for each scene and colour: µs added on the wall, and of CPU."""
    columns = [(scene, colour) for scene in SCENES for colour in COLOURS]
    found = {(cell.contender, cell.scene, cell.colour): cell for cell in cells}
    lines = [f"{'':<29}" + "".join(f"{scene:>36}" for scene in SCENES)]
    lines.append(f"{'µs added (of CPU)':<29}" + "".join(f"{colour:>18}" for _, colour in columns))
    lines += [
        f"{name:<29}" + "".join(f"{_told(found[name, *column]):>18}" for column in columns) for name in CONTENDERS
    ]
    return "\n".join(lines + [""] + [f"{name}: {scene.what}" for name, scene in SCENES.items()])


def _told(cell: Cell) -> str:
    digits = 2 if cell.scene == "a chunk" else 1
    if cell.contender == BASELINE:
        return f"{cell.microseconds:.{digits}f}"
    return f"{cell.added:+.{digits}f} ({cell.cpu_added:+.{digits}f})"


@contextmanager
def _race(name: str, colour: str, runner: asyncio.Runner) -> Generator[Race]:
    """The contenders, each with a client and an SDK of its own."""
    scene = SCENES[name]
    with ExitStack() as opened:
        blocks: dict[str, Callable[[], Measured]] = {}
        for contender in CONTENDERS:
            telemetry = Telemetry(contender.partition(", ")[2])
            opened.callback(telemetry.close)
            wire = _transport(contender, scene, colour, telemetry)
            block: AbstractContextManager[Callable[[], Measured]]
            if colour == "sync":
                block = _sync_block(httpx.Client(transport=wire), scene, telemetry)
            else:
                block = _async_block(httpx.AsyncClient(transport=wire), scene, telemetry, runner)
            blocks[contender] = opened.enter_context(block)
        yield Race(name, colour, blocks)


def _transport(contender: str, scene: Scene, colour: str, telemetry: Telemetry) -> Any:  # of either colour
    wire: Any = _server(scene, colour)
    if contender.startswith((THEIRS, BOTH)):
        theirs: Any = importlib.import_module("opentelemetry.instrumentation.httpx")  # half typed
        kind = theirs.SyncOpenTelemetryTransport if colour == "sync" else theirs.AsyncOpenTelemetryTransport
        wire = kind(wire, tracer_provider=telemetry.tracers, meter_provider=telemetry.meters)
    if contender == BARE:
        return wire
    if contender.startswith((OURS, BOTH)):
        tracing = Tracing(tracer_provider=telemetry.tracers, meter_provider=telemetry.meters)
        return _over(Stack(tracing, *scene.policies), wire)
    return _over(Stack(*scene.policies), wire)


def _over(stack: Any, wire: Any) -> Any:  # its overloads tell the libraries apart, and here either may come
    return stack.over(wire)


def _server(scene: Scene, colour: str) -> httpx.MockTransport:
    statuses: Iterator[int] = cycle(scene.statuses)

    def answer(_request: httpx.Request) -> httpx.Response:
        if scene.chunks:
            return httpx.Response(200, content=_chunks(scene) if colour == "sync" else _chunks_async(scene))
        return httpx.Response(next(statuses), content=b"ok")

    return httpx.MockTransport(answer)


def _chunks(scene: Scene) -> Iterator[bytes]:
    for _ in range(scene.chunks):
        yield b"data: word\n\n"


async def _chunks_async(scene: Scene) -> AsyncGenerator[bytes]:
    for _ in range(scene.chunks):
        yield b"data: word\n\n"


class _Watch:
    """Adds up what some stretches of code take."""

    def __init__(self) -> None:
        self.taken: Measured = (0.0, 0.0)
        self._began: Measured = (0.0, 0.0)

    def __enter__(self) -> None:
        self._began = time.perf_counter(), time.thread_time()

    def __exit__(self, *_: object) -> None:
        wall, cpu = time.perf_counter() - self._began[0], time.thread_time() - self._began[1]
        self.taken = self.taken[0] + wall, self.taken[1] + cpu

    def divided(self, count: int) -> Measured:
        """Of one of so many."""
        return self.taken[0] / count, self.taken[1] / count


@contextmanager
def _sync_block(client: httpx.Client, scene: Scene, telemetry: Telemetry) -> Generator[Callable[[], Measured]]:
    with client:

        def block() -> Measured:
            watch = _Watch()
            if not scene.chunks:
                with watch:
                    for _ in range(scene.calls):
                        client.get(_URL)
                telemetry.flush()
                return watch.divided(scene.calls)
            for _ in range(scene.calls):
                with client.stream("GET", _URL) as response:
                    chunks = response.iter_raw()
                    next(chunks)
                    with watch:
                        for _ in range(scene.chunks - 1):
                            next(chunks)
            telemetry.flush()
            return watch.divided(scene.calls * (scene.chunks - 1))

        yield block


@contextmanager
def _async_block(
    client: httpx.AsyncClient, scene: Scene, telemetry: Telemetry, runner: asyncio.Runner
) -> Generator[Callable[[], Measured]]:
    async def block() -> Measured:
        watch = _Watch()
        if not scene.chunks:
            with watch:
                for _ in range(scene.calls):
                    await client.get(_URL)
            return watch.divided(scene.calls)
        for _ in range(scene.calls):
            async with client.stream("GET", _URL) as response:
                chunks = response.aiter_raw()
                await anext(chunks)
                with watch:
                    for _ in range(scene.chunks - 1):
                        await anext(chunks)
        return watch.divided(scene.calls * (scene.chunks - 1))

    def run() -> Measured:
        taken = runner.run(block())
        telemetry.flush()
        return taken

    try:
        yield run
    finally:
        runner.run(client.aclose())


if __name__ == "__main__":
    main()
