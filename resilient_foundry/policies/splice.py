"""One answer out of several: what the caller already has is left out of the next one, text by text.

A chat that is asked again is told in other chunks, with another id, at another time; its text must be the same. Texts
are compared by choice and field (`content`, `reasoning_content`, ...), and the event that straddles the seam is cut.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from resilient_foundry.policies.transcript import Dialect, Said, choices_of, mapping
from resilient_foundry.sse import Decoder, Event, SSEError

_BLANK_LINE = re.compile(rb"(?>\r\n|\r|\n)(?>\r\n|\r|\n)")
_LONGEST_LINE_END = 4
"""Bytes of a blank line, at most."""
_BOM = b"\xef\xbb\xbf"
_TOOLS = ("tool_calls", "function_call")
_TEXT = " text"
"""The field of a completion's text, which stands outside of any delta."""


class Blocks:
    """Cuts bytes behind each blank line, so that every event stands in one piece. What was cut adds up to what came."""

    def __init__(self, max_bytes: int) -> None:
        self.rest = bytearray()
        """What is not yet a whole event."""
        self._max_bytes = max_bytes
        self._decoder = Decoder(max_bytes=max_bytes)
        self._looked_at = 0
        self._stopped = False

    def stop(self) -> None:
        """Look at nothing more."""
        self._stopped = True
        self.rest.clear()

    def feed(self, chunk: bytes) -> Iterator[tuple[bytes, Event | None]]:
        """The pieces that this chunk completes, each with its event, if it holds one.

        Raises `SSEError` for an event that is too large; `rest` then begins with it.
        """
        if self._stopped:
            return
        self.rest += chunk
        start = max(0, self._looked_at - _LONGEST_LINE_END)
        while (blank := _BLANK_LINE.search(self.rest, start)) is not None:
            piece = bytes(self.rest[: blank.end()])
            events = self._decoder.feed(piece)
            del self.rest[: blank.end()]
            start = 0
            yield piece, events[0] if events else None
        self._looked_at = len(self.rest)
        if len(self.rest) > self._max_bytes:
            raise SSEError(f"an event of the stream is larger than {self._max_bytes} bytes")


class DeniedError(Exception):
    """The answers don't fit together; `why` is a word of `ResumeDenied`. Never seen by a caller."""

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(why)


