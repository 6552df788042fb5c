"""A transport that keeps what passes through it: every chunk as it came, its moment, and how it ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterator
from typing import Final

import h11
import httpx

from resilient_foundry.harness.evidence import ABANDONED, COMPLETE, Chunk, Ended, Exchange, Request, Response

RECORDED: Final = "resilient_foundry.exchange"
"""The extension of a request that holds a function: it gives its exchange as far as that has come."""


class Recorder(httpx.BaseTransport):
    """Sends through `inner` and keeps the exchanges; nothing is held back and nothing is read ahead.

    `clock` tells seconds. It may be used from several threads. Errors of the HTTP library are kept and passed on.
    """

    def __init__(self, inner: httpx.BaseTransport, clock: Callable[[], float] = time.monotonic) -> None:
        self._inner = inner
        self._clock = clock
        self._lock = threading.Lock()
        self._written: list[_Writing] = []
        self._connections: dict[Hashable, int] = {}

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """What has passed so far, in the order in which it began."""
        with self._lock:
            return tuple(each.exchange() for each in self._written)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send, and keep what happens."""
        asked = Request(request.method, request.url.raw_path.decode("ascii"), _decoded(request.headers), request.read())
        writing = _Writing(asked, self._clock)
        with self._lock:
            self._written.append(writing)
        request.extensions[RECORDED] = writing.exchange
        try:
            response = self._inner.handle_request(request)
        except httpx.TransportError as error:
            writing.end(type(error).__name__, str(error))
            raise
        except h11.LocalProtocolError as error:  # httpcore lets it pass where a body is shorter than its length says
            writing.end("LocalProtocolError", str(error))
            raise httpx.LocalProtocolError(str(error), request=request) from error
        except BaseException:
            writing.end(ABANDONED)
            raise
        writing.head(response, self._number(response))
        return httpx.Response(
            response.status_code,
            headers=response.headers,
            stream=_Kept(response, writing),
            extensions=response.extensions,
        )

    def close(self) -> None:
        """Close the transport underneath."""
        self._inner.close()

    def _number(self, response: httpx.Response) -> int | None:
        """Which connection it came on, told by our end of it."""
        stream = response.extensions.get("network_stream")
        address = None if stream is None else stream.get_extra_info("client_addr")
        if address is None:
            return None
        with self._lock:
            return self._connections.setdefault(address, len(self._connections) + 1)


class _Writing:
    """An exchange while it happens."""

    def __init__(self, request: Request, clock: Callable[[], float]) -> None:
        self._request = request
        self._clock = clock
        self._began = clock()
        self._response: httpx.Response | None = None
        self._connection: int | None = None
        self._head_at = 0.0
        self._chunks: list[Chunk] = []
        self._ended: Ended | None = None

    def head(self, response: httpx.Response, connection: int | None) -> None:
        self._head_at = self._now()
        self._response = response
        self._connection = connection

    def chunk(self, data: bytes) -> None:
        self._chunks.append(Chunk(self._now(), data))

    def end(self, how: str, says: str = "") -> None:
        if self._ended is None:
            self._ended = Ended(how, self._now(), says)

    def exchange(self) -> Exchange:
        ended = self._ended or Ended(ABANDONED, self._now())
        head = self._response
        if head is None:
            return Exchange(self._request, None, ended, self._connection)
        version = head.extensions.get("http_version", b"HTTP/1.1").decode("ascii")
        chunks = tuple(self._chunks)
        answer = Response(head.status_code, _decoded(head.headers), self._head_at, chunks, head.reason_phrase, version)
        return Exchange(self._request, answer, ended, self._connection)

    def _now(self) -> float:
        return self._clock() - self._began


class _Kept(httpx.SyncByteStream):
    """The body of an answer, kept as it passes."""

    def __init__(self, response: httpx.Response, writing: _Writing) -> None:
        self._response = response
        self._writing = writing

    def __iter__(self) -> Iterator[bytes]:
        try:
            for data in self._response.iter_raw():
                self._writing.chunk(data)
                yield data
        except httpx.TransportError as error:
            self._writing.end(type(error).__name__, str(error))
            raise
        self._writing.end(COMPLETE)

    def close(self) -> None:
        self._writing.end(ABANDONED)
        self._response.close()


def _decoded(headers: httpx.Headers) -> tuple[tuple[str, str], ...]:
    return tuple((name.decode("ascii").lower(), value.decode("latin-1")) for name, value in headers.raw)
