"""A call that is cancelled at its first, second, third ... await leaves nothing open, wherever it stood.

The transport underneath is scripted and awaits often; the same call is made again and again, cancelled one await later
each time, until one comes through.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Generator
from dataclasses import dataclass, field
from types import coroutine
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from resilient_foundry import AttemptTimeout, Backoff, CircuitBreaker, Deadline, Fallback, RateLimit, Retry, Stack, StreamGuard
from tests.ways import LIBRARIES, over

pytestmark = pytest.mark.anyio

URL = "http://foundry.local/v1/chat/completions"
Said = tuple[int, str, tuple[bytes, ...], str | None]
"""Status, content type, chunks, and the error that ends the body."""


@dataclass
class Wire:
    """What became of the answers of a scripted transport."""

    opened: int = 0
    closed: Counter[int] = field(default_factory=Counter[int])


def awaiting(library: Any, wire: Wire, *answers: Said) -> Any:
    """A transport of the library that awaits before, between and after everything."""
    remaining = list(answers)

    class Body(library.AsyncByteStream):  # type: ignore[misc]  # a class of a library that is a parameter
        def __init__(self, number: int, chunks: tuple[bytes, ...], breaks: str | None) -> None:
            self.number, self.chunks, self.breaks = number, chunks, breaks

        async def __aiter__(self) -> AsyncIterator[bytes]:
            for chunk in self.chunks:
                await anyio.lowlevel.checkpoint()
                yield chunk
            await anyio.lowlevel.checkpoint()
            if self.breaks:
                raise getattr(library, self.breaks)("scripted")

        async def aclose(self) -> None:
            wire.closed[self.number] += 1
            await anyio.lowlevel.checkpoint()

    class Transport(library.AsyncBaseTransport):  # type: ignore[misc]  # as above
        async def handle_async_request(self, _request: Any) -> Any:
            await anyio.lowlevel.checkpoint()
            status, content_type, chunks, breaks = remaining.pop(0)
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

STACKS: dict[str, Callable[[CircuitBreaker], Stack]] = {
    "other targets": lambda breaker: Stack(
        Deadline(60),
        Fallback("http://other.local", "http://third.local"),
        RateLimit(1000, burst=2),
        breaker,
        AttemptTimeout(),
        StreamGuard(),
    ),
    "native limits": lambda breaker: Stack(
        Deadline(60), Retry(backoff=Backoff(base=0.0)), breaker, AttemptTimeout(), StreamGuard()
    ),
    "limits of ours": lambda breaker: Stack(
        Deadline(60), Retry(backoff=Backoff(base=0.0)), breaker, AttemptTimeout(read=9, idle=8), StreamGuard()
    ),
}


@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
@pytest.mark.parametrize("history", HISTORIES.values(), ids=HISTORIES)
async def test_a_call_may_be_cancelled_at_any_await(
    async_way: str, history: tuple[tuple[Said, ...], bytes | str], stack: Callable[[CircuitBreaker], Stack]
) -> None:
    """Every answer that was opened is closed once, the circuit works on, and what leaves is the cancellation."""
    library: Any = LIBRARIES[async_way.partition("-")[0]]
    answers, expected = history
    at, came_through = 0, False
    while not came_through:
        at += 1
        assert at < 500
        wire = Wire()
        breaker = CircuitBreaker(open_seconds=1e-9)
        circuit = breaker.circuit(library.URL(URL))
        circuit.breaker.half_open()  # the call is a probe: the strictest case
        transport = over(stack(breaker), awaiting(library, wire, *answers))
        ended: bytes | str = "cancelled"
        passed = [0]
        async with library.AsyncClient(transport=transport) as client:
            with anyio.CancelScope() as scope:
                call = client.post(URL, content=b"{}", extensions={"resilience": {"repeatable": True}})
                try:
                    ended = (await cancelling(call, scope, at, passed)).content
                except library.TransportError as error:
                    ended = type(error).__name__
            came_through = passed[0] < at
        assert ended == expected if came_through else ended in {"cancelled", expected}
        assert scope.cancelled_caught is (ended == "cancelled")
        assert wire.closed == dict.fromkeys(range(1, wire.opened + 1), 1)
        assert_works(circuit)
    assert at > 4


def assert_works(circuit: Any) -> None:  # the breaker's
    """Nobody holds the place of the probe: a permit is to be had."""
    permit, _ = circuit.admit(1e12)
    permit.release(1e12)
