"""When a client should give up an idle connection.

A server closes a connection on which nothing was asked for some time. A request that goes out at that moment meets a
connection that is being closed, and nobody knows whether it was looked at. So the client must give up first: here its
expiry runs from half the server's limit to five times as much, pauses lie around that limit, and every byte takes 20 ms
each way. Without `Retry`, and with it, in httpx and httpx2; what is counted is what the caller gets to see.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from benchmarks.origin import Behaviour, apart, origin
from benchmarks.question import Figures, Question
from resilient_foundry import Backoff, Retry, Stack
from resilient_foundry._extras import require

IDLE = 1.0
"""Seconds after which the server closes."""
ONE_WAY = 0.02
"""Seconds that a byte takes."""
EXPIRIES = (0.5, 0.8, 0.9, 1.0, 2.0, 5.0)
"""Of the server's limit."""
RECOMMENDED = 0.8
LIBRARIES = ("httpx", "httpx2")
_AROUND = 0.03
"""Seconds around the server's limit, within which pauses lie."""
_CONNECTIONS = 20


def measure(quick: bool) -> Figures:
    """Every expiry, with Retry and without, in both libraries."""
    return measured(turns=2 if quick else 12, expiries=(RECOMMENDED, 5.0) if quick else EXPIRIES)


def measured(*, turns: int, expiries: Sequence[float]) -> Figures:
    """So many requests on each of twenty connections, with a pause before each; all settings at the same time."""
    logging.getLogger("stamina").setLevel(logging.ERROR)  # it says each retry
    with apart(), origin(Behaviour(idle=IDLE)) as server:
        return {"cells": asyncio.run(_all(server.url, turns, expiries))}


async def _all(url: str, turns: int, expiries: Sequence[float]) -> list[dict[str, Any]]:
    host, _, port = url.removeprefix("http://").partition(":")
    async with _far_away(host, int(port)) as far:
        cells = [
            (library, expiry, retries) for library in LIBRARIES for expiry in expiries for retries in (False, True)
        ]
        return list(await asyncio.gather(*(_cell(far, turns, *cell) for cell in cells)))


async def _cell(url: str, turns: int, name: str, expiry: float, retries: bool) -> dict[str, Any]:
    library: Any = require(name, extra="httpx2") if name == "httpx2" else require(name, extra="")
    chance = random.Random(f"{name} {expiry} {retries}")  # noqa: S311 - the same pauses each time
    errors: list[str] = []
    asked = [0]

    async def ask() -> None:
        limits = library.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=expiry * IDLE)
        wire = library.AsyncHTTPTransport(
            limits=limits, verify=False
        )  # no TLS here, and certificates take long to load
        if retries:
            stack: Any = Stack(Retry(backoff=Backoff(base=0.0, cap=0.0)))
            wire = stack.over(wire)
        async with library.AsyncClient(transport=wire, timeout=30.0) as client:
            await asyncio.sleep(chance.random() * IDLE)  # not all at once
            await client.get(url)
            for _ in range(turns):
                await asyncio.sleep(IDLE + chance.uniform(-_AROUND, _AROUND))
                asked[0] += 1
                try:
                    await client.get(url)
                except library.TransportError as error:
                    errors.append(type(error).__name__)

    await asyncio.gather(*(ask() for _ in range(_CONNECTIONS)))
    kinds = {kind: errors.count(kind) for kind in sorted(set(errors))}
    return {"library": name, "expiry": expiry, "retries": retries, "asked": asked[0], "errors": kinds}


@asynccontextmanager
async def _far_away(host: str, port: int) -> AsyncGenerator[str]:
    """The server, behind a way that takes 20 ms each direction; on loopback."""
    carrying: set[asyncio.Task[None]] = set()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                loop.call_later(ONE_WAY, _write, writer, data)
        loop.call_later(ONE_WAY, writer.close)

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up, down = await asyncio.open_connection(host, port)
        try:
            await asyncio.gather(carry(reader, down), carry(up, writer))
            await asyncio.sleep(2 * ONE_WAY)  # what is still on its way
        finally:
            for end in (down, writer):
                end.transport.abort()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(connect(reader, writer))
        carrying.add(task)
        task.add_done_callback(carrying.discard)

    relay = await asyncio.start_server(connected, "127.0.0.1", 0, backlog=1024)
    try:
        yield f"http://127.0.0.1:{relay.sockets[0].getsockname()[1]}"
    finally:
        relay.close()
        for task in carrying:
            task.cancel()
        await asyncio.gather(*carrying, return_exceptions=True)
        await asyncio.sleep(0)  # sockets are closed in the next turn of the loop


