"""Which pool: how many connections, how many of them kept and how long, for how many callers of which server.

Not every combination is measured but a plane, connections by callers, for two servers, and one setting after the other
around a good pool. Each cell is a process of its own, which asks for a second or so after it has warmed up, in a closed
loop; cells come in an order drawn anew, and once each, so a single figure is worth less than how the figures of a row
go on. What is said about connections is what the server counted. Last, a server that stands still is shown to callers
who wait for their answers and to calls that go out when they are due.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from benchmarks.crowd import (
    AIOHTTP,
    DEFAULTS,
    HTTPX,
    HTTPX2,
    KINDS,
    SHARDS,
    Pool,
    Waits,
    client,
    crowd,
    is_there,
    missing,
    told,
)
from benchmarks.http2_origin import DELAY, Http2Origin, http2_origin
from benchmarks.http2_origin import is_there as has_http2
from benchmarks.isolated import isolated
from benchmarks.origin import Behaviour, Origin, apart, origin
from benchmarks.question import LINES, Figures, Question
from resilient_foundry import ConcurrencyLimit, Stack
from resilient_foundry.tuning.figures import quantile
from resilient_foundry.tuning.load import opened

AT_ONCE, SLOW, SLOTS, OVER_HTTP2 = "at once", "after 50 ms", "4 at a time, 20 ms each", "after 50 ms, hypercorn"
SERVICES = {
    AT_ONCE: Behaviour(),
    "after 5 ms": Behaviour(delay=0.005),
    SLOW: Behaviour(delay=0.05),
    "after 200 ms": Behaviour(delay=0.2),
    SLOTS: Behaviour(delay=0.02, slots=4),
    OVER_HTTP2: Behaviour(delay=DELAY),
}
LIMITED = "limit"
_LIBRARIES = (HTTPX, HTTPX2)
_PLANE, _SLOTS, _AROUND, _UNDERNEATH, _HTTP2 = "plane", "slots", "around", "underneath", "http2"
_AS_GOOD = 0.95
"""The share of the best throughput that is as good as the best."""
_CROWD = 128
_FEW = 8
"""As many callers as one of the small pools has connections."""
_LONGEST = 3.0
_TURNS = 3
_FROZEN = (2.0, 0.3)


@dataclass(frozen=True, slots=True)
class Cell:
    """One setting."""

    part: str
    """What it is measured for."""
    kind: str
    callers: int
    pool: Pool
    service: str
    limited: bool = False
    """Whether a `ConcurrencyLimit` of as many places stands in front of the pool."""
    http2: bool = False
    pause: float = 0.0
    """Seconds that a caller pauses before each call."""

    @property
    def at_once(self) -> int:
        """How many calls may be under way."""
        return min(self.callers, self.pool.connections or self.callers)

    def seconds(self, least: float) -> float:
        """How long it is measured: some turns of everybody, where a turn takes long."""
        behaviour = SERVICES[self.service]
        served = min(self.at_once, behaviour.slots or self.at_once)
        return min(_LONGEST, max(least, _TURNS * self.callers * behaviour.delay / served))


def measure(quick: bool) -> Figures:
    """All of it; quickly, a few cells of the plane."""
    if quick:
        few = [cell for cell in cells() if cell.part == _PLANE and cell.callers == _FEW]
        return measured(few, least=0.2, frozen_for=1.0)
    return measured(cells(), least=0.8, frozen_for=8.0)


def cells() -> list[Cell]:
    """What is measured here, with the packages that are installed."""
    found = [
        Cell(_PLANE, library, callers, Pool.of(connections), service)
        for library in _LIBRARIES
        for service, planned in (
            (AT_ONCE, {1: (1,), _FEW: (1, 2, 4, 8), 32: (4, 8, 16, 32), _CROWD: (4, 8, 16, 32, 64, 128)}),
            (SLOW, {_FEW: (4, 8), 32: (8, 16, 32), _CROWD: (8, 16, 32, 64, 128)}),
        )
        for callers, many in planned.items()
        for connections in many
    ]
    found += [
        Cell(_PLANE, library, _CROWD, Pool.of(connections), service, limited=True)
        for library in _LIBRARIES
        for service in (AT_ONCE, SLOW)
        for connections in (8, 16, 32, 64)
    ]
    found += [
        Cell(_SLOTS, library, 32, Pool.of(connections), SLOTS, limited=limited)
        for library, limited in ((HTTPX, True), (HTTPX2, True), (HTTPX2, False))
        for connections in (1, 2, 3, 4, 5, 6, 8, 16, 32)
    ]
    found += [one for library in _LIBRARIES for one in _around(library)]
    found += [
        Cell(_UNDERNEATH, kind, callers, Pool.of(callers), service, limited=kind != AIOHTTP)
        for kind in KINDS
        for callers in (_FEW, 32, _CROWD)
        for service in (AT_ONCE, SLOW)
        if is_there(kind) and not (kind == SHARDS and callers == _FEW)
    ]
    if has_http2():
        found += [
            Cell(_HTTP2, library, callers, Pool.of(callers), OVER_HTTP2, http2=http2)
            for library in _LIBRARIES
            for callers in (_FEW, 32, 96)
            for http2 in (False, True)
        ]
    return found


def _around(library: str) -> list[Cell]:
    """One setting after the other, around as many connections as callers, all kept."""
    centre = Cell(_AROUND, library, 32, Pool.of(32), SLOW)
    pausing = replace(centre, callers=_FEW, pool=Pool.of(_FEW), service=AT_ONCE, pause=0.1)
    return [
        *(replace(centre, pool=Pool(32, kept)) for kept in (0, 8, 20)),
        *(replace(centre, callers=callers, pool=DEFAULTS) for callers in (_FEW, 32, _CROWD)),
        replace(centre, pool=Pool(None, None)),
        *(replace(centre, service=service) for service in ("after 5 ms", SLOW, "after 200 ms")),
        *(replace(pausing, pool=Pool(_FEW, _FEW, expiry)) for expiry in (0.05, 0.5, 5.0)),
    ]


def measured(planned: Sequence[Cell], *, least: float, frozen_for: float) -> Figures:
    """Each cell in a process of its own, against servers on a core of their own."""
    chance = random.Random(1)  # noqa: S311 - the same order each time
    found: dict[Cell, Figures] = {}
    with origin() as server, _http2_server(needed=any(cell.http2 for cell in planned)) as other, apart():
        for cell in chance.sample(list(planned), len(planned)):
            found[cell] = _one(cell, server, other if cell.part == _HTTP2 else None, least)
        server.behave(Behaviour(frozen=_FROZEN))
        stood_still = _asked_while_frozen(server.url, frozen_for)
    return {
        "cells": [{**asdict(cell), **found[cell]} for cell in planned],
        "omission": stood_still,
        "left_out": [*missing(), *([] if has_http2() else ["HTTP/2"])],
    }


@contextmanager
def _http2_server(*, needed: bool) -> Generator[Http2Origin | None]:
    if not needed:
        yield None
        return
    with http2_origin() as server:
        yield server


def _one(cell: Cell, server: Origin, other: Http2Origin | None, least: float) -> Figures:
    """What came of a cell, asked of the other server if there is one for it."""
    server.behave(SERVICES[cell.service])
    asked = other or server
    with isolated(partial(contender, cell, asked.url, cell.seconds(least)), ["cell"]) as turns:
        turns["cell"]()  # to warm up
        asked.reset()
        figures = turns["cell"]()
    counted = asked.counts()
    reuse = 1 - counted.connections / counted.requests if counted.requests else 0.0
    return {**figures, "connections": counted.connections, "reuse": reuse}


@contextmanager
def contender(cell: Cell, url: str, seconds: float, _name: str) -> Generator[Callable[[], Figures]]:
    """Asks for a while to warm up, and for so many seconds each time after that."""
    with asyncio.Runner() as runner:
        made, ask = runner.run(_client(cell))
        lasts = [min(0.3, seconds)]

        def turn() -> Figures:
            waits = Waits([])
            watched = waits.asking(ask) if cell.kind in (HTTPX, HTTPX2, SHARDS) else ask
            load = runner.run(crowd(watched, url, callers=cell.callers, seconds=lasts[-1], pause=cell.pause))
            lasts.append(seconds)
            shares = {"wait_p50": 0.5, "wait_p99": 0.99}
            waited = {name: quantile(waits.seconds, share) if waits.seconds else None for name, share in shares.items()}
            return {**told(load, at_once=cell.at_once), **waited}

        try:
            yield turn
        finally:
            runner.run(made.__aexit__(None, None, None))


async def _client(cell: Cell) -> tuple[Any, Any]:
    stack = Stack(ConcurrencyLimit(cell.at_once, queue=cell.callers)) if cell.limited else None
    made, ask = client(cell.kind, cell.pool, stack, http2=cell.http2)
    await made.__aenter__()
    return made, ask


CLOSED, OPEN = "4 callers, each waits for its answer", "200 calls a second, whatever becomes of them"


def _asked_while_frozen(url: str, seconds: float) -> Figures:
    found: dict[str, Figures] = {}
    for way in (CLOSED, OPEN):
        with isolated(partial(patient, url, seconds), [way]) as turns:
            found[way] = turns[way]()
    return found


@contextmanager
def patient(url: str, seconds: float, way: str) -> Generator[Callable[[], Figures]]:
    """Asks a server that stands still now and then."""
    with asyncio.Runner() as runner:

        async def ask() -> Figures:
            made, get = client(HTTPX2, Pool.of(64))
            async with made:

                async def call() -> None:
                    await get(url)

                if way == OPEN:
                    return told(await opened(call, rate=200.0, seconds=seconds), at_once=1)
                return told(await crowd(get, url, callers=4, seconds=seconds), at_once=4)

        yield lambda: runner.run(ask())


def knee(found: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Of cells that differ in connections, the one with the fewest that is as good as the best."""
    if not found:
        return None
    best = max(cell["rate"] for cell in found)
    good = [cell for cell in found if cell["rate"] >= _AS_GOOD * best]
    return min(good, key=lambda cell: int(cell["pool"]["connections"]))


