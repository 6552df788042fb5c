"""Bodies that a policy tells: what the caller reads, who watches, and what is closed whichever way it ends."""

from __future__ import annotations

import gc
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from resilient_foundry import AttemptTimeout, CircuitOpenError, Retry, Stack, StreamGuard
from resilient_foundry.call import attempt_of
from resilient_foundry.events import AttemptEnded, BodyEnd, Outcome
from resilient_foundry.flow import (
    Flow,
    Proceed,
    Request,
    Response,
    Source,
    alter,
    discard,
    fail,
    give,
    pour,
    pull,
    sleep,
    watch,
)
from resilient_foundry.testing import ok, rehearse, scripted
from tests.servers import Conversation, Gate, Server, replies, script
from tests.ways import LIBRARIES, Way, assert_nothing_is_under_way, ledger_of, over

Tale = Callable[[Source, Request, Proceed], Flow[None]]


@dataclass(frozen=True)
class Teller:
    """A policy that tells the body of each answer by a function."""

    tale: Tale
    telling: Callable[[Response, Callable[[Source], Flow[None]]], Flow[None]] = pour

    def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
        """Send, and tell."""
        response = yield from proceed(request)
        yield from self.telling(response, lambda source: self.tale(source, request, proceed))
        return response


@dataclass
class Witness:
    """A policy that watches bodies."""

    chunks: list[bytes] = field(default_factory=list[bytes])
    ends: list[Outcome] = field(default_factory=list[Outcome])

    def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
        """Send, and watch."""
        response = yield from proceed(request)
        yield from watch(response, self)
        return response

    def chunk(self, data: bytes, at: float) -> None:
        """Write it down."""
        del at
        self.chunks.append(data)

    def ended(self, end: BodyEnd, at: float) -> BodyEnd:
        """Write it down."""
        del at
        self.ends.append(end.outcome)
        return end


def as_it_is(source: Source, request: Request, proceed: Proceed) -> Flow[None]:
    del request, proceed
    while (chunk := (yield from pull(source))) is not None:
        yield from give(chunk)


def louder(source: Source, request: Request, proceed: Proceed) -> Flow[None]:
    del request, proceed
    while (chunk := (yield from pull(source))) is not None:
        yield from give(chunk.upper())
    yield from give(b"!")


def asks_again(source: Source, request: Request, proceed: Proceed) -> Flow[None]:
    """Where the answer breaks, another one goes on."""
    try:
        yield from as_it_is(source, request, proceed)
    except Exception:  # noqa: BLE001 - whatever the library calls it
        yield from discard(source)
        yield from as_it_is((yield from proceed(request)), request, proceed)  # type: ignore[arg-type]  # can be pulled from


def two_chunks(talk: Conversation) -> None:
    talk.begin_stream("text/plain")
    talk.chunk(b"one ")
    talk.chunk(b"two")
    talk.end()


def breaks_in_the_middle(talk: Conversation) -> None:
    talk.begin_stream("text/plain")
    talk.chunk(b"one ")
    talk.reset()


def begins(talk: Conversation) -> None:
    talk.begin_stream("text/plain")
    talk.chunk(b"one ")
    talk.wait_for_the_client_to_leave()


def test_the_caller_reads_what_is_told(way: Way) -> None:
    with Server(two_chunks) as server:
        response = way.client(Stack(Teller(louder))).get(server.url)
        assert response.content == b"ONE TWO!"


def test_a_chunk_is_told_as_soon_as_it_comes(way: Way) -> None:
    """A story holds nothing back by itself."""
    gate = Gate()

    def slowly(talk: Conversation) -> None:
        talk.begin_stream("text/plain")
        talk.chunk(b"one ")
        gate.wait()
        talk.chunk(b"two")
        talk.end()

    with Server(slowly) as server, way.client(Stack(Teller(as_it_is))).stream("GET", server.url) as streamed:
        assert streamed.next() == b"one "
        gate.open()
        assert streamed.rest() == b"two"


