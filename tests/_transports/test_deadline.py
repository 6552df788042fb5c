"""One deadline for all legs of a call, on the library's own clockwork first; pools survive it."""

from __future__ import annotations

from functools import partial
from typing import Any

import anyio
import pytest

from resilient_foundry import (
    AttemptTimeout,
    CircuitBreaker,
    CircuitOpenError,
    Deadline,
    DeadlineExceededError,
    Retry,
    Stack,
    StreamGuard,
)
from resilient_foundry._transports.bind import bind
from resilient_foundry._transports.driver import World
from resilient_foundry.events import Outcome, RetryDenied, TimedOut
from resilient_foundry.testing import VirtualTime
from tests.servers import Conversation, Gate, Server, replies, says_nothing, script, streams
from tests.ways import LIBRARIES, Way, assert_nothing_is_under_way, ledger_of, over

CHALLENGE = 'Digest realm="here", nonce="abc", qop="auth", algorithm=MD5'


def redirecting(talk: Conversation) -> None:
    """/start leads to /middle, that to /end, and there nobody answers."""
    following = {"/start": "/middle", "/middle": "/end"}.get(talk.asked.path)
    if following is None:
        talk.wait_for_the_client_to_leave()
    else:
        talk.reply(302, headers={"location": following})


def timeouts_seen(way: Way, seen: list[float], answers: Any) -> Any:
    """A transport that notes the read limit of each request, and answers by what is given."""

    def handler(request: Any) -> Any:
        seen.append(request.extensions["timeout"]["read"])
        return answers(request)

    return way.library.MockTransport(handler)


def test_redirects_share_one_deadline(way: Way) -> None:
    """The last leg has what the first ones left over."""
    with Server(redirecting) as server:
        with pytest.raises(DeadlineExceededError):
            way.client(Stack(Deadline(0.4)), follow_redirects=True).get(f"{server.url}/start")
        assert [asked.path for asked in server.asked] == ["/start", "/middle", "/end"]


def test_each_leg_has_less_time_than_the_one_before(way: Way) -> None:
    """The deadline is a moment, not a span: legs of a redirect see it come nearer."""
    seen: list[float] = []

    def answer(request: Any) -> Any:
        hops = int(request.url.path.strip("/") or 0)
        return way.library.Response(302 if hops < 3 else 200, headers={"location": f"/{hops + 1}"})

    client = way.client(Stack(Deadline(10)), timeouts_seen(way, seen, answer), follow_redirects=True, timeout=None)
    assert client.get("http://localhost/0").status_code == 200
    assert len(seen) == 4
    assert 10 >= seen[0] > seen[1] > seen[2] > seen[3] > 9


def test_the_legs_of_digest_authentication_share_one_deadline(way: Way) -> None:
    """The answer to a challenge is the same Request object once more, and still the same call."""
    seen: list[float] = []

    def answer(request: Any) -> Any:
        if "authorization" in request.headers:
            return way.library.Response(200)
        return way.library.Response(401, headers={"www-authenticate": CHALLENGE})

    auth = way.library.DigestAuth("user", "secret")
    client = way.client(Stack(Deadline(10)), timeouts_seen(way, seen, answer), auth=auth, timeout=None)
    assert client.get("http://localhost/").status_code == 200
    assert len(seen) == 2
    assert 10 >= seen[0] > seen[1] > 9


def guarded(talk: Conversation) -> None:
    """/start leads to /guarded, which wants digest authentication; each answer takes a while, and none too long."""
    talk.pause(0.05)
    if talk.asked.path == "/start":
        talk.reply(302, headers={"location": "/guarded"})
    elif "authorization" in talk.asked.headers:
        talk.reply(200)
    else:
        talk.reply(401, headers={"www-authenticate": CHALLENGE})


LEGS_OF_BOTH = ["/start", "/guarded", "/start", "/guarded"]
"""An answer to a challenge begins again where the call began: httpx nests redirects in authentication."""


