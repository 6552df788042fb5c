"""What the servers' failures mean: one table, from what was seen on 1.0.0, 1.2.4 and 2.2.1.

Statuses alone mislead: both generations answer some requests that can never succeed with 500, 2.x reports failures
inside a stream that began with 200, and the texts carry C++ signatures. So the words decide, as substrings.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from resilient_foundry.faults import Verdict
from resilient_foundry.foundry.errors import (
    ContextLengthExceededError,
    EndpointNotFoundError,
    FoundryError,
    InferenceError,
    InvalidRequestError,
    LoadFailedError,
    ModelBusyError,
    ModelNotCachedError,
    ModelNotFoundError,
    ModelNotLoadedError,
    NotFoundryError,
    ProtocolError,
    ServiceBusyError,
    ServiceFailedError,
)
from resilient_foundry.foundry.generations import Generation
from resilient_foundry.foundry.wire import mapping, shape, text
from resilient_foundry.sse import Decoder, SSEError

_ONE = frozenset({Generation.ONE})
_TWO = frozenset({Generation.TWO})
_BOTH = _ONE | _TWO


@dataclass(frozen=True, slots=True)
class Meaning:
    """One row: an answer of one of these statuses (None: inside a stream) with these words is this error."""

    statuses: frozenset[int | None]
    words: str
    error: type[FoundryError]
    says: str
    generations: frozenset[Generation] = _BOTH


def _on(*statuses: int | None) -> frozenset[int | None]:
    return frozenset(statuses)


_LOAD_FIRST = "the model is not loaded; call load_model first"
_CORRUPTED = "the service ran out of memory or is corrupted; restart it if this goes on"
_WRONG = "the request is wrong"
_NO_ROOM = "the prompt and max_tokens do not fit"
_LOAD_OR_UNKNOWN = "the model is not loaded, or unknown; call load_model first"
_DOWNLOAD_FIRST = "the model is not downloaded; download it first"
_NO_TOOLS = "this model can't call tools"
_NO_EMBEDDINGS = "this is no embedding model"
_BAD_SETTINGS = "the service can't use these settings"
_WORKING, _REFUSED, _EITHER, _ANY = _on(500, None), _on(400, None), _on(400, 500), _on(400, 500, None)
"""With stream=True, 2.x says in the stream (None) what it else says with a status."""

MEANINGS: tuple[Meaning, ...] = (
    # Both: the budget of tokens. With stream=True 2.x says it in band, without the "Invalid request:" before it.
    Meaning(_ANY, "maximum context length", ContextLengthExceededError, _NO_ROOM),
    # 2.x
    Meaning(_on(404), "No mapping for HTTP-method", EndpointNotFoundError, "the service has no such endpoint", _TWO),
    Meaning(_on(404, None), "Model not found:", ModelNotFoundError, "the service knows no such model", _TWO),
    Meaning(_REFUSED, "Model not loaded:", ModelNotLoadedError, _LOAD_FIRST, _TWO),
    Meaning(_on(400), "Model not cached:", ModelNotCachedError, _DOWNLOAD_FIRST, _TWO),
    Meaning(_on(500), "session(s) still using it", ModelBusyError, "the model is still answering somebody", _TWO),
    Meaning(_on(500), "Load failed:", LoadFailedError, "the service could not load the model", _TWO),
    # 2.x: the caller's fault in the clothes of a server's failure.
    Meaning(_on(500), "json.exception.type_error.316", InvalidRequestError, "the request is not UTF-8", _TWO),
    Meaning(_on(500), "out_of_range.406", InvalidRequestError, "a number of the request is too large", _TWO),
    Meaning(_on(500), "content decoders", InvalidRequestError, "the service takes no compressed requests", _TWO),
    Meaning(_WORKING, "Inference failed: stoi", InvalidRequestError, "a number in metadata is no number", _TWO),
    Meaning(_WORKING, "must be less", InvalidRequestError, "top_k exceeds the vocabulary", _TWO),
    Meaning(_WORKING, "structured tool calling requires", InvalidRequestError, _NO_TOOLS, _TWO),
    Meaning(_WORKING, "Generator output 'hidden_states'", InvalidRequestError, _NO_EMBEDDINGS, _TWO),
    Meaning(_WORKING, "failed to create generator", InvalidRequestError, _BAD_SETTINGS, _TWO),
    # 2.x: failures of its own.
    Meaning(_WORKING, "Tokenizer pointer is null", InferenceError, _CORRUPTED, _TWO),
    Meaning(_WORKING, "token generation failed", InferenceError, "the service failed while generating", _TWO),
    Meaning(_WORKING, "invalid tool call", InferenceError, "the model wrote a broken tool call", _TWO),
    Meaning(_on(None), "SSE stream buffer limit exceeded", InferenceError, "the answer was read too slowly", _TWO),
    # 1.x
    Meaning(_EITHER, "is not loaded. Please load the model", ModelNotLoadedError, _LOAD_OR_UNKNOWN, _ONE),
    Meaning(_on(404), "model_not_found", ModelNotFoundError, "the service knows no such model", _ONE),
    Meaning(_on(500), "Invalid OpenAI JSON request:", InvalidRequestError, _WRONG, _ONE),
    Meaning(_on(500), "top_p must be between", InvalidRequestError, "top_p is out of range", _ONE),
    Meaning(_on(500), "top_k must be", InvalidRequestError, "top_k is out of range", _ONE),
    Meaning(_on(500), "Non-zero status code returned while running", InferenceError, "the model failed", _ONE),
    # Both
    Meaning(_WORKING, "std::bad_alloc", InferenceError, _CORRUPTED),
)  # fmt: skip

_VERDICTS: tuple[tuple[type[FoundryError], Verdict], ...] = (
    (ModelBusyError, Verdict.BUSY),
    (ServiceBusyError, Verdict.BUSY),
    (
        LoadFailedError,
        Verdict.CALLER,
    ),  # a model that can't be loaded: asked again, it fails again, and others still work
    (ServiceFailedError, Verdict.SERVER),
    (ProtocolError, Verdict.SERVER),
    (FoundryError, Verdict.CALLER),
)
"""What an error says about the server; the first that fits counts."""

_BUSY = frozenset({429, 503})
_SIGNATURE = re.compile(
    r"^(?:[A-Z][^:]*: )?[A-Za-z_]+\.cc:\d+ .*?\)(?:::<lambda\([^)]*\)>)?(?: const)? (?=[A-Za-z])", re.DOTALL
)
_TOKENS = re.compile(r"requires (\d+) total tokens.*?maximum context length of (\d+)", re.DOTALL)
_OATPP = re.compile(r"^server=oatpp.*?^message=(.*)", re.DOTALL | re.MULTILINE)
_MAX_SENTENCE = 500


@dataclass(frozen=True, slots=True)
class _Said:
    """What an answer says of its failure: the words, the code, the kind, and how it was written."""

    words: str
    code: str | None = None
    kind: str | None = None
    html: bool = False
    told: bool = True
    """Whether the words are a message of the server, and not merely what stands in the body."""


def error_of(
    status: int | None,
    headers: Mapping[str, str],
    body: bytes,
    generation: Generation | None = None,
    *,
    tried: str | None = None,
) -> FoundryError:
    """The error that an answer of 300 or above means; status None for one inside a stream.

    Without a generation the words of both are looked for. `error.body` keeps what the server really said. `tried` says
    what was tried in vain against it.
    """
    said = _said(headers, body)
    meaning = _look_up(status, said, generation)
    if meaning is None:
        kind, says = _by_status(status, said, generation)
    else:
        kind, says = meaning.error, meaning.says
    if said.html:
        sentence = says
    elif said.told or meaning is not None or status is None:
        clean = readable(said.words)
        sentence = f"{says} ({clean})" if clean else says
    else:  # some body, by whoever stands there; the body itself is for `error.body`
        sentence = f"{says}; {shape(body)}" if said.words else says
    if tried is not None:
        sentence += f"; {tried}"
    if issubclass(kind, ContextLengthExceededError):
        found = _TOKENS.search(said.words)
        needed, limit = (int(found[1]), int(found[2])) if found else (None, None)
        return kind(sentence, needed=needed, limit=limit, status=status, code=said.code, body=body)
    return kind(sentence, status=status, code=said.code, body=body)


def judge(status: int, headers: Mapping[str, str], body: bytes) -> Verdict:
    """Whose fault an answer is: for retry and circuit breaker, which must not trust a 500 of these servers.

    A good status with an error inside (the first event of a stream, or a JSON object) is judged by that error.
    """
    if status >= HTTPStatus.BAD_REQUEST:  # RFC 9110 section 15.5
        return verdict_of(error_of(status, headers, body))
    if b'"error"' in body and _error_inside(body) is not None:
        return verdict_of(error_of(None, headers, body))
    return Verdict.GOOD


def verdict_of(error: FoundryError) -> Verdict:
    """Whose fault this error is."""
    return next(verdict for kind, verdict in _VERDICTS if isinstance(error, kind))


def readable(words: str) -> str:
    """A message of the server without the file, line and signature that 2.x leaks; bounded, on one line."""
    shown = " ".join(_SIGNATURE.sub("", words, count=1).split())
    return shown if len(shown) <= _MAX_SENTENCE else shown[:_MAX_SENTENCE] + "…"


def _look_up(status: int | None, said: _Said, generation: Generation | None) -> Meaning | None:
    return next(
        (
            row
            for row in MEANINGS
            if status in row.statuses
            and (generation is None or generation in row.generations)
            and (row.words in said.words or row.words == said.code)
        ),
        None,
    )


def _by_status(status: int | None, said: _Said, generation: Generation | None) -> tuple[type[FoundryError], str]:
    """What is left when no words are known: the status, and for an error in a stream its type."""
    match status:
        case None if said.kind == "invalid_request_error":
            return InvalidRequestError, _WRONG
        case None:
            return InferenceError, "the service failed while it answered"
        case 404 if generation is None or said.html:
            return NotFoundryError, "what answers there is no Foundry Local (404)"
        case 404:
            return EndpointNotFoundError, "the service has no such endpoint (404)"
        case 401 | 403:
            return InvalidRequestError, f"access was refused ({status}); FOUNDRY_API_KEY or api_key= is what is sent"
        case _ if status in _BUSY:
            return ServiceBusyError, f"the service is busy ({status})"
        case _ if status < HTTPStatus.BAD_REQUEST:  # RFC 9110 section 15.4
            return NotFoundryError, f"what answers there sends you elsewhere ({status})"
        case _ if status < HTTPStatus.INTERNAL_SERVER_ERROR:  # RFC 9110 section 15.6
            return InvalidRequestError, f"{_WRONG} ({status})"
        case 500 if not said.words:
            return InferenceError, "the service failed (500) and gave no reason"
        case 500:
            return InferenceError, "the service failed (500)"
        case _:
            return ServiceFailedError, f"the service failed ({status})"


def _said(headers: Mapping[str, str], body: bytes) -> _Said:
    if "html" in headers.get("content-type", "") or body.lstrip()[:9].lower() in {b"<!doctype", b"<html>"}:
        return _Said("", html=True)
    inside = _error_inside(body)
    if inside is not None:
        return inside
    words = body.decode("utf-8", "replace").strip()
    oatpp = _OATPP.search(words)
    return _Said(oatpp[1].strip()) if oatpp else _Said(words, told=False)


def _error_inside(body: bytes) -> _Said | None:
    """The error object of a JSON answer, or of the first event of a stream."""
    start = body.lstrip()
    if not start.startswith((b"{", b'"')):
        start = _first_event(body)
    try:
        value: object = json.loads(start)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, str):  # 1.0.0 writes its 404 as a JSON string
        value = _loads(value)
    whole = mapping(value)
    if whole is None:
        return None
    error = whole.get("error")
    if isinstance(error, str):
        return _Said(error)
    said = mapping(error)
    if said is None:
        return None
    return _Said(text(said.get("message")) or "", text(said.get("code")), text(said.get("type")))


def _loads(written: str) -> object:
    try:
        value: object = json.loads(written)
    except (ValueError, RecursionError):
        return None
    return value


def _first_event(body: bytes) -> bytes:
    try:
        events = Decoder().feed(body)
    except SSEError:
        return b""
    return events[0].data.encode() if events else b""