def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    if not writer.is_closing():
        writer.write(data)


def share(figures: Figures, library: str, expiry: float, *, retries: bool) -> float:
    """Of the requests, those that failed."""
    (cell,) = [
        cell
        for cell in figures["cells"]
        if (cell["library"], cell["expiry"], cell["retries"]) == (library, expiry, retries)
    ]
    return float(sum(cell["errors"].values()) / cell["asked"])


def expiries_of(figures: Figures) -> list[float]:
    """Those that were tried."""
    return sorted({cell["expiry"] for cell in figures["cells"]})


def reached(figures: Figures) -> tuple[float, float, bool]:
    """The worst share at the expiry that is recommended, the worst with Retry at any, and whether both are none."""
    recommended = max(share(figures, library, RECOMMENDED, retries=False) for library in LIBRARIES)
    with_retry = max(
        share(figures, library, expiry, retries=True) for library in LIBRARIES for expiry in expiries_of(figures)
    )
    return recommended, with_retry, recommended == with_retry == 0.0


def answer(figures: Figures) -> str:
    """The answer, in one sentence."""
    recommended, with_retry, is_reached = reached(figures)
    worst = max(
        share(figures, library, expiry, retries=False) for library in LIBRARIES for expiry in expiries_of(figures)
    )
    return (
        f"Before the server does: at {RECOMMENDED} of its limit {100 * recommended:.1f} % of requests fail, beyond the "
        f"limit up to {100 * worst:.0f} %; with Retry the caller sees {100 * with_retry:.1f} % at any expiry; the "
        f"figures to reach are 0 and 0: {'reached' if is_reached else 'not reached'}."
    )


def table(figures: Figures) -> str:
    """A row for each expiry."""
    ways = [(library, retries) for library in LIBRARIES for retries in (False, True)]
    names = [f"{library}{', Retry' if retries else ''}" for library, retries in ways]
    lines = [
        "| expiry, of the server's limit | " + " | ".join(names) + " |",
        "|---:|" + "---:|" * len(ways),
    ]
    for expiry in expiries_of(figures):
        shares = [share(figures, library, expiry, retries=retries) for library, retries in ways]
        lines.append(f"| {expiry:g} | " + " | ".join(f"{100 * one:.1f} %" for one in shares) + " |")
    asked = figures["cells"][0]["asked"]
    lines.append(
        f"\nRequests that failed, of {asked} for each cell; pauses of {IDLE:g} ± {_AROUND:g} s, 20 ms each way."
    )
    return "\n".join(lines)


def draw(figures: Figures, figure: Any, colours: Mapping[str, str]) -> None:
    """Failures by expiry."""
    axes = figure.subplots()
    expiries = expiries_of(figures)
    for library in LIBRARIES:
        for retries in (False, True):
            shares = [100 * share(figures, library, expiry, retries=retries) for expiry in expiries]
            label = f"{library}{', Retry' if retries else ''}"
            axes.plot(expiries, shares, marker="o", linestyle="--" if retries else "-", label=label)
    axes.axvline(1.0, color=colours["text"], linestyle=":", linewidth=1)
    axes.set_xscale("log")
    axes.set_xticks(expiries, [f"{expiry:g}" for expiry in expiries])
    axes.minorticks_off()
    axes.set_xlabel("the client's expiry, of the server's idle limit (dotted)")
    axes.set_ylabel("% of the requests that fail")
    axes.legend()


QUESTION = Question(
    "keepalive_race", "When should a client give up an idle connection?", measure, answer, table, draw, (8.0, 4.5)
)


if __name__ == "__main__":
    QUESTION.main()
