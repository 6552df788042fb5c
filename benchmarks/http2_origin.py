"""A server for HTTP/2 in the clear, and HTTP/1.1 on the same port: hypercorn, in a process of its own.

It answers everything after 50 ms; `/counts` at once with what it has seen since the last `/reset`. Whoever speaks
HTTP/2 with it must know beforehand that it does (RFC 9113 section 3.3).
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

import httpx

DELAY = 0.05
"""Seconds that an answer takes."""


def is_there() -> bool:
    """Whether hypercorn is installed, and what httpx needs for HTTP/2."""
    return find_spec("hypercorn") is not None and find_spec("h2") is not None


class Http2Counts(NamedTuple):
    """What the server has seen since the last `reset`."""

    requests: int
    connections: int
    """On which something was asked, and nothing before."""


class Http2Origin:
    """A server that is running."""

    def __init__(self, url: str) -> None:
        self.url = url

    def reset(self) -> None:
        """Count from zero, connections that are open aside."""
        httpx.get(f"{self.url}/reset", trust_env=False)

    def counts(self) -> Http2Counts:
        """What it has seen since then."""
        return Http2Counts(**httpx.get(f"{self.url}/counts", trust_env=False).json())


@contextmanager
def http2_origin() -> Generator[Http2Origin]:
    """A server, for the time of the block."""
    with subprocess.Popen(  # noqa: S603 - our own interpreter and our own file
        [sys.executable, "-P", __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        if process.stdout is None or process.stdin is None:
            raise ValueError("the process was started without pipes")
        try:
            yield Http2Origin(process.stdout.readline().strip())
        finally:
            with suppress(BrokenPipeError):
                process.stdin.close()  # which it takes as its end


class _Counting:
    def __init__(self) -> None:
        self.requests = 0
        self.known: set[Any] = set()
        self.opened: set[Any] = set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        del receive  # whatever it says, it is answered
        body = b"ok"
        if scope["path"] == "/counts":
            body = json.dumps({"requests": self.requests, "connections": len(self.opened)}).encode()
        elif scope["path"] == "/reset":
            self.known |= self.opened
            self.opened.clear()
            self.requests = 0
        else:
            self.requests += 1
            if scope["client"] not in self.known:
                self.opened.add(scope["client"])
            await asyncio.sleep(DELAY)
        length = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": length})
        await send({"type": "http.response.body", "body": body})


def _say_nothing(_loop: asyncio.AbstractEventLoop, _context: dict[str, Any]) -> None:
    """For what is told when it does not matter any more."""


async def _serve() -> None:
    theirs: Any = import_module("hypercorn.asyncio")  # only the process that serves has it
    config: Any = import_module("hypercorn.config").Config()
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listening:
        config.bind = [f"fd://{os.dup(listening.fileno())}"]
        config.errorlog = None
        config.keep_alive_timeout = 75.0
        print(f"http://127.0.0.1:{listening.getsockname()[1]}", flush=True)

        # A connection that is still open at the end is cancelled, which streams of Python 3.11 tell as a failure.
        asyncio.get_running_loop().set_exception_handler(_say_nothing)

        async def ended() -> None:
            await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)

        await theirs.serve(_Counting(), config, shutdown_trigger=ended)


if __name__ == "__main__":
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    asyncio.run(_serve())
