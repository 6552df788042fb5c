"""What servers say in their heads: not yet, go ahead, another protocol, come back then, do or do not come back."""

from __future__ import annotations

import gzip
from typing import Any

import pytest

from resilient_foundry import AttemptTimeout, Backoff, CircuitBreaker, Deadline, Retry, Stack, StreamGuard
from resilient_foundry.events import Outcome, RetryDenied, RetryScheduled
from tests.servers import Conversation, Handler, Server, replies, script
from tests.ways import Way, ledger_of

AT_ONCE = Backoff(base=0.0)
RETRYING = Stack(Retry(attempts=3, backoff=AT_ONCE))
THEN = "Sun, 06 Nov 1994 08:49:37 GMT"
SOON = "Sun, 06 Nov 1994 08:49:44 GMT"
"""Seven seconds after THEN, and a third of a century ago."""


def outcomes(carrier: Any) -> list[Outcome | None]:
    """How each attempt ended."""
    return [attempt.outcome for attempt in ledger_of(carrier).attempts]


def told(carrier: Any) -> list[tuple[float, str] | str]:
    """What Retry decided: the waits with their source, and why it ended."""
    return [
        (event.wait, event.source) if isinstance(event, RetryScheduled) else event.why
        for _, event in ledger_of(carrier).events
        if isinstance(event, (RetryScheduled, RetryDenied))
    ]


def busy(*headers: str) -> Handler:
    """A 503 with these very header lines."""
    head = "\r\n".join(["HTTP/1.1 503 Busy", "content-length: 4", *headers])

    def handler(talk: Conversation) -> None:
        talk.send(f"{head}\r\n\r\nbusy".encode())
        talk.keeps = True

    return handler


@pytest.mark.parametrize("interim", [b"100 Continue", b"102 Processing", b"103 Early Hints\r\nlink: </a.css>"])
def test_an_interim_answer_is_no_answer(way: Way, interim: bytes) -> None:
    """The call has one attempt and the status of what follows; limits and circuit wait for that too."""

    def handler(talk: Conversation) -> None:
        for _ in range(3):
            talk.send(b"HTTP/1.1 " + interim + b"\r\n\r\n")
        talk.reply(200, b"here")

    with Server(handler) as server:
        client = way.client(Stack(Deadline(20), Retry(), CircuitBreaker(), AttemptTimeout()))
        response = client.post(server.url, content=b"words", headers={"expect": "100-continue"})
        assert (response.status_code, response.content) == (200, b"here")
        assert outcomes(response) == [Outcome.COMPLETE]
        assert [asked.body for asked in server.asked] == [b"words"]


def test_interim_answers_alone_are_silence(way: Way) -> None:
    """A server that says "go on" and then nothing has not answered; the limit for the head is its limit."""

    def handler(talk: Conversation) -> None:
        talk.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        talk.wait_for_the_client_to_leave()

    with Server(handler) as server:
        with pytest.raises(way.library.ReadTimeout) as caught:
            way.client(Stack(AttemptTimeout(read=0.05))).get(server.url)
        assert outcomes(caught.value) == [Outcome.STALLED]


def test_another_protocol_is_left_to_those_who_speak_it(way: Way) -> None:
    """After a 101 the connection is the caller's: nothing of it is read, limited or repeated here.

    The server has done what it was asked, so its circuit stays closed, whatever is said from then on.
    """

    def handler(talk: Conversation) -> None:
        talk.begin(101, {"upgrade": "echo", "connection": "upgrade"})
        talk.send(b"echo: " + talk.receive(5))
        talk.wait_for_the_client_to_leave()

    breaker = CircuitBreaker(failures=1)
    stack = Stack.unchecked(Deadline(5), Retry(), breaker, AttemptTimeout(), StreamGuard())
    with Server(handler) as server:
        client = way.client(stack)
        headers = {"upgrade": "echo", "connection": "upgrade"}
        with client.stream("GET", server.url, headers=headers) as stream:
            assert stream.response.status_code == 101
            assert outcomes(stream.response) == [Outcome.COMPLETE]
            network = stream.response.extensions["network_stream"]
            way.run(network.write, b"hello", 5.0)
            assert way.run(network.read, 100, 5.0) == b"echo: hello"
        assert outcomes(stream.response) == [Outcome.COMPLETE]
        assert breaker.circuit(server.url).state == "closed"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        (["Retry-After: 7"], 7.0),
        (["Retry-After: 0.5"], 0.5),
        (["retry-after-ms: 250", "Retry-After: 7"], 0.25),
        (["x-ms-retry-after-ms: 250"], 0.25),
        ([f"Date: {THEN}", f"Retry-After: {SOON}"], 7.0),
        (["Retry-After: soon", "Retry-After: 7"], 7.0),
    ],
    ids=["seconds", "a fraction", "milliseconds first", "azure", "a date by the server's own clock", "the first valid"],
)
def test_every_form_of_retry_after_is_the_same_wish(way: Way, headers: list[str], seconds: float) -> None:
    """Read off the wire as it is written there. One wish is too long for this call, so no test waits for it."""
    with Server(busy(*headers)) as server:
        response = way.client(Stack(Retry(longest_wait=seconds - 0.01))).get(server.url)
        assert (response.status_code, told(response)) == (503, ["wait_too_long"])
        response = way.client(Stack(Deadline(seconds), Retry())).get(server.url)
        assert (response.status_code, told(response), len(server.asked)) == (503, ["deadline"], 2)


