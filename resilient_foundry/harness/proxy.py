"""A proxy that breaks connections on purpose, between an HTTP client and a real server.

Real sockets, real resets, real silence: what a client must survive, and what no server can be asked to do. A plan
chooses a fault for each request; everything else passes as it is.
"""

import contextlib
import http
import json
import selectors
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType, TracebackType
from typing import Final, NamedTuple, Self, TypeAlias
from urllib.parse import urlsplit

LONGEST: Final = 60.0  # seconds that a fault may last, so that a test which forgets its client still ends
_HEAD_BYTES: Final = 65_536  # of a request's or an answer's head
_LINE_BYTES: Final = 4096  # of the line before a chunk
_REQUEST_BYTES: Final = 64 * 1024 * 1024  # of a request's body
_KEPT_BYTES: Final = 65_536  # of a request's body in the record
_PIECE: Final = 65_536  # bytes taken from a socket at once
_BACKLOG: Final = 512
_LOOK: Final = 0.05  # seconds between two looks at whether to end, where nothing can wake the waiting thread
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER on, for 0 seconds: close() sends RST


@dataclass(frozen=True, slots=True)
class Pass:
    """No fault: request and answer are forwarded as they are."""


@dataclass(frozen=True, slots=True)
class Delay:
    """The request is forwarded `seconds` late."""

    seconds: float

    def __post_init__(self) -> None:
        _check_seconds(self.seconds)


@dataclass(frozen=True, slots=True)
class Reset:
    """The connection is reset (RST) when the request has arrived; the server never sees it."""


@dataclass(frozen=True, slots=True)
class CloseSilently:
    """The connection is closed (FIN) without an answer when the request has arrived; the server never sees it."""


@dataclass(frozen=True, slots=True)
class Stall:
    """The request is taken and never answered; after `seconds` the connection is closed. The server never sees it."""

    seconds: float = LONGEST

    def __post_init__(self) -> None:
        _check_seconds(self.seconds)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the proxy's own; the server never sees the request. `Content-Length` is added."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""

    def __post_init__(self) -> None:
        if not 200 <= self.status <= 599:  # noqa: PLR2004 - the range of final answers
            raise ValueError(f"status is {self.status}; it takes that of a final answer, 200 to 599")
        object.__setattr__(self, "headers", MappingProxyType(dict(self.headers)))


@dataclass(frozen=True, slots=True)
class CutBeforeFirstEvent:
    """The head of the answer arrives, and then the connection is closed before any byte of its body."""


@dataclass(frozen=True, slots=True)
class CutAfterEvents:
    """The connection is closed when `events` events of a stream have arrived whole, with no proper end.

    Events are those with fields, `[DONE]` among them; comments pass and do not count. When the stream has fewer, it is
    cut after its last. So with every fault that counts events; an answer that is no stream of events passes.
    """

    events: int

    def __post_init__(self) -> None:
        _check_events(self.events)


@dataclass(frozen=True, slots=True)
class ResetAfterEvents:
    """The connection is reset when `events` events of a stream have been sent whole.

    A reset overtakes what the client has not read yet: it may see fewer.
    """

    events: int

    def __post_init__(self) -> None:
        _check_events(self.events)


@dataclass(frozen=True, slots=True)
class StallAfterEvents:
    """Silence when `events` events of a stream have arrived whole; after `seconds` the connection is closed."""

    events: int
    seconds: float = LONGEST

    def __post_init__(self) -> None:
        _check_events(self.events)
        _check_seconds(self.seconds)


@dataclass(frozen=True, slots=True)
class Truncate:
    """The stream ends after `events` events as if that were all: a proper end of the body, and no `[DONE]`."""

    events: int

    def __post_init__(self) -> None:
        _check_events(self.events)


@dataclass(frozen=True, slots=True)
class InBandError:
    """The stream reports an error after `events` events and ends properly without `[DONE]`, as Foundry Local 2 does."""

    events: int = 0
    message: str = "token generation failed"

    def __post_init__(self) -> None:
        _check_events(self.events)


@dataclass(frozen=True, slots=True)
class Drip:
    """The body of the answer arrives in pieces of `size` bytes, `seconds` apart."""

    size: int = 1
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size is {self.size}; it takes bytes, one or more")
        _check_seconds(self.seconds)


