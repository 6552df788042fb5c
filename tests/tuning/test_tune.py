"""The measuring, against a real server; how quick it is, is not judged here."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

from benchmarks.origin import Behaviour, origin
from resilient_foundry.tuning.calls import OVER, BadStatusError, Budget, Service, TooManyErrorsError, Way, calling
from resilient_foundry.tuning.idle import idle_limit, stale
from resilient_foundry.tuning.load import closed
from resilient_foundry.tuning.tune import DEFAULT, RECOMMENDED, UNLIMITED, Limits, run

LIBRARIES = pytest.mark.parametrize("library", ["httpx", "httpx2"])


def service(url: str, *, library: str = "httpx", path: str = "/", content: object = None) -> Service:
    return Service(url=url, ip="127.0.0.1", library=library, path=path, content=content)


def budget(requests: int = 1000, seconds: float = 20.0) -> Budget:
    return Budget(requests=requests, seconds=seconds)


@LIBRARIES
def test_a_server_is_measured_within_the_budget(library: str) -> None:
    """From the first call to the proof, with what is recommended beside what one has without it."""
    began = time.monotonic()
    with origin(Behaviour(delay=0.002, slots=2)) as server:
        found = run(service(server.url, library=library), Limits(requests=800, seconds=1.5, callers=4))
        assert server.counts().requests == found.requests <= 800
    assert time.monotonic() - began < 15
    assert [step.limit for step in found.steps] == sorted({step.limit for step in found.steps})
    names = [each.name for each in found.contenders]
    assert names[0] == RECOMMENDED
    assert {DEFAULT, UNLIMITED} < set(names)
    assert found.tried.limit == found.knee.limit
    assert (found.advice is None) == bool(found.objections)


def test_a_server_that_fails_is_left_alone() -> None:
    """After the fifty calls that it takes to be sure, and those under way."""
    asked: list[str] = []
    with origin() as server:

        def told(_: str) -> None:
            asked.append("")
            if len(asked) == 2:  # after the first call, which was good
                server.behave(Behaviour(dead=(0.0, 60.0)))

        with pytest.raises(TooManyErrorsError, match=r"calls failed \(\d+ status 503\), so nothing more was sent"):
            run(service(server.url), Limits(requests=5000, seconds=5, callers=4), progress=told)
        assert server.counts().requests < 100


def test_a_first_call_that_is_not_answered_well_is_the_last() -> None:
    with origin(Behaviour(dead=(0.0, 60.0))) as server:
        with pytest.raises(BadStatusError, match="503"):
            run(service(server.url), Limits(requests=100, seconds=2))
        assert server.counts().requests == 1


@LIBRARIES
def test_an_idle_limit_is_seen_and_never_taken_for_longer_than_it_is(library: str) -> None:
    with origin(Behaviour(idle=0.2)) as server:
        seen = asyncio.run(idle_limit(service(server.url, library=library), budget(), seconds=0.6))
    assert seen.closed_after is not None
    assert 0.1 < seen.closed_after < 0.25


def test_a_server_that_forgets_a_connection_without_a_word_is_found_out() -> None:
    """It is still open, and the next call on it is not answered."""

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async def measure() -> float | None:
        async with await asyncio.start_server(once, "127.0.0.1", 0) as listening:
            url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
            return (await idle_limit(service(url), budget(), seconds=0.1)).closed_after

    seen = asyncio.run(measure())
    assert seen is not None
    assert seen <= 0.1


def test_a_server_that_closes_none_was_watched_for_so_long() -> None:
    with origin() as server:
        seen = asyncio.run(idle_limit(service(server.url), budget(), seconds=0.1))
    assert seen.closed_after is None
    assert seen.watched >= 0.1


def test_pauses_shorter_than_the_server_s_meet_no_connection_that_is_gone() -> None:
    with origin(Behaviour(idle=0.3)) as server:
        assert asyncio.run(stale(service(server.url), budget(), expiry=0.1, pauses=(0.05, 0.09, 0.11))) == {}


def test_a_server_that_hangs_up_without_a_word_is_an_error_after_a_pause() -> None:
    """Nothing listens any more when it is asked."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    met = asyncio.run(stale(service(f"http://127.0.0.1:{port}"), budget(), expiry=0.1, pauses=(0.0,)))
    assert met == {"ConnectError": 2}


@LIBRARIES
def test_connections_are_counted_where_they_are_opened(library: str) -> None:
    """And the server counts as many."""

    async def measure(url: str) -> tuple[int, int, int]:
        async with calling(service(url, library=library), Way(DEFAULT), budget()) as (call, seen):
            await asyncio.gather(*(call() for _ in range(3)))
            await call()
            return seen.connects, len(seen.connecting), len(seen.services)

    with origin(Behaviour(delay=0.05)) as server:
        assert asyncio.run(measure(server.url)) == (3, 3, 4)
        assert server.counts().connections == 3


def test_what_the_budget_does_not_allow_is_not_sent() -> None:
    async def measure(url: str) -> int:
        spent = budget(requests=5)
        async with calling(service(url), Way(DEFAULT), spent) as (call, _):
            load = await closed(call, callers=2, seconds=1, calls=9)
            assert load.errors[OVER] == 4
            assert not spent.failures, "it is no failure of the server's"
        return len(load.latencies)

    with origin() as server:
        assert asyncio.run(measure(server.url)) == 5
        assert server.counts().requests == 5


def test_the_calls_carry_the_name_of_the_host_and_go_to_the_address_that_was_judged() -> None:
    """So a name that leads elsewhere by now, or a proxy of the environment, gets none of them."""
    with origin() as server:
        port = server.url.rpartition(":")[2]
        named = service(f"http://no-such-host.invalid:{port}")

        async def ask() -> None:
            async with calling(named, Way(DEFAULT), budget()) as (call, _):
                await call()

        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
            asyncio.run(ask())
        assert server.counts().requests == 1
