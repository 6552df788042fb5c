"""A server in a process of its own that behaves as it is told, and counts what it sees.

    with origin(Behaviour(delay=0.05, slots=4)) as server:
        client.get(server.url)
        server.counts()   # Counts(requests=1, connections=1, ...)

It listens on loopback, on a port that the system chooses, and takes the last core of the machine for itself where
there is more than one; `client_cores()` are the others. Its end is that of the block, or of the process that began it.

    /            a plain answer
    /events      a small chat, all its events at once
    /events/N    N events of 220 bytes, as fast as they are read; /events/N/MS with so many milliseconds between two;
                 with the last comes the end of a chat: an event that says why it stopped, and [DONE]
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import subprocess
import sys
import time
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import IO, Any

EVENTS: tuple[bytes, ...] = (
    *(b'data: {"choices": [{"index": 0, "delta": {"content": "word "}}]}\n\n' for _ in range(10)),
    b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\n',
    b"data: [DONE]\n\n",
)
"""A small chat, as a model server streams it; `/events` is answered with it."""
_HEAD = b"HTTP/1.1 %d %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n%b\r\n"
_CHUNK = (
    b'data: {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000, "model": "builtin", '
    b'"choices": [{"index": 0, "delta": {"role": "assistant", "content": "word%d "}, "finish_reason": null}]}\n\n'
)
_END = b"".join(EVENTS[-2:])


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How the server answers. Seconds throughout."""

    delay: float = 0.0
    """How long an answer takes the server, once its turn has come."""
    spread: str = "fixed"
    """How the delays are spread around their mean: `fixed`, `exponential` or `lognormal`."""
    slots: int | None = None
    """How many requests it works on at once; the others wait in line, first come, first served. None is no limit."""
    idle: float | None = None
    """A connection on which nothing was asked for so long is closed."""
    body: int = 2
    """Bytes of a plain answer."""
    frozen: tuple[float, float] | None = None
    """(every, for): it stands still for so long, so often."""
    dead: tuple[float, float] | None = None
    """(from, to): seconds after its first request within which it answers 503."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What the server has seen since it began, or since the last `reset`."""

    requests: int
    connections: int
    """Accepted."""
    open: int
    """Open by now."""
    most_open: int
    most_at_once: int
    """The most requests it had at one moment, those in line included."""
    closed_idle: int

    @property
    def reuse(self) -> float:
        """The share of the requests that found a connection open (accepted connections of before count, too)."""
        return 1 - self.connections / self.requests if self.requests else 0.0


class Origin:
    """A server that is running."""

    def __init__(self, url: str, pipe: IO[str], answers: IO[str]) -> None:
        self.url = url
        """Without a slash at its end."""
        self._pipe = pipe
        self._answers = answers

    def counts(self) -> Counts:
        """What it has seen."""
        return Counts(**self._ask("counts"))

    def reset(self) -> None:
        """Count from zero, but for the connections that are open; a plan of dying begins anew."""
        self._ask("reset")

    def arrivals(self) -> list[float]:
        """When requests arrived since the last reset, seconds on `time.monotonic`; at most the first 200,000."""
        found: list[float] = self._ask("arrivals")["arrivals"]
        return found

    def behave(self, behaviour: Behaviour) -> None:
        """From now on, behave so."""
        self._ask("behave " + json.dumps(asdict(behaviour)))

    def _ask(self, question: str) -> dict[str, Any]:
        print(question, file=self._pipe, flush=True)
        answer: dict[str, Any] = json.loads(self._answers.readline())
        return answer


def client_cores() -> set[int]:
    """The cores that are left to whoever makes the load."""
    cores = sorted(_cores())
    return set(cores[:-1]) or set(cores)


def _cores() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


@contextmanager
def apart() -> Generator[None]:
    """Keep this process, for the time of the block, off the core that servers run on."""
    before = _cores()
    if len(before) > 1:
        os.sched_setaffinity(0, client_cores())
    try:
        yield
    finally:
        if len(before) > 1:
            os.sched_setaffinity(0, before)