@dataclass(frozen=True, slots=True)
class Comments:
    """Between head and body of a stream, `count` comments (`: keep-alive`), each after `seconds` of silence."""

    count: int
    seconds: float

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError(f"count is {self.count}; it takes a number of comments, none or more")
        _check_seconds(self.count * self.seconds)


Fault: TypeAlias = (
    Pass
    | Delay
    | Reset
    | CloseSilently
    | Stall
    | Answer
    | CutBeforeFirstEvent
    | CutAfterEvents
    | ResetAfterEvents
    | StallAfterEvents
    | Truncate
    | InBandError
    | Drip
    | Comments
)

Plan: TypeAlias = Callable[[int, str, str], Fault]
"""Chooses the fault for a request by its number (1 for the first), its method and its path."""


def each(*faults: Fault) -> Plan:
    """The plan that gives the first requests these faults, one each in order of arrival, and lets the others pass."""
    remaining = iter(faults)
    return lambda _number, _method, _path: next(remaining, Pass())


def each_post(*faults: Fault) -> Plan:
    """The plan that does so for POST requests only: questions to the management of a server pass."""
    remaining = iter(faults)
    return lambda _number, method, _path: next(remaining, Pass()) if method == "POST" else Pass()


def always(fault: Fault) -> Plan:
    """The plan that gives every POST request the same fault, and lets the others pass."""
    return lambda _number, method, _path: fault if method == "POST" else Pass()


@dataclass(frozen=True, slots=True)
class ProxiedRequest:
    """What the proxy saw of a request so far.

    `body` holds its first 64 KiB. `sent_up` are the bytes sent to the server and `sent_down` those sent to the client,
    heads included. `done` says that the proxy has finished with it.
    """

    number: int
    method: str
    path: str
    fault: Fault
    body: bytes
    sent_up: int
    sent_down: int
    done: bool


class Connections(NamedTuple):
    """How many connections clients have opened since the start, and how many of them are open now."""

    opened: int
    open: int


