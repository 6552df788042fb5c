"""Traces that a Jaeger has, by its query API.

A trace is read from `/api/v3`, which gives back what was sent: nanoseconds, types, lists, links with their attributes.
`/api/traces` gives less (see `jaeger_json`), but it alone searches by attributes, and is all that an old Jaeger has.

Source: https://www.jaegertracing.io/docs/latest/architecture/apis/
"""

from __future__ import annotations

import ipaddress
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import httpx

from resilient_foundry.traces.jaeger_json import is_jaeger_json, spans_of_jaeger_json
from resilient_foundry.traces.otlp import spans_of_otlp
from resilient_foundry.traces.tree import Scalar, Span, Trace

URL = "http://127.0.0.1:16686"
"""Where a Jaeger on this machine answers questions, and has its UI."""
_UI_PORT = 16686
_OTLP_PORTS = (4317, 4318)
_TRACE_ID = re.compile(r"[0-9a-fA-F]{1,32}")
_NOT_FOUND = 404
_NOTES = "@jaeger@"
_PAUSES = (0.05, 0.1, 0.2, 0.5)
"""Seconds between two looks for what is not there yet; the last one is repeated. Jaeger shows spans after 0.2 s."""


class JaegerError(Exception):
    """Jaeger could not be asked, or did not answer the question. The message says which, and what to do."""


class TraceNotFoundError(JaegerError):
    """Jaeger does not have this trace, or not all of it, and was given time."""


