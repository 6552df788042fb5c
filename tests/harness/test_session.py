"""What a contract talks with."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

import httpx
import pytest
from hypothesis import strategies as st

from resilient_foundry.harness import BrokenError, Session
from resilient_foundry.harness.evidence import ABANDONED
from resilient_foundry.harness.tapes import Recorder
from tests.harness.subjects import CHAT
from tests.servers import Conversation, Server, closed_port, replies, says_nothing, script, streams


@contextmanager
def session_with(url: str) -> Generator[Session]:
    """A session with a server."""
    with httpx.HTTPTransport() as transport:
        session = Session(Recorder(transport, time.monotonic), CHAT, base_url=url, version="2.2.1")
        try:
            yield session
        finally:
            session.close()


def test_json_is_sent_as_text_that_a_person_can_read_on_a_tape() -> None:
    with Server(replies(200)) as server, session_with(server.url) as session:
        session.post("/a?b=c", json={"text": "naïve"})
    (asked,) = server.asked
    assert (asked.method, asked.path, asked.body) == ("POST", "/a?b=c", '{"text":"naïve"}'.encode())
    assert asked.headers["content-type"] == "application/json"


def test_content_and_headers_are_sent_as_they_are() -> None:
    with Server(replies(200)) as server, session_with(server.url) as session:
        session.request("PUT", "/", content=b"{", headers={"content-type": "text/plain"})
        session.delete("/a")
        session.get("/b")
    assert [(each.method, each.path) for each in server.asked] == [("PUT", "/"), ("DELETE", "/a"), ("GET", "/b")]
    assert (server.asked[0].body, server.asked[0].headers["content-type"]) == (b"{", "text/plain")


def test_content_in_pieces_goes_in_chunks() -> None:
    with Server(replies(200)) as server, session_with(server.url) as session:
        session.post("/", content=iter([b"one", b"two"]))
    assert server.asked[0].headers["transfer-encoding"] == "chunked"
    assert server.asked[0].body == b"onetwo"


def cut(talk: Conversation) -> None:
    """A stream that breaks off."""
    talk.begin_stream()
    talk.chunk(b"data: one\n\n")
    talk.reset()


def test_a_connection_that_breaks_is_an_answer() -> None:
    """A contract about errors checks it, and any other check fails with it."""
    with Server(cut) as server, session_with(server.url) as session:
        answer = session.get("/")
        assert answer.code == 200
        answer.ended("ReadError", "RemoteProtocolError")
        with pytest.raises(BrokenError, match="the exchange ended as "):
            answer.ended()


def test_nobody_at_home_is_an_answer() -> None:
    with session_with(closed_port()) as session:
        answer = session.get("/status")
        assert answer.ended("ConnectError") is answer
        with session.stream("GET", "/status") as stream:
            assert stream.event() is None
            assert stream.rest().ended("ConnectError")


def test_silence_is_an_answer_once_the_limit_is_over() -> None:
    with Server(says_nothing) as server, session_with(server.url) as session:
        session.get("/", read=0.05).ended("ReadTimeout")


def test_a_stream_can_be_read_event_by_event_while_it_comes() -> None:
    with Server(streams("one", "two", "three")) as server, session_with(server.url) as session:
        with session.stream("GET", "/") as stream:
            first = stream.event()
            assert first is not None
            assert first.data == "one"
            assert [each.data for each in stream.events(9)] == ["two", "three", "[DONE]"]
            assert stream.event() is None
        assert [each.data for each in stream.answer.ended().events] == ["one", "two", "three", "[DONE]"]


def hold(talk: Conversation) -> None:
    """One event, and silence."""
    talk.begin_stream()
    talk.chunk(b"data: one\n\n")
    talk.wait_for_the_client_to_leave()


def test_leaving_the_block_leaves_the_stream() -> None:
    """The server sees the client go, and the evidence says so."""
    with Server(hold) as server, session_with(server.url) as session:
        with session.stream("GET", "/") as stream:
            stream.event()
        server.wait_until_closed(1)
        assert session.exchanges[0].ended.how == ABANDONED


def test_a_stream_that_breaks_ends_its_events() -> None:
    with Server(cut) as server, session_with(server.url) as session, session.stream("GET", "/") as stream:
        assert [each.data for each in stream.events(5)] in ([], ["one"])


def test_calls_together_overlap_and_come_back_in_order() -> None:
    both = threading.Barrier(2, timeout=10)

    def wait(talk: Conversation) -> None:
        both.wait()
        talk.reply(200, talk.asked.path.encode())

    with Server(wait) as server, session_with(server.url) as session:
        calls: list[Callable[[], str]] = [lambda: session.get("/a").text, lambda: session.get("/b").text]
        assert session.together(*calls) == ["/a", "/b"]


def test_every_exchange_is_evidence_in_the_order_of_the_requests() -> None:
    with Server(script(replies(200, b"{}"), replies(404))) as server, session_with(server.url) as session:
        session.get("/a")
        session.get("/b")
        assert [(str(each.request), each.response and each.response.status) for each in session.exchanges] == [
            ("GET /a", 200),
            ("GET /b", 404),
        ]


def test_models_are_named_by_the_part_that_they_play() -> None:
    with session_with(closed_port()) as session:
        assert (session.model(), session.alias("chat"), session.version) == ("resilience:1", "resilience", "2.2.1")


def test_a_value_that_may_vary_is_its_example_unless_it_is_drawn() -> None:
    """The strategy may be a function, so that a contract imports nothing for it until it is drawn."""
    with session_with(closed_port()) as session:
        assert session.vary(8, st.integers()) == 8
    recorder = Recorder(httpx.HTTPTransport(), time.monotonic)
    drawing = Session(recorder, CHAT, base_url="http://x", version="2", draw=repr)
    assert [drawing.vary("8", st.text()), drawing.vary("8", st.text)] == ["text()", "text()"]
    drawing.close()


def test_what_is_expected_beyond_an_answer_can_be_said() -> None:
    with session_with(closed_port()) as session, pytest.raises(BrokenError, match=r"^they differ$"):
        session.expect(condition=json.dumps(1) == "2", message="they differ")
