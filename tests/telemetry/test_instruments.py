"""Every row of the table of metrics, as a reader of the SDK gets it."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from resilient_foundry import (
    Backoff,
    CircuitBreaker,
    ConcurrencyLimit,
    Deadline,
    Hedge,
    Retry,
    RetryBudget,
    Stack,
    Tracing,
)
from resilient_foundry.flow import Policy
from resilient_foundry.testing import Said, VirtualTime, busy, failed, lost, ok, rehearse

PIPELINE = ("resilient_foundry.pipeline", "shop")
URL = "http://user:word@foundry.local:5273/v1/models?key=secret"


class Measured:
    """A program that is measured."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)
        self.spans = InMemorySpanExporter()
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        self.tracing = Tracing(name="shop", tracer_provider=self.tracers, meter_provider=self.meters)

    def rehearse(self, *policies: Policy, said: list[Said], **how: Any) -> None:
        rehearse(Stack.unchecked(self.tracing, *policies), *said, url=URL, **how)

    def points(self, name: str) -> list[Any]:
        """The data points of a metric."""
        data = self.reader.get_metrics_data()
        assert data is not None
        return [
            point
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]

    def row(self, name: str) -> dict[tuple[tuple[str, Any], ...], Any]:
        """Attributes to value, of a histogram its sum."""
        return {
            tuple(sorted(point.attributes.items())): getattr(point, "sum", getattr(point, "value", None))
            for point in self.points(name)
        }


@pytest.fixture
def measured() -> Measured:
    return Measured()


def attributes(**more: Any) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted({**dict([PIPELINE]), **more}.items()))


def test_each_attempt_is_one_duration_also_where_nobody_answered(measured: Measured) -> None:
    """As long as its span; without URL, and without what a caller could make up any number of."""
    measured.rehearse(Retry(backoff=Backoff(base=0.0)), said=[lost(), failed(502), ok(after=2)])
    points = measured.points("http.client.request.duration")
    about = {"http.request.method": "GET", "server.address": "foundry.local", "server.port": 5273}
    seen = {(point.attributes.get("error.type"), point.attributes.get("http.response.status_code")) for point in points}
    assert seen == {("httpx.ReadError", None), ("502", 502), (None, 200)}
    assert all(point.count == 1 and about.items() <= point.attributes.items() for point in points)
    long = {span.end_time - span.start_time for span in measured.spans.get_finished_spans() if span.name == "GET"}  # type: ignore[operator]  # they have ended
    assert {round(point.sum * 1e9) for point in points} == long == {0, 2_000_000_000}


def test_a_call_is_one_duration_with_its_waits_and_a_count_of_attempts(measured: Measured) -> None:
    measured.rehearse(Retry(), said=[busy(retry_after=3), ok(after=1)])
    recovered = attributes(**{"resilient_foundry.outcome": "recovered"})
    assert measured.row("resilient_foundry.client.call.duration") == {recovered: 4.0}
    assert measured.row("resilient_foundry.client.call.attempts") == {recovered: 2}


def test_a_call_that_failed_says_by_what(measured: Measured) -> None:
    measured.rehearse(Retry(attempts=1), said=[failed(500)])
    told = {"resilient_foundry.outcome": "failed", "error.type": "500"}
    assert measured.row("resilient_foundry.client.call.duration") == {attributes(**told): 0.0}


def test_waits_are_told_with_their_reason_and_on_whose_word(measured: Measured) -> None:
    measured.rehearse(Retry(attempts=2), said=[busy(retry_after=3), ok()])
    waited = attributes(reason="503", source="retry_after")
    assert measured.row("resilient_foundry.client.retry.delay") == {waited: 3.0}


def test_refusals_are_counted_by_who_refused(measured: Measured) -> None:
    breaker, clock = CircuitBreaker(failures=1, open_seconds=60), VirtualTime()
    for said in ([failed()], []):
        measured.rehearse(breaker, said=list(said), clock=clock)
    empty = RetryBudget(share=0.01, floor=0.0)
    measured.rehearse(Retry(budget=empty), said=[failed(502)])
    rejected = measured.row("resilient_foundry.client.rejections")
    assert rejected == {attributes(by="breaker"): 1, attributes(by="budget"): 1}


def test_limits_that_passed_are_counted_by_their_kind(measured: Measured) -> None:
    measured.rehearse(Deadline(3), said=[ok(after=9)])
    kinds = {dict(about)["kind"] for about in measured.row("resilient_foundry.client.timeouts")}
    assert kinds == {"total", "first_byte"}


def test_circuits_are_counted_in_the_state_in_which_they_are(measured: Measured) -> None:
    breaker, clock, name = CircuitBreaker(failures=1, open_seconds=4), VirtualTime(), "http://foundry.local:5273"
    for said in ([failed()], [ok()]):
        measured.rehearse(breaker, said=list(said), clock=clock)
        clock.pass_(4)
    row = measured.row("resilient_foundry.circuit_breaker.state")
    states = {dict(about)["state"]: count for about, count in row.items()}
    assert states == {"open": 0, "half_open": 0, "closed": 1}
    changes = measured.row("resilient_foundry.circuit_breaker.transitions")
    assert {(dict(about)["from"], dict(about)["to"]): count for about, count in changes.items()} == {
        ("closed", "open"): 1,
        ("open", "half_open"): 1,
        ("half_open", "closed"): 1,
    }
    assert {dict(about)["name"] for about in changes} == {name}


def test_hedges_are_counted_by_whether_they_won(measured: Measured) -> None:
    measured.rehearse(Hedge(delay=1), said=[ok(after=9), ok(after=1)])
    told = measured.row("resilient_foundry.client.hedges")
    assert told == {attributes(result="started"): 1, attributes(result="won"): 1}


@pytest.mark.parametrize("name", ["http.client.request.duration", "resilient_foundry.client.call.duration"])
def test_a_measurement_leads_to_its_trace(measured: Measured, name: str) -> None:
    """By an exemplar, where the trace is sampled."""
    measured.rehearse(Retry(), said=[busy(retry_after=1), ok()])
    (call,) = [span for span in measured.spans.get_finished_spans() if span.parent is None]
    assert call.context is not None
    exemplars = [exemplar for point in measured.points(name) for exemplar in point.exemplars]
    assert {exemplar.trace_id for exemplar in exemplars} == {call.context.trace_id}


def test_nothing_secret_is_measured(measured: Measured) -> None:
    measured.rehearse(Retry(), ConcurrencyLimit(2), said=[busy(retry_after=1), lost(), ok()])
    data = measured.reader.get_metrics_data()
    assert data is not None
    for secret in ("secret", "word", "/v1/models"):
        assert secret not in data.to_json()


def test_metrics_are_measured_without_traces() -> None:
    """And a request then carries no trace."""
    reader = InMemoryMetricReader()
    tracing = Tracing(meter_provider=MeterProvider([reader], shutdown_on_exit=False))
    history = rehearse(Stack(tracing, Retry()), ok(), url=URL)
    assert "traceparent" not in history.script.requests[0].headers
    assert "http.client.request.duration" in str(reader.get_metrics_data())
