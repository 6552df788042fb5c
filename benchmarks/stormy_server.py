"""A server that streams chats, in a process of its own, and whose weather is told to it line by line on its input.

`calm`: every chat is answered. `trouble`: a share of them is reset, cut, stalled, rejected or failed in the stream.
`outage`: every request is turned away with 503, or its connection reset, half and half. `counts` prints how many
requests arrived in each tenth of a second since the start, as one line of JSON. It ends with its input.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

WORDS = tuple(f"word{number} " for number in range(8))
TEXT = "".join(WORDS)
"""What each chat answers."""
PAUSE = 0.15
"""Seconds between two words."""
_TENTH = 0.1
_DICE = random.Random(1)  # noqa: S311 - the same storm every time
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"
_DOWN = b"HTTP/1.1 503 Down\r\nRetry-After: 0.2\r\nContent-Length: 4\r\n\r\ndown"
_FAULTS = {
    "reset": 0.06,
    "cut before the first event": 0.05,
    "stall before the first event": 0.02,
    "error in the stream": 0.05,
    "busy": 0.06,
    "cut in the middle": 0.04,
    "stall in the middle": 0.02,
}
"""The shares of the requests that these befall in trouble."""


def _event(content: str, finish: str | None = None) -> bytes:
    said = {"choices": [{"index": 0, "delta": {"content": content}, "finish_reason": finish}]}
    return _chunk(b"data: " + json.dumps(said).encode() + b"\n\n")


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


_WORDS = [_event(word) for word in WORDS]
_END = _event("", "stop") + _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"
_ERROR = _chunk(b'data: {"error": {"type": "server_error", "message": "out of luck"}}\n\n') + b"0\r\n\r\n"


class _Server:
    def __init__(self) -> None:
        self.weather = "calm"
        self.started = time.monotonic()
        self.counts: Counter[int] = Counter()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while await self.converse(reader, writer):
                pass
        with contextlib.suppress(OSError):
            writer.close()

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        _, _, length = head.partition(b"content-length:")
        await reader.readexactly(int(length.split(b"\r\n", 1)[0] or 0))
        self.counts[self.tenth()] += 1
        fault = self.fault()
        if fault == "reset":
            _reset(writer)
            return False
        if fault in {"busy", "down"}:
            writer.write(_BUSY if fault == "busy" else _DOWN)
            return True
        writer.write(_HEAD)
        if fault == "error in the stream":
            writer.write(_ERROR)
            return True
        if fault.endswith("before the first event"):
            return await self.break_off(fault, reader, writer)
        for number, word in enumerate(_WORDS):
            writer.write(word)
            await asyncio.sleep(PAUSE)
            if number == len(_WORDS) // 2 and fault.endswith("in the middle"):
                return await self.break_off(fault, reader, writer)
        writer.write(_END)
        await writer.drain()
        return True

    async def break_off(self, fault: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        if fault.startswith("stall"):
            await reader.read(1)  # until the client leaves
        _reset(writer)
        return False

    def tenth(self) -> int:
        return int((time.monotonic() - self.started) / _TENTH)

    def fault(self) -> str:
        if self.weather == "outage":
            return "down" if _DICE.random() < 0.5 else "reset"  # noqa: PLR2004 - half and half
        if self.weather == "calm":
            return ""
        drawn = _DICE.random()
        for fault, share in _FAULTS.items():
            drawn -= share
            if drawn < 0:
                return fault
        return ""


def _reset(writer: asyncio.StreamWriter) -> None:
    wire: Any = writer.get_extra_info("socket")
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()


async def _main() -> None:
    server = _Server()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, backlog=2048)
    print(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", flush=True)
    loop = asyncio.get_running_loop()
    while line := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
        if line == "counts":
            print(json.dumps([server.counts[tenth] for tenth in range(server.tenth())]), flush=True)
        else:
            server.weather = line


@dataclass(frozen=True, slots=True)
class Stormy:
    """The server, as seen from the process that measures."""

    url: str
    _process: subprocess.Popen[str]

    def turn(self, weather: str) -> None:
        """Change the weather."""
        self._ask(weather)

    def counts(self) -> list[int]:
        """Requests that arrived, a number for each tenth of a second since the start."""
        self._ask("counts")
        if self._process.stdout is None:
            raise ValueError("the process was started without pipes")
        counts: list[int] = json.loads(self._process.stdout.readline())
        return counts

    def _ask(self, line: str) -> None:
        if self._process.stdin is None:
            raise ValueError("the process was started without pipes")
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()


@contextmanager
def stormy() -> Generator[Stormy]:
    """The server, for the time of the block."""
    with subprocess.Popen(  # noqa: S603 - our own interpreter and our own module
        [sys.executable, "-P", __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        if process.stdout is None or process.stdin is None:
            raise ValueError("the process was started without pipes")
        yield Stormy(process.stdout.readline().strip(), process)
        process.stdin.close()  # which it takes as its end, also when this process dies


if __name__ == "__main__":
    asyncio.run(_main())
