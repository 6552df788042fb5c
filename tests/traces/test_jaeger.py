"""What is asked of a Jaeger, and what is said where there is none; a real one is asked in tests/jaeger."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from resilient_foundry.traces.jaeger import Jaeger, JaegerError, TraceNotFoundError, is_jaeger, jaeger_beside
from resilient_foundry.traces.otlp import to_otlp_json
from resilient_foundry.traces.tree import Span
from tests.servers import Conversation, Handler, Server, replies, says_nothing, script

ID = "00000000000000000123456789abcdef"
SPAN = Span(trace_id=ID, span_id="0123456789abcdef", name="chat", start=1_000_000, end=3_000_000, service="me")
NOT_THERE = replies(404, b'{"error": {"httpCode": 404, "message": "No traces found"}}', {"content-type": "text/plain"})
NO_SERVICES = b'{"data": null, "total": 0, "limit": 0, "offset": 0, "errors": null}'
A_PAGE = replies(200, b"<!DOCTYPE html><title>Jaeger UI</title>", {"content-type": "text/html; charset=utf-8"})
# As an older one has it, that left leading zeros away. JSON: anything.
SAVED: dict[str, Any] = {
    "data": [
        {
            "traceID": "123456789abcdef",
            "spans": [
                {
                    "traceID": "123456789abcdef",
                    "spanID": "123456789abcdef",
                    "operationName": "chat",
                    "references": [],
                    "startTime": 1000,
                    "duration": 2000,
                    "tags": [],
                    "logs": [],
                    "processID": "p1",
                }
            ],
            "processes": {"p1": {"serviceName": "me", "tags": []}},
        }
    ]
}


def has(*spans: Span) -> Handler:
    """The answer of a Jaeger that has these spans."""
    return replies(200, f'{{"result": {to_otlp_json(spans)}}}'.encode())


class Clock:
    """Passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def now(self) -> float:
        return 100 + sum(self.slept)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def asking(url: str, clock: Clock, patience: float = 10.0) -> Jaeger:
    return Jaeger(url, patience=patience, sleep=clock.sleep, now=clock.now)


def test_waits_for_a_trace_that_is_not_there_yet(clock: Clock) -> None:
    """A Jaeger shows what it was sent a moment later."""
    with Server(script(NOT_THERE, NOT_THERE, has(SPAN))) as server, asking(server.url, clock) as jaeger:
        assert jaeger.trace(ID).spans == (SPAN,)
    assert clock.slept == [0.05, 0.1]


def test_waits_for_all_spans_where_it_is_told_how_many(clock: Clock) -> None:
    """What is sent in two pieces becomes visible in two pieces."""
    other = Span(trace_id=ID, span_id="f" * 16, start=2_000_000, end=2_000_001)
    with Server(script(has(SPAN), has(SPAN, other))) as server, asking(server.url, clock) as jaeger:
        assert jaeger.trace(ID, spans=2).spans == (SPAN, other)
    assert clock.slept == [0.05]


def test_does_not_wait_longer_than_its_patience(clock: Clock) -> None:
    """A trace may never come, and that is said with what there is."""
    told = pytest.raises(TraceNotFoundError, match=rf"^the Jaeger at \S+ has no trace {ID}, and was given 3 s: was it")
    with Server(NOT_THERE) as server, asking(server.url, clock, patience=3) as jaeger, told:
        jaeger.trace(ID)
    assert sum(clock.slept) == pytest.approx(3)
    told = pytest.raises(TraceNotFoundError, match="has 1 of the 2 spans of trace")
    with Server(has(SPAN)) as server, asking(server.url, clock, patience=0) as jaeger, told:
        jaeger.trace(ID, spans=2)


@pytest.mark.parametrize(
    "newer",
    [
        pytest.param(A_PAGE, id="a page"),
        pytest.param(replies(404, b"404 page not found\n"), id="not found"),
        pytest.param(replies(200, b'{"result": {"resourceSpans": [{"scopeSpans": 1}]}}'), id="another shape"),
    ],
)
def test_an_older_jaeger_is_asked_in_its_own_way(newer: Handler, clock: Clock) -> None:
    """It answers what it does not know with its UI."""
    older = replies(200, json.dumps(SAVED).encode())
    with Server(script(newer, older)) as server, asking(server.url, clock) as jaeger:
        assert jaeger.trace(ID).spans == (SPAN,)
    assert [asked.path.partition("?")[0] for asked in server.asked] == [f"/api/v3/traces/{ID}", f"/api/traces/{ID}"]


def test_an_older_jaeger_may_not_have_it_yet_either(clock: Clock) -> None:
    missing = replies(404, b'{"data": null, "errors": [{"code": 404, "msg": "trace not found"}]}')
    saved = replies(200, json.dumps(SAVED).encode())
    with Server(script(A_PAGE, missing, A_PAGE, saved)) as server, asking(server.url, clock) as jaeger:
        assert jaeger.trace(ID).spans == (SPAN,)
    assert clock.slept == [0.05]


def test_what_an_older_jaeger_answers_may_make_no_sense(clock: Clock) -> None:
    unreadable = replies(200, b'{"data": [{"spans": 1}]}')
    told = pytest.raises(JaegerError, match="answers what can't be read: it is no")
    with Server(script(A_PAGE, unreadable)) as server, asking(server.url, clock) as jaeger, told:
        jaeger.trace(ID)


