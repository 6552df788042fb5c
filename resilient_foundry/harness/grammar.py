"""The order in which the events of a stream come, said as a regular expression over words."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from resilient_foundry.foundry.wire import items, mapping
from resilient_foundry.sse import Event

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Grammar:
    """What kinds of events there are, and the order they come in, such as "role? content* finish usage? done".

    `kind` names an event by one word. `order` is a regular expression in which a word stands for an event of that kind.
    """

    kind: Callable[[Event], str]
    order: str

    def kinds(self, events: Iterable[Event]) -> list[str]:
        """The word of each event."""
        return [self.kind(event) for event in events]

    def accepts(self, events: Sequence[Event]) -> bool:
        """Whether the whole stream is in order."""
        pattern = re.sub(r"\s+", "", _WORD.sub(r"(?:\g<0>;)", self.order))
        return re.fullmatch(pattern, "".join(f"{kind};" for kind in self.kinds(events))) is not None


def chat_kind(event: Event) -> str:
    """What an event of a streamed chat brings: role, content, reasoning, call, finish, usage, done, error, or other."""
    if event.data.strip() == "[DONE]":
        return "done"
    try:
        whole = mapping(json.loads(event.data))
    except ValueError:
        return "garbage"
    if whole is None:
        return "garbage"
    if event.event == "error" or whole.get("error") is not None:
        return "error"
    choices = items(whole.get("choices"))
    if not choices:
        return "usage" if whole.get("usage") is not None else "other"
    choice = mapping(choices[0]) or {}
    if choice.get("finish_reason") is not None:
        return "finish"
    delta = mapping(choice.get("delta")) or {}
    for field, kind in (("tool_calls", "call"), ("reasoning_content", "reasoning"), ("content", "content")):
        if delta.get(field):
            return kind
    return "role" if "role" in delta else "other"


def named_kind(event: Event) -> str:
    """The type of an event as a word, for streams whose events carry one: "response.created" is response_created."""
    if event.data.strip() == "[DONE]":
        return "done"
    return re.sub(r"\W+", "_", event.event)


CHAT: Final = Grammar(chat_kind, "role? (content | reasoning | call)* finish usage? done")
"""A streamed chat as OpenAI's documentation has it."""
