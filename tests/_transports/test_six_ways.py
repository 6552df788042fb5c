"""What every library and colour does alike, over real sockets."""

from __future__ import annotations

import gzip
from typing import Any

import pytest

from resilient_foundry import (
    AttemptTimeout,
    Backoff,
    CircuitBreaker,
    CircuitOpenError,
    Deadline,
    DeadlineExceededError,
    ResilienceError,
    Retry,
    Stack,
    StreamGuard,
)
from resilient_foundry.events import Outcome
from resilient_foundry.flow import Flow, Proceed, Request, Response, discard
from tests.servers import Conversation, Gate, Server, closed_port, replies, says_nothing, script, streams
from tests.ways import Way, ledger_of

AT_ONCE = Backoff(base=0.0)
RETRYING = Stack(Retry(attempts=3, backoff=AT_ONCE))
GUARDED = Stack(Retry(attempts=3, backoff=AT_ONCE), CircuitBreaker(), AttemptTimeout(), StreamGuard())


def statuses(carrier: Any) -> list[int | None]:
    """The status of each attempt."""
    return [attempt.status for attempt in ledger_of(carrier).attempts]


def outcomes(carrier: Any) -> list[Outcome | None]:
    """How each attempt ended."""
    return [attempt.outcome for attempt in ledger_of(carrier).attempts]


def test_a_busy_server_is_asked_again(way: Way) -> None:
    """One 503, one 200: the caller sees the 200, and the ledger both."""
    with Server(script(replies(503, b"busy"), replies(200, b"here"))) as server:
        response = way.client(RETRYING).get(server.url)
        assert (response.status_code, response.content) == (200, b"here")
        assert statuses(response) == [503, 200]
        assert server.connections == 1  # the answer that was thrown away was read, so its connection serves again


def test_an_answer_that_stays_bad_is_handed_over_whole(way: Way) -> None:
    """When attempts end the caller gets the last response as it came, body included."""
    with Server(replies(503, b"still busy", {"x-why": "lunch"})) as server:
        response = way.client(RETRYING).get(server.url)
        assert (response.status_code, response.content, response.headers["x-why"]) == (503, b"still busy", "lunch")
        assert statuses(response) == [503, 503, 503]


def test_a_refused_connection_is_an_error_of_the_library_with_its_ledger(way: Way) -> None:
    """Nothing was sent, so even a POST is tried again; what ends it is the library's own error."""
    client = way.client(RETRYING)
    with pytest.raises(way.library.ConnectError) as caught:
        client.post(closed_port(), content=b"words")
    assert len(ledger_of(caught.value).attempts) == 3
    assert caught.value.request.method == "POST"
    assert any("after 3 attempts" in note for note in caught.value.__notes__)


def test_a_body_is_sent_whole_with_every_attempt(way: Way) -> None:
    """Bytes, and forms of bytes, are the same the second time."""
    with Server(script(replies(503), replies(200))) as server:
        way.client(RETRYING).post(server.url, content=b"words", headers={"idempotency-key": "1"})
        assert [asked.body for asked in server.asked] == [b"words", b"words"]


def test_a_stream_is_handed_over_chunk_by_chunk(way: Way) -> None:
    """The first chunk is in the caller's hands before the server sends the second, and no byte is touched."""
    read = Gate()

    def handler(talk: Conversation) -> None:
        talk.begin_stream()
        talk.chunk(b"data: one\n\n")
        read.wait()
        talk.chunk(b"data:two\r\n\r\n")
        talk.chunk(b": a comment\n\ndata: [DO")
        talk.chunk(b"NE]\n\n")
        talk.end()

    with Server(handler) as server, way.client(Stack.inference()).stream("GET", server.url) as stream:
        assert stream.next() == b"data: one\n\n"
        read.open()
        assert stream.rest() == b"data:two\r\n\r\n: a comment\n\ndata: [DONE]\n\n"
        (attempt,) = ledger_of(stream.response).attempts
        assert (attempt.outcome, attempt.bytes) == (Outcome.COMPLETE, 50)


