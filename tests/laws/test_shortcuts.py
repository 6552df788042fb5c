"""A call to which nothing happens is not asked question by question; whatever happens, nobody sees a difference."""

from collections.abc import Callable
from typing import Any, Literal

import httpx
import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from resilient_foundry import (
    AttemptTimeout,
    CircuitBreaker,
    ConcurrencyLimit,
    Deadline,
    Retry,
    RetryBudget,
    Stack,
    StreamGuard,
    Tracing,
)
from resilient_foundry.faults import Verdict
from resilient_foundry.flow import Policy
from resilient_foundry.testing import Said, VirtualTime, busy, ok, rehearse, run_on, scripted
from tests.laws.worlds import CALLS, WORLD, Call

URL = "http://foundry.local:5273/v1/models"
SCRIPTS = st.lists(WORLD, min_size=4, max_size=4)


def strict(status: int, headers: object, body: bytes) -> Verdict:
    """A judge that looks into good answers, too."""
    del headers
    return Verdict.SERVER if status >= 500 or body == b"failed" else Verdict.GOOD


Make = Callable[[], Policy]


def made_of(makers: tuple[Make | None, ...], tracing: Tracing | None) -> Stack:
    """A stack that remembers nothing yet."""
    return Stack.unchecked(*([] if tracing is None else [tracing]), *(make() for make in makers if make is not None))


STACKS: st.SearchStrategy[tuple[Make | None, ...]] = st.tuples(
    st.sampled_from([None, lambda: Deadline(30.0), lambda: Deadline(5.0, body=False)]),
    st.sampled_from([None, Retry, lambda: Retry(attempts=2, budget=RetryBudget())]),
    st.sampled_from(
        [
            None,
            lambda: CircuitBreaker(failures=2),
            lambda: CircuitBreaker(failures=None, failure_rate=0.5, minimum_calls=2),
            lambda: CircuitBreaker(failures=1, slow_seconds=4.0, minimum_calls=1),
            lambda: CircuitBreaker(failures=2, judge=strict),
        ]
    ),
    st.sampled_from([None, lambda: ConcurrencyLimit(1, queue=0)]),
    st.sampled_from([None, AttemptTimeout, lambda: AttemptTimeout(read=4.0, idle=20.0, growth=2.0)]),
    st.sampled_from([None, StreamGuard, lambda: StreamGuard(first_event=3.0, progress=2.0)]),
)
"""Any of the policies that know a shortcut, in order, as they are made."""


