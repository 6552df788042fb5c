"""Circuits that several processes share, through Redis."""

from typing import Any

import fakeredis
import httpx
import pytest
import redis

from resilient_foundry import CircuitBreaker
from resilient_foundry.policies.redis import redis_storage
from resilient_foundry.testing import VirtualTime, failed, ok, rehearse

URL = "http://foundry.local:5273/v1/models"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> fakeredis.FakeServer:
    """One Redis for all clients of a test."""
    server = fakeredis.FakeServer()

    def from_url(url: str) -> fakeredis.FakeRedis:
        assert url == "redis://127.0.0.1/0"
        return fakeredis.FakeRedis(server=server)

    monkeypatch.setattr(redis.Redis, "from_url", from_url)
    return server


def process(*, failures: int = 2) -> CircuitBreaker:
    """The breaker of one of several processes."""
    return CircuitBreaker(failures=failures, storage=redis_storage("redis://127.0.0.1/0"))


@pytest.mark.usefixtures("server")
def test_failures_that_several_processes_saw_add_up() -> None:
    one, other, clock = process(), process(), VirtualTime()
    rehearse(one, failed(), url=URL, clock=clock)
    rehearse(other, failed(), url=URL, clock=clock)
    assert rehearse(one, url=URL, clock=clock).sent == 0
    assert rehearse(other, url=URL, clock=clock).sent == 0


@pytest.mark.usefixtures("server")
def test_a_probe_of_one_process_closes_the_circuit_of_all() -> None:
    one, other, clock = process(failures=1), process(failures=1), VirtualTime()
    rehearse(one, failed(), url=URL, clock=clock)
    clock.pass_(5)
    assert rehearse(one, ok(), url=URL, clock=clock).status == 200
    assert rehearse(other, ok(), url=URL, clock=clock).status == 200
    assert other.circuit(httpx.URL(URL)).state == "closed"


@pytest.mark.usefixtures("server")
def test_a_process_that_comes_later_finds_the_circuit_open() -> None:
    clock = VirtualTime()
    rehearse(process(failures=1), failed(), url=URL, clock=clock)
    assert rehearse(process(failures=1), url=URL, clock=clock).sent == 0


@pytest.mark.usefixtures("server")
def test_origins_have_states_of_their_own() -> None:
    rehearse(process(failures=1), failed(), url="http://a/")
    assert rehearse(process(failures=1), ok(), url="http://b/").status == 200


def test_keys_stand_under_the_name_space(server: fakeredis.FakeServer) -> None:
    storage = redis_storage("redis://127.0.0.1/0", namespace="mine")
    rehearse(CircuitBreaker(failures=1, storage=storage), failed(), url=URL)
    stored: Any = fakeredis.FakeRedis(server=server)  # redis-py's annotations serve both of its colours at once
    keys: list[bytes] = stored.keys("*")
    assert keys
    assert all(key.startswith(b"mine:http://foundry.local:5273") for key in keys), keys


def test_while_redis_is_down_calls_go_out_and_afterwards_the_circuit_is_as_it_was(server: fakeredis.FakeServer) -> None:
    breaker, clock = process(failures=1), VirtualTime()
    rehearse(breaker, failed(), url=URL, clock=clock)
    server.connected = False
    assert rehearse(breaker, ok(), url=URL, clock=clock).status == 200
    server.connected = True
    assert rehearse(breaker, url=URL, clock=clock).sent == 0


def test_a_circuit_is_not_made_while_redis_is_down_and_the_next_call_makes_it(server: fakeredis.FakeServer) -> None:
    breaker = process()
    server.connected = False
    refused = rehearse(breaker, url=URL)
    assert isinstance(refused.error, redis.ConnectionError)
    assert refused.sent == 0
    server.connected = True
    assert rehearse(breaker, ok(), url=URL).status == 200