def _series(figures: Figures, part: str, service: str, kind: str, callers: int, *, limited: bool) -> list[Figures]:
    """Cells that differ in connections alone, in their order."""
    wanted = (part, service, kind, callers, limited)
    return [
        cell
        for cell in figures["cells"]
        if (cell["part"], cell["service"], cell["kind"], cell["callers"], cell["limited"]) == wanted
    ]


def _of_a_part(figures: Figures, part: str) -> list[Figures]:
    return [cell for cell in figures["cells"] if cell["part"] == part]


def _way(kind: str, *, limited: bool) -> str:
    return f"{kind}, {LIMITED}" if limited else kind


def answer(figures: Figures) -> str:
    """The answer, in one sentence."""
    parts: list[str] = []
    callers = max((cell["callers"] for cell in _of_a_part(figures, _PLANE)), default=0)
    for kind, limited in ((HTTPX, False), (HTTPX, True), (HTTPX2, False)):
        best = knee(_series(figures, _PLANE, SLOW, kind, callers, limited=limited))
        if best is not None:
            name = f"{kind} with a {LIMITED} in front" if limited else kind
            parts.append(f"{name} {best['pool']['connections']} ({best['rate']:.0f}/s, p99 {_ms(best['p99'])} ms)")
    several = "; ".join(parts) or "nothing was measured"
    return f"The fewest connections that are as good as any for {callers} callers and a server of 50 ms: {several}."


