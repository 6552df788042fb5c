"""Two requests side by side over real sockets: one wins, the other leaves nothing behind, whatever ends the call."""

from __future__ import annotations

import asyncio
import warnings
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, cast

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
import trio

from resilient_foundry import CircuitBreaker, Deadline, DeadlineExceededError, Hedge, Retry, Stack, StreamGuard
from resilient_foundry.events import HedgeWon, Outcome
from resilient_foundry.flow import Policy
from tests.servers import (
    Conversation,
    Gate,
    Handler,
    Server,
    by_attempt,
    closed_port,
    replies,
    says_nothing,
    script,
    streams,
)
from tests.ways import LIBRARIES, Numbered, assert_nothing_is_under_way, ledger_of, over, pool_of

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("ignore:Hedge cancels:RuntimeWarning")]

PATIENT = 20.0
SOON = Hedge(0.01)
AT_ONCE = Hedge(0.0)


def transport(way: str, *policies: Policy, **settings: Any) -> Any:
    """A stack over a real transport of the library."""
    library: Any = LIBRARIES[way.partition("-")[0]]
    return over(Stack(*policies), library.AsyncHTTPTransport(**settings))


def client_of(way: str, wrapped: Any) -> Any:
    library: Any = LIBRARIES[way.partition("-")[0]]
    return library.AsyncClient(transport=wrapped, timeout=PATIENT)


def echoes(talk: Conversation) -> None:
    """The path that was asked for."""
    talk.reply(200, talk.asked.path.encode())


def hangs_at_first() -> Handler:
    """Each path is answered only when it is asked for a second time."""
    return by_attempt(says_nothing, echoes)


async def test_the_answer_that_comes_first_is_taken_and_the_other_connection_closed(async_way: str) -> None:
    with Server(hangs_at_first()) as server:
        wrapped = transport(async_way, SOON, Numbered())
        async with client_of(async_way, wrapped) as client:
            response = await client.get(server.url + "/a")
            assert response.content == b"/a"
            await anyio.to_thread.run_sync(server.wait_until_closed, 1)
            ledger = ledger_of(response)
            assert [attempt.outcome for attempt in ledger.attempts] == [Outcome.CANCELLED, Outcome.COMPLETE]
            assert HedgeWon(2) in [event for _, event in ledger.events]
            assert_nothing_is_under_way(wrapped)


async def test_a_good_event_beats_a_head_that_came_before_it(async_way: str) -> None:
    """The first answer begins at once and says nothing; the one asked later says something."""

    def only_begins(talk: Conversation) -> None:
        talk.begin_stream()
        talk.chunk(b": thinking\n\n")
        talk.wait_for_the_client_to_leave()

    with Server(script(only_begins, streams("here"))) as server:
        wrapped = transport(async_way, SOON, CircuitBreaker(failures=1), StreamGuard())
        async with client_of(async_way, wrapped) as client:
            response = await client.get(server.url)
            assert b"here" in response.content
            await anyio.to_thread.run_sync(server.wait_until_closed, 1)
            assert_nothing_is_under_way(wrapped)


async def test_the_winners_body_is_read_after_the_race(async_way: str) -> None:
    """The tasks are gone by then; the body must not depend on them."""
    gate = Gate()

    def slowly(talk: Conversation) -> None:
        talk.begin_stream("text/plain")
        talk.chunk(b"one")
        gate.wait()
        talk.chunk(b"two")
        talk.end()

    with Server(script(says_nothing, slowly)) as server:
        async with client_of(async_way, transport(async_way, SOON)) as client:  # noqa: SIM117 - one after the other
            async with client.stream("GET", server.url) as response:
                pieces = response.aiter_raw()
                assert await anext(pieces) == b"one"
                gate.open()
                assert [piece async for piece in pieces] == [b"two"]


