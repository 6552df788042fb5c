"""Just enough of Anthropic's and of Ollama's HTTP API to hold a conversation, on real sockets.

Sources: docs.claude.com, "Messages" and "Streaming messages"; docs.ollama.com, "API: chat" and "API: streaming".
"""

from __future__ import annotations

import json
from typing import Any

from tests.servers import Conversation

SAID = ("Every call ", "is a promise.")
OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}


def anthropic_speaks(talk: Conversation) -> None:
    """POST /v1/messages: a message, whole or as events."""
    asked = json.loads(talk.asked.body)
    assert (talk.asked.method, talk.asked.path) == ("POST", "/v1/messages")
    message: dict[str, Any] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": asked["model"],
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 3, "output_tokens": 1},
    }
    if not asked.get("stream"):
        whole = {**message, "content": [{"type": "text", "text": "".join(SAID)}], "stop_reason": "end_turn"}
        talk.reply(200, json.dumps(whole).encode(), {"content-type": "application/json"})
        return
    begin_events(talk)
    event(talk, "message_start", message=message)
    event(talk, "content_block_start", index=0, content_block={"type": "text", "text": ""})
    event(talk, "ping")
    for piece in SAID:
        event(talk, "content_block_delta", index=0, delta={"type": "text_delta", "text": piece})
    event(talk, "content_block_stop", index=0)
    ended = {"stop_reason": "end_turn", "stop_sequence": None}
    event(talk, "message_delta", delta=ended, usage={"output_tokens": 5})
    event(talk, "message_stop")
    talk.end()


def begin_events(talk: Conversation) -> None:
    """The head of a stream; the request asks for one only in its body."""
    talk.begin_stream("text/event-stream; charset=utf-8")


def event(talk: Conversation, kind: str, **said: Any) -> None:
    """An event: its name stands before it and in it."""
    talk.chunk(f"event: {kind}\ndata: {json.dumps({'type': kind, **said})}\n\n".encode())


def overloaded_in_the_stream(talk: Conversation) -> None:
    """200, and then the error: what Anthropic sends where a 529 comes too late."""
    begin_events(talk)
    event(talk, "error", error=OVERLOADED["error"])
    talk.end()


def overloaded(talk: Conversation) -> None:
    """529, which is no standard status; the header is Anthropic's word on whether to ask again."""
    head = {"content-type": "application/json", "x-should-retry": "true"}
    talk.reply(529, json.dumps(OVERLOADED).encode(), head)


def ollama_speaks(talk: Conversation) -> None:
    """POST /api/chat: an answer, whole or as lines of JSON."""
    asked = json.loads(talk.asked.body)
    assert (talk.asked.method, talk.asked.path) == ("POST", "/api/chat")
    about = {"model": asked["model"], "created_at": "2026-01-01T00:00:00.000000Z"}
    end = {"done": True, "done_reason": "stop", "prompt_eval_count": 3, "eval_count": 5}
    if not asked["stream"]:
        said = {**about, "message": {"role": "assistant", "content": "".join(SAID)}, **end}
        talk.reply(200, json.dumps(said).encode(), {"content-type": "application/json; charset=utf-8"})
        return
    talk.begin_stream("application/x-ndjson")
    for piece in SAID:
        line = {**about, "message": {"role": "assistant", "content": piece}, "done": False}
        talk.chunk(json.dumps(line).encode() + b"\n")
    talk.chunk(json.dumps({**about, "message": {"role": "assistant", "content": ""}, **end}).encode() + b"\n")
    talk.end()


def ollama_is_busy(talk: Conversation) -> None:
    """503, as with a full queue (OLLAMA_MAX_QUEUE)."""
    said = {"error": "server busy, please try again.  maximum pending requests exceeded"}
    talk.reply(503, json.dumps(said).encode(), {"content-type": "application/json; charset=utf-8"})