def test_redirects_and_a_digest_challenge_share_one_deadline(way: Way) -> None:
    """Four legs of 0.05 s have no room in 0.12 s, though each of them has; with time enough they are all made."""
    auth = way.library.DigestAuth("user", "secret")
    with Server(guarded) as server:
        client = way.client(Stack(Deadline(0.12)), follow_redirects=True, auth=auth)
        with pytest.raises(DeadlineExceededError) as late:
            client.get(f"{server.url}/start")
        assert late.value.seconds == 0.12
        hurried = [asked.path for asked in server.asked]
        assert hurried == LEGS_OF_BOTH[: len(hurried)]
    with Server(guarded) as server:
        client = way.client(Stack(Deadline(30)), follow_redirects=True, auth=way.library.DigestAuth("user", "secret"))
        assert client.get(f"{server.url}/start").status_code == 200
        assert [asked.path for asked in server.asked] == LEGS_OF_BOTH


def test_each_leg_of_redirects_and_a_challenge_has_less_time_than_the_one_before(way: Way) -> None:
    """The client changes from one kind of leg to the other, and the moment stays the same."""
    seen: list[float] = []

    def answer(request: Any) -> Any:
        if request.url.path == "/start":
            return way.library.Response(302, headers={"location": "/guarded"})
        if "authorization" in request.headers:
            return way.library.Response(200)
        return way.library.Response(401, headers={"www-authenticate": CHALLENGE})

    client = way.client(
        Stack(Deadline(10)),
        timeouts_seen(way, seen, answer),
        auth=way.library.DigestAuth("user", "secret"),
        follow_redirects=True,
        timeout=None,
    )
    assert client.get("http://localhost/start").status_code == 200
    assert len(seen) == 4
    assert 10 >= seen[0] > seen[1] > seen[2] > seen[3] > 9


@pytest.mark.parametrize("settings", [{}, {"follow_redirects": True}], ids=["not followed", "followed"])
@pytest.mark.parametrize("status", [200, 302, 401, 503])
def test_the_same_request_object_sent_twice_is_two_calls(way: Way, status: int, settings: dict[str, Any]) -> None:
    """No answer, also not one that another leg might follow, leaves its deadline on the caller's request."""
    clock = VirtualTime()

    def answer(request: Any) -> Any:
        if request.url.path == "/end":
            return way.library.Response(200)
        return way.library.Response(status, headers={"location": "/end"} if status == 302 else {})

    stack = Stack(Deadline(30))
    transport = way.library.MockTransport(answer)
    client = way.over(bind(transport, stack.around_the_network(), "a stack", World(monotonic=clock)), **settings)
    request = client.build("GET", "http://localhost/")
    first = client.send(request)
    clock.pass_(60)
    second = client.send(request)
    assert second.status_code == first.status_code


def test_a_request_that_ran_out_of_time_can_be_sent_again(way: Way) -> None:
    """The next call has all of its time."""
    with Server(script(says_nothing, replies(200))) as server:
        client = way.client(Stack(Deadline(0.3)))
        request = client.build("GET", server.url)
        with pytest.raises(DeadlineExceededError):
            client.send(request)
        assert client.send(request).status_code == 200


def test_a_request_that_is_sent_twice_at_once_can_be_sent_again(way: Way) -> None:
    """Whichever of the two ends last, nothing of their time is left on the request."""
    clock, first_may_end, second_may_end = VirtualTime(), Gate(), Gate()

    def waits_for(gate: Gate) -> Any:
        def handler(talk: Conversation) -> None:
            gate.wait()
            streams("here")(talk)

        return handler

    with Server(script(waits_for(first_may_end), waits_for(second_may_end), streams("here"))) as server:
        flow = Stack(Deadline(30), StreamGuard()).around_the_network()
        client = way.over(bind(way.transport(), flow, "a stack", World(monotonic=clock)))
        request = client.build("GET", server.url)
        with way.meanwhile(partial(client.send, request)) as first:
            server.wait_for(requests=1)
            with way.meanwhile(partial(client.send, request)) as second:
                server.wait_for(requests=2)
                first_may_end.open()
                assert first.result().status_code == 200
                second_may_end.open()
        assert second.result().status_code == 200
        clock.pass_(60)
        assert client.send(request).status_code == 200


