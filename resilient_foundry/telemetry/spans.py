"""The spans of a call and of its attempts: opened once, ended once, with times of the call's own clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode

from resilient_foundry.call import ASIDE, HEDGE, attempt_of, options_of
from resilient_foundry.errors import DeadlineExceededError, ResilienceError
from resilient_foundry.events import NEVER_CLOSED, Attempt, BodyEnd, Outcome
from resilient_foundry.faults import Fault, Verdict, fault_of, judge_by_status
from resilient_foundry.flow import Request, Response
from resilient_foundry.telemetry.instruments import Instruments
from resilient_foundry.telemetry.names import Names
from resilient_foundry.telemetry.provider import Provider

CALL = "resilience.call"
"""`request.extensions` key: the `CallSpan` that whoever makes the call has opened for it, and ends."""
PARENT = "resilience.parent"
"""`request.extensions` key: the `CallSpan` that the call is a part of, where that is not the current span."""

FAILURE = 400
_METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"})
_MICROSECONDS, _NANOSECONDS = 1e6, 1e9


class Timeline:
    """Turns moments of a monotonic clock into nanoseconds since 1970, so that durations survive a set clock."""

    __slots__ = ("_moment", "_zero")

    def __init__(self, wall: float, moment: float) -> None:
        self._zero = round(wall * _MICROSECONDS) * 1000  # a float holds no more of the time since 1970
        self._moment = moment

    def at(self, moment: float) -> int:
        """Nanoseconds since 1970 UTC."""
        return self._zero + round((moment - self._moment) * _NANOSECONDS)


class CallSpan:
    """The span of one logical call, and what its attempts have in common."""

    __slots__ = ("context", "ended", "failure", "is_dropped", "names", "primary", "sent", "span", "timeline", "waited")

    def __init__(self, span: Span, names: Names, timeline: Timeline, parent: Context | None = None) -> None:
        self.span = span
        self.names = names
        self.timeline = timeline
        """The one that all goes by that belongs to the call, so that nothing seems to reach beyond it."""
        self.context = trace.set_span_in_context(span, parent)
        """What belongs to the call stands in this context."""
        self.sent = 0
        """Requests that went out for it."""
        self.waited = 0.0
        """Seconds between them."""
        self.primary: SpanContext | None = None
        """The attempt that hedges run beside."""
        self.failure: str | None = None
        """The `error.type` of the answer that whoever makes the call was given, where that failed."""
        self.is_dropped = False
        """Whether its answer was dropped unclosed: it ended when the last piece came, whenever that is found out."""
        self.ended = False

    def add(self, name: str, values: Mapping[str, Any], at: int | None) -> None:
        """Write down what happened; nothing after the end, of which an SDK would warn."""
        if not self.ended and self.span.is_recording():
            self.span.add_event(name, values, at)

    def number(self) -> int:
        """The number of the attempt that goes out now, from 1."""
        self.sent += 1
        return self.sent

    def set(self, attributes: Mapping[str, Any]) -> None:
        """Set those attributes whose value is known."""
        if self.span.is_recording():
            self.span.set_attributes({name: value for name, value in attributes.items() if value is not None})

    def fail(self, kind: str) -> None:
        """Mark the call as failed."""
        mark(self.span, self.names, kind)

    def end(self, at: int | None = None) -> None:
        """End it; only the first end counts."""
        if not self.ended:
            self.ended = True
            if self.span.is_recording():
                names = self.names
                self.span.set_attribute(names.attempts, self.sent)
                self.span.set_attribute(names.total_delay, self.waited)
            self.span.end(at)


class AttemptSpan:
    """The span of one attempt. It is a watcher of the attempt's body, and ends when that has been judged."""

    def __init__(
        self,
        span: Span,
        names: Names,
        timeline: Timeline,
        instruments: Instruments,
        about: Mapping[str, str | int],
        *,
        call: CallSpan | None,
        began: float,
        context: Context | None = None,
    ) -> None:
        self.span = span
        self.names = names
        self.context = context or trace.set_span_in_context(span)
        """What is done for the attempt stands in this context."""
        self.status: int | None = None
        self.protocol: str | None = None
        self.error_type: str | None = None
        self.began_ns = timeline.at(began)
        self.ended_ns: int | None = None
        """When it ended, once it has."""
        self.is_measured = True
        """Whether nobody else measures it under the same name."""
        self.last_chunk: float | None = None
        self._timeline = timeline
        self._instruments = instruments
        self._about = about
        self._call = call
        self._began = began
        self._attempt: Attempt | None = None
        self._answered_after: float | None = None
        self._ended_at: float | None = None
        self._heard = False
        self._is_ours = False
        self._never_closed = False

    def answered(self, response: Response) -> None:
        """The head of the answer is there."""
        self.status = status = response.status_code
        attempt = attempt_of(response)
        if attempt is not None:
            self._answered_after = attempt.answered_after
        version: Any = response.extensions.get("http_version")  # httpcore's own, b"HTTP/1.1"
        if isinstance(version, bytes):
            self.protocol = version.decode("ascii", "replace").removeprefix("HTTP/")
        if status >= FAILURE:
            self.error_type = str(status)
        if self.span.is_recording():
            self.span.set_attribute(self.names.status, status)
            if self.protocol is not None:
                self.span.set_attribute(self.names.protocol_version, self.protocol)
            self.span.set_attributes(_peer(response, self.names))

    def failed(self, error: BaseException) -> None:
        """No answer came. Cancelling an attempt is no error of it."""
        if isinstance(error, Exception):
            self.error_type = class_of(error)
            self._is_ours = fault_of(error) is Fault.OURS
        self._heard = True
        self._end()

    def chunk(self, data: bytes, at: float) -> None:
        """A piece of the body came."""
        del data
        self.last_chunk = at

    def heard_last(self, at: float) -> float:
        """When its last piece came, or its head; `at` where neither did."""
        if self.last_chunk is not None:
            return self.last_chunk
        return at if self._answered_after is None else self._began + self._answered_after

    def ended(self, end: BodyEnd, at: float) -> BodyEnd:
        """The body ended, and has not been judged."""
        del at
        if end.outcome in {Outcome.BROKEN, Outcome.STALLED} and end.error is not None:
            self.error_type = class_of(end.error)
        self._never_closed = end.detail == NEVER_CLOSED or (self._call is not None and self._call.is_dropped)
        self._heard = True
        if self._attempt is not None:
            self._end()
        return end

    def judged(self, attempt: Attempt, at: float) -> None:
        """Everybody who watched the attempt has said what it was."""
        self._attempt, self._ended_at = attempt, at
        if self._heard:
            self._end()

    @property
    def outcome(self) -> str:
        """`success`, `retryable`, `fatal`, `cancelled` or `abandoned`."""
        attempt = self._attempt
        if attempt is None or attempt.outcome is Outcome.CANCELLED:
            return "cancelled" if self.error_type is None else "fatal"
        if attempt.outcome is Outcome.ABANDONED:
            return "abandoned"
        if attempt.outcome is Outcome.COMPLETE:
            verdict = attempt.verdict or judge_by_status(attempt.status or 0, {}, b"")
            if verdict is Verdict.GOOD:
                return "success"
            return "fatal" if verdict is Verdict.CALLER else "retryable"
        if attempt.status is None:
            return "fatal" if self._is_ours else "retryable"
        return "fatal" if attempt.verdict is Verdict.CALLER else "retryable"

    def _end(self) -> None:
        if self.ended_ns is not None:
            return
        at = self._ended_at
        if at is not None and self._never_closed:
            at = self.heard_last(at)
        self.ended_ns = ended = self.began_ns if at is None else max(self._timeline.at(at), self.began_ns)
        span, names, attempt = self.span, self.names, self._attempt
        if span.is_recording():
            if self.error_type is not None:
                mark(span, names, self.error_type)
            told: dict[str, Any] = {names.attempt_outcome: self.outcome}
            if attempt is not None and attempt.status is not None:
                told[names.stream_bytes] = attempt.bytes
                told[names.stream_chunks] = attempt.chunks
                told[names.stream_completed] = attempt.outcome is Outcome.COMPLETE
                told[names.time_to_headers] = attempt.answered_after or 0.0
                if attempt.first_event_after is not None:
                    told[names.time_to_first_event] = attempt.first_event_after
            span.set_attributes(told)
        span.end(ended)
        if self.is_measured:
            self._instruments.attempt_ended((ended - self.began_ns) / _NANOSECONDS, self._measured(), self.context)

    def _measured(self) -> dict[str, str | int]:
        """The attributes of its measurement: few values each, never a URL."""
        names = self.names
        found = {
            names.status: self.status,
            names.protocol_version: self.protocol,
            names.error_type: self.error_type,
        }
        return {**self._about, **{name: value for name, value in found.items() if value is not None}}


