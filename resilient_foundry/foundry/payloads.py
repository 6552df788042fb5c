"""What the server says, as frozen values.

What is missing is None, what is unknown is kept in `raw`, and what can't be understood at all is a `ProtocolError`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from resilient_foundry.foundry.errors import ProtocolError
from resilient_foundry.foundry.generations import Generation
from resilient_foundry.foundry.wire import decode, integer, items, mapping, shape, text

if TYPE_CHECKING:
    from resilient_foundry.events import Ledger

Raw = Mapping[str, object]


def _raw() -> Raw:
    return {}


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens, as the server counted them."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    reasoning_tokens: int | None = None
    cached_tokens: int | None = None
    raw: Raw = field(default_factory=_raw, repr=False, hash=False)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call that the model asks for; `arguments` is JSON text as the model wrote it."""

    id: str | None = None
    name: str | None = None
    arguments: str = ""
    index: int | None = None
    raw: Raw = field(default_factory=_raw, repr=False, hash=False)


@dataclass(frozen=True, slots=True)
class ChatResult:
    """A whole answer.

    `finish_reason` is `stop`, `length`, `tool_calls` or None; `elapsed` is in seconds from the question to the end of
    the answer. `complete` is False for a stream that ended without its terminator, or was closed early. `resilience` is
    the ledger of the attempts, if a stack carried them.
    """

    content: str = ""
    reasoning: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str | None = None
    usage: Usage | None = None
    model: str | None = None
    id: str | None = None
    elapsed: float | None = None
    complete: bool = True
    raw: Raw = field(default_factory=_raw, repr=False, hash=False)
    resilience: Ledger | None = field(default=None, repr=False, hash=False, compare=False)


@dataclass(frozen=True, slots=True)
class ChatChunk:
    """A piece of an answer; `content` is "" where the piece brings something else."""

    content: str = ""
    reasoning: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str | None = None
    usage: Usage | None = None
    raw: Raw = field(default_factory=_raw, repr=False, hash=False)


@dataclass(frozen=True, slots=True)
class Embeddings:
    """A vector for each input, in the order of the inputs."""

    vectors: tuple[tuple[float, ...], ...]
    model: str | None = None
    usage: Usage | None = None
    elapsed: float | None = None
    raw: Raw = field(default_factory=_raw, repr=False, hash=False)
    resilience: Ledger | None = field(default=None, repr=False, hash=False, compare=False)


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model of the service's list: all it knows on 2.x, those on its disk on 1.x.

    `id` is what the server calls it there; `name` and `version` are its two halves (1.x lists no version). `alias` is
    known on 1.x only. `loaded` says whether it is in memory, None if that is not known.
    """

    id: str
    name: str
    version: str | None = None
    alias: str | None = None
    owned_by: str | None = None
    loaded: bool | None = None
    raw: Raw = field(default_factory=_raw, repr=False, hash=False)


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What became of a model that was to be loaded or unloaded; `elapsed` in seconds.

    `id` is the exact model that it came to, if that is known: on 2.x the service picks the variant of an alias.
    """

    state: Literal["loaded", "already_loaded", "unloaded", "not_loaded"]
    model: str
    id: str | None = None
    elapsed: float | None = None


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """What GET /status says; `pid` (2.x) is that of the service process, `cache` the folder of its models."""

    generation: Generation
    endpoints: tuple[str, ...] = ()
    pid: int | None = None
    cache: str | None = None
    raw: Raw = field(default_factory=_raw, repr=False, hash=False)


@dataclass(frozen=True, slots=True)
class Health:
    """How the service does.

    `status` is `healthy` (it answers, and a model is loaded), `degraded` (it answers, and could not give a chat now) or
    `unreachable` (nothing that we can speak to answers); `reason` says why it is not healthy, in one sentence, and
    `error` is what was raised. `memory_usage` is in bytes and of the service's own process: known for 2.x on this
    machine, with psutil (the extra `foundry`); else None. `latency` is the seconds that GET /status took.
    """

    status: Literal["healthy", "degraded", "unreachable"]
    loaded_models: tuple[str, ...] = ()
    memory_usage: int | None = None
    latency: float | None = None
    generation: Generation | None = None
    pid: int | None = None
    url: str | None = None
    reason: str | None = None
    error: Exception | None = field(default=None, repr=False, compare=False)


def read_object(body: bytes, what: str) -> Raw:
    """The body as a JSON object."""
    value = mapping(decode(body, what))
    if value is None:
        raise ProtocolError(f"{what} is no JSON object: {shape(body)}", body=body)
    return value