def table(figures: Figures) -> str:
    """All parts, one after the other."""
    said = (plane, slots, settings, underneath, http2, omission, left_out)
    return "\n\n".join(part for part in (say(figures) for say in said) if part)


def plane(figures: Figures) -> str:
    """Connections by callers, a table for each of two servers: answers a second, and the p99 of these."""
    parts: list[str] = []
    for service in (AT_ONCE, SLOW):
        found = [cell for cell in _of_a_part(figures, _PLANE) if cell["service"] == service]
        columns = sorted({(cell["limited"], cell["kind"], cell["callers"]) for cell in found})
        if not columns:
            continue
        heads = [f"{_way(kind, limited=limited)}, {callers} callers" for limited, kind, callers in columns]
        lines = [
            f"| connections, a server that answers {service} | {' | '.join(heads)} |",
            "|---:|" + "---:|" * len(columns),
        ]
        for connections in sorted({cell["pool"]["connections"] for cell in found}):
            row = {
                (cell["limited"], cell["kind"], cell["callers"]): f"{cell['rate']:.0f}/s, {_ms(cell['p99'])} ms"
                for cell in found
                if cell["pool"]["connections"] == connections
            }
            lines.append(f"| {connections} | {' | '.join(row.get(column, '') for column in columns)} |")
        parts.append("\n".join(lines))
    return "\n\n".join([*parts, "In a cell: answers a second, and their p99."]) if parts else ""


