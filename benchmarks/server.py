"""A tiny HTTP/1.1 server in a process of its own, so that it takes no time from the process that is measured."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager

EVENTS: tuple[bytes, ...] = (
    *(b'data: {"choices": [{"index": 0, "delta": {"content": "word "}}]}\n\n' for _ in range(10)),
    b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\n',
    b"data: [DONE]\n\n",
)
"""A small chat, as a model server streams it; `/events` is answered with it."""
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n"
_ANSWER = _HEAD % (b"text/plain", 2) + b"ok"
_STREAM = _HEAD % (b"text/event-stream", sum(map(len, EVENTS))) + b"".join(EVENTS)


@contextmanager
def loopback() -> Generator[str]:
    """The URL of the server, for the time of the block."""
    with subprocess.Popen(  # noqa: S603 - our own interpreter and our own file
        [sys.executable, "-P", __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        if process.stdout is None or process.stdin is None:
            raise ValueError("the process was started without pipes")
        yield process.stdout.readline().strip()
        process.stdin.close()  # which it takes as its end, also when this process dies


class _Answering(asyncio.Protocol):
    """Answers every request at once; requests have no body."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = transport
        self._received = b""

    def data_received(self, data: bytes) -> None:
        """Answer the requests that are whole."""
        *requests, self._received = (self._received + data).split(b"\r\n\r\n")
        if isinstance(self._transport, asyncio.WriteTransport):
            for request in requests:
                self._transport.write(_STREAM if request.startswith(b"GET /events ") else _ANSWER)


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Answering, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve())
