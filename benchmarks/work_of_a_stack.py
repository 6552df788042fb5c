"""How much runs for a request, in counts that are the same in every run, so that they can be judged on every commit.

Counted are the Python functions that are entered, and the generators that go on, for one GET that is answered from
memory by a client that is warm, whose code it ever is, beyond those of the bare client; the objects that such a call
leaves to the cyclic collector; and the connections that a server on loopback accepts in a few small scenes. No clock is
looked at. What is written down is looked at by a test; after a change that is worth it, write it down anew:

    python -m benchmarks.work_of_a_stack --json tests/benchmarks/work_of_a_stack-3.11.json
"""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from types import FrameType
from typing import Any

from benchmarks.contenders import FIVE, FOR_STREAMS, contenders, five, from_memory
from benchmarks.origin import Behaviour, Origin, origin
from benchmarks.peers import OTEL, PEERS, TOGETHER, TRACED, available, missing
from benchmarks.question import Figures, Question
from benchmarks.sdk import BATCH, NO_SDK, SAMPLED_OUT, Telemetry, telemetry
from resilient_foundry import Backoff, CircuitBreaker, CircuitOpenError, ConcurrencyLimit, Retry, Stack, Tracing
from resilient_foundry._extras import require

GOAL_CALLS = 60
"""At most so many added by five policies, without an SDK."""
GOAL_GARBAGE = 0
"""Objects a call. Looked at in httpx2: httpx 0.28 leaves each response to the collector, with what hangs on it."""
WAYS = tuple((library, colour) for library in ("httpx", "httpx2") for colour in ("sync", "async"))
TEXT, STREAM = "/", "/events"
PATHS = {TEXT: "two bytes", STREAM: "a stream of 12 events"}
TRACED_FIVE = "Tracing() + five policies"
STATES = (NO_SDK, SAMPLED_OUT, BATCH)
BARE = "bare client"
Over = Callable[[Any], Any]
"""From a transport, of either library, to one over it."""
_OURS = "resilient_foundry."
_CALLS = 100
_TO_WARM_UP = 3


@dataclass(frozen=True, slots=True)
class Work:
    """What runs for one request."""

    entered: Counter[str]
    """How often code of each module was, by its name."""
    garbage: float
    """Objects that only the cyclic collector can free."""

    @property
    def calls(self) -> int:
        """Python functions entered, and generators gone on with."""
        return self.entered.total()

    @property
    def ours(self) -> Counter[str]:
        """Those of this package, modules by their names within it."""
        return Counter(
            {name.removeprefix(_OURS): count for name, count in self.entered.items() if name.startswith(_OURS)}
        )


def measure(quick: bool) -> Figures:
    """All counts; quickly, those of synchronous clients."""
    calls: dict[str, dict[str, dict[str, int]]] = {path: {} for path in PATHS}
    garbage: dict[str, dict[str, float]] = {}
    connects: dict[str, dict[str, tuple[int, int]]] = {}
    ways = WAYS[::2] if quick else WAYS
    with origin() as server:
        for library, colour in ways:
            way = f"{library} {colour}"
            for path, of_path in calls.items():
                bare = of(library, colour, BARE, path)
                found = {name: of(library, colour, name, path) for name in names(library, colour, path)}
                of_path[way] = {BARE: bare.calls} | {name: one.calls - bare.calls for name, one in found.items()}
                if path == TEXT:
                    garbage[way] = {BARE: bare.garbage} | {
                        name: round(one.garbage - bare.garbage, 1) for name, one in found.items()
                    }
            connects[way] = {name: seen(server, scene, library, colour) for name, scene in SCENES.items()}
    return {"calls": calls, "garbage": garbage, "connects": connects, "left_out": missing()}


def ours(colour: str, path: str = TEXT) -> list[str]:
    """The stacks of ours that are counted."""
    if path == STREAM:
        return list(FOR_STREAMS)
    return [*contenders(colour), FIVE, *(f"{TRACED_FIVE}, {state}" for state in STATES)]


def names(library: str, colour: str, path: str = TEXT) -> list[str]:
    """Those, and what one would build otherwise."""
    there = available(library, colour)
    peers = [TOGETHER, *(f"{who}, {state}" for who in (OTEL, TRACED) for state in STATES)] if path == TEXT else []
    return [*ours(colour, path), *(name for name in peers if name.partition(", ")[0] in there)]


def of(library: str, colour: str, name: str, path: str = TEXT) -> Work:
    """What runs for a request of this one."""
    if name == BARE:
        return work(library, colour, lambda wire: wire, path)
    who, _, state = name.partition(", ")
    with telemetry(state or NO_SDK) as told:
        if who in PEERS:
            return work(library, colour, partial(_otherwise, library, colour, who, told), path)
        return work(library, colour, partial(over, _stack(who, colour, told)), path)


