"""Servers that hang up, reset, cut, miscount and talk nonsense: before the head, in it, and in the body."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Any

import pytest

from resilient_foundry import AttemptTimeout, Backoff, CircuitBreaker, Retry, Stack
from resilient_foundry.events import Outcome, RetryDenied
from tests.servers import Conversation, Gate, Handler, Server, replies, script
from tests.ways import Way, ledger_of

AT_ONCE = Backoff(base=0.0)
RETRYING = Stack(Retry(attempts=3, backoff=AT_ONCE))
HEAD = b"HTTP/1.1 200 OK\r\n"


def errors(carrier: Any) -> list[str | None]:
    """What each attempt failed with."""
    return [attempt.error for attempt in ledger_of(carrier).attempts]


def hangs_up(talk: Conversation) -> None:
    """Take the request, close the connection."""
    del talk


def resets(talk: Conversation) -> None:
    """Take the request, reset the connection."""
    talk.reset()


def sends(data: bytes, then: Callable[[Conversation], None] = hangs_up) -> Handler:
    """These bytes and no more."""

    def handler(talk: Conversation) -> None:
        talk.send(data)
        then(talk)

    return handler


NO_ANSWER = [
    pytest.param(hangs_up, "RemoteProtocolError", id="closed"),
    pytest.param(resets, "ReadError", id="reset"),
    pytest.param(sends(HEAD + b"content-le"), "RemoteProtocolError", id="closed in the head"),
    pytest.param(sends(HEAD + b"content-le", resets), "ReadError", id="reset in the head"),
    pytest.param(sends(b"220 mail.example ESMTP\r\n\r\n"), "RemoteProtocolError", id="another protocol"),
    pytest.param(sends(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"), "RemoteProtocolError", id="no text at all"),
    pytest.param(sends(HEAD + b"x: " + b"y" * 200_000), "RemoteProtocolError", id="a head without an end"),
    pytest.param(
        sends(HEAD + b"content-length: 2\r\ncontent-length: 3\r\n\r\nab"), "RemoteProtocolError", id="two lengths"
    ),
    pytest.param(sends(HEAD + b"content-length: -1\r\n\r\n"), "RemoteProtocolError", id="a length below nothing"),
]


@pytest.mark.parametrize(("answer", "error"), NO_ANSWER)
def test_a_call_that_gets_no_answer_is_made_again_if_it_may_be(way: Way, answer: Handler, error: str) -> None:
    """Nobody knows how far it got: a GET is sent again on another connection, a POST is not."""
    with Server(script(answer, replies(200, b"here"))) as server:
        response = way.client(RETRYING).get(server.url)
        assert (response.content, errors(response), server.connections) == (b"here", [error, None], 2)
    with Server(answer) as server:
        with pytest.raises(getattr(way.library, error)) as caught:
            way.client(RETRYING).post(server.url, content=b"words")
        assert (errors(caught.value), len(server.asked)) == ([error], 1)


@pytest.mark.parametrize("leaves", [hangs_up, resets])
def test_a_kept_connection_that_breaks_under_the_next_request_is_one_attempt(way: Way, leaves: Handler) -> None:
    """The server closed just as it was asked again. It counts as an attempt: httpx does not say what was reused."""
    with Server(script(replies(200), leaves, replies(200, b"here"))) as server:
        client = way.client(RETRYING)
        client.get(server.url)
        response = client.get(server.url)
        assert (response.content, len(errors(response)), server.connections) == (b"here", 2, 2)


@pytest.mark.parametrize("leaves", [hangs_up, resets])
def test_a_post_on_a_kept_connection_that_breaks_is_not_repeated(way: Way, leaves: Handler) -> None:
    """It was sent, and closing is not the same as refusing."""
    with Server(script(replies(200), leaves, replies(200, b"here"))) as server:
        client = way.client(RETRYING)
        client.get(server.url)
        with pytest.raises(way.library.TransportError):
            client.post(server.url, content=b"words")
        assert len(server.asked) == 2


def test_a_kept_connection_that_was_closed_before_is_not_used(way: Way) -> None:
    """The library looks before it sends, so there is no failure at all, and a POST goes through."""

    def answers_and_leaves(talk: Conversation) -> None:
        talk.reply(200)
        talk.keeps = False

    with Server(script(answers_and_leaves, replies(200, b"here"))) as server:
        client = way.client(RETRYING)
        client.get(server.url)
        server.wait_until_closed(connections=1)
        response = client.post(server.url, content=b"words")
        assert (response.content, len(errors(response)), server.connections) == (b"here", 1, 2)


def test_different_failures_end_with_the_last_one_and_a_note_of_all(way: Way) -> None:
    """The last error is raised as itself; what came before it stands in its note and in the ledger."""
    with Server(script(replies(503), resets, hangs_up)) as server:
        with pytest.raises(way.library.RemoteProtocolError) as caught:
            way.client(RETRYING).get(server.url)
        assert any("after 3 attempts (503, ReadError, RemoteProtocolError)" in note for note in caught.value.__notes__)
        assert errors(caught.value) == [None, "ReadError", "RemoteProtocolError"]


CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n"
BROKEN_BODIES = [
    pytest.param(sends(CHUNKED), id="no last chunk"),
    pytest.param(sends(CHUNKED + b"a\r\ntw"), id="half a chunk"),
    pytest.param(sends(CHUNKED + b"0\r\n"), id="half an end"),
    pytest.param(sends(CHUNKED + b"wat\r\ntwo\r\n"), id="a size that is none"),
    pytest.param(sends(CHUNKED, resets), id="reset"),
    pytest.param(sends(HEAD + b"content-length: 10\r\n\r\none"), id="fewer bytes than announced"),
    pytest.param(sends(HEAD + b"content-length: 10\r\n\r\n", resets), id="none of the bytes announced"),
]


@pytest.mark.parametrize("answer", BROKEN_BODIES)
def test_a_body_that_breaks_is_a_failure_that_nobody_repeats(way: Way, answer: Handler) -> None:
    """Its head has been handed over, and with it the choice; the circuit hears of it when it breaks."""
    breaker = CircuitBreaker(failures=1, open_seconds=60)
    with Server(answer) as server:
        client = way.client(Stack.unchecked(Retry(backoff=AT_ONCE), breaker))
        with pytest.raises((way.library.RemoteProtocolError, way.library.ReadError)) as caught:
            client.get(server.url)
        assert [attempt.outcome for attempt in ledger_of(caught.value).attempts] == [Outcome.BROKEN]
        assert breaker.circuit(server.url).state == "open"
        assert len(server.asked) == 1


def test_more_bytes_than_announced_are_no_part_of_the_answer(way: Way) -> None:
    """What follows is left on the connection, which is not used again."""
    with Server(script(sends(HEAD + b"content-length: 3\r\n\r\nonetwo"), replies(200, b"here"))) as server:
        client = way.client(RETRYING)
        assert client.get(server.url).content == b"one"
        response = client.get(server.url)
        assert (response.content, server.connections) == (b"here", 2)


def test_a_body_that_ends_with_its_connection_is_whole(way: Way) -> None:
    """HTTP/1.0 knows no other end: nothing tells it from a body that was cut."""
    with Server(sends(b"HTTP/1.0 200 OK\r\n\r\none two")) as server:
        response = way.client(RETRYING).get(server.url)
        assert response.content == b"one two"
        assert [attempt.outcome for attempt in ledger_of(response).attempts] == [Outcome.COMPLETE]


@pytest.mark.parametrize(
    "packed", [b"no gzip at all", gzip.compress(b"words" * 100)[:-20] + b"x" * 40], ids=["nonsense", "broken"]
)
def test_a_body_that_cannot_be_unpacked_is_the_callers_error_alone(way: Way, packed: bytes) -> None:
    """It came whole; that nobody can read it shows above the transport, where nothing is repeated or counted."""
    breaker = CircuitBreaker(failures=1, open_seconds=60)
    with Server(replies(200, packed, {"content-encoding": "gzip"})) as server:
        client = way.client(Stack.unchecked(Retry(), breaker))
        with pytest.raises(way.library.DecodingError):
            client.get(server.url)
        assert (len(server.asked), breaker.circuit(server.url).state) == (1, "closed")


def test_a_head_and_a_body_in_single_bytes_are_an_answer_like_any(way: Way) -> None:
    """How an answer is cut into packets means nothing."""

    def drips(talk: Conversation) -> None:
        talk.drip(b"HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nbusy", pause=0.0)
        talk.keeps = True

    with Server(script(drips, replies(200, b"here"))) as server:
        response = way.client(RETRYING).get(server.url)
        assert (response.content, server.connections) == (b"here", 1)


FAILURE = b"HTTP/1.1 503 Busy\r\ncontent-type: "
LARGE = 1024 * 1024


@pytest.mark.parametrize("length", [b"content-length: %d" % LARGE, b"transfer-encoding: chunked"])
def test_a_failure_too_large_to_read_costs_its_connection_and_no_time(way: Way, length: bytes) -> None:
    """64 KiB are read to keep a connection; then it is closed under the server, who may go on for ever."""

    def goes_on(talk: Conversation) -> None:
        talk.send(FAILURE + b"text/plain\r\n" + length + b"\r\n\r\n")
        while True:
            talk.chunk(b"busy" * 1000)

    with Server(script(goes_on, replies(200, b"here"))) as server:
        response = way.client(RETRYING).get(server.url)
        assert (response.content, server.connections) == (b"here", 2)
        assert 64 * 1024 <= ledger_of(response).attempts[0].bytes < LARGE / 2


def test_a_failure_that_is_a_stream_of_events_is_closed_unread(way: Way) -> None:
    """It may say one word an hour, and not a byte of it is waited for."""

    def keeps_alive(talk: Conversation) -> None:
        talk.send(FAILURE + b"text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        talk.wait_for_the_client_to_leave()

    with Server(script(keeps_alive, replies(200, b"here"))) as server:
        response = way.client(RETRYING, timeout=None).get(server.url)
        assert (response.content, server.connections) == (b"here", 2)
        assert ledger_of(response).attempts[0].bytes == 0


def test_a_last_failure_is_whole_however_large(way: Way) -> None:
    """What was read to keep the connection is not lost to the caller who gets it after all."""
    body = bytes(range(256)) * 4096
    with Server(replies(503, body)) as server:
        response = way.client(RETRYING).get(server.url)
        assert (response.status_code, response.content) == (503, body)
        assert len(server.asked) == 3


def test_a_failure_that_falls_silent_is_given_up_like_any_silence(way: Way) -> None:
    """Its status is known, so the call goes on; the connection does not serve again."""
    over = Gate()

    def stalls(talk: Conversation) -> None:
        talk.send(FAILURE + b"text/plain\r\ncontent-length: 4\r\n\r\nbu")
        over.wait()

    with Server(script(stalls, replies(200, b"here"))) as server:
        response = way.client(Stack(Retry(backoff=AT_ONCE), AttemptTimeout(read=0.2))).get(server.url)
        over.open()
        assert (response.content, server.connections) == (b"here", 2)


def test_a_wrong_answer_is_told_by_raise_for_status_as_ever(way: Way) -> None:
    """The response belongs to its request, and the error names it."""
    with Server(replies(404)) as server:
        response = way.client(RETRYING).get(f"{server.url}/missing")
        with pytest.raises(way.library.HTTPStatusError, match="/missing") as caught:
            response.raise_for_status()
        assert caught.value.request.url == f"{server.url}/missing"
        assert not [event for _, event in ledger_of(response).events if isinstance(event, RetryDenied)]
