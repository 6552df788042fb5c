"""JSON, names and heads as Foundry Local can take them: nothing that would crash it or make it wait for ever."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import cast

from resilient_foundry.foundry.errors import InvalidRequestError, ProtocolError

MAX_DEPTH = 64
"""Levels of nesting. 2.2.1 dies (SIGSEGV) at some 40,000; tool schemas deeper than 64 are refused."""
MAX_HEAD = 4096
"""Bytes of request line and headers that 2.2.1 accepts; one more, and it resets the connection without a word."""
TRACE_RESERVE = 256
"""Bytes of the head left for `traceparent` and `tracestate`, which a tracing policy adds further down."""

_NAME = re.compile(r"[A-Za-z0-9._:+-]{1,256}")
_INTEGER_BITS = 64
_BEGINNINGS = {b"{": "text like a JSON object", b"[": "text like a JSON array", b"<": "markup"}


def encode(value: object) -> bytes:
    """The value as JSON bytes, strictly; raises `InvalidRequestError` with one sentence for what no server can take."""
    _check(value, 1)
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except UnicodeEncodeError as error:
        raise InvalidRequestError("the request holds half a character (a lone surrogate), which is no text") from error
    except TypeError as error:
        raise InvalidRequestError(f"the request can't be written as JSON: {error}") from error


def _check(value: object, depth: int) -> None:
    """2.2.1 refuses duplicate keys (so keys are text), and fails with 500 on numbers that overflow a double."""
    if depth > MAX_DEPTH + 1:
        raise InvalidRequestError(f"the request is nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, Mapping):
        for key, item in cast("Mapping[object, object]", value).items():
            if not isinstance(key, str):
                raise InvalidRequestError(f"the keys of a JSON object are text, not {key!r}")
            _check(item, depth + 1)
    elif isinstance(value, list | tuple):
        for item in cast("Sequence[object]", value):
            _check(item, depth + 1)
    elif isinstance(value, float) and not math.isfinite(value):
        raise InvalidRequestError(f"JSON has no number {value!r}")
    elif isinstance(value, int) and value.bit_length() > _INTEGER_BITS:
        raise InvalidRequestError("the request holds an integer of more than 64 bits")


def decode(body: bytes, what: str, *, status: int | None = None) -> object:
    """The body as a JSON value; raises `ProtocolError` where it is none."""
    try:
        value: object = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"{what} is not JSON: {shape(body)}", status=status, body=body) from error
    return value


def shape(body: bytes) -> str:
    """What kind of body it is and how long, for a sentence: never its words, which may be somebody's letters."""
    start = body.lstrip()[:9].lower()
    if not start:
        return "it is empty" if not body else f"it is {len(body)} bytes of white space"
    if start.startswith((b"<!doctype", b"<html")):
        kind = "an HTML page"
    elif b"\0" in body or not _is_text(body):
        kind = "binary data"
    else:
        kind = _BEGINNINGS.get(start[:1], "text")
    return f"it is {kind} of {len(body)} bytes"


def _is_text(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def mapping(value: object) -> Mapping[str, object] | None:
    """The value if it is a JSON object."""
    return cast("dict[str, object]", value) if isinstance(value, dict) else None


def items(value: object) -> Sequence[object] | None:
    """The value if it is a JSON array."""
    return cast("list[object]", value) if isinstance(value, list) else None


def text(value: object) -> str | None:
    """The value if it is text."""
    return value if isinstance(value, str) else None


def integer(value: object) -> int | None:
    """The value if it is a whole number."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def segment(name: str) -> str:
    """A model's name as a path segment: as it is, because 2.x never decodes `%3A`; so only safe names pass."""
    if not _NAME.fullmatch(name) or not name.strip("."):
        raise InvalidRequestError(
            f"{name!r} is no name of a model: letters, digits and . _ : + - are, up to 256 of them"
        )
    return name


def check_head(method: str, target: bytes, headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Refuse a request whose head 2.x would answer with a reset, or that makes it answer in broken HTTP."""
    size = len(method) + len(target) + len("  HTTP/1.1\r\n\r\n")
    for name, value in headers:
        size += len(name) + len(value) + len(": \r\n")
        if name.lower() == b"expect":
            raise InvalidRequestError(
                "Foundry Local answers 'Expect: 100-continue' with broken HTTP: take that header off the HTTP client"
            )
    if size > MAX_HEAD - TRACE_RESERVE:
        raise InvalidRequestError(
            f"the request line and headers are {size} bytes long and Foundry Local resets connections beyond "
            f"{MAX_HEAD} ({TRACE_RESERVE} are kept for tracing): shorten the API key or the headers of the HTTP client"
        )
