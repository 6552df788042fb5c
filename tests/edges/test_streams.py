"""Streams of events over the wire: how they end, what they hold back, and what their servers do instead of ending."""

from __future__ import annotations

from typing import Any

import pytest

from resilient_foundry import (
    AttemptTimeout,
    Backoff,
    CircuitBreaker,
    Deadline,
    DeadlineExceededError,
    Retry,
    Stack,
    StreamGuard,
)
from resilient_foundry.events import Outcome
from tests.servers import Conversation, Gate, Handler, Server, script, streams
from tests.ways import Way, ledger_of

AT_ONCE = Backoff(base=0.0)


def outcomes(carrier: Any) -> list[Outcome | None]:
    """How each attempt ended."""
    return [attempt.outcome for attempt in ledger_of(carrier).attempts]


def guarded(failures: int = 1) -> tuple[Stack, CircuitBreaker]:
    """A stack that retries, and its circuit breaker."""
    breaker = CircuitBreaker(failures=failures, open_seconds=60)
    return Stack.unchecked(Retry(backoff=AT_ONCE), breaker, AttemptTimeout(), StreamGuard()), breaker


ENDS = [
    pytest.param(
        streams("words", '{"error": {"message": "out of memory", "type": "server_error"}}', done=False),
        Outcome.IN_BAND_ERROR,
        id="an error in the stream",
    ),
    pytest.param(
        streams('{"choices": [{"delta": {"content": "words"}}]}', done=False), Outcome.TRUNCATED, id="no last word"
    ),
]


@pytest.mark.parametrize(("handler", "outcome"), ENDS)
def test_a_stream_that_fails_after_its_first_event_is_one_failure_at_its_end(
    way: Way, handler: Handler, outcome: Outcome
) -> None:
    """Status 200, a clean end, and a failure all the same: counted once, when it ends, with no byte touched."""
    stack, breaker = guarded(failures=2)
    with Server(handler) as server:
        client = way.client(stack)
        for state in ("closed", "open"):
            with client.stream("GET", server.url) as stream:
                assert b"words" in stream.next()
                assert breaker.circuit(server.url).state == "closed"
                stream.rest()
            assert outcomes(stream.response) == [outcome]
            assert breaker.circuit(server.url).state == state
        assert len(server.asked) == 2


@pytest.mark.parametrize(
    "first",
    [
        streams('{"error": {"message": "no", "type": "server_error"}}', done=False),
        streams(done=False),
        streams('{"choices":[{"delta":{"role":"assistant"}}]}', done=False),
    ],
    ids=["an error", "nothing", "a role alone"],
)
def test_a_stream_that_fails_before_its_first_event_is_asked_for_again_unseen(way: Way, first: Handler) -> None:
    """The caller sees one stream, from its beginning, and its circuit a failure and a success."""
    stack, breaker = guarded(failures=2)
    with Server(script(first, streams("words"))) as server:
        response = way.client(stack).get(server.url)
        assert response.content == b"data: words\n\ndata: [DONE]\n\n"
        assert len(outcomes(response)) == 2
        assert breaker.circuit(server.url).state == "closed"


def test_a_stream_of_comments_alone_is_alive_and_gets_nowhere(way: Way) -> None:
    """Each comment is within every limit of a chunk; only a limit that counts progress ends the wait."""
    stop = Gate()

    def comments(talk: Conversation) -> None:
        talk.begin_stream()
        while not stop.is_open:
            talk.chunk(b": still here\n\n")
            stop.pause(0.005)

    with Server(comments) as server:
        client = way.client(Stack(Deadline(0.1), AttemptTimeout(), StreamGuard()))
        with pytest.raises(DeadlineExceededError):
            client.get(server.url)
        stop.open()


def test_events_cut_anywhere_are_the_same_events(way: Way) -> None:
    """One byte a chunk: nothing is lost, nothing is touched, and its end is seen."""
    said = "data: gr\u00fc\u00dfe\r\n\r\n: a comment\n\nevent: x\ndata: [DONE]\n\n".encode()

    def drips(talk: Conversation) -> None:
        talk.begin_stream()
        for byte in said:
            talk.chunk(bytes([byte]))
        talk.end()

    stack, _ = guarded()
    with Server(drips) as server:
        response = way.client(stack).get(server.url)
        assert (response.content, outcomes(response)) == (said, [Outcome.COMPLETE])


def test_a_reader_who_has_what_he_wanted_may_leave(way: Way) -> None:
    """A stop token was seen, the rest is not read: no failure, no cancellation, and the connection is closed."""
    left = Gate()

    def goes_on(talk: Conversation) -> None:
        talk.begin_stream()
        talk.chunk(b"data: words\n\n")
        talk.wait_for_the_client_to_leave()
        left.open()

    stack, breaker = guarded()
    with Server(goes_on) as server:
        with way.client(stack).stream("GET", server.url) as stream:
            stream.next()
        left.wait()
        assert outcomes(stream.response) == [Outcome.ABANDONED]
        assert breaker.circuit(server.url).state == "closed"
