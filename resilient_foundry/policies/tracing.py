"""Tracing: one span for the logical call, one for each attempt, and their metrics, by OpenTelemetry's conventions."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from contextvars import Token
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

from opentelemetry import metrics, propagate, trace
from opentelemetry.context import Context, attach
from opentelemetry.trace import SpanKind

from resilient_foundry._warnings import warn
from resilient_foundry.call import NO_SHORTCUT, Passage, options_of, passage_of, shared_of, with_extensions
from resilient_foundry.events import BodyEnd, Ledger, Outcome
from resilient_foundry.flow import Flow, Proceed, Request, Response, Watcher, history, listen, now, today, watch
from resilient_foundry.telemetry.account import Account
from resilient_foundry.telemetry.log_events import LogEvents, can_log_events, log_events
from resilient_foundry.telemetry.names import INFERENCE, PROFILES, STABLE, Names
from resilient_foundry.telemetry.others import hide_from_others, measures_as_we_do, stands_around
from resilient_foundry.telemetry.provider import NO_METRICS, NO_TRACES, OF_A_BLOCK, Provider, Providers
from resilient_foundry.telemetry.spans import CALL, PARENT, AttemptSpan, CallSpan, Timeline

if TYPE_CHECKING:  # its module has a private name, and may change
    from opentelemetry._logs import LoggerProvider

_KINDS = {"internal": SpanKind.INTERNAL, "client": SpanKind.CLIENT}
_OF_THIS_STACK: dict[str, Any] = {CALL: None, PARENT: None}
"""What a stack further in is not to take for its own."""
_CALLS = ("auto", "always", "named", "never")
_EVENTS = ("span", "log", "both")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracing:
    """Makes a span of each call, and under it one CLIENT span an attempt; nothing at all without an OpenTelemetry SDK.

    The call's span is named by `CallOptions.name`, or `resilience {name}`; waits, refusals, changes of a circuit and
    passed limits are its events. With `calls="auto"` a stack in which every call is one attempt makes none, since the
    span of the attempt says it all, but for calls that have a name; `"always"`, `"named"` and `"never"` decide
    otherwise. Attempts follow the stable HTTP conventions (OpenTelemetry semantic conventions 1.23 and later):
    `http.request.resend_count` from the second on, `error.type`, 4xx and 5xx are errors of the attempt. A failure that
    a later attempt made good does not mark the call. Spans end with the body of the answer, so a stream's covers the
    stream, with the time to its first event (seconds) where a `StreamGuard` looked. Cancelling a call is no error. The
    context is propagated with each attempt (`traceparent`). What OpenTelemetry's own instrumentation of httpx would
    make of an attempt is left out, so nothing counts twice.

    The metrics are those of the same conventions and our own, failures included; docs/tracing.md lists them.
    `conventions` is the profile of the names: `"1.41"`, or `"inference"` for those that the conventions of generative
    AI are moving to, which `OTEL_SEMCONV_STABILITY_OPT_IN=gen_ai_latest_experimental` chooses too.

    `events="log"` tells events by OpenTelemetry's log API instead, as records that have a name and the trace of their
    call, to the `logger_provider` or that of the process; `"both"` in both ways. OpenTelemetry is about to give up
    events of spans; but who looks at traces in Jaeger sees those and no logs.

    URLs go out without credentials, query and fragment; headers, bodies and error texts never do.
    """

    name: str = "http"
    tracer_provider: trace.TracerProvider | None = None
    meter_provider: metrics.MeterProvider | None = None
    calls: str = "auto"
    conventions: str | None = None
    events: str = "span"
    logger_provider: LoggerProvider | None = None
    providers: Providers = field(default_factory=Providers, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.calls not in _CALLS:
            raise ValueError(f"Tracing.calls is one of {', '.join(map(repr, _CALLS))}, not {self.calls!r}")
        if self.conventions is not None and self.conventions not in PROFILES:
            raise ValueError(
                f"Tracing.conventions is one of {', '.join(map(repr, PROFILES))}, not {self.conventions!r}"
            )
        if self.events not in _EVENTS:
            raise ValueError(f"Tracing.events is one of {', '.join(map(repr, _EVENTS))}, not {self.events!r}")
        if self.events != "span" and not can_log_events():
            raise ValueError(f"Tracing.events is {self.events!r}, which needs opentelemetry-api 1.38 or later")

    def placed(self, *, plain: bool) -> Self:
        """This policy as it stands in a stack in which every call is one attempt, or in another; see `flow.Placed`."""
        return replace(self, calls="named") if plain and self.calls == "auto" else self

    @property
    def names(self) -> Names:
        """The names in use."""
        if self.conventions is not None:
            return PROFILES[self.conventions]
        opted = os.environ.get("OTEL_SEMCONV_STABILITY_OPT_IN", "").split(",")
        return INFERENCE if "gen_ai_latest_experimental" in map(str.strip, opted) else STABLE

    def provider(self) -> Provider | None:
        """Who takes spans and metrics; None where nobody takes anything: then a call costs a look and no more."""
        if (  # written out, for it is asked twice with every call
            self.tracer_provider is None
            and self.meter_provider is None
            and self.events == "span"
            and isinstance(trace.get_tracer_provider(), NO_TRACES)
            and isinstance(metrics.get_meter_provider(), NO_METRICS)
            and OF_A_BLOCK.get() is None
        ):
            return None
        needed = self.logs() is not None
        return self.providers.find(self.tracer_provider, self.meter_provider, lambda: self.names, needed=needed)

    def logs(self) -> LogEvents | None:
        """Who takes events as log records; None where nobody does, or nobody is to."""
        return None if self.events == "span" else log_events(self.logger_provider)

    def take(self, call: Passage) -> object:
        """Nothing, where nobody takes spans; else the spans of the call and its attempt, which begin as it goes out."""
        provider = self.provider()
        if provider is None:
            return None
        extensions = call.request.extensions
        if self.events != "span" or extensions.get(CALL) or extensions.get(PARENT) or stands_around():
            return NO_SHORTCUT
        call.traced = traced = _Traced(self, provider, call)
        return traced

    def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
        """The span of the logical call."""
        passage = passage_of(request)
        if passage is not None and isinstance(passage.traced, _Traced):
            return (yield from self._followed(passage.traced.account, request, proceed))
        provider = self.provider()
        if provider is None:
            return (yield from proceed(request))
        ledger = yield from history()
        began = yield from now()
        given: CallSpan | None = request.extensions.get(CALL)
        parent: CallSpan | None = given or request.extensions.get(PARENT)
        timeline = parent.timeline if parent is not None else Timeline((yield from today()), began)
        call = given or self.call_span(request, provider, timeline, began, parent)
        account = Account(
            provider,
            self.name,
            ledger,
            timeline,
            call,
            owned=given is None,
            logs=self.logs(),
            on_spans=self.events != "log",
        )
        if stands_around():
            account.measures_attempts = not measures_as_we_do()
            self._warn_of_others()
        ledger.context = account.context
        yield from listen(account)
        return (yield from self._followed(account, request, proceed))

    def _followed(self, account: Account, request: Request, proceed: Proceed) -> Flow[Response]:
        shared = shared_of(request)
        try:
            response = yield from proceed(request)
        except Exception as error:
            account.failed(error, shared, (yield from now()))
            raise
        except BaseException as error:
            account.failed(error, shared, None)
            raise
        account.finished(response, shared, (yield from now()))
        yield from watch(response, account)
        return response

    def attempt(self, request: Request, proceed: Proceed) -> Flow[Response]:
        """The span of one attempt."""
        passage = passage_of(request)
        if passage is not None and isinstance(passage.traced, _Traced):
            return (yield from self._attempted(passage.traced.span, request, proceed))
        if self.provider() is None:
            return (yield from proceed(request))
        ledger = yield from history()
        account = _account_of(ledger)
        if account is None:
            return (yield from proceed(request))
        span = account.open(request, (yield from now()))
        ledger.context = account.context
        if account.traces:
            carrier: dict[str, str] = {}
            propagate.inject(carrier, context=span.context)
            request = with_extensions(request, {**request.extensions, **_OF_THIS_STACK}, carrier)
        return (yield from self._attempted(span, request, proceed))

    def _attempted(self, span: AttemptSpan, request: Request, proceed: Proceed) -> Flow[Response]:
        token = attach(hide_from_others(span.context))
        try:
            response = yield from proceed(request)
        except BaseException as error:
            span.failed(error)
            raise
        finally:
            _leave(token)
        span.answered(response)
        yield from watch(response, span)
        return response

    def _warn_of_others(self) -> None:
        if self.providers.may_warn():
            warn(
                "OpenTelemetry's instrumentation of httpx stands around this client's calls, and Tracing traces their "
                "attempts: each call has one span of HTTP too many; switch it on for the library (`instrument()`), or "
                "before the stack is put over the client"
            )

    def call_span(
        self, request: Request, provider: Provider, timeline: Timeline, began: float, parent: CallSpan | None
    ) -> CallSpan | None:
        """The span of a call that begins, if it is to have one."""
        options, names = options_of(request), provider.names
        if self.calls == "never" or (self.calls == "named" and options.name is None):
            return None
        context = parent.context if parent is not None else None
        attributes: dict[str, Any] = {**provider.server(request.url)[1], **options.attributes}
        span = provider.tracer.start_span(
            options.name or names.call.format(pipeline=self.name),
            context=context,
            kind=_KINDS[options.kind],
            attributes=attributes,
            start_time=timeline.at(began),
        )
        return CallSpan(span, names, timeline, context)


class _Traced:
    """The spans of a call that is on its shortcut."""

    account: Account
    span: AttemptSpan

    def __init__(self, policy: Tracing, provider: Provider, call: Passage) -> None:
        self.policy = policy
        self._provider = provider
        self._request = call.request
        self._shared = call.shared
        self._token: Token[Context] | None = None

    def open(self, ledger: Ledger, began: float, wall: float) -> Mapping[str, str]:
        """Begin them; gives the headers that propagate their context."""
        policy, provider, request = self.policy, self._provider, self._request
        timeline = Timeline(wall, began)
        call = policy.call_span(request, provider, timeline, began, None)
        self.account = account = Account(provider, policy.name, ledger, timeline, call, owned=True)
        ledger.listen(account)
        self.span = account.open(request, began)
        ledger.context = account.context
        carrier: dict[str, str] = {}
        if provider.traces:
            propagate.inject(carrier, context=self.span.context)
        return carrier

    def enter(self) -> None:
        """Have what is done from here on stand under the attempt's span."""
        self._token = attach(hide_from_others(self.span.context))

    def leave(self) -> None:
        """No longer."""
        if self._token is not None:
            _leave(self._token)

    def put_back(self) -> None:
        """Nothing was begun."""

    def completed(self, response: Response, ledger: Ledger, at: float) -> None:
        """All went well: the spans end."""
        account, attempt = self.account, ledger.attempts[0]
        ledger.forget(account)
        if not (
            self._provider.measures
            or self.span.span.is_recording()
            or (account.call and account.call.span.is_recording())
        ):
            return  # sampled out
        self.span.answered(response)
        self.span.ended(_COMPLETE, at)
        if ledger.is_unwritten:  # else the account has heard of its end
            account.judged(attempt, at)
        account.finished(response, self._shared, at)
        account.ended(_COMPLETE, at)

    def watcher(self, response: Response, ledger: Ledger) -> Watcher:
        """Those who would have watched the body."""
        del ledger
        self.span.answered(response)
        self.account.finished(response, self._shared, self.account.latest())
        return _Both(self.span, self.account)


class _Both:
    """Two watchers, the inner one first."""

    def __init__(self, inner: Watcher, outer: Watcher) -> None:
        self._inner = inner
        self._outer = outer

    def chunk(self, data: bytes, at: float) -> None:
        """To both."""
        self._inner.chunk(data, at)
        self._outer.chunk(data, at)

    def ended(self, end: BodyEnd, at: float) -> BodyEnd:
        """To both."""
        return self._outer.ended(self._inner.ended(end, at), at)


_COMPLETE = BodyEnd(Outcome.COMPLETE)


def _account_of(ledger: Ledger) -> Account | None:
    return next((listener for listener in ledger.listeners if isinstance(listener, Account)), None)


def _leave(token: Token[Context]) -> None:
    """Make the context the current one that was so before.

    OpenTelemetry's `detach` logs an error where a collector closes a flow of which nobody heard the end, as it does
    with tasks of an event loop that was closed under them: that happens in another context, in which there is nothing
    to be made good.
    """
    with contextlib.suppress(ValueError):
        token.var.reset(token)
