"""A small HTTP/1.1 server on a loopback socket that does what a test tells it to, byte for byte.

Real sockets, and gates instead of sleeps: a handler runs in the thread of its connection, and may wait for the test, or
for its client to leave.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

PATIENCE = 20.0
"""Seconds until something that never happens fails the test."""


_UNREAD = 256 * 1024
"""Bytes that a server which leaves bodies to its handlers lets lie: several segments of the loopback, of 64 KiB each.
Behind a window smaller than one, each waits for the sender's probing timer: 6 MiB took 0.2 or 39 seconds, by chance."""


class Gate:
    """What one side waits for and the other side opens."""

    def __init__(self) -> None:
        self._event = threading.Event()

    @property
    def is_open(self) -> bool:
        """Whether it has been opened."""
        return self._event.is_set()

    def open(self) -> None:
        """Let through whoever waits, now and later."""
        self._event.set()

    def wait(self) -> None:
        """Wait until it is open."""
        if not self._event.wait(PATIENCE):
            raise AssertionError("a gate was never opened")

    def pause(self, seconds: float) -> None:
        """Let time pass, where time passing is the point of the test; an open gate ends it early."""
        self._event.wait(seconds)


class _GoneError(Exception):
    """The client has left, or the server closes."""


@dataclass(slots=True)
class Asked:
    """A request as it arrived."""

    number: int
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class _Line:
    """What was received on a connection and not yet used."""

    socket: socket.socket
    received: bytearray = field(default_factory=bytearray)

    def until(self, mark: bytes) -> bytes:
        while mark not in self.received:
            self._more()
        taken, _, self.received = self.received.partition(mark)
        return bytes(taken)

    def exactly(self, count: int) -> bytes:
        while len(self.received) < count:
            self._more()
        taken = bytes(self.received[:count])
        del self.received[:count]
        return taken

    def _more(self) -> None:
        try:
            piece = self.socket.recv(65536)
        except OSError as error:
            raise _GoneError from error
        if not piece:
            raise _GoneError
        self.received += piece


