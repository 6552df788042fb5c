"""Text for people out of bytes from a server: laid out, bounded, and with nothing in it that hides or reorders."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

LONGEST: Final = 4000
"""Characters of a body that are shown."""
_SHORT: Final = 0.01  # seconds: below it, tenths of a millisecond are shown
_KILO: Final = 1000
_WIDTH: Final = 78
_DEEPEST: Final = 40
_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},:]|[^\s\[\]{},:"]+')
_CLOSING: Final = {"{": "}", "[": "]"}
# Control characters, those that reorder a line or have no width (Unicode TR 36 section 3), and lone surrogates, which
# no UTF-8 can hold.
_HIDDEN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


@dataclass(frozen=True, slots=True)
class Text:
    """Text as it is shown, and how many characters were left out at its end. `kind` is "json" or "text"."""

    shown: str
    left_out: int = 0
    kind: str = "text"


def visible(text: str) -> str:
    """The text with every character that can't be seen, or that hides others, written as its escape."""
    return _HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text.replace("\r\n", "\n"))


def bounded(text: str, longest: int = LONGEST) -> Text:
    """Its beginning."""
    return Text(text[:longest], max(0, len(text) - longest))


def of_body(body: bytes, longest: int = LONGEST) -> Text:
    """A body: JSON laid out over lines, with its numbers and escapes as they were written; everything else as it is."""
    text = body[: 8 * longest].decode("utf-8", "replace")
    laid = laid_out(text) if len(body) <= 8 * longest else None
    shown = bounded(text if laid is None else laid, longest)
    unread = max(0, len(body) - 8 * longest)
    return Text(shown.shown, shown.left_out + unread, "text" if laid is None else "json")


def laid_out(text: str, width: int = _WIDTH) -> str | None:
    r"""JSON over lines, an array or object on one line where it fits; None for what is no JSON or is nested too deep.

    Tokens stay as they were written: another library would lose 1.0, \u00e9 and members that come twice.
    """
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return None
    if _depth(text) > _DEEPEST:
        return None
    return _over_lines(_node(iter(_TOKEN.findall(text))), width, 0)


@dataclass(frozen=True, slots=True)
class _Node:
    """An array or an object: its members are (name with colon or nothing, value)."""

    opening: str
    members: tuple[tuple[str, _Node | str], ...]
    line: str


def _depth(text: str) -> int:
    deepest = depth = 0
    for token in _TOKEN.finditer(text):
        depth += (token[0] in "[{") - (token[0] in "]}")
        deepest = max(deepest, depth)
    return deepest


def _node(tokens: Iterator[str]) -> _Node | str:
    first = next(tokens)
    return _container(first, tokens) if first in _CLOSING else first


def _container(opening: str, tokens: Iterator[str]) -> _Node:
    members: list[tuple[str, _Node | str]] = []
    name = ""
    pending: _Node | str | None = None
    for token in tokens:
        match token:
            case ":":
                name, pending = f"{pending}: ", None
            case "[" | "{":
                pending = _container(token, tokens)
            case "," | "]" | "}":
                if pending is not None:
                    members.append((name, pending))
                name, pending = "", None
                if token in _CLOSING.values():
                    break
            case _:
                pending = token
    inside = ", ".join(each + (value if isinstance(value, str) else value.line) for each, value in members)
    room = " " if inside and opening == "{" else ""
    return _Node(opening, tuple(members), f"{opening}{room}{inside}{room}{_CLOSING[opening]}")


def _over_lines(node: _Node | str, width: int, indent: int) -> str:
    if isinstance(node, str):
        return node
    if len(node.line) + indent <= width:
        return node.line
    inner = indent + 2
    lines = [" " * inner + name + _over_lines(value, width, inner) for name, value in node.members]
    return f"{node.opening}\n" + ",\n".join(lines) + f"\n{' ' * indent}{_CLOSING[node.opening]}"


def seconds(value: float) -> str:
    """A time for people: "0.4 ms", "12 ms", "1.25 s"."""
    if value >= 1:
        return f"{value:.2f} s"
    return f"{value * 1000:.{1 if value < _SHORT else 0}f} ms"


def size(count: int) -> str:
    """So many bytes, for people."""
    return f"{count} B" if count < _KILO else f"{count / _KILO:.1f} kB" if count < _KILO**2 else f"{count / 1e6:.1f} MB"
