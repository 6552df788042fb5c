"""Circuits over the wire: what counts, for how long they open, and what goes out to see whether they may close."""

from __future__ import annotations

import contextlib

import pytest

from resilient_foundry import Backoff, CircuitBreaker, CircuitOpenError, Retry, Stack
from tests.servers import Conversation, Gate, Handler, Server, replies, script
from tests.ways import Way

COME_BACK = {"retry-after": "30"}


def hangs_up(talk: Conversation) -> None:
    """Take the request, close the connection."""
    del talk


@pytest.mark.parametrize(
    ("between", "state"),
    [
        (replies(400), "closed"),
        (replies(404, b"no such model"), "closed"),
        (replies(422), "closed"),
        (replies(501), "closed"),
        (replies(429, b"", COME_BACK), "open"),
        (replies(425), "open"),
        (replies(408), "open"),
        (replies(503), "open"),
        (hangs_up, "open"),
    ],
    ids=["400", "404", "422", "501", "429", "425", "408", "503", "no answer"],
)
def test_an_answer_is_a_failure_a_success_or_nothing(way: Way, between: Handler, state: str) -> None:
    """Between two failures, a success of the server makes the first forgotten, what says nothing of it does not."""
    breaker = CircuitBreaker(failures=2, open_seconds=60)
    with Server(script(replies(500), between, replies(500))) as server:
        client = way.client(Stack(breaker))
        for _ in range(3):
            with contextlib.suppress(CircuitOpenError, way.library.RemoteProtocolError):
                client.get(server.url)
        assert breaker.circuit(server.url).state == state


def test_a_503_that_says_when_to_come_back_is_believed(way: Way) -> None:
    """The circuit opens for as long as the server asks, and says so to those whom it refuses."""
    breaker = CircuitBreaker(failures=1, open_seconds=1)
    with Server(replies(503, b"", COME_BACK)) as server:
        client = way.client(Stack(breaker))
        client.get(server.url)
        with pytest.raises(CircuitOpenError) as caught:
            client.get(server.url)
        assert caught.value.retry_after is not None
        assert 25 < caught.value.retry_after <= 30


def test_a_circuit_that_opens_ends_the_attempts_at_once(way: Way) -> None:
    """No wait for a refusal: the caller gets the answer that opened it."""
    with Server(replies(502, b"bad")) as server:
        stack = Stack.unchecked(Retry(attempts=5, backoff=Backoff(base=0.0)), CircuitBreaker(failures=2))
        response = way.client(stack).get(server.url)
        assert (response.status_code, response.content, len(server.asked)) == (502, b"bad", 2)


def test_a_cheap_question_goes_out_before_an_expensive_call(way: Way) -> None:
    """While the server is down only that is asked; once it answers, the call itself goes out."""
    up, over = Gate(), Gate()

    def handler(talk: Conversation) -> None:
        talk.reply(200 if up.is_open else 503, b"here")

    breaker = CircuitBreaker(failures=1, open_seconds=0.01, growth=1.0, probe="/status")
    with Server(handler) as server:
        client = way.client(Stack(breaker))
        client.post(f"{server.url}/chat", content=b"words")
        over.pause(0.02)
        with pytest.raises(CircuitOpenError):
            client.post(f"{server.url}/chat", content=b"words")
        up.open()
        over.pause(0.02)
        assert client.post(f"{server.url}/chat", content=b"words").content == b"here"
        assert [(asked.method, asked.path) for asked in server.asked] == [
            ("POST", "/chat"),
            ("GET", "/status"),
            ("GET", "/status"),
            ("POST", "/chat"),
        ]
        assert breaker.circuit(server.url).state == "closed"
