"""A circuit that asks cheaply whether the server works again, before a call that costs it much."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import anyio.to_thread
import pytest

from resilient_foundry import CircuitBreaker, CircuitOpenError, Deadline, Stack
from resilient_foundry.events import CircuitProbed
from tests.servers import Conversation, Gate, Server
from tests.ways import LIBRARIES, Way, ledger_of, over


def half_open(server: Server, **settings: Any) -> CircuitBreaker:
    """A breaker whose circuit admits a probe next."""
    breaker = CircuitBreaker(probe="/status", **settings)
    circuit = breaker.circuit(server.url)
    circuit.force_open()
    circuit.unforce()
    return breaker


def pieces(way: Way, sent: list[bytes]) -> Iterator[bytes] | AsyncIterator[bytes]:
    """A body that can be sent once; what was taken of it is in `sent`."""

    def words() -> Iterator[bytes]:
        for word in (b"much ", b"to think about"):
            sent.append(word)
            yield word

    async def asynchronous() -> AsyncIterator[bytes]:
        for word in words():
            yield word

    return words() if way.colour == "sync" else asynchronous()


def test_the_status_is_asked_first_and_then_the_call_goes_out_whole(way: Way) -> None:
    """Also one whose body can be sent but once."""
    with Server(lambda talk: talk.reply(200, talk.asked.path.encode())) as server:
        breaker = half_open(server)
        client = way.client(Stack(Deadline(20), breaker))
        headers = {"authorization": "Bearer word", "idempotency-key": "7", "content-type": "text/plain"}
        response = client.post(f"{server.url}/chat?n=1", content=pieces(way, []), headers=headers)
        assert response.content == b"/chat?n=1"
        question, call = server.asked
        assert (question.method, question.path, question.body) == ("GET", "/status", b"")
        assert question.headers["authorization"] == "Bearer word"
        assert not {"content-type", "content-length", "transfer-encoding", "idempotency-key"} & question.headers.keys()
        assert (call.method, call.body) == ("POST", b"much to think about")
        assert breaker.circuit(server.url).state == "closed"
        assert server.connections == 1


def test_while_the_status_is_bad_nothing_else_is_sent(way: Way) -> None:
    sent: list[bytes] = []
    with Server(lambda talk: talk.reply(503, headers={"retry-after": "30"})) as server:
        breaker = half_open(server)
        client = way.client(Stack(breaker))
        with pytest.raises(CircuitOpenError) as caught:
            client.post(f"{server.url}/chat", content=pieces(way, sent))
        assert [asked.path for asked in server.asked] == ["/status"]
        assert sent == []
        assert caught.value.retry_after == pytest.approx(30.0, abs=5.0)
        assert CircuitProbed(breaker.circuit(server.url).name, works=False) in [
            event for _, event in ledger_of(caught.value).events
        ]


@pytest.mark.anyio
async def test_a_call_that_is_cancelled_while_the_status_is_asked_gives_the_place_to_the_next(async_way: str) -> None:
    library: Any = LIBRARIES[async_way.partition("-")[0]]
    arrived, leave = Gate(), Gate()

    def handler(talk: Conversation) -> None:
        if len(server.asked) == 1:
            arrived.open()
            leave.wait()
        talk.reply(200)

    with Server(handler) as server:
        breaker = half_open(server)
        transport = over(Stack(breaker), library.AsyncHTTPTransport())
        async with library.AsyncClient(transport=transport) as client, anyio.create_task_group() as tasks:
            tasks.start_soon(client.post, f"{server.url}/chat")
            await anyio.to_thread.run_sync(arrived.wait)
            tasks.cancel_scope.cancel()
        leave.open()
        async with library.AsyncClient(transport=over(Stack(breaker), library.AsyncHTTPTransport())) as client:
            assert breaker.circuit(server.url).state == "half-open"
            assert (await client.post(f"{server.url}/chat")).status_code == 200
        assert [asked.path for asked in server.asked] == ["/status", "/status", "/chat"]
