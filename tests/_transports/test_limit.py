"""One limit on calls at once for threads, asyncio and trio, over both libraries and real sockets."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import anyio
import pytest

from resilient_foundry import (
    AdaptiveLimit,
    AttemptTimeout,
    Backoff,
    CallOptions,
    ConcurrencyLimit,
    ConcurrencyLimitError,
    Deadline,
    DeadlineExceededError,
    Retry,
    Stack,
    StreamGuard,
)
from resilient_foundry.flow import Flow, Proceed, Request, Response
from tests._transports.test_every_await import HISTORIES, URL, Said, Wire, awaiting, cancelling
from tests._transports.test_fork import in_a_child
from tests.servers import PATIENCE, Conversation, Gate, Server, replies, says_nothing, script
from tests.ways import LIBRARIES, NAMES, Barrier, Client, Way, over, way_named


def until(condition: Callable[[], bool]) -> None:
    """Wait until it holds; what is looked at is public, and tells nobody when it changes."""
    never = threading.Event()
    for _ in range(int(PATIENCE / 0.002)):
        if condition():
            return
        never.wait(0.002)
    raise AssertionError("it never came to hold")


def waiting(limit: ConcurrencyLimit, url: str, count: int) -> None:
    """Wait until so many calls wait for a place."""
    until(lambda: limit.snapshot(url).waiting == count)


@contextlib.contextmanager
def all_ways() -> Generator[list[Way]]:
    """Threads, asyncio and trio, of both libraries, side by side in this process."""
    ways = [way_named(name) for name in NAMES]
    try:
        yield ways
    finally:
        for way in ways:
            way.close()


class Crowd:
    """Counts who is there at once: at a server, or as a policy further in than the limit."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.here = self.most = 0

    def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
        """One more is there until its answer begins."""
        with self.one():
            return (yield from proceed(request))

    @contextlib.contextmanager
    def one(self) -> Generator[None]:
        """One more is there for the time of the block."""
        with self._lock:
            self.here += 1
            self.most = max(self.most, self.here)
        try:
            yield
        finally:
            with self._lock:
                self.here -= 1


def test_as_many_calls_at_once_as_the_limit_says_and_no_more(way: Way) -> None:
    """Three at a time: the server answers none before three are there, and never sees a fourth."""
    crowd, barrier = Crowd(), Barrier(3)

    def handler(talk: Conversation) -> None:
        with crowd.one():
            barrier.wait()
        talk.reply(200, b"here")

    limit = ConcurrencyLimit(3)
    with Server(handler) as server:
        client = way.client(Stack(limit), way.transport(limits=way.library.Limits(**limit.pool())))
        calls = way.together(15, partial(client.get, server.url))
        assert [call.result().content for call in calls] == [b"here"] * 15
        assert crowd.most == 3
        assert limit.snapshot(server.url) == (3, 0, 0, 0)
        assert server.connections <= 3


def test_a_stream_holds_its_place_until_it_is_closed(way: Way) -> None:
    """Whoever waits is let in then, and not when its head came."""

    def stream(talk: Conversation) -> None:
        talk.begin_stream()
        talk.chunk(b"data: one\n\n")
        talk.wait_for_the_client_to_leave()

    limit = ConcurrencyLimit(1)
    with Server(script(stream, replies(200, b"here"))) as server:
        client = way.client(Stack(limit))
        with client.stream("GET", server.url) as first:
            assert first.next() == b"data: one\n\n"
            with contextlib.ExitStack() as later:
                call = later.enter_context(way.meanwhile(partial(client.get, server.url)))
                waiting(limit, server.url, 1)
                assert len(server.asked) == 1
                first.close()
                assert call.result(PATIENCE).content == b"here"
        assert limit.snapshot(server.url) == (1, 0, 0, 0)


def test_however_long_a_call_may_wait_is_no_matter_of_the_system(way: Way) -> None:
    """Some thousand years are more seconds than a thread can be told to wait for."""
    limit, first = ConcurrencyLimit(1, longest_wait=1e11), Gate()

    def handler(talk: Conversation) -> None:
        if talk.asked.number == 1:
            first.wait()
        talk.reply(200, b"here")

    with Server(handler) as server:
        client = way.client(Stack(limit))
        with way.meanwhile(partial(client.get, server.url)) as one:
            server.wait_for(1)
            with way.meanwhile(partial(client.get, server.url)) as other:
                waiting(limit, server.url, 1)
                first.open()
                assert {call.result(PATIENCE).content for call in (one, other)} == {b"here"}