@dataclass(slots=True)
class Conversation:
    """One request, and the means to answer it."""

    asked: Asked
    _line: _Line
    keeps: bool = False

    def reply(self, status: int = 200, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        """The whole answer at once; the connection is kept."""
        self.begin(status, {"content-length": str(len(body)), **(headers or {})})
        self.send(body)
        self.keeps = True

    def reply_without_a_body(self, status: int, headers: Mapping[str, str] | None = None) -> None:
        """A head alone, as of 204, 304 and the answer to HEAD; the connection is kept."""
        self.begin(status, headers or {})
        self.keeps = True

    def begin(self, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """The head."""
        lines = [f"HTTP/1.1 {status} Whatever", *(f"{name}: {value}" for name, value in (headers or {}).items())]
        self.send(("\r\n".join(lines) + "\r\n\r\n").encode())

    def begin_stream(self, content_type: str = "text/event-stream") -> None:
        """The head of a body that comes in chunks."""
        self.begin(200, {"content-type": content_type, "transfer-encoding": "chunked"})

    def chunk(self, data: bytes) -> None:
        """A chunk, on its way at once."""
        self.send(b"%x\r\n%s\r\n" % (len(data), data))

    def end(self) -> None:
        """The proper end of a chunked body; the connection is kept."""
        self.send(b"0\r\n\r\n")
        self.keeps = True

    def drip(self, data: bytes, pause: float) -> None:
        """A byte at a time, so many seconds apart."""
        for byte in data:
            self.send(bytes([byte]))
            self.pause(pause)

    def pause(self, seconds: float) -> None:
        """Let time pass, where time passing is the point of the test."""
        time.sleep(seconds)

    def wait_for_the_client_to_leave(self) -> None:
        """Say nothing until the client closes its end."""
        with contextlib.suppress(OSError):
            while self._line.socket.recv(4096):
                pass

    def receive(self, count: int) -> bytes:
        """So many further bytes of the client's; of a body, where the server leaves bodies to its handler."""
        return self._line.exactly(count)

    def reset(self) -> None:
        """Close the connection the hard way: the client reads a reset."""
        self._line.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.keeps = False

    def send(self, data: bytes) -> None:
        """These bytes, as they are."""
        try:
            self._line.socket.sendall(data)
        except OSError as error:
            raise _GoneError from error


Handler = Callable[[Conversation], None]


def replies(status: int = 200, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Handler:
    """Always this answer."""
    return lambda talk: talk.reply(status, body, headers)


def streams(*data: str, done: bool = True) -> Handler:
    """A stream of events, a chunk each; `done` sends `[DONE]`."""

    def handler(talk: Conversation) -> None:
        talk.begin_stream()
        for event in data:
            talk.chunk(f"data: {event}\n\n".encode())
        if done:
            talk.chunk(b"data: [DONE]\n\n")
        talk.end()

    return handler


def says_nothing(talk: Conversation) -> None:
    """Take the request and never answer."""
    talk.wait_for_the_client_to_leave()


def script(*handlers: Handler) -> Handler:
    """One handler a request, in order of arrival; the last one answers all that follow."""
    remaining = list(handlers)
    lock = threading.Lock()

    def handler(talk: Conversation) -> None:
        with lock:
            following = remaining.pop(0) if len(remaining) > 1 else remaining[0]
        following(talk)

    return handler


def by_attempt(*handlers: Handler) -> Handler:
    """One handler an attempt of the call to a path, in their order; each waits until the one before it has arrived.

    The header of `ways.Numbered` tells which it is: requests that are under way side by side may arrive in any order.
    """
    arrived: dict[tuple[str, int], Gate] = {}

    def handler(talk: Conversation) -> None:
        path, number = talk.asked.path, int(talk.asked.headers["attempt"])
        arrived.setdefault((path, number), Gate()).open()
        if number > 1:
            arrived.setdefault((path, number - 1), Gate()).wait()
        handlers[number - 1](talk)

    return handler


@dataclass(kw_only=True)
class Listener:
    """Accepts on a loopback port for the time of a `with` block, a thread a connection.

    What fails there fails the block.
    """

    asked: list[Asked] = field(default_factory=list[Asked])
    """Every request, in order of arrival."""
    _sockets: set[socket.socket] = field(default_factory=set[socket.socket])
    _threads: list[threading.Thread] = field(default_factory=list[threading.Thread])
    _problems: list[Exception] = field(default_factory=list[Exception])
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _arrived: threading.Condition = field(default_factory=threading.Condition)
    connections: int = 0
    """How many connections were opened so far."""

    @property
    def url(self) -> str:
        """Where it serves."""
        return f"http://127.0.0.1:{self._port}"

    def wait_until_closed(self, connections: int) -> None:
        """Wait until this side has closed so many connections."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: self.connections - len(self._sockets) >= connections, PATIENCE):
                raise AssertionError(f"{len(self._sockets)} of {self.connections} connections are still open")

    def wait_for(self, requests: int) -> None:
        """Wait until so many requests have arrived."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: len(self.asked) >= requests, PATIENCE):
                raise AssertionError(f"{len(self.asked)} requests arrived, not {requests}")

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._port: int = self._listener.getsockname()[1]
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join(PATIENCE)
        with self._lock:
            for connection in self._sockets:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
        if error is None:
            for problem in self._problems:
                raise problem

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            with self._lock:
                self.connections += 1
                self._sockets.add(connection)
                self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            self.serve(connection)
        except (_GoneError, OSError):
            pass
        except Exception as problem:  # noqa: BLE001 - raised where the server is closed
            self._problems.append(problem)
        finally:
            with self._lock:
                self._sockets.discard(connection)
                connection.close()
            with self._arrived:
                self._arrived.notify_all()

    def serve(self, connection: socket.socket) -> None:
        """Answer one connection to its end."""
        raise NotImplementedError

    def note(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Asked:
        """A request has arrived."""
        with self._arrived:
            asked = Asked(len(self.asked) + 1, method, path, headers, body)
            self.asked.append(asked)
            self._arrived.notify_all()
        return asked


@dataclass
class Server(Listener):
    """Speaks HTTP/1.1: a handler is called for each request, in the thread of its connection."""

    handler: Handler
    reads_bodies: bool = True
    """Whether a request is read to its end before its handler is called."""

    def serve(self, connection: socket.socket) -> None:
        """Answer one connection to its end."""
        if not self.reads_bodies:  # whoever sends a large body is to be stopped by it soon
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _UNREAD)
        line = _Line(connection)
        while self._converse(line):
            pass

    def _converse(self, line: _Line) -> bool:
        head = line.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        body = b""
        if not self.reads_bodies:
            pass
        elif headers.get("transfer-encoding") == "chunked":
            while size := int(line.until(b"\r\n"), 16):
                body += line.exactly(size)
                line.until(b"\r\n")
            line.until(b"\r\n")
        else:
            body = line.exactly(int(headers.get("content-length", "0")))
        talk = Conversation(self.note(method, path, headers, body), line)
        self.handler(talk)
        return talk.keeps


def closed_port() -> str:
    """The URL of a port on which nobody listens, nor ever will: a socket that stays is bound to it."""
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    port: int = taken.getsockname()[1]
    taken.detach()
    return f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def never_accepts() -> Generator[str]:
    """The URL of a port at which connecting takes for ever: its queue is full, and nobody takes from it."""
    with contextlib.ExitStack() as sockets:
        listener = sockets.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            queued = sockets.enter_context(socket.socket())
            queued.setblocking(False)  # noqa: FBT003 - the standard library's signature
            queued.connect_ex(listener.getsockname())
        port: int = listener.getsockname()[1]
        yield f"http://127.0.0.1:{port}"
