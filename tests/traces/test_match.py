"""Trace contracts."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from resilient_foundry import CircuitBreaker, Retry, Stack, Tracing
from resilient_foundry.testing import (
    VirtualTime,
    attempt,
    busy,
    call,
    event,
    exactly,
    ok,
    rehearse,
    trace_matches,
    unsent,
    verify_trace,
    wait,
)
from resilient_foundry.traces.otlp import to_otlp_json
from resilient_foundry.traces.sdk import from_sdk
from resilient_foundry.traces.tree import Span, Trace
from tests.traces.spans import chat, finished, happened, told, told_to_an_sdk

REFUSED, LATER, GOOD = attempt("*ConnectError"), wait(by="backoff"), attempt(200)
ASKED = wait(at_least=1.0, by="retry_after")
WHOLE = call("chat *") > [REFUSED, LATER, attempt(503), ASKED, GOOD]


NONSENSE: list[Any] = [httpx.Response(200)]


def status() -> list[Span]:
    """A question that a client asks on its way."""
    about = {"http.request.method": "GET", "http.response.status_code": 200}
    return [
        told(number=9, under=1, name="foundry_local status", at=0.2, until=0.9),
        told(number=10, under=9, name="GET", kind="client", at=0.2, until=0.9, attributes=about),
    ]


def rehearsed() -> InMemorySpanExporter:
    """What our own stack tells the SDK of a call that was refused, put off, and answered."""
    provider, exporter = told_to_an_sdk()
    stack = Stack(Tracing(name="shop", tracer_provider=provider), Retry(attempts=3))
    rehearse(stack, unsent(), busy(retry_after=7), ok())
    return exporter


REHEARSED = call("resilience shop", failed=False) > [
    attempt("httpx.ConnectError", failed=True, number=1),
    wait(by="backoff"),
    attempt(503, outcome="retryable"),
    wait(at_least=7, at_most=7, by="retry_after", reason="503"),
    attempt(200, failed=False, resend_count=2),
]


def as_spans(exporter: InMemorySpanExporter) -> list[Span]:
    return from_sdk(finished(exporter))


def as_a_trace(exporter: InMemorySpanExporter) -> Trace:
    return Trace(as_spans(exporter))


def as_traces(exporter: InMemorySpanExporter) -> list[Trace]:
    return [as_a_trace(exporter)]


def as_text(exporter: InMemorySpanExporter) -> str:
    return to_otlp_json(as_spans(exporter))


def as_bytes(exporter: InMemorySpanExporter) -> bytes:
    return as_text(exporter).encode()


def as_it_is(exporter: InMemorySpanExporter) -> InMemorySpanExporter:
    return exporter


@pytest.mark.parametrize("seen", [as_it_is, finished, as_spans, as_a_trace, as_traces, as_text, as_bytes])
def test_the_same_expectation_is_put_to_every_source(seen: Callable[[InMemorySpanExporter], object]) -> None:
    """What is written for the exporter in memory holds for a file, and for what a Jaeger gives back."""
    source = seen(rehearsed())
    verify_trace(REHEARSED, source)
    assert not trace_matches(call("resilience shop") > [attempt(200)], source)


def test_what_is_expected_is_found_anywhere() -> None:
    """Somebody's own span may stand around a call, and other traces beside it."""
    around = told(number=7, name="GET /shop", kind="server", at=0, until=2000)
    inside = [*chat(under=7), around]
    verify_trace(WHOLE, inside)
    verify_trace(call("GET /shop") > [WHOLE], inside)
    verify_trace(WHOLE, [*from_sdk(finished(rehearsed())), *chat()])


