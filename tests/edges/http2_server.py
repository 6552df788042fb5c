"""A small HTTP/2 server on a loopback socket, spoken to without TLS, that does to each stream what a test tells it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, RequestReceived, StreamEnded

from tests.servers import Asked, Listener


@dataclass(slots=True)
class Stream:
    """One request on a connection of many, and the means to answer it."""

    asked: Asked
    number: int
    _h2: H2Connection
    _socket: socket.socket
    leaves: bool = False
    """Whether the connection is closed when the handler returns."""

    def reply(self, status: int = 200, body: bytes = b"") -> None:
        """The whole answer."""
        self.begin(status)
        self._h2.send_data(self.number, body, end_stream=True)
        self._flush()

    def begin(self, status: int = 200) -> None:
        """The head."""
        self._h2.send_headers(self.number, [(":status", str(status)), ("content-type", "text/plain")])
        self._flush()

    def data(self, piece: bytes) -> None:
        """A piece of the body."""
        self._h2.send_data(self.number, piece)
        self._flush()

    def reset(self, code: ErrorCodes) -> None:
        """RST_STREAM: the end of this stream, and of no other."""
        self._h2.reset_stream(self.number, code)
        self._flush()

    def go_away(self, last: int, code: ErrorCodes = ErrorCodes.NO_ERROR) -> None:
        """GOAWAY: no stream after `last` was, or will be, looked at."""
        self._h2.close_connection(code, last_stream_id=last)
        self._flush()
        self.leaves = True

    def _flush(self) -> None:
        self._socket.sendall(self._h2.data_to_send())


Handler = Callable[[Stream], None]


@dataclass
class Http2Server(Listener):
    """Its handler runs in the thread of the connection, once for each request that has come whole."""

    handler: Handler

    def serve(self, connection: socket.socket) -> None:
        """Answer one connection to its end."""
        h2 = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        h2.initiate_connection()
        heads: dict[int, dict[str, str]] = {}
        bodies: dict[int, bytes] = {}
        while True:
            connection.sendall(h2.data_to_send())
            received = connection.recv(65536)
            if not received:
                return
            for event in h2.receive_data(received):
                if isinstance(event, RequestReceived):
                    heads[event.stream_id] = {
                        str(name, "latin-1"): str(value, "latin-1") for name, value in event.headers
                    }
                    bodies[event.stream_id] = b""
                elif isinstance(event, DataReceived):
                    bodies[event.stream_id] += event.data
                    h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, StreamEnded):
                    head, body = heads.pop(event.stream_id), bodies.pop(event.stream_id)
                    asked = self.note(head[":method"], head[":path"], head, body)
                    stream = Stream(asked, event.stream_id, h2, connection)
                    self.handler(stream)
                    if stream.leaves:
                        connection.shutdown(socket.SHUT_WR)
                        while connection.recv(65536):  # what is left unread would turn the farewell into a reset
                            pass
                        return
