"""What becomes of one call, as it happens: its listener, which keeps spans and counts in step with the ledger."""

from __future__ import annotations

from opentelemetry.context import Context

from resilient_foundry.call import ASIDE, Shared, options_of
from resilient_foundry.events import (
    NEVER_CLOSED,
    Attempt,
    AttemptAnswered,
    AttemptEnded,
    AttemptStarted,
    BodyEnd,
    Event,
    Ledger,
    Outcome,
    Remedied,
    RetryScheduled,
    TimedOut,
)
from resilient_foundry.flow import Request, Response
from resilient_foundry.telemetry.describe import Values, described
from resilient_foundry.telemetry.log_events import LogEvents
from resilient_foundry.telemetry.provider import Provider
from resilient_foundry.telemetry.spans import (
    FAILURE,
    AttemptSpan,
    CallSpan,
    Timeline,
    class_of,
    is_refusal,
    open_attempt,
)

STREAM_ERROR, STREAM_TRUNCATED = "stream_error", "stream_truncated"
STREAM_FAILURES = {Outcome.IN_BAND_ERROR: STREAM_ERROR, Outcome.TRUNCATED: STREAM_TRUNCATED}
"""The `error.type` of streams that failed under a good status."""
_ATTEMPTS = (AttemptStarted, AttemptAnswered, AttemptEnded)
"""What the spans of attempts say better than events would."""