def test_watchers_further_out_see_what_is_told_and_those_further_in_what_came(way: Way) -> None:
    outside, inside = Witness(), Witness()
    with Server(two_chunks) as server:
        way.client(Stack(outside, Teller(louder), inside)).get(server.url)
    assert (b"".join(outside.chunks), outside.ends) == (b"ONE TWO!", [Outcome.COMPLETE])
    assert (b"".join(inside.chunks), inside.ends) == (b"one two", [Outcome.COMPLETE])


def test_stories_about_stories_are_told(way: Way) -> None:
    with Server(two_chunks) as server:
        client = way.client(Stack(Teller(louder), Teller(as_it_is), Teller(louder)))
        assert client.get(server.url).content == b"ONE TWO!!"


def test_the_attempt_is_what_came_off_the_wire(way: Way) -> None:
    """A story may be told from several attempts."""
    with Server(two_chunks) as server:
        (attempt,) = ledger_of(way.client(Stack(Teller(louder))).get(server.url)).attempts
    assert (attempt.bytes, attempt.outcome) == (7, Outcome.COMPLETE)


def test_where_it_is_told_in_its_place_the_attempt_is_what_is_told(way: Way) -> None:
    """A policy that plays the network is to be taken for the network."""
    seen: list[object] = []

    class Looks:
        def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
            response = yield from proceed(request)
            seen.append(attempt_of(response))
            return response

    with Server(two_chunks) as server:
        response = way.client(Stack(Looks(), Teller(louder, alter))).get(server.url)
        ledger = ledger_of(response)
    (attempt,) = ledger.attempts
    assert (attempt.bytes, attempt.outcome) == (8, Outcome.COMPLETE)
    assert seen[0] is attempt
    assert [event.number for _, event in ledger.events if isinstance(event, AttemptEnded)] == [1]


def test_what_was_held_before_it_is_told_in_place_counts_once(way: Way) -> None:
    """A guard further in has read the beginning already."""

    def handler(talk: Conversation) -> None:
        talk.begin_stream()
        talk.chunk(b"data: here\n\n")
        talk.chunk(b"data: [DONE]\n\n")
        talk.end()

    with Server(handler) as server:
        response = way.client(Stack(Teller(as_it_is, alter), StreamGuard())).get(server.url)
    (attempt,) = ledger_of(response).attempts
    assert (attempt.bytes, attempt.outcome) == (len(response.content), Outcome.COMPLETE)


def test_where_it_is_told_in_its_place_the_limits_of_the_attempt_hold(way: Way) -> None:
    """As for what comes off the wire; synchronous code can't be woken out of a sleep."""
    if way.colour == "sync":
        pytest.skip("a blocking sleep is not interrupted")

    def sleeps(source: Source, request: Request, proceed: Proceed) -> Flow[None]:
        del request, proceed
        yield from give((yield from pull(source)) or b"")
        yield from sleep(3600)

    with Server(two_chunks) as server:
        client = way.client(Stack(AttemptTimeout(idle=0.05), Teller(sleeps, alter)))
        with pytest.raises(way.library.ReadTimeout):
            client.get(server.url)
        assert_nothing_is_under_way(client.transport)


def test_an_answer_left_half_way_closes_what_it_is_told_from(way: Way) -> None:
    inside = Witness()
    with Server(begins) as server:
        client = way.client(Stack(Teller(as_it_is), inside))
        with client.stream("GET", server.url) as streamed:
            assert streamed.next() == b"one "
        server.wait_until_closed(1)
        assert_nothing_is_under_way(client.transport)
    assert inside.ends == [Outcome.ABANDONED]


def test_an_answer_that_nobody_begins_to_read_is_closed_too(way: Way) -> None:
    """The story has not begun, so nothing in it could close anything."""
    with Server(begins) as server:
        client = way.client(Stack(Teller(as_it_is)))
        with client.stream("GET", server.url):
            pass
        server.wait_until_closed(1)
        assert_nothing_is_under_way(client.transport)


def test_what_breaks_the_body_underneath_breaks_the_one_told(way: Way) -> None:
    outside = Witness()
    with Server(breaks_in_the_middle) as server:
        client = way.client(Stack(outside, Teller(as_it_is)))
        with pytest.raises(way.library.NetworkError) as caught:
            client.get(server.url)
        assert [attempt.outcome for attempt in ledger_of(caught.value).attempts] == [Outcome.BROKEN]
        assert_nothing_is_under_way(client.transport)
    assert outside.ends == [Outcome.BROKEN]


