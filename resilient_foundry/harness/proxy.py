"""A proxy that breaks connections on purpose, between an HTTP client and a real server.

Real sockets, real resets, real silence: what a client must survive, and what no server can be asked to do. A plan
chooses a fault for each request; everything else passes as it is.
"""

import contextlib
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Final, NamedTuple, Self
from urllib.parse import urlsplit

from resilient_foundry.harness.connection import Connection, Exchange
from resilient_foundry.harness.faults import Fault, Plan, each
from resilient_foundry.harness.wire import bound

_BACKLOG: Final = 512
_SETTLING: Final = 2.0  # seconds that connections have to close when nothing is under way on them


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
            raise ValueError("upstream is no plain address of a server; it takes http://HOST:PORT")
        self._upstream = (address.hostname, address.port)
        self._plan = plan or each()
        self._lock = threading.Lock()
        self._exchanges: list[Exchange] = []
        self._connections: set[Connection] = set()
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
            return tuple(_record(exchange) for exchange in self._exchanges)

    @property
    def connections(self) -> Connections:
        """The client connections that it has accepted."""
        with self._lock:
            return Connections(self._opened, len(self._connections))

    def start(self) -> Self:
        """Listen, on a port that is free."""
        # A socket that is bound and never listens keeps the port ours while connections are refused. Elsewhere than on
        # Linux two sockets cannot have the same address that easily; there the port is free meanwhile.
        reserved = bound(0)
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
                self._listener = _Listener(bound(self._port), self._welcome)

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
        latest = time.monotonic() + _SETTLING
        for connection in connections:
            connection.settle(max(0.0, latest - time.monotonic()))

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
        connection = Connection(client, self._upstream, self._begin, self._forget)
        with self._lock:
            self._opened += 1
            self._connections.add(connection)
        connection.start()

    def _begin(self, method: str, path: str) -> Exchange:
        with self._lock:
            number = len(self._exchanges) + 1
            exchange = Exchange(number, method, path, self._plan(number, method, path))
            self._exchanges.append(exchange)
            return exchange

    def _forget(self, connection: Connection) -> None:
        with self._lock:
            self._connections.discard(connection)


class _Listener:
    """Accepts connections in a thread of its own until it is closed."""

    def __init__(self, listener: socket.socket, welcome: Callable[[socket.socket], None]) -> None:
        listener.listen(_BACKLOG)
        self._socket = listener
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


def _record(exchange: Exchange) -> ProxiedRequest:
    return ProxiedRequest(
        exchange.number,
        exchange.method,
        exchange.path,
        exchange.fault,
        exchange.body,
        exchange.sent_up,
        exchange.sent_down,
        exchange.done,
    )