def nowhere() -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def test_where_nothing_answers_that_is_said(clock: Clock) -> None:
    """Most often Jaeger was not started."""
    url = nowhere()
    with asking(url, clock) as jaeger, pytest.raises(JaegerError, match=rf"^nothing answers at {url} \(.*\): start a"):
        jaeger.trace(ID)
    assert clock.slept == [], "and it is no use to wait"


def test_what_never_answers_is_left_after_a_while() -> None:
    told = pytest.raises(JaegerError, match=r"did not answer within 0\.05 s$")
    with Server(says_nothing) as server, Jaeger(server.url, timeout=0.05) as jaeger, told:
        jaeger.services()


def test_what_speaks_no_http_is_no_jaeger() -> None:
    """As the port for OTLP over gRPC, that stands beside the one over HTTP."""

    def garbage(talk: Conversation) -> None:
        talk.send(b"\x00\x00\x12\x04\x00\r\n\r\n")

    with Server(garbage) as server, Jaeger(server.url) as jaeger, pytest.raises(JaegerError, match="is no Jaeger"):
        jaeger.services()


def test_what_answers_with_pages_is_no_jaeger(clock: Clock) -> None:
    """Any web server does, on whatever port."""
    with Server(A_PAGE) as server, asking(server.url, clock) as jaeger:
        with pytest.raises(
            JaegerError, match=rf"{server.url} is no Jaeger: /api/traces/{ID} gave 200 with text/html; say"
        ):
            jaeger.trace(ID)
        with pytest.raises(JaegerError, match="is no Jaeger: /api/services gave 200 with text/html"):
            jaeger.services()
        assert not is_jaeger(server.url)


def test_a_refusal_is_told_in_the_words_of_jaeger(clock: Clock) -> None:
    newer = replies(500, b'{"error": {"httpCode": 500, "message": "the storage is full"}}')
    older = replies(500, b'{"data": null, "errors": [{"code": 500, "msg": "it is full"}]}')
    with Server(script(newer, older)) as server, asking(server.url, clock) as jaeger:
        with pytest.raises(JaegerError, match=rf"^the Jaeger at {server.url} refused: the storage is full$"):
            jaeger.trace(ID)
        with pytest.raises(JaegerError, match="refused: it is full"):
            jaeger.search("me")


def test_a_name_and_password_are_sent_and_shown_nowhere(clock: Clock) -> None:
    """Links and messages are pasted into chats."""
    with Server(A_PAGE) as server:
        url = server.url.replace("//", "//somebody:secret@")
        with asking(url, clock) as jaeger, pytest.raises(JaegerError) as told:
            jaeger.trace(ID)
    assert all(asked.headers["authorization"].startswith("Basic ") for asked in server.asked)
    assert jaeger.link(ID) == f"{server.url}/trace/{ID}"
    assert "secret" not in str(told.value)


def test_a_jaeger_may_stand_below_a_path(clock: Clock) -> None:
    """Its `base_path`, behind a proxy of others."""
    with Server(replies(200, NO_SERVICES)) as server, asking(f"{server.url}/jaeger/?a=b#c", clock) as jaeger:
        assert jaeger.services() == []
        assert jaeger.link("AB") == f"{server.url}/jaeger/trace/{'ab':0>32}"
    assert server.asked[0].path == "/jaeger/api/services"


@pytest.mark.parametrize("url", ["", "localhost:16686", "ftp://localhost", "http://", "http://[::1"])
def test_what_is_no_url_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="URL of a Jaeger"):
        Jaeger(url)
    assert not is_jaeger(url)


@pytest.mark.parametrize("trace_id", ["", "0x1", "f" * 33, "../services"])
def test_what_is_no_trace_id_is_refused_unasked(trace_id: str) -> None:
    """It is part of a path."""
    with Jaeger(nowhere()) as jaeger, pytest.raises(ValueError, match="a trace id is 32 hexadecimal digits, not"):
        jaeger.trace(trace_id)


class Beside(BaseHTTPRequestHandler):
    """Answers everything as a Jaeger without traces."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", str(len(NO_SERVICES)))
        self.end_headers()
        self.wfile.write(NO_SERVICES)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
        """Say nothing."""


@pytest.fixture
def host() -> Iterator[str]:
    """Has something like a Jaeger on the port that Jaeger has, where no other process looks for one."""
    number = os.getpid()
    host = f"127.{1 + number // 65536 % 250}.{number // 256 % 256}.{1 + number % 256 % 250}"
    try:
        server = ThreadingHTTPServer((host, 16686), Beside)
    except OSError as error:
        pytest.skip(f"this machine has one loopback address: {error}")
    with server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        yield host
        server.shutdown()
        serving.join()


def test_the_ui_is_found_beside_the_receiver_of_spans(host: str) -> None:
    """Whoever sends spans to Jaeger's usual port is told where to look at them."""
    for endpoint in (f"http://{host}:4318", f"http://{host}:4317/", f"http://{host}:4318/v1/traces"):
        assert jaeger_beside(endpoint) == f"http://{host}:16686"


@pytest.mark.parametrize("endpoint", ["http://{host}:9999", "http://{host}", "http://[", "", "{host}:4318"])
def test_no_other_ports_are_tried(endpoint: str, host: str) -> None:
    """Spans that go elsewhere are nobody's business there."""
    assert jaeger_beside(endpoint.format(host=host)) is None


def test_where_the_ui_should_be_there_may_be_nothing() -> None:
    """A collector takes spans on the same port."""
    assert jaeger_beside("http://127.0.0.2:4318", seconds=0.5) is None