def test_a_story_may_fail_as_the_library_does(way: Way) -> None:
    def fails(source: Source, request: Request, proceed: Proceed) -> Flow[None]:
        del request, proceed
        yield from give((yield from pull(source)) or b"")
        yield from fail("RemoteProtocolError", "told so")

    with Server(two_chunks) as server:
        client = way.client(Stack(Teller(fails)))
        with client.stream("GET", server.url) as streamed:
            assert streamed.next() == b"one "
            with pytest.raises(way.library.RemoteProtocolError, match="told so"):
                streamed.next()
        assert_nothing_is_under_way(client.transport)


def test_an_error_of_ours_in_a_story_is_also_the_librarys(way: Way) -> None:
    def refused(source: Source, request: Request, proceed: Proceed) -> Flow[None]:
        del request, proceed
        yield from pull(source)
        raise CircuitOpenError("refused", circuit="x", retry_after=1.0)

    with Server(two_chunks) as server:
        client = way.client(Stack(Teller(refused)))
        with pytest.raises(CircuitOpenError) as caught:
            client.get(server.url)
        assert isinstance(caught.value, way.library.TransportError)
        assert len(ledger_of(caught.value).attempts) == 1


def test_a_mistake_in_a_story_shows_and_leaves_nothing_open(way: Way) -> None:
    def wrong(source: Source, request: Request, proceed: Proceed) -> Flow[None]:
        del request, proceed
        yield from pull(source)
        raise ZeroDivisionError

    with Server(begins) as server:
        client = way.client(Stack(Teller(wrong)))
        with pytest.raises(ZeroDivisionError):
            client.get(server.url)
        server.wait_until_closed(1)
        assert_nothing_is_under_way(client.transport)


def test_a_story_goes_on_with_another_answer(way: Way) -> None:
    with Server(script(breaks_in_the_middle, replies(200, b"two"))) as server:
        client = way.client(Stack(Teller(asks_again)))
        response = client.get(server.url)
        assert response.content == b"one two"
        assert [at.outcome for at in ledger_of(response).attempts] == [Outcome.BROKEN, Outcome.COMPLETE]
        assert_nothing_is_under_way(client.transport)


def test_an_answer_that_a_story_asked_for_is_closed_with_it(way: Way) -> None:
    with Server(script(breaks_in_the_middle, begins)) as server:
        client = way.client(Stack(Teller(asks_again)))
        with client.stream("GET", server.url) as streamed:
            assert streamed.next() + streamed.next() == b"one one "
        server.wait_until_closed(2)
        assert_nothing_is_under_way(client.transport)


def test_what_a_story_is_given_after_its_body_was_closed_from_elsewhere_is_closed_too(way: Way) -> None:
    """One reads, another presses stop: no connection stays busy, and the reader is not told that this was all."""
    closed = Gate()

    def answers_late(talk: Conversation) -> None:
        closed.wait()
        begins(talk)

    with Server(script(breaks_in_the_middle, answers_late)) as server:
        client = way.client(Stack(Teller(asks_again)))
        with client.stream("GET", server.url) as streamed:
            assert streamed.next() == b"one "
            with way.meanwhile(streamed.next) as reading:
                server.wait_for(requests=2)
                way.run(way.method(streamed.response, "close"))
                closed.open()
            with pytest.raises(way.library.StreamClosed):
                reading.result()
        server.wait_until_closed(2)
        assert_nothing_is_under_way(client.transport)


def test_a_guard_further_out_holds_what_is_told(way: Way) -> None:
    """It reads the story before the caller does."""

    def hesitates(source: Source, request: Request, proceed: Proceed) -> Flow[None]:
        yield from give(b": one moment\n\n")
        yield from sleep(0.0)
        yield from as_it_is(source, request, proceed)

    def handler(talk: Conversation) -> None:
        talk.begin_stream()
        talk.chunk(b"data: here\n\n")
        talk.chunk(b"data: [DONE]\n\n")
        talk.end()

    with Server(handler) as server:
        response = way.client(Stack(StreamGuard(), Teller(hesitates))).get(server.url)
        assert response.content == b": one moment\n\ndata: here\n\ndata: [DONE]\n\n"


