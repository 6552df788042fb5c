"""Every endpoint that the client uses, as a value: how it is asked, and how its answer is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import TypeVar

from resilient_foundry.call import CallOptions
from resilient_foundry.foundry import markup, payloads
from resilient_foundry.foundry.answers import error_of
from resilient_foundry.foundry.asks import Operation, Reply
from resilient_foundry.foundry.deviations import Tolerance, tolerates
from resilient_foundry.foundry.errors import (
    FoundryError,
    InferenceError,
    LoadFailedError,
    NotFoundryError,
    ProtocolError,
)
from resilient_foundry.foundry.generations import Generation, generation_of
from resilient_foundry.foundry.payloads import ChatResult, Embeddings, ModelInfo, ServiceStatus
from resilient_foundry.foundry.wire import encode, integer, items, segment, text
from resilient_foundry.telemetry.names import PROVIDER, STABLE

T = TypeVar("T")

STATUS_SECONDS = 15.0
"""1.x answers /status after a second while it generates."""
LOAD_SECONDS = 900.0
"""Large models take minutes to load."""
DEFAULT_CAP = 2048
"""Tokens after which both generations stop when max_tokens was not given; 1.x then says `stop`."""


def status(*, patience: float) -> Operation[ServiceStatus]:
    """GET /status: which service is there."""
    return _get("status", "/status", _read_status, min(STATUS_SECONDS, patience))


def old_status(*, patience: float) -> Operation[bool]:
    """GET /openai/status: whether a service of generation 0.x is there."""

    def answers(reply: Reply) -> bool:
        return reply.status == HTTPStatus.OK and reply.body.lstrip().startswith(b"{")

    return _get("status", "/openai/status", answers, min(STATUS_SECONDS, patience))


def list_models(generation: Generation, *, patience: float) -> Operation[tuple[ModelInfo, ...]]:
    """GET /v1/models: every model known (2.x), or downloaded (1.x)."""
    return _get("list_models", "/v1/models", _reader(generation, payloads.read_models), patience)


def loaded_models(generation: Generation, *, patience: float) -> Operation[tuple[str, ...]]:
    """GET /models/loaded: the ids in memory."""
    return _get("loaded_models", "/models/loaded", _reader(generation, payloads.read_loaded), patience)


def wanted(key: str, *, patience: float) -> Operation[Reply]:
    """GET /models/loaded, because of a model that is not among them: what can load it stands in the stack."""
    return replace(_get("loaded_models", "/models/loaded", lambda reply: reply, patience), needs=key)


def load(generation: Generation, name: str, *, patience: float) -> Operation[str | None]:
    """GET /models/load/{name}: changes state although it is a GET; idempotent."""
    path = f"/models/load/{segment(name)}"
    read = _reader(generation, payloads.read_state)

    def read_load(reply: Reply) -> str | None:
        try:
            return read(reply)
        except InferenceError as error:
            if reply.body:
                raise
            raise LoadFailedError(  # 1.x: whatever the reason is
                f"the service could not load {name!r}, and gave no reason", status=reply.status
            ) from error

    return _get("load_model", path, read_load, max(LOAD_SECONDS, patience), model=name)


def unload(generation: Generation, name: str, *, patience: float) -> Operation[str | None]:
    """GET /models/unload/{name}: changes state although it is a GET; idempotent."""
    path = f"/models/unload/{segment(name)}"
    return _get("unload_model", path, _reader(generation, payloads.read_state), patience, model=name)


def chat(generation: Generation, body: Mapping[str, object], *, stream: bool, patience: float) -> Operation[ChatResult]:
    """POST /v1/chat/completions. Repeating it does no harm, unless the server is to store it."""
    sent = dict(body)
    if stream:
        sent["stream"] = True  # 2.x takes nothing but a literal true
        sent["stream_options"] = {"include_usage": True}
    read = _reader(generation, payloads.read_chat)
    capped = "max_tokens" not in body

    def read_result(reply: Reply) -> ChatResult:
        return replace(settle(read(reply), generation, capped=capped), resilience=reply.resilience)

    return _post("/v1/chat/completions", sent, read_result, "chat", patience, stream=stream)


def embeddings(generation: Generation, model: str, texts: list[str], *, patience: float) -> Operation[Embeddings]:
    """POST /v1/embeddings: pure, so repeatable."""
    read = _reader(generation, payloads.read_embeddings)

    def read_vectors(reply: Reply) -> Embeddings:
        found = read(reply)
        if len(found.vectors) != len(texts):
            raise ProtocolError(f"{len(texts)} texts came back as {len(found.vectors)} embeddings", body=reply.body)
        return replace(found, resilience=reply.resilience)

    return _post("/v1/embeddings", {"model": model, "input": texts}, read_vectors, "embeddings", patience)


def settle(result: ChatResult, generation: Generation, *, capped: bool) -> ChatResult:
    """An answer as both generations should have given it.

    `capped` says that the default cap of 2048 tokens stood for a limit. 2.x writes an empty answer as a space.
    """
    tokens = result.usage.completion_tokens if result.usage else None
    if result.content == " " and tokens == 0:
        result = replace(result, content="")
    if tolerates(generation, Tolerance.PART_THOUGHTS):
        said, thought = markup.part(result.content)
        result = replace(result, content=said, reasoning=thought if result.reasoning is None else result.reasoning)
    if result.tool_calls and tolerates(generation, Tolerance.PART_CALLS):
        result = replace(result, content=markup.without_tool_calls(result.content))
    names_the_cap = capped and tolerates(generation, Tolerance.NAME_THE_CAP)
    if names_the_cap and tokens == DEFAULT_CAP and result.finish_reason == "stop":
        result = replace(result, finish_reason="length")
    return result


def failure(reply: Reply, generation: Generation | None) -> FoundryError:
    """What this answer means, with its ledger."""
    error = error_of(reply.status, reply.headers, reply.body, generation, tried=reply.tried)
    error.resilience = reply.resilience
    return error


def _get(
    name: str, path: str, read: Callable[[Reply], T], patience: float, *, model: str | None = None
) -> Operation[T]:
    attributes = {STABLE.provider: PROVIDER, **({STABLE.request_model: model} if model else {})}
    options = CallOptions(
        repeatable=True,
        name=STABLE.management.format(operation=name),
        template=path if model is None else f"{path.rpartition('/')[0]}/{{model}}",
        attributes=attributes,
    )
    return Operation("GET", path, read, options, patience=patience, headers={"Accept": "application/json"})


def _post(
    path: str,
    body: Mapping[str, object],
    read: Callable[[Reply], T],
    name: str,
    patience: float,
    *,
    stream: bool = False,
) -> Operation[T]:
    model = str(body["model"])
    attributes = {STABLE.operation: name, STABLE.provider: PROVIDER, STABLE.request_model: model}
    options = CallOptions(
        repeatable=None if body.get("store") else True,
        elastic=True,
        name=f"{name} {model}",
        template=path,
        kind="client",
        attributes=attributes,
    )
    accept = "text/event-stream, application/json" if stream else "application/json"
    headers = {"Accept": accept, "Content-Type": "application/json"}
    return Operation("POST", path, read, options, body=encode(body), patience=patience, headers=headers, needs=model)


def _reader(generation: Generation, read: Callable[[bytes], T]) -> Callable[[Reply], T]:
    def read_reply(reply: Reply) -> T:
        if reply.status >= HTTPStatus.MULTIPLE_CHOICES:
            raise failure(reply, generation)
        try:
            return read(reply.body)
        except FoundryError as error:
            error.status = reply.status
            error.resilience = reply.resilience
            raise

    return read_reply


def _read_status(reply: Reply) -> ServiceStatus:
    """A server that does not answer this as Foundry Local does is none."""
    if reply.status in {429, 503}:
        raise failure(reply, None)
    try:
        raw: payloads.Raw = (
            payloads.read_object(reply.body, "the status") if reply.status < HTTPStatus.MULTIPLE_CHOICES else {}
        )
    except ProtocolError:
        raw = {}
    generation = generation_of(raw)
    if generation is None:
        error = NotFoundryError(
            f"what answers there is no Foundry Local: GET /status gave {reply.status}",
            status=reply.status,
            body=reply.body,
        )
        error.resilience = reply.resilience
        raise error
    return ServiceStatus(
        generation=generation,
        endpoints=tuple(url for url in items(raw.get("endpoints")) or () if isinstance(url, str)),
        pid=integer(raw.get("pid")),
        cache=text(raw.get("modelCachePath")) or text(raw.get("modelDirPath")),
        raw=raw,
    )
