"""Many callers at once: nobody is held up by another, and an open circuit lets exactly one of them try."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import pytest

from resilient_foundry import CircuitBreaker, CircuitOpenError, Stack
from tests.servers import Conversation, Gate, Server, replies, script
from tests.ways import LIBRARIES, Barrier, Way, assert_nothing_is_under_way, over

OPEN_SECONDS = 0.01


def error_of(future: Future[Any]) -> BaseException | None:
    """What a call ended with."""
    return future.exception()


def opened(way: Way, breaker: CircuitBreaker, url: str) -> Any:
    """The circuit of this URL, opened by hand, its time up."""
    circuit = breaker.circuit(way.library.URL(url))
    circuit.breaker.open()
    return circuit


def test_sixteen_callers_of_one_client_are_served_side_by_side(way: Way) -> None:
    """The server answers nobody before all sixteen requests are there: impossible, if the breaker serialised calls."""
    barrier = Barrier(16)

    def handler(talk: Conversation) -> None:
        barrier.wait()
        talk.reply(200, b"here")

    with Server(handler) as server:
        client = way.client(Stack.standard())
        calls = way.together(16, partial(client.get, server.url))
        assert [call.result().content for call in calls] == [b"here"] * 16


def test_sixteen_streams_of_one_client_are_read_side_by_side(way: Way) -> None:
    """Each has its first event before any is sent its second."""
    begun, read = Barrier(16), Barrier(16)

    def handler(talk: Conversation) -> None:
        talk.begin_stream()
        begun.wait()
        talk.chunk(b"data: one\n\n")
        read.wait()
        talk.chunk(b"data: [DONE]\n\n")
        talk.end()

    with Server(handler) as server:
        client = way.client(Stack.inference())
        calls = way.together(16, partial(client.get, server.url))
        assert [call.result().content for call in calls] == [b"data: one\n\ndata: [DONE]\n\n"] * 16


def test_fifty_callers_of_an_open_circuit_send_one_probe(way: Way) -> None:
    """The probe is held until the other forty-nine have been refused; its success lets everybody in again."""
    breaker = CircuitBreaker(open_seconds=OPEN_SECONDS)
    refused = threading.Semaphore(0)
    all_refused = Gate()

    def handler(talk: Conversation) -> None:
        all_refused.wait()
        talk.reply(200)

    with Server(handler) as server:
        client = way.client(Stack(breaker))
        circuit = opened(way, breaker, server.url)
        clock_runs_from_the_first_look(client, server.url)

        def call() -> Any:
            try:
                return client.get(server.url)
            except CircuitOpenError:
                refused.release()
                raise

        def count() -> None:
            for _ in range(49):
                assert refused.acquire(timeout=20)
            all_refused.open()

        counting = threading.Thread(target=count)
        counting.start()
        calls = way.together(50, call)
        counting.join()

        errors = [error for error in map(error_of, calls) if error is not None]
        assert len(errors) == 49
        assert all(isinstance(error, CircuitOpenError) for error in errors)
        assert len(server.asked) == 1
        assert circuit.state == "closed"
        assert client.get(server.url).status_code == 200


def clock_runs_from_the_first_look(client: Any, url: str) -> None:
    """A circuit that was opened by hand begins its time when it is first asked; let that time pass."""
    with pytest.raises(CircuitOpenError):
        client.get(url)
    Gate().pause(OPEN_SECONDS)


def test_a_failed_probe_opens_the_circuit_again(way: Way) -> None:
    """And only one request was spent to find out."""
    breaker = CircuitBreaker(open_seconds=OPEN_SECONDS)
    with Server(replies(500)) as server:
        client = way.client(Stack(breaker))
        circuit = opened(way, breaker, server.url)
        clock_runs_from_the_first_look(client, server.url)
        assert client.get(server.url).status_code == 500
        assert circuit.state == "open"
        assert len(server.asked) == 1


def test_a_probe_is_under_way_until_its_body_ends(way: Way) -> None:
    """The head of an answer proves little: others wait for its end."""
    breaker = CircuitBreaker(open_seconds=OPEN_SECONDS)
    more = Gate()

    def handler(talk: Conversation) -> None:
        talk.begin_stream("text/plain")
        talk.chunk(b"one")
        more.wait()
        talk.end()

    with Server(handler) as server:
        client = way.client(Stack(breaker))
        circuit = opened(way, breaker, server.url)
        clock_runs_from_the_first_look(client, server.url)
        with client.stream("GET", server.url) as stream:
            assert stream.next() == b"one"
            with pytest.raises(CircuitOpenError) as caught:
                client.get(server.url)
            assert caught.value.retry_after is None
            more.open()
            assert stream.rest() == b""
        assert circuit.state == "closed"


def test_a_listener_may_call_through_the_client_it_listens_to(way: Way) -> None:
    """An alert that is sent through the same circuit does not lock itself out."""
    import pybreaker  # noqa: PLC0415 - what a user's listener derives from

    breaker = CircuitBreaker(failures=1)
    alerts: list[str] = []

    def handler(talk: Conversation) -> None:
        talk.reply(200 if talk.asked.path == "/alert" else 500)

    with Server(handler) as server:
        client = way.client(Stack(breaker))
        circuit = breaker.circuit(way.library.URL(server.url))

        class Alert(pybreaker.CircuitBreakerListener):
            def state_change(self, cb: Any, old_state: Any, new_state: Any) -> None:
                del cb, old_state
                if way.colour == "sync":  # a listener is synchronous: only a sync client can be used in it
                    assert client.get(f"{server.url}/alert").status_code == 200
                alerts.append(new_state.name)

        circuit.breaker.add_listener(Alert())
        assert client.get(server.url).status_code == 500
        assert alerts == ["open"]
        assert circuit.state == "open"


@pytest.mark.anyio
async def test_a_cancelled_probe_neither_closes_nor_jams_the_circuit(async_way: str) -> None:
    """It says nothing about the server; the next caller may probe at once, and its success closes the circuit."""
    library: Any = LIBRARIES[async_way.partition("-")[0]]
    breaker = CircuitBreaker(open_seconds=OPEN_SECONDS)

    def silent(talk: Conversation) -> None:
        talk.wait_for_the_client_to_leave()

    def half(talk: Conversation) -> None:
        talk.begin_stream("text/plain")
        talk.chunk(b"one")
        talk.wait_for_the_client_to_leave()

    with Server(script(silent, half, replies(200))) as server:
        transport = over(Stack(breaker), library.AsyncHTTPTransport())
        async with library.AsyncClient(transport=transport) as client:
            circuit = breaker.circuit(library.URL(server.url))
            circuit.breaker.open()
            with pytest.raises(CircuitOpenError):
                await client.get(server.url)
            await anyio.sleep(OPEN_SECONDS)
            for probe in (1, 2):  # cancelled before its head, and in its body
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(client.get, server.url)
                    await anyio.to_thread.run_sync(server.wait_for, probe)
                    with pytest.raises(CircuitOpenError):
                        await client.get(server.url)
                    tasks.cancel_scope.cancel()
                assert circuit.state == "half-open"
            assert (await client.get(server.url)).status_code == 200
            assert circuit.state == "closed"
            assert_nothing_is_under_way(transport)