def over(stack: Stack, wire: Any) -> Any:
    """The stack over a transport of either library."""
    untold: Any = stack  # its overloads tell the libraries apart
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # of Hedge: nobody waits for a connection
        return untold.over(wire)


def _stack(who: str, colour: str, told: Telemetry) -> Stack:
    if who == TRACED_FIVE:
        return five(Tracing(tracer_provider=told.tracers, meter_provider=told.meters))
    return five() if who == FIVE else contenders(colour)[who]()


def _otherwise(library: str, colour: str, who: str, told: Telemetry, wire: Any) -> Any:
    make = PEERS[who].over
    if make is None:
        raise ValueError(f"{who} is no transport")
    return make(_module(library), colour, wire, told)


def _module(library: str) -> Any:
    return require(library, extra="httpx2") if library == "httpx2" else require(library, extra="")


def work(library: str, colour: str, over: Over, path: str = TEXT) -> Work:
    """What runs for one request through this transport."""
    module = _module(library)
    transport = over(from_memory(module, colour))
    if colour == "sync":
        return _sync_work(module.Client(transport=transport, trust_env=False), f"http://here{path}")
    return asyncio.run(_async_work(module.AsyncClient(transport=transport, trust_env=False), f"http://here{path}"))


def _sync_work(client: Any, url: str) -> Work:  # of either library
    with client:
        for _ in range(_TO_WARM_UP):
            client.get(url)
        with _entered() as entered:
            client.get(url)
        with _left() as garbage:
            for _ in range(_CALLS):
                client.get(url)
    return Work(entered, sum(garbage) / _CALLS)


async def _async_work(client: Any, url: str) -> Work:  # of either library
    async with client:
        for _ in range(_TO_WARM_UP):
            await client.get(url)
        with _entered() as entered:
            await client.get(url)
        with _left() as garbage:
            for _ in range(_CALLS):
                await client.get(url)
    return Work(entered, sum(garbage) / _CALLS)