class Account:
    """One call through a stack. It listens to the ledger, and watches the body of the answer that the caller gets."""

    def __init__(
        self,
        provider: Provider,
        pipeline: str,
        ledger: Ledger,
        timeline: Timeline,
        call: CallSpan | None,
        *,
        owned: bool,
        logs: LogEvents | None = None,
        on_spans: bool = True,
    ) -> None:
        self.call = call
        """The span of the call; None where the attempt is all there is."""
        self.ledger = ledger
        self._provider = provider
        self._pipeline = pipeline
        self._timeline = timeline
        self._owned = owned
        self._logs = logs
        self._on_spans = on_spans
        self.measures_attempts = True
        self._open: dict[int, AttemptSpan] = {}
        self._last: AttemptSpan | None = None
        self._sent = 0
        self._repair: CallSpan | None = None
        """What is done about a failure, within the call."""
        self._status: int | None = None
        self._error_type: str | None = None
        self._closing: tuple[str, float] | None = None
        """How the call ended, and when, while one of its attempts is still to be judged."""

    @property
    def traces(self) -> bool:
        """Whether anybody takes spans."""
        return self._provider.traces

    @property
    def context(self) -> Context | None:
        """The context of the call, or of its only attempt."""
        of = self.call or self._last
        return of.context if of is not None else None

    def __call__(self, event: Event) -> None:
        """Something happened, just now."""
        at = self.ledger.events[-1][0] + self.ledger.started
        if isinstance(event, AttemptEnded):
            self._judged(event, at)
        elif not isinstance(event, _ATTEMPTS):
            self._tell(event, at)

    def open(self, request: Request, moment: float) -> AttemptSpan:
        """The span of the attempt that goes out now."""
        number = len(self.ledger.attempts) + 1
        aside: str | bool | None = request.extensions.get(ASIDE)
        under = self._repaired(aside, request, moment) if isinstance(aside, str) else self.call
        opened = open_attempt(self._provider, request, under, self._timeline, moment)
        opened.is_measured = opened.is_measured and self.measures_attempts
        self._open[number] = self._last = opened
        if not aside:
            self._sent += 1
        return opened

    def finished(self, response: Response, shared: Shared, moment: float) -> None:
        """The call has its answer; its body may still be to come."""
        self._status = response.status_code
        self._note_the_deadline(shared, moment)

    def failed(self, error: BaseException, shared: Shared, moment: float | None) -> None:
        """The call ends without an answer. Cancelling it is no error."""
        at = moment if moment is not None else self.latest()
        self._note_the_deadline(shared, at)
        if not isinstance(error, Exception):
            self._close("cancelled", at)
            return
        self._error_type = class_of(error)
        self._close("rejected" if is_refusal(error) and not self._sent else "failed", at)

    def chunk(self, data: bytes, at: float) -> None:
        """Nothing to do."""

    def ended(self, end: BodyEnd, at: float) -> BodyEnd:
        """The body of the answer ended, as every policy has judged it."""
        if end.outcome in STREAM_FAILURES:
            self._error_type = STREAM_FAILURES[end.outcome]
        elif end.outcome in {Outcome.BROKEN, Outcome.STALLED} and end.error is not None:
            self._error_type = class_of(end.error)
        elif self._status is not None and self._status >= FAILURE:
            self._error_type = str(self._status)
        if self._error_type is not None:
            outcome = "failed"
        elif end.outcome in {Outcome.ABANDONED, Outcome.CANCELLED}:
            outcome = end.outcome.value
        else:
            outcome = "recovered" if self._sent > 1 else "success"
        last = self._last
        if last is not None and (end.detail == NEVER_CLOSED or (self.call is not None and self.call.is_dropped)):
            at = last.heard_last(at)
        self._close(outcome, at)
        return end

    def latest(self) -> float:
        """The moment of what happened last."""
        events = self.ledger.events
        return self.ledger.started + (events[-1][0] if events else 0.0)

    def _judged(self, event: AttemptEnded, at: float) -> None:
        span = self._open.pop(event.number, None)
        if span is None:
            return
        self.judged(self.ledger.attempts[event.number - 1], at, span)

    def judged(self, attempt: Attempt, at: float, span: AttemptSpan | None = None) -> None:
        """Everybody has said what an attempt was."""
        span = span or self._open.pop(attempt.number)
        if self.call is None and attempt.outcome in STREAM_FAILURES:
            span.error_type = STREAM_FAILURES[attempt.outcome]  # nobody else is there to say so
        span.judged(attempt, at)
        if self._closing is not None and not self._open:
            self._close(*self._closing)

    def _repaired(self, name: str, request: Request, moment: float) -> CallSpan | None:
        """The span of what is done about a failure; its requests are those of nobody else."""
        call = self.call
        if call is not None and self._repair is None:
            span = self._provider.tracer.start_span(
                name,
                context=call.context,
                attributes=options_of(request).attributes,
                start_time=self._timeline.at(moment),
            )
            self._repair = CallSpan(span, self._provider.names, self._timeline, call.context)
        return self._repair

    def _end_the_repair(self, outcome: str, at: float) -> None:
        repair, self._repair = self._repair, None
        if repair is not None:
            if outcome == "failed":
                repair.fail((self._last.error_type if self._last is not None else None) or "_OTHER")
            repair.set({self._provider.names.outcome: outcome})
            repair.span.end(self._timeline.at(at))

    def _tell(self, event: Event, at: float) -> None:
        provider, moment = self._provider, self._timeline.at(at)
        if isinstance(event, RetryScheduled) and self.call is not None:
            self.call.waited += event.wait
        if isinstance(event, Remedied):
            self._end_the_repair("success" if event.worked else "failed", at)
        provider.instruments.happened(event, self._pipeline, self.context)
        told = described(event, provider.names)
        if told is None:
            return
        self._emit(event, *told, moment)
        if isinstance(event, TimedOut) and event.phase in {"idle", "progress"}:
            since = self._last.last_chunk if self._last is not None else None
            if since is not None:
                self._emit(event, provider.names.stream_stalled, {"gap": at - since}, moment)

    def _emit(self, event: Event, name: str, values: Values, moment: int) -> None:
        if self._logs is not None:
            self._logs.emit(event, name, values, moment, self.context)
        if not self._on_spans:
            return
        if self.call is not None:
            self.call.add(name, values, moment)
        elif self._last is not None and self._last.ended_ns is None and self._last.span.is_recording():
            self._last.span.add_event(name, values, moment)

    def _note_the_deadline(self, shared: Shared, moment: float) -> None:
        if self.call is not None and shared.limit is not None and self.call.span.is_recording():
            names = self._provider.names
            seconds, until = shared.limit
            self.call.set({names.deadline: seconds, names.deadline_remaining: max(0.0, until - moment)})

    def _close(self, outcome: str, at: float) -> None:
        """The call is over, once its attempts are."""
        if self._open:
            self._closing = outcome, at
            return
        self._end_the_repair(outcome, at)
        names, call = self._provider.names, self.call
        seconds = at - self.ledger.started
        if self._provider.measures:
            self._provider.instruments.call_ended(
                self._pipeline, outcome, self._error_type, seconds, self._sent, self.context
            )
        if call is None:
            return
        if not self._owned:
            call.failure = self._error_type
            return
        if self._error_type is not None:
            call.fail(self._error_type)
        call.set({names.outcome: outcome, names.pipeline: self._pipeline})
        call.end(self._timeline.at(at))
