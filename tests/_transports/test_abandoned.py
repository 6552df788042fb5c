"""Answers that nobody reads to their end, and what the garbage collector finds of them."""

from __future__ import annotations

import gc
import warnings
import weakref
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import anyio.lowlevel
import pytest

from resilient_foundry import Backoff, CircuitBreaker, Deadline, Retry, Stack, StreamGuard
from resilient_foundry.events import AttemptAnswered, BodyEnd, Event, Outcome
from resilient_foundry.faults import Verdict
from resilient_foundry.flow import Flow, Proceed, Request, Response, listen, watch
from resilient_foundry.testing import ok, rehearse, scripted
from tests.servers import Conversation, Server, closed_port, replies, says_nothing
from tests.ways import LIBRARIES, Way, assert_nothing_is_under_way, ledger_of, over

WHOLE = Stack(Deadline(10), Retry(backoff=Backoff(base=0.0)), CircuitBreaker(), StreamGuard())


def half(talk: Conversation) -> None:
    """One event, and silence."""
    talk.begin_stream()
    talk.chunk(b"data: one\n\n")
    talk.wait_for_the_client_to_leave()


def closings(way: Way) -> tuple[Any, Counter[str]]:
    """A network transport of this way, and how often the streams of its answers were closed."""
    closed: Counter[str] = Counter()
    name = "close" if way.colour == "sync" else "aclose"
    handle = "handle_request" if way.colour == "sync" else "handle_async_request"
    network = way.transport()
    real = getattr(network, handle)

    def count(response: Any) -> Any:
        really = getattr(response.stream, name)

        def closing() -> Any:
            closed["closed"] += 1
            return really()

        setattr(response.stream, name, closing)
        return response

    async def handle_async(request: Any) -> Any:
        return count(await real(request))

    def handle_sync(request: Any) -> Any:
        return count(real(request))

    setattr(network, handle, handle_sync if way.colour == "sync" else handle_async)
    return network, closed


def test_a_stream_left_half_way_is_closed_once(way: Way) -> None:
    """However often the caller closes it."""
    network, closed = closings(way)
    with Server(half) as server:
        with way.client(WHOLE, network).stream("GET", server.url) as stream:
            assert stream.next() == b"data: one\n\n"
        stream.close()
        assert closed == {"closed": 1}


def test_a_stream_never_begun_is_closed_once(way: Way) -> None:
    """What the guard held is let go."""
    network, closed = closings(way)
    with Server(half) as server:
        with way.client(WHOLE, network).stream("GET", server.url):
            pass
        assert closed == {"closed": 1}


def test_answers_that_are_thrown_away_are_closed_once_each(way: Way) -> None:
    """Two attempts that broke before their first event, and the last one, which the caller gets."""

    def nothing(talk: Conversation) -> None:
        talk.begin_stream()

    network, closed = closings(way)
    with Server(nothing) as server:
        client = way.client(WHOLE, network)
        with pytest.raises(way.library.RemoteProtocolError):
            client.get(server.url)
        assert closed == {"closed": 3}


def of_no_use(_status: int, _headers: object, _body: bytes) -> Verdict:
    """A judge of the user's own, with a mistake in it."""
    raise ZeroDivisionError


@pytest.mark.parametrize("status", [200, 500])
def test_a_judge_that_fails_costs_no_connection(way: Way, status: int) -> None:
    """The mistake comes out as itself, and what was open is closed."""
    with Server(replies(status, b"here")) as server:
        client = way.client(Stack(CircuitBreaker(judge=of_no_use)))
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                client.get(server.url)
            assert_nothing_is_under_way(client.transport)


class Fails:
    """A listener of the user's own, with a mistake in it."""

    def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
        """Fail when the head of the answer is there."""
        yield from listen(self.listener)
        return (yield from proceed(request))

    def listener(self, event: Event) -> None:
        """Fail."""
        if isinstance(event, AttemptAnswered):
            raise ZeroDivisionError


def test_a_listener_that_fails_costs_no_connection(way: Way) -> None:
    """The mistake comes out as itself, and what was open is closed."""
    network, closed = closings(way)
    with Server(replies(200, b"here")) as server:
        client = way.client(Stack(Fails()), network)
        with pytest.raises(ZeroDivisionError):
            client.get(server.url)
        assert closed == {"closed": 1}