def mark(span: Span, names: Names, kind: str) -> None:
    """Mark a span as failed, by a kind that says nothing of what was asked."""
    if span.is_recording():
        span.set_attribute(names.error_type, kind)
        span.set_status(Status(StatusCode.ERROR))


def class_of(error: BaseException) -> str:
    """The class of an error, fully qualified: what `error.type` wants."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def is_refusal(error: BaseException) -> bool:
    """Whether a policy would have none of the call; that a deadline passed says nothing of that."""
    return isinstance(error, ResilienceError) and not isinstance(error, DeadlineExceededError)


def open_attempt(
    provider: Provider, request: Request, call: CallSpan | None, timeline: Timeline, moment: float
) -> AttemptSpan:
    """The span of an attempt that begins at this moment; under the call's where there is one.

    URLs go out without credentials, query and fragment. A method that is not known is `_OTHER`, as the conventions
    want it, for a caller could make up any number of names.
    """
    names = provider.names
    if call is not None and provider.follows_parents and not provider.measures and not call.span.is_recording():
        return _unrecorded(provider, request, call, timeline, moment)
    method = request.method if request.method in _METHODS else "_OTHER"
    whose, server = provider.server(request.url)
    template = options_of(request).template
    attributes: dict[str, Any] = {
        names.method: method,
        names.url: whose + request.url.raw_path.partition(b"?")[0].decode("ascii", "replace"),
        **server,
    }
    if template is not None:
        attributes[names.template] = template
    links = None
    if request.extensions.get(ASIDE):
        attributes[names.aside] = True
    else:
        number = call.number() if call is not None else 1
        if number > 1:
            attributes[names.resend_count] = number - 1
        attributes[names.attempt_number] = number
    is_hedge = bool(request.extensions.get(HEDGE))
    if is_hedge:
        attributes[names.hedge] = True
        links = [Link(call.primary)] if call is not None and call.primary is not None else None
    began = timeline.at(moment)
    span = provider.tracer.start_span(
        names.attempt_span(method if method != "_OTHER" else "HTTP", template),
        context=call.context if call is not None else None,
        kind=SpanKind.CLIENT,
        attributes=attributes,
        links=links,
        start_time=began,
    )
    if call is not None and not is_hedge and names.aside not in attributes:
        call.primary = span.get_span_context()
    about = {names.method: method, **server}
    made = AttemptSpan(span, names, timeline, provider.instruments, about, call=call, began=moment)
    made.is_measured = provider.measures
    return made


def _unrecorded(provider: Provider, request: Request, call: CallSpan, timeline: Timeline, moment: float) -> AttemptSpan:
    """What stands for the span of an attempt of a call that was sampled out: it propagates the context of the call."""
    if not request.extensions.get(ASIDE):
        call.number()
    span = trace.NonRecordingSpan(call.span.get_span_context())
    made = AttemptSpan(
        span, provider.names, timeline, provider.instruments, {}, call=call, began=moment, context=call.context
    )
    made.is_measured = False
    return made


def _peer(response: Response, names: Names) -> dict[str, str | int]:
    """Who answered, by the socket itself; nothing where it was no socket of TCP."""
    stream: Any = response.extensions.get("network_stream")  # httpcore's own
    told: Any = stream.get_extra_info("server_addr") if stream is not None else None
    match told:
        case (str(address), int(port), *_):
            return {names.peer_address: address, names.peer_port: port}
        case _:
            return {}
