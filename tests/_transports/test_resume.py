"""Streams that break in their middle over real sockets, and go on or don't."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest

from resilient_foundry import AttemptTimeout, Backoff, CircuitBreaker, Retry, Stack, StreamGuard
from resilient_foundry.events import Outcome, ResumeDenied, StreamResumed
from tests._transports.test_every_await import URL, Wire, assert_works, awaiting, cancelling
from tests._transports.test_every_await import Said as Wired
from tests.servers import Conversation, Gate, Handler, Server, replies, script
from tests.ways import LIBRARIES, Way, assert_nothing_is_under_way, ledger_of, over

ASKED: dict[str, object] = {"model": "phi", "messages": [], "stream": True, "seed": 7}
AT_ONCE = Backoff(base=0.0)
SILENCE = 0.3
"""Seconds in which a server on a busy machine sends its next event."""
STACK = Stack(
    Retry(attempts=4, backoff=AT_ONCE),
    CircuitBreaker(failures=5),
    AttemptTimeout(),
    StreamGuard(resume=True, first_event=SILENCE, progress=SILENCE),
)


def said(text: str, **delta: object) -> bytes:
    """An event of a chat."""
    return f"data: {json.dumps({'choices': [{'index': 0, 'delta': {'content': text, **delta}}]})}\n\n".encode()


END = b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
CALL = said("", tool_calls=[{"index": 0, "function": {"name": "f", "arguments": "{"}}])


def cut(talk: Conversation) -> None:
    """Close without the end of the body."""
    del talk


def stall(talk: Conversation) -> None:
    """Say nothing more, but that the connection lives."""
    for _ in range(3):
        talk.chunk(b": keep-alive\n\n")
    talk.wait_for_the_client_to_leave()


def end_early(talk: Conversation) -> None:
    """End the body well, and the answer not at all."""
    talk.end()


def tells(*events: bytes, then: Handler = end_early) -> Handler:
    """These events, and what follows."""

    def handler(talk: Conversation) -> None:
        talk.begin_stream()
        for event in events:
            talk.chunk(event)
        then(talk)

    return handler


def text_of(stream: bytes) -> str:
    """What the events say, by a reading of its own."""
    data = [line.removeprefix("data: ") for line in stream.decode().splitlines() if line.startswith("data: {")]
    return "".join(json.loads(event)["choices"][0]["delta"].get("content", "") for event in data)


def outcomes(carrier: Any) -> list[Outcome | None]:
    """How each attempt ended."""
    return [attempt.outcome for attempt in ledger_of(carrier).attempts]


def told(carrier: Any) -> list[object]:
    """What the ledger says of the seam."""
    return [event for _, event in ledger_of(carrier).events if isinstance(event, (StreamResumed, ResumeDenied))]


@pytest.mark.parametrize(
    ("breaks", "outcome"),
    [
        (cut, Outcome.BROKEN),
        (stall, Outcome.STALLED),
        (end_early, Outcome.TRUNCATED),
    ],
)
def test_the_whole_text_is_delivered_once(way: Way, breaks: Handler, outcome: Outcome) -> None:
    """Cut, silent or ended early: the second answer, told in other pieces, goes on where the first one broke."""
    first = tells(said("To be"), said(", or"), said(" not"), then=breaks)
    with Server(script(first, tells(said("To be, or not t"), said("o be"), END))) as server:
        client = way.client(STACK)
        with client.stream("POST", server.url, json=ASKED) as stream:
            assert text_of(stream.rest()) == "To be, or not to be"
        assert told(stream.response) == [StreamResumed(2, 13)]
        assert outcomes(stream.response) == [outcome, Outcome.COMPLETE]
        assert [asked.body for asked in server.asked] == [server.asked[0].body] * 2


def test_a_reset_takes_nothing_that_was_read(way: Way) -> None:
    """What the caller has read is not told again, and what the reset has eaten is told by the second answer."""
    read = Gate()

    def first(talk: Conversation) -> None:
        talk.begin_stream()
        talk.chunk(said("To be"))
        read.wait()
        talk.reset()

    with Server(script(first, replies(503), tells(said("To be or not"), END))) as server:
        client = way.client(STACK)
        with client.stream("POST", server.url, json=ASKED) as stream:
            assert text_of(stream.next()) == "To be"
            read.open()
            assert text_of(stream.rest()) == " or not"
        assert outcomes(stream.response) == [Outcome.BROKEN, Outcome.COMPLETE, Outcome.COMPLETE]


def test_another_answer_is_an_error_that_says_how_much_was_delivered(way: Way) -> None:
    """The library's own error, as it was met."""
    with Server(script(tells(said("To be"), then=cut), tells(said("Tomorrow"), END))) as server:
        client = way.client(STACK)
        with client.stream("POST", server.url, json=ASKED) as stream:
            assert text_of(stream.next()) == "To be"
            with pytest.raises(way.library.RemoteProtocolError) as caught:
                stream.rest()
        assert told(caught.value) == [ResumeDenied("another_answer", 5)]
        assert "of the stream, 5 characters were delivered, and it is not continued: another answer" in (
            caught.value.__notes__
        )


