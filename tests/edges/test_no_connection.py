"""Nothing was sent: no connection came about, no place in the pool, no proxy, no trust, no protocol."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from resilient_foundry import AttemptTimeout, Backoff, CircuitBreaker, Retry, Stack
from resilient_foundry.events import Attempt
from tests.servers import Conversation, Gate, Server, closed_port, never_accepts, replies, script
from tests.ways import Way, ledger_of

AT_ONCE = Backoff(base=0.0)
SHORT = 0.05
"""Seconds until a phase is given up that never ends."""


def attempts_of(carrier: Any) -> list[Attempt]:
    """The attempts of a call."""
    return ledger_of(carrier).attempts


def test_a_connection_that_takes_for_ever_is_begun_again_whatever_the_method(way: Way) -> None:
    """A POST that never left may be sent as often as it takes; each vain attempt is the server's failure."""
    breaker = CircuitBreaker(failures=2, open_seconds=60)
    with never_accepts() as url:
        client = way.client(Stack.unchecked(Retry(attempts=2, backoff=AT_ONCE), breaker, AttemptTimeout(connect=SHORT)))
        with pytest.raises(way.library.ConnectTimeout) as caught:
            client.post(url, content=b"words")
    assert [attempt.error for attempt in attempts_of(caught.value)] == ["ConnectTimeout"] * 2
    assert breaker.circuit(url).state == "open"


def test_a_full_pool_is_waited_for_again_and_not_held_against_the_server(way: Way) -> None:
    """The queue is on this side: a POST may join it once more, and a circuit that opens at the first failure stays."""
    busy = Gate()

    def handler(talk: Conversation) -> None:
        if talk.asked.path == "/slow":
            busy.wait()
        talk.reply(200)

    breaker = CircuitBreaker(failures=1, open_seconds=60)
    stack = Stack.unchecked(Retry(attempts=2, backoff=AT_ONCE), breaker, AttemptTimeout(pool=SHORT))
    with Server(handler) as server:
        client = way.client(stack, way.transport(limits=way.library.Limits(max_connections=1)))
        with way.meanwhile(partial(client.get, f"{server.url}/slow")):
            server.wait_for(requests=1)
            with pytest.raises(way.library.PoolTimeout) as caught:
                client.post(server.url, content=b"words")
            busy.open()
        assert [attempt.error for attempt in attempts_of(caught.value)] == ["PoolTimeout"] * 2
        assert breaker.circuit(server.url).state == "closed"
        assert client.post(server.url, content=b"words").is_success
        assert server.connections == 1


def test_a_proxy_that_opens_no_tunnel_is_an_error_that_only_a_repeatable_call_meets_twice(way: Way) -> None:
    """The library cannot say how far a proxy got, so its refusal is as uncertain as a lost answer."""
    with Server(replies(502, b"no such host")) as proxy:
        client = way.client(Stack(Retry(attempts=2, backoff=AT_ONCE)), way.transport(proxy=proxy.url))
        with pytest.raises(way.library.ProxyError):
            client.post("https://foundry.invalid/", content=b"words")
        assert [asked.method for asked in proxy.asked] == ["CONNECT"]
        with pytest.raises(way.library.ProxyError):
            client.get("https://foundry.invalid/")
        assert [asked.method for asked in proxy.asked] == ["CONNECT"] * 3


def test_an_answer_of_a_proxy_is_an_answer(way: Way) -> None:
    """Without a tunnel a proxy speaks for the server, and its 503 is tried again like one."""
    with Server(script(replies(503, b"busy"), replies(200, b"here"))) as proxy:
        client = way.client(Stack(Retry(attempts=2, backoff=AT_ONCE)), way.transport(proxy=proxy.url))
        assert client.get("http://foundry.invalid/").content == b"here"
        assert [asked.path for asked in proxy.asked] == ["http://foundry.invalid/"] * 2


def test_a_dead_proxy_is_a_connection_that_never_came_about(way: Way) -> None:
    """Nothing was sent to anybody, so a POST is tried again."""
    client = way.client(Stack(Retry(attempts=2, backoff=AT_ONCE)), way.transport(proxy=closed_port()))
    with pytest.raises(way.library.ConnectError) as caught:
        client.post("https://foundry.invalid/", content=b"words")
    assert len(attempts_of(caught.value)) == 2


@pytest.mark.parametrize(
    ("error", "url", "headers"),
    [("UnsupportedProtocol", "gopher://localhost/", {}), ("LocalProtocolError", "", {"x-two": "lines\nhere"})],
)
def test_a_mistake_of_this_side_is_made_once_and_counts_for_nothing(
    way: Way, error: str, url: str, headers: dict[str, str]
) -> None:
    """What is wrong here stays wrong, however often it is sent, and says nothing of the server."""
    breaker = CircuitBreaker(failures=1, open_seconds=60)
    with Server(replies(200)) as server:
        client = way.client(Stack.unchecked(Retry(attempts=3, backoff=AT_ONCE), breaker))
        with pytest.raises(getattr(way.library, error)) as caught:
            client.get(url or server.url, headers=headers)
        assert len(attempts_of(caught.value)) == 1
        assert server.asked == []
        assert breaker.circuit(server.url).state == "closed"