def slots(figures: Figures) -> str:
    """A server that works on four at a time."""
    found = _of_a_part(figures, _SLOTS)
    ways = list(dict.fromkeys(_way(cell["kind"], limited=cell["limited"]) for cell in found))
    if not ways:
        return ""
    lines = [
        f"| connections, 32 callers, a server that works on {SLOTS} | {' | '.join(ways)} |",
        "|---:|" + "---:|" * len(ways),
    ]
    for connections in sorted({cell["pool"]["connections"] for cell in found}):
        row = {
            _way(cell["kind"], limited=cell["limited"]): (
                f"{cell['rate']:.0f}/s, {_ms(cell['p50'])} to {_ms(cell['p99'])} ms"
            )
            for cell in found
            if cell["pool"]["connections"] == connections
        }
        lines.append(f"| {connections} | {' | '.join(row.get(way, '') for way in ways)} |")
    return "\n".join([*lines, "\nIn a cell: answers a second, p50 to p99."])


_COLUMNS = ("a second", "p50 ms", "p99 ms", "p99.9 ms", "wait p99 ms", "opened", "reuse", "CPU µs")


def settings(figures: Figures) -> str:
    """One setting after the other, around as many connections as callers."""
    found = _of_a_part(figures, _AROUND)
    if not found:
        return ""
    lines = [
        f"| callers, server, pool | library | {' | '.join(_COLUMNS)} |",
        "|---|---|" + "---:|" * len(_COLUMNS),
    ]
    for described in dict.fromkeys(map(_described, found)):
        for cell in found:
            if _described(cell) == described:
                waited = "" if cell["wait_p99"] is None else _ms(cell["wait_p99"])
                lines.append(
                    f"| {described} | {cell['kind']} | {cell['rate']:.0f} | {_ms(cell['p50'])} | {_ms(cell['p99'])} "
                    f"| {_ms(cell['p99.9'])} | {waited} | {cell['connections']} | {cell['reuse']:.2f} "
                    f"| {cell['cpu'] * 1e6:.0f} |"
                )
    return "\n".join([*lines, "\n*Wait*: for a connection, until httpcore begins. *Opened*: after warming up."])


def _described(cell: Mapping[str, Any]) -> str:
    pool = cell["pool"]
    limits = f"Limits({pool['connections']}, {pool['kept']}, {pool['expiry']:g})"
    pause = f", pausing {cell['pause']:g} s" if cell["pause"] else ""
    return f"{cell['callers']}{pause}; {cell['service']}; {limits}"


def underneath(figures: Figures) -> str:
    """What else can stand under a stack: answers a second, and processor time of a request."""
    found = _of_a_part(figures, _UNDERNEATH)
    columns = sorted({(str(cell["service"]), int(cell["callers"])) for cell in found})
    if not columns:
        return ""
    heads = " | ".join(f"{callers} callers, answered {service}" for service, callers in columns)
    lines = [f"| under a {LIMITED}, as many connections as callers | {heads} |", "|---|" + "---:|" * len(columns)]
    for kind in dict.fromkeys(cell["kind"] for cell in found):
        row = {
            (cell["service"], cell["callers"]): f"{cell['rate']:.0f}/s, {cell['cpu'] * 1e6:.0f} µs"
            for cell in found
            if cell["kind"] == kind
        }
        lines.append(f"| {kind} | {' | '.join(row.get(column, '') for column in columns)} |")
    return "\n".join([*lines, "\naiohttp is by itself: no stack stands over it."])