def test_threads_asyncio_and_trio_stand_in_one_queue() -> None:
    """First come, first served, whatever they are made of; each is woken where it waits."""
    limit, first = ConcurrencyLimit(1), Gate()

    def handler(talk: Conversation) -> None:
        if talk.asked.number == 1:
            first.wait()
        talk.reply(200)

    with Server(handler) as server, all_ways() as ways, ThreadPoolExecutor(20) as threads:
        clients = [way.client(Stack(limit)) for way in ways]
        calls = [threads.submit(clients[0].get, f"{server.url}/first")]
        server.wait_for(1)
        expected = ["/first"]
        for turn in range(2):
            for client in clients if turn == 0 else clients[::-1]:
                expected.append(f"/{turn}/{client.way}")
                calls.append(threads.submit(client.get, server.url + expected[-1]))
                waiting(limit, server.url, len(expected) - 1)
        first.open()
        assert {call.result(PATIENCE).status_code for call in calls} == {200}
        assert [asked.path for asked in server.asked] == expected


def test_the_highest_priority_is_served_first_across_colours() -> None:
    limit, first = ConcurrencyLimit(1), Gate()

    def handler(talk: Conversation) -> None:
        if talk.asked.number == 1:
            first.wait()
        talk.reply(200)

    with Server(handler) as server, all_ways() as ways, ThreadPoolExecutor(20) as threads:
        clients = [way.client(Stack(limit)) for way in ways]
        calls = [threads.submit(clients[0].get, server.url)]
        server.wait_for(1)
        for number, client in enumerate(clients):
            options = {"resilience": CallOptions(priority=number % 3)}
            path = f"{server.url}/{number % 3}/{number}"
            calls.append(threads.submit(partial(client.get, path, extensions=options)))
            waiting(limit, server.url, number + 1)
        first.open()
        assert {call.result(PATIENCE).status_code for call in calls} == {200}
        assert [asked.path for asked in server.asked[1:]] == ["/2/2", "/2/5", "/1/1", "/1/4", "/0/0", "/0/3"]


def test_a_call_that_is_tried_again_keeps_its_turn(way: Way) -> None:
    """It has waited already: one that began after it goes after it. Meanwhile its place is another's."""
    limit, first, second = ConcurrencyLimit(1), Gate(), Gate()

    def handler(talk: Conversation) -> None:
        if talk.asked.number == 1:
            first.wait()
            talk.reply(503)
            return
        if talk.asked.number == 2:
            second.wait()
        talk.reply(200)

    with Server(handler) as server, ThreadPoolExecutor(3) as threads:
        client = way.client(Stack(Retry(backoff=Backoff(base=0.0)), limit))
        calls = [threads.submit(client.get, f"{server.url}/again")]
        server.wait_for(1)
        for number, path in enumerate(("/second", "/third"), 1):
            calls.append(threads.submit(client.get, server.url + path))
            waiting(limit, server.url, number)
        first.open()
        server.wait_for(2)
        waiting(limit, server.url, 2)
        second.open()
        assert {call.result(PATIENCE).status_code for call in calls} == {200}
        assert [asked.path for asked in server.asked] == ["/again", "/second", "/again", "/third"]


def test_a_full_queue_refuses_at_once(way: Way) -> None:
    """One is at work, one waits, and the third is told."""
    first, limit = Gate(), ConcurrencyLimit(1, queue=1)

    def handler(talk: Conversation) -> None:
        first.wait()
        talk.reply(200)

    with Server(handler) as server:
        client = way.client(Stack(limit))
        with way.meanwhile(partial(client.get, server.url)) as one:
            server.wait_for(1)
            with way.meanwhile(partial(client.get, server.url)) as other:
                waiting(limit, server.url, 1)
                with pytest.raises(ConcurrencyLimitError) as caught:
                    client.get(server.url)
                assert isinstance(caught.value, way.library.TransportError)
                assert (caught.value.why, caught.value.waiting) == ("queue_full", 1)
                first.open()
        assert (one.result().status_code, other.result().status_code) == (200, 200)
        assert len(server.asked) == 2


def held_by_a_stream(talk: Conversation) -> None:
    """An answer that does not end before its reader leaves."""
    talk.begin_stream()
    talk.chunk(b"data: one\n\n")
    talk.wait_for_the_client_to_leave()