class Jaeger:
    """Reads the traces of one Jaeger.

    `patience` is how many seconds `trace` waits for spans that are still on their way; `timeout` how many one question
    may take. A name and password in the URL are sent to Jaeger, and stand in no link and no message.

    ValueError for what is no URL.
    """

    def __init__(
        self,
        url: str = URL,
        *,
        patience: float = 10.0,
        timeout: float = 5.0,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        try:
            parsed = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise ValueError(f"no URL of a Jaeger: {error}") from error
        if parsed.scheme not in {"http", "https"} or not parsed.host:
            raise ValueError(f"a URL of a Jaeger is like {URL}, not {url!r}")
        self.url: str = str(parsed.copy_with(userinfo=b"", query=None, fragment=None)).rstrip("/")
        self._patience = patience
        self._timeout = timeout
        self._sleep = sleep
        self._now = now
        auth = httpx.BasicAuth(parsed.username, parsed.password) if parsed.userinfo else None
        # No proxy leads to this machine, whatever the environment says about others.
        self._http = httpx.Client(timeout=timeout, auth=auth, trust_env=not _is_loopback(parsed.host))

    def trace(self, trace_id: str, *, spans: int = 1) -> Trace:
        """This trace, as soon as it has at least so many spans: what was just sent is visible a moment later.

        Raises `TraceNotFoundError` where that does not happen in time, and `JaegerError` where Jaeger can't be asked;
        ValueError for what is no trace id.
        """
        trace_id = _trace_id(trace_id)
        until = self._now() + self._patience
        looks = 0
        while True:
            found = self._spans(trace_id)
            if len(found) >= spans:
                return Trace(found)
            pause = min(_PAUSES[min(looks, len(_PAUSES) - 1)], until - self._now())
            if pause <= 0:
                break
            self._sleep(pause)
            looks += 1
        has = f"has {len(found)} of the {spans} spans of trace" if found else "has no trace"
        raise TraceNotFoundError(
            f"the Jaeger at {self.url} {has} {trace_id}, and was given {self._patience:g} s: "
            "was it sent there, and has Jaeger been started anew since?"
        )

    def services(self) -> list[str]:
        """The names of all services that sent spans."""
        return sorted(self._data("/api/services"))

    def operations(self, service: str) -> list[str]:
        """The names of all spans of a service."""
        return sorted({each["name"] for each in self._data("/api/operations", service=service)})

    def search(
        self,
        service: str,
        operation: str | None = None,
        *,
        tags: Mapping[str, Scalar] | None = None,
        start: int | None = None,
        end: int | None = None,
        min_duration: float | None = None,
        limit: int = 20,
    ) -> list[Trace]:
        """At most so many of the latest traces with a span of which all of this is true, by start.

        `operation` is the name of the span; `tags` are attributes of it, of its resource, or of one of its events. It
        began between `start` and `end` (nanoseconds since 1970; without them in the two days before now), and took at
        least `min_duration` seconds. What failed is found by its attributes, such as `error.type`: the tag `error`
        finds what is marked OK in a Jaeger 2.13 that keeps spans in memory.
        """
        asked: dict[str, str | int] = {"service": service, "limit": limit}
        if operation is not None:
            asked["operation"] = operation
        if tags:
            asked["tags"] = json.dumps({name: _text(value) for name, value in tags.items()})
        if start is not None:
            asked["start"] = start // 1000
        if end is not None:
            asked["end"] = -(-end // 1000)
        if min_duration is not None:
            asked["minDuration"] = f"{round(min_duration * 1e6)}us"
        ids = {_trace_id(each["traceID"]) for each in self._data("/api/traces", **asked)}
        found = [Trace(spans) for spans in map(self._spans, ids) if spans]
        return sorted(found, key=lambda trace: trace.start)

    def link(self, trace_id: str) -> str:
        """Where a person looks at this trace."""
        return f"{self.url}/trace/{_trace_id(trace_id)}"

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _spans(self, trace_id: str) -> list[Span]:
        """What there is of it now."""
        # Raw: clocks are not set right, and nothing is said about them.
        response = self._get(f"/api/v3/traces/{trace_id}", raw_traces="true")
        match _object(response):
            case {"result": result}:
                try:
                    return [_as_sent(span) for span in spans_of_otlp(result)]
                except ValueError:
                    return self._older(trace_id)
            case {"error": _} if response.status_code == _NOT_FOUND:
                return []
            case {"error": {"message": str(message)}}:
                raise self._failed(message)
            case _:
                return self._older(trace_id)

    def _older(self, trace_id: str) -> list[Span]:
        """From one that answers the newer path with its UI, or in a way of its own, or not at all."""
        response = self._get(f"/api/traces/{trace_id}", raw="true")
        document = _object(response)
        if is_jaeger_json(document):
            try:
                return spans_of_jaeger_json(document)
            except ValueError as error:
                raise JaegerError(f"the Jaeger at {self.url} answers what can't be read: {error}") from error
        if response.status_code == _NOT_FOUND and document is not None and "errors" in document:
            return []
        raise self._unlike_jaeger(response)

    def _data(self, path: str, **asked: str | int) -> list[Any]:
        response = self._get(path, **asked)
        match _object(response):
            case {"data": [*data], "errors": None}:
                return data
            case {"data": None, "errors": None}:
                return []
            case {"errors": [{"msg": str(message)}, *_]}:
                raise self._failed(message)
            case _:
                raise self._unlike_jaeger(response)

    def _get(self, path: str, **asked: str | int) -> httpx.Response:
        try:
            return self._http.get(self.url + path, params=asked)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise JaegerError(
                f"nothing answers at {self.url} ({error}): start a Jaeger, or say where its UI is"
            ) from error
        except httpx.TimeoutException as error:
            raise JaegerError(f"what is at {self.url} did not answer within {self._timeout:g} s") from error
        except httpx.TransportError as error:
            raise JaegerError(f"what answers at {self.url} is no Jaeger ({error}): say where its UI is") from error

    def _failed(self, message: str) -> JaegerError:
        return JaegerError(f"the Jaeger at {self.url} refused: {message}")

    def _unlike_jaeger(self, response: httpx.Response) -> JaegerError:
        kind = response.headers.get("content-type", "nothing").partition(";")[0]
        return JaegerError(
            f"what answers at {self.url} is no Jaeger: {response.url.path} gave {response.status_code} with {kind}; "
            "say where Jaeger's UI is"
        )


def is_jaeger(url: str, *, seconds: float = 1.0) -> bool:
    """Whether a Jaeger answers questions there, within so many seconds."""
    try:
        with Jaeger(url, timeout=seconds) as jaeger:
            jaeger.services()
    except (JaegerError, ValueError):
        return False
    return True


def jaeger_beside(endpoint: str, *, seconds: float = 1.0) -> str | None:
    """The URL of the Jaeger that stands behind this OTLP endpoint, where one can be found.

    That is the one on port 16686 of the same host, if spans are sent to 4317 or 4318; nobody else's ports are tried.
    """
    try:
        sent = httpx.URL(endpoint)
    except httpx.InvalidURL:
        return None
    if sent.port not in _OTLP_PORTS:
        return None
    url = f"{sent.scheme}://{sent.netloc.decode().rpartition(':')[0]}:{_UI_PORT}"
    return url if is_jaeger(url, seconds=seconds) else None


def _trace_id(given: str) -> str:
    """32 digits: an older Jaeger leaves leading zeros away."""
    if not _TRACE_ID.fullmatch(given):
        raise ValueError(f"a trace id is 32 hexadecimal digits, not {given!r}")
    return given.lower().zfill(32)


def _text(value: Scalar) -> str:
    """As Jaeger compares it: as Go prints it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _as_sent(span: Span) -> Span:
    """Without what Jaeger says about it: it notes among the attributes where a span had no duration, for one."""
    if not any(name.startswith(_NOTES) for name in span.attributes):
        return span
    kept = {name: value for name, value in span.attributes.items() if not name.startswith(_NOTES)}
    return replace(span, attributes=kept)


def _object(response: httpx.Response) -> dict[str, Any] | None:
    """The JSON object that was answered; its content type is no help: Jaeger says that it is plain text."""
    try:
        document: Any = response.json()
    except ValueError:
        return None
    return document if isinstance(document, dict) else None  # pyright: ignore[reportUnknownVariableType] - what JSON is


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