def test_a_failure_told_in_place_is_tried_again(way: Way) -> None:
    """The body of a 503 is looked at by Retry, which reads the story."""
    with Server(script(replies(503, b"busy", {"retry-after": "0"}), replies(200, b"here"))) as server:
        client = way.client(Stack(Retry(), Teller(louder, alter)))
        assert client.get(server.url).content == b"HERE!"
        assert_nothing_is_under_way(client.transport)


def test_an_answer_made_with_its_content_keeps_it(way: Way) -> None:
    def answers(request: Any) -> Any:
        return way.library.Response(200, content=b"as it is", request=request)

    client = way.client(Stack(Teller(louder)), way.library.MockTransport(answers))
    assert client.get("http://foundry.local/").content == b"as it is"


def test_a_story_rehearses() -> None:
    assert rehearse(Teller(louder), ok(b"one")).content == b"ONE!"


@pytest.mark.parametrize("telling", [pour, alter])
def test_an_answer_that_is_forgotten_is_told_of_once_and_settled_by_the_next_call(way: Way, telling: Any) -> None:
    """Whoever reads the warning looks for one answer, not for two."""
    outside = Witness()
    client = way.client(Stack(outside, Teller(as_it_is, telling)), scripted(ok(), ok(), module=way.library))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        response = client.send(client.build("GET", "http://foundry.local/"), stream=True)
        del response
        gc.collect()
    told = [str(one.message) for one in seen if "never closed" in str(one.message)]
    assert len(told) == 1
    assert "the answer to attempt 1 (200)" in told[0]
    client.get("http://foundry.local/")
    assert outside.ends == [Outcome.ABANDONED, Outcome.COMPLETE]


@pytest.mark.anyio
@pytest.mark.parametrize("breaks", [False, True], ids=["whole", "told from two"])
@pytest.mark.parametrize("telling", [pour, alter])
async def test_it_may_be_cancelled_at_any_await(async_way: str, breaks: bool, telling: Any) -> None:
    """Every answer that was opened is closed once."""
    library: Any = LIBRARIES[async_way.partition("-")[0]]
    at, came_through = 0, False
    while not came_through:
        at += 1
        assert at < 200
        wire = Wire(library, at=at, breaks=breaks)
        stack = Stack(StreamGuard(), Teller(asks_again, telling), Teller(as_it_is, telling))
        async with library.AsyncClient(transport=over(stack, wire.transport)) as client:
            with wire.scope:
                response = await client.get("http://foundry.local/")
                assert response.content == b"data: here\n\n" * (2 if breaks else 1) + b"data: [DONE]\n\n"
            came_through = wire.passed < at
        assert wire.closed == dict.fromkeys(range(1, wire.opened + 1), 1)
    assert at > 4


class Wire:
    """A transport that awaits at every turn, and cancels the call at one of them; its first answer may break."""

    def __init__(self, library: Any, *, at: int, breaks: bool) -> None:
        self.opened = self.passed = 0
        self.closed: Counter[int] = Counter()
        self.scope = anyio.CancelScope()
        self._at = at
        wire = self

        class Body(library.AsyncByteStream):  # type: ignore[misc]  # a class of a library that is a parameter
            def __init__(self, number: int) -> None:
                self.number = number

            async def __aiter__(self) -> AsyncIterator[bytes]:
                await wire.turn()
                yield b"data: here\n\n"
                await wire.turn()
                if breaks and self.number == 1:
                    raise library.ReadError("scripted")
                yield b"data: [DONE]\n\n"
                await wire.turn()

            async def aclose(self) -> None:
                wire.closed[self.number] += 1
                await wire.turn()

        class Transport(library.AsyncBaseTransport):  # type: ignore[misc]  # as above
            async def handle_async_request(self, request: Any) -> Any:
                del request
                await wire.turn()
                wire.opened += 1
                return library.Response(200, headers={"content-type": "text/event-stream"}, stream=Body(wire.opened))

        self.transport = Transport()

    async def turn(self) -> None:
        """Await, and perhaps cancel the call."""
        self.passed += 1
        if self.passed == self._at:
            self.scope.cancel()
        await anyio.lowlevel.checkpoint()