@pytest.mark.parametrize(
    "expected",
    [
        WHOLE,
        call(),
        call("chat *", outcome="recovered", attempts=3, failed=False, hedge=None),
        call("*", {"gen_ai.usage.output_tokens": 12}, input_tokens=lambda count: count > 10),
        call("chat *") > [..., GOOD],
        call("chat *") > [REFUSED, ...],
        call("chat *") > [...],
        call("chat *") > ...,
        call("chat *") > [attempt(), wait(), attempt(lambda status: status >= 500), wait(at_most=1), attempt()],
        call("chat *") > [REFUSED, LATER, attempt(503), event("circuit_breaker.*", to="open"), wait(), GOOD],
        call("chat *") > [REFUSED, LATER, attempt(503), event("*", name="http://*"), wait(), GOOD],
        call("chat *") > [call("foundry_local status") > attempt(200), REFUSED, LATER, attempt(503), ASKED, GOOD],
        call("chat *")
        > exactly(call("foundry_local *"), REFUSED, LATER, attempt("503"), event("circuit*"), ASKED, GOOD),
        call("chat *") > exactly(..., GOOD),
        call("chat *") > [..., attempt(200, completed=True, chunks=12, time_to_first_event=lambda after: after < 1)],
        attempt(200),
        attempt(None, error_type="httpx.*", outcome="retryable"),
    ],
    ids=repr,
)
def test_is_as_expected(expected: Any) -> None:
    """What is not named may be there, as long as it is neither an attempt nor a wait."""
    verify_trace(expected, [*chat(), *status()])
    assert trace_matches(expected, [*chat(), *status()])


@pytest.mark.parametrize(
    ("expected", "said", "marked"),
    [
        (
            call("chat *") > [REFUSED, LATER, attempt(503), wait(at_least=2), GOOD],
            (
                "wait(at_least=2) was expected, and a wait of 1.00 s by retry_after is there: "
                "delay is 1.0, and at least 2 was expected"
            ),
            "waits 1.00 s, as the server asks: 503",
        ),
        (
            call("chat *") > [REFUSED, LATER, attempt(429), ...],
            (
                "attempt(429) was expected, and attempt 2 (503) is there: "
                "http.response.status_code is 503, and 429 was expected"
            ),
            "POST /v1/chat/completions  5 ms  503",
        ),
        (
            call("chat *") > [REFUSED, LATER, attempt(503), ASKED],
            "attempt 3 (200) is there, and was not expected",
            "POST /v1/chat/completions  393 ms  200",
        ),
        (
            call("chat *") > [REFUSED, attempt(503), ...],
            "attempt(503) was expected, and a wait of 100 ms by backoff is there",
            "waits 100 ms: httpx.ConnectError",
        ),
        (
            call("chat *") > [..., GOOD, GOOD],
            "attempt(200) was expected behind attempt 3 (200), and is not there",
            "POST /v1/chat/completions  393 ms  200",
        ),
        (
            call("chat *") > [..., event("circuit_breaker.state_change", to="closed"), ...],
            (
                "event('circuit_breaker.state_change', to='closed') was expected, and the event "
                "'circuit_breaker.state_change' is there: to is 'open', and 'closed' was expected"
            ),
            "circuit http://127.0.0.1:5273 is open (5 failures)",
        ),
        (
            call("chat *") > [call("foundry_local *") > [attempt(404)], ...],
            (
                "attempt(404) was expected, and attempt (200) is there: "
                "http.response.status_code is 200, and 404 was expected"
            ),
            "GET  700 us  200",
        ),
        (
            call("chat *") > exactly(REFUSED, ...),
            "attempt('*ConnectError') was expected, and the span 'foundry_local status' is there",
            "foundry_local status  700 us",
        ),
        (
            call("chat *", failed=True),
            (
                "call('chat *', failed=True) was expected, and the span 'chat phi-4-mini' is there: "
                "its status is unset, and error was expected"
            ),
            "chat phi-4-mini  1.50 s  recovered",
        ),
        (
            call("chat *", outcome=None),
            (
                "call('chat *', outcome=None) was expected, and the span 'chat phi-4-mini' is there: "
                "resilient_foundry.outcome is 'recovered', and it was not expected"
            ),
            "chat phi-4-mini  1.50 s  recovered",
        ),
        (call("embeddings"), "call('embeddings') was expected, and nothing like it is there", None),
    ],
    ids=repr,
)
def test_the_first_difference_is_said_and_marked_in_the_tree(expected: Any, said: str, marked: str | None) -> None:
    """Whoever reads a red test needs no debugger."""
    with pytest.raises(AssertionError) as raised:
        verify_trace(expected, [*chat(), *status()])
    told, expectation, *tree = str(raised.value).split("\n\n")
    assert told == said
    assert expectation == f"expected: {expected!r}"
    arrows = [re.sub(r"^--> [ │├└─]*", "", line) for line in "".join(tree).splitlines() if line.startswith("-->")]
    assert arrows == ([marked] if marked else [])
    assert not trace_matches(expected, [*chat(), *status()])


