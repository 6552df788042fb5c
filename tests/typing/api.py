# pyright: reportUnnecessaryTypeIgnoreComment=true
"""The whole public API of the core, in use: checked by mypy and by pyright, never run.

Lines that a checker must refuse carry a `type: ignore`, which both understand, and which both refuse where it hides
nothing: mypy by `warn_unused_ignores`, pyright by the comment above. So a mistake that one of them no longer catches
shows here.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, assert_type

import httpx
import httpx2
import pybreaker

from resilient_foundry import (
    AdaptiveLimit,
    AttemptTimeout,
    Backoff,
    CallOptions,
    Chaos,
    CircuitBreaker,
    CircuitOpenError,
    ConcurrencyLimit,
    ConcurrencyLimitError,
    Cure,
    Deadline,
    DeadlineExceededError,
    Fallback,
    Hedge,
    Ledger,
    RateLimit,
    RateLimitError,
    Remedy,
    ResilienceError,
    Retry,
    RetryBudget,
    Stack,
    StackError,
    StreamGuard,
    Target,
    Tracing,
    wrap,
)
from resilient_foundry.events import Attempt, Event, Outcome
from resilient_foundry.faults import Judge, Verdict, judge_by_status
from resilient_foundry.flow import AttemptPolicy, Flow, Policy, Proceed, Request, Response, now, tell
from resilient_foundry.foundry import FoundryClient
from resilient_foundry.policies.circuit import CircuitSnapshot
from resilient_foundry.policies.redis import redis_storage
from resilient_foundry.testing import (
    Answer,
    Failure,
    History,
    VirtualTime,
    busy,
    events,
    failed,
    lost,
    ok,
    on,
    rehearse,
    run_on,
    scripted,
    unsent,
)
from tests.cures import Nothing


def judge(status: int, headers: Mapping[str, str], body: bytes) -> Verdict:
    return Verdict.CALLER if b"template" in body else judge_by_status(status, headers, body)


def settings() -> None:
    a_judge: Judge = judge
    Retry(attempts=4, backoff=Backoff(base=0.2, factor=3, cap=10), longest_wait=60, judge=a_judge)
    CircuitBreaker(
        failures=5,
        failure_rate=0.5,
        slow_seconds=10,
        slow_rate=0.8,
        window=60,
        minimum_calls=20,
        open_seconds=10,
        growth=1.5,
        longest_open=120,
        successes=2,
        probe="/status",
        probe_lease=30,
        watch_only=True,
        max_origins=100,
        judge=judge,
        storage=redis_storage("redis://127.0.0.1/0", namespace="mine"),
    )
    AttemptTimeout(connect=1, pool=None, write=5.0, read=60, idle=10, growth=2)
    ConcurrencyLimit(4)
    ConcurrencyLimit(4, queue=0, longest_wait=30, linger=60, linger_streams=True, max_origins=100)
    ConcurrencyLimit(AdaptiveLimit())
    ConcurrencyLimit(AdaptiveLimit(start=2, lowest=1, highest=16))
    Chaos(on=True, seed=1, error_rate=0.1, errors=("ConnectError",), status_rate=0.1, statuses=(503,), retry_after=1)
    Chaos(
        latency_rate=0.1, latency=(0.1, 2), stream_rate=0.1, stream_faults=("cut",), stream_after=9, stall=9
    ).switch.on()
    Chaos(when=lambda request: request.method == "GET")
    Hedge(0.5)
    Hedge(0.5, quantile=0.95, warm_up=10, most=3, budget=RetryBudget(), max_origins=100, judge=judge)
    Fallback("http://127.0.0.1:5274", Target(model="phi-4-mini"), judge=judge)
    Target("https://models.example/v2", model="m", headers={"Authorization": "Bearer x"}, trusted=True)
    cure: Cure = Nothing()
    Remedy(cure, times=2, pause=5.0)
    RateLimit()
    RateLimit(10, per=60, burst=5, longest_wait=30, longest_hold=60, max_origins=100)
    StreamGuard(done=None, first_event=30.0, progress=None, resume=True, max_event=4096, judge=judge)
    Tracing(name="billing", tracer_provider=None)
    Deadline(30)
    CallOptions(repeatable=True, retry=False, deadline=3, name="chat", kind="client", attributes={"a": 1, "b": "c"})
    assert_type(Backoff().wait(3, 0.5), float)


def by_status_alone(status: int) -> Verdict:
    return judge_by_status(status, {}, b"")


def wrong_settings() -> None:
    Retry(3)  # type: ignore[call-arg]
    Retry(attempts="3")  # type: ignore[arg-type]
    Retry(retries=3)  # type: ignore[call-arg]
    Hedge()  # type: ignore[call-arg]
    Fallback(3)  # type: ignore[arg-type]
    Target("http://127.0.0.1:5274", "m")  # type: ignore[call-arg]
    RateLimit(10, 60)  # type: ignore[call-arg]
    Deadline()  # type: ignore[call-arg]
    ConcurrencyLimit()  # type: ignore[call-arg]
    ConcurrencyLimit(4, 100)  # type: ignore[call-arg]
    AttemptTimeout(total=3)  # type: ignore[call-arg]
    CallOptions(repeatable="yes")  # type: ignore[arg-type]
    CircuitBreaker(judge=by_status_alone)  # type: ignore[arg-type]
    CircuitBreaker(probe=True)  # type: ignore[arg-type]


def frozen() -> None:
    Retry().attempts = 4  # type: ignore[misc]
    Deadline(3).seconds = 4  # type: ignore[misc]


def stacks() -> None:
    stack = Stack(Tracing(), Deadline(30), Retry(), CircuitBreaker(), AttemptTimeout(), StreamGuard())
    assert_type(stack, Stack)
    assert_type(Stack.standard(), Stack)
    assert_type(
        Stack.inference(attempts=3, read=60, idle=10, deadline=300, resume=True, judge=judge)
        + Stack.unchecked(Retry()),
        Stack,
    )
    assert_type(stack.policies, tuple[Policy, ...])
    assert_type(stack.lint(), list[str])
    assert_type(list(stack), list[Policy])
    nested: Policy = Stack(stack)
    tracing: AttemptPolicy = Tracing()
    del nested, tracing


def wrong_stacks() -> None:
    Stack(Retry)  # type: ignore[arg-type]
    Stack(3)  # type: ignore[arg-type]
    Stack([Retry()])  # type: ignore[arg-type]


def the_four_clients() -> None:
    stack = Stack.standard()
    sync, asynchronous = stack.over(httpx.HTTPTransport()), stack.over(httpx.AsyncHTTPTransport())
    assert_type(sync, httpx.BaseTransport)
    assert_type(asynchronous, httpx.AsyncBaseTransport)
    httpx.Client(transport=sync)
    httpx.AsyncClient(transport=asynchronous)
    sync2, asynchronous2 = stack.over(httpx2.HTTPTransport()), stack.over(httpx2.AsyncHTTPTransport())
    assert_type(sync2, httpx2.BaseTransport)
    assert_type(asynchronous2, httpx2.AsyncBaseTransport)
    httpx2.Client(transport=sync2)
    httpx2.AsyncClient(transport=asynchronous2)


def a_transport_of_both_colours_stays_one(answer: Callable[[httpx.Request], httpx.Response]) -> None:
    double = Stack().over(httpx.MockTransport(answer))
    httpx.Client(transport=double)
    httpx.AsyncClient(transport=double)
    httpx.Client(transport=scripted(ok()))


def a_stack_over_a_stack() -> None:
    httpx.Client(transport=Stack(Retry()).over(Stack(AttemptTimeout()).over(httpx.HTTPTransport())))


def the_wrong_colour() -> None:
    sync = Stack().over(httpx.HTTPTransport())
    asynchronous = Stack().over(httpx.AsyncHTTPTransport())
    httpx.AsyncClient(transport=sync)  # type: ignore[arg-type]
    httpx.Client(transport=asynchronous)  # type: ignore[arg-type]
    sync2 = Stack().over(httpx2.HTTPTransport())
    asynchronous2 = Stack().over(httpx2.AsyncHTTPTransport())
    httpx2.AsyncClient(transport=sync2)  # type: ignore[arg-type]
    httpx2.Client(transport=asynchronous2)  # type: ignore[arg-type]


def the_wrong_library() -> None:
    sync, asynchronous = Stack().over(httpx.HTTPTransport()), Stack().over(httpx.AsyncHTTPTransport())
    httpx2.Client(transport=sync)  # type: ignore[arg-type]
    httpx2.AsyncClient(transport=asynchronous)  # type: ignore[arg-type]
    sync2, asynchronous2 = Stack().over(httpx2.HTTPTransport()), Stack().over(httpx2.AsyncHTTPTransport())
    httpx.Client(transport=sync2)  # type: ignore[arg-type]
    httpx.AsyncClient(transport=asynchronous2)  # type: ignore[arg-type]


def no_transport_at_all() -> None:
    Stack().over(httpx.Client())  # type: ignore[call-overload]
    Stack().over("http://foundry.local")  # type: ignore[call-overload]


def clients_that_their_library_makes() -> None:
    stack = Stack.standard()
    assert_type(stack.client(httpx.Client, base_url="http://foundry.local", http2=True), httpx.Client)
    assert_type(stack.client(httpx.AsyncClient, timeout=None), httpx.AsyncClient)
    assert_type(stack.client(httpx2.Client, verify=False), httpx2.Client)
    assert_type(stack.client(httpx2.AsyncClient), httpx2.AsyncClient)
    assert_type(stack.client(Tenants, trust_env=False), Tenants)
    assert_type(wrap(httpx.Client(), stack), httpx.Client)
    assert_type(wrap(Tenants(), stack), Tenants)


class Tenants(httpx2.AsyncClient):
    """A client of somebody else."""


def what_makes_no_client_and_what_is_none() -> None:
    Stack().client(httpx.Client, base_uri="http://foundry.local")  # type: ignore[call-arg]
    Stack().client(httpx.HTTPTransport)  # type: ignore[type-var]
    wrap(httpx.HTTPTransport(), Stack())  # type: ignore[type-var]
    wrap("http://foundry.local", Stack())  # type: ignore[type-var]


def circuits(breaker: CircuitBreaker) -> None:
    circuit = breaker.circuit(httpx.URL("http://foundry.local:5273"))
    assert_type(circuit.state, str)
    circuit.force_open()
    circuit.force_closed()
    circuit.unforce()
    assert_type(circuit.snapshot(12.5), CircuitSnapshot)
    assert_type(circuit.snapshot(12.5).failure_rate, float | None)
    assert_type(circuit.breaker, pybreaker.CircuitBreaker)
    breaker.circuit(httpx2.URL("http://foundry.local:5273"))
    assert_type([one.name for one in breaker.circuits], list[str])
    breaker.circuit("http://foundry.local")
    storage = redis_storage("redis://127.0.0.1/0")
    CircuitBreaker(failures=None, storage=storage)
    storage.synchronise()


def limits(limit: ConcurrencyLimit) -> None:
    seen = limit.snapshot("http://foundry.local:5273", now=3.0)
    assert_type(seen.limit, int)
    assert_type((seen.in_use, seen.waiting, seen.lingering), tuple[int, int, int])
    limit.snapshot(httpx.URL("http://foundry.local:5273"))
    httpx.Limits(**limit.pool())
    httpx2.Limits(**limit.pool(origins=2, server_idle=60))
    CallOptions(priority=1)


def errors(call: Callable[[], httpx.Response]) -> None:
    try:
        call()
    except CircuitOpenError as refused:
        assert_type(refused.circuit, str)
        assert_type(refused.retry_after, float | None)
    except ConcurrencyLimitError as crowded:
        assert_type((crowded.limiter, crowded.why), tuple[str, str])
        assert_type((crowded.limit, crowded.in_use, crowded.waiting), tuple[int, int, int])
        assert_type(crowded.waited, float)
    except RateLimitError as early:
        assert_type((early.origin, early.retry_after), tuple[str, float])
    except DeadlineExceededError as late:
        assert_type(late.seconds, float)
    except ResilienceError as error:
        ledger: Ledger = error.resilience
        del ledger
    except StackError as wrong:
        value: ValueError = wrong
        del value


def ledgers(ledger: Ledger) -> None:
    assert_type(ledger.attempts, list[Attempt])
    assert_type(ledger.attempts[0].outcome, Outcome | None)
    assert_type(ledger.events, list[tuple[float, Event]])
    assert_type(ledger.waits, list[float])
    assert_type(ledger.explain(), str)


class Stopwatch:
    """A policy of somebody else."""

    seconds = 0.0

    def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
        started = yield from now()
        assert_type(started, float)
        response = yield from proceed(request)
        assert_type(response.status_code, int)
        self.seconds = (yield from now()) - started
        return response


class Backwards:
    """Not a policy: it gives no response."""

    def flow(self, request: Request, proceed: Proceed) -> Iterator[str]:
        del proceed
        yield request.method


def policies_of_ones_own(event: Event) -> None:
    Stack(Retry(), Stopwatch())
    Stack(Backwards())  # type: ignore[arg-type]
    assert_type(tell(event), Flow[None])


def rehearsals(heard: list[Event]) -> None:
    clock = VirtualTime()
    history = rehearse(
        Retry(),
        busy(retry_after=7),
        busy(retry_after="soon", status=429),
        failed(502, b"bad", after=1),
        events("a", "[DONE]", breaks="ReadError", pause=1),
        unsent(after=1),
        lost(),
        Answer(status=200, headers={"a": "b"}, chunks=(b"c",), after=1, pause=1, breaks=None),
        Failure(error="PoolTimeout", after=1),
        ok(b"content", after=1),
        method="POST",
        url="http://foundry.local",
        content=b"{}",
        options=CallOptions(),
        timeout={"read": 1.0, "connect": None},
        draw=lambda: 0.5,
        clock=clock,
        listener=heard.append,
        read=False,
    )
    assert_type(history, History)
    assert_type(history.response, httpx.Response | None)
    assert_type(history.error, BaseException | None)
    assert_type(history.content, bytes)
    assert_type(history.ledger, Ledger)
    assert_type(history.waits, list[float])
    assert_type(history.events, list[Event])
    assert_type(history.sent, int)
    assert_type(history.status, int | None)
    assert_type(history.elapsed, float)
    assert_type(clock(), float)
    transport: Any = scripted(ok(), module=httpx2, clock=clock)
    rehearse(Retry(), "ok")  # type: ignore[arg-type]
    with on(clock, draw=lambda: 0.5) as same, FoundryClient("http://foundry.local", transport=transport) as foundry:
        assert_type(same, VirtualTime)
        foundry.health_check()


def loops_on_a_virtual_clock() -> None:
    async def double(number: int) -> int:
        return 2 * number

    assert_type(run_on(VirtualTime(), double, 2, backend="trio", draw=lambda: 0.5), int)
    run_on(VirtualTime(), double, "two")  # type: ignore[arg-type]
