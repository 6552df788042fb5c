"""Server-sent events, decoded from bytes as they arrive.

Follows https://html.spec.whatwg.org/multipage/server-sent-events.html (section 9.2.6, "Interpreting an event stream").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_LINE_END = re.compile(rb"\r\n|\r|\n")
_ORDINARY = re.compile(rb"data: ([^\r\n]*)\n\n")
_BOM = b"\xef\xbb\xbf"
_LF = 0x0A


def announced_by(headers: Mapping[str, str]) -> bool:
    """Whether the head of an answer announces a stream of events, in any case (RFC 9110 section 8.3.1).

    Some servers say so twice, joined by a comma.
    """
    return "text/event-stream" in headers.get("content-type", "").lower()


@dataclass(frozen=True, slots=True)
class Event:
    """One event: `data`, its type, the last id seen, and `retry` in milliseconds where it said so."""

    data: str
    event: str = "message"
    id: str = ""
    retry: int | None = None


class SSEError(ValueError):
    """An event is larger than the decoder was told to hold."""


class Decoder:
    """Turns chunks of bytes into events, each as soon as its blank line is there.

    How the bytes are cut into chunks makes no difference. Byte order mark, CR, LF and CRLF, multi-line data, comments
    and split characters are understood; invalid UTF-8 becomes U+FFFD; an event without data, and one that the
    stream's end cut short, is dropped, as the text demands. At most `max_bytes` of an event are held: a larger one
    raises `SSEError`, after the events before it were handed over.
    """

    __slots__ = ("_data", "_error", "_event", "_first", "_held", "_id", "_line", "_max_bytes", "_retry", "_skip_lf")

    def __init__(self, *, max_bytes: int = 1 << 20) -> None:
        if max_bytes < 1:
            raise ValueError(f"Decoder.max_bytes is at least 1, not {max_bytes!r}")
        self._max_bytes = max_bytes
        self._line = bytearray()
        self._first = True
        self._skip_lf = False
        self._data: list[str] = []
        self._event = ""
        self._id = ""
        self._retry: int | None = None
        self._held = 0
        self._error: SSEError | None = None

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that this chunk completes; raises `SSEError` for one that is too large."""
        if self._error is not None:
            raise self._error
        events: list[Event] = []
        try:
            self._take(chunk, events)
        except SSEError as error:
            self._error = error
            if not events:
                raise
        return events

    def end(self) -> None:
        """Say that the stream is over: what is unfinished is dropped. Raises an `SSEError` not yet raised by `feed`."""
        error, self._error = self._error, None
        self._line.clear()
        self._forget()
        if error is not None:
            raise error

    def _take(self, chunk: bytes, events: list[Event]) -> None:
        start = 0
        if self._skip_lf and chunk:  # the CR that ended the last chunk has been acted upon; this LF belongs to it
            self._skip_lf = False
            start = int(chunk[0] == _LF)
        while True:
            if not (self._line or self._data or self._event) and self._retry is None:
                start = self._take_ordinary(chunk, start, events)
            end = _LINE_END.search(chunk, start)
            if end is None:
                break
            self._line += chunk[start : end.start()]
            start = end.end()
            event = self._take_line()
            if event is not None:
                events.append(event)
        self._skip_lf = self._skip_lf or (start > 0 and start == len(chunk) and chunk.endswith(b"\r"))
        self._line += chunk[start:]
        self._check()

    def _take_ordinary(self, chunk: bytes, start: int, events: list[Event]) -> int:
        """Take the events that are one line of data and whole, as nearly all are; gives where they end."""
        found = _ORDINARY.match(chunk, start)
        while found is not None:
            end = found.end()
            if end - start - 2 > self._max_bytes:
                break  # said where lines are taken one by one
            events.append(Event(found[1].decode("utf-8", "replace"), "message", self._id))
            self._first = False
            start = end
            found = _ORDINARY.match(chunk, start)
        return start

    def _take_line(self) -> Event | None:
        self._check()
        raw = bytes(self._line)
        self._line.clear()
        if self._first:
            self._first = False
            raw = raw.removeprefix(_BOM)
        if not raw:
            return self._dispatch()
        line = raw.decode("utf-8", "replace")  # line ends never stand inside a character, so a line decodes by itself
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "data":
                self._data.append(value)
                self._held += len(raw)
            case "event":
                self._event = value
                self._held += len(raw)
            case "id" if "\0" not in value:
                self._id = value
            case "retry" if value.isascii() and value.isdigit():
                self._retry = int(value[:18])  # longer ones are nonsense, and int() refuses thousands of digits
            case _:
                pass  # a comment (its name is empty), or a field that the text does not know
        return None

    def _dispatch(self) -> Event | None:
        event = None
        if self._data:
            event = Event("\n".join(self._data), self._event or "message", self._id, self._retry)
        self._forget()
        return event

    def _forget(self) -> None:
        self._data.clear()
        self._event = ""
        self._retry = None
        self._held = 0

    def _check(self) -> None:
        if self._held + len(self._line) > self._max_bytes:
            self._line.clear()
            self._forget()
            raise SSEError(f"an event of the stream is larger than {self._max_bytes} bytes")
