"""A call that is cancelled at its first, second, third ... await leaves nothing open, wherever it stood.

The transport underneath is scripted and awaits often; the same call is made again and again, cancelled one await later
each time, until one comes through.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Mapping
from dataclasses import dataclass, field
from types import coroutine
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import trio
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider

from resilient_foundry import (
    AdaptiveLimit,
    AttemptTimeout,
    Backoff,
    Chaos,
    CircuitBreaker,
    ConcurrencyLimit,
    Deadline,
    Fallback,
    Hedge,
    RateLimit,
    Remedy,
    Retry,
    RetryBudget,
    Stack,
    StreamGuard,
    Tracing,
)
from resilient_foundry.origin import origin
from resilient_foundry.testing import no_leaks
from tests.cures import Opening
from tests.ways import LIBRARIES, over

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("ignore:Hedge cancels:RuntimeWarning")]

URL = "http://foundry.local/v1/chat/completions"
Said = tuple[int, str, tuple[bytes, ...], str | None]
"""Status, content type, chunks, and the error that ends the body."""


@dataclass
class Wire:
    """What became of the answers of a scripted transport."""

    opened: int = 0
    closed: Counter[int] = field(default_factory=Counter[int])


Turn = Callable[[], Awaitable[None]]


def awaiting(
    library: Any,
    wire: Wire,
    *answers: Said,
    turn: Turn = anyio.lowlevel.checkpoint,
    aside: Mapping[str, Said] | None = None,
) -> Any:
    """A transport of the library that awaits before, between and after everything; `aside` are the paths known to it.

    Everything else gets the answers in their order.
    """
    remaining = list(answers)
    known = aside or {}

    class Body(library.AsyncByteStream):  # type: ignore[misc]  # a class of a library that is a parameter
        def __init__(self, number: int, chunks: tuple[bytes, ...], breaks: str | None) -> None:
            self.number, self.chunks, self.breaks = number, chunks, breaks

        async def __aiter__(self) -> AsyncIterator[bytes]:
            for chunk in self.chunks:
                await turn()
                yield chunk
            await turn()
            if self.breaks:
                raise getattr(library, self.breaks)("scripted")

        async def aclose(self) -> None:
            wire.closed[self.number] += 1
            await turn()

    class Transport(library.AsyncBaseTransport):  # type: ignore[misc]  # as above
        async def handle_async_request(self, request: Any) -> Any:
            await turn()
            said = known.get(request.url.path)
            status, content_type, chunks, breaks = remaining.pop(0) if said is None else said
            if status == 0:
                raise library.ReadError("scripted")
            wire.opened += 1
            body = Body(wire.opened, chunks, breaks)
            return library.Response(status, headers={"content-type": content_type}, stream=body)

    return Transport()


@coroutine
def cancelling(awaitable: Any, scope: anyio.CancelScope, at: int, passed: list[int]) -> Generator[Any, Any, Any]:
    """Drive a coroutine, count its awaits, and cancel the scope when it has come to this one."""
    stepped = awaitable.__await__()
    answer: Any = None
    problem: BaseException | None = None
    try:
        while True:
            asked = stepped.send(answer) if problem is None else stepped.throw(problem)
            passed[0] += 1
            if passed[0] == at:
                scope.cancel()
            answer, problem = None, None
            try:
                answer = yield asked
            except BaseException as raised:  # noqa: BLE001 - handed on to the coroutine
                problem = raised
    except StopIteration as end:
        return end.value


def event(content: str) -> bytes:
    """One piece of a chat."""
    return f'data: {{"choices":[{{"delta":{{"content":"{content}"}}}}]}}\n\n'.encode()


EVENTS = "text/event-stream"
DONE = b"data: [DONE]\n\n"
HISTORIES: dict[str, tuple[tuple[Said, ...], bytes | str]] = {
    "busy, busy, good": (
        ((503, "text/plain", (b"busy", b"indeed"), None),) * 2 + ((200, "text/plain", (b"he", b"re"), None),),
        b"here",
    ),
    "stream that breaks unseen, then one": (
        (
            (200, EVENTS, (b": hello\n\n",), "ReadError"),
            (200, EVENTS, (event("one"), event("two"), b"data: [DONE]\n\n"), None),
        ),
        event("one") + event("two") + b"data: [DONE]\n\n",
    ),
    "error in a stream, lost answer, plain answer": (
        (
            (200, EVENTS, (b'data: {"error": {"type": "server_error"}}\n\n',), None),
            (0, "", (), None),
            (200, "text/plain", (b"here",), None),
        ),
        b"here",
    ),
    "stream that breaks in mid-sentence": (
        ((200, EVENTS, (event("one"),), "ReadError"),),
        "ReadError",
    ),
    "body that breaks": (
        ((200, "text/plain", (b"one", b"two"), "RemoteProtocolError"),),
        "RemoteProtocolError",
    ),
}

AT_ONCE = Backoff(base=0.0)
BUSY = (503, "text/plain", (b"busy", b"indeed"), None)
HERE = (200, "text/plain", (b"he", b"re"), None)
LOCKED = (423, "text/plain", (b"locked",), None)
CUT = (200, EVENTS, (event("one"),), "ReadError")
WHOLE = (200, EVENTS, (event("one"), event("two"), DONE), None)
TOLD = event("one") + event("two") + DONE
ASIDE: dict[str, Said] = {
    "/status": (200, "text/plain", (b"works",), None),
    "/open": (200, "text/plain", (b"open",), None),
}


class Spans(SpanProcessor):
    """Those that were begun and have not ended."""

    def __init__(self) -> None:
        self.open = 0
        self.begun = 0

    def on_start(self, span: Span, parent_context: Any = None) -> None:
        """One more."""
        del span, parent_context
        self.open += 1
        self.begun += 1

    def on_end(self, span: ReadableSpan) -> None:
        """One less."""
        del span
        self.open -= 1


SPANS = Spans()
PROVIDER = TracerProvider()
PROVIDER.add_span_processor(SPANS)


def probing(**settings: Any) -> CircuitBreaker:
    """A breaker that is soon half open again."""
    return CircuitBreaker(open_seconds=1e-9, **settings)


def each_twice(answers: tuple[Said, ...]) -> tuple[Said, ...]:
    """For two that race."""
    return tuple(said for said in answers for _ in range(2))


@dataclass(frozen=True)
class Case:
    """A stack, what the server says to a call through it, and how the call ends."""

    stack: Callable[[], Stack]
    answers: tuple[Said, ...]
    ends: bytes | str


ALL_STORY = (LOCKED, BUSY, CUT, WHOLE)


def everything(*hedge: Hedge) -> Stack:
    """Each policy that there is."""
    return Stack(
        Tracing(tracer_provider=PROVIDER),
        Deadline(60),
        Fallback("http://other.local"),
        Retry(attempts=4, backoff=AT_ONCE, budget=RetryBudget()),
        Remedy(Opening()),
        *hedge,
        RateLimit(1e6, burst=3),
        probing(failures=9, failure_rate=0.9, slow_seconds=5.0, probe="/status"),
        ConcurrencyLimit(2 if hedge else 1, linger=1e-9),
        AttemptTimeout(read=9, idle=8, growth=2),
        StreamGuard(first_event=9, progress=8, resume=True),
        Chaos(on=True, latency_rate=1.0, latency=0.0),
    )


STACKS: dict[str, Callable[[], Stack]] = {
    "other targets": lambda: Stack(
        Deadline(60),
        Fallback("http://other.local", "http://third.local"),
        RateLimit(1000, burst=2),
        probing(),
        AttemptTimeout(),
        StreamGuard(),
    ),
    "native limits": lambda: Stack(Deadline(60), Retry(backoff=AT_ONCE), probing(), AttemptTimeout(), StreamGuard()),
    "limits of ours": lambda: Stack(
        Deadline(60), Retry(backoff=AT_ONCE), probing(), AttemptTimeout(read=9, idle=8), StreamGuard()
    ),
}
CASES: dict[str, Case] = {
    **{
        f"{history}, {name}": Case(stack, answers, ends)
        for history, (answers, ends) in HISTORIES.items()
        for name, stack in STACKS.items()
    },
    **{
        f"{history}, raced": Case(
            lambda: Stack(Deadline(60), Retry(backoff=AT_ONCE), Hedge(0.0), probing(failures=99), StreamGuard()),
            each_twice(answers),
            ends,
        )
        for history, (answers, ends) in HISTORIES.items()
    },
    "spans": Case(lambda: Stack(Tracing(tracer_provider=PROVIDER), Retry(backoff=AT_ONCE)), (BUSY, HERE), b"here"),
    "turns under a rate": Case(lambda: Stack(Retry(backoff=AT_ONCE), RateLimit(2000)), (BUSY, BUSY, HERE), b"here"),
    "a rest that the server asks for": Case(
        lambda: Stack(Retry(backoff=AT_ONCE), RateLimit(longest_hold=0.001), StreamGuard()), (BUSY, HERE), b"here"
    ),
    "places": Case(
        lambda: Stack(Retry(backoff=AT_ONCE), ConcurrencyLimit(1, linger=1e-9), StreamGuard()), (BUSY, WHOLE), TOLD
    ),
    "places of an adaptive limit": Case(
        lambda: Stack(Retry(backoff=AT_ONCE), ConcurrencyLimit(AdaptiveLimit()), StreamGuard()), (BUSY, WHOLE), TOLD
    ),
    "a remedy": Case(
        lambda: Stack(Deadline(60), Remedy(Opening()), probing(), ConcurrencyLimit(1)), (LOCKED, HERE), b"here"
    ),
    "a cheap probe": Case(lambda: Stack(probing(probe="/status", failure_rate=0.5), StreamGuard()), (WHOLE,), TOLD),
    "a stream that is continued": Case(
        lambda: Stack(
            Retry(backoff=AT_ONCE),
            probing(),
            ConcurrencyLimit(1),
            StreamGuard(first_event=9, progress=8, resume=True),
        ),
        (CUT, WHOLE),
        TOLD,
    ),
    "latency of chaos": Case(
        lambda: Stack(Retry(backoff=AT_ONCE), probing(), Chaos(on=True, latency_rate=1.0, latency=0.0005)),
        (BUSY, HERE),
        b"here",
    ),
    "a body cut by chaos": Case(
        lambda: Stack(probing(), ConcurrencyLimit(1), Chaos(on=True, stream_rate=1.0, stream_faults=("cut",))),
        ((200, "text/plain", (b"x" * 60,) * 3, None),),
        "ReadError",
    ),
    "answers lost by chaos": Case(
        lambda: Stack(
            Retry(attempts=2, backoff=AT_ONCE),
            probing(),
            ConcurrencyLimit(1),
            Chaos(on=True, error_rate=1.0, errors=("ReadError",)),
        ),
        (HERE, HERE),
        "ReadError",
    ),
    "everything": Case(everything, ALL_STORY, TOLD),
    "everything, raced": Case(lambda: everything(Hedge(0.0)), each_twice(ALL_STORY), TOLD),
}


async def read(client: Any) -> bytes:
    """A call that may be repeated, of a client of either library: to the end of its body."""
    asked = {"stream": True, "temperature": 0}
    response = await client.post(URL, json=asked, extensions={"resilience": {"repeatable": True}})
    content: bytes = response.content
    return content


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_a_call_may_be_cancelled_at_any_await(async_way: str, case: Case) -> None:
    """What was opened is closed once, nothing is held, nothing runs on, and what leaves is the cancellation."""
    library: Any = LIBRARIES[async_way.partition("-")[0]]
    at, came_through = 0, False
    while not came_through:
        at += 1
        assert at < 500
        wire, stack, passed = Wire(), case.stack(), [0]
        raced = any(isinstance(policy, Hedge) for policy in stack)
        if not raced:
            let_it_probe(stack)
        scope = anyio.CancelScope()
        with no_leaks():
            turn = counting(scope, at, passed) if raced else anyio.lowlevel.checkpoint
            transport = awaiting(library, wire, *case.answers, turn=turn, aside=ASIDE)
            ended: bytes | str = "cancelled"
            left: BaseException | None = None
            tasks = tasks_alive()
            async with library.AsyncClient(transport=over(stack, transport)) as client:
                with scope:
                    try:
                        ended = await cancelling(read(client), scope, at, passed)
                    except library.TransportError as error:
                        ended = type(error).__name__
                    except BaseException as error:
                        left = error
                        raise
                came_through = passed[0] < at
                assert tasks_alive() == tasks
        assert ended == case.ends if came_through else ended in {"cancelled", case.ends}
        assert scope.cancelled_caught is (ended == "cancelled")
        assert type(left) in {type(None), asyncio.CancelledError, trio.Cancelled}
        assert wire.closed == dict.fromkeys(range(1, wire.opened + 1), 1)
        assert_nothing_is_held(stack)
    assert at > 4


PAIRS: dict[str, tuple[Callable[[], Stack], tuple[Said, ...], bytes]] = {
    "a place": (lambda: Stack(Deadline(60), ConcurrencyLimit(1, linger=1e-9), StreamGuard()), (WHOLE,) * 2, TOLD),
    "a turn": (lambda: Stack(Deadline(60), RateLimit(2000)), (HERE,) * 2, b"here"),
    "the end of a rest": (
        lambda: Stack(Deadline(60), Retry(backoff=AT_ONCE), RateLimit(longest_hold=0.0005)),
        ((429, "text/plain", (), None), HERE, HERE, HERE),
        b"here",
    ),
    "a remedy": (
        lambda: Stack(Deadline(60), Remedy(Opening(), times=2), ConcurrencyLimit(2)),
        (LOCKED, LOCKED, HERE, HERE, HERE),
        b"here",
    ),
    "everything": (everything, (BUSY, WHOLE, WHOLE, WHOLE), TOLD),
}


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
async def test_a_call_that_is_cancelled_at_any_await_hinders_no_other(
    async_way: str, pair: tuple[Callable[[], Stack], tuple[Said, ...], bytes]
) -> None:
    """Two callers want the same; wherever the one is in it when it is cancelled, the other is served."""
    library: Any = LIBRARIES[async_way.partition("-")[0]]
    make, answers, ends = pair
    at, passed = 0, [1]
    while passed[0] >= at:
        at += 1
        assert at < 500
        wire, stack, passed = Wire(), make(), [0]
        served: list[bytes] = []
        with no_leaks(), anyio.fail_after(20):
            transport = awaiting(library, wire, *answers, aside=ASIDE)
            scope = anyio.CancelScope()

            async def other(client: Any, served: list[bytes]) -> None:
                served.append(await read(client))

            async with (
                library.AsyncClient(transport=over(stack, transport)) as client,
                anyio.create_task_group() as tasks,
            ):
                tasks.start_soon(other, client, served)
                with scope:
                    assert await cancelling(read(client), scope, at, passed) == ends
        assert served == [ends]
        assert wire.closed == dict.fromkeys(range(1, wire.opened + 1), 1)
        assert_nothing_is_held(stack)
    assert at > 4


def counting(scope: anyio.CancelScope, at: int, passed: list[int]) -> Turn:
    """An await that is counted, whichever task it is of, and at which the call may be cancelled."""

    async def turn() -> None:
        passed[0] += 1
        if passed[0] == at:
            scope.cancel()
        await anyio.lowlevel.checkpoint()

    return turn


def let_it_probe(stack: Stack) -> None:
    """Have the call be the probe of its circuit: the strictest case."""
    for policy in stack:
        if isinstance(policy, CircuitBreaker):
            policy.circuit(URL).breaker.half_open()


def tasks_alive() -> int:
    """How many tasks there are."""
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:
        return trio.lowlevel.current_statistics().tasks_living


def assert_nothing_is_held(stack: Stack) -> None:
    """No place, no turn in line, no place of a probe, no open span."""
    for policy in stack:
        if isinstance(policy, CircuitBreaker):
            for circuit in policy.circuits:
                assert_works(circuit)
        for url in (URL, "http://other.local", "http://third.local"):
            if isinstance(policy, ConcurrencyLimit):
                seen = policy.snapshot(url, 1e12)
                assert seen == (seen.limit, 0, 0, 0)
            if isinstance(policy, RateLimit):
                assert policy.lines.of(origin(url), 1e12).waiting == 0
        if isinstance(policy, Tracing):
            assert SPANS.begun
    assert SPANS.open == 0


def assert_works(circuit: Any) -> None:  # the breaker's
    """Nobody holds the place of the probe: a permit is to be had."""
    permit, _ = circuit.admit(1e12)
    permit.release(1e12)