@contextmanager
def origin(behaviour: Behaviour | None = None) -> Generator[Origin]:
    """A server, for the time of the block."""
    with subprocess.Popen(  # noqa: S603 - our own interpreter and our own file
        [sys.executable, "-P", __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        if process.stdout is None or process.stdin is None:
            raise ValueError("the process was started without pipes")
        try:
            server = Origin(process.stdout.readline().strip(), process.stdin, process.stdout)
            server.behave(behaviour or Behaviour())
            yield server
        finally:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()  # which it takes as its end, also when this process dies


class _Server:
    """What all connections of the process have in common."""

    def __init__(self) -> None:
        self.behaviour = Behaviour()
        self.at_work = 0
        self.in_line: deque[asyncio.Future[None]] = deque()
        self.first: float | None = None
        self.chance = random.Random(1)  # noqa: S311 - the same delays each time
        self.open = 0
        self.at_once = 0
        self.reset()

    def reset(self) -> None:
        self.requests = self.connections = self.closed_idle = self.most_at_once = 0
        self.most_open = self.open
        self.moments: list[float] = []
        self.first = None

    def counts(self) -> Counts:
        return Counts(self.requests, self.connections, self.open, self.most_open, self.most_at_once, self.closed_idle)

    def arrived(self) -> None:
        now = time.monotonic()
        self.first = now if self.first is None else self.first
        self.requests += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        if len(self.moments) < _MOST_MOMENTS:
            self.moments.append(now)

    @property
    def is_plain(self) -> bool:
        """Whether it answers at once."""
        told = self.behaviour
        return not told.delay and told.slots is None and told.frozen is None and told.dead is None

    async def work(self) -> int:
        """Take the time that an answer takes; gives its status."""
        told = self.behaviour
        now = time.monotonic()
        if told.dead is not None and self.first is not None and told.dead[0] <= now - self.first < told.dead[1]:
            return 503
        if told.frozen is not None:
            every, last = told.frozen
            into = (now - (self.first or now)) % every
            if into < last:
                await asyncio.sleep(last - into)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.in_line.append(turn)
        self.hand_out()
        await turn
        try:
            if told.delay:
                await asyncio.sleep(self._delay(told))
        finally:
            self.at_work -= 1
            self.hand_out()
        return 200

    def hand_out(self) -> None:
        """Slots that are free to those who are first in line; more or fewer of them, when it was told so meanwhile."""
        slots = self.behaviour.slots
        while self.in_line and (slots is None or self.at_work < slots):
            turn = self.in_line.popleft()
            if not turn.done():
                self.at_work += 1
                turn.set_result(None)

    def _delay(self, told: Behaviour) -> float:
        if told.spread == "exponential":
            return self.chance.expovariate(1 / told.delay)
        if told.spread == "lognormal":
            return self.chance.lognormvariate(0, 1) * told.delay / 1.6487212707  # the mean of it is sqrt(e)
        return told.delay


_MOST_MOMENTS = 200_000


class _Answering(asyncio.Protocol):
    """One connection. Requests come one after the other; their bodies are read, and not looked at."""

    def __init__(self, server: _Server) -> None:
        self._server = server
        self._received = b""
        self._idle: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._may_write = asyncio.Event()
        self._may_write.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        server = self._server
        server.connections += 1
        server.open += 1
        server.most_open = max(server.most_open, server.open)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._server.open -= 1
        self._may_write.set()
        self._stop_waiting()

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._task is None:
            self._next()

    def _next(self) -> None:
        while self._task is None:
            head, blank, rest = self._received.partition(b"\r\n\r\n")
            length = _length_of(head)
            if not blank or len(rest) < length:
                return
            self._received = rest[length:]
            self._stop_waiting()
            server = self._server
            server.arrived()
            path = head.split(b" ", 2)[1]
            if server.is_plain and path == b"/":
                self._write(_plain(200, server.behaviour.body))
                self._done()
            else:
                self._task = asyncio.ensure_future(self._answer(path.decode()))

    async def _answer(self, path: str) -> None:
        try:
            status = await self._server.work()
            if path.startswith("/events") and status == 200:  # noqa: PLR2004 - it is the one that is good
                await self._stream(path)
            else:
                self._write(_plain(status, self._server.behaviour.body))
        finally:
            self._task = None
            self._done()
        self._next()

    async def _stream(self, path: str) -> None:
        _, _, *told = path.split("/")
        if not told:
            self._write(_HEAD % (200, b"OK", b"text/event-stream", sum(map(len, EVENTS)), b"") + b"".join(EVENTS))
            return
        number, gap = int(told[0]), float(told[1]) / 1000 if told[1:] else 0.0
        end = _END if number else b""
        size = sum(len(_CHUNK % of) for of in range(number)) + len(end)
        self._write(_HEAD % (200, b"OK", b"text/event-stream", size, b""))
        batch = 1 if gap else 64
        for begin in range(0, number, batch):
            if gap and begin:
                await asyncio.sleep(gap)
            await self._may_write.wait()
            last = min(begin + batch, number)
            self._write(b"".join(_CHUNK % of for of in range(begin, last)) + (end if last == number else b""))

    def _write(self, data: bytes) -> None:
        if isinstance(self._transport, asyncio.WriteTransport) and not self._transport.is_closing():
            self._transport.write(data)

    def _done(self) -> None:
        self._server.at_once -= 1
        self._wait()

    def _wait(self) -> None:
        idle = self._server.behaviour.idle
        if idle is not None:
            self._idle = asyncio.get_running_loop().call_later(idle, self._close)

    def _stop_waiting(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _close(self) -> None:
        self._server.closed_idle += 1
        self._transport.close()


def _length_of(head: bytes) -> int:
    name = head.lower().find(b"\r\ncontent-length:")
    return int(head[name + 17 :].split(b"\r\n", 1)[0]) if name >= 0 else 0


def _plain(status: int, size: int) -> bytes:
    words = b"OK" if status == 200 else b"Service Unavailable"  # noqa: PLR2004 - the good one, and the other
    body = b"ok" if size == 2 else b"x" * size  # noqa: PLR2004 - as long as the word
    return _HEAD % (status, words, b"text/plain", len(body), b"") + body


async def _serve() -> None:
    state = _Server()
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(lambda: _Answering(state), "127.0.0.1", 0, backlog=4096)
    print(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", flush=True)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        what, _, told = line.strip().partition(" ")
        answer: dict[str, Any] = {}
        if what == "counts":
            answer = asdict(state.counts())
        elif what == "reset":
            state.reset()
        elif what == "arrivals":
            answer = {"arrivals": state.moments}
        elif what == "behave":
            state.behaviour = Behaviour(**json.loads(told))
            state.first = None
            state.hand_out()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    if len(_cores()) > 1:
        os.sched_setaffinity(0, {max(_cores())})
    asyncio.run(_serve())