def test_a_stream_cut_before_its_first_event_is_asked_for_again_unseen(way: Way) -> None:
    """A role and a comment are no content: the caller sees one stream, from its beginning."""

    def cut(talk: Conversation) -> None:
        talk.begin_stream()
        talk.chunk(b': hello\n\ndata: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n')

    with Server(script(cut, streams("words"))) as server:
        client = way.client(GUARDED)
        with client.stream("GET", server.url) as stream:
            assert stream.rest() == b"data: words\n\ndata: [DONE]\n\n"
            assert outcomes(stream.response) == [Outcome.BROKEN, Outcome.COMPLETE]
        assert len(server.asked) == 2


def test_a_post_cut_before_its_first_event_is_not_repeated_unless_it_may_be(way: Way) -> None:
    """Whether a POST may be done twice is the caller's to say."""

    def cut(talk: Conversation) -> None:
        talk.begin_stream()

    with Server(script(cut, cut, streams("words"))) as server:
        client = way.client(GUARDED)
        with pytest.raises(way.library.RemoteProtocolError):
            client.post(server.url, content=b"{}")
        assert client.post(server.url, content=b"{}", extensions={"resilience": {"repeatable": True}}).is_success
        assert len(server.asked) == 3


def test_a_stream_cut_after_its_first_event_is_never_repeated(way: Way) -> None:
    """What the caller has seen can't be unsaid: the library's error comes through, with the ledger on it."""

    def cut(talk: Conversation) -> None:
        talk.begin_stream()
        talk.chunk(b"data: words\n\n")

    with Server(cut) as server, way.client(GUARDED).stream("GET", server.url) as stream:
        assert stream.next() == b"data: words\n\n"
        with pytest.raises(way.library.RemoteProtocolError) as caught:
            stream.next()
        (attempt,) = ledger_of(caught.value).attempts
        assert (attempt.outcome, attempt.error) == (Outcome.BROKEN, "RemoteProtocolError")
        assert caught.value.request.url == server.url
        assert len(server.asked) == 1


def test_an_open_circuit_is_an_error_of_both_trees(way: Way) -> None:
    """`except httpx.TransportError` keeps working, and `except CircuitOpenError` says more."""
    breaker = CircuitBreaker(failures=1, open_seconds=60)
    with Server(replies(500)) as server:
        client = way.client(Stack(breaker))
        client.get(server.url)
        with pytest.raises(CircuitOpenError) as caught:
            client.get(server.url)
        error: Any = caught.value
        assert isinstance(error, way.library.TransportError)
        assert not isinstance(error, way.library.TimeoutException)
        assert error.circuit == server.url
        assert error.retry_after is not None
        assert error.request.url == server.url
        assert ledger_of(error).attempts == []
        assert len(server.asked) == 1


def test_a_passed_deadline_is_a_timeout_of_the_library(way: Way) -> None:
    """The error of a deadline is both names too, and keeps what caused it."""
    with Server(says_nothing) as server:
        with pytest.raises(DeadlineExceededError) as caught:
            way.client(Stack(Deadline(0.05))).get(server.url)
        error: Any = caught.value
        assert isinstance(error, way.library.TimeoutException)
        assert error.seconds == 0.05
        assert error.request.url == server.url
        assert isinstance(error.__cause__, way.library.TimeoutException)
        assert outcomes(error) == [Outcome.STALLED]


def test_errors_survive_being_raised_from_another(way: Way) -> None:
    """An SDK that wraps our error keeps it, its ledger and its own class as the cause."""

    def sdk(call: Any) -> None:
        try:
            call()
        except way.library.TransportError as error:
            raise RuntimeError("the SDK's own") from error

    client = way.client(Stack(Deadline(0.05)))
    with Server(says_nothing) as server, pytest.raises(RuntimeError) as caught:
        sdk(lambda: client.get(server.url))
    cause = caught.value.__cause__
    assert isinstance(cause, ResilienceError)
    assert len(ledger_of(cause).attempts) == 1
    assert type(cause).__name__ == "DeadlineExceededError"


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_answers_without_a_body_end_well(way: Way, method: str, status: int) -> None:
    """No body is a whole body; the connection serves the next call."""

    def handler(talk: Conversation) -> None:
        talk.reply_without_a_body(status, {"content-length": "5"} if method == "HEAD" else {})

    with Server(handler) as server:
        client = way.client(GUARDED)
        for _ in range(2):
            response = client.request(method, server.url)
            assert (response.status_code, response.content) == (status, b"")
            assert outcomes(response) == [Outcome.COMPLETE]
        assert server.connections == 1


