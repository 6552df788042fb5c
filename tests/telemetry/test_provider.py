"""Who takes spans and metrics: whoever was given, or is there when a call begins."""

from __future__ import annotations

from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.trace import NoOpTracerProvider

from resilient_foundry import CircuitBreaker, Stack, Tracing
from resilient_foundry.telemetry.names import STABLE
from resilient_foundry.telemetry.provider import Providers
from resilient_foundry.testing import VirtualTime, failed, ok, rehearse

URL = "http://foundry.local:5273/v1/models"


def meters() -> tuple[MeterProvider, InMemoryMetricReader]:
    reader = InMemoryMetricReader()
    return MeterProvider([reader], shutdown_on_exit=False), reader


def points(reader: InMemoryMetricReader, name: str) -> list[Any]:
    """The data points of a metric."""
    data = reader.get_metrics_data()
    assert data is not None
    return [
        point
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == name
        for point in metric.data.data_points
    ]


def test_stacks_that_share_a_circuit_count_it_in_one_state() -> None:
    """One of them sees it open, and another one sees it close again."""
    provider, reader = meters()
    breaker, clock = CircuitBreaker(failures=1, open_seconds=4), VirtualTime()
    for said in (failed(), ok()):
        rehearse(Stack.unchecked(Tracing(meter_provider=provider), breaker), said, url=URL, clock=clock)
        clock.pass_(4)
    states = {point.attributes["state"]: point.value for point in points(reader, STABLE.circuit_state)}
    assert states == {"open": 0, "half_open": 0, "closed": 1}


def test_policies_that_measure_in_different_places_share_nothing() -> None:
    (one, of_one), (other, of_other) = meters(), meters()
    for provider in (one, one, other):
        rehearse(Stack(Tracing(meter_provider=provider)), ok(), url=URL)
    assert [point.count for point in points(of_one, STABLE.request_duration)] == [2]
    assert [point.count for point in points(of_other, STABLE.request_duration)] == [1]


def test_who_comes_after_the_first_call_is_found_with_the_next() -> None:
    """A program may set up its SDK at any time."""
    providers, silent = Providers(), NoOpTracerProvider()
    (first, _), (second, _) = meters(), meters()
    found = [providers.find(silent, provider, lambda: STABLE) for provider in (first, first, second)]
    assert found[0] is not None
    assert found[0] is found[1]
    assert found[2] is not None
    assert found[2].instruments is not found[0].instruments
