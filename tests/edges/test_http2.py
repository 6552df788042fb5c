"""HTTP/2: streams that are refused, cut and given back unlooked at, and a connection that dies under many of them."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from h2.errors import ErrorCodes

from resilient_foundry import Backoff, CircuitBreaker, Retry, Stack
from resilient_foundry.events import Outcome
from tests.edges.http2_server import Handler, Http2Server, Stream
from tests.ways import Client, Way, ledger_of

RETRYING = Stack(Retry(attempts=3, backoff=Backoff(base=0.0)))


def client_of(way: Way, stack: Stack) -> Client:
    """A client that speaks HTTP/2 at once, without asking."""
    return way.client(stack, way.transport(http1=False, http2=True))


def errors(carrier: Any) -> list[str | None]:
    """What each attempt failed with."""
    return [attempt.error for attempt in ledger_of(carrier).attempts]


def once(does: Handler, *, at: int = 1) -> Handler:
    """Do this to the request of that number, and answer the others."""

    def handler(stream: Stream) -> None:
        if stream.asked.number == at:
            does(stream)
        else:
            stream.reply(200, b"here")

    return handler


def refuses(stream: Stream) -> None:
    """REFUSED_STREAM: not looked at (RFC 9113 section 8.7)."""
    stream.reset(ErrorCodes.REFUSED_STREAM)


def fails(stream: Stream) -> None:
    """INTERNAL_ERROR: nobody knows how far it got."""
    stream.reset(ErrorCodes.INTERNAL_ERROR)


def goes_after_this(stream: Stream) -> None:
    """GOAWAY: this stream may have been looked at."""
    stream.go_away(stream.number)


def goes_before_this(stream: Stream) -> None:
    """GOAWAY: this stream was not looked at."""
    stream.go_away(stream.number - 2)


def dies(stream: Stream) -> None:
    """Close the connection without a word."""
    stream.leaves = True


@pytest.mark.parametrize(("does", "connections"), [(refuses, 1), (fails, 1), (goes_after_this, 2), (dies, 2)])
def test_a_stream_that_ends_without_an_answer_is_asked_for_again(way: Way, does: Handler, connections: int) -> None:
    """A GET may be; on the same connection, where only the stream has ended."""
    with Http2Server(once(does)) as server:
        response = client_of(way, RETRYING).get(server.url)
        assert (response.http_version, response.content) == ("HTTP/2", b"here")
        assert errors(response) == ["RemoteProtocolError", None]
        assert server.connections == connections


@pytest.mark.parametrize("does", [fails, goes_after_this, dies])
def test_a_post_whose_stream_may_have_been_processed_is_not_repeated(way: Way, does: Handler) -> None:
    """As with a connection that was reset: nobody knows how far it got."""
    with Http2Server(once(does)) as server:
        with pytest.raises(way.library.RemoteProtocolError):
            client_of(way, RETRYING).post(server.url, content=b"words")
        assert len(server.asked) == 1


def test_a_stream_that_was_given_back_unlooked_at_is_sent_again_by_the_library(way: Way) -> None:
    """A GOAWAY that names an earlier stream: even a POST goes out again, unseen by us and not counted."""
    with Http2Server(once(goes_before_this, at=2)) as server:
        client = client_of(way, RETRYING)
        client.get(server.url)
        response = client.post(server.url, content=b"words")
        assert (response.content, errors(response)) == (b"here", [None])
        assert [asked.body for asked in server.asked] == [b"", b"words", b"words"]
        assert server.connections == 2


def test_a_stream_that_is_cut_in_its_body_breaks_alone(way: Way) -> None:
    """It is not repeated, for its head has been handed over; the others on its connection go on."""

    def cuts(stream: Stream) -> None:
        stream.begin(200)
        stream.data(b"one")
        stream.reset(ErrorCodes.INTERNAL_ERROR)

    with Http2Server(once(cuts)) as server:
        client = client_of(way, RETRYING)
        with pytest.raises(way.library.RemoteProtocolError) as caught:
            client.get(server.url)
        assert [attempt.outcome for attempt in ledger_of(caught.value).attempts] == [Outcome.BROKEN]
        assert client.get(server.url).content == b"here"
        assert server.connections == 1


def dies_under(calls: int) -> Handler:
    """Take so many requests, then close the connection under all of them; answer whatever comes later."""

    def handler(stream: Stream) -> None:
        if stream.asked.number == calls:
            stream.leaves = True
        elif stream.asked.number > calls:
            stream.reply(200, b"here")

    return handler


def test_every_call_of_a_connection_that_dies_is_made_again(way: Way) -> None:
    """Each for itself, together on one new connection."""
    with Http2Server(dies_under(4)) as server:
        calls = way.together(4, partial(client_of(way, RETRYING).get, server.url))
        assert [call.result().content for call in calls] == [b"here"] * 4
        assert [errors(call.result()) for call in calls] == [["RemoteProtocolError", None]] * 4
        assert server.connections == 2


@pytest.mark.parametrize(("failures", "state"), [(4, "open"), (5, "closed")])
def test_a_connection_that_dies_under_four_calls_is_four_failures(way: Way, failures: int, state: str) -> None:
    """The circuit counts calls: which connection a call had is told by no library when there is no answer."""
    breaker = CircuitBreaker(failures=failures, open_seconds=60)
    with Http2Server(dies_under(4)) as server:
        calls = way.together(4, partial(client_of(way, Stack(breaker)).get, server.url))
        assert {type(call.exception()) for call in calls} == {way.library.RemoteProtocolError}
        assert breaker.circuit(server.url).state == state


def goes_at_once(stream: Stream) -> None:
    """GOAWAY: no stream was looked at, not even the first."""
    stream.go_away(0)


@pytest.mark.parametrize(("does", "connections"), [(refuses, 1), (goes_at_once, 2)])
def test_a_post_that_was_refused_unlooked_at_is_repeated(way: Way, does: Handler, connections: int) -> None:
    """The server says that it did nothing with it (RFC 9113 sections 6.8 and 8.7): the same as nothing sent."""
    with Http2Server(once(does)) as server:
        response = client_of(way, RETRYING).post(server.url, content=b"words")
        assert response.content == b"here"
        assert [asked.body for asked in server.asked] == [b"words", b"words"]
        assert server.connections == connections