def test_a_call_that_was_refused_has_no_attempts() -> None:
    """Nothing under it but what is named, and an empty list names neither attempt nor wait."""
    provider, exporter = told_to_an_sdk()
    stack = Stack(Tracing(name="shop", tracer_provider=provider), Retry(attempts=1), CircuitBreaker(failures=1))
    clock = VirtualTime()
    rehearse(stack, unsent(), clock=clock)
    exporter.clear()
    rehearse(stack, clock=clock)
    verify_trace(call("resilience *", failed=True) > [event("circuit_breaker.rejected")], exporter)
    verify_trace(call("resilience *") > [], exporter)


def test_hedges_stand_in_the_order_in_which_they_began() -> None:
    """However they ended."""
    about = {"http.request.method": "POST", "http.response.status_code": 200}
    spans = [
        told(number=3, under=1, kind="client", at=5, until=8, attributes={**about, "resilient_foundry.hedge": True}),
        told(number=2, under=1, kind="client", at=1, until=9, attributes=about),
        told(number=1, name="chat m", at=0, until=9, events=(happened("hedge.started", 5, number=2, after=0.004),)),
    ]
    verify_trace(call("chat *") > exactly(attempt(hedge=None), event("hedge.started"), attempt(hedge=True)), spans)


def test_on_a_virtual_clock_much_happens_at_once_and_stays_in_order() -> None:
    """Attempts take no time there, and waits may take none."""
    about = {"http.request.method": "POST", "resilient_foundry.attempt.number": 1}
    waits = (
        happened("circuit_breaker.state_change", 1, to="open"),
        happened("retry.scheduled", 1, attempt=1, delay=0.0),
    )
    spans = [
        told(number=1, name="chat m", at=1, until=1, events=waits),
        told(number=2, under=1, kind="client", at=1, until=1, attributes=about),
        told(
            number=3, under=1, kind="client", at=1, until=1, attributes=about | {"resilient_foundry.attempt.number": 2}
        ),
    ]
    verify_trace(
        call("chat *") > exactly(attempt(number=1), event("circuit_breaker.*"), wait(at_most=0), attempt(number=2)),
        spans,
    )


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: bool(call()), "neither true nor false"),
        (lambda: call("a") > call("b") > [attempt()], "neither true nor false"),
        (lambda: (call("a") > [attempt()]) > [attempt()], "is said already"),
        (
            lambda: call() > [httpx.Response(200)],  # type: ignore[list-item]  # what is wrong is the point
            "under a span stand call, attempt, wait, event and ..., not <Response",
        ),
        (lambda: exactly(200), "under a span stand"),  # type: ignore[arg-type]  # what is wrong is the point
        (lambda: call(ouput_tokens=3), "no attribute is called ouput_tokens (is output_tokens meant?)"),
        (
            lambda: trace_matches(call(), 7),
            "traces are read from spans, an exporter in memory, OTLP JSON or a Trace, not",
        ),
        (lambda: trace_matches(call(), [7]), "a span of OpenTelemetry's SDK is wanted"),
    ],
)
def test_what_is_no_expectation_is_refused(wrong: Callable[[], object], said: str) -> None:
    """Above all a chain, of which Python would forget the beginning."""
    with pytest.raises(TypeError, match=re.escape(said)):
        wrong()


def test_no_spans_are_told_as_such() -> None:
    with pytest.raises(AssertionError, match="there are no spans"):
        verify_trace(call(), [])


def test_an_expectation_reads_as_it_was_written() -> None:
    written = (
        "call('chat *', failed=False) > [attempt(503, number=1), ..., wait(at_least=1.0, by='retry_after'), "
        "event('timeout', kind='idle')]"
    )
    expected = call("chat *", failed=False) > [
        attempt(503, number=1),
        ...,
        wait(at_least=1.0, by="retry_after"),
        event("timeout", kind="idle"),
    ]
    assert repr(expected) == written
