"""Six ways to make a call: httpx and httpx2, each synchronous, on asyncio and on trio; one interface for all of them.

A test is written once, as plain blocking code. In the async ways each call is a task of one event loop, which runs in a
thread of its own; calls from several threads are tasks side by side.
"""

from __future__ import annotations

import inspect
import ssl
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any, TypeVar, cast

import anyio.from_thread
import httpx
import httpx2

from resilient_foundry import Ledger, Stack
from resilient_foundry.call import derive
from resilient_foundry.flow import Flow, Proceed, Request, Response, history
from tests.servers import PATIENCE

T = TypeVar("T")

LIBRARIES: dict[str, ModuleType] = {"httpx": httpx, "httpx2": httpx2}
TRUST = ssl.create_default_context()
"""Made once for all transports: reading the certificates of the system takes longer than most tests."""
COLOURS = ("sync", "asyncio", "trio")
NAMES = tuple(f"{library}-{colour}" for library in LIBRARIES for colour in COLOURS)


def pool_of(transport: Any) -> Any:  # a transport of either library, ours or its own
    """The connection pool of a real transport. It is httpx's private matter, and the only witness of a leak."""
    while hasattr(transport, "wrapped"):
        transport = transport.wrapped
    return getattr(transport, "_pool", None)


def assert_nothing_is_under_way(transport: Any) -> None:
    """No request holds, or waits for, a connection of this transport's pool."""
    pool = pool_of(transport)
    if pool is not None:
        assert "Requests: 0 active, 0 queued | Connections: 0 active" in repr(pool), repr(pool)


def ledger_of(carrier: Any) -> Ledger:
    """The ledger that a response or an error carries."""
    ledger: object = getattr(carrier, "resilience", None) or carrier.extensions["resilience"]
    assert isinstance(ledger, Ledger)
    return ledger


def over(stack: Stack, transport: Any) -> Any:
    """The stack over a transport of a library that is a parameter, for which no overload speaks."""
    return cast("Any", stack).over(transport)