@contextmanager
def _entered() -> Generator[Counter[str]]:
    """What is entered within the block, by this thread."""
    counts: Counter[str] = Counter()

    def note(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call":
            counts[frame.f_globals.get("__name__", "")] += 1

    gc.disable()  # what it would finalize here belongs to others
    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield counts
    finally:
        sys.setprofile(before)
        gc.enable()
        counts[contextmanager.__module__] -= 1  # the way out of this block


@contextmanager
def _left() -> Generator[list[int]]:
    """How many objects the block leaves to the cyclic collector."""
    found: list[int] = []
    gc.disable()
    gc.freeze()  # what was there before is not looked at
    try:
        yield found
        found.append(gc.collect())
    finally:
        gc.unfreeze()
        gc.enable()


@dataclass(frozen=True, slots=True)
class Scene:
    """What is asked of a server, and how often it may be connected to."""

    stack: Callable[[], Stack]
    connections: int
    callers: int = 1
    calls: int = 1
    """Of each caller, one after the other."""
    path: str = TEXT
    behaviour: Behaviour = field(default_factory=Behaviour)
    requests: int | None = None
    """That arrive; None is one a call."""
    spare: int = 0
    """Connections more where callers are threads: a place is handed on a moment before its connection is free again."""

    def is_kept(self, requests: int, connections: int, colour: str) -> bool:
        """Whether the server may count so many."""
        spare = self.spare if colour == "sync" else 0
        expected = self.callers * self.calls if self.requests is None else self.requests
        return requests == expected and self.connections <= connections <= self.connections + spare


_SLOW = Behaviour(delay=0.02)
_FAILING = Behaviour(dead=(0.0, 3600.0))
SCENES = {
    "100 calls, one after the other": Scene(Stack.standard, 1, calls=100),
    "10 streams, one after the other": Scene(Stack.inference, 1, calls=10, path=STREAM),
    "50 callers at once, a limit of 8": Scene(
        lambda: Stack(ConcurrencyLimit(8)), 8, callers=50, behaviour=_SLOW, spare=8
    ),
    "a call that fails three times": Scene(
        lambda: Stack(Retry(attempts=3, backoff=Backoff(base=0.001))), 1, behaviour=_FAILING, requests=3
    ),
    "10 calls, of which a circuit lets 2 pass": Scene(
        lambda: Stack(CircuitBreaker(failures=2)), 1, calls=10, behaviour=_FAILING, requests=2
    ),
}


def seen(server: Origin, scene: Scene, library: str, colour: str) -> tuple[int, int]:
    """The requests and the connections that the server counts in this scene."""
    module = _module(library)
    client: Any
    if colour == "sync":
        client = module.Client(transport=over(scene.stack(), module.HTTPTransport()), trust_env=False)
    else:
        client = module.AsyncClient(transport=over(scene.stack(), module.AsyncHTTPTransport()), trust_env=False)
    server.behave(scene.behaviour)
    before = server.counts()
    (_play if colour == "sync" else _play_async)(client, server.url + scene.path, scene)
    after = server.counts()
    return after.requests - before.requests, after.connections - before.connections


def _play(client: Any, url: str, scene: Scene) -> None:
    def caller() -> None:
        for _ in range(scene.calls):
            with suppress(CircuitOpenError):
                client.get(url)

    with client, ThreadPoolExecutor(scene.callers) as pool:
        for each in [pool.submit(caller) for _ in range(scene.callers)]:
            each.result()


def _play_async(client: Any, url: str, scene: Scene) -> None:
    async def caller() -> None:
        for _ in range(scene.calls):
            with suppress(CircuitOpenError):
                await client.get(url)

    async def everybody() -> None:
        async with client:
            await asyncio.gather(*(caller() for _ in range(scene.callers)))

    asyncio.run(everybody())


def answer(figures: Figures) -> str:
    """The answer, in one sentence."""
    way, other = "httpx sync", "httpx async"
    calls, garbage = figures["calls"][TEXT], figures["garbage"]
    there = [each for each in (way, other) if each in calls]
    counts = ", ".join(f"{calls[each][FIVE]} ({each})" for each in there)
    left = max((found[FIVE] for each, found in garbage.items() if each.startswith("httpx2")), default=0.0)
    peers = calls[way].get(f"{TRACED}, {NO_SDK}")
    beside = "" if peers is None else f"; retries, a breaker and tracing built otherwise add {peers}"
    return (
        f"Five policies add {counts} Python calls to a request, where {GOAL_CALLS} are to be reached: "
        f"{_word(reached_calls(figures))}; and over httpx2 they leave {left:g} objects to the garbage collector, where "
        f"{GOAL_GARBAGE} are: {_word(left <= GOAL_GARBAGE)}{beside}."
    )


def reached_calls(figures: Figures) -> bool:
    """Whether five policies add no more calls than they may, in every way that was counted."""
    most: int = max(of_way[FIVE] for of_way in figures["calls"][TEXT].values())
    return most <= GOAL_CALLS


def _word(reached: bool) -> str:
    return "reached" if reached else "not reached"


def table(figures: Figures) -> str:
    """Calls for both kinds of answers, garbage, and connections."""
    tables = [
        _columns(f"Python calls added to a request, {words}", figures["calls"][path]) for path, words in PATHS.items()
    ]
    tables.append(_columns("objects left to the garbage collector", figures["garbage"]))
    ways = list(figures["connects"])
    lines = [_head("connections accepted (and to be expected)", ways)]
    for name, scene in SCENES.items():
        cells = [f"{figures['connects'][way][name][1]} ({scene.connections})" for way in ways]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    tables.append("\n".join(lines))
    if figures["left_out"]:
        tables.append(f"Left out, since they are not installed: {', '.join(figures['left_out'])}.")
    return "\n\n".join(tables)


def _head(title: str, ways: Sequence[str]) -> str:
    return f"| {title} | " + " | ".join(ways) + " |\n|---|" + "---:|" * len(ways)


def _columns(title: str, found: Mapping[str, Mapping[str, float]]) -> str:
    """A row for each contender, a column for each way; the bare client's own first."""
    ways = list(found)
    lines = [_head(title, ways)]
    for name in dict.fromkeys(name for way in reversed(ways) for name in found[way]):
        sign = "" if name == BARE else "+"
        cells = [f"{found[way][name]:{sign}g}" if name in found[way] else "" for way in ways]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(figures: Figures, figure: Any, colours: Mapping[str, str]) -> None:
    """Calls that each adds, httpx; dashed what five policies may."""
    axes: Any = figure.subplots()
    found = {way: of_way for way, of_way in figures["calls"][TEXT].items() if way.startswith("httpx ")}
    rows = [name for name in dict.fromkeys(name for way in found for name in found[way]) if name != BARE]
    for number, (way, of_way) in enumerate(found.items()):
        bars = [(rows.index(name) + 0.4 * (number - 0.5), of_way[name]) for name in rows if name in of_way]
        axes.barh([row for row, _ in bars], [length for _, length in bars], 0.36, label=way)
    axes.axvline(GOAL_CALLS, color=colours["text"], linestyle="--", linewidth=1)
    axes.set_yticks(range(len(rows)), rows)
    axes.invert_yaxis()
    axes.set_xlabel("Python calls added to a request; dashed: what five policies may add")
    axes.legend()


QUESTION = Question("work_of_a_stack", "How much runs for a request?", measure, answer, table, draw, (9.0, 7.0))

if __name__ == "__main__":
    logging.getLogger("stamina").setLevel(logging.ERROR)  # of the scenes in which calls fail
    QUESTION.main()