def http2(figures: Figures) -> str:
    """HTTP/1.1 and HTTP/2 of the same server."""
    found = _of_a_part(figures, _HTTP2)
    if not found:
        return ""
    lines = [
        "| a server that answers after 50 ms, hypercorn | callers | a second | p99 ms | opened | CPU µs |",
        "|---|---:|---:|---:|---:|---:|",
        *(
            f"| {cell['kind']}, {'HTTP/2' if cell['http2'] else 'HTTP/1.1'} | {cell['callers']} | {cell['rate']:.0f} "
            f"| {_ms(cell['p99'])} | {cell['connections']} | {cell['cpu'] * 1e6:.0f} |"
            for cell in found
        ),
    ]
    return "\n".join([*lines, "\nIn the clear; the client knows beforehand that the server speaks HTTP/2."])


def omission(figures: Figures) -> str:
    """What a server that stands still looks like to each way of asking."""
    every, last = _FROZEN
    lines = [
        f"| a server that stands still for {last:g} s every {every:g} s | calls | p50 ms | p99 ms | p99.9 ms |",
        "|---|---:|---:|---:|---:|",
        *(
            f"| {way} | {of['asked']} | {_ms(of['p50'])} | {_ms(of['p99'])} | {_ms(of['p99.9'])} |"
            for way, of in figures["omission"].items()
        ),
    ]
    return "\n".join(lines)


def left_out(figures: Figures) -> str:
    """What is not there, and why."""
    names = ", ".join(figures["left_out"])
    return f"Left out, since they are not installed: {names}." if names else ""


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3g}" if seconds < 1 else f"{seconds * 1e3:.0f}"


def draw(figures: Figures, figure: Any, colours: Mapping[str, str]) -> None:
    """Throughput and p99 by connections, with the knee; a server with slots; processor time by callers."""
    (rate, tail), (few, cpu) = figure.subplots(2, 2)
    callers = max((cell["callers"] for cell in _of_a_part(figures, _PLANE)), default=0)
    for number, (kind, limited) in enumerate(((HTTPX, False), (HTTPX, True), (HTTPX2, False), (HTTPX2, True))):
        found = _series(figures, _PLANE, SLOW, kind, callers, limited=limited)
        label = _way(kind, limited=limited)
        _lines(rate, found, "rate", 1.0, label, LINES[number])
        _lines(tail, found, "p99", 1e3, label, LINES[number])
        _lines(few, _series(figures, _SLOTS, SLOTS, kind, 32, limited=limited), "rate", 1.0, label, LINES[number])
    for axes in (rate, tail, few):
        _by_doubling(axes, "connections; large: the fewest that are as good as any")
    for axes in (rate, tail, cpu):
        axes.set_yscale("log")
    rate.set_title(f"answers a second: {callers} callers, answered {SLOW}", loc="left")
    tail.set_title("p99 of these, ms", loc="left")
    few.set_title(f"answers a second: 32 callers, {SLOTS}", loc="left")
    few.set_ylim(bottom=0)
    instant = [cell for cell in _of_a_part(figures, _UNDERNEATH) if cell["service"] == AT_ONCE]
    for number, kind in enumerate(dict.fromkeys(cell["kind"] for cell in instant)):
        found = [cell for cell in instant if cell["kind"] == kind]
        at = [cell["callers"] for cell in found]
        cpu.plot(at, [cell["cpu"] * 1e6 for cell in found], "o-", label=kind, color=LINES[number])
    _by_doubling(cpu, "callers, and as many connections")
    cpu.set_title("µs of processor time of a request, answered at once", loc="left")
    for axes in (rate, cpu):
        if axes.get_legend_handles_labels()[0]:
            axes.legend(labelcolor=colours["text"])


def _by_doubling(axes: Any, label: str) -> None:
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel(label)


def _lines(axes: Any, found: Sequence[Mapping[str, Any]], name: str, scale: float, label: str, colour: str) -> None:
    best = knee(found)
    if best is None:
        return
    at = [cell["pool"]["connections"] for cell in found]
    axes.plot(at, [cell[name] * scale for cell in found], ".-", label=label, color=colour)
    axes.plot([best["pool"]["connections"]], [best[name] * scale], "o", color=colour, markersize=9)


QUESTION = Question(
    "pool_sweep",
    "Which connection pool suits how many callers of which server?",
    measure,
    answer,
    table,
    draw,
    (11.0, 8.0),
)

if __name__ == "__main__":
    QUESTION.main()
