"""Processes that share circuits through a real redis-server, which dies, stalls and comes back."""

import contextlib
import time
from collections.abc import Callable

import anyio
import anyio.lowlevel
import httpx
import pytest

from resilient_foundry import CircuitBreaker, CircuitOpenError, Stack, redis_storage
from tests.redis.conftest import Process, answer
from tests.redis.server import RedisServer
from tests.servers import PATIENCE, Server

Make = Callable[[], Process]


def trip(process: Process, site: Server) -> None:
    """Two failures open the circuit of the process that meets them."""
    assert [process.get(f"{site.url}/bad") for _ in range(3)] == ["500", "500", "refused"]


def until_refused(process: Process, site: Server) -> float:
    """Seconds of good answers until this process refuses to call."""
    began = time.monotonic()
    while (said := process.get(f"{site.url}/good")) != "refused":
        assert said == "200"
        assert time.monotonic() < began + PATIENCE, "it never learnt that the circuit is open"
    return time.monotonic() - began


def test_one_process_trips_a_circuit_and_the_other_fails_fast_within_a_second(process: Make) -> None:
    """It meets nothing but good answers itself. The best of three, because a machine may be busy."""
    taken: list[float] = []
    one, other = process(), process()
    with contextlib.ExitStack() as open_sites:
        for site in [open_sites.enter_context(Server(answer)) for _ in range(3)]:
            assert other.get(f"{site.url}/good") == "200"
            trip(one, site)
            taken.append(until_refused(other, site))
    assert min(taken) < 1.0, taken


def test_redis_is_killed_and_both_go_on_and_when_it_is_back_they_share_again(
    redis_server: RedisServer, process: Make, site: Server
) -> None:
    one, other = process(), process()
    assert [each.get(f"{site.url}/good") for each in (one, other)] == ["200", "200"]
    redis_server.kill()
    began = time.monotonic()
    while not all(each.logged("Redis") for each in (one, other)):
        assert [each.get(f"{site.url}/good") for each in (one, other)] == ["200", "200"]
        assert time.monotonic() < began + PATIENCE, "it never noticed that Redis is gone"
    trip(one, site)
    assert [other.get(f"{site.url}/good") for _ in range(20)] == ["200"] * 20
    redis_server.start()
    assert one.get(f"{site.url}/good") == "refused"
    until_refused(other, site)
    assert one.get(f"{site.url}/good") == "refused", "it does not take the new Redis's word for it"
    lost = f"WARNING resilient_foundry Redis at 127.0.0.1:{redis_server.port} can't be used (ConnectionError)"
    assert one.logged("Redis") == [f"{lost}; circuits are decided in this process alone meanwhile"]


def test_an_open_circuit_outlives_the_redis_that_remembered_it(
    redis_server: RedisServer, process: Make, site: Server
) -> None:
    """Also for a process that was not there before."""
    one = process()
    trip(one, site)
    until_refused(process(), site)
    redis_server.kill()
    redis_server.start()
    assert one.get(f"{site.url}/good") == "refused"
    until_refused(process(), site)
    assert one.get(f"{site.url}/good") == "refused"


def test_a_process_that_ends_at_once_has_told_what_it_saw(process: Make, site: Server) -> None:
    one = process()
    trip(one, site)
    one.end()
    until_refused(process(), site)


def test_a_url_that_has_answers_decoded_for_its_other_users_is_as_good(redis_server: RedisServer, site: Server) -> None:
    storage, elsewhere = (redis_storage(f"{redis_server.url}{more}") for more in ("?decode_responses=True", ""))
    CircuitBreaker(storage=storage).circuit(site.url).breaker.open()
    circuit = CircuitBreaker(storage=elsewhere).circuit(site.url)
    began = time.monotonic()
    while circuit.state != "open":
        storage.synchronise()
        elsewhere.synchronise()
        assert time.monotonic() < began + PATIENCE, "it was never told"


@pytest.mark.anyio
async def test_a_redis_that_stalls_holds_up_no_event_loop(redis_server: RedisServer, site: Server) -> None:
    """Each look at it would take a second, and a hundred calls take many: they would not be through in time."""
    storage = redis_storage(redis_server.url)
    breaker = CircuitBreaker(failures=2, open_seconds=600, storage=storage)
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await anyio.lowlevel.checkpoint()
            ticks += 1

    async with httpx.AsyncClient(transport=Stack(breaker).over(httpx.AsyncHTTPTransport())) as client:
        assert (await client.get(f"{site.url}/good")).status_code == 200
        redis_server.stall()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(tick)
            with anyio.fail_after(PATIENCE):
                for _ in range(100):
                    before = ticks
                    assert (await client.get(f"{site.url}/good")).status_code == 200
                    assert ticks > before
                for _ in range(2):
                    assert (await client.get(f"{site.url}/bad")).status_code == 500
                with pytest.raises(CircuitOpenError):
                    await client.get(f"{site.url}/good")
            tasks.cancel_scope.cancel()
        redis_server.go_on()
    storage.synchronise()
    elsewhere = redis_storage(redis_server.url)
    circuit = CircuitBreaker(failures=2, storage=elsewhere).circuit(site.url)
    elsewhere.synchronise()
    assert circuit.state == "open"


def test_a_redis_that_stalls_holds_up_no_thread(redis_server: RedisServer, site: Server) -> None:
    breaker = CircuitBreaker(storage=redis_storage(redis_server.url))
    redis_server.stall()
    began = time.monotonic()
    with httpx.Client(transport=Stack(breaker).over(httpx.HTTPTransport())) as client:
        for _ in range(100):
            assert client.get(f"{site.url}/good").status_code == 200
    assert time.monotonic() - began < PATIENCE
    redis_server.go_on()
