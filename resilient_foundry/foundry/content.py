"""What was asked and answered, for spans: only where somebody wants it told, and cut to a size.

OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT says so, as for all instrumentations of generative AI
(https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/#capturing-instructions-inputs-and-outputs).
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

from resilient_foundry.foundry.payloads import ChatResult
from resilient_foundry.foundry.rules import Message
from resilient_foundry.telemetry.names import Names

VARIABLE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_YES = frozenset({"true", "1", "span_only", "span_and_event"})
_LONGEST = 16_384
"""Characters of all texts of an attribute together."""


def wanted() -> bool:
    """Whether messages go on spans."""
    return os.environ.get(VARIABLE, "").strip().lower() in _YES


class Content:
    """The messages of one chat, and its answer."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self.messages = messages
        self.answer: ChatResult | None = None

    def attributes(self, names: Names) -> dict[str, str]:
        """Both as JSON, which stays valid where texts are cut."""
        told = {names.input_messages: _written([_asked(message) for message in self.messages])}
        if self.answer is not None:
            told[names.output_messages] = _written([_answered(self.answer)])
        return told


def _asked(message: Message) -> dict[str, Any]:
    return {"role": message.get("role"), "parts": [{"type": "text", "content": message.get("content")}]}


def _answered(result: ChatResult) -> dict[str, Any]:
    parts: list[dict[str, Any]] = [{"type": "text", "content": result.content}]
    parts += [
        {"type": "tool_call", "id": call.id, "name": call.name, "arguments": call.arguments}
        for call in result.tool_calls
    ]
    return {"role": "assistant", "parts": parts, "finish_reason": result.finish_reason}


def _written(messages: list[dict[str, Any]]) -> str:
    left = _LONGEST
    for message in messages:
        for part in message["parts"]:
            said = part.get("content")
            if isinstance(said, str):
                part["content"] = said if len(said) <= left else f"{said[:left]}…"
                left = max(0, left - len(said))
    return json.dumps(messages, ensure_ascii=False)
