"""Bodies of requests: cut short by an early answer, lost on the way, or such as cannot be sent twice."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from resilient_foundry import AttemptTimeout, Backoff, CircuitBreaker, Retry, Stack
from resilient_foundry.events import RetryDenied
from tests.servers import Conversation, Gate, Server, replies, says_nothing, script
from tests.ways import Way, ledger_of

RETRYING = Stack(Retry(attempts=3, backoff=Backoff(base=0.0)))
LARGE = b"x" * (6 * 1024 * 1024)
"""More than the buffers of two sockets hold, so that whoever sends it is still sending when the answer comes."""
REPEATABLE = {"resilience": {"repeatable": True}}


def denials(carrier: Any) -> list[str]:
    """Why there was no further attempt."""
    return [event.why for _, event in ledger_of(carrier).events if isinstance(event, RetryDenied)]


def length_of(talk: Conversation) -> int:
    """Of the body that is announced."""
    return int(talk.asked.headers["content-length"])


@pytest.mark.parametrize("status", [401, 413])
def test_an_answer_that_comes_while_a_body_is_sent_is_the_answer(way: Way, status: int) -> None:
    """A server that refuses early and takes the rest all the same, as it should: one attempt, no failure."""

    def refuses_early(talk: Conversation) -> None:
        talk.reply(status, b"no", {"retry-after": "30"})
        talk.receive(length_of(talk))

    breaker = CircuitBreaker(failures=1)
    with Server(refuses_early, reads_bodies=False) as server:
        client = way.client(Stack.unchecked(Retry(), breaker))
        response = client.request("PUT", server.url, content=LARGE)
        assert (response.status_code, response.content, len(server.asked)) == (status, b"no", 1)
        assert breaker.circuit(server.url).state == "closed"


def test_a_server_that_refuses_early_and_hangs_up_is_asked_once(way: Way) -> None:
    """The refusal is read where the system still has it; asyncio drops it, and then an error says that it is lost."""

    def refuses_early(talk: Conversation) -> None:
        talk.reply(413, b"no", {"connection": "close"})
        talk.keeps = False

    with Server(refuses_early, reads_bodies=False) as server:
        client = way.client(RETRYING)
        allowed = [413, "ReadError"] if way.colour == "asyncio" else [413]
        try:
            ended: object = client.post(server.url, content=LARGE).status_code
        except way.library.NetworkError as error:
            ended = type(error).__name__
        assert ended in allowed
        assert len(server.asked) == 1


@pytest.mark.parametrize(("method", "sent"), [("POST", 1), ("PUT", 3)])
def test_a_server_that_stops_reading_a_body_may_have_acted_on_it(way: Way, method: str, sent: int) -> None:
    """Half a body was on its way: only what may be done twice is sent again, and then whole."""
    over = Gate()
    with Server(lambda _talk: over.wait(), reads_bodies=False) as server:
        client = way.client(Stack(Retry(attempts=3, backoff=Backoff(base=0.0)), AttemptTimeout(write=0.05)))
        with pytest.raises(way.library.WriteTimeout):
            client.request(method, server.url, content=LARGE)
        over.open()
        assert len(server.asked) == sent


def test_silence_after_a_post_is_not_answered_by_asking_twice(way: Way) -> None:
    """The server may be at work: whether a second time does harm is the caller's to say."""
    with Server(script(says_nothing, says_nothing, replies(200, b"here"))) as server:
        client = way.client(Stack(Retry(backoff=Backoff(base=0.0)), AttemptTimeout(read=0.1)))
        with pytest.raises(way.library.ReadTimeout) as caught:
            client.post(server.url, content=b"words")
        assert (denials(caught.value), len(server.asked)) == (["not_repeatable"], 1)
        assert client.post(server.url, content=b"words", extensions=REPEATABLE).content == b"here"
        assert len(server.asked) == 3


def pieces(way: Way) -> Any:
    """A body that can be read once, in the colour of the way."""

    def blocking() -> Iterator[bytes]:
        yield b"one "
        yield b"two"

    async def awaiting() -> AsyncIterator[bytes]:
        for piece in blocking():
            yield piece

    return blocking() if way.colour == "sync" else awaiting()


def test_the_error_of_a_body_that_cannot_be_sent_twice_is_the_real_one(way: Way) -> None:
    """What broke the call is raised, and not that its iterator was spent."""
    with Server(lambda talk: talk.reset()) as server:
        with pytest.raises(way.library.ReadError) as caught:
            way.client(RETRYING).request("PUT", server.url, content=pieces(way))
        assert denials(caught.value) == ["body_sent"]
        assert [asked.body for asked in server.asked] == [b"one two"]


def test_a_list_of_pieces_is_taken_for_an_iterator(way: Way) -> None:
    """Whether an iterable is new the second time shows only when it has been read; it is never sent by halves."""

    class Pieces:
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"one "
            yield b"two"

    content: Any = [b"one ", b"two"] if way.colour == "sync" else Pieces()
    with Server(replies(503, b"busy")) as server:
        response = way.client(RETRYING).request("PUT", server.url, content=content)
        assert (response.content, denials(response)) == (b"busy", ["body_sent"])
        assert [asked.body for asked in server.asked] == [b"one two"]


def test_an_iterator_of_the_other_colour_is_the_librarys_own_error(way: Way) -> None:
    """It is a mistake in a program: said at once, by the library, and not repeated."""

    async def awaiting() -> AsyncIterator[bytes]:
        yield b"one"

    content: Any = awaiting() if way.colour == "sync" else (piece for piece in [b"one"])
    with Server(replies(200)) as server:
        with pytest.raises(RuntimeError, match=r"Attempted to send an? (async|sync) request"):
            way.client(RETRYING).request("PUT", server.url, content=content)
        assert server.asked == []