class Way(ABC):
    """One library in one colour. `library` is its module, `Any` because the two share no class."""

    colour: str

    def __init__(self, library: Any) -> None:
        self.library = library
        self._clients: list[Client] = []

    def __str__(self) -> str:
        return f"{self.library.__name__}-{self.colour}"

    @abstractmethod
    def transport(self, **settings: Any) -> Any:
        """The library's own network transport of this colour."""

    @abstractmethod
    def run(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Call what blocks in the sync way and is awaited in the others; gives its result."""

    @abstractmethod
    def method(self, thing: Any, name: str) -> Callable[..., Any]:
        """The method of this name, or of what the library calls it in this colour."""

    @abstractmethod
    def _make(self, transport: Any, settings: dict[str, Any]) -> Any:
        """The library's client."""

    def client(self, stack: Stack, transport: Any = None, **settings: Any) -> Client:
        """A client whose calls go through the stack, over a real network transport unless another is given."""
        return self.over(over(stack, transport if transport is not None else self.transport()), **settings)

    def over(self, transport: Any, **settings: Any) -> Client:
        """A client over this very transport."""
        client = Client(self, self._make(transport, {"timeout": PATIENCE, **settings}), transport)
        self._clients.append(client)
        return client

    def together(self, calls: int, call: Callable[[], T]) -> list[Future[T]]:
        """Call so many times at once, each in a thread or a task of its own; when this returns, all have ended."""
        with ThreadPoolExecutor(calls) as threads:
            return [threads.submit(call) for _ in range(calls)]

    @contextmanager
    def meanwhile(self, call: Callable[[], T]) -> Generator[Future[T]]:
        """Call in a thread or a task of its own while the block runs."""
        with ThreadPoolExecutor(1) as threads:
            yield threads.submit(call)

    def close(self) -> None:
        """Close what was made here; nothing may be left under way."""
        for client in self._clients:
            assert_nothing_is_under_way(client.transport)
            client.close()


class SyncWay(Way):
    """Blocking calls."""

    colour = "sync"

    def transport(self, **settings: Any) -> Any:
        """HTTPTransport, or AsyncHTTPTransport."""
        return self.library.HTTPTransport(**{"verify": TRUST, **settings})

    def run(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Call it the way of this colour."""
        return call(*arguments)

    def method(self, thing: Any, name: str) -> Callable[..., Any]:
        """The method by its name in this colour."""
        method: Callable[..., Any] = getattr(thing, name)
        return method

    def _make(self, transport: Any, settings: dict[str, Any]) -> Any:
        return self.library.Client(transport=transport, **settings)


_ASYNC_NAMES = {
    "close": "aclose",
    "read": "aread",
    "iter_raw": "aiter_raw",
    "iter_bytes": "aiter_bytes",
    "__enter__": "__aenter__",
    "__exit__": "__aexit__",
    "__iter__": "__aiter__",
    "__next__": "__anext__",
}


class AsyncWay(Way):
    """Tasks of an event loop."""

    def __init__(self, library: Any, colour: str) -> None:
        super().__init__(library)
        self.colour = colour
        self._blocking = anyio.from_thread.start_blocking_portal(colour)
        self._portal = self._blocking.__enter__()

    def transport(self, **settings: Any) -> Any:
        """HTTPTransport, or AsyncHTTPTransport."""
        return self.library.AsyncHTTPTransport(**{"verify": TRUST, **settings})

    def run(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Call it the way of this colour."""

        async def task() -> Any:  # what is awaited is one call of the library
            result: Any = call(*arguments)
            return await result if inspect.isawaitable(result) else result

        return self._portal.call(task)

    def method(self, thing: Any, name: str) -> Callable[..., Any]:
        """The method by its name in this colour."""
        method: Callable[..., Any] = getattr(thing, _ASYNC_NAMES.get(name, name))
        return method

    def _make(self, transport: Any, settings: dict[str, Any]) -> Any:
        return self.library.AsyncClient(transport=transport, **settings)

    def close(self) -> None:
        """Close all, and end the event loop."""
        try:
            super().close()
        finally:
            self._blocking.__exit__(None, None, None)


def way_named(name: str) -> Way:
    """One of the six, by its name in `NAMES`."""
    library, _, colour = name.partition("-")
    module = LIBRARIES[library]
    return SyncWay(module) if colour == "sync" else AsyncWay(module, colour)


class Client:
    """What a test says to a client, in any way."""

    def __init__(self, way: Way, client: Any, transport: Any) -> None:
        self.way = way
        self.wrapped = client
        self.transport = transport

    def get(self, url: str, **settings: Any) -> Any:
        """GET, read to its end."""
        return self.request("GET", url, **settings)

    def post(self, url: str, **settings: Any) -> Any:
        """POST, read to its end."""
        return self.request("POST", url, **settings)

    def request(self, method: str, url: str, **settings: Any) -> Any:
        """Any method, read to its end."""
        return self.way.run(partial(self.wrapped.request, method, url, **settings))

    def build(self, method: str, url: str, **settings: Any) -> Any:
        """A request of the library, to be sent by hand."""
        return self.wrapped.build_request(method, url, **settings)

    def send(self, request: Any, **settings: Any) -> Any:
        """Send a request made by hand."""
        return self.way.run(partial(self.wrapped.send, request, **settings))

    @contextmanager
    def stream(self, method: str, url: str, **settings: Any) -> Generator[Streamed]:
        """An answer whose body is read piece by piece, and closed with the block."""
        response = self.send(self.build(method, url, **settings), stream=True)
        streamed = Streamed(self.way, response, self.way.method(response, "iter_raw")())
        try:
            yield streamed
        finally:
            streamed.close()

    def close(self) -> None:
        """Close the client, and with it the transport."""
        self.way.run(self.way.method(self.wrapped, "close"))


@dataclass
class Streamed:
    """An answer that is under way."""

    way: Way
    response: Any
    _chunks: Any

    def next(self) -> bytes:
        """The next piece as it came off the wire; StopIteration after the last."""
        try:
            piece: bytes = self.way.run(self.way.method(self._chunks, "__next__"))
        except (StopIteration, StopAsyncIteration, RuntimeError) as end:
            if isinstance(end, RuntimeError) and "Stop" not in str(end):
                raise
            raise EndOfBodyError from None
        return piece

    def rest(self) -> bytes:
        """All that follows."""
        pieces: list[bytes] = []
        while True:
            try:
                pieces.append(self.next())
            except EndOfBodyError:
                return b"".join(pieces)

    def close(self) -> None:
        """Close it, as the library's own context manager does."""
        self.way.run(self.way.method(self.response, "close"))
        if self.way.colour != "sync":
            self.way.run(self._chunks.aclose)


class EndOfBodyError(Exception):
    """The body has no further piece."""


class Numbered:
    """Tells the server in a header which attempt of its call a request is; it stands innermost in a stack."""

    def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
        """Write the number that the ledger is about to give."""
        ledger = yield from history()
        number = str(len(ledger.attempts) + 1)
        return (yield from proceed(derive(request, headers={"attempt": number})))


class Barrier:
    """Lets nobody through until so many have come; a call that is alone in the world never comes back."""

    def __init__(self, parties: int) -> None:
        self._barrier = threading.Barrier(parties, timeout=PATIENCE)

    def wait(self) -> None:
        """Wait for the others."""
        self._barrier.wait()
