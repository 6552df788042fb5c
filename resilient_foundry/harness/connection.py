"""One client's connection through a proxy: its requests, and what becomes of them on the way."""

import contextlib
import http
import json
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from resilient_foundry.harness.faults import (
    Answer,
    CloseSilently,
    Comments,
    CutAfterEvents,
    CutBeforeFirstEvent,
    Delay,
    Drip,
    Fault,
    InBandError,
    Reset,
    ResetAfterEvents,
    Stall,
    StallAfterEvents,
    Truncate,
)
from resilient_foundry.harness.wire import PATIENCE, PIECE, EndedError, EventCounter, Head, Incoming, Wire, chunk

_REQUEST_BYTES: Final = 64 * 1024 * 1024  # of a request's body
_KEPT_BYTES: Final = 65_536  # of a request's body in the record
_LOOK: Final = 0.05  # seconds between two looks at whether to end, where nothing can wake the waiting thread


@dataclass(slots=True)
class Exchange:
    """A request and what has become of it: written by the thread of its connection, read by everyone."""

    number: int
    method: str
    path: str
    fault: Fault
    body: bytes = b""
    sent_up: int = 0
    sent_down: int = 0
    done: bool = False


class Connection:
    """A client's connection and, from its first request on, the one to the server; a thread for both."""

    def __init__(
        self,
        client: socket.socket,
        upstream: tuple[str, int],
        begin: Callable[[str, str], Exchange],
        forget: Callable[["Connection"], None],
    ) -> None:
        self._client = Wire(client)
        self._address = upstream
        self._server: Wire | None = None
        self._begin = begin
        self._forget = forget
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._idle = True
        self._waiting = self._ended = False
        self._leaving = False
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="fault-proxy-connection", daemon=True)

    def start(self) -> None:
        """Serve the client, in a thread."""
        self._thread.start()

    def join(self) -> None:
        """Wait until that thread has ended."""
        self._thread.join()

    def leave_when_idle(self) -> None:
        """Close the connection now if nothing is under way, or else when that has ended."""
        with self._lock:
            self._leaving = True
            if self._idle:
                self._client.wake()

    def settle(self, seconds: float) -> None:
        """Wait until the connection is closed, or its thread waits for what is under way; at most so long.

        A client has its answer a moment before the thread knows that it has nothing more to do.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._ended or (self._waiting and not self._idle), seconds)

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
        except EndedError as ended:
            reset = ended.reset and not self._ending
        finally:
            self._client.close(reset=reset)
            self._drop_server(reset=reset)
            self._forget(self)
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _converse(self) -> bool:
        """One request and its answer; whether another may follow."""
        raw = self._next_request()
        if raw is None:
            return False
        head = Head.parse(raw)
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
        raw = Incoming(self._client, self._client.receive).head()
        if raw is None:
            raise EndedError
        return raw

    def _exchange(self, head: Head, exchange: Exchange) -> bool:
        request = bytearray(head.raw)
        for raw, payload in Incoming(self._client, self._client.receive).body(
            chunked=head.chunked, length=head.length or 0
        ):
            request += raw
            exchange.body += payload[: _KEPT_BYTES - len(exchange.body)]
            if len(request) > _REQUEST_BYTES:
                raise EndedError(reset=True)
        match exchange.fault:
            case Reset():
                raise EndedError(reset=True)
            case CloseSilently():
                return False
            case Stall(seconds):
                self._pause(seconds)
                return False
            case Answer() as answer:
                answer_head = Head.parse(_spelled(answer))
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

    def _goes_on(self, *heads: Head) -> bool:
        with self._lock:
            self._idle = not self._leaving
        return not any(head.has("connection", "close") for head in heads)

    def _connect(self) -> Wire:
        if self._server is not None:
            return self._server
        try:
            server = Wire(socket.create_connection(self._address, timeout=PATIENCE))
        except OSError as error:
            raise EndedError(reset=True) from error
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

    def _answer_head(self, server: Wire, exchange: Exchange) -> Head:
        """The head of the final answer; interim ones are forwarded."""
        while True:
            raw = Incoming(server, self._from_server).head()
            if raw is None:
                raise EndedError
            head = Head.parse(raw)
            if not 100 <= head.status < 200:  # noqa: PLR2004 - interim answers
                return head
            self._send_down(raw, exchange)

    def _answer(self, head: Head, server: Wire, exchange: Exchange) -> bool:
        """Forward the answer, with its fault; whether the client's connection is still good afterwards."""
        if not head.has_body(exchange.method):
            self._send_down(head.raw, exchange)
            return True
        pieces = Incoming(server, self._from_server).body(chunked=head.chunked, length=head.length)
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
                    self._send_down(chunk(b": keep-alive\n\n", chunked=head.chunked), exchange)
            case _:
                pass
        size, seconds = (fault.size, fault.seconds) if isinstance(fault, Drip) else (PIECE, 0.0)
        for raw, _ in pieces:
            for start in range(0, len(raw), size):
                self._pause(seconds)
                self._send_down(raw[start : start + size], exchange)
        return head.chunked or head.length is not None

    def _answer_in_part(
        self,
        fault: CutAfterEvents | ResetAfterEvents | StallAfterEvents | Truncate | InBandError,
        head: Head,
        pieces: Iterable[tuple[bytes, bytes]],
        exchange: Exchange,
    ) -> bool:
        """Forward the first events of a stream, and end it in the way of the fault."""
        counter = EventCounter(fault.events)
        for _, payload in pieces if fault.events else ():
            self._send_down(chunk(counter.within(payload), chunked=head.chunked), exchange)
            if counter.reached:
                break
        match fault:
            case CutAfterEvents():
                return False
            case ResetAfterEvents():
                raise EndedError(reset=True)
            case StallAfterEvents(_, seconds):
                self._pause(seconds)
                return False
            case InBandError(_, message):
                error = {"code": None, "message": message, "param": None, "type": "server_error"}
                event = b"data: " + json.dumps({"error": error}).encode() + b"\n\n"
                self._send_down(chunk(event, chunked=head.chunked), exchange)
            case Truncate():
                pass
        self._drop_server(reset=True)  # which has more to say, or is in the middle of saying it
        if head.chunked:
            self._send_down(b"0\r\n\r\n", exchange)
        return head.chunked

    def _send_down(self, data: bytes, exchange: Exchange) -> None:
        if data:
            self._client.send(data)
            exchange.sent_down += len(data)

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
                    raise EndedError
                wires = []  # the client has sent its next request already; that can wait
            if self._ending:
                raise EndedError

    def _readable(self, wires: list[Wire], timeout: float | None = None) -> list[Wire]:
        with selectors.DefaultSelector() as selector:
            for wire in wires:
                selector.register(wire.socket, selectors.EVENT_READ, wire)
            self._waits(waiting=True)
            try:
                return [key.data for key, _ in selector.select(timeout)]
            finally:
                self._waits(waiting=False)

    def _waits(self, *, waiting: bool) -> None:
        with self._changed:
            self._waiting = waiting
            self._changed.notify_all()


def _spelled(answer: Answer) -> bytes:
    try:
        phrase = http.HTTPStatus(answer.status).phrase
    except ValueError:
        phrase = "Unknown"
    headers = {**answer.headers, "Content-Length": str(len(answer.body))}
    lines = [f"HTTP/1.1 {answer.status} {phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