class Observed:
    """What OpenTelemetry was told."""

    def __init__(self) -> None:
        self._spans, self._metrics = InMemorySpanExporter(), InMemoryMetricReader()
        tracers = TracerProvider()
        tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self.tracing = Tracing(tracer_provider=tracers, meter_provider=MeterProvider([self._metrics]), calls="always")

    def told(self) -> object:
        spans = sorted(
            (
                span.name,
                span.start_time,
                span.end_time,
                span.parent is None,
                span.status.status_code,
                sorted((span.attributes or {}).items(), key=str),
                [(event.name, event.timestamp, dict(event.attributes or {})) for event in span.events],
            )
            for span in self._spans.get_finished_spans()
        )
        data = self._metrics.get_metrics_data()
        measured = [
            (
                metric.name,
                sorted(
                    (sorted((point.attributes or {}).items()), _figures(point)) for point in metric.data.data_points
                ),
            )
            for resource in (data.resource_metrics if data is not None else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        ]
        return spans, sorted(measured)


def _figures(point: Any) -> list[float]:  # of a histogram, or a number
    return [point.count, point.sum] if hasattr(point, "sum") else [point.value]


def state_of(stack: Stack) -> list[object]:
    """What the policies remember."""
    states: list[object] = []
    for policy in stack:
        if isinstance(policy, CircuitBreaker):
            states.append(policy.circuit(URL).snapshot(1e6))
        elif isinstance(policy, ConcurrencyLimit):
            states.append(policy.snapshot(URL))
        elif isinstance(policy, Retry) and policy.budget is not None:
            states.append(policy.budget.left("http://foundry.local:5273", 0.0))
    return states


def lived(
    makers: tuple[Make | None, ...], calls: list[tuple[Call, list[Said], bool]], *, traced: bool, shortcuts: bool
) -> object:
    """All that anybody sees of some calls, one after the other."""
    observed = Observed() if traced else None
    stack = made_of(makers, observed.tracing if observed is not None else None)
    assert stack.shortcut() is not None
    clock, seen = VirtualTime(), list[object]()
    for call, script, read in calls:
        history = rehearse(
            stack,
            *script,
            method=call.method,
            content=call.content(),
            options=call.options,
            clock=clock,
            read=read,
            shortcuts=shortcuts,
        )
        seen.append(
            (
                history.response.status_code if history.response is not None else None,
                type(history.error).__name__,
                str(history.error),
                history.content,
                history.ledger.attempts,
                history.ledger.events,
                history.elapsed,
                [dict(request.extensions["timeout"]) for request in history.script.requests],
                history.script.closed,
            )
        )
        clock.pass_(1.0)
    return seen, state_of(stack), observed.told() if observed is not None else None


@given(
    makers=STACKS,
    calls=st.lists(st.tuples(CALLS, SCRIPTS, st.booleans()), min_size=1, max_size=3),
    traced=st.booleans(),
)
@settings(max_examples=400)
def test_with_a_shortcut_or_without_the_same_happens(
    makers: tuple[Make | None, ...], calls: list[tuple[Call, list[Said], bool]], traced: bool
) -> None:
    """Answers, errors, ledgers, limits, times, what circuits and limits remember, spans and metrics."""
    assert lived(makers, calls, traced=traced, shortcuts=True) == lived(makers, calls, traced=traced, shortcuts=False)


async def asked(library: Any, makers: tuple[Make | None, ...], script: list[Said], clock: VirtualTime) -> object:
    stack = made_of(makers, None)
    wire = scripted(*script, module=library, clock=clock)
    seen: list[object] = []
    async with library.AsyncClient(transport=stack.over(wire)) as client:
        for _ in range(2):
            try:
                response = await client.get(URL)
            except Exception as error:  # noqa: BLE001 - what callers meet is compared
                ledger: Any = getattr(error, "resilience", None)
                seen.append((type(error).__name__, str(error), ledger and ledger.events))
            else:
                ledger = response.extensions["resilience"]
                seen.append((response.status_code, response.content, ledger.attempts, ledger.events))
    return seen, clock.now, state_of(stack)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
@given(makers=STACKS, script=st.lists(WORLD, min_size=8, max_size=8))
@settings(max_examples=60)
def test_where_code_awaits_too(
    library: Any, backend: Literal["asyncio", "trio"], makers: tuple[Make | None, ...], script: list[Said]
) -> None:
    """Deadlines are kept by another means there: one timer for all calls of a loop."""
    clocks = VirtualTime(), VirtualTime()
    with_them, without = (
        run_on(clock, asked, library, makers, script, clock, backend=backend, shortcuts=shortcuts)
        for clock, shortcuts in zip(clocks, (True, False), strict=True)
    )
    assert with_them == without


def test_a_good_answer_takes_it_and_any_other_does_not() -> None:
    """So the laws above compare two ways, and not one with itself."""
    told: list[str] = []

    class Spying(Retry):
        def flow(self, request: Any, proceed: Any) -> Any:
            told.append("asked")
            return super().flow(request, proceed)

    stack = Stack(Deadline(30.0), Spying(), CircuitBreaker(), ConcurrencyLimit(1), AttemptTimeout(), StreamGuard())
    rehearse(stack, ok())
    assert told == []
    rehearse(stack, busy(), ok())
    rehearse(stack, ok(), shortcuts=False)
    assert told == ["asked"] * 2