def test_a_wish_that_fits_is_waited_for(way: Way) -> None:
    """Of two answers that ask for a millisecond, both get it."""
    with Server(script(busy("retry-after-ms: 1"), busy("Retry-After: .001"), replies(200))) as server:
        response = way.client(Stack(Retry(longest_wait=1))).get(server.url)
        assert told(response) == [(0.001, "retry_after")] * 2


@pytest.mark.parametrize(
    "wish",
    ["NaN", "inf", "-1", "1e3", "\u0664", "", "0", "a while", f"{THEN}"],
    ids=["nan", "inf", "negative", "exponent", "other digits", "empty", "nothing", "words", "past"],
)
def test_a_wish_that_means_nothing_leaves_the_backoff(way: Way, wish: str) -> None:
    """Neither an error nor a reason to come back at once."""
    with Server(script(busy(f"Retry-After: {wish}"), replies(200))) as server:
        response = way.client(Stack(Retry(backoff=Backoff(base=0.001)))).get(server.url)
        assert [event.source for _, event in ledger_of(response).events if isinstance(event, RetryScheduled)] == [
            "backoff"
        ]


@pytest.mark.parametrize("status", [413, 404, 302])
def test_a_wish_beside_another_status_is_for_the_caller_to_read(way: Way, status: int) -> None:
    """A redirect that is followed is not waited for either, and a refusal is no reason to come again."""

    def handler(talk: Conversation) -> None:
        if talk.asked.path == "/there":
            talk.reply(200)
        else:
            talk.reply(status, b"", {"retry-after": "30", "location": "/there"})

    with Server(handler) as server:
        response = way.client(RETRYING).get(server.url)
        assert (response.status_code, response.headers["retry-after"], told(response)) == (status, "30", [])
        followed = way.client(RETRYING, follow_redirects=True).get(server.url)
        assert (followed.status_code, told(followed)) == (200 if status == 302 else status, [])
        assert len(server.asked) == (3 if status == 302 else 2)


@pytest.mark.parametrize(
    ("status", "word", "sent"), [(503, "false", 1), (500, "False", 1), (404, "true", 2), (404, "", 1)]
)
def test_a_server_that_says_whether_to_come_again_is_believed(way: Way, status: int, word: str, sent: int) -> None:
    """Over its own status; whether the call may be made twice stays the caller's to say."""
    headers = {"x-should-retry": word} if word else {}
    with Server(script(replies(status, b"", headers), replies(200))) as server:
        way.client(RETRYING).get(server.url)
        assert len(server.asked) == sent
    with Server(script(replies(500, b"", headers), replies(200))) as server:
        way.client(RETRYING).post(server.url, content=b"words")
        assert len(server.asked) == 1


def test_a_misdirected_request_is_handed_over(way: Way) -> None:
    """Here every origin has connections of its own, so a new one would meet the same 421."""
    with Server(replies(421, b"not here")) as server:
        response = way.client(RETRYING).get(server.url)
        assert (response.status_code, response.content, len(server.asked)) == (421, b"not here", 1)


def test_a_compressed_stream_passes_untouched(way: Way) -> None:
    """The guard sees no events in it and holds nothing; what the library unpacks is what the server said."""
    said = b"data: words\n\ndata: [DONE]\n\n"

    def handler(talk: Conversation) -> None:
        talk.begin(
            200, {"content-type": "text/event-stream", "content-encoding": "gzip", "transfer-encoding": "chunked"}
        )
        talk.chunk(gzip.compress(said))
        talk.end()

    with Server(handler) as server:
        response = way.client(Stack.inference()).get(server.url)
        assert response.content == said
        assert outcomes(response) == [Outcome.COMPLETE]
