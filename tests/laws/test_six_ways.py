"""httpx and httpx2, sync, asyncio and trio: what a caller meets is the same."""

from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import anyio
import httpx
import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilient_foundry import (
    AttemptTimeout,
    Backoff,
    Chaos,
    CircuitBreaker,
    ConcurrencyLimit,
    Deadline,
    Fallback,
    Hedge,
    Ledger,
    RateLimit,
    Remedy,
    Retry,
    RetryBudget,
    Stack,
    StreamGuard,
)
from resilient_foundry.events import (
    AttemptAnswered,
    AttemptEnded,
    CallRejected,
    CircuitOpened,
    Event,
    HedgeStarted,
    Queued,
    Remedied,
)
from resilient_foundry.testing import Said, scripted
from tests.cures import Opening
from tests.laws.worlds import INSTANT_WORLD
from tests.over import over

URL = "http://foundry.local:5273/v1/models"
SCRIPTS = st.lists(INSTANT_WORLD, min_size=8, max_size=8)


AT_ONCE = Backoff(base=0, cap=0)


def common() -> Stack:
    """A new one, with a circuit that has seen nothing, and waits of no length."""
    return Stack.unchecked(
        Deadline(60),
        Retry(attempts=3, backoff=AT_ONCE),
        CircuitBreaker(failures=3),
        AttemptTimeout(read=20, idle=10, growth=2),
        StreamGuard(),
    )


def whole() -> Stack:
    """All that every colour can have, with chance that is the same for all."""
    return Stack.unchecked(
        Deadline(60),
        Fallback("http://second.local"),
        Retry(attempts=3, backoff=AT_ONCE, budget=RetryBudget()),
        Remedy(Opening()),
        RateLimit(longest_hold=1e-6),
        CircuitBreaker(failures=3, probe="/status"),
        ConcurrencyLimit(1),
        AttemptTimeout(read=20, idle=10, growth=2),
        StreamGuard(resume=True),
        Chaos(on=True, seed=7, error_rate=0.1, status_rate=0.1, stream_rate=0.2, stream_faults=("cut", "error")),
    )


def raced() -> Stack:
    """What asynchronous code alone can have; nobody is slow here, but one that fails is followed by another."""
    return Stack.unchecked(Retry(attempts=2, backoff=AT_ONCE), Hedge(60.0), CircuitBreaker(failures=5), StreamGuard())


@dataclass(frozen=True)
class Call:
    """What is sent, and how much of the answer is read: all of it, or its first chunk."""

    method: str
    body: bytes
    headers: tuple[tuple[str, str], ...]
    whole: bool


CALLS = st.builds(
    Call,
    method=st.sampled_from(["GET", "POST", "PUT", "HEAD"]),
    body=st.sampled_from([b"", b"asked"]),
    headers=st.sampled_from([(), (("idempotency-key", "k"),)]),
    whole=st.booleans(),
)


def words_of(event: Event) -> Any:
    """An event without the times in it, which differ from run to run."""
    match event:
        case AttemptAnswered():
            return "answered", event.number, event.status
        case AttemptEnded():
            return "ended", event.number, event.status, event.outcome, event.bytes, event.detail
        case Remedied():
            return "remedied", event.detail, event.worked
        case HedgeStarted():
            return "hedged", event.number
        case CircuitOpened() | CallRejected():
            return type(event).__name__, event.circuit
        case _:
            return event


def transcript(status: int | None, chunks: list[bytes], error: Exception | None, ledger: Ledger) -> list[Any]:
    """Everything that a caller can see of a call, but for its times and for the library's own classes."""
    return [
        status,
        b"".join(chunks),
        None if error is None else [kind.__name__ for kind in type(error).__mro__],
        str(error).partition("; next probe")[0],
        [note.partition(",")[0] for note in getattr(error, "__notes__", ())],
        [
            (at.number, at.status, at.outcome, at.verdict, at.error, at.bytes, at.chunks, at.detail)
            for at in ledger.attempts
        ],
        [words_of(event) for _, event in ledger.events if not isinstance(event, Queued)],  # for a microsecond, or none
    ]


def sync_way(module: ModuleType, stack: Stack, calls: list[Call], script: list[Said]) -> list[Any]:
    transport = scripted(*script * 8, module=module)
    told: list[Any] = []
    with module.Client(transport=over(stack, transport), timeout=None) as client:
        for call in calls:
            status, chunks, problem, ledger = None, list[bytes](), None, None
            try:
                with client.stream(call.method, URL, content=call.body, headers=dict(call.headers)) as response:
                    status, ledger = response.status_code, response.extensions["resilience"]
                    for chunk in response.stream:
                        chunks.append(chunk)
                        if not call.whole:
                            break
            except module.HTTPError as error:
                problem, ledger = error, error.resilience
            told.append(transcript(status, chunks, problem, ledger))
    return [told, transport.script.bodies, transport.script.closed, len(transport.script.requests)]


async def async_way(module: ModuleType, stack: Stack, calls: list[Call], script: list[Said]) -> list[Any]:
    transport = scripted(*script * 8, module=module)
    told: list[Any] = []
    async with module.AsyncClient(transport=over(stack, transport), timeout=None) as client:
        for call in calls:
            status, chunks, problem, ledger = None, list[bytes](), None, None
            try:
                async with client.stream(call.method, URL, content=call.body, headers=dict(call.headers)) as response:
                    status, ledger = response.status_code, response.extensions["resilience"]
                    async with aclosing(
                        aiter(response.stream)
                    ) as raw:  # httpx's own generators are left to the collector
                        async for chunk in raw:
                            chunks.append(chunk)
                            if not call.whole:
                                break
            except module.HTTPError as error:
                problem, ledger = error, error.resilience
            told.append(transcript(status, chunks, problem, ledger))
    return [told, transport.script.bodies, transport.script.closed, len(transport.script.requests)]


@pytest.mark.parametrize("stack", [common, whole])
@given(calls=st.lists(CALLS, min_size=1, max_size=2), script=SCRIPTS)
@settings(max_examples=120)
def test_the_six_ways_agree(stack: Callable[[], Stack], calls: list[Call], script: list[Said]) -> None:
    """One rule is written once, so it can't differ; this law watches the drivers and the binder."""
    expected = sync_way(httpx, stack(), calls, script)
    assert sync_way(httpx2, stack(), calls, script) == expected
    for module in (httpx, httpx2):
        for backend in ("asyncio", "trio"):
            assert anyio.run(async_way, module, stack(), calls, script, backend=backend) == expected


@given(calls=st.lists(CALLS, min_size=1, max_size=2), script=SCRIPTS)
@settings(max_examples=60)
def test_the_four_asynchronous_ways_agree_on_races(calls: list[Call], script: list[Said]) -> None:
    expected, *others = [
        anyio.run(async_way, module, raced(), calls, script, backend=backend)
        for module in (httpx, httpx2)
        for backend in ("asyncio", "trio")
    ]
    assert others == [expected] * 3
