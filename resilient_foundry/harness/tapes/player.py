"""A transport that answers from a tape: the same chunks, the same ends, and on a virtual clock the same times."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Callable, Container, Generator, Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from functools import partial
from types import ModuleType
from typing import Any, Final, cast
from urllib.parse import parse_qsl, urlsplit

import httpx

from resilient_foundry._transports.library import library
from resilient_foundry.harness.evidence import ABANDONED, COMPLETE, Chunk, Ended, Exchange, Request, Response
from resilient_foundry.harness.shapes import shown
from resilient_foundry.testing import VirtualTime

_PHASES: Final = {"ConnectError": "connect", "ConnectTimeout": "connect", "PoolTimeout": "pool"}
_LENGTH: Final = "header content-length"
_SHOWN_DIFFERENCES: Final = 3
_SHOWN_TEXT: Final = 80  # letters of a value
_SHOWN_BYTES: Final = 20


class _Seconds(float):
    """Time that is to pass before the next chunk."""

    __slots__ = ()


class UnansweredError(AssertionError):
    """No exchange of the tape answers a request; the message names the nearest one and the difference."""


class Reel:
    """The exchanges of a tape, each of which is played once: requests that are alike are answered in their order."""

    def __init__(
        self, exchanges: Sequence[Exchange], clock: Callable[[float], None], headers: Container[str] = frozenset()
    ) -> None:
        self._exchanges = tuple(exchanges)
        self._headers = headers
        self._left = dict(enumerate(exchanges))
        self._lock = threading.Lock()
        self.pass_ = clock
        """Lets so many seconds pass."""

    @property
    def unused(self) -> tuple[Exchange, ...]:
        """The exchanges that nobody asked for."""
        with self._lock:
            return tuple(self._left.values())

    def take(self, request: Request) -> Exchange:
        """The exchange that answers this request; raises `UnansweredError`."""
        key = self._key(request)
        with self._lock:
            for place, exchange in self._left.items():
                if self._key(exchange.request) == key:
                    del self._left[place]
                    return exchange
        raise UnansweredError(self._why(request))

    def fed(self, exchange: Exchange, chunk: Chunk) -> None:
        """The client is about to get this chunk; for whoever keeps count."""

    def left(self, exchange: Exchange) -> None:
        """The client has closed the answer of this exchange; for whoever keeps count."""

    def _why(self, request: Request) -> str:
        left = self.unused
        if any(self._key(each.request) == self._key(request) for each in self._exchanges):
            return f"{request} is on the tape, but not once more"
        if not left:
            return f"{request} is not on the tape, of which everything has been played"
        nearest = max(left, key=lambda each: _likeness(each.request, request)).request
        found = list(self._differences(request, nearest))
        rest = len(found) - _SHOWN_DIFFERENCES
        how = f": {'; '.join(found[:_SHOWN_DIFFERENCES])}" if found else ""
        more = f"; and {rest} more" if rest > 0 else ""
        return f"{request} is not on the tape; the nearest is {nearest}{how}{more}"

    def _key(self, request: Request) -> object:
        parts = urlsplit(request.path)
        query = sorted(parse_qsl(parts.query, keep_blank_values=True))
        return request.method, parts.path, query, self._head(request), _canonical(request.body)

    def _head(self, request: Request) -> Mapping[str, str]:
        head: dict[str, str] = {}
        for name, value in request.headers:
            if name in self._headers:
                place = f"header {name}"
                head[place] = f"{head[place]}, {value}" if place in head else value
        return head

    def _differences(self, request: Request, nearest: Request) -> Iterator[str]:
        """What is otherwise than in the nearest, whose name says whether method and path are."""
        yield from _between_bodies(request.body, nearest.body)
        ours, theirs = self._head(request), self._head(nearest)
        if len(request.body) != len(nearest.body):  # from which its length follows
            ours, theirs = ({name: head[name] for name in head if name != _LENGTH} for head in (ours, theirs))
        yield from _between(ours, theirs)


def player(
    exchanges: Sequence[Exchange] | Reel,
    *,
    module: ModuleType = httpx,
    clock: VirtualTime | None = None,
    headers: Container[str] = frozenset(),
) -> Any:  # wears the transport classes of whichever library it is for
    """A transport, sync and async, of httpx or the library given, that answers from these exchanges; see its `.reel`.

    Times are those of the tape, and pass on `clock`, for an asynchronous client in its event loop where that lives on
    the clock (see `testing.run_on`). Limits on the request are kept: what came too late for them is a ReadTimeout. A
    request that no exchange answers raises `UnansweredError`, which is no error of the HTTP library, so that nothing
    tries it again. `headers` are those, in lower case, by which requests are told apart, beside method, path and body.
    """
    known = library(module.__name__)
    passing = clock or VirtualTime()
    body = type("PlayedBody", (_PlayedBody, known.SyncByteStream, known.AsyncByteStream), {})
    kind = type("Player", (_Player, known.BaseTransport, known.AsyncBaseTransport), {})
    reel = exchanges if isinstance(exchanges, Reel) else Reel(exchanges, passing.pass_, headers)
    return kind(module, body, reel, passing)


class _Player:
    """Wears both transport classes of the library."""

    def __init__(self, module: Any, body: type[Any], reel: Reel, clock: VirtualTime) -> None:
        self._module = module
        self._body = body
        self._clock = clock
        self.reel = reel

    def handle_request(self, request: Any) -> Any:
        """Answer from the tape."""
        answering = self._answer(request, b"".join(request.stream))
        try:
            while True:
                self._clock.pass_(next(answering))
        except StopIteration as end:
            return end.value

    async def handle_async_request(self, request: Any) -> Any:
        """Answer from the tape."""
        answering = self._answer(request, b"".join([chunk async for chunk in request.stream]))
        while True:
            try:
                seconds = next(answering)
            except StopIteration as end:
                return end.value
            await self._clock.sleep(seconds)

    def _answer(self, request: Any, body: bytes) -> Generator[_Seconds, None, Any]:
        head = tuple((name.decode("ascii").lower(), value.decode("latin-1")) for name, value in request.headers.raw)
        asked = Request(request.method, request.url.raw_path.decode("ascii"), head, body)
        exchange = self.reel.take(asked)
        limits: Mapping[str, float | None] = request.extensions.get("timeout") or {}
        answer, ended = exchange.response, exchange.ended
        if answer is None:
            limit = limits.get(_PHASES.get(ended.how, "read"))
            yield from self._wait(ended.at, limit, _says_of_silence(ended))
            raise getattr(self._module, _error(ended.how))(ended.says)
        yield from self._wait(answer.at, limits.get("read"))
        return self._module.Response(
            answer.status,
            headers=list(answer.headers),
            stream=self._body(self._chunks(exchange, answer, limits), self._clock, partial(self.reel.left, exchange)),
            extensions={
                "http_version": answer.http_version.encode("ascii"),
                "reason_phrase": answer.reason.encode("ascii"),
                "network_stream": _Connection(exchange.connection),
            },
        )

    def _chunks(
        self, exchange: Exchange, answer: Response, limits: Mapping[str, float | None]
    ) -> Iterator[_Seconds | bytes]:
        limit = limits.get("read")  # httpcore reads it once a body, when that is begun
        at = answer.at
        for chunk in answer.chunks:
            yield from self._wait(chunk.at - at, limit)
            at = chunk.at
            self.reel.fed(exchange, chunk)
            yield chunk.data
        ended = exchange.ended
        if ended.how == ABANDONED:
            raise UnansweredError(
                f"{exchange.request} was left by the client after {len(answer.body)} bytes, and more is asked for now"
            )
        yield from self._wait(ended.at - at, limit, _says_of_silence(ended))
        if ended.how != COMPLETE:
            raise getattr(self._module, ended.how)(ended.says)

    def _wait(self, seconds: float, limit: float | None, says: str = "") -> Iterator[_Seconds]:
        if limit is not None and seconds > limit:
            yield _Seconds(limit)
            raise self._module.ReadTimeout(says or f"nothing came for {limit:g} s")
        if seconds > 0:
            yield _Seconds(seconds)


class _PlayedBody:
    """Wears both stream classes of the library."""

    def __init__(self, steps: Iterator[_Seconds | bytes], clock: VirtualTime, left: Callable[[], None]) -> None:
        self._steps = steps
        self._clock = clock
        self._left = left

    def __iter__(self) -> Iterator[bytes]:
        for step in self._steps:
            if isinstance(step, bytes):
                yield step
            else:
                self._clock.pass_(step)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for step in self._steps:
            if isinstance(step, bytes):
                yield step
            else:
                await self._clock.sleep(step)

    def close(self) -> None:
        """Tell the reel."""
        self._left()

    async def aclose(self) -> None:
        """Tell the reel."""
        self._left()


class _Connection:
    """Stands for the connection, so that two exchanges on the same one can be told."""

    def __init__(self, number: int | None) -> None:
        self._number = number

    def get_extra_info(self, info: str) -> object:
        """The address of our end: the tape knows it by a number."""
        return None if info != "client_addr" or self._number is None else ("tape", self._number)


def _error(how: str) -> str:
    """The error class to raise where there was no answer; a client that left before the head raised none."""
    return "ReadTimeout" if how == ABANDONED else how


def _says_of_silence(ended: Ended) -> str:
    """What was said when the limit of the recording was over: that of the replay is mostly the same one."""
    return ended.says if ended.how == "ReadTimeout" else ""


def _canonical(body: bytes) -> object:
    try:
        return json.dumps(json.loads(body), sort_keys=True)
    except (ValueError, RecursionError):  # no JSON, or nested too deep to be read: the bytes themselves
        return body


def _likeness(one: Request, other: Request) -> float:
    same = (one.method == other.method) + 2 * (one.path == other.path)
    return same + SequenceMatcher(None, one.body[:2000], other.body[:2000]).ratio()


def _leaves(value: object, path: str = "body") -> Iterator[tuple[str, str]]:
    """What stands where in a JSON value, as JSON."""
    if isinstance(value, dict) and value:
        for name, member in cast("dict[str, object]", value).items():
            yield from _leaves(member, f"{path}.{name}")
    elif isinstance(value, list) and value:
        for place, item in enumerate(cast("list[object]", value)):
            yield from _leaves(item, f"{path}[{place}]")
    else:
        yield path, json.dumps(value, ensure_ascii=False)


def _between_bodies(ours: bytes, theirs: bytes) -> Iterator[str]:
    """By member where both are JSON, else by the first byte that differs."""
    try:
        yield from _between(dict(_leaves(json.loads(ours))), dict(_leaves(json.loads(theirs))))
    except (ValueError, RecursionError):
        for at in range(max(len(ours), len(theirs))):
            if ours[at : at + 1] != theirs[at : at + 1]:
                goes_on, went_on = (shown(each[at : at + _SHOWN_BYTES]) for each in (ours, theirs))
                yield f"the body goes on with {goes_on} at byte {at}, not with {went_on}"
                return


def _between(ours: Mapping[str, str], theirs: Mapping[str, str]) -> Iterator[str]:
    """What stands in a request otherwise than in the one on the tape."""
    for path in dict.fromkeys([*theirs, *ours]):
        if path not in theirs:
            yield f"{path} is {_cut(ours[path])}, and on the tape it is not there"
        elif path not in ours:
            yield f"{path} is not there, and on the tape it is {_cut(theirs[path])}"
        elif ours[path] != theirs[path]:
            yield f"{path} is {_cut(ours[path])}, not {_cut(theirs[path])}"


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_TEXT else f"{text[:_SHOWN_TEXT]}…"
