"""What was asked and answered, for spans: only where somebody wants it told, and cut to a size.

OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT says so, as for all instrumentations of generative AI
(https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/#capturing-instructions-inputs-and-outputs), in the old
way (`true`) and in the new one (`SPAN_ONLY`, `SPAN_AND_EVENT`; opentelemetry-util-genai). `EVENT_ONLY` puts nothing on
spans, and of events with content none is made here. What is written follows the JSON schemas of the conventions.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, cast

from resilient_foundry.foundry.payloads import ChatResult
from resilient_foundry.foundry.wire import mapping
from resilient_foundry.telemetry.names import Names

VARIABLE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_YES = frozenset({"true", "span_only", "span_and_event"})
_ROOM = 16_384
"""Characters of all texts of an attribute together."""
_MOST = 256
"""Messages, parts of one, tool calls and tools that are told; the latest of the messages, the first of the others."""
_SHORT = 256
"""Characters of a role, an identity, a kind."""

Json = dict[str, Any]


def wanted() -> bool:
    """Whether messages go on spans."""
    return os.environ.get(VARIABLE, "").strip().lower() in _YES


def legible(text: str) -> str:
    """The text as UTF-8 can hold it: half a character becomes a question mark, for an exporter would fail over it."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def asked(messages: object, tools: object, names: Names) -> dict[str, str]:
    """The question as attributes, and the tools that may be used; nobody has yet said that either is right."""
    told: dict[str, str] = {}
    given = _items(messages)
    if given:
        told[names.input_messages] = _written(_latest(given))
    if _items(tools):
        room = _Room()
        told[names.tool_definitions] = _written([_tool(one, room) for one in _items(tools)[:_MOST]])
    return told


def answered(result: ChatResult, names: Names) -> dict[str, str]:
    """The answer as an attribute, or what there is of it; it ended by `error` where no reason is known."""
    room = _Room()
    parts: list[Json] = []
    if result.reasoning:
        parts.append({"type": "reasoning", "content": room.take(result.reasoning)})
    if result.content:
        parts.append({"type": "text", "content": room.take(result.content)})
    parts += [_call(call.id, call.name, call.arguments, room) for call in result.tool_calls[:_MOST]]
    message = {"role": "assistant", "parts": parts, "finish_reason": _short(result.finish_reason) or "error"}
    return {names.output_messages: _written([message])}


class _Room:
    """How many characters may still be told."""

    def __init__(self) -> None:
        self.left = _ROOM

    def take(self, text: str) -> str:
        """The text, or its beginning and a word on the rest."""
        told = text[: self.left]
        self.left -= len(told)
        return legible(told if len(told) == len(text) else f"{told}… ({len(text) - len(told)} characters more)")


def _latest(messages: Sequence[object]) -> list[Json]:
    """The messages in their order, of a long conversation the latest ones, with a word on how many went before."""
    room = _Room()
    told: list[Json] = []
    for message in reversed(messages[-_MOST:]):
        if room.left <= 0:
            break
        told.append(_message(message, room))
    left_out = len(messages) - len(told)
    omitted = [{"role": "omitted", "parts": [{"type": "omitted", "messages": left_out}]}] if left_out else []
    return omitted + told[::-1]


def _message(message: object, room: _Room) -> Json:
    fields: Mapping[str, object] = cast("Mapping[str, object]", message) if isinstance(message, Mapping) else {}
    role = _short(fields.get("role")) or "unknown"
    content = fields.get("content")
    if role == "tool":
        answer = _joined(content)
        parts = [
            {"type": "tool_call_response", "id": _short(fields.get("tool_call_id")), "response": room.take(answer)}
        ]
        return {"role": role, "parts": parts}
    parts = [{"type": "text", "content": room.take(content)}] if isinstance(content, str) else []
    parts += [_part(one, room) for one in _items(content)[:_MOST]]
    for one in _items(fields.get("tool_calls"))[:_MOST]:
        call = mapping(one) or {}
        function = mapping(call.get("function")) or {}
        parts.append(_call(call.get("id"), function.get("name"), function.get("arguments"), room))
    return {"role": role, "parts": parts}


def _part(part: object, room: _Room) -> Json:
    """A part of a message; of what is no text only what it is, never its bytes."""
    fields = mapping(part) or {}
    kind = _short(fields.get("type")) or "unknown"
    text = fields.get("text")
    if isinstance(text, str):
        return {"type": "text", "content": room.take(text)}
    picture: object = fields.get("image_url")
    where = (mapping(picture) or {}).get("url") if not isinstance(picture, str) else picture
    if not isinstance(where, str):
        return {"type": kind}
    if where[:5].lower() != "data:":
        return {"type": "uri", "modality": "image", "uri": room.take(where)}
    mime_type = where[5:_SHORT].partition(",")[0].partition(";")[0]
    return {"type": "blob", "modality": "image", "mime_type": legible(mime_type), "content": "", "omitted": len(where)}


def _call(identity: object, name: object, arguments: object, room: _Room) -> Json:
    return {
        "type": "tool_call",
        "id": _short(identity),
        "name": _short(name) or "",
        "arguments": room.take(arguments) if isinstance(arguments, str) else None,
    }


def _tool(tool: object, room: _Room) -> Json:
    """A tool without its schema, which the conventions advise to leave out for its size."""
    fields = mapping(tool) or {}
    function = mapping(fields.get("function")) or {}
    description = function.get("description")
    return {
        "type": _short(fields.get("type")) or "function",
        "name": _short(function.get("name")) or "",
        "description": room.take(description) if isinstance(description, str) else "",
    }


def _joined(content: object) -> str:
    """The texts of a content, which is one or is made of some."""
    if isinstance(content, str):
        return content
    texts = [(mapping(part) or {}).get("text") for part in _items(content)[:_MOST]]
    return "".join(text for text in texts if isinstance(text, str))


def _items(value: object) -> Sequence[object]:
    return cast("Sequence[object]", value) if isinstance(value, list | tuple) else ()


def _short(value: object) -> str | None:
    return legible(value[:_SHORT]) if isinstance(value, str) else None


def _written(value: list[Json]) -> str:
    return json.dumps(value, ensure_ascii=False)
