"""What can become of a streamed answer on its way: one frozen value each, to be put on one another.

A place in the body is a number of bytes or events, taken modulo what there is, so that any number is a place.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import accumulate, cycle, pairwise
from typing import Any, Final, Literal, cast

from resilient_foundry.harness.evidence import COMPLETE, Chunk, Ended, Exchange, Headers, Response

A_DAY: Final = 86_400.0
"""Seconds of a silence that nobody waits out."""
PATIENCE: Final = 50.0
"""Seconds of silence that our client waits out wherever they fall."""
_FINELY: Final = 1 << 15
"""Bytes of a body that are cut as they are told to be; what follows them comes in pieces of this size."""
_BLANK = re.compile(rb"(?<=\r\n)\r\n|(?<=\n)\n|(?<=\r)\r(?!\n)")
_BOM = b"\xef\xbb\xbf"


class Meaning(Enum):
    """What a mutation leaves of the answer."""

    KEPT = "kept"
    """The client must give the very result of the original, from a single attempt."""
    POSTPONED = "postponed"
    """The client must give the result of the original, from a later attempt."""
    CHANGED = "changed"
    """It is another answer, which reads otherwise, and may read as whole or as broken."""


class Mutation(ABC):
    """A change of what a client is sent: of the last exchange of those given, or of what comes before it."""

    @property
    @abstractmethod
    def meaning(self) -> Meaning:
        """What it leaves of an answer that is whole."""

    def apply(self, exchanges: tuple[Exchange, ...]) -> tuple[Exchange, ...]:
        """The exchanges as the client meets them."""
        *before, last = exchanges
        return (*before, last if last.response is None else self.change(last, last.response))

    def change(self, exchange: Exchange, response: Response) -> Exchange:
        """The exchange as it becomes."""
        return replace(exchange, response=self.changed(response))

    def changed(self, response: Response) -> Response:
        """The answer as it becomes."""
        return response


def mutated(exchange: Exchange, *mutations: Mutation) -> tuple[Exchange, ...]:
    """What the client meets in the place of this exchange, the mutations put on it one after the other."""
    exchanges: tuple[Exchange, ...] = (exchange,)
    for mutation in mutations:
        exchanges = mutation.apply(exchanges)
    return exchanges


class _Keeps(Mutation):
    @property
    def meaning(self) -> Meaning:
        """The answer reads as before."""
        return Meaning.KEPT


class _Changes(Mutation):
    @property
    def meaning(self) -> Meaning:
        """The answer reads otherwise."""
        return Meaning.CHANGED


@dataclass(frozen=True, slots=True)
class Rechunk(_Keeps):
    """The same bytes in chunks of these sizes, over and over. A network cuts where it likes."""

    sizes: tuple[int, ...] = (1,)

    def changed(self, response: Response) -> Response:
        """Each new chunk comes when its last byte came."""
        body, came = response.body, _moments(response)
        chunks: list[Chunk] = []
        start = 0
        for size in cycle(max(1, size) for size in self.sizes or (1,)):
            end = min(start + (size if start < _FINELY else _FINELY), len(body))
            if start == end:
                break
            chunks.append(Chunk(came(end - 1), body[start:end]))
            start = end
        return replace(response, chunks=tuple(chunks))


@dataclass(frozen=True, slots=True)
class SplitCharacters(_Keeps):
    """Chunks end within every character of several bytes."""

    def changed(self, response: Response) -> Response:
        """Cut before each byte that goes on with a character."""
        chunks: list[Chunk] = []
        for chunk in response.chunks:
            start = 0
            for place, byte in enumerate(chunk.data):
                if byte & 0xC0 == 0x80 and place > start:  # noqa: PLR2004 - UTF-8, RFC 3629 section 3
                    chunks.append(Chunk(chunk.at, chunk.data[start:place]))
                    start = place
            chunks.append(Chunk(chunk.at, chunk.data[start:]))
        return replace(response, chunks=tuple(chunks))


@dataclass(frozen=True, slots=True)
class LineEnds(_Keeps):
    """Other ends of lines: CR, LF or CRLF, as WHATWG allows."""

    end: Literal["\r", "\n", "\r\n"] = "\r"

    def changed(self, response: Response) -> Response:
        """Event by event, so that no chunk ends within an end."""
        return _of_events(response, lambda event: re.sub(rb"\r\n|\r|\n", self.end.encode(), event))


@dataclass(frozen=True, slots=True)
class ByteOrderMark(_Keeps):
    """A byte order mark before the stream, which WHATWG has dropped."""

    def changed(self, response: Response) -> Response:
        """One mark is dropped, and no second one."""
        if not response.chunks or response.body.startswith(_BOM):
            return response
        first, *rest = response.chunks
        return replace(response, chunks=(replace(first, data=_BOM + first.data), *rest))


@dataclass(frozen=True, slots=True)
class Comments(_Keeps):
    """So many comments before an event, as servers send them to keep a connection alive."""

    before: int = 0
    count: int = 1
    text: str = ": keep-alive\n\n"

    def changed(self, response: Response) -> Response:
        """They come together with the event."""
        return _inserted(response, self.before, [self.text.encode()] * self.count)


@dataclass(frozen=True, slots=True)
class ManyLines(_Keeps):
    """The data of each event on two lines, which are joined by a line feed: white space to JSON."""

    def changed(self, response: Response) -> Response:
        """Cut behind the first brace."""
        return _of_events(response, lambda event: re.sub(rb"^data: ?\{", b"data: {\ndata: ", event))


@dataclass(frozen=True, slots=True)
class UnknownFields(_Keeps):
    """Fields that nobody knows, of JSON and of the stream."""

    def changed(self, response: Response) -> Response:
        """In every event."""
        return _of_events(
            _of_objects(response, lambda said: {"x_future": {"é": ["€", None]}, **said}),
            lambda event: b"x-trace: 1\n" + event if event.startswith(b"data:") else event,
        )


@dataclass(frozen=True, slots=True)
class Nulls(_Keeps):
    """What is missing is null instead; `missing` has it the other way round."""

    missing: bool = False

    def changed(self, response: Response) -> Response:
        """In every event, and in its choices."""
        return _of_objects(response, self._without if self.missing else self._with)

    def _with(self, said: dict[str, Any]) -> dict[str, Any]:
        fields: dict[str, Any] = {"usage": None, "error": None, "system_fingerprint": None, **said}
        fields["choices"] = [
            {"finish_reason": None, "logprobs": None, **choice} for choice in said.get("choices") or ()
        ]
        return fields

    def _without(self, said: dict[str, Any]) -> dict[str, Any]:
        fields = {name: value for name, value in said.items() if value is not None}
        fields["choices"] = [
            {name: value for name, value in choice.items() if value is not None} for choice in said.get("choices") or ()
        ]
        return fields


@dataclass(frozen=True, slots=True)
class Garbage(_Keeps):
    """Bytes behind the end of the stream, which nobody may mind after [DONE]."""

    data: bytes = b"\xff\x00data: {\n\ndata: x\n\n"

    def changed(self, response: Response) -> Response:
        """Only behind [DONE]: elsewhere it is a part of the answer."""
        if not response.body.rstrip().endswith(b"[DONE]") or not self.data:
            return response
        return replace(response, chunks=(*response.chunks, Chunk(response.chunks[-1].at, self.data)))


@dataclass(frozen=True, slots=True)
class Stall(Mutation):
    """Nothing for so many seconds before this byte. A short silence is waited out, a long one is given up on."""

    before: int = 0
    seconds: float = 30.0

    @property
    def meaning(self) -> Meaning:
        """Kept, as long as the client is patient."""
        return Meaning.KEPT if self.seconds <= PATIENCE else Meaning.CHANGED

    def change(self, exchange: Exchange, response: Response) -> Exchange:
        """Everything from there on is later."""
        early, late = _split(response.chunks, _place(self.before, response))
        later = tuple(replace(chunk, at=chunk.at + self.seconds) for chunk in late)
        ended = replace(exchange.ended, at=exchange.ended.at + self.seconds)
        return replace(exchange, response=replace(response, chunks=(*early, *later)), ended=ended)


@dataclass(frozen=True, slots=True)
class LateHead(Mutation):
    """The head, and all that follows, so many seconds later."""

    seconds: float = 30.0

    @property
    def meaning(self) -> Meaning:
        """Kept, as long as the client is patient; else it asks again."""
        return Meaning.KEPT if self.seconds <= PATIENCE else Meaning.POSTPONED

    def change(self, exchange: Exchange, response: Response) -> Exchange:
        """All of it."""
        chunks = tuple(replace(chunk, at=chunk.at + self.seconds) for chunk in response.chunks)
        ended = replace(exchange.ended, at=exchange.ended.at + self.seconds)
        later = replace(response, at=response.at + self.seconds, chunks=chunks)
        return replace(exchange, response=later, ended=ended)


_ENDS: Final[Mapping[str, tuple[str, str]]] = {
    "end": (COMPLETE, ""),
    "close": ("RemoteProtocolError", "peer closed connection without sending complete message body"),
    "reset": ("ReadError", "[Errno 104] Connection reset by peer"),
    "silence": ("ReadTimeout", "a day has passed"),
}


@dataclass(frozen=True, slots=True)
class Cut(_Changes):
    """Nothing from this byte on: a proper `end` of the body, a `close` or `reset` of the connection, or `silence`."""

    at: int = 0
    how: Literal["end", "close", "reset", "silence"] = "close"

    def change(self, exchange: Exchange, response: Response) -> Exchange:
        """What comes before it comes as it did."""
        early, _ = _split(response.chunks, _place(self.at, response))
        last = early[-1].at if early else response.at
        error, says = _ENDS[self.how]
        ended = Ended(error, last + (A_DAY if self.how == "silence" else 0.0), says)
        return replace(exchange, response=replace(response, chunks=early), ended=ended)


@dataclass(frozen=True, slots=True)
class DropEvent(_Changes):
    """An event is lost."""

    event: int = 0

    def changed(self, response: Response) -> Response:
        """The others stay."""
        return _of_list(response, lambda events, k: events[:k] + events[k + 1 :], self.event)


@dataclass(frozen=True, slots=True)
class DoubleEvent(_Changes):
    """An event comes twice."""

    event: int = 0

    def changed(self, response: Response) -> Response:
        """One after the other."""
        return _of_list(response, lambda events, k: [*events[: k + 1], *events[k:]], self.event)


@dataclass(frozen=True, slots=True)
class SwapEvents(_Changes):
    """An event comes after the next one."""

    event: int = 0

    def changed(self, response: Response) -> Response:
        """The last one has none after it."""
        return _of_list(
            response, lambda events, k: [*events[:k], *reversed(events[k : k + 2]), *events[k + 2 :]], self.event
        )


@dataclass(frozen=True, slots=True)
class InBandError(_Changes):
    """An error in the place of this event and all after it, and a clean end: how 2.x reports a failure."""

    event: int = 0
    data: str = '{"error":{"code":null,"message":"token generation failed","param":null,"type":"server_error"}}'

    def change(self, exchange: Exchange, response: Response) -> Exchange:
        """Without [DONE]."""
        failed = _of_list(
            response, lambda events, k: [*events[:k], _again(events[k], f"data: {self.data}\n\n".encode())], self.event
        )
        last = failed.chunks[-1].at if failed.chunks else failed.at
        return replace(exchange, response=failed, ended=Ended(COMPLETE, last))


@dataclass(frozen=True, slots=True)
class BadJSON(_Changes):
    """The data of an event are cut short by their last character."""

    event: int = 0

    def changed(self, response: Response) -> Response:
        """An object has no end, then."""
        return _of_list(
            response,
            lambda events, k: [
                *events[:k],
                _again(events[k], re.sub(rb"[^\r\n]([\r\n]*)$", rb"\1", events[k].data)),
                *events[k + 1 :],
            ],
            self.event,
        )


@dataclass(frozen=True, slots=True)
class BadUTF8(_Changes):
    """A byte that is no UTF-8 before the content of each event; it is read as U+FFFD."""

    data: bytes = b"\xff"

    def changed(self, response: Response) -> Response:
        """Inside the quotes."""
        return _of_events(response, lambda event: re.sub(rb'("content": ?")', rb"\1" + self.data, event))


@dataclass(frozen=True, slots=True)
class NoDone(_Changes):
    """No [DONE] at the end."""

    def changed(self, response: Response) -> Response:
        """A reason to finish is still there."""
        return _listed(response, [event for event in events_of(response) if b"[DONE]" not in event.data])


@dataclass(frozen=True, slots=True)
class NoFinishReason(_Changes):
    """No reason to finish, as releases 0.8.101 to 0.8.119 had it."""

    def changed(self, response: Response) -> Response:
        """[DONE] is still there."""

        def without(said: dict[str, Any]) -> dict[str, Any]:
            choices = [{**choice, "finish_reason": None} for choice in said.get("choices") or ()]
            return {**said, "choices": choices}

        return _of_objects(response, without)


@dataclass(frozen=True, slots=True)
class ContentType(Mutation):
    """The content type is said so: not at all, twice, otherwise written, or wrong."""

    values: tuple[str, ...] = ("text/event-stream", "text/event-stream")

    @property
    def meaning(self) -> Meaning:
        """Kept where a stream of events is still announced."""
        announced = any("text/event-stream" in value.lower() for value in self.values)
        return Meaning.KEPT if announced else Meaning.CHANGED

    def changed(self, response: Response) -> Response:
        """All other headers stay."""
        others = [(name, value) for name, value in response.headers if name != "content-type"]
        return replace(response, headers=(*others, *(("content-type", value) for value in self.values)))


@dataclass(frozen=True, slots=True)
class HugeLine(_Changes):
    """A line of so many bytes before an event: more than is held."""

    before: int = 0
    size: int = 5 << 18
    piece: int = 1 << 16

    def changed(self, response: Response) -> Response:
        """It comes in pieces, and never ends where the stream ends first."""
        pieces = [b"data: "] + [b"x" * self.piece] * (self.size // self.piece) + [b"\n\n"]
        return _inserted(response, self.before, pieces)


@dataclass(frozen=True, slots=True)
class Busy(Mutation):
    """Before the real answer, one that refuses for now, with any form of `Retry-After` (RFC 9110 section 10.2.3)."""

    status: Literal[429, 503] = 503
    headers: Headers = ()

    @property
    def meaning(self) -> Meaning:
        """The client asks again."""
        return Meaning.POSTPONED

    def apply(self, exchanges: tuple[Exchange, ...]) -> tuple[Exchange, ...]:
        """Refused right away."""
        *before, last = exchanges
        body = (Chunk(0.0, b"busy"),)
        refusal = Exchange(last.request, Response(self.status, self.headers, chunks=body), Ended(), last.connection)
        return (*before, refusal, last)


_DATE: Final = ("date", "Wed, 21 Oct 2015 07:28:00 GMT")
RETRY_AFTERS: Final[Mapping[Headers, float | None]] = {
    (): None,
    (("retry-after", "3"),): 3.0,
    (("retry-after", "0.25"),): 0.25,
    (("retry-after", "0"),): None,
    (("retry-after", "-1"),): None,
    (("retry-after", "soon"),): None,
    (("retry-after", ""),): None,
    (("retry-after", "1"), ("retry-after", "2")): 1.0,
    (("retry-after-ms", "1500"),): 1.5,
    (("x-ms-retry-after-ms", "20"), ("retry-after", "9")): 0.02,
    (("retry-after", "Wed, 21 Oct 2015 07:28:09 GMT"), _DATE): 9.0,
    (("retry-after", "Wednesday, 21-Oct-15 07:28:09 GMT"), _DATE): 9.0,
    (("retry-after", "Wed Oct 21 07:28:09 2015"), ("date", "Wed Oct 21 07:28:00 2015")): 9.0,
    (("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT"),): None,
}
"""Every form that is seen, and the seconds that it asks for: seconds, fractions, past and future dates in three
spellings, milliseconds. None is for what asks for nothing: there the client waits as it likes."""

MUTATIONS: Final[tuple[type[Mutation], ...]] = (
    BadJSON,
    BadUTF8,
    Busy,
    ByteOrderMark,
    Comments,
    ContentType,
    Cut,
    DoubleEvent,
    DropEvent,
    Garbage,
    HugeLine,
    InBandError,
    LateHead,
    LineEnds,
    ManyLines,
    NoDone,
    NoFinishReason,
    Nulls,
    Rechunk,
    SplitCharacters,
    Stall,
    SwapEvents,
    UnknownFields,
)


def events_of(response: Response) -> list[Chunk]:
    """The events of an answer as bytes, with the blank line behind each, when they were whole."""
    body, came = response.body, _moments(response)
    ends = [blank.end() for blank in _BLANK.finditer(body)]
    if body and ends[-1:] != [len(body)]:
        ends.append(len(body))
    return [Chunk(came(end - 1), body[start:end]) for start, end in pairwise([0, *ends])]


def _moments(response: Response) -> Callable[[int], float]:
    """When the byte in a place came."""
    ends = list(accumulate(len(chunk.data) for chunk in response.chunks))
    return lambda place: response.chunks[bisect_right(ends, place)].at


def _place(place: int, response: Response) -> int:
    return place % (len(response.body) + 1)


def _split(chunks: Sequence[Chunk], place: int) -> tuple[tuple[Chunk, ...], tuple[Chunk, ...]]:
    early: list[Chunk] = []
    late: list[Chunk] = []
    for chunk in chunks:
        size = max(0, min(len(chunk.data), place))
        if size:
            early.append(replace(chunk, data=chunk.data[:size]))
        if size < len(chunk.data):
            late.append(replace(chunk, data=chunk.data[size:]))
        place -= len(chunk.data)
    return tuple(early), tuple(late)


def _listed(response: Response, events: Sequence[Chunk]) -> Response:
    """The answer made of these events, in the order of their times."""
    latest = 0.0
    chunks: list[Chunk] = []
    for event in events:
        latest = max(latest, event.at)
        if event.data:
            chunks.append(Chunk(latest, event.data))
    return replace(response, chunks=tuple(chunks))


def _of_list(response: Response, change: Callable[[list[Chunk], int], list[Chunk]], event: int) -> Response:
    events = events_of(response)
    return _listed(response, change(events, event % len(events))) if events else response


def _of_events(response: Response, change: Callable[[bytes], bytes]) -> Response:
    return _listed(response, [_again(event, change(event.data)) for event in events_of(response)])


def _of_objects(response: Response, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Response:
    def changed(event: bytes) -> bytes:
        head, _, data = event.partition(b"data:")
        try:
            said: object = json.loads(data.decode("utf-8", "surrogateescape"))  # bytes that are no UTF-8 stay
        except ValueError:
            return event
        if not isinstance(said, dict):
            return event
        written = json.dumps(change(cast("dict[str, Any]", said)), ensure_ascii=False).encode(
            "utf-8", "surrogateescape"
        )
        return head + b"data: " + written + data[len(data.rstrip()) :]

    return _of_events(response, changed)


def _inserted(response: Response, before: int, pieces: Sequence[bytes]) -> Response:
    events = events_of(response)
    place = before % (len(events) + 1)
    at = events[place].at if place < len(events) else (events[-1].at if events else response.at)
    return _listed(response, [*events[:place], *(Chunk(at, piece) for piece in pieces), *events[place:]])


def _again(event: Chunk, data: bytes) -> Chunk:
    return replace(event, data=data)
