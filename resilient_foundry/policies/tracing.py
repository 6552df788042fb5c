"""Tracing: one span for the logical call, one for each attempt, by OpenTelemetry's conventions."""

from __future__ import annotations

import contextlib
from contextvars import Token
from dataclasses import dataclass
from typing import Any

from opentelemetry import propagate, trace
from opentelemetry.context import Context, attach
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer

from resilient_foundry.call import attempt_of, derive, options_of
from resilient_foundry.events import (
    BodyEnd,
    CallRejected,
    CircuitClosed,
    CircuitHalfOpened,
    CircuitOpened,
    Event,
    Ledger,
    Outcome,
    ResumeDenied,
    RetriesExhausted,
    RetryDenied,
    RetryScheduled,
    StreamResumed,
    TimedOut,
)
from resilient_foundry.flow import Flow, Proceed, Request, Response, history, listen, watch
from resilient_foundry.policies.origin import DEFAULT_PORTS, origin

_PARENT = "resilience.span"
"""`request.extensions` key: the span of the logical call, for its attempts."""
_KINDS = {"internal": SpanKind.INTERNAL, "client": SpanKind.CLIENT}
_METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"})
_FAILURE = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracing:
    """Makes a span of each call, and under it one CLIENT span an attempt; nothing at all without an OpenTelemetry SDK.

    The call's span is named by `CallOptions.name`, or `resilience {name}`; waits, refusals, changes of a circuit and
    passed limits are its events. Attempts follow the stable HTTP conventions (OpenTelemetry semantic conventions 1.23
    and later): `http.request.resend_count` from the second on, `error.type`, 4xx and 5xx are errors of the attempt. A
    failure that a later attempt made good does not mark the call. Spans end with the body of the answer, so a
    stream's covers the stream, with `resilience.stream.first_event_after` (seconds) where a `StreamGuard` looked.
    Cancelling a call is no error. The context is propagated with each attempt
    (`traceparent`), and its span is the current one until the answer begins: what OpenTelemetry's own instrumentation
    of httpx makes of an attempt stands under ours.

    URLs go out without credentials, query and fragment; headers, bodies and error texts never do.
    """

    name: str = "http"
    tracer_provider: trace.TracerProvider | None = None

    def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
        """The span of the logical call."""
        tracer = self._tracer()
        if tracer is None:
            return (yield from proceed(request))
        options = options_of(request)
        span = tracer.start_span(
            options.name or f"resilience {self.name}",
            kind=_KINDS[options.kind],
            attributes={**_server(request), **options.attributes},
        )
        ledger = yield from history()
        if span.is_recording():
            yield from listen(_Events(span))
        try:
            response = yield from proceed(derive(request, extensions={_PARENT: span}))
        except Exception as error:
            _fail(span, _name_of(error))
            _sum_up(span, ledger)
            span.end()
            raise
        except BaseException:
            span.end()
            raise
        yield from watch(response, _CallEnd(span, response, ledger))
        return response

    def attempt(self, request: Request, proceed: Proceed) -> Flow[Response]:
        """The span of one attempt."""
        parent: Span | None = request.extensions.get(_PARENT)
        tracer = self._tracer() if parent is not None else None
        if parent is None or tracer is None:
            return (yield from proceed(request))
        context = trace.set_span_in_context(parent)
        ledger = yield from history()
        number = len(ledger.attempts) + 1
        method = request.method if request.method in _METHODS else "_OTHER"
        span = tracer.start_span(
            method if method != "_OTHER" else "HTTP",
            context=context,
            kind=SpanKind.CLIENT,
            attributes={
                "http.request.method": method,
                "url.full": origin(request.url) + request.url.raw_path.partition(b"?")[0].decode("ascii", "replace"),
                **_server(request),
                **({"http.request.resend_count": number - 1} if number > 1 else {}),
            },
        )
        inside = trace.set_span_in_context(span)
        carrier: dict[str, str] = {}
        propagate.inject(carrier, context=inside)
        token = attach(inside)  # spans of whoever traces further in, as httpx's own instrumentation, are under this one
        try:
            response = yield from proceed(derive(request, headers=carrier))
        except Exception as error:
            _fail(span, _name_of(error))
            span.end()
            raise
        except BaseException:
            span.end()
            raise
        finally:
            _leave(token)
        yield from watch(response, _AttemptEnd(span, response))
        return response

    def _tracer(self) -> Tracer | None:
        """A tracer, or None where nobody has set up an SDK: then a call costs a look and no more."""
        provider = self.tracer_provider or trace.get_tracer_provider()
        if isinstance(provider, (trace.ProxyTracerProvider, trace.NoOpTracerProvider)):
            return None
        return provider.get_tracer("resilient_foundry")