class FaultProxy:
    """Stands between clients and the server at `upstream`, such as "http://127.0.0.1:5273", and does what `plan` says.

    `plan` is asked for each request, in order of arrival, from the thread of its connection; without one, all pass.
    Every client connection has one connection to the server, and what ends one ends the other in the same way. Speaks
    HTTP/1.1 without `Expect` and without upgrades; a request is read whole before anything is done with it.

    A context manager; raises `OSError` on entering where no loopback port can be had, and `ValueError` where `upstream`
    is no plain HTTP address.
    """

    def __init__(self, upstream: str, plan: Plan | None = None) -> None:
        address = urlsplit(upstream)
        if address.scheme != "http" or address.hostname is None or address.port is None:
            raise ValueError(f"upstream is {upstream!r}; it takes http://HOST:PORT")
        self._upstream = (address.hostname, address.port)
        self._plan = plan or each()
        self._lock = threading.Lock()
        self._exchanges: list[_Exchange] = []
        self._connections: set[_Connection] = set()
        self._opened = 0
        self._reserved: socket.socket | None = None
        self._listener: _Listener | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """Where clients connect, without a slash at the end. It stays the same while connections are refused."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def requests(self) -> tuple[ProxiedRequest, ...]:
        """All requests so far, in order of arrival."""
        with self._lock:
            return tuple(exchange.record() for exchange in self._exchanges)

    @property
    def connections(self) -> Connections:
        """The client connections that it has accepted."""
        with self._lock:
            return Connections(self._opened, len(self._connections))

    def start(self) -> Self:
        """Listen, on a port that is free."""
        # A socket that is bound and never listens keeps the port ours while connections are refused. Elsewhere than on
        # Linux two sockets cannot have the same address that easily; there the port is free meanwhile.
        reserved = _bound(0)
        self._port = reserved.getsockname()[1]
        if sys.platform == "linux":
            self._reserved = reserved
        else:
            reserved.close()
        self.accept()
        return self

    def accept(self) -> None:
        """Accept connections again. When this returns, it is so."""
        with self._lock:
            if self._listener is None:
                self._listener = _Listener(_bound(self._port), self._welcome)

    def refuse(self) -> None:
        """Refuse new connections and close the idle ones; a request that is under way ends, and then its connection.

        When this returns, it is so.
        """
        with self._lock:
            listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            connection.leave_when_idle()

    def close(self) -> None:
        """End everything: listener, connections, threads. Once is enough; more does no harm."""
        self.refuse()
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            connection.end()
        for connection in connections:
            connection.join()
        if self._reserved is not None:
            self._reserved.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        self.close()

    def _welcome(self, client: socket.socket) -> None:
        connection = _Connection(client, self._upstream, self._begin, self._forget)
        with self._lock:
            self._opened += 1
            self._connections.add(connection)
        connection.start()

    def _begin(self, method: str, path: str) -> "_Exchange":
        with self._lock:
            number = len(self._exchanges) + 1
            exchange = _Exchange(number, method, path, self._plan(number, method, path))
            self._exchanges.append(exchange)
            return exchange

    def _forget(self, connection: "_Connection") -> None:
        with self._lock:
            self._connections.discard(connection)


@dataclass(slots=True)
class _Exchange:
    """A request and what has become of it: written by the thread of its connection, read by everyone."""

    number: int
    method: str
    path: str
    fault: Fault
    body: bytes = b""
    sent_up: int = 0
    sent_down: int = 0
    done: bool = False

    def record(self) -> ProxiedRequest:
        return ProxiedRequest(
            self.number, self.method, self.path, self.fault, self.body, self.sent_up, self.sent_down, self.done
        )


class _Listener:
    """Accepts connections in a thread of its own until it is closed."""

    def __init__(self, bound: socket.socket, welcome: Callable[[socket.socket], None]) -> None:
        bound.listen(_BACKLOG)
        self._socket = bound
        self._welcome = welcome
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="fault-proxy-listener", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._wake.close()  # which makes the other end readable
        self._thread.join()

    def _run(self) -> None:
        with self._socket, self._woken, selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while not any(key.fileobj is self._woken for key, _ in selector.select()):
                with contextlib.suppress(OSError):  # the client has gone again
                    client, _ = self._socket.accept()
                    self._welcome(client)


class _EndedError(Exception):
    """A connection has ended, and so must the other: with a reset or without."""

    def __init__(self, *, reset: bool = False) -> None:
        self.reset = reset


class _Wire:
    """One end of a conversation: a socket and what has been received and not used."""

    def __init__(self, connected: socket.socket) -> None:
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connected.settimeout(LONGEST)
        self.socket = connected
        self.received = bytearray()
        self._closing = threading.Lock()

    def receive(self) -> bool:
        """Take what has arrived, or wait for it; False at the end."""
        try:
            piece = self.socket.recv(_PIECE)
        except OSError as error:
            raise _EndedError(reset=True) from error
        self.received += piece
        return bool(piece)

    def send(self, data: bytes) -> None:
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise _EndedError(reset=True) from error

    def take(self, count: int) -> bytes:
        taken = bytes(self.received[:count])
        del self.received[:count]
        return taken

    def has_ended(self) -> bool:
        """Whether a socket that is readable is so because the other side has finished; raises after a reset."""
        try:
            return not self.socket.recv(1, socket.MSG_PEEK)
        except OSError as error:
            raise _EndedError(reset=True) from error

    def wake(self) -> None:
        """Make whoever waits for this socket stop waiting, from another thread."""
        with self._closing, contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def close(self, *, reset: bool = False) -> None:
        with self._closing, contextlib.suppress(OSError), self.socket:
            if reset:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


@dataclass(frozen=True, slots=True)
class _Head:
    """The first line and the headers of a message, and what they say about its body."""

    raw: bytes
    first_line: str
    headers: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, raw: bytes) -> "_Head":
        first_line, *lines = raw.decode("latin-1").rstrip("\r\n").split("\r\n")
        fields = (line.partition(":") for line in lines)
        return cls(raw, first_line, tuple((name.strip().lower(), value.strip()) for name, _, value in fields))

    @property
    def words(self) -> list[str]:
        return [*self.first_line.split(" ", 2), "", ""]

    @property
    def status(self) -> int:
        return int(self.words[1]) if self.words[1].isdigit() else 0

    @property
    def length(self) -> int | None:
        lengths = [value for name, value in self.headers if name == "content-length"]
        return int(lengths[0]) if lengths and lengths[0].isdigit() else None

    @property
    def chunked(self) -> bool:
        return self.has("transfer-encoding", "chunked")

    @property
    def is_stream(self) -> bool:
        return self.has("content-type", "text/event-stream")

    def has(self, name: str, token: str) -> bool:
        return any(token in value.lower() for each_name, value in self.headers if each_name == name)

    def has_body(self, method: str) -> bool:
        return method != "HEAD" and self.status not in {http.HTTPStatus.NO_CONTENT, http.HTTPStatus.NOT_MODIFIED}


class _EventCounter:
    """Finds the ends of events in a stream that arrives in pieces."""

    def __init__(self, limit: int) -> None:
        self._remaining = limit
        self._line = b""  # the beginning of the unfinished line, as much as decides what it is
        self._has_fields = False

    @property
    def reached(self) -> bool:
        return self._remaining == 0

    def within(self, piece: bytes) -> bytes:
        """The part of a piece that belongs to the events within the limit."""
        start = 0
        while not self.reached and (end := piece.find(b"\n", start)) >= 0:
            line = (self._line + piece[start:end]).rstrip(b"\r")
            self._line = b""
            start = end + 1
            if line:
                self._has_fields = self._has_fields or not line.startswith(b":")
            elif self._has_fields:
                self._has_fields = False
                self._remaining -= 1
        if self.reached:
            return piece[:start]
        self._line = (self._line + piece[start:])[:8]
        return piece


class _Connection:
    """A client's connection and, from its first request on, the one to the server; a thread for both."""

    def __init__(
        self,
        client: socket.socket,
        upstream: tuple[str, int],
        begin: Callable[[str, str], _Exchange],
        forget: Callable[["_Connection"], None],
    ) -> None:
        self._client = _Wire(client)
        self._address = upstream
        self._server: _Wire | None = None
        self._begin = begin
        self._forget = forget
        self._lock = threading.Lock()
        self._idle = True
        self._leaving = False
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="fault-proxy-connection", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        self._thread.join()

    def leave_when_idle(self) -> None:
        """Close the connection now if nothing is under way, or else when that has ended."""
        with self._lock:
            self._leaving = True
            if self._idle:
                self._client.wake()

    def end(self) -> None:
        """Close both connections whatever is under way."""
        with self._lock:
            self._leaving = self._ending = True
            self._client.wake()
            if self._server is not None:
                self._server.wake()

    def _run(self) -> None:
        reset = False
        try:
            while self._converse():
                pass
        except _EndedError as ended:
            reset = ended.reset and not self._ending
        finally:
            self._client.close(reset=reset)
            self._drop_server(reset=reset)
            self._forget(self)

    def _converse(self) -> bool:
        """One request and its answer; whether another may follow."""
        raw = self._next_request()
        if raw is None:
            return False
        head = _Head.parse(raw)
        exchange = self._begin(head.words[0], head.words[1])
        try:
            return self._exchange(head, exchange) and not self._leaving
        finally:
            exchange.done = True

    def _next_request(self) -> bytes | None:
        """The head of the next request, once it comes; None when there is none."""
        while not self._client.received:
            wires = [self._client] if self._server is None else [self._client, self._server]
            if self._client not in self._readable(wires):
                return None  # the server has closed its side, or said something that nobody asked for
            if not self._client.receive():
                return None
        with self._lock:
            if self._leaving:
                return None
            self._idle = False
        raw = self._head(self._client, self._client.receive)
        if raw is None:
            raise _EndedError
        return raw

    def _exchange(self, head: _Head, exchange: _Exchange) -> bool:
        request = bytearray(head.raw)
        for raw, payload in self._body(
            self._client, self._client.receive, chunked=head.chunked, length=head.length or 0
        ):
            request += raw
            exchange.body += payload[: _KEPT_BYTES - len(exchange.body)]
            if len(request) > _REQUEST_BYTES:
                raise _EndedError(reset=True)
        match exchange.fault:
            case Reset():
                raise _EndedError(reset=True)
            case CloseSilently():
                return False
            case Stall(seconds):
                self._pause(seconds)
                return False
            case Answer() as answer:
                answer_head = _Head.parse(_spelled(answer))
                self._send_down(answer_head.raw + answer.body, exchange)
                return self._goes_on(head, answer_head)
            case Delay(seconds):
                self._pause(seconds)
            case _:
                pass
        server = self._connect()
        server.send(bytes(request))
        exchange.sent_up += len(request)
        answer_head = self._answer_head(server, exchange)
        return self._answer(answer_head, server, exchange) and self._goes_on(head, answer_head)

    def _goes_on(self, *heads: _Head) -> bool:
        with self._lock:
            self._idle = not self._leaving
        return not any(head.has("connection", "close") for head in heads)

    def _connect(self) -> _Wire:
        if self._server is not None:
            return self._server
        try:
            server = _Wire(socket.create_connection(self._address, timeout=LONGEST))
        except OSError as error:
            raise _EndedError(reset=True) from error
        with self._lock:
            self._server = server
            if self._ending:
                server.wake()
        return server

    def _drop_server(self, *, reset: bool = False) -> None:
        with self._lock:
            server, self._server = self._server, None
        if server is not None:
            server.close(reset=reset)

    def _answer_head(self, server: _Wire, exchange: _Exchange) -> _Head:
        """The head of the final answer; interim ones are forwarded."""
        while True:
            raw = self._head(server, self._from_server)
            if raw is None:
                raise _EndedError
            head = _Head.parse(raw)
            if not 100 <= head.status < 200:  # noqa: PLR2004 - interim answers
                return head
            self._send_down(raw, exchange)

    def _answer(self, head: _Head, server: _Wire, exchange: _Exchange) -> bool:
        """Forward the answer, with its fault; whether the client's connection is still good afterwards."""
        if not head.has_body(exchange.method):
            self._send_down(head.raw, exchange)
            return True
        pieces = self._body(server, self._from_server, chunked=head.chunked, length=head.length)
        fault = exchange.fault
        self._send_down(head.raw, exchange)
        match fault:
            case CutBeforeFirstEvent():
                return False
            case CutAfterEvents() | ResetAfterEvents() | StallAfterEvents() | Truncate() | InBandError() if (
                head.is_stream
            ):
                return self._answer_in_part(fault, head, pieces, exchange)
            case Comments(count, seconds) if head.is_stream:
                for _ in range(count):
                    self._pause(seconds)
                    self._send_down(_chunk(b": keep-alive\n\n", chunked=head.chunked), exchange)
            case _:
                pass
        size, seconds = (fault.size, fault.seconds) if isinstance(fault, Drip) else (_PIECE, 0.0)
        for raw, _ in pieces:
            for start in range(0, len(raw), size):
                self._pause(seconds)
                self._send_down(raw[start : start + size], exchange)
        return head.chunked or head.length is not None

    def _answer_in_part(
        self,
        fault: CutAfterEvents | ResetAfterEvents | StallAfterEvents | Truncate | InBandError,
        head: _Head,
        pieces: Iterable[tuple[bytes, bytes]],
        exchange: _Exchange,
    ) -> bool:
        """Forward the first events of a stream, and end it in the way of the fault."""
        counter = _EventCounter(fault.events)
        for _, payload in pieces if fault.events else ():
            self._send_down(_chunk(counter.within(payload), chunked=head.chunked), exchange)
            if counter.reached:
                break
        match fault:
            case CutAfterEvents():
                return False
            case ResetAfterEvents():
                raise _EndedError(reset=True)
            case StallAfterEvents(_, seconds):
                self._pause(seconds)
                return False
            case InBandError(_, message):
                error = {"code": None, "message": message, "param": None, "type": "server_error"}
                event = b"data: " + json.dumps({"error": error}).encode() + b"\n\n"
                self._send_down(_chunk(event, chunked=head.chunked), exchange)
            case Truncate():
                pass
        self._drop_server(reset=True)  # which has more to say, or is in the middle of saying it
        if head.chunked:
            self._send_down(b"0\r\n\r\n", exchange)
        return head.chunked

    def _send_down(self, data: bytes, exchange: _Exchange) -> None:
        if data:
            self._client.send(data)
            exchange.sent_down += len(data)

    def _head(self, wire: _Wire, receive: Callable[[], bool]) -> bytes | None:
        """Everything up to the empty line; None when the connection ends before."""
        while (end := wire.received.find(b"\r\n\r\n")) < 0:
            if len(wire.received) > _HEAD_BYTES:
                raise _EndedError(reset=True)
            if not receive():
                return None
        return wire.take(end + 4)

    def _body(
        self, wire: _Wire, receive: Callable[[], bool], *, chunked: bool, length: int | None
    ) -> Iterator[tuple[bytes, bytes]]:
        """The body in pieces as they arrive: what is on the wire, and what of it is content.

        Raises `_EndedError` where the connection ends within the body.
        """
        if chunked:
            yield from self._chunks(wire, receive)
        elif length is not None:
            yield from self._exactly(length, wire, receive)
        else:
            while wire.received or receive():
                piece = wire.take(_PIECE)
                yield piece, piece

    def _chunks(self, wire: _Wire, receive: Callable[[], bool]) -> Iterator[tuple[bytes, bytes]]:
        while True:
            line = self._line(wire, receive)
            size = _chunk_size(line)
            yield line, b""
            if size == 0:
                break
            yield from self._exactly(size, wire, receive)
            yield self._line(wire, receive), b""
        while True:
            line = self._line(wire, receive)
            yield line, b""
            if line == b"\r\n":
                return

    def _exactly(self, count: int, wire: _Wire, receive: Callable[[], bool]) -> Iterator[tuple[bytes, bytes]]:
        while count:
            if not wire.received and not receive():
                raise _EndedError
            piece = wire.take(min(count, _PIECE))
            count -= len(piece)
            yield piece, piece

    def _line(self, wire: _Wire, receive: Callable[[], bool]) -> bytes:
        while (end := wire.received.find(b"\r\n")) < 0:
            if len(wire.received) > _LINE_BYTES:
                raise _EndedError(reset=True)
            if not receive():
                raise _EndedError
        return wire.take(end + 2)

    def _from_server(self) -> bool:
        """Take what the server has sent, or wait for it; what the client does meanwhile is done to the server."""
        server = self._connect()
        wires = [server, self._client]
        while server not in (readable := self._readable(wires)):
            if self._client in readable:
                wires = [server]
                if self._client.has_ended():
                    with contextlib.suppress(OSError):
                        server.socket.shutdown(socket.SHUT_WR)
        return server.receive()

    def _pause(self, seconds: float) -> None:
        """Wait, unless the client leaves: then it is over."""
        until = time.monotonic() + seconds
        wires = [self._client]
        while (remaining := until - time.monotonic()) > 0:
            if self._readable(wires, remaining if wires else min(remaining, _LOOK)):
                if self._client.has_ended():
                    raise _EndedError
                wires = []  # the client has sent its next request already; that can wait
            if self._ending:
                raise _EndedError

    def _readable(self, wires: list[_Wire], timeout: float | None = None) -> list[_Wire]:
        with selectors.DefaultSelector() as selector:
            for wire in wires:
                selector.register(wire.socket, selectors.EVENT_READ, wire)
            return [key.data for key, _ in selector.select(timeout)]


def _chunk_size(line: bytes) -> int:
    digits = line.partition(b";")[0].strip()
    if not digits or digits.strip(b"0123456789abcdefABCDEF"):
        raise _EndedError(reset=True)
    return int(digits, 16)


def _chunk(content: bytes, *, chunked: bool) -> bytes:
    return b"%x\r\n%s\r\n" % (len(content), content) if chunked and content else content


def _spelled(answer: Answer) -> bytes:
    try:
        phrase = http.HTTPStatus(answer.status).phrase
    except ValueError:
        phrase = "Unknown"
    headers = {**answer.headers, "Content-Length": str(len(answer.body))}
    lines = [f"HTTP/1.1 {answer.status} {phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _bound(port: int) -> socket.socket:
    """A socket that has a loopback port, and does not listen yet."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if sys.platform != "win32":  # where it means that others may take the port
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", port))
    except OSError:
        bound.close()
        raise
    return bound


def _check_seconds(seconds: float) -> None:
    if not 0 <= seconds <= LONGEST:
        raise ValueError(f"seconds is {seconds:g}; a fault lasts from 0 to {LONGEST:g} seconds")


def _check_events(events: int) -> None:
    if events < 0:
        raise ValueError(f"events is {events}; it takes a number of events, none or more")
