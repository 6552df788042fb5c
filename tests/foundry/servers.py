"""Two small servers in memory that answer as 1.2.4 and 2.2.1 did, for an HTTP client of either library."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from tests.servers import Conversation

EVENT_STREAM = "text/event-stream"
SIGNATURE = "search_options.cc:108 int fl::ValidateGeneratorRequestBudget(int64_t, int, int) "
TOO_LONG = (
    f"{SIGNATURE}request requires 5002 total tokens (2 input + 5000 output), which exceeds the model's maximum context "
    "length of 4096 tokens"
)


@dataclass(frozen=True)
class Answer:
    """What a server says; `cut` breaks the connection after the body."""

    status: int = 200
    body: bytes = b""
    content_type: str | None = "application/json"
    cut: bool = False

    def for_library(self, library: ModuleType) -> Any:
        """The library's own response."""
        module: Any = library
        headers = {"content-type": self.content_type} if self.content_type else {}
        if not self.cut:
            return module.Response(self.status, headers=headers, content=self.body)
        error = module.RemoteProtocolError("peer closed connection without sending complete message body")

        body = self.body

        class Cut(module.SyncByteStream, module.AsyncByteStream):  # type: ignore[misc]  # either library
            def __iter__(self) -> Iterator[bytes]:
                yield body
                raise error

            async def __aiter__(self) -> AsyncIterator[bytes]:
                yield body
                raise error

        return module.Response(self.status, headers=headers, stream=Cut())


def reply(value: object, status: int = 200) -> Answer:
    """A JSON answer."""
    return Answer(status, json.dumps(value, ensure_ascii=False).encode())


def fault(status: int, message: str, kind: str = "invalid_request_error") -> Answer:
    """An error as 2.x writes it."""
    return reply({"error": {"code": None, "message": message, "param": None, "type": kind}}, status)


def events(*values: object, done: bool = True, cut: bool = False) -> Answer:
    """A stream of events as both write it."""
    written = [
        value if isinstance(value, str) else "data: " + json.dumps(value, ensure_ascii=False) for value in values
    ]
    if done:
        written.append("data: [DONE]")
    body = "".join(f"{event}\n\n" for event in written).encode()
    return Answer(200, body, f"{EVENT_STREAM}, {EVENT_STREAM}", cut=cut)


def delta(content: str = "", finish_reason: str | None = None, **more: object) -> dict[str, object]:
    """A chunk of 2.x."""
    said: dict[str, object] = {"content": content} if content else {}
    choice = {"delta": said | more, "finish_reason": finish_reason, "index": 0, "logprobs": None}
    return {"choices": [choice], "created": 1, "id": "chatcmpl-1", "model": "m:1", "object": "chat.completion.chunk"}


def usage(completion: int, prompt: int = 2) -> dict[str, object]:
    """The last chunk of 2.x, which counts tokens."""
    counted = {"completion_tokens": completion, "prompt_tokens": prompt, "total_tokens": completion + prompt}
    return {"choices": [], "id": "chatcmpl-1", "model": "m:1", "object": "chat.completion.chunk", "usage": counted}


def whole(content: str = "To be", *, tokens: int = 2, finish_reason: str = "stop", **message: object) -> Answer:
    """A chat answer of 2.x."""
    said = {"content": content, "refusal": None, "role": "assistant", **message}
    return reply(
        {
            "choices": [{"finish_reason": finish_reason, "index": 0, "logprobs": None, "message": said}],
            "created": 1795446148,
            "id": "chatcmpl-1d51e163e7f69949",
            "model": "phi-4-mini-instruct-cpu:1",
            "object": "chat.completion",
            "system_fingerprint": None,
            "usage": {
                "completion_tokens": tokens,
                "completion_tokens_details": {"reasoning_tokens": 0},
                "prompt_tokens": 2,
                "prompt_tokens_details": {"cached_tokens": 0},
                "total_tokens": tokens + 2,
            },
        }
    )