def test_half_a_tool_call_is_never_made_whole(way: Way) -> None:
    """Nothing is asked again."""
    with Server(script(tells(said("a"), CALL, then=cut))) as server:
        client = way.client(STACK)
        with client.stream("POST", server.url, json=ASKED) as stream, pytest.raises(way.library.RemoteProtocolError):
            stream.rest()
        assert told(stream.response) == [ResumeDenied("tool_call", 1)]
        assert len(server.asked) == 1


def test_a_stream_that_is_left_is_not_asked_for_again(way: Way) -> None:
    """The caller has what it wanted, or wants no more; what it held is given back."""
    with Server(script(tells(said("a"), then=stall))) as server:
        client = way.client(STACK)
        with client.stream("POST", server.url, json=ASKED) as stream:
            assert text_of(stream.next()) == "a"
        assert outcomes(stream.response) == [Outcome.ABANDONED]
        assert_nothing_is_under_way(client.transport)
        assert len(server.asked) == 1


def test_a_stream_that_is_left_while_its_second_answer_is_told_leaves_nothing_behind(way: Way) -> None:
    """That answer belongs to the body of the first, and is closed with it."""
    with Server(script(tells(said("a"), then=cut), tells(said("ab"), then=stall))) as server:
        client = way.client(STACK)
        with client.stream("POST", server.url, json=ASKED) as stream:
            assert text_of(stream.next() + stream.next()) == "ab"
        assert outcomes(stream.response) == [Outcome.BROKEN, Outcome.ABANDONED]
        assert_nothing_is_under_way(client.transport)


@pytest.mark.anyio
async def test_a_caller_who_is_cancelled_while_it_is_asked_again_leaves_nothing_behind(async_way: str) -> None:
    """The request that nobody waits for any more is closed."""
    library: Any = LIBRARIES[async_way.partition("-")[0]]
    asked = anyio.Event()
    again = Gate()

    def second(talk: Conversation) -> None:
        again.open()
        talk.begin_stream()
        talk.wait_for_the_client_to_leave()

    with Server(script(tells(said("a"), then=cut), second)) as server:
        stack = Stack(Retry(backoff=AT_ONCE), StreamGuard(resume=True))
        transport = over(stack, library.AsyncHTTPTransport())
        async with library.AsyncClient(transport=transport, timeout=None) as client, anyio.create_task_group() as tasks:

            async def read() -> None:
                async with client.stream("POST", server.url, json=ASKED) as response:
                    asked.set()
                    async for _ in response.aiter_raw():
                        pass

            tasks.start_soon(read)
            await asked.wait()
            await anyio.to_thread.run_sync(again.wait)
            tasks.cancel_scope.cancel()
        assert_nothing_is_under_way(transport)


BROKEN: tuple[Wired, ...] = (
    (200, "text/event-stream", (said("To"), said(" be")), "ReadError"),
    (503, "text/plain", (b"busy",), None),
    (200, "text/event-stream", (said("To be"), said(" or")), "RemoteProtocolError"),
    (200, "text/event-stream", (said("To be or not"), END), None),
)


@pytest.mark.anyio
async def test_a_stream_that_is_continued_may_be_cancelled_at_any_await(async_way: str) -> None:
    """Every answer that was opened is closed once, the circuit works on, and what leaves is the cancellation."""
    library: Any = LIBRARIES[async_way.partition("-")[0]]
    at, came_through = 0, False
    while not came_through:
        at += 1
        assert at < 500
        wire, breaker, passed = Wire(), CircuitBreaker(failures=9), [0]
        stack = Stack(Retry(attempts=4, backoff=AT_ONCE), breaker, AttemptTimeout(), StreamGuard(resume=True))
        text = None
        async with library.AsyncClient(transport=over(stack, awaiting(library, wire, *BROKEN))) as client:
            with anyio.CancelScope() as scope:
                text = text_of((await cancelling(client.post(URL, json=ASKED), scope, at, passed)).content)
            came_through = passed[0] < at
        assert text == ("To be or not" if came_through else None)
        assert scope.cancelled_caught is not came_through
        assert wire.closed == dict.fromkeys(range(1, wire.opened + 1), 1)
        assert_works(breaker.circuit(library.URL(URL)))
        assert wire.opened == len(BROKEN) or not came_through