def test_redirects_answered_by_hand_still_share_it(way: Way) -> None:
    """`response.next_request` is a leg of the same call."""
    seen: list[float] = []

    def answer(request: Any) -> Any:
        return way.library.Response(302 if request.url.path == "/" else 200, headers={"location": "/end"})

    client = way.client(Stack(Deadline(10)), timeouts_seen(way, seen, answer), timeout=None)
    response = client.get("http://localhost/")
    assert client.send(response.next_request).status_code == 200
    assert seen[0] > seen[1]


def test_stacks_over_stacks_keep_the_earliest_deadline(way: Way) -> None:
    """A deadline further out bounds the one further in, and is still there when that one is done."""
    seen: list[float] = []
    answers = [503, 200]

    def answer(_request: Any) -> Any:
        return way.library.Response(answers.pop(0))

    inner: Any = over(Stack(Deadline(5)), timeouts_seen(way, seen, answer))
    client = way.over(over(Stack(Deadline(1), Retry(attempts=2)), inner), timeout=None)
    assert client.get("http://localhost/").status_code == 200
    assert 1 >= seen[0] > seen[1]


def test_a_wait_past_the_deadline_is_not_begun(way: Way) -> None:
    """The answer that asks for it is handed over at once, headers and all."""
    with Server(replies(503, b"busy", {"retry-after": "30"})) as server:
        response = way.client(Stack(Deadline(5), Retry())).get(server.url)
        assert (response.status_code, response.headers["retry-after"]) == (503, "30")
        denied = [event for _, event in ledger_of(response).events if isinstance(event, RetryDenied)]
        assert [event.why for event in denied] == ["deadline"]


def test_a_deadline_leaves_the_bodys_own_limit_as_it_was(way: Way) -> None:
    """After the head the client's own read limit is in force again, neither the deadline nor none at all."""

    def handler(talk: Conversation) -> None:
        talk.begin_stream("text/plain")
        talk.chunk(b"one")
        talk.wait_for_the_client_to_leave()

    with Server(handler) as server:
        client = way.client(Stack(Deadline(30)), timeout=way.library.Timeout(20, read=0.3))
        with client.stream("GET", server.url) as stream:
            assert stream.next() == b"one"
            with pytest.raises(way.library.ReadTimeout) as caught:
                stream.next()
        assert [attempt.outcome for attempt in ledger_of(caught.value).attempts] == [Outcome.STALLED]


def slow_body(kind: str, late: Gate) -> Any:
    """A handler that sends one chunk, and the other when the gate opens."""

    def handler(talk: Conversation) -> None:
        talk.begin_stream(kind)
        talk.chunk(b"one")
        late.wait()
        talk.chunk(b"two")
        talk.end()

    return handler


@pytest.mark.parametrize(
    ("kind", "deadline"), [("text/event-stream", Deadline(0.5)), ("text/plain", Deadline(0.5, body=False))]
)
def test_a_stream_may_outlast_the_deadline_and_so_may_a_download(way: Way, kind: str, deadline: Deadline) -> None:
    """The deadline covers the call up to its head; a stream takes as long as it takes."""
    late = Gate()
    with Server(slow_body(kind, late)) as server, way.client(Stack(deadline)).stream("GET", server.url) as stream:
        assert stream.next() == b"one"
        late.pause(0.55)
        late.open()
        assert stream.rest() == b"two"


def test_any_other_body_is_held_to_the_deadline(way: Way) -> None:
    """No limit of a phase ends an answer that comes in drips, and a caller who gave 0.4 s waits no longer."""
    late = Gate()
    with Server(slow_body("text/plain", late)) as server:
        with pytest.raises(DeadlineExceededError) as caught:
            way.client(Stack(Deadline(0.4))).get(server.url)
        late.open()
        error = caught.value
        assert isinstance(error, way.library.TimeoutException)
        assert [attempt.outcome for attempt in ledger_of(error).attempts] == [Outcome.STALLED]


