"""A rate that all callers of an origin keep together, and a rest that one of them is asked for and all of them take."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import anyio
import pytest

from resilient_foundry import Deadline, RateLimit, RateLimitError, Retry, Stack
from resilient_foundry.events import HeldBack, Queued
from resilient_foundry.origin import origin
from resilient_foundry.policies.rate import Turn
from tests.servers import PATIENCE, Conversation, Gate, Server, replies, script
from tests.ways import LIBRARIES, NAMES, Way, assert_nothing_is_under_way, ledger_of, over, way_named

REST = 0.2
"""Seconds of rest that a server asks for."""


def resting(seconds: float = REST, status: int = 429) -> Any:
    """A server that asks for rest once, and is well afterwards."""
    return script(replies(status, headers={"retry-after": f"{seconds}"}), replies(200, b"well"))


def seconds_of(call: Any) -> tuple[float, Any]:
    """How long a call took, and its answer."""
    began = time.monotonic()
    answer = call()
    return time.monotonic() - began, answer


def wait_for_a_line(limit: RateLimit, url: str, callers: int) -> None:
    """Wait until so many callers stand in line."""
    line, patience = limit.lines.of(origin(url), time.monotonic()), time.monotonic() + PATIENCE
    while line.waiting != callers:
        assert time.monotonic() < patience, f"{line.waiting} callers wait, not {callers}"
        Gate().pause(0.001)


def test_callers_that_come_together_are_sent_one_by_one(way: Way) -> None:
    limit = RateLimit(100)
    with Server(replies(200, b"here")) as server:
        client = way.client(Stack(limit))
        took, calls = seconds_of(partial(way.together, 8, partial(client.get, server.url)))
        answers = [call.result() for call in calls]
        assert [answer.content for answer in answers] == [b"here"] * 8
        assert took >= 0.07
        waited = [event for answer in answers for _, event in ledger_of(answer).events if isinstance(event, Queued)]
        assert all(0 < event.seconds < PATIENCE for event in waited)


@pytest.mark.parametrize("limit", [RateLimit(1000), RateLimit()], ids=["with a rate", "without"])
def test_one_caller_is_told_to_wait_and_all_of_them_do(way: Way, limit: RateLimit) -> None:
    with Server(resting()) as server:
        client = way.client(Stack(limit))
        told = client.get(server.url)
        assert told.status_code == 429
        ledger = ledger_of(told)
        held = next(ledger.started + at for at, event in ledger.events if isinstance(event, HeldBack))
        calls = way.together(6, partial(client.get, server.url))
        assert {call.result().status_code for call in calls} == {200}
        assert time.monotonic() - held >= REST - 0.001  # it is told a little after it began
        assert len(server.asked) == 7


def test_the_caller_that_was_told_tries_again_after_the_rest(way: Way) -> None:
    with Server(resting(status=503)) as server:
        client = way.client(Stack(Retry(attempts=2), RateLimit()))
        took, answer = seconds_of(partial(client.get, server.url))
        assert answer.content == b"well"
        assert took >= REST


def test_a_rest_that_outlasts_the_deadline_is_an_error_at_once(way: Way) -> None:
    """And one that users of the library catch already."""
    with Server(resting(60)) as server:
        client = way.client(Stack(Deadline(10), RateLimit()))
        client.get(server.url)
        with pytest.raises(way.library.TransportError) as caught:
            client.get(server.url)
        assert isinstance(caught.value, RateLimitError)
        assert 40 < caught.value.retry_after <= 66  # a tenth of it is spread
        assert len(server.asked) == 1


def test_a_caller_in_line_that_can_wait_no_longer_is_woken_and_refused(way: Way) -> None:
    """Its turn would have come in thirty seconds; the server's wish moves it beyond what it may wait."""
    limit, answer = RateLimit(1, per=30, longest_wait=40), Gate()

    def handler(talk: Conversation) -> None:
        answer.wait()
        talk.reply(503, headers={"retry-after": "60"})

    with Server(handler) as server:
        client = way.client(Stack(limit))
        with way.meanwhile(partial(client.get, server.url)) as first:
            server.wait_for(1)
            with way.meanwhile(partial(client.get, server.url)) as second:
                wait_for_a_line(limit, server.url, 1)
                answer.open()
                assert first.result().status_code == 503
                assert isinstance(error_of(second), RateLimitError)
        wait_for_a_line(limit, server.url, 0)


def error_of(call: Future[Any]) -> BaseException | None:
    return call.exception(PATIENCE)


@pytest.mark.anyio
async def test_a_caller_that_is_cancelled_in_line_gives_its_turn_to_the_next(async_way: str) -> None:
    library: Any = LIBRARIES[async_way.partition("-")[0]]
    limit = RateLimit(1, per=600)
    with Server(replies(200)) as server:
        transport = over(Stack(limit), library.AsyncHTTPTransport())
        async with library.AsyncClient(transport=transport) as client:
            await client.get(server.url)
            went = time.monotonic()
            async with anyio.create_task_group() as tasks:
                for _ in range(50):
                    tasks.start_soon(client.get, server.url)
                await anyio.to_thread.run_sync(wait_for_a_line, limit, server.url, 50)
                tasks.cancel_scope.cancel()
            line = limit.lines.of(origin(server.url), time.monotonic())
            assert line.waiting == 0
            assert line.ask(Turn(latest=0), time.monotonic()) <= went + 600  # the next turn, and not the fiftieth
            assert len(server.asked) == 1
            assert_nothing_is_under_way(transport)


def test_threads_asyncio_and_trio_stand_in_one_line() -> None:
    """Clients of both libraries, in six ways at once, over one object."""
    limit = RateLimit(100)
    ways = [way_named(name) for name in NAMES]
    try:
        with Server(replies(200)) as server, ThreadPoolExecutor(len(ways)) as threads:
            clients = [way.client(Stack(limit)) for way in ways]
            began = time.monotonic()
            calls = [
                threads.submit(way.together, 5, partial(client.get, server.url))
                for way, client in zip(ways, clients, strict=True)
            ]
            statuses = [answer.result().status_code for call in calls for answer in call.result()]
            assert statuses == [200] * 30
            assert time.monotonic() - began >= 0.29
    finally:
        for way in ways:
            way.close()
