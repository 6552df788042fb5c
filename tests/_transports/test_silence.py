"""Servers that fall silent: before the head, before the first chunk, between chunks."""

from __future__ import annotations

from typing import Any

import anyio
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
from resilient_foundry.events import Outcome, TimedOut
from tests.servers import Conversation, Handler, Server, says_nothing, script, streams
from tests.ways import LIBRARIES, Way, ledger_of, over

SHORT, LONG = 0.05, 15.0
ENOUGH = 0.3
"""Seconds in which a server on a busy machine answers."""
AT_ONCE = Backoff(base=0.0)


def silent_after(*chunks: bytes, content_type: str = "text/plain") -> Handler:
    """The head, these chunks, and nothing more."""

    def handler(talk: Conversation) -> None:
        talk.begin_stream(content_type)
        for chunk in chunks:
            talk.chunk(chunk)
        talk.wait_for_the_client_to_leave()

    return handler


def outcomes(carrier: Any) -> list[Outcome | None]:
    """How each attempt ended."""
    return [attempt.outcome for attempt in ledger_of(carrier).attempts]


def test_no_head_within_the_read_limit_is_a_read_timeout(way: Way) -> None:
    """The library's own error, from its own clock; the ledger says which limit it was."""
    with Server(says_nothing) as server:
        client = way.client(Stack(AttemptTimeout(read=SHORT)))
        with pytest.raises(way.library.ReadTimeout) as caught:
            client.get(server.url)
        ledger = ledger_of(caught.value)
        assert outcomes(caught.value) == [Outcome.STALLED]
        assert [event.phase for _, event in ledger.events if isinstance(event, TimedOut)] == ["read"]


def test_an_attempt_that_waited_in_vain_is_made_again(way: Way) -> None:
    """A GET may be repeated; the second answer is what the caller sees."""
    with Server(script(says_nothing, streams("words"))) as server:
        client = way.client(Stack(Retry(backoff=AT_ONCE), AttemptTimeout(read=ENOUGH)))
        assert outcomes(client.get(server.url)) == [Outcome.STALLED, Outcome.COMPLETE]


def test_silence_in_a_body_is_a_read_timeout_and_counts_as_a_failure(way: Way) -> None:
    """Both limits alike: the library keeps them itself, in every colour."""
    breaker = CircuitBreaker(failures=1, open_seconds=60)
    with Server(silent_after(b"one")) as server:
        client = way.client(Stack(breaker, AttemptTimeout(read=ENOUGH)))
        with client.stream("GET", server.url) as stream:
            assert stream.next() == b"one"
            with pytest.raises(way.library.ReadTimeout) as caught:
                stream.next()
        assert outcomes(caught.value) == [Outcome.STALLED]
        assert breaker.circuit(stream.response.request.url).state == "open"


def test_a_stream_that_is_silent_before_its_first_event_is_asked_for_again(way: Way) -> None:
    """Comments keep a connection alive and are no progress; nobody has seen anything yet."""
    quiet = silent_after(b": keep-alive\n\n", content_type="text/event-stream")
    with Server(script(quiet, streams("words"))) as server:
        client = way.client(Stack(Retry(backoff=AT_ONCE), AttemptTimeout(read=ENOUGH), StreamGuard()))
        response = client.get(server.url)
        assert response.content == b"data: words\n\ndata: [DONE]\n\n"
        assert outcomes(response) == [Outcome.STALLED, Outcome.COMPLETE]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("limits", "chunks", "said"),
    [
        (AttemptTimeout(read=ENOUGH, idle=LONG), (), "no first chunk of the answer's body within 0.3 s"),
        (AttemptTimeout(read=LONG, idle=SHORT), (b"one",), "no further chunk of the answer's body within 0.05 s"),
    ],
    ids=["first chunk", "further chunk"],
)
async def test_the_shorter_of_two_limits_is_kept_too_where_tasks_can_be_cancelled(
    async_way: str, limits: AttemptTimeout, chunks: tuple[bytes, ...], said: str
) -> None:
    """The library has one limit for a whole body; the other is kept by us, and is a ReadTimeout like it."""
    library: Any = LIBRARIES[async_way.partition("-")[0]]
    transport = over(Stack(limits), library.AsyncHTTPTransport())
    with Server(silent_after(*chunks)) as server:
        async with library.AsyncClient(transport=transport, timeout=None) as client:
            with anyio.fail_after(LONG), pytest.raises(library.ReadTimeout, match=said) as caught:
                await client.get(server.url)
            assert outcomes(caught.value) == [Outcome.STALLED]
            assert caught.value.request.url == server.url


@pytest.mark.parametrize("limits", [AttemptTimeout(read=0.4, idle=0.01), AttemptTimeout(read=0.2, idle=0.4)])
@pytest.mark.parametrize("library", LIBRARIES.values(), ids=LIBRARIES)
def test_the_chunks_of_a_synchronous_body_share_the_longer_limit(library: Any, limits: AttemptTimeout) -> None:
    """A blocking read can't be interrupted, so a chunk that comes between the two limits is let through."""

    def handler(talk: Conversation) -> None:
        talk.begin_stream("text/plain")
        for chunk in (b"one", b"two"):
            talk.pause(0.25 if talk.asked.path == "/idle" else 0.03)
            talk.chunk(chunk)
        talk.wait_for_the_client_to_leave()

    path = "/idle" if limits.idle == 0.4 else "/read"
    transport = over(Stack(limits), library.HTTPTransport())
    with (
        Server(handler) as server,
        library.Client(transport=transport) as client,
        client.stream("GET", f"{server.url}{path}") as response,
    ):
        pieces = response.iter_raw()
        assert [next(pieces), next(pieces)] == [b"one", b"two"]
        with pytest.raises(library.ReadTimeout):
            next(pieces)


@pytest.mark.anyio
async def test_a_deadline_passes_in_the_middle_of_a_long_prefill(async_way: str) -> None:
    """The head came at once and the limits are long: the deadline alone ends the wait for the first event."""
    library: Any = LIBRARIES[async_way.partition("-")[0]]
    stack = Stack.inference()
    transport = over(stack, library.AsyncHTTPTransport())
    with Server(silent_after(b": keep-alive\n\n", content_type="text/event-stream")) as server:
        async with library.AsyncClient(transport=transport) as client:
            with anyio.fail_after(LONG), pytest.raises(DeadlineExceededError) as caught:
                await client.get(server.url, extensions={"resilience": {"deadline": SHORT}})
            assert isinstance(caught.value, library.TimeoutException)


@pytest.mark.anyio
async def test_a_deadline_ends_a_head_that_comes_in_drips(async_way: str) -> None:
    """Each drip is within the library's limit; the call as a whole is not."""
    library: Any = LIBRARIES[async_way.partition("-")[0]]
    transport = over(Stack(Deadline(SHORT)), library.AsyncHTTPTransport())

    def handler(talk: Conversation) -> None:
        talk.drip(b"HTTP/1.1 200 OK\r\nx-letters: " + b"a" * 2000, pause=0.02)

    with Server(handler) as server:
        async with library.AsyncClient(transport=transport) as client:
            with anyio.fail_after(LONG), pytest.raises(DeadlineExceededError):
                await client.get(server.url)