def test_compressed_bodies_are_counted_as_they_came(way: Way) -> None:
    """The ledger speaks of the wire, the response of what was said."""
    said = b"words " * 1000
    packed = gzip.compress(said)
    with Server(replies(200, packed, {"content-encoding": "gzip"})) as server:
        response = way.client(GUARDED).get(server.url)
        assert response.content == said
        assert [attempt.bytes for attempt in ledger_of(response).attempts] == [len(packed)]


def test_a_body_that_is_closed_half_way_is_called_abandoned(way: Way) -> None:
    """Leaving early is the caller's right, no failure of the server, and leaves nothing open."""

    def handler(talk: Conversation) -> None:
        talk.begin_stream("text/plain")
        talk.chunk(b"one")
        talk.wait_for_the_client_to_leave()

    breaker = CircuitBreaker(failures=1)
    with Server(handler) as server:
        client = way.client(Stack(breaker))
        with client.stream("GET", server.url) as stream:
            assert stream.next() == b"one"
        assert outcomes(stream.response) == [Outcome.ABANDONED]
        assert breaker.circuit(stream.response.request.url).state == "closed"


def test_what_a_transport_can_read_bare_it_can_read_under_a_stack(way: Way) -> None:
    """A transport that signs or logs what it sends looks at the content of the request."""
    seen: list[bytes] = []

    def sign(request: Any) -> Any:
        seen.append(request.content)
        return way.library.Response(200)

    async def sign_too(request: Any) -> Any:
        return sign(request)

    signing = way.library.MockTransport(sign)  # its own methods would read the request first
    signing.handle_request, signing.handle_async_request = sign, sign_too
    client = way.client(Stack.standard(), signing)
    client.post("http://foundry.local/", json={"a": 1})
    assert seen == [b'{"a":1}']


def test_a_policy_may_answer_itself(way: Way) -> None:
    """A cache, a fallback, a fault made on purpose: nothing is sent, and the policies around it see an answer."""

    class Answering:
        def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
            del request, proceed
            yield from ()
            return way.library.Response(203, text="from memory")  # type: ignore[no-any-return]

    def never(request: Any) -> Any:
        raise AssertionError(f"{request} was sent")

    breaker = CircuitBreaker()
    client = way.client(Stack(Retry(), breaker, Answering()), way.library.MockTransport(never))
    response = client.get("http://foundry.local/")
    assert (response.status_code, response.text) == (203, "from memory")
    assert ledger_of(response).attempts == []


def test_a_policy_that_forgets_its_answer_is_told_so(way: Way) -> None:
    """The commonest mistake of a new policy, in one sentence."""

    class Forgetful:
        def flow(self, request: Request, proceed: Proceed) -> Flow[Any]:
            yield from proceed(request)

    def answer(request: Any) -> Any:
        return way.library.Response(200, request=request)

    client = way.client(Stack(Forgetful()), way.library.MockTransport(answer))
    with pytest.raises(TypeError, match="a flow ended with"):
        client.get("http://foundry.local/")


def test_a_policy_that_answers_with_a_stream_of_its_own_is_refused(way: Way) -> None:
    """It would be closed before anybody reads it; what a policy makes has its content."""

    class Wrapping:
        def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
            response: Any = yield from proceed(request)
            base: Any = way.library.SyncByteStream if way.colour == "sync" else way.library.AsyncByteStream
            other: Any = type("Other", (base,), {"inner": response.stream})
            return way.library.Response(200, stream=other())  # type: ignore[no-any-return]

    with Server(replies(200)) as server:
        client = way.client(Stack(Wrapping()))
        with pytest.raises(TypeError, match="a policy answered with a stream of its own"):
            client.get(server.url)


def test_a_body_that_was_closed_before_its_end_does_not_seem_whole(way: Way) -> None:
    """Half an answer that looks like a whole one is the worst of ends."""

    class Early:
        def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
            response = yield from proceed(request)
            yield from discard(response)
            return response

    with Server(replies(200, b"hello")) as server:
        client = way.client(Stack(Early()))
        with pytest.raises(way.library.StreamClosed):
            client.get(server.url)