def whole_on_1(content: str = "To be", *, tokens: int = 2, tool_calls: list[object] | None = None) -> Answer:
    """A chat answer of 1.x: `delta` and `message` both, and fields of its own."""
    said: dict[str, object] = {"role": "assistant", "content": content, "tool_calls": tool_calls or []}
    return reply(
        {
            "model": "phi-4-mini",
            "choices": [{"delta": said, "message": said, "index": 0, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 2, "completion_tokens": tokens, "total_tokens": tokens + 2},
            "CreatedAt": "2026-11-23T15:08:47+00:00",
            "id": "chat.id.1",
            "IsDelta": False,
            "Successful": True,
            "HttpStatusCode": 0,
            "object": "chat.completion",
        }
    )


def delta_on_1(content: str, finish_reason: str | None = None) -> dict[str, object]:
    """A chunk of 1.x: no finish_reason key before the end, usage always."""
    said: dict[str, object] = {"role": "assistant", "content": content, "tool_calls": []}
    choice: dict[str, object] = {"delta": said, "message": said, "index": 0}
    if finish_reason:
        choice["finish_reason"] = finish_reason
    return {"model": "phi-4-mini", "choices": [choice], "usage": {"completion_tokens": 1}, "id": "chat.id.1"}


@dataclass
class Exchange:
    """A request that came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass
class Server:
    """What both generations have: models by alias, what is loaded, scripted answers, and what came in."""

    models: dict[str, str] = field(default_factory=lambda: {"phi-4-mini": "phi-4-mini-instruct-cpu:1"})
    loaded: list[str] = field(default_factory=list[str])
    chats: list[Answer] = field(default_factory=list[Answer])
    script: dict[str, list[Answer]] = field(default_factory=dict[str, list[Answer]])
    seen: list[Exchange] = field(default_factory=list[Exchange])

    def handler(self, library: ModuleType) -> Any:
        """What a MockTransport of the library calls."""

        def handle(request: Any) -> Any:
            path = request.url.raw_path.decode()
            body = json.loads(request.content) if request.content else None
            self.seen.append(Exchange(request.method, path, dict(request.headers), body))
            scripted = self.script.get(path)
            answer = scripted.pop(0) if scripted else self.answer(path, body)
            return answer.for_library(library)

        return handle

    def on_the_wire(self, talk: Conversation, before: Callable[[Answer], None] | None = None) -> None:
        """What a server on a real socket calls; `before` is called between knowing an answer and giving it."""
        asked = talk.asked
        body = json.loads(asked.body) if asked.body else None
        self.seen.append(Exchange(asked.method, asked.path, dict(asked.headers), body))
        scripted = self.script.get(asked.path)
        answer = scripted.pop(0) if scripted else self.answer(asked.path, body)
        headers = {"content-type": answer.content_type} if answer.content_type else {}
        if before is not None:
            before(answer)
        if not answer.cut:
            talk.reply(answer.status, answer.body, headers)
            return
        talk.begin(answer.status, {**headers, "transfer-encoding": "chunked"})
        if answer.body:
            talk.chunk(answer.body)

    @property
    def asked(self) -> list[str]:
        """The requests that came in, a line each."""
        return [str(exchange) for exchange in self.seen]

    @property
    def chat_bodies(self) -> list[Any]:
        """The bodies of the chats that came in."""
        return [exchange.body for exchange in self.seen if exchange.path.endswith("chat/completions")]

    def answer(self, path: str, body: Any) -> Answer:
        """What this generation says."""
        raise NotImplementedError


class Two(Server):
    """2.2.1: alias to load, id to chat."""

    def answer(self, path: str, body: Any) -> Answer:
        """What this generation says."""
        match path.split("/")[1:]:
            case ["status"]:
                return reply({"endpoints": ["http://127.0.0.1:5273"], "modelCachePath": "/cache", "pid": 4711})
            case ["models", "loaded"]:
                return reply(self.loaded)
            case ["models", "load" | "unload" as verb, alias]:
                return self.move(verb, alias)
            case ["v1", "models"]:
                listed = [{"created": 1, "id": one, "object": "model", "owned_by": "m"} for one in self.models.values()]
                return reply({"data": listed, "object": "list"})
            case ["v1", "chat", "completions"] if self.chats:
                return self.chats.pop(0)
            case ["v1", "chat", "completions"]:
                return self.chat(body["model"])
            case ["v1", "embeddings"]:
                vectors = [
                    {"embedding": [1.0, 0.0], "index": place, "object": "embedding"}
                    for place in range(len(body["input"]))
                ]
                return reply(
                    {"data": vectors[::-1], "model": body["model"], "object": "list", "usage": {"prompt_tokens": 0}}
                )
            case _:
                text = f"server=oatpp/1.3.0\ncode=404\nmessage=No mapping for HTTP-method: 'GET', URL: '{path}'\n"
                return Answer(404, text.encode(), None)

    def chat(self, model: str) -> Answer:
        """A chat as far as names matter."""
        if model not in self.models.values():
            return fault(404, f"Model not found: No model matching '{model}'")
        if model not in self.loaded:
            return fault(400, f"Model not loaded: Model '{model}' must be loaded before inference")
        return whole()

    def move(self, verb: str, alias: str) -> Answer:
        """Load or unload."""
        identity = self.models.get(alias)
        if identity is None:
            return fault(404, f"Model not found: No model matching '{alias}'")
        there = identity in self.loaded
        if verb == "load" and not there:
            self.loaded.append(identity)
        if verb == "unload" and there:
            self.loaded.remove(identity)
        return reply(
            {"status": {"load": ("loaded", "already_loaded"), "unload": ("not_loaded", "unloaded")}[verb][there]}
        )


class One(Server):
    """1.2.4: any name everywhere, empty bodies, no version in the list of models."""

    def answer(self, path: str, body: Any) -> Answer:
        """What this generation says."""
        match path.split("/")[1:]:
            case ["status"]:
                return reply({"endpoints": ["http://127.0.0.1:5273"], "modelDirPath": "/cache", "pipeName": None})
            case ["models", "loaded"]:
                return reply(self.loaded)
            case ["models", "load", name]:
                identity = self.identity(name)
                if identity is None:
                    return Answer(500, b"", None)
                self.loaded.append(identity)
                return Answer(200, b"", None)
            case ["models", "unload", name]:
                identity = self.identity(name)
                if identity in self.loaded:
                    self.loaded.remove(identity)
                return Answer(200, b"", None)
            case ["v1", "models"]:
                listed = [
                    {"id": identity.partition(":")[0], "parent": alias, "IsDelta": False, "object": "model"}
                    for alias, identity in self.models.items()
                ]
                return reply({"data": listed, "object": "list"})
            case ["v1", "chat", "completions"] if self.chats:
                return self.chats.pop(0)
            case ["v1", "chat", "completions"]:
                return self.chat(body)
            case ["v1", "embeddings"]:
                vectors = [{"embedding": [1.0], "index": place} for place in range(len(body["input"]))]
                return reply({"data": vectors, "model": body["model"], "object": "list"})
            case _:
                return Answer(404, b"", None)

    def chat(self, body: Any) -> Answer:
        """A chat as far as names matter; a stream that fails is a cut connection."""
        if self.identity(body["model"]) in self.loaded:
            return whole_on_1()
        if body.get("stream"):
            return Answer(200, b"", EVENT_STREAM, cut=True)
        return fault(
            400,
            f"Failed to handle OpenAI completion: Model '{body['model']}' is not loaded. "
            "Please load the model before getting a ChatClient.",
        )

    def identity(self, name: str) -> str | None:
        """The id that a name means: alias, name or id."""
        for alias, identity in self.models.items():
            if name in (alias, identity, identity.partition(":")[0]):
                return identity
        return None