@contextmanager
def without_collector() -> Generator[None]:
    """No collection of cycles: what goes, goes because nobody holds it."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.mark.parametrize("library", LIBRARIES.values(), ids=LIBRARIES)
def test_a_failed_call_leaves_no_cycle_behind(library: Any) -> None:
    """An error holds the frames that it went through: with it gone, the request is gone at once, as with bare httpx."""
    client = library.Client(transport=over(Stack(Deadline(10), CircuitBreaker()), library.HTTPTransport()))
    url = closed_port()
    with without_collector():
        request = client.build_request("GET", url)
        witness = weakref.ref(request)
        with pytest.raises(library.ConnectError):
            client.send(request)
        del request
        assert witness() is None
    client.close()


@pytest.mark.anyio
async def test_a_response_that_is_dropped_unclosed_warns_of_nothing_of_ours(async_way: str) -> None:
    """On trio the libraries' own generators are warned of, with our transport or without; ours are none."""
    library: Any = LIBRARIES[async_way.partition("-")[0]]
    with Server(half) as server, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        async with library.AsyncClient(transport=over(WHOLE, library.AsyncHTTPTransport())) as client:
            response = await client.send(client.build_request("GET", server.url), stream=True)
            pieces = response.aiter_raw()
            assert await anext(pieces) == b"data: one\n\n"
            del response, pieces
            gc.collect()
        for _ in range(3):  # asyncio closes generators in tasks of their own
            await anyio.lowlevel.checkpoint()
            gc.collect()
    assert [str(warning.message) for warning in caught if "resilient_foundry" in str(warning.message)] == []
    assert {warning.category for warning in caught} <= {ResourceWarning}


@pytest.mark.parametrize("library", LIBRARIES.values(), ids=LIBRARIES)
def test_a_synchronous_response_that_is_dropped_unclosed_does_no_work_when_collected(library: Any) -> None:
    """A collector may run under any lock: it only warns. The next call ends what is left."""
    with Server(half) as server, library.Client(transport=over(WHOLE, library.HTTPTransport())) as client:
        response = client.send(client.build_request("GET", server.url), stream=True)
        ledger = ledger_of(response)
        with pytest.warns(ResourceWarning, match="attempt 1 .* was never closed"):  # noqa: PT031 - either may
            del response
            gc.collect()
        assert ledger.attempts[0].outcome is None
        rehearse(Retry(), ok())
        assert ledger.attempts[0].outcome is Outcome.ABANDONED


class Forgetful:
    """A policy of the user's own, whose watcher has a mistake in it."""

    def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
        """Watch."""
        response = yield from proceed(request)
        yield from watch(response, self)
        return response

    def chunk(self, data: bytes, at: float) -> None:
        """Nothing to do."""

    def ended(self, end: BodyEnd, at: float) -> BodyEnd:
        """Fail."""
        del end, at
        raise ZeroDivisionError


def test_the_mistake_of_a_watcher_of_a_lost_answer_is_not_met_by_another_call(way: Way) -> None:
    """Whoever calls next settles what was lost, and has no part in what goes wrong with it."""
    client = way.client(Stack(Forgetful()), scripted(ok(), module=way.library))
    response = client.send(client.build("GET", "http://foundry.local/"), stream=True)
    with pytest.warns(ResourceWarning, match="attempt 1 .* was never closed"):  # noqa: PT031 - either may
        del response
        gc.collect()
    assert way.client(Stack(), scripted(ok(), module=way.library)).get("http://foundry.local/").status_code == 200


def test_a_read_that_timed_out_frees_its_connection(way: Way) -> None:
    """A read that timed out closes its connection, so a pool of one goes on."""
    with Server(says_nothing) as server:
        limit = way.library.Timeout(20, read=0.02)
        client = way.client(Stack(), way.transport(limits=way.library.Limits(max_connections=1)), timeout=limit)
        for _ in range(3):
            with pytest.raises(way.library.ReadTimeout):
                client.get(server.url)
            assert_nothing_is_under_way(client.transport)