def test_a_call_whose_deadline_passes_in_the_queue_is_never_sent(way: Way) -> None:
    """It raises in time, and gives up its place in the queue."""
    limit = ConcurrencyLimit(1)
    with Server(script(held_by_a_stream, replies(200))) as server:
        holder, client = way.client(Stack(limit)), way.client(Stack(Deadline(0.1), limit))
        with holder.stream("GET", server.url) as stream:
            stream.next()
            with pytest.raises(DeadlineExceededError) as caught:
                client.get(server.url)
            assert isinstance(caught.value, way.library.TimeoutException)
            assert limit.snapshot(server.url) == (1, 1, 0, 0)
        assert holder.get(server.url).status_code == 200
        assert len(server.asked) == 2


def test_a_call_that_waited_too_long_is_never_sent(way: Way) -> None:
    limit = ConcurrencyLimit(1, longest_wait=0.1)
    with Server(script(held_by_a_stream, replies(200))) as server:
        client = way.client(Stack(limit))
        with client.stream("GET", server.url) as stream:
            stream.next()
            with pytest.raises(ConcurrencyLimitError) as caught:
                client.get(server.url)
            assert caught.value.why == "waited_too_long"
            assert 0.1 <= caught.value.waited < PATIENCE
            assert limit.snapshot(server.url) == (1, 1, 0, 0)
        assert client.get(server.url).status_code == 200
        assert len(server.asked) == 2


def test_the_place_of_a_call_that_was_given_up_is_free_when_the_server_is_probably_done(way: Way) -> None:
    """Whoever waits is woken by nobody but the time."""
    limit = ConcurrencyLimit(1, linger=0.5)
    with Server(script(says_nothing, replies(200))) as server:
        client = way.client(Stack(limit, AttemptTimeout(read=0.05)))
        with pytest.raises(way.library.ReadTimeout):
            client.get(server.url)
        assert limit.snapshot(server.url) == (1, 1, 0, 1)
        response = client.get(server.url)
        assert response.status_code == 200
        (queued,) = [event for _, event in response.extensions["resilience"].events if type(event).__name__ == "Queued"]
        assert queued.seconds > 0  # what of it is left when the second call comes is the machine's to say


def test_those_who_wait_learn_that_a_place_is_kept_for_one_that_was_given_up(way: Way) -> None:
    """They began to wait when no such moment was known."""
    limit = ConcurrencyLimit(1, linger=0.1)
    with Server(script(says_nothing, replies(200))) as server:
        client = way.client(Stack(limit, AttemptTimeout(read=0.2)))
        with way.meanwhile(partial(client.get, server.url)) as given_up:
            server.wait_for(1)
            assert client.get(server.url).status_code == 200
        assert isinstance(given_up.exception(), way.library.ReadTimeout)


@pytest.mark.anyio
async def test_a_cancelled_waiter_gives_up_its_place(async_way: str) -> None:
    """Whoever stood behind it is next."""
    library: Any = LIBRARIES[async_way.partition("-")[0]]
    limit = ConcurrencyLimit(1, queue=1)
    with Server(script(held_by_a_stream, replies(200))) as server:
        transport = over(Stack(limit), library.AsyncHTTPTransport())
        async with library.AsyncClient(transport=transport) as client:
            async with client.stream("GET", server.url) as stream:
                pieces = stream.aiter_raw()
                await anext(pieces)
                with anyio.CancelScope() as scope:
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(client.get, server.url)
                        await anyio.to_thread.run_sync(waiting, limit, server.url, 1)
                        scope.cancel()
                assert limit.snapshot(server.url) == (1, 1, 0, 0)
            assert (await client.get(server.url)).status_code == 200
            assert len(server.asked) == 2


@pytest.mark.anyio
async def test_a_place_that_is_granted_to_a_cancelled_call_is_handed_on(async_way: str) -> None:
    """Granted by a thread, and cancelled, before its event loop came round to it."""
    library: Any = LIBRARIES[async_way.partition("-")[0]]
    limit = ConcurrencyLimit(1)
    with Server(script(held_by_a_stream, replies(200))) as server:
        transport = over(Stack(limit), library.AsyncHTTPTransport())
        with library.Client(transport=over(Stack(limit), library.HTTPTransport())) as holder:
            async with library.AsyncClient(transport=transport) as client, anyio.create_task_group() as others:
                stream = holder.send(holder.build_request("GET", server.url), stream=True)
                with anyio.CancelScope() as scope:
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(client.get, f"{server.url}/cancelled")
                        await anyio.to_thread.run_sync(waiting, limit, server.url, 1)
                        others.start_soon(client.get, f"{server.url}/behind")
                        await anyio.to_thread.run_sync(waiting, limit, server.url, 2)
                        stream.close()  # grants, without giving the event loop a turn
                        scope.cancel()
                await anyio.to_thread.run_sync(server.wait_for, 2)
            assert [asked.path for asked in server.asked] == ["/", "/behind"]
            assert limit.snapshot(server.url) == (1, 0, 0, 0)


