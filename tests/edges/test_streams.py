"""Streams of events over the wire: how they end, what they hold back, and what their servers do instead of ending."""

from __future__ import annotations

import json
import re
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

    breaker = CircuitBreaker(failures=1, open_seconds=60)
    with Server(comments) as server:
        client = way.client(Stack(Deadline(0.1), breaker, AttemptTimeout(), StreamGuard()))
        with pytest.raises(DeadlineExceededError) as caught:
            client.get(server.url)
        stop.open()
        assert outcomes(caught.value) == [Outcome.STALLED]
        assert breaker.circuit(server.url).state == "open"


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


@pytest.mark.parametrize(
    ("before", "guard"),
    [((), StreamGuard(first_event=0.05)), ((b"data: words\n\n",), StreamGuard(progress=0.05))],
    ids=["the first", "a later one"],
)
@pytest.mark.parametrize("keeps_alive", [True, False], ids=["comments", "silence"])
def test_an_event_that_does_not_come_in_time_is_a_stall(
    way: Way, before: tuple[bytes, ...], guard: StreamGuard, *, keeps_alive: bool
) -> None:
    """Its head came at once and its bytes come all the time: what is waited for is something that brings it on."""
    stop = Gate()

    def gets_nowhere(talk: Conversation) -> None:
        talk.begin_stream()
        for chunk in before:
            talk.chunk(chunk)
        while keeps_alive and not stop.is_open:
            talk.chunk(b": still here\n\n")
            stop.pause(0.005)
        talk.wait_for_the_client_to_leave()

    breaker = CircuitBreaker(failures=1, open_seconds=60)
    with Server(gets_nowhere) as server:
        client = way.client(Stack(breaker, AttemptTimeout(read=0.2), guard))
        with pytest.raises(way.library.ReadTimeout) as caught:
            client.get(server.url)
        stop.open()
        assert outcomes(caught.value) == [Outcome.STALLED]
        assert breaker.circuit(server.url).state == "open"


def chat(*pieces: str) -> bytes:
    """These pieces of an answer, as a chat tells them."""
    told = [json.dumps({"choices": [{"index": 0, "delta": {"content": piece}}]}) for piece in pieces]
    return "".join(f"data: {event}\n\n" for event in told).encode()


def text_of(body: bytes) -> str:
    """What the events of a chat say together."""
    events = [json.loads(line) for line in re.findall(r"^data: ({.*})$", body.decode(), re.MULTILINE)]
    return "".join(event["choices"][0]["delta"].get("content", "") for event in events)


END = b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
ASKED: dict[str, Any] = {"model": "phi", "messages": [{"role": "user", "content": "Hamlet"}], "stream": True}
RESUMING = Stack(Retry(backoff=AT_ONCE), StreamGuard(resume=True))


def test_a_stream_that_broke_goes_on_where_the_same_answer_is_sure_to_come_again(way: Way) -> None:
    """The second answer is cut elsewhere; the caller sees one text, in one stream."""

    def breaks(talk: Conversation) -> None:
        talk.begin_stream()
        talk.chunk(chat("To be", ", or no"))
        talk.reset()

    def tells_it_whole(talk: Conversation) -> None:
        talk.begin_stream()
        talk.chunk(chat("To", " be, or", " not", " to be"))
        talk.chunk(END)
        talk.end()

    with Server(script(breaks, tells_it_whole)) as server:
        response = way.client(RESUMING).post(server.url, json=ASKED | {"temperature": 0})
        assert text_of(response.content) == "To be, or not to be"
        assert response.content.count(b"[DONE]") == 1
        assert [asked.body for asked in server.asked] == [server.asked[0].body] * 2


def test_a_stream_that_may_be_another_the_next_time_is_not_asked_for_again(way: Way) -> None:
    """Without a temperature of nothing or a seed, the rest of another answer would be no rest of this one."""

    def breaks(talk: Conversation) -> None:
        talk.begin_stream()
        talk.chunk(chat("To be"))

    with Server(breaks) as server:
        with pytest.raises(way.library.RemoteProtocolError) as caught:
            way.client(RESUMING).post(server.url, json=ASKED)
        assert outcomes(caught.value) == [Outcome.BROKEN]
        assert len(server.asked) == 1
