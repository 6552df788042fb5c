"""Leaving: a cancelled task goes at once, by its own framework's exception, uncounted, and leaves nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
import trio

from resilient_foundry import CircuitBreaker, Retry, Stack
from resilient_foundry.events import Event, Outcome, RetryScheduled
from resilient_foundry.flow import Flow, Proceed, Request, Response, history, listen
from tests.servers import Conversation, Server, never_accepts, replies, says_nothing, script
from tests.ways import LIBRARIES, assert_nothing_is_under_way, over

pytestmark = pytest.mark.anyio

FOREVER = {"retry-after": "3600"}
RETRYING = Retry(longest_wait=4000.0)


@dataclass(frozen=True)
class Witness:
    """A policy that shows a test what happens to its calls, while it happens."""

    ledgers: list[Any]
    happened: Callable[[Event], None]

    def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
        """Pass the request on."""
        self.ledgers.append((yield from history()))
        yield from listen(self.happened)
        return (yield from proceed(request))


class Scene:
    """A client on a real socket, and what has been seen of its calls."""

    def __init__(self, way: str, breaker: CircuitBreaker, **settings: Any) -> None:
        name, _, self.loop = way.partition("-")
        self.library: Any = LIBRARIES[name]
        self.breaker = breaker
        self.ledgers: list[Any] = []
        self.waiting = anyio.Event()
        self.transport = over(
            Stack(Witness(self.ledgers, self._saw), RETRYING, breaker), self.library.AsyncHTTPTransport(**settings)
        )

    def _saw(self, event: Event) -> None:
        if isinstance(event, RetryScheduled):
            self.waiting.set()

    async def cancels(self, call: Callable[[], Awaitable[object]], when: Callable[[], Awaitable[object]]) -> None:
        """Begin the call, cancel it when the moment has come: it leaves by cancellation and by nothing else."""
        left: list[BaseException] = []

        async def task() -> None:
            try:
                await call()
            except BaseException as error:
                left.append(error)
                raise

        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(task)
                await when()
                tasks.cancel_scope.cancel()
        error: Any = left[0]
        while isinstance(error, BaseExceptionGroup):  # trio's own, from a nursery in which it connects
            error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
        assert isinstance(error, asyncio.CancelledError if self.loop == "asyncio" else trio.Cancelled)


@asynccontextmanager
async def scene(way: str, **settings: Any) -> AsyncGenerator[tuple[Scene, Any]]:
    """A scene and its client. At the end nothing is under way, and no task is left but this one."""
    breaker = CircuitBreaker(failures=4, open_seconds=60)
    with anyio.fail_after(30):
        setting = Scene(way, breaker, **settings)
        async with setting.library.AsyncClient(transport=setting.transport, timeout=20) as client:
            yield setting, client
            assert_nothing_is_under_way(setting.transport)
        if setting.loop == "asyncio":
            assert {task for task in asyncio.all_tasks() if "httpx" in repr(task)} == set()


async def test_during_a_backoff(async_way: str) -> None:
    """An hour's wait ends with the task that waits, and no further attempt is made."""
    with Server(replies(503, b"busy", FOREVER)) as server:
        async with scene(async_way) as (here, client):
            await here.cancels(lambda: client.get(server.url), here.waiting.wait)
            (ledger,) = here.ledgers
            assert [attempt.status for attempt in ledger.attempts] == [503]
            assert len(server.asked) == 1


async def test_while_waiting_for_the_head(async_way: str) -> None:
    """The attempt is called cancelled, and no failure is counted."""
    with Server(script(says_nothing, replies(200))) as server:
        async with scene(async_way) as (here, client):
            await here.cancels(lambda: client.get(server.url), lambda: anyio.to_thread.run_sync(server.wait_for, 1))
            (ledger,) = here.ledgers
            assert [attempt.outcome for attempt in ledger.attempts] == [Outcome.CANCELLED]
            circuit = here.breaker.circuit(here.library.URL(server.url))
            assert (circuit.state, circuit.breaker.fail_counter) == ("closed", 0)
            assert (await client.get(server.url)).status_code == 200


async def test_while_connecting(async_way: str) -> None:
    """A server that never accepts costs a cancelled caller nothing."""
    with never_accepts() as url:
        async with scene(async_way) as (here, client):
            await here.cancels(lambda: client.get(url), anyio.wait_all_tasks_blocked)
            (ledger,) = here.ledgers
            assert [attempt.outcome for attempt in ledger.attempts] == [Outcome.CANCELLED]


async def test_in_mid_body(async_way: str) -> None:
    """The response is closed, and the breaker has learnt nothing."""

    def half(talk: Conversation) -> None:
        talk.begin_stream("text/plain")
        talk.chunk(b"one")
        talk.wait_for_the_client_to_leave()

    with Server(half) as server:
        async with scene(async_way) as (here, client):
            reading = anyio.Event()
            responses: list[Any] = []

            async def read() -> None:
                async with client.stream("GET", server.url) as response:
                    responses.append(response)
                    async for _ in response.aiter_raw():
                        reading.set()

            await here.cancels(read, reading.wait)
            assert responses[0].is_closed
            (ledger,) = here.ledgers
            assert [attempt.outcome for attempt in ledger.attempts] == [Outcome.CANCELLED]
            circuit = here.breaker.circuit(here.library.URL(server.url))
            assert (circuit.state, circuit.breaker.fail_counter) == ("closed", 0)


async def test_twenty_cancelled_calls_count_for_nothing(async_way: str) -> None:
    """However many leave: a circuit counts failures of the server only."""
    with Server(says_nothing) as server:
        async with scene(async_way) as (here, client):
            async with anyio.create_task_group() as tasks:
                for _ in range(20):
                    tasks.start_soon(client.get, server.url)
                await anyio.to_thread.run_sync(server.wait_for, 20)
                tasks.cancel_scope.cancel()
            assert here.breaker.circuit(here.library.URL(server.url)).breaker.fail_counter == 0


async def test_a_timeout_of_the_callers_own_is_not_mistaken_for_ours(async_way: str) -> None:
    """`anyio.fail_after` and `asyncio.timeout` around a call raise their TimeoutError, and nothing is tried again."""
    with Server(says_nothing) as server:
        async with scene(async_way) as (here, client):
            with pytest.raises(TimeoutError) as caught, anyio.fail_after(0.05):
                await client.get(server.url)
            assert type(caught.value) is TimeoutError
            if here.loop == "asyncio":
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await client.get(server.url)
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(client.get(server.url), 0.05)
            assert all(len(ledger.attempts) == 1 for ledger in here.ledgers)


async def test_a_reader_whose_response_is_closed_by_another_task_does_not_hold_it_open(async_way: str) -> None:
    """A watchdog that closes a response ends the read that is under way, and the connection with it."""

    def half(talk: Conversation) -> None:
        talk.begin_stream("text/plain")
        talk.chunk(b"one")
        talk.wait_for_the_client_to_leave()

    with Server(half) as server:
        async with scene(async_way) as (here, client):
            response = await client.send(client.build_request("GET", server.url), stream=True)
            reading = anyio.Event()

            async def read() -> None:
                async for _ in response.aiter_raw():
                    reading.set()

            async def ends() -> None:
                with pytest.raises(here.library.TransportError):
                    await read()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ends)
                await reading.wait()
                await anyio.lowlevel.checkpoint()
                await response.aclose()