@pytest.mark.anyio
@pytest.mark.parametrize("history", HISTORIES.values(), ids=HISTORIES)
@pytest.mark.parametrize("linger", [0.0, 1e-9])
async def test_a_call_may_be_cancelled_at_any_await_and_leaves_no_place_taken(
    async_way: str, history: tuple[tuple[Said, ...], bytes | str], linger: float
) -> None:
    """Queueing, sending, reading, closing: each await in turn."""
    library: Any = LIBRARIES[async_way.partition("-")[0]]
    at, passed = 0, [1]
    while passed[0] >= at:
        at += 1
        assert at < 500
        passed = [0]
        limit = ConcurrencyLimit(1 if at % 2 else AdaptiveLimit(), linger=linger)
        stack = Stack(Retry(backoff=Backoff(base=0.0)), limit, StreamGuard())
        async with library.AsyncClient(transport=over(stack, awaiting(library, Wire(), *history[0]))) as client:
            with anyio.CancelScope() as scope, contextlib.suppress(library.TransportError):
                call = client.post(URL, content=b"{}", extensions={"resilience": {"repeatable": True}})
                await cancelling(call, scope, at, passed)
        assert limit.snapshot(URL, 1e12) == (limit.snapshot(URL).limit, 0, 0, 0)
    assert at > 4


def test_threads_asyncio_and_trio_that_hammer_it_neither_exceed_the_limit_nor_lose_a_place() -> None:
    """Answers, failures, cuts, streams left half-way, deadlines in the queue, refusals: at the end nobody is in."""
    limit, crowd = ConcurrencyLimit(3, queue=8), Crowd()

    def handler(talk: Conversation) -> None:
        kind = random.Random(talk.asked.path).randrange(5)  # noqa: S311 - no secret
        if kind == 0:
            talk.reply(503)
        elif kind == 1:
            talk.reset()
        elif kind == 2:
            talk.begin_stream()
            for _ in range(3):
                talk.chunk(b"data: x\n\n")
            talk.end()
        else:
            talk.reply(200, b"here")

    def calls(client: Client, seed: int) -> None:
        chance = random.Random(seed)  # noqa: S311 - no secret
        for number in range(25):
            url = f"{server.url}/{seed}/{number}"
            with contextlib.suppress(client.way.library.TransportError):
                if chance.random() < 0.3:
                    with client.stream("GET", url) as stream, contextlib.suppress(Exception):
                        stream.next()
                else:
                    deadline = CallOptions(deadline=chance.choice([0.001, 5.0]))
                    client.get(url, extensions={"resilience": deadline})

    with Server(handler) as server, all_ways() as ways, ThreadPoolExecutor(12) as threads:
        clients = [way.client(Stack(Deadline(PATIENCE), limit, crowd)) for way in ways]
        running: list[Future[None]] = [
            threads.submit(calls, client, 2 * number + twin) for number, client in enumerate(clients) for twin in (0, 1)
        ]
        for call in running:
            call.result(3 * PATIENCE)
        assert limit.snapshot(server.url) == (3, 0, 0, 0)
        assert crowd.most <= 3


@pytest.mark.parametrize("library", LIBRARIES.values(), ids=LIBRARIES)
def test_a_forked_child_has_the_whole_limit_to_itself(library: Any) -> None:
    """The stream that its parent reads is no business of it."""
    limit = ConcurrencyLimit(1, queue=0)
    transport = over(Stack(limit), library.HTTPTransport())
    with Server(script(held_by_a_stream, replies(200))) as server, library.Client(transport=transport) as client:
        with client.stream("GET", server.url) as stream:
            pieces = stream.iter_raw()
            next(pieces)

            def call() -> int:
                with library.Client(transport=over(Stack(limit), library.HTTPTransport())) as fresh:
                    status: int = fresh.get(server.url).status_code
                    return status

            assert in_a_child(call) == 0
            assert limit.snapshot(server.url).in_use == 1
        assert limit.snapshot(server.url).in_use == 0
