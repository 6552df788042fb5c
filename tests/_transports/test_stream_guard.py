"""Limits of streams over real sockets: the first event, and each later one that brings something on."""

from __future__ import annotations

from typing import Any

import pytest

from resilient_foundry import AttemptTimeout, Backoff, CircuitBreaker, Retry, Stack, StreamGuard
from resilient_foundry.events import Outcome, TimedOut
from tests.servers import Conversation, Handler, Server, script, streams
from tests.ways import Way, ledger_of

AT_ONCE = Backoff(base=0.0)
SHORT = 0.2
"""Seconds of a limit that is to pass."""
BEAT = 0.03
"""Seconds between two signs of life."""


def beats(*first: bytes) -> Handler:
    """These chunks, and then a comment again and again until the client leaves."""

    def handler(talk: Conversation) -> None:
        talk.begin_stream()
        for chunk in first:
            talk.chunk(chunk)
        while True:
            talk.chunk(b": keep-alive\n\n")
            talk.pause(BEAT)

    return handler


def silent(*first: bytes) -> Handler:
    """These chunks, and nothing more."""

    def handler(talk: Conversation) -> None:
        talk.begin_stream()
        for chunk in first:
            talk.chunk(chunk)
        talk.wait_for_the_client_to_leave()

    return handler


WORDS = b'data: {"choices": [{"delta": {"content": "words"}}]}\n\n'
ROLE = b'data: {"choices": [{"delta": {"role": "assistant", "content": ""}}]}\n\n'


def phases(carrier: Any) -> list[str]:
    """Which limits passed."""
    return [event.phase for _, event in ledger_of(carrier).events if isinstance(event, TimedOut)]


@pytest.mark.parametrize("handler", [beats(), beats(ROLE), silent(), silent(ROLE)])
def test_comments_and_roles_are_no_first_event(way: Way, handler: Handler) -> None:
    """The next attempt answers, and nobody has noticed."""
    with Server(script(handler, streams("words"))) as server:
        client = way.client(
            Stack(Retry(backoff=AT_ONCE), AttemptTimeout(), StreamGuard(first_event=SHORT, progress=SHORT))
        )
        response = client.get(server.url)
        assert response.content == b"data: words\n\ndata: [DONE]\n\n"
        assert [attempt.outcome for attempt in ledger_of(response).attempts] == [Outcome.STALLED, Outcome.COMPLETE]
        assert phases(response) == ["progress"]


@pytest.mark.parametrize("handler", [beats(WORDS), silent(WORDS), beats(WORDS, ROLE)])
def test_a_stream_that_brings_nothing_more_on_is_a_read_timeout(way: Way, handler: Handler) -> None:
    """The library's own, and a failure of the server."""
    breaker = CircuitBreaker(failures=1, open_seconds=60)
    with Server(handler) as server:
        client = way.client(Stack(breaker, AttemptTimeout(), StreamGuard(first_event=5, progress=SHORT)))
        if way.colour == "sync":
            client = way.client(Stack(breaker, AttemptTimeout(), StreamGuard(first_event=SHORT, progress=SHORT)))
        with client.stream("GET", server.url) as stream:
            assert stream.next() == WORDS
            with pytest.raises(way.library.ReadTimeout) as caught:
                stream.rest()
        assert phases(caught.value) == ["progress"]
        assert breaker.circuit(stream.response.request.url).state == "open"


def test_a_client_without_limits_is_bound_by_those_of_the_guard(way: Way) -> None:
    """A blocking read of a silent socket ends as well."""
    with Server(silent(WORDS)) as server:
        client = way.client(Stack(StreamGuard(first_event=SHORT, progress=SHORT)), timeout=None)
        with client.stream("GET", server.url) as stream, pytest.raises(way.library.ReadTimeout):
            stream.rest()


def test_a_stream_that_is_closed_at_its_last_event_is_complete(way: Way) -> None:
    """SDKs do not wait for the end of the bytes; the connection is given back all the same."""
    with Server(beats(WORDS, b"data: [DONE]\n\n")) as server:
        client = way.client(Stack(StreamGuard()))
        with client.stream("GET", server.url) as stream:
            read = b""
            while b"[DONE]" not in read:
                read += stream.next()
        (attempt,) = ledger_of(stream.response).attempts
        assert attempt.outcome is Outcome.COMPLETE
