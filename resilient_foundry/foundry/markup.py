"""What 1.x leaves in the text for others to find: thoughts, and the markup of tool calls."""

from __future__ import annotations

import re

OPEN, CLOSE = "<think>", "</think>"
_TOOL_CALL = re.compile(r"<tool_call>.*?(?:</tool_call>|\Z)", re.DOTALL)


class Thinking:
    """Parts a text that arrives in pieces into what is said and what is thought.

    Only thoughts that open the text count: `<think>` later on is something the model writes about. What could still
    become a marker is held back, so that no half marker reaches the caller.
    """

    __slots__ = ("_held", "_state")

    def __init__(self) -> None:
        self._held = ""
        self._state = "start"

    def feed(self, piece: str) -> tuple[str, str]:
        """What this piece says, and what it thinks."""
        if self._state == "said":
            return piece, ""
        self._held += piece
        if self._state == "start":
            begun = self._held.lstrip()
            if OPEN.startswith(begun[: len(OPEN)]) and len(begun) < len(OPEN):
                return "", ""
            if not begun.startswith(OPEN):
                return self._say()
            self._state, self._held = "thinking", begun[len(OPEN) :]
        if self._state == "thinking":
            thought, closed, rest = self._held.partition(CLOSE)
            if not closed:
                kept = _overlap(thought, CLOSE)
                self._held = thought[len(thought) - kept :]
                return "", thought[: len(thought) - kept]
            self._state, self._held = "closed", rest
            said, _ = self.feed("")
            return said, thought
        self._held = self._held.lstrip()  # the blank line between thought and answer belongs to neither
        return self._say() if self._held else ("", "")

    def end(self) -> tuple[str, str]:
        """What was held back, once no more comes."""
        held, self._held = self._held, ""
        return ("", held) if self._state == "thinking" else (held, "")

    def _say(self) -> tuple[str, str]:
        self._state = "said"
        held, self._held = self._held, ""
        return held, ""


def _overlap(written: str, marker: str) -> int:
    """How many characters at the end may be the beginning of the marker."""
    return next((size for size in range(len(marker) - 1, 0, -1) if written.endswith(marker[:size])), 0)


def part(text: str) -> tuple[str, str | None]:
    """A whole text parted into what is said and what is thought; None if there is no thought."""
    thinking = Thinking()
    said, thought = thinking.feed(text)
    last_said, last_thought = thinking.end()
    return said + last_said, (thought + last_thought) or None


def without_tool_calls(text: str) -> str:
    """The text without the markup of tool calls that were read from it."""
    return _TOOL_CALL.sub("", text).strip()