def read_usage(value: object) -> Usage | None:
    """The tokens of an answer, None if it counts none."""
    raw = mapping(value)
    if raw is None:
        return None
    details = mapping(raw.get("completion_tokens_details")) or {}
    prompt = mapping(raw.get("prompt_tokens_details")) or {}
    return Usage(
        prompt_tokens=integer(raw.get("prompt_tokens")),
        completion_tokens=integer(raw.get("completion_tokens")),
        total_tokens=integer(raw.get("total_tokens")),
        reasoning_tokens=integer(details.get("reasoning_tokens")),
        cached_tokens=integer(prompt.get("cached_tokens")),
        raw=raw,
    )


def read_tool_calls(value: object) -> tuple[ToolCall, ...]:
    """The tool calls of a message or a chunk."""
    calls: list[ToolCall] = []
    for item in items(value) or ():
        raw = mapping(item) or {}
        function = mapping(raw.get("function")) or {}
        calls.append(
            ToolCall(
                id=text(raw.get("id")),
                name=text(function.get("name")),
                arguments=text(function.get("arguments")) or "",
                index=integer(raw.get("index")),
                raw=raw,
            )
        )
    return tuple(calls)


def first_choice(raw: Raw) -> Raw | None:
    """The one choice that these servers give; None where the list is empty (usage only)."""
    choices = items(raw.get("choices"))
    return mapping(choices[0]) if choices else None


def read_chat(body: bytes) -> ChatResult:
    """The answer of POST /v1/chat/completions, as it was written."""
    raw = read_object(body, "the chat answer")
    choice = first_choice(raw)
    message = mapping((choice or {}).get("message"))
    if choice is None or message is None:
        raise ProtocolError(f"the chat answer holds no message: {shape(body)}", body=body)
    return ChatResult(
        content=text(message.get("content")) or "",
        reasoning=text(message.get("reasoning_content")),
        tool_calls=read_tool_calls(message.get("tool_calls")),
        finish_reason=text(choice.get("finish_reason")),
        usage=read_usage(raw.get("usage")),
        model=text(raw.get("model")),
        id=text(raw.get("id")),
        raw=raw,
    )


def read_chunk(raw: Raw) -> ChatChunk:
    """One event of a chat stream. 1.x writes `delta` and `message` both; `delta` is what counts."""
    choice = first_choice(raw) or {}
    delta = mapping(choice.get("delta")) or {}
    return ChatChunk(
        content=text(delta.get("content")) or "",
        reasoning=text(delta.get("reasoning_content")),
        tool_calls=read_tool_calls(delta.get("tool_calls")),
        finish_reason=text(choice.get("finish_reason")),
        usage=read_usage(raw.get("usage")),
        raw=raw,
    )


def read_embeddings(body: bytes) -> Embeddings:
    """The answer of POST /v1/embeddings, ordered by `index`."""
    raw = read_object(body, "the embeddings answer")
    found: dict[int, tuple[float, ...]] = {}
    for place, item in enumerate(items(raw.get("data")) or ()):
        entry = mapping(item) or {}
        numbers = items(entry.get("embedding"))
        if numbers is None:
            raise ProtocolError(f"an embedding is no list of numbers: {shape(body)}", body=body)
        vector = tuple(float(number) for number in numbers if isinstance(number, int | float))
        if len(vector) != len(numbers):
            raise ProtocolError(f"an embedding holds what is no number: {shape(body)}", body=body)
        index = integer(entry.get("index"))
        found[place if index is None else index] = vector
    vectors = tuple(vector for _, vector in sorted(found.items()))
    return Embeddings(vectors, model=text(raw.get("model")), usage=read_usage(raw.get("usage")), raw=raw)


def read_models(body: bytes) -> tuple[ModelInfo, ...]:
    """The answer of GET /v1/models."""
    listed = items(read_object(body, "the list of models").get("data"))
    if listed is None:
        raise ProtocolError(f"the list of models holds no list: {shape(body)}", body=body)
    return tuple(read_model(raw) for raw in map(mapping, listed) if raw is not None and isinstance(raw.get("id"), str))


def read_model(raw: Raw) -> ModelInfo:
    """One entry of the list of models."""
    identity = text(raw.get("id")) or ""
    name, _, version = identity.partition(":")
    return ModelInfo(
        id=identity,
        name=name,
        version=version or None,
        alias=text(raw.get("parent")),
        owned_by=text(raw.get("owned_by")),
        raw=raw,
    )


def read_loaded(body: bytes) -> tuple[str, ...]:
    """The answer of GET /models/loaded: ids."""
    listed = items(decode(body, "the list of loaded models"))
    if listed is None:
        raise ProtocolError(f"the list of loaded models is no list: {shape(body)}", body=body)
    return tuple(name for name in listed if isinstance(name, str))


def read_state(body: bytes) -> str | None:
    """What 2.x says after load and unload; None for the empty body of 1.x."""
    return text(read_object(body, "the answer").get("status")) if body.strip() else None
