"""How many connections, and how they should be kept.

Callers that ask without a pause, connections from one to more than there are callers, before a server that answers at
once and one that takes 50 ms: in httpx and httpx2, over their own pools. Then, at 64 callers, how many of 64
connections are kept idle; at 128, what else could stand underneath five policies: the pool in shards, and aiohttp's.
Then HTTP/1.1 beside HTTP/2, and the real Foundry Local with its built-in model, asked for a token. Last, a server that
stands still for 0.3 of every 2 seconds, in a closed loop and in an open one. Connections are those that the server
counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from itertools import product
from typing import Any

import httpx

from benchmarks import http2_origin
from benchmarks.origin import Behaviour, Origin, apart, origin
from benchmarks.question import Figures, Question
from resilient_foundry import AttemptTimeout, CircuitBreaker, ConcurrencyLimit, Deadline, Retry, Stack
from resilient_foundry._extras import require
from resilient_foundry.foundry.runtime import LocalRuntime
from resilient_foundry.tuning.figures import quantile
from resilient_foundry.tuning.load import Call, Load, closed, opened

INSTANT, SLOW = "at once", "50 ms"
SERVERS = {INSTANT: Behaviour(), SLOW: Behaviour(delay=0.05)}
HTTPX, HTTPX2 = "httpx", "httpx2"
FIVE, SHARDS, AIOHTTP = (
    "httpx, five policies",
    "httpx in shards of 8, five policies",
    "httpx over aiohttp, five policies",
)
FIVE2 = "httpx2, five policies"
CONNECTIONS = (1, 2, 4, 8, 16, 32, 64, 128)
CALLERS = (8, 32, 128)
KEPT = (1, 5, 20, 32, 64)
_SHARD = 8
_FROZEN = Behaviour(frozen=(2.0, 0.3))
_RATE = 200.0


@dataclass(frozen=True, slots=True)
class Setting:
    """Who asks whom, and through what."""

    client: str
    server: str
    callers: int
    connections: int
    kept: int


def settings() -> Iterator[Setting]:
    """What is tried."""
    for client, server, callers, connections in product((HTTPX, HTTPX2), SERVERS, CALLERS, CONNECTIONS):
        yield Setting(client, server, callers, connections, connections)
    for client, kept in product((HTTPX, HTTPX2), KEPT):
        yield Setting(client, SLOW, 64, 64, kept)
    for client, server in product((FIVE, FIVE2, SHARDS, AIOHTTP), SERVERS):
        yield Setting(client, server, 128, 32, 32)


def measure(quick: bool) -> Figures:
    """Every setting; of a quick look, a few."""
    chosen = list(settings())
    if quick:
        chosen = [one for one in chosen if one.callers == 8 and one.connections in {1, 8} and one.client == HTTPX]  # noqa: PLR2004
        chosen += [Setting(HTTPX, SLOW, 64, 64, kept) for kept in (20, 64)]
        chosen += [Setting(client, SLOW, 128, 32, 32) for client in (FIVE, SHARDS)]
    return measured(chosen, seconds=0.3 if quick else 1.0, frozen=2.0 if quick else 8.0)


def measured(chosen: Sequence[Setting], *, seconds: float, frozen: float) -> Figures:
    """What came of each, in so many seconds after a third of that to warm up; in an order drawn once."""
    cells: list[dict[str, Any]] = []
    missing = [] if _has_aiohttp() else [AIOHTTP]
    order = [one for one in chosen if one.client not in missing]
    random.Random(1).shuffle(order)  # noqa: S311 - the same order each time
    with apart(), origin() as server, asyncio.Runner() as runner:
        for setting in order:
            server.behave(SERVERS[setting.server])
            cells.append({**asdict(setting), **runner.run(_cell(setting, server, seconds))})
        server.behave(_FROZEN)
        loops = runner.run(_loops(server.url, frozen))
        versions = _versions(runner, seconds) if http2_origin.is_there() else []
        models = _of_a_model(runner, seconds) if _has_the_runtime() else []
    missing += [] if versions else ["HTTP/2"]
    missing += [] if models else ["Foundry Local"]
    cells.sort(
        key=lambda cell: [str(cell[key]) for key in ("client", "server")] + [cell["callers"], cell["connections"]]
    )
    return {"cells": cells, "loops": loops, "versions": versions, "models": models, "missing": missing}


def _versions(runner: asyncio.Runner, seconds: float) -> list[dict[str, Any]]:
    """The same server in both versions, with as many connections as callers: HTTP/2 needs one."""
    cells: list[dict[str, Any]] = []
    with http2_origin.http2_origin() as server:
        for name, version, callers in product((HTTPX, HTTPX2), ("HTTP/1.1", "HTTP/2"), CALLERS):
            library: Any = require(name, extra="httpx2") if name == HTTPX2 else require(name, extra="")
            is_two = version == "HTTP/2"
            limits = library.Limits(max_connections=callers, max_keepalive_connections=callers)
            wire = library.AsyncHTTPTransport(http1=not is_two, http2=is_two, limits=limits, verify=False)
            server.reset()
            client = library.AsyncClient(transport=wire, timeout=None)
            told = runner.run(_asked(client, server.url, callers, seconds))
            opened_ = server.counts().connections
            cells.append({"client": name, "version": version, "callers": callers, **told, "opened": opened_})
    return cells


def _of_a_model(runner: asyncio.Runner, seconds: float) -> list[dict[str, Any]]:
    """Eight callers on the real runtime, each asking the built-in model for a token, through so many connections."""
    body = {"messages": [{"role": "user", "content": "Go on."}], "max_tokens": 1}
    with LocalRuntime() as runtime:
        models = httpx.get(f"{runtime.url}/v1/models", trust_env=False, timeout=30.0).json()["data"]
        asked = json.dumps({**body, "model": models[0]["id"]}).encode()
        cells: list[dict[str, Any]] = []
        for connections in (1, 2, 4, 8):
            limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
            wire = Stack(ConcurrencyLimit(connections)).over(httpx.AsyncHTTPTransport(limits=limits, verify=False))
            client = httpx.AsyncClient(transport=wire, timeout=60.0)
            url = f"{runtime.url}/v1/chat/completions"
            cells.append({"connections": connections, **runner.run(_asked(client, url, 8, seconds, asked))})
    return cells


async def _asked(client: Any, url: str, callers: int, seconds: float, body: bytes | None = None) -> dict[str, float]:
    async def call() -> None:
        headers = {"Content-Type": "application/json"}
        response = await (client.get(url) if body is None else client.post(url, content=body, headers=headers))
        response.raise_for_status()

    async with client:
        await closed(call, callers=callers, seconds=seconds / 3)
        return told_of(await closed(call, callers=callers, seconds=seconds))


def _has_the_runtime() -> bool:
    return find_spec("foundry_local_sdk") is not None and find_spec("onnx") is not None


async def _cell(setting: Setting, server: Origin, seconds: float) -> dict[str, float]:
    waits: list[float] = []
    server.reset()
    async with calling(setting, server.url, waits) as call:
        await closed(call, callers=setting.callers, seconds=seconds / 3)
        waits.clear()
        load = await closed(call, callers=setting.callers, seconds=seconds)
    counts = server.counts()
    return {
        **told_of(load),
        "wait": quantile(waits, 0.5) if waits else 0.0,
        "opened": counts.connections,
        "reuse": counts.reuse,
    }


def told_of(load: Load) -> dict[str, float]:
    """What came of a load."""
    return {
        "throughput": load.throughput,
        "p50": quantile(load.latencies, 0.5),
        "p95": quantile(load.latencies, 0.95),
        "p99": quantile(load.latencies, 0.99),
        "p999": quantile(load.latencies, 0.999),
        "cpu": load.cpu_a_call,
        "errors": float(load.errors.total()),
    }


@asynccontextmanager
async def calling(setting: Setting, url: str, waits: list[float]) -> AsyncGenerator[Call]:
    """A call; how long it waited in the pool is added to `waits`, seconds, where the pool tells."""
    library: Any = (
        require("httpx2", extra="httpx2") if setting.client.startswith(HTTPX2) else require("httpx", extra="")
    )
    wire = _wire(library, setting)
    if setting.client in {FIVE, FIVE2, SHARDS, AIOHTTP}:
        patient = AttemptTimeout(connect=60.0, pool=60.0, write=60.0, read=60.0)
        limit = ConcurrencyLimit(setting.connections, queue=setting.callers)
        wire = Stack(Deadline(60.0), Retry(), CircuitBreaker(), limit, patient).over(wire)
    clock = asyncio.get_running_loop().time

    async def call() -> object:
        began, seen = clock(), [False]

        async def trace(event: str, _info: object) -> None:
            if not seen[0] and event.endswith(("connect_tcp.started", "send_request_headers.started")):
                seen[0] = True
                waits.append(clock() - began)

        return await client.get(url, extensions={"trace": trace})

    async with library.AsyncClient(transport=wire, timeout=None) as client:
        yield call


def _wire(library: Any, setting: Setting) -> Any:
    limits = library.Limits(max_connections=setting.connections, max_keepalive_connections=setting.kept)
    if setting.client == AIOHTTP:
        return require("httpx_aiohttp", extra="bench").AIOHTTPTransport(limits=limits)
    if setting.client == SHARDS:
        return _in_shards(library, setting.connections // _SHARD)
    return library.AsyncHTTPTransport(limits=limits, verify=False)  # no TLS here, and certificates take long to load


def _in_shards(library: Any, shards: int) -> Any:
    """Several small pools, asked in turn: what a pool does for each request grows with what it holds."""
    limits = library.Limits(max_connections=_SHARD, max_keepalive_connections=_SHARD)
    pools = [library.AsyncHTTPTransport(limits=limits, verify=False) for _ in range(shards)]
    turn = [0]

    class Sharded(library.AsyncBaseTransport):  # type: ignore[misc]  # of either library
        async def handle_async_request(self, request: Any) -> Any:
            turn[0] = (turn[0] + 1) % len(pools)
            return await pools[turn[0]].handle_async_request(request)

        async def aclose(self) -> None:
            for pool in pools:
                await pool.aclose()

    return Sharded()


def _has_aiohttp() -> bool:
    with contextlib.suppress(ImportError):
        require("httpx_aiohttp", extra="bench")
        return True
    return False


async def _loops(url: str, seconds: float) -> dict[str, dict[str, float]]:
    """A server that stands still now and then, as a closed loop sees it, and as an open one."""
    setting = Setting(HTTPX2, INSTANT, 4, 64, 64)
    async with calling(setting, url, []) as call:
        in_turn = await closed(call, callers=4, seconds=seconds)
    async with calling(replace(setting, connections=128, kept=128), url, []) as call:
        at_rate = await opened(call, rate=_RATE, seconds=seconds)
    return {"closed": told_of(in_turn), "open": told_of(at_rate)}


def find(figures: Figures, **wanted: Any) -> list[dict[str, Any]]:
    """The cells of this kind, by connections."""
    found = [cell for cell in figures["cells"] if all(cell[key] == value for key, value in wanted.items())]
    return sorted(found, key=lambda cell: (cell["connections"], cell["kept"]))


def _swept(figures: Figures, client: str, server: str, callers: int) -> list[dict[str, Any]]:
    found = find(figures, client=client, server=server, callers=callers)
    return [cell for cell in found if cell["kept"] == cell["connections"]]


def _best(cells: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    return max(cells, key=lambda cell: cell["throughput"])


def answer(figures: Figures) -> str:
    """The answer, in one sentence."""
    few = [cell for cell in find(figures, client=HTTPX, server=SLOW, callers=64, connections=64) if cell["kept"] == 20]  # noqa: PLR2004
    callers = max(
        cell["callers"] for cell in figures["cells"] if cell["client"] == HTTPX and cell["kept"] == cell["connections"]
    )
    swept = _swept(figures, HTTPX, INSTANT, callers)
    best, widest = _best(swept), swept[-1]
    loops = figures["loops"]
    kept = f"with 20 of 64 kept httpx reuses {100 * few[0]['reuse']:.0f} % of its connections; " if few else ""
    return (
        f"Few: {callers} callers on httpx get {best['throughput']:.0f} answers a second through {best['connections']} "
        f"connections and {widest['throughput']:.0f} through {widest['connections']}; {kept}"
        f"a server that stands still has a p99 of {1e3 * loops['closed']['p99']:.0f} ms in a closed loop, and of "
        f"{1e3 * loops['open']['p99']:.0f} ms in an open one."
    )


def table(figures: Figures) -> str:
    """Throughput and p99 by connections; what is kept; what else could stand underneath."""
    lines: list[str] = []
    connections = sorted({cell["connections"] for cell in figures["cells"]})
    for server in SERVERS:
        lines += [
            f"| answers a second (p99, ms), a server that answers {'after ' if server == SLOW else ''}{server} | "
            + " | ".join(f"{number} connection{'s' if number > 1 else ''}" for number in connections)
            + " |",
            "|---|" + "---:|" * len(connections),
        ]
        for client, callers in product((HTTPX, HTTPX2), CALLERS):
            by = {cell["connections"]: cell for cell in _swept(figures, client, server, callers)}
            if by:
                cells = [_told(by[number]) if number in by else "" for number in connections]
                lines.append(f"| {client}, {callers} callers | " + " | ".join(cells) + " |")
        lines.append("")
    lines += ["| 64 callers, 64 connections, 50 ms | answers a second | p99 | reuse | opened | CPU a call |", _RULE]
    for client in (HTTPX, HTTPX2):
        lines += [
            f"| {client}, {cell['kept']} kept {_rest(cell)}"
            for cell in find(figures, client=client, server=SLOW, callers=64, connections=64)
        ]
    lines += ["", "| 128 callers, 32 connections | answers a second | p99 | reuse | opened | CPU a call |", _RULE]
    for server, client in product(SERVERS, (HTTPX, FIVE, SHARDS, HTTPX2, FIVE2, AIOHTTP)):
        lines += [
            f"| {client}, {server} {_rest(cell)}"
            for cell in find(figures, client=client, server=server, callers=128, connections=32)
        ]
    if figures["versions"]:
        lines += ["", "| 50 ms | answers a second | p99 | opened | CPU a call |", "|---|---:|---:|---:|---:|"]
        lines += [
            f"| {cell['client']}, {cell['version']}, {cell['callers']} callers | {cell['throughput']:.0f} "
            f"| {1e3 * cell['p99']:.0f} ms | {cell['opened']} | {1e6 * cell['cpu']:.0f} µs |"
            for cell in figures["versions"]
        ]
    if figures["models"]:
        lines += [
            "",
            "| Foundry Local, a token, 8 callers in line | answers a second | p50 | p99 |",
            "|---|---:|---:|---:|",
        ]
        lines += [
            f"| {cell['connections']} at once | {cell['throughput']:.0f} | {1e3 * cell['p50']:.0f} ms "
            f"| {1e3 * cell['p99']:.0f} ms |"
            for cell in figures["models"]
        ]
    loops = figures["loops"]
    lines += ["", "| a server that stands still for 0.3 of every 2 s | p50 | p99 |", "|---|---:|---:|"]
    for name, words in (("closed", "closed loop, 4 callers"), ("open", f"open loop, {_RATE:.0f} calls a second")):
        lines.append(f"| {words} | {1e3 * loops[name]['p50']:.1f} ms | {1e3 * loops[name]['p99']:.1f} ms |")
    if figures["missing"]:
        lines.append(f"\nLeft out, because it is not installed: {', '.join(figures['missing'])}.")
    lines.append(
        "\nHTTP/1.1 throughout: Foundry Local speaks nothing else, and the server of these benchmarks neither."
    )
    return "\n".join(lines)


_RULE = "|---|---:|---:|---:|---:|---:|"


def _told(cell: Mapping[str, Any]) -> str:
    return f"{cell['throughput']:.0f} ({1e3 * cell['p99']:.0f})"


def _rest(cell: Mapping[str, Any]) -> str:
    return (
        f"| {cell['throughput']:.0f} | {1e3 * cell['p99']:.0f} ms | {cell['reuse']:.2f} | {cell['opened']} "
        f"| {1e6 * cell['cpu']:.0f} µs |"
    )


def draw(figures: Figures, figure: Any, colours: Mapping[str, str]) -> None:
    """Throughput and p99 by connections, CPU by callers."""
    panels = list(figure.subplots(2, 2).flat)
    for axes, (server, what) in zip(panels, product(SERVERS, ("throughput", "p99")), strict=True):
        for client, callers in product((HTTPX, HTTPX2), CALLERS):
            swept = _swept(figures, client, server, callers)
            scale = 1e3 if what == "p99" else 1.0
            axes.plot(
                [cell["connections"] for cell in swept],
                [scale * cell[what] for cell in swept],
                marker="o",
                markersize=3,
                linestyle="-" if client == HTTPX else "--",
                label=f"{client}, {callers} callers",
            )
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xlabel("connections")
        axes.set_ylabel("answers a second" if what == "throughput" else "p99, ms")
        axes.set_title(f"a server that answers {'after ' if server == SLOW else ''}{server}", color=colours["text"])
    panels[0].legend(fontsize=7, ncols=2)


QUESTION = Question(
    "pool_sweep", "How many connections, and how should they be kept?", measure, answer, table, draw, (12.0, 8.0)
)


if __name__ == "__main__":
    QUESTION.main()
