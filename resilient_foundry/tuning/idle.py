"""How long a server keeps a connection on which nothing is asked: open some, wait, and see which it closes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from resilient_foundry.tuning.calls import Budget, Service, prepared

PAUSES = (1.0, 2.0, 4.0, 5.0, 8.0, 15.0, 30.0, 60.0, 75.0, 120.0)
"""Seconds after which a connection is used again, one for each."""
_LOOK = 0.02
_LONGER = 1.5
"""How many times as long as it is to take, in case that the server bears few connections."""


@dataclass(frozen=True, slots=True)
class Idle:
    """What was seen. Seconds."""

    closed_after: float | None
    """The longest that a connection was still open before the server closed it, of the first; None if none was."""
    watched: float
    """How long connections were watched."""


async def idle_limit(service: Service, budget: Budget, *, seconds: float) -> Idle:
    """Watch one connection for each pause that is shorter than so many seconds, and one for all of them.

    At the end of its pause a connection is closed from here, so that fewer and fewer are kept.
    """
    pauses = [*(each for each in PAUSES if each < seconds), seconds]
    began = time.monotonic()
    watching = [asyncio.create_task(_kept(service, budget, each)) for each in pauses]
    closed: list[float] = []
    try:
        with contextlib.suppress(TimeoutError):
            for done in asyncio.as_completed(watching, timeout=_LONGER * seconds):
                seen = await done
                if seen is not None:
                    closed.append(seen)
                    break  # all began together: the first is the shortest
    finally:
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
    return Idle(min(closed, default=None), time.monotonic() - began)


async def _kept(service: Service, budget: Budget, pause: float) -> float | None:
    """For how long a connection was seen open, if it was closed within the pause or before the call after it."""
    library: Any = service.module
    limits = library.Limits(max_connections=1, keepalive_expiry=10 * pause)
    asked = prepared(service)
    async with library.AsyncClient(
        trust_env=False, verify=service.url.startswith("https:"), limits=limits, timeout=30.0
    ) as client:
        if not budget.take():
            return None
        try:
            response = await client.request(**asked)
        except library.TransportError:
            return None  # a server that bears so few connections tells nothing about how long it keeps one
        since = seen = time.monotonic()
        stream = response.extensions["network_stream"]
        while time.monotonic() < since + pause:
            if stream.get_extra_info("is_readable"):  # its end is all there is to read
                return seen - since
            seen = time.monotonic()
            await asyncio.sleep(_LOOK)
        if not budget.take():
            return None
        try:  # some servers forget a connection without a word
            await client.request(**asked)
        except library.TransportError:
            return seen - since
    return None


async def stale(service: Service, budget: Budget, *, expiry: float, pauses: Sequence[float]) -> dict[str, int]:
    """What calls meet after such pauses, seconds, on connections that are kept for `expiry`: errors by class."""
    library: Any = service.module
    met: dict[str, int] = {}

    async def ask(pause: float) -> None:
        asked = prepared(service)
        limits = library.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=expiry)
        async with library.AsyncClient(
            trust_env=False, verify=service.url.startswith("https:"), limits=limits, timeout=30.0
        ) as client:
            for wait in (pause, 0.0):
                if not budget.take():
                    return
                try:
                    await client.request(**asked)
                except library.TransportError as error:
                    met[type(error).__name__] = met.get(type(error).__name__, 0) + 1
                await asyncio.sleep(wait)

    async with asyncio.TaskGroup() as tasks:
        for each in pauses:
            tasks.create_task(ask(each))
    return met