def test_a_deadline_covers_the_wait_for_the_first_event(way: Way) -> None:
    """A server that sends its head at once and then thinks is held to the deadline all the same."""

    def handler(talk: Conversation) -> None:
        talk.begin_stream()
        talk.wait_for_the_client_to_leave()

    with Server(handler) as server:
        limits = AttemptTimeout(connect=0.1, pool=0.1, write=0.1, read=0.1)
        client = way.client(Stack(Deadline(0.1), limits, StreamGuard()))
        with pytest.raises(DeadlineExceededError) as caught:
            client.get(server.url)
        passed = [event.phase for _, event in ledger_of(caught.value).events if isinstance(event, TimedOut)]
        assert passed[-1] == "deadline"


def test_a_server_that_a_deadline_gave_up_on_has_failed(way: Way) -> None:
    """Circuit and ledger say the same, whether the library's own limit ended the attempt or a cancellation."""

    def handler(talk: Conversation) -> None:
        talk.begin_stream()
        talk.wait_for_the_client_to_leave()

    breaker = CircuitBreaker(failures=1)
    with Server(handler) as server:
        limits = AttemptTimeout(read=0.1 if way.colour == "sync" else None)
        client = way.client(Stack(Deadline(0.1), breaker, limits, StreamGuard()))
        with pytest.raises(DeadlineExceededError) as caught:
            client.get(server.url)
        assert [attempt.outcome for attempt in ledger_of(caught.value).attempts] == [Outcome.STALLED]
        with pytest.raises(CircuitOpenError):
            client.get(server.url)


def test_a_call_that_queues_for_a_connection_is_held_to_its_deadline(way: Way) -> None:
    """Queueing counts; the place in the queue is given up by the library itself, and the pool goes on working."""
    busy = Gate()

    def handler(talk: Conversation) -> None:
        if talk.asked.path == "/slow":
            busy.wait()
        talk.reply(200)

    with Server(handler) as server:
        limits = way.library.Limits(max_connections=1)
        client = way.client(Stack(Deadline(30)), way.transport(limits=limits))
        with way.meanwhile(partial(client.get, f"{server.url}/slow")) as slow:
            server.wait_for(requests=1)
            with pytest.raises(DeadlineExceededError) as caught:
                client.get(server.url, extensions={"resilience": {"deadline": 0.05}})
            assert isinstance(caught.value.__cause__, way.library.PoolTimeout)
            busy.open()
        assert slow.result().status_code == 200
        assert client.get(server.url).status_code == 200
        assert server.connections == 1


@pytest.mark.anyio
async def test_deadlines_of_queued_callers_leave_the_pool_whole(async_way: str) -> None:
    """Cancelling queued requests costs httpx 0.28 its pool for good; deadlines end them by the library's own limit.

    4 connections are taken, and 12 callers queue with deadlines of 5 to 60 ms; then everybody is served. None comes
    free while somebody waits: in the very moment in which a limit passes httpx loses one that is handed over.
    """
    library: Any = LIBRARIES[async_way.partition("-")[0]]
    open_now = Gate()

    def handler(talk: Conversation) -> None:
        open_now.wait()
        talk.reply(200)

    transport = over(Stack(Deadline(30)), library.AsyncHTTPTransport(limits=library.Limits(max_connections=4)))
    answers: list[int] = []
    with Server(handler) as server:
        async with library.AsyncClient(transport=transport, timeout=None) as client:

            async def calm() -> None:
                answers.append((await client.get(server.url)).status_code)

            async def hurried(milliseconds: int) -> None:
                with pytest.raises(DeadlineExceededError) as caught:
                    await client.get(server.url, extensions={"resilience": {"deadline": milliseconds / 1000}})
                assert isinstance(caught.value.__cause__, library.PoolTimeout)

            async with anyio.create_task_group() as callers:
                for _ in range(4):
                    callers.start_soon(calm)
                await anyio.to_thread.run_sync(server.wait_for, 4)
                async with anyio.create_task_group() as queue:
                    for caller in range(12):
                        queue.start_soon(hurried, 5 + caller * 5)
                open_now.open()
            assert_nothing_is_under_way(transport)

            async with anyio.create_task_group() as callers:
                for _ in range(8):
                    callers.start_soon(calm)
            assert answers == [200] * 12
            assert server.connections == 4
            assert_nothing_is_under_way(transport)
