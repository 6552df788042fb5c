"""What differs between two recordings of the same thing, made the same: addresses, ids, processes, folders, dates.

Every such value becomes a plain one that says what it was ("chatcmpl-0000000000000001"), the same value the same one
everywhere on the tape, so that an id that a later request names is still the one that an earlier answer gave. What a
request brought along by itself stays: the contract will send it again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count
from typing import Final

from resilient_foundry.harness.evidence import ABANDONED, Chunk, Ended, Exchange, Headers, Request, Response
from resilient_foundry.harness.tapes.tape import HOST

REQUEST_HEADERS: Final = frozenset(
    {
        "accept",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "origin",
        "transfer-encoding",
        "user-agent",
    }
)
"""What a tape keeps of the head of a request."""
RESPONSE_HEADERS: Final = frozenset(
    {
        "access-control-allow-credentials",
        "access-control-allow-origin",
        "allow",
        "cache-control",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "date",
        "keep-alive",
        "location",
        "retry-after",
        "server",
        "transfer-encoding",
        "vary",
    }
)
"""What a tape keeps of the head of an answer."""
DATE: Final = "Thu, 01 Jan 2026 00:00:00 GMT"
"""The Date of every answer on a tape."""
FOLDER: Final = "/runtime"
"""Stands for the folder that a runtime keeps its things in."""

_MIDNIGHT: Final = 1_767_225_600  # the second of DATE
_TOGETHER_SECONDS: Final = 60.0  # moments less than this apart are one: how long a recording takes is chance
_APART_SECONDS: Final = 3600  # between moments that are not
_FIRST_PID: Final = 1001
_QUOTATION: Final = re.compile(r"""(['"])((?:(?!\1)[^\\]|\\.)*)(?:\1|…|$)""", re.DOTALL)
_LONG_QUOTATION: Final = 40

# In JSON by .NET, `'` is `\u0027`: a value begins behind it as it does behind any other quotation mark.
_BEGINS: Final = rb"(?:(?<![A-Za-z0-9_.])|(?<=\\u00[0-9A-Fa-f]{2}))"
_IDS: Final = rb"chatcmpl-|cmpl-|resp_|msg_|call_|fc_|rs_|item_|req_"
_HOSTS: Final = rb"(?:127\.0\.0\.1|localhost|\[::1\])(?::[0-9]{1,5})?(?![0-9])"
_ROOTS: Final = (
    rb"(?:/private)?(?:/tmp|/var/folders/[^/\s\"\\]+/[^/\s\"\\]+/T|/home/[^/\s\"\\]+|/Users/[^/\s\"\\]+|/root)"
    rb"(?:/(?:resilient-foundry-|tmp)[A-Za-z0-9_]{6,12})?(?![A-Za-z0-9_])"
)
_WINDOWS_ROOTS: Final = (
    rb"[A-Z]:\\{1,2}Users\\{1,2}[^\\\s\"]+(?:\\{1,2}AppData\\{1,2}Local\\{1,2}Temp\\{1,2}"
    rb"(?:resilient-foundry-|tmp)[A-Za-z0-9_]{6,12})?(?![A-Za-z0-9_])"
)
_UUID: Final = rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_MOMENT: Final = (
    rb"20[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9](?:\.[0-9]+)?"
    rb"(?:Z|(?:[+-]|\\u002[bB])[0-9]{2}:[0-9]{2})"
)


@dataclass(frozen=True, slots=True)
class _Found:
    """A value in a text that may have to be replaced."""

    kind: str
    value: bytes
    start: int
    end: int

    @property
    def key(self) -> tuple[str, bytes]:
        return self.kind, self.value


@dataclass(frozen=True, slots=True)
class _Edited:
    """A text with replacements, and where a place in the old one is in the new."""

    data: bytes
    edits: tuple[tuple[int, int, int, int], ...] = ()
    """Begin and end of each replaced part, in the old text and in the new."""

    def place(self, old: int) -> int:
        """A place within a replaced part stays as far behind its beginning as there is room."""
        moved = 0
        for start, end, new_start, new_end in self.edits:
            if old <= start:
                break
            if old < end:
                return min(new_start + old - start, new_end)
            moved = new_end - end
        return old + moved


def normalise(exchanges: Sequence[Exchange]) -> tuple[Exchange, ...]:
    """The exchanges as they stand on a tape: doing it twice changes nothing more.

    Headers that are not on the lists above are left out, lengths and the edges of chunks follow the bodies, connections
    are numbered in the order of their use, and times are in whole milliseconds.
    """
    pattern = _pattern(exchanges)
    names = _names(exchanges, pattern)
    numbers: dict[int, int] = {}
    for each in exchanges:
        if each.connection is not None:
            numbers.setdefault(each.connection, len(numbers) + 1)
    return tuple(
        Exchange(
            _request(each.request, pattern, names),
            None if each.response is None else _response(each.response, pattern, names),
            Ended(each.ended.how, _rounded(each.ended.at), _text(each.ended.says, pattern, names)),
            None if each.connection is None else numbers[each.connection],
        )
        for each in exchanges
    )


def structure(exchanges: Iterable[Exchange]) -> tuple[Exchange, ...]:
    """The exchanges without times, the edges of chunks, who shared a connection, and what came before a client left.

    Two recordings of the same thing have it in common.
    """
    return tuple(
        Exchange(
            each.request,
            None if each.response is None else replace(each.response, at=0.0, chunks=_whole(each)),
            replace(each.ended, at=0.0),
        )
        for each in exchanges
    )


def _whole(exchange: Exchange) -> tuple[Chunk, ...]:
    if exchange.response is None or exchange.ended.how == ABANDONED:
        return ()
    return (Chunk(0.0, exchange.response.body),)


def without_chance(text: str) -> str:
    """A sentence without what chance puts into it: numbers, ids, addresses, and long quotations.

    Two sentences of the same kind are equal.
    """
    text = _QUOTATION.sub(lambda found: "…" if len(found[2]) >= _LONG_QUOTATION else found[0], text)
    pattern = _pattern(())
    found = list(_find(pattern, text.encode()))
    edited = _edit(text.encode(), found, {each.key: b"*" for each in found}).data.decode("utf-8", "replace")
    plain = edited.replace(HOST, "*").replace(FOLDER, "*")
    return re.sub(r"'\w*\d\w*'|\d+(?:\.\d+)?", "0", plain)


def _pattern(exchanges: Iterable[Exchange]) -> re.Pattern[bytes]:
    """Finds the values, those of the servers of these exchanges among them."""
    hosts = {value for each in exchanges for name, value in each.request.headers if name == "host"}
    named = [re.escape(host.encode()) for host in sorted(hosts) if re.fullmatch(r"[\w.\-]*\w[.:]\w[\w.:\-]*", host)]
    kinds = {
        "host": rb"|".join([*(name + rb"(?![0-9])" for name in named), _HOSTS]),
        "root": rb"|".join([_BEGINS + rb"(?:" + _ROOTS + rb")", _WINDOWS_ROOTS]),
        "id": _BEGINS + rb"(?:" + _IDS + rb")[A-Za-z0-9]{8,64}(?![A-Za-z0-9])",
        "uuid": _UUID,
        "moment": _MOMENT,
    }
    members = {
        "bare": (rb"id|call_id|tool_call_id|item_id", rb'(?<=")(?=[A-Za-z]*[A-Z0-9])[A-Za-z0-9]{9,40}(?=")'),
        "pid": (rb"pid", rb"[0-9]{1,10}(?![0-9.])"),
        "epoch": (rb"created|created_at|[a-z]+_at|CreatedTime", rb"[12][0-9]{9}(?![0-9])"),
    }
    alternatives = [
        *(
            rb'"(?:' + names + rb')"\s*:\s*"?(?P<' + kind.encode() + rb">" + value + rb")"
            for kind, (names, value) in members.items()
        ),
        *(rb"(?P<" + kind.encode() + rb">" + value + rb")" for kind, value in kinds.items()),
    ]
    return re.compile(rb"|".join(alternatives))


def _find(pattern: re.Pattern[bytes], data: bytes) -> Iterator[_Found]:
    for match in pattern.finditer(data):
        kind = match.lastgroup or ""
        yield _Found(kind, match[kind], *match.span(kind))


def _names(exchanges: Sequence[Exchange], pattern: re.Pattern[bytes]) -> Mapping[tuple[str, bytes], bytes]:
    """What each value is called on the tape, in the order in which the server brought them up."""
    brought: dict[tuple[str, bytes], None] = {}  # by the server, in order
    sent: set[tuple[str, bytes]] = set()  # by the contract of its own accord
    for each in exchanges:
        for text in _said_by_client(each.request):
            sent.update(found.key for found in _find(pattern, text) if found.key not in brought)
        for text in _said_by_server(each):
            brought.update((found.key, None) for found in _find(pattern, text) if found.key not in sent)
    taken = {value for _, value in sent}
    names: dict[tuple[str, bytes], bytes] = {}
    counters: dict[bytes, Iterator[int]] = {}
    for kind, value in brought:
        match kind:
            case "host":
                name = HOST.encode()
            case "root":
                name = FOLDER.encode()
            case "epoch" | "moment":
                continue
            case _:
                template = _template(kind, value)
                numbers = counters.setdefault(template, count(_FIRST_PID if kind == "pid" else 1))
                name = next(name for number in numbers if (name := template % number) not in taken)
        names[kind, value] = name
    return names | _names_of_moments([key for key in brought if key[0] in {"epoch", "moment"}])


def _said_by_client(request: Request) -> Iterator[bytes]:
    yield request.path.encode()
    yield request.body
    for name, value in request.headers:
        if name in REQUEST_HEADERS and name != "host":
            yield value.encode("latin-1", "replace")


def _said_by_server(exchange: Exchange) -> Iterator[bytes]:
    for name, value in exchange.request.headers:
        if name == "host":
            yield value.encode()
    if exchange.response is not None:
        for name, value in exchange.response.headers:
            if name in RESPONSE_HEADERS:
                yield value.encode("latin-1", "replace")
        yield exchange.response.body
    yield exchange.ended.says.encode()


def _template(kind: str, value: bytes) -> bytes:
    """The name with a place for its number. Ids are sometimes a digit shorter than usual; their names are not."""
    if kind == "pid":
        return b"%d"
    if kind == "uuid":
        return b"00000000-0000-4000-8000-%012d"
    prefix = re.match(_IDS, value) if kind == "id" else None
    written = b"" if prefix is None else prefix[0]
    length = len(value) - len(written)
    width = 9 if length <= 12 else 16 if length <= 16 else 32  # noqa: PLR2004 - the lengths that servers use
    return written + b"%%0%dd" % width


def _names_of_moments(keys: Iterable[tuple[str, bytes]]) -> dict[tuple[str, bytes], bytes]:
    """Moments keep their order; those that are near to each other become the same."""
    seconds = {key: at for key in keys if (at := _seconds(*key)) is not None}
    names: dict[float, int] = {}
    last, named = None, _MIDNIGHT - _APART_SECONDS
    for at in sorted(set(seconds.values())):
        if last is None or at - last >= _TOGETHER_SECONDS:
            named += _APART_SECONDS
        names[at] = named
        last = at
    return {key: _moment(*key, names[at]) for key, at in seconds.items()}


def _seconds(kind: str, value: bytes) -> float | None:
    if kind == "epoch":
        return float(value)
    written = re.sub(r"\\u002[bB]", "+", value.decode("ascii"))
    try:
        return datetime.fromisoformat(written).timestamp()
    except ValueError:
        return None  # the 31st of February


def _moment(kind: str, value: bytes, at: int) -> bytes:
    if kind == "epoch":
        return b"%d" % at
    zone = b"Z" if value.endswith(b"Z") else rb"\u002B00:00" if rb"\u002" in value.lower() else b"+00:00"
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S").encode() + zone


def _edit(data: bytes, found: Iterable[_Found], names: Mapping[tuple[str, bytes], bytes]) -> _Edited:
    parts: list[bytes] = []
    edits: list[tuple[int, int, int, int]] = []
    read = written = 0
    for each in found:
        name = names.get(each.key)
        if name is None:
            continue
        written += each.start - read
        parts += [data[read : each.start], name]
        edits.append((each.start, each.end, written, written + len(name)))
        read, written = each.end, written + len(name)
    return _Edited(b"".join([*parts, data[read:]]), tuple(edits))


def _request(request: Request, pattern: re.Pattern[bytes], names: Mapping[tuple[str, bytes], bytes]) -> Request:
    path = _edit(request.path.encode(), _find(pattern, request.path.encode()), names).data.decode()
    body = _edit(request.body, _find(pattern, request.body), names).data
    headers = _headers(request.headers, REQUEST_HEADERS, len(body) - len(request.body), pattern, names)
    return Request(request.method, path, headers, body)


def _response(response: Response, pattern: re.Pattern[bytes], names: Mapping[tuple[str, bytes], bytes]) -> Response:
    edited = _edit(response.body, _find(pattern, response.body), names)
    chunks: list[Chunk] = []
    read = written = 0
    for chunk in response.chunks:
        read += len(chunk.data)
        end = edited.place(read)
        if end > written:
            chunks.append(Chunk(_rounded(chunk.at), edited.data[written:end]))
        written = end
    return replace(
        response,
        headers=_headers(response.headers, RESPONSE_HEADERS, len(edited.data) - len(response.body), pattern, names),
        at=_rounded(response.at),
        chunks=tuple(chunks),
    )


def _headers(
    headers: Headers,
    kept: frozenset[str],
    longer: int,
    pattern: re.Pattern[bytes],
    names: Mapping[tuple[str, bytes], bytes],
) -> Headers:
    """The headers that are kept, for a body that became so many bytes longer."""
    result: list[tuple[str, str]] = []
    for name, value in headers:
        if name not in kept:
            continue
        if name == "date":
            result.append((name, DATE))
        elif name == "content-length" and re.fullmatch("[0-9]+", value):
            result.append((name, str(max(0, int(value) + longer))))
        else:
            result.append((name, _text(value, pattern, names, "latin-1")))
    return tuple(result)


def _text(
    text: str, pattern: re.Pattern[bytes], names: Mapping[tuple[str, bytes], bytes], encoding: str = "utf-8"
) -> str:
    data = text.encode(encoding, "replace")
    return _edit(data, _find(pattern, data), names).data.decode(encoding)


def _rounded(seconds: float) -> float:
    return round(seconds, 3)
