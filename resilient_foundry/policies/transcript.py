"""What the events of a model's stream have said so far: whether it began, whether it failed, and whether it is whole.

Known are chats and completions as OpenAI has them (https://platform.openai.com/docs/api-reference/chat-streaming), the
same company's responses (.../responses-streaming), and Anthropic's messages (https://docs.anthropic.com/en/api/messages-streaming).
Bytes, clocks and connections are not known here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, cast

from resilient_foundry.sse import Event

DONE = "[DONE]"
_NO_WORD = 64
"""Characters. The type of an error is a word; what is longer may quote somebody."""


class Dialect(Enum):
    """Whose events these are, and what is missing where they just end."""

    CHAT = "no finish_reason and no [DONE]"
    RESPONSES = "no response.completed"
    MESSAGES = "no message_stop"


_MESSAGES = frozenset(
    {
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    }
)
_ENDS = frozenset({"response.completed", "response.incomplete", "message_stop"})
"""Incomplete is an answer that met its token limit, and whole as a stream."""
_FAILURES = frozenset({"error", "response.failed"})
_QUIET = frozenset(
    {
        "ping",
        "message_start",
        "content_block_start",
        "content_block_stop",
        "response.created",
        "response.queued",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    }
)
"""What is sent before anything is generated, or between."""


@dataclass(frozen=True, slots=True)
class Said:
    """What one event says."""

    raw: Mapping[str, Any] | None = None  # foreign JSON
    """Its data, where they are a JSON object."""
    dialect: Dialect | None = None
    brings: bool = False
    """Whether it brings something on: content, or the end of it."""
    ends: bool = False
    """Whether nothing counts after it."""
    error: str | None = None
    """The kind of failure that it reports. A word of the protocol, where a message might quote the prompt."""


_THE_END = Said(brings=True, ends=True)
_ANYTHING = Said(brings=True)
_NOTHING = Said()


def read(event: Event) -> Said:
    """What this event says; an event of no known shape brings something on."""
    if event.data == DONE:
        return _THE_END
    raw = _json(event.data)
    if raw is None:
        if event.event == "error":
            return Said(error="error")
        return _NOTHING if event.event in _QUIET else _ANYTHING
    kind: object = raw.get("type")
    name = kind if isinstance(kind, str) else event.event
    if event.event == "error" or name in _FAILURES or raw.get("error"):
        return Said(raw, error=_kind_of_error(raw))
    choices: object = raw.get("choices")
    if isinstance(choices, list):
        said = any(map(_says_something, cast("list[object]", choices))) or bool(not choices and raw.get("usage"))
        return Said(raw, Dialect.CHAT, brings=said)
    dialect = _dialect_of(name)
    brings = name not in _QUIET and not ("delta" in raw and _is_empty(raw["delta"]))
    return Said(raw, dialect, brings=brings, ends=dialect is not None and name in _ENDS)


def choices_of(said: Said) -> list[tuple[int, Mapping[str, Any]]]:
    """The choices of an event of a chat, each with its index."""
    choices: object = said.raw.get("choices") if said.raw is not None else None
    found: list[tuple[int, Mapping[str, Any]]] = []
    for place, choice in enumerate(cast("list[object]", choices) if isinstance(choices, list) else []):
        told = mapping(choice)
        index: object = told.get("index")
        found.append((index if isinstance(index, int) else place, told))
    return found


class Transcript:
    """Follows one stream. `done` is the data of the event that ends it, where that is none of the known ones."""

    def __init__(self, done: str | None = None) -> None:
        self.begun = False
        """Whether an event with content, or an end, has come."""
        self.error: str | None = None
        """The kind of the failure that the stream reported."""
        self._done = done
        self._dialect: Dialect | None = None
        self._any = False
        self._ended = False
        self._open: set[int] = set()
        self._finished: set[int] = set()

    def add(self, event: Event) -> Said:
        """Take in an event; gives what it says."""
        said = self.read(event)
        if self._ended:
            return said
        self._any = True
        self._dialect = self._dialect or said.dialect
        self._ended = said.ends
        self.begun = self.begun or said.brings
        self.error = self.error or said.error
        if said.dialect is Dialect.CHAT:
            for index, choice in choices_of(said):
                (self._finished if isinstance(choice.get("finish_reason"), str) else self._open).add(index)
        return said

    def read(self, event: Event) -> Said:
        """What an event says, in a stream that ends as this one does."""
        return _THE_END if self._done is not None and event.data == self._done else read(event)

    @property
    def is_whole(self) -> bool:
        """Whether the stream has said that it is over: by its last event, or by a reason to finish for each choice."""
        return self._ended or (bool(self._finished) and self._open <= self._finished)

    @property
    def missing(self) -> str | None:
        """What a stream lacks that ends here, in words; None where it may end so."""
        if self.is_whole:
            return None
        if self._done is not None:
            return f"no {self._done} at the end"
        if self._dialect is not None:
            return self._dialect.value
        return None if self._any else "no event"


def _dialect_of(name: str) -> Dialect | None:
    if name.startswith("response."):
        return Dialect.RESPONSES
    return Dialect.MESSAGES if name in _MESSAGES else None


def _says_something(choice: object) -> bool:
    """A choice that only names the role was sent before anything was generated."""
    told = mapping(choice)
    if isinstance(told.get("finish_reason"), str) or told.get("text"):
        return True
    return any(value for name, value in mapping(told.get("delta")).items() if name != "role")


def _is_empty(delta: object) -> bool:
    if isinstance(delta, dict):
        return not any(value for name, value in mapping(cast("object", delta)).items() if name != "type")
    return not delta


def _kind_of_error(raw: Mapping[str, Any]) -> str:
    for said in (raw.get("error"), mapping(raw.get("response")).get("error"), raw):
        for name in ("type", "code"):
            kind: object = mapping(said).get(name)
            if isinstance(kind, str) and kind not in _FAILURES and len(kind) < _NO_WORD:
                return kind
    return "error"


def _json(data: str) -> dict[str, Any] | None:
    if not data.lstrip().startswith("{"):
        return None
    try:
        said: object = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", said) if isinstance(said, dict) else None


def mapping(value: object) -> Mapping[str, Any]:
    """A JSON object as it came, an empty one in the place of anything else."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
