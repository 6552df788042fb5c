"""What to set, as values and as Python to copy."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from textwrap import indent
from urllib.parse import urlsplit

SAFE_IDLE = 4.0
"""Seconds for which an unused connection is kept where the server was not seen to close one: less than the 5 of uvicorn
and Node, which are the shortest that are common."""
_SHARE_OF_THE_IDLE_LIMIT = 0.8
"""A connection is given up this much before its server would, so that no request meets one that is being closed."""
MOST = {"httpx": 32, "httpx2": 128}
"""Calls at once above which a library's pool costs more than it brings, httpx 0.28.1 and httpx2 2.16."""
_SHARD = 8
_LEAST = 1.0
_PATIENCE = 5.0
"""A call that takes five times as long as 99 of 100 is given up."""
_PREFILL = 120.0
"""As `Stack.inference`: a single token says nothing about how long a long prompt takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """Settings of a client for one server. Seconds."""

    limit: int
    """Calls at once; as many connections, all kept."""
    keepalive_expiry: float
    connect: float
    read: float
    deadline: float
    queue: int = 100


def keepalive_expiry(*, closed_after: float | None, watched: float, rtt: float) -> float:
    """How long an unused connection is kept: less than the server keeps it, by a fifth and by the way there and back.

    `closed_after` is how long the server was seen to keep one; None that it closed none while it was `watched`.
    """
    if closed_after is None:
        return _floored(min(SAFE_IDLE, _SHARE_OF_THE_IDLE_LIMIT * watched))
    return _floored(max(0.0, _SHARE_OF_THE_IDLE_LIMIT * closed_after - rtt))


def advise(
    *, limit: int, rate: float, p99: float, connect: float, callers: int, expiry: float, is_model: bool = False
) -> Advice:
    """Settings from what was measured: `rate` a second and the `p99` of an answer at the limit, that of connecting.

    A call may wait for all the callers before it, twice, and then be answered as late as an attempt may be.
    """
    read = _ceiled(max(_LEAST, _PATIENCE * p99))
    read = max(_PREFILL, read) if is_model else read
    deadline = _ceiled(max(2 * read, 2 * callers / rate + read if rate else 0.0))
    return Advice(
        limit=limit,
        keepalive_expiry=expiry,
        connect=_ceiled(max(_LEAST, _PATIENCE * connect)),
        read=read,
        deadline=deadline,
        queue=max(100, callers),
    )


def caution(limit: int, library: str) -> str | None:
    """What is to be known about so many calls at once in this library, in a sentence."""
    most = MOST[library]
    if limit <= most:
        return None
    shards = math.ceil(limit / _SHARD)
    instead = "httpx2, or " if library == "httpx" else ""
    slow = f"{library}'s pool gets slow above {most} calls at once"
    return f"{slow}: use {instead}{shards} clients of {_SHARD} places each"


def program(advice: Advice, *, url: str, path: str, method: str, content: object, library: str) -> str:
    """A program that makes such a client and asks once: complete, to be copied. Headers are the reader's to add."""
    shown = urlsplit(path).path or "/"
    asked = f"client.get({shown!r})" if method == "GET" else f"client.request({method!r}, {shown!r})"
    if content is not None:
        asked = f"{asked[:-1]}, json={_literal(content)})"
    queue = f", queue={advice.queue}" if advice.queue > 100 else ""  # noqa: PLR2004 - the default
    policies = (
        f"Deadline({advice.deadline:g}),\n"
        f"ConcurrencyLimit({advice.limit}{queue}),\n"
        f"AttemptTimeout(connect={advice.connect:g}, pool={advice.connect:g}, write=10, read={advice.read:g}),\n"
    )
    return (
        "import asyncio\n\n"
        f"import {library}\n"
        "from resilient_foundry import AttemptTimeout, ConcurrencyLimit, Deadline, Stack\n\n"
        f"stack = Stack(\n{indent(policies, '    ')})\n"
        f"limits = {library}.Limits(\n"
        f"    max_connections={advice.limit}, max_keepalive_connections={advice.limit},"
        f" keepalive_expiry={advice.keepalive_expiry:g}\n)\n\n\n"
        "async def main() -> None:\n"
        f"    client = stack.client({library}.AsyncClient, base_url={url!r}, limits=limits)\n"
        "    async with client:\n"
        f"        response = await {asked}\n"
        "        print(response.status_code)\n\n\n"
        "asyncio.run(main())\n"
    )


def _literal(content: object) -> str:
    """JSON as Python writes it."""
    return repr(json.loads(json.dumps(content)))


def _ceiled(seconds: float) -> float:
    """Rounded up to two digits; of no time at all, and of no figure, it is what it was."""
    return _rounded(seconds, math.ceil)


def _floored(seconds: float) -> float:
    """Rounded down to two digits."""
    return _rounded(seconds, math.floor)


def _rounded(seconds: float, whole: Callable[[float], int]) -> float:
    if not seconds > 0:
        return seconds
    digits = 1 - math.floor(math.log10(seconds))
    scale = 10.0**digits
    return round(whole(round(seconds * scale, 6)) / scale, max(digits, 0))