@pytest.mark.parametrize("policies", [(SOON,), (SOON, CircuitBreaker())], ids=["alone", "with a circuit"])
async def test_sixty_calls_with_losers_leave_the_pool_as_it_was(async_way: str, policies: tuple[Policy, ...]) -> None:
    """With room in the pool for both requests of each caller. (With less, httpx 0.28 loses places, and warns.)."""
    with Server(hangs_at_first()) as server:
        library: Any = LIBRARIES[async_way.partition("-")[0]]
        wrapped = transport(async_way, *policies, Numbered(), limits=library.Limits(max_connections=12))
        async with client_of(async_way, wrapped) as client:

            async def call(caller: int) -> None:
                for number in range(10):
                    path = f"/{caller}/{number}"
                    assert (await client.get(server.url + path)).content == path.encode()

            async with anyio.create_task_group() as callers:
                for caller in range(6):
                    callers.start_soon(call, caller)
            assert_nothing_is_under_way(wrapped)
            assert len(server.asked) == 120


@pytest.mark.parametrize("async_way", ["httpx2-asyncio", "httpx2-trio"])
async def test_on_httpx2_a_pool_that_is_too_small_loses_nothing(async_way: str) -> None:
    """Requests are cancelled while they wait for a connection, which costs httpx 0.28 places for good.

    (Its issue 1093; `Hedge` warns of it there.)
    """
    gate = Gate()

    def holds(talk: Conversation) -> None:
        if talk.asked.path == "/held":
            gate.wait()
        talk.reply(200)

    with Server(holds) as server:
        wrapped = transport(async_way, SOON, limits=LIBRARIES["httpx2"].Limits(max_connections=2))
        async with client_of(async_way, wrapped) as client:
            async with anyio.create_task_group() as callers:
                for _ in range(10):
                    callers.start_soon(client.get, server.url + "/held")
                await anyio.to_thread.run_sync(server.wait_for, 2)
                while "18 queued" not in repr(pool_of(wrapped)):
                    await anyio.lowlevel.checkpoint()
                gate.open()
            assert_nothing_is_under_way(wrapped)
            async with anyio.create_task_group() as callers:
                for _ in range(2):
                    callers.start_soon(client.get, server.url + "/free")
            assert_nothing_is_under_way(wrapped)


async def test_where_all_fail_no_group_of_errors_leaves(async_way: str) -> None:
    library: Any = LIBRARIES[async_way.partition("-")[0]]
    wrapped = transport(async_way, Hedge(0.0, most=3))
    async with client_of(async_way, wrapped) as client:
        with pytest.raises(library.ConnectError) as caught:
            await client.get(closed_port())
        assert len(ledger_of(caught.value).attempts) == 3
        assert_nothing_is_under_way(wrapped)


async def test_a_caller_that_is_cancelled_takes_both_along(async_way: str) -> None:
    """What leaves is the framework's own cancellation."""
    with Server(says_nothing) as server:
        wrapped = transport(async_way, Retry(), SOON, CircuitBreaker())
        left: list[BaseException] = []
        async with client_of(async_way, wrapped) as client:

            async def call() -> None:
                try:
                    await client.get(server.url)
                except BaseException as error:
                    left.append(error)
                    raise

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(call)
                await anyio.to_thread.run_sync(server.wait_for, 2)
                tasks.cancel_scope.cancel()
            await anyio.to_thread.run_sync(server.wait_until_closed, 2)
            assert_nothing_is_under_way(wrapped)
    assert isinstance(left[0], asyncio.CancelledError if async_way.endswith("asyncio") else trio.Cancelled)


