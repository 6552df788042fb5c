"""A crowd of callers on one client, each asking again once it has its answer; and the clients that they may have.

Pools are made with the same limits whatever library they are of. No library's types are met here: they share no class,
and not all of them have types.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec
from itertools import count
from typing import Any

from benchmarks.question import Figures
from resilient_foundry import Stack
from resilient_foundry._extras import require
from resilient_foundry.tuning.capacity import rates
from resilient_foundry.tuning.figures import quantile
from resilient_foundry.tuning.load import Load, closed

Ask = Callable[[str], Awaitable[Any]]
"""Makes a GET of a URL, and reads the answer."""

HTTPX, HTTPX2, AIOHTTP = "httpx", "httpx2", "aiohttp"
OVER_AIOHTTP, OVER_PYREQWEST, SHARDS = "httpx over httpx-aiohttp", "httpx over pyreqwest", "httpx, pools of 8"
_MODULES = {
    HTTPX: ("httpx",),
    HTTPX2: ("httpx2",),
    AIOHTTP: ("aiohttp",),
    OVER_AIOHTTP: ("httpx", "httpx_aiohttp"),
    OVER_PYREQWEST: ("httpx", "pyreqwest"),
    SHARDS: ("httpx",),
}
KINDS = tuple(_MODULES)
_SHARD = 8
_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}


@dataclass(frozen=True, slots=True)
class Pool:
    """Its limits. None is none."""

    connections: int | None
    kept: int | None
    expiry: float | None = 60.0
    """Seconds."""

    @classmethod
    def of(cls, connections: int) -> Pool:
        """So many connections, all of them kept."""
        return cls(connections, connections)


DEFAULTS = Pool(100, 20, 5.0)
"""Those of httpx, of httpx2, and of SDKs that set none."""


def is_there(kind: str) -> bool:
    """Whether the packages of this kind of client are installed."""
    return all(find_spec(module) is not None for module in _MODULES[kind])


def missing() -> list[str]:
    """The kinds that can't be had here."""
    return [kind for kind in KINDS if not is_there(kind)]


def client(kind: str, pool: Pool, stack: Stack | None = None, *, http2: bool = False) -> tuple[Any, Ask]:
    """A client, to be entered and left, and what asks with it. It waits as long as it takes, for whatever it is.

    With `http2` it speaks nothing else, and in the clear. aiohttp takes no stack, nor HTTP/2.
    """
    if kind == AIOHTTP:
        return _of_aiohttp(pool)
    module: Any = require("httpx2", extra="httpx2") if kind == HTTPX2 else require("httpx", extra="")
    wire = _wire(kind, module, pool, http2=http2)
    over: Any = stack
    made = module.AsyncClient(transport=wire if over is None else over.over(wire), timeout=None, trust_env=False)
    return made, made.get


def _wire(kind: str, module: Any, pool: Pool, *, http2: bool) -> Any:
    if kind == OVER_PYREQWEST:
        return _of_pyreqwest(pool)
    if kind == SHARDS and pool.connections is not None:
        each = Pool(_SHARD, _SHARD, pool.expiry)
        return sharded(module, [_wire(HTTPX, module, each, http2=http2) for _ in range(pool.connections // _SHARD)])
    limits = module.Limits(
        max_connections=pool.connections, max_keepalive_connections=pool.kept, keepalive_expiry=pool.expiry
    )
    if kind == OVER_AIOHTTP:
        theirs: Any = require("httpx_aiohttp", extra="bench")
        return theirs.AiohttpTransport(limits=limits, verify=False, trust_env=False)
    return module.AsyncHTTPTransport(limits=limits, verify=False, trust_env=False, http1=not http2, http2=http2)


def _of_pyreqwest(pool: Pool) -> Any:
    builder: Any = require("pyreqwest.client", extra="bench").ClientBuilder()
    builder = (
        builder.http1_only().no_proxy_from_env() if hasattr(builder, "no_proxy_from_env") else builder.http1_only()
    )
    if pool.connections is not None:
        builder = builder.max_connections(pool.connections)
    if pool.kept is not None:
        builder = builder.pool_max_idle_per_host(pool.kept)
    if pool.expiry is not None:
        builder = builder.pool_idle_timeout(timedelta(seconds=pool.expiry))
    return require("pyreqwest.compatibility.httpx", extra="bench").HttpxTransport(builder.build())


def _of_aiohttp(pool: Pool) -> tuple[Any, Ask]:
    aiohttp: Any = require("aiohttp", extra="bench")
    connector = aiohttp.TCPConnector(limit=pool.connections or 0, keepalive_timeout=pool.expiry or 60.0)
    session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None))

    async def ask(url: str) -> None:
        async with session.get(url) as answer:
            await answer.read()

    return session, ask


def sharded(module: Any, wires: Sequence[Any]) -> Any:
    """One transport out of several, which take the requests by turns."""
    turns = count()

    class Sharded(module.AsyncBaseTransport):  # type: ignore[misc]  # the base is whichever library's
        async def handle_async_request(self, request: Any) -> Any:
            return await wires[next(turns) % len(wires)].handle_async_request(request)

        async def aclose(self) -> None:
            for wire in wires:
                await wire.aclose()

    return Sharded()


@dataclass(slots=True)
class Waits:
    """How long calls waited for a connection, in line and in the pool: until httpcore says that it does something."""

    seconds: list[float]

    def asking(self, ask: Any) -> Ask:
        """The same calls, watched; httpcore's libraries alone tell what they do."""

        async def watched(url: str) -> Any:
            began = time.perf_counter()
            waited: list[float] = []

            async def trace(_name: str, _info: dict[str, Any]) -> None:
                if not waited:
                    waited.append(time.perf_counter() - began)

            answer = await ask(url, extensions={"trace": trace})
            self.seconds += waited
            return answer

        return watched


async def crowd(ask: Ask, url: str, *, callers: int, seconds: float, pause: float = 0.0) -> Load:
    """What came of so many callers; each pauses after an answer, and the pause counts nowhere."""

    async def call() -> None:
        await ask(url)

    async def after_a_pause() -> None:
        await asyncio.sleep(pause)
        await ask(url)

    gc.collect()
    load = await closed(after_a_pause if pause else call, callers=callers, seconds=seconds)
    load.latencies = [took - pause for took in load.latencies]
    return load


def told(load: Load, *, at_once: int) -> Figures:
    """Throughput, quantiles of latencies in seconds, processor time of a call; `at_once` calls are under way."""
    measured = rates(load.ended, at_once=at_once)
    return {
        "rate": measured[0] if measured else load.throughput,
        **{name: quantile(load.latencies, share) for name, share in _QUANTILES.items()},
        "cpu": load.cpu_a_call,
        "asked": load.asked,
        "errors": dict(load.errors),
    }
