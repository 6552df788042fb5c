"""Two requests for one call, over the wire: who wins, and what becomes of the other one. Only where calls await."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from resilient_foundry import CircuitBreaker, Hedge, Stack, StreamGuard
from resilient_foundry.events import Outcome
from resilient_foundry.flow import Policy
from tests.servers import Conversation, Gate, Server, by_attempt, replies, script
from tests.ways import NAMES, Client, Numbered, Way, ledger_of

AWAITING = [name for name in NAMES if not name.endswith("-sync")]
pytestmark = pytest.mark.parametrize("way", AWAITING, indirect=True)
LATER = 0.05
"""Seconds until the second request."""


def client_of(way: Way, *policies: Policy) -> Client:
    """A client that hedges. On httpx the stack warns of it, which is tested with the policy."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return way.client(Stack(*policies))


def outcomes(carrier: Any) -> list[Outcome | None]:
    """How each request ended."""
    return [attempt.outcome for attempt in ledger_of(carrier).attempts]


def test_the_first_event_wins_and_not_the_first_head(way: Way) -> None:
    """A server that announces its stream and then thinks loses; its connection is closed, and its circuit unmoved."""
    left = Gate()

    def thinks(talk: Conversation) -> None:
        talk.begin_stream()
        talk.wait_for_the_client_to_leave()
        left.open()

    def speaks(talk: Conversation) -> None:
        talk.begin_stream()
        talk.chunk(b"data: words\n\n")
        talk.chunk(b"data: [DONE]\n\n")
        talk.end()

    breaker = CircuitBreaker(failures=1)
    with Server(by_attempt(thinks, speaks)) as server:
        response = client_of(way, Hedge(LATER), breaker, StreamGuard(), Numbered()).get(server.url)
        left.wait()
        assert response.content == b"data: words\n\ndata: [DONE]\n\n"
        assert outcomes(response) == [Outcome.CANCELLED, Outcome.COMPLETE]
        assert breaker.circuit(server.url).state == "closed"


def test_a_loser_that_has_no_answer_yet_is_gone_when_the_winner_is_handed_over(way: Way) -> None:
    """Nobody is left who waits for it, and it says nothing of the server."""
    left = Gate()

    def thinks(talk: Conversation) -> None:
        talk.wait_for_the_client_to_leave()
        left.open()

    breaker = CircuitBreaker(failures=1)
    with Server(script(thinks, replies(200, b"here"))) as server:
        client = client_of(way, Hedge(LATER), breaker)
        assert client.get(server.url).content == b"here"
        left.wait()
        assert client.get(server.url, extensions={"resilience": {"retry": False}}).content == b"here"
        assert (server.connections, breaker.circuit(server.url).state) == (2, "closed")


def test_a_request_that_fails_fast_is_followed_at_once(way: Way) -> None:
    """No delay is waited for that would take longer than this test may."""
    with Server(script(lambda talk: talk.reset(), replies(200, b"here"))) as server:
        response = client_of(way, Hedge(3600)).get(server.url)
        assert (response.content, len(server.asked)) == (b"here", 2)


def test_where_both_fail_the_first_failure_is_the_answer(way: Way) -> None:
    """Whole, with its body."""
    with Server(script(replies(500, b"first"), replies(502, b"second"))) as server:
        response = client_of(way, Hedge(3600)).get(server.url)
        assert (response.status_code, response.content, len(server.asked)) == (500, b"first", 2)


def test_what_must_not_be_done_twice_is_sent_once(way: Way) -> None:
    """A POST, unless its caller says that it may."""
    late = Gate()

    def slow(talk: Conversation) -> None:
        late.pause(2 * LATER)
        talk.reply(200, b"here")

    with Server(slow) as server:
        client = client_of(way, Hedge(LATER))
        assert client.post(server.url, content=b"words").content == b"here"
        assert len(server.asked) == 1