@pytest.mark.parametrize("async_way", ["httpx-asyncio", "httpx2-asyncio"])
async def test_asyncios_own_cancel_takes_both_along(async_way: str) -> None:
    """`task.cancel()` knows nothing of cancel scopes."""
    with Server(says_nothing) as server:
        wrapped = transport(async_way, SOON)
        async with client_of(async_way, wrapped) as client:
            task = asyncio.ensure_future(client.get(server.url))
            await anyio.to_thread.run_sync(server.wait_for, 2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await anyio.to_thread.run_sync(server.wait_until_closed, 2)
            assert_nothing_is_under_way(wrapped)


async def test_a_deadline_ends_both_and_the_server_is_blamed_for_both(async_way: str) -> None:
    with Server(says_nothing) as server:
        breaker = CircuitBreaker(failures=2)
        wrapped = transport(async_way, Deadline(0.2), AT_ONCE, breaker)
        async with client_of(async_way, wrapped) as client:
            with pytest.raises(DeadlineExceededError) as caught:
                await client.get(server.url)
            ledger = ledger_of(caught.value)
            assert [attempt.outcome for attempt in ledger.attempts] == [Outcome.STALLED, Outcome.STALLED]
            assert breaker.circuit(server.url).state == "open"
            assert_nothing_is_under_way(wrapped)


async def test_a_deadline_ends_streams_that_have_begun_and_say_nothing(async_way: str) -> None:
    """Here it is kept by cancelling, which is no fault of the caller's for either of them."""

    def begins(talk: Conversation) -> None:
        talk.begin_stream()
        talk.wait_for_the_client_to_leave()

    with Server(begins) as server:
        breaker = CircuitBreaker(failures=2)
        wrapped = transport(async_way, Deadline(0.2), AT_ONCE, breaker, StreamGuard())
        async with client_of(async_way, wrapped) as client:
            with pytest.raises(DeadlineExceededError) as caught:
                await client.get(server.url)
            ledger = ledger_of(caught.value)
            assert [attempt.outcome for attempt in ledger.attempts] == [Outcome.STALLED, Outcome.STALLED]
            assert breaker.circuit(server.url).state == "open"
            assert_nothing_is_under_way(wrapped)


@pytest.mark.parametrize("handlers", [(0, 1), (1, 0)], ids=["the first has a head", "the second has a head"])
async def test_at_the_deadline_the_one_without_a_head_ends_by_the_librarys_own_limit(
    async_way: str, handlers: tuple[int, int]
) -> None:
    """Cancelling it could cost httpx 0.28 a connection; and the one with a head is not let wait any longer for that."""

    def begins(talk: Conversation) -> None:
        talk.begin_stream()
        talk.wait_for_the_client_to_leave()

    kinds = (begins, says_nothing)
    with Server(by_attempt(*(kinds[number] for number in handlers))) as server:
        wrapped = transport(async_way, Deadline(0.2), AT_ONCE, StreamGuard(), Numbered())
        async with client_of(async_way, wrapped) as client:
            with pytest.raises(DeadlineExceededError) as caught:
                await client.get(server.url)
            ledger = ledger_of(caught.value)
            without = ledger.attempts[handlers.index(1)]
            assert (without.outcome, without.error) == (Outcome.STALLED, "ReadTimeout")
            assert ledger.events[-1][0] < 1.5  # well before the grace of the one would end the other
            assert_nothing_is_under_way(wrapped)


class Interruption(BaseException):
    """Ends the program, as KeyboardInterrupt does, which pytest would take for its own."""


class Awaiting:
    """What a transport that awaits at every turn has seen: it cancels the call at one of its awaits."""

    def __init__(self, library: Any, *answers: tuple[int, int], at: int) -> None:
        self.opened = 0
        self.closed: Counter[int] = Counter()
        self.passed = 0
        self.scope = anyio.CancelScope()
        self._answers = list(answers)
        self._at = at
        wire = self

        class Body(library.AsyncByteStream):  # type: ignore[misc]  # a class of a library that is a parameter
            def __init__(self, number: int) -> None:
                self.number = number

            async def __aiter__(self) -> AsyncIterator[bytes]:
                await wire.turn()
                yield b"data: here\n\n"
                await wire.turn()
                yield b"data: [DONE]\n\n"
                await wire.turn()

            async def aclose(self) -> None:
                wire.closed[self.number] += 1
                await wire.turn()

        class Transport(library.AsyncBaseTransport):  # type: ignore[misc]  # as above
            async def handle_async_request(self, request: Any) -> Any:
                del request
                status, turns = wire._answers.pop(0)
                for _ in range(turns):
                    await wire.turn()
                if status == 0:
                    raise library.ReadError("scripted")
                if status == -1:
                    raise Interruption
                wire.opened += 1
                headers = {"content-type": "text/event-stream"} if status < 400 else {}
                return library.Response(status, headers=headers, stream=Body(wire.opened))

        self.transport = Transport()

    async def turn(self) -> None:
        """Await, and perhaps cancel the call."""
        self.passed += 1
        if self.passed == self._at:
            self.scope.cancel()
        await anyio.lowlevel.checkpoint()


RACES = {
    "the first hangs": ((200, 30), (200, 3)),
    "the second hangs": ((200, 5), (200, 30)),
    "both at once": ((200, 3), (200, 3)),
    "one fails, one wins": ((0, 2), (200, 2)),
    "both fail": ((500, 2), (0, 3), (500, 1), (502, 1)),
}


@pytest.mark.parametrize("answers", RACES.values(), ids=RACES)
async def test_it_may_be_cancelled_at_any_await_of_either(async_way: str, answers: tuple[tuple[int, int], ...]) -> None:
    """Every answer that was opened is closed once, and nothing is held against the server."""
    library: Any = LIBRARIES[async_way.partition("-")[0]]
    at, came_through = 0, False
    while not came_through:
        at += 1
        assert at < 200
        wire = Awaiting(library, *answers, at=at)
        breaker = CircuitBreaker(failures=100)
        wrapped = over(Stack(Deadline(60), Retry(attempts=2), Hedge(0.0), breaker, StreamGuard()), wire.transport)
        async with library.AsyncClient(transport=wrapped) as client:
            with wire.scope:
                await client.get("http://foundry.local/", extensions={"resilience": {"retry": True}})
            came_through = wire.passed < at
        assert wire.closed == dict.fromkeys(range(1, wire.opened + 1), 1)
        assert breaker.circuit("http://foundry.local/").state == "closed"
    assert at > 3


async def test_an_interruption_of_one_ends_the_other_and_leaves_as_itself(async_way: str) -> None:
    """Not in a group, not swallowed."""
    library: Any = LIBRARIES[async_way.partition("-")[0]]
    wire = Awaiting(library, (200, 10**9), (-1, 3), at=-1)
    async with library.AsyncClient(transport=over(Stack(Hedge(0.0)), wire.transport)) as client:
        with pytest.raises(Interruption):
            await client.get("http://foundry.local/")


@pytest.mark.parametrize("async_way", ["httpx-asyncio", "httpx2-asyncio"])
async def test_what_goes_on_beside_a_call_is_no_task_of_it_afterwards(async_way: str) -> None:
    """Trio's can't outlive their nursery."""
    with Server(hangs_at_first()) as server:
        async with client_of(async_way, transport(async_way, SOON, Numbered())) as client:
            before = asyncio.all_tasks()
            await client.get(server.url + "/a")
            assert asyncio.all_tasks() == before


async def test_nothing_warns_on_httpx2(async_way: str) -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        transport(async_way, Hedge(0.5))
    assert [str(one.message)[:5] for one in seen] == ([] if async_way.startswith("httpx2") else ["Hedge"])


async def test_over_http_the_same_circuit_counts_each_request(async_way: str) -> None:
    """Each of the two asks the circuit for itself, and tells it how it went."""
    with Server(script(replies(500), replies(500), replies(200))) as server:
        breaker = CircuitBreaker(failures=2)
        async with client_of(async_way, transport(async_way, Hedge(5.0), breaker)) as client:
            assert (await client.get(server.url)).status_code == 500
            assert cast("Any", breaker).circuit(server.url).state == "open"


async def test_a_loser_is_not_blamed_for_a_deadline_that_passes_after_it_lost(async_way: str) -> None:
    """The winner's body stalls: that is one failure, and no second one for the request that was cancelled."""

    def half(talk: Conversation) -> None:
        talk.begin_stream("text/plain")
        talk.chunk(b"one")
        talk.wait_for_the_client_to_leave()

    with Server(script(says_nothing, half)) as server:
        breaker = CircuitBreaker(failures=100)
        async with client_of(async_way, transport(async_way, Deadline(0.3), SOON, breaker)) as client:
            with pytest.raises(DeadlineExceededError):
                await client.get(server.url)
            assert breaker.circuit(server.url).breaker.fail_counter == 1