class _Events:
    """Writes what happens to a call on its span."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def __call__(self, event: Event) -> None:
        told = _as_span_event(event)
        if told is not None and self._span.is_recording():  # not after its end, of which the SDK would warn
            name, attributes = told
            self._span.add_event(name, {key: value for key, value in attributes.items() if value is not None})


def _as_span_event(event: Event) -> tuple[str, dict[str, Any]] | None:
    match event:
        case RetryScheduled():
            return "resilience.retry.scheduled", {
                "attempt": event.attempt,
                "delay": event.wait,
                "delay_source": event.source,
                "reason": event.reason,
            }
        case RetriesExhausted():
            return "resilience.retry.exhausted", {"attempts": event.attempts, "reason": event.reason}
        case RetryDenied():
            return "resilience.retry.denied", {"attempt": event.attempt, "reason": event.reason, "by": event.why}
        case StreamResumed():
            return "resilience.stream.resumed", {"attempt": event.attempt, "characters": event.characters}
        case ResumeDenied():
            return "resilience.stream.resume_denied", {"by": event.why, "characters": event.characters}
        case CircuitOpened():
            return "resilience.circuit_breaker.state_change", {"name": event.circuit, "to": "open"}
        case CircuitHalfOpened():
            return "resilience.circuit_breaker.state_change", {"name": event.circuit, "to": "half-open"}
        case CircuitClosed():
            return "resilience.circuit_breaker.state_change", {"name": event.circuit, "to": "closed"}
        case CallRejected():
            return "resilience.circuit_breaker.rejected", {"name": event.circuit, "retry_in": event.retry_after}
        case TimedOut():
            return "resilience.timeout", {"kind": event.phase, "limit": event.limit}
        case _:
            return None


class _AttemptEnd:
    """Ends the span of an attempt with its body; judges it by HTTP alone."""

    def __init__(self, span: Span, response: Response) -> None:
        self._span = span
        self._attempt = attempt_of(response)
        self._bytes = 0
        self._chunks = 0
        status = response.status_code
        span.set_attribute("http.response.status_code", status)
        if status >= _FAILURE:
            _fail(span, str(status))

    def chunk(self, data: bytes, at: float) -> None:
        """Count."""
        del at
        self._bytes += len(data)
        self._chunks += 1

    def ended(self, end: BodyEnd, at: float) -> BodyEnd:
        """End the span."""
        del at
        span = self._span
        span.set_attribute("resilience.stream.bytes", self._bytes)
        span.set_attribute("resilience.stream.chunks", self._chunks)
        span.set_attribute("resilience.stream.completed", end.outcome is Outcome.COMPLETE)
        if self._attempt is not None and self._attempt.first_event_after is not None:
            span.set_attribute("resilience.stream.first_event_after", self._attempt.first_event_after)
        if end.outcome in {Outcome.BROKEN, Outcome.STALLED} and end.error is not None:
            _fail(span, _name_of(end.error))
        span.end()
        return end


class _CallEnd:
    """Ends the span of the call with the body of its answer, as every policy further in has judged it."""

    def __init__(self, span: Span, response: Response, ledger: Ledger) -> None:
        self._span = span
        self._status = response.status_code
        self._ledger = ledger

    def chunk(self, data: bytes, at: float) -> None:
        """Nothing to do."""

    def ended(self, end: BodyEnd, at: float) -> BodyEnd:
        """End the span."""
        del at
        if end.outcome in {Outcome.IN_BAND_ERROR, Outcome.TRUNCATED}:
            _fail(self._span, "stream_error" if end.outcome is Outcome.IN_BAND_ERROR else "stream_truncated")
        elif end.outcome in {Outcome.BROKEN, Outcome.STALLED} and end.error is not None:
            _fail(self._span, _name_of(end.error))
        elif self._status >= _FAILURE:
            _fail(self._span, str(self._status))
        _sum_up(self._span, self._ledger)
        self._span.end()
        return end


def _leave(token: Token[Context]) -> None:
    """Make the context the current one that was so before.

    OpenTelemetry's `detach` logs an error where a collector closes a flow of which nobody heard the end, as it does
    with tasks of an event loop that was closed under them: that happens in another context, in which there is nothing
    to be made good.
    """
    with contextlib.suppress(ValueError):
        token.var.reset(token)


def _sum_up(span: Span, ledger: Ledger) -> None:
    span.set_attribute("resilience.attempts", len(ledger.attempts))
    span.set_attribute("resilience.retry.total_delay", sum(ledger.waits))


def _fail(span: Span, kind: str) -> None:
    span.set_attribute("error.type", kind)
    span.set_status(Status(StatusCode.ERROR))


def _name_of(error: BaseException) -> str:
    kind = type(error)
    return f"{kind.__module__}.{kind.__qualname__}"


def _server(request: Request) -> dict[str, str | int]:
    url = request.url
    port = url.port or DEFAULT_PORTS.get(url.scheme)
    return {"server.address": url.host} | ({"server.port": port} if port else {})
