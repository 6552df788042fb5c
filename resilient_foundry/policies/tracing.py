"""Tracing: one span for the logical call, one for each attempt, and their metrics, by OpenTelemetry's conventions."""

from __future__ import annotations

import contextlib
import os
from contextvars import Token
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

from opentelemetry import metrics, propagate, trace
from opentelemetry.context import Context, attach
from opentelemetry.trace import SpanKind

from resilient_foundry._warnings import warn
from resilient_foundry.call import derive, options_of, shared_of
from resilient_foundry.events import Ledger
from resilient_foundry.flow import Flow, Proceed, Request, Response, history, listen, now, today, watch
from resilient_foundry.telemetry.account import Account
from resilient_foundry.telemetry.log_events import LogEvents, can_log_events, log_events
from resilient_foundry.telemetry.names import INFERENCE, PROFILES, STABLE, Names
from resilient_foundry.telemetry.others import hide_from_others, measures_as_we_do, stands_around
from resilient_foundry.telemetry.provider import NO_METRICS, NO_TRACES, OF_A_BLOCK, Provider, Providers
from resilient_foundry.telemetry.spans import CALL, PARENT, CallSpan, Timeline, server_of

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
        return self.providers.find(self.tracer_provider, self.meter_provider, self.names, needed=needed)

    def logs(self) -> LogEvents | None:
        """Who takes events as log records; None where nobody does, or nobody is to."""
        return None if self.events == "span" else log_events(self.logger_provider)

    def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
        """The span of the logical call."""
        provider = self.provider()
        if provider is None:
            return (yield from proceed(request))
        ledger = yield from history()
        began = yield from now()
        given: CallSpan | None = request.extensions.get(CALL)
        parent: CallSpan | None = given or request.extensions.get(PARENT)
        timeline = parent.timeline if parent is not None else Timeline((yield from today()), began)
        call = given or self._open(request, provider, timeline, began, parent)
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
            request = derive(request, headers=carrier, extensions=_OF_THIS_STACK)
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

    def _open(
        self, request: Request, provider: Provider, timeline: Timeline, began: float, parent: CallSpan | None
    ) -> CallSpan | None:
        options, names = options_of(request), provider.names
        if self.calls == "never" or (self.calls == "named" and options.name is None):
            return None
        context = parent.context if parent is not None else None
        attributes: dict[str, Any] = {**server_of(request.url, names), **options.attributes}
        span = provider.tracer.start_span(
            options.name or names.call.format(pipeline=self.name),
            context=context,
            kind=_KINDS[options.kind],
            attributes=attributes,
            start_time=timeline.at(began),
        )
        return CallSpan(span, names, timeline, context)


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
