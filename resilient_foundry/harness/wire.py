"""Where messages end on a socket: the heads and bodies of HTTP/1.1 (RFC 9112), and the events of a stream."""

import contextlib
import http
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

PATIENCE: Final = 60.0  # seconds that a peer may say nothing
PIECE: Final = 65_536  # bytes taken from a socket at once
_HEAD_BYTES: Final = 65_536  # of a request's or an answer's head
_LINE_BYTES: Final = 4096  # of the line before a chunk
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER on, for 0 seconds: close() sends RST


class EndedError(Exception):
    """A connection has ended, and so must the other: with a reset or without."""

    def __init__(self, *, reset: bool = False) -> None:
        self.reset = reset


class Wire:
    """One end of a conversation: a socket and what has been received and not used."""

    def __init__(self, connected: socket.socket) -> None:
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connected.settimeout(PATIENCE)
        self.socket = connected
        self.received = bytearray()
        self._closing = threading.Lock()

    def receive(self) -> bool:
        """Take what has arrived, or wait for it; False at the end."""
        try:
            piece = self.socket.recv(PIECE)
        except OSError as error:
            raise EndedError(reset=True) from error
        self.received += piece
        return bool(piece)

    def send(self, data: bytes) -> None:
        """Send it all; raises `EndedError` where nobody takes it."""
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise EndedError(reset=True) from error

    def take(self, count: int) -> bytes:
        """Use the first bytes of what has been received."""
        taken = bytes(self.received[:count])
        del self.received[:count]
        return taken

    def has_ended(self) -> bool:
        """Whether a socket that is readable is so because the other side has finished; raises after a reset."""
        try:
            return not self.socket.recv(1, socket.MSG_PEEK)
        except OSError as error:
            raise EndedError(reset=True) from error

    def wake(self) -> None:
        """Make whoever waits for this socket stop waiting, from another thread."""
        with self._closing, contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def close(self, *, reset: bool = False) -> None:
        """Close the socket, with a reset (RST) or without (FIN)."""
        with self._closing, contextlib.suppress(OSError), self.socket:
            if reset:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


@dataclass(frozen=True, slots=True)
class Head:
    """The first line and the headers of a message, and what they say about its body."""

    raw: bytes
    first_line: str
    headers: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, raw: bytes) -> "Head":
        """The head that ends with the empty line."""
        first_line, *lines = raw.decode("latin-1").rstrip("\r\n").split("\r\n")
        fields = (line.partition(":") for line in lines)
        return cls(raw, first_line, tuple((name.strip().lower(), value.strip()) for name, _, value in fields))

    @property
    def words(self) -> list[str]:
        """The three parts of the first line, empty where it has fewer."""
        return [*self.first_line.split(" ", 2), "", ""]

    @property
    def status(self) -> int:
        """The status of an answer, 0 for what is none."""
        return int(self.words[1]) if self.words[1].isdigit() else 0

    @property
    def length(self) -> int | None:
        """What Content-Length says."""
        lengths = [value for name, value in self.headers if name == "content-length"]
        return int(lengths[0]) if lengths and lengths[0].isdigit() else None

    @property
    def chunked(self) -> bool:
        """Whether the body comes in chunks."""
        return self.has("transfer-encoding", "chunked")

    @property
    def is_stream(self) -> bool:
        """Whether the body is a stream of events."""
        return self.has("content-type", "text/event-stream")

    def has(self, name: str, token: str) -> bool:
        """Whether a header of this name mentions the token."""
        return any(token in value.lower() for each_name, value in self.headers if each_name == name)

    def has_body(self, method: str) -> bool:
        """Whether a body follows the head of an answer to this method."""
        return method != "HEAD" and self.status not in {http.HTTPStatus.NO_CONTENT, http.HTTPStatus.NOT_MODIFIED}


@dataclass(frozen=True, slots=True)
class Incoming:
    """What arrives on a wire, message by message; `receive` waits for more of it, and says False at its end."""

    wire: Wire
    receive: Callable[[], bool]

    def head(self) -> bytes | None:
        """Everything up to the empty line; None when the connection ends before."""
        while (end := self.wire.received.find(b"\r\n\r\n")) < 0:
            if len(self.wire.received) > _HEAD_BYTES:
                raise EndedError(reset=True)
            if not self.receive():
                return None
        return self.wire.take(end + 4)

    def body(self, *, chunked: bool, length: int | None) -> Iterator[tuple[bytes, bytes]]:
        """The body in pieces as they arrive: what is on the wire, and what of it is content.

        Raises `EndedError` where the connection ends within the body.
        """
        if chunked:
            yield from self._chunks()
        elif length is not None:
            yield from self._exactly(length)
        else:
            while self.wire.received or self.receive():
                piece = self.wire.take(PIECE)
                yield piece, piece

    def _chunks(self) -> Iterator[tuple[bytes, bytes]]:
        while True:
            line = self._line()
            size = _chunk_size(line)
            yield line, b""
            if size == 0:
                break
            yield from self._exactly(size)
            yield self._line(), b""
        while True:
            line = self._line()
            yield line, b""
            if line == b"\r\n":
                return

    def _exactly(self, count: int) -> Iterator[tuple[bytes, bytes]]:
        while count:
            if not self.wire.received and not self.receive():
                raise EndedError
            piece = self.wire.take(min(count, PIECE))
            count -= len(piece)
            yield piece, piece

    def _line(self) -> bytes:
        while (end := self.wire.received.find(b"\r\n")) < 0:
            if len(self.wire.received) > _LINE_BYTES:
                raise EndedError(reset=True)
            if not self.receive():
                raise EndedError
        return self.wire.take(end + 2)


class EventCounter:
    """Finds the ends of events in a stream that arrives in pieces."""

    def __init__(self, limit: int) -> None:
        self._remaining = limit
        self._line = b""  # the beginning of the unfinished line, as much as decides what it is
        self._has_fields = False

    @property
    def reached(self) -> bool:
        """Whether as many events have ended."""
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


def _chunk_size(line: bytes) -> int:
    digits = line.partition(b";")[0].strip()
    if not digits or digits.strip(b"0123456789abcdefABCDEF"):
        raise EndedError(reset=True)
    return int(digits, 16)


def chunk(content: bytes, *, chunked: bool) -> bytes:
    """Content as it goes into a body, chunked or not; nothing stays nothing."""
    return b"%x\r\n%s\r\n" % (len(content), content) if chunked and content else content


def bound(port: int) -> socket.socket:
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