class Splice:
    """What was handed over of an answer, and what of further ones is to be."""

    def __init__(self) -> None:
        self.why_not: str | None = None
        """Why nothing can be put behind what was handed over, in a word of `ResumeDenied`; None where something can."""
        self.characters = 0
        """How many characters of text were handed over."""
        self._texts: dict[tuple[int, str], list[str]] = {}
        self._known: set[int] = set()
        """The choices of which something was handed over."""
        self._finished: dict[int, str] = {}
        self._resumed = False
        self._left: dict[tuple[int, str], str] = {}
        """What of those texts this answer has not told yet."""
        self._over: dict[int, str] = {}
        """The choices that had come to their end before this answer."""
        self._behind_the_seam: set[int] = set()
        """The choices of which this answer has told something new."""

    def begin_again(self) -> None:
        """Another answer follows, from its beginning."""
        self._resumed = True
        self._left = {place: "".join(texts) for place, texts in self._texts.items()}
        self._over = dict(self._finished)
        self._behind_the_seam.clear()

    @property
    def fits(self) -> bool:
        """Whether all that was handed over before has been found in this answer."""
        return not any(self._left.values())

    def refuse(self, why: str) -> None:
        """Nothing can be put together from here on; raises `DeniedError` where that was done already."""
        if self._resumed:
            raise DeniedError(why)
        self.why_not = self.why_not or why

    def take(self, piece: bytes, event: Event | None, said: Said) -> bytes:
        """What of this piece is new to the caller; raises `DeniedError` where it contradicts what the caller has.

        `said` is what its event says, if it has one.
        """
        if not self._resumed:
            self._take_first(said)
            return piece
        piece = piece.removeprefix(_BOM)
        choices = choices_of(said)
        if event is not None and said.raw is not None and choices:
            return self._take_again(piece, event, said.raw, choices)
        if said.brings and not said.ends and said.dialect is not Dialect.CHAT:
            raise DeniedError("unknown_events")
        return piece if self.fits else b""

    def _take_first(self, said: Said) -> None:
        if said.brings and not said.ends and said.dialect is not Dialect.CHAT:
            self.refuse("unknown_events")
        for index, choice in choices_of(said):
            why = _why_not(choice)
            if why is not None:
                self.refuse(why)
            self._note(index, _texts(choice), _finish(choice))

    def _note(self, index: int, texts: Mapping[str, str], finish: str | None) -> None:
        self._known.add(index)
        for field, text in texts.items():
            self.characters += len(text)
            self._texts.setdefault((index, field), []).append(text)
        if finish is not None:
            self._finished[index] = finish

    def _take_again(
        self, piece: bytes, event: Event, raw: Mapping[str, Any], choices: list[tuple[int, Mapping[str, Any]]]
    ) -> bytes:
        new = [self._new_of(index, choice) for index, choice in choices]
        if all(rest is choice for rest, (_, choice) in zip(new, choices, strict=True)):
            return piece
        kept = [rest for rest in new if rest is not None]
        return _written({**raw, "choices": kept}, event) if kept else b""

    def _new_of(self, index: int, choice: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """What of this choice is new: all of it (the very object), a part, or nothing (None)."""
        why = _why_not(choice)
        if why is not None:
            raise DeniedError(why)
        texts, finish = _texts(choice), _finish(choice)
        new = {field: rest for field, text in texts.items() if (rest := self._skip(index, field, text))}
        if index in self._over:
            if new or finish not in {None, self._over[index]}:
                raise DeniedError("another_answer")
            return None
        brings = bool(new) or finish is not None
        missing = any(left for (at, _), left in self._left.items() if at == index)
        if brings and (missing or not (self.fits or index in self._known)):
            raise DeniedError("another_answer")
        if not brings:
            told_before = bool(texts) or (index in self._known and index not in self._behind_the_seam)
            return None if told_before else choice
        behind = choice if new == texts else _cut(choice, texts, new)
        self._behind_the_seam.add(index)
        self._note(index, new, finish)
        return behind

    def _skip(self, index: int, field: str, text: str) -> str:
        """What of a text is new; raises where it is not what the caller was told."""
        left = self._left.get((index, field), "")
        if not text.startswith(left) and not left.startswith(text):
            raise DeniedError("another_answer")
        self._left[index, field] = left[len(text) :]
        return text[len(left) :]


def _why_not(choice: Mapping[str, Any]) -> str | None:
    """What in this choice can't be told from two answers, in a word of `ResumeDenied`."""
    delta = mapping(choice.get("delta"))
    if any(delta.get(name) for name in _TOOLS):
        return "tool_call"
    others = [value for name, value in delta.items() if name != "role"]
    known = all(isinstance(value, str) or not value for value in [*others, choice.get("text")])
    return None if known else "unknown_events"


def _texts(choice: Mapping[str, Any]) -> dict[str, str]:
    """The pieces of text in this choice, by field."""
    found = {name: value for name, value in mapping(choice.get("delta")).items() if name != "role"}
    found[_TEXT] = choice.get("text")
    return {field: text for field, text in found.items() if isinstance(text, str) and text}


def _finish(choice: Mapping[str, Any]) -> str | None:
    finish: object = choice.get("finish_reason")
    return finish if isinstance(finish, str) else None


def _cut(choice: Mapping[str, Any], texts: Mapping[str, str], new: Mapping[str, str]) -> Mapping[str, Any]:
    """The choice with the new part of its texts."""
    if choice.get("logprobs"):
        raise DeniedError("unknown_events")  # they are told by token, and the cut may go through one
    delta = choice.get("delta")
    shortened = {field: new.get(field, "") for field in texts}
    cut = dict(choice)
    if _TEXT in shortened:
        cut["text"] = shortened.pop(_TEXT)
    if shortened:
        cut["delta"] = {**mapping(delta), **shortened}
        if choice.get("message") == delta:  # Foundry Local 1.x says everything twice
            cut["message"] = cut["delta"]
    return cut


def _written(raw: Mapping[str, Any], event: Event) -> bytes:
    """An event with these data. Outside of ASCII they are escaped, for half a character may stand among them."""
    kind = f"event: {event.event}\n" if event.event != "message" else ""
    return f"{kind}data: {json.dumps(raw)}\n\n".encode()
