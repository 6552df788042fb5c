"""Every fault of the proxy, over real sockets, as httpx sees it; behind it the real runtime or a small real server."""

import concurrent.futures
import contextlib
import http.server
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from resilient_foundry.foundry.runtime import ENDLESS, RESILIENCE, LocalRuntime
from resilient_foundry.harness.faults import (
    Answer,
    CloseSilently,
    Comments,
    CutAfterEvents,
    CutBeforeFirstEvent,
    Delay,
    Drip,
    Fault,
    InBandError,
    Pass,
    Plan,
    Reset,
    ResetAfterEvents,
    Stall,
    StallAfterEvents,
    Truncate,
    always,
    each,
    each_post,
)
from resilient_foundry.harness.proxy import FaultProxy

QUESTION = {"model": RESILIENCE.id, "messages": [{"role": "user", "content": "Say something."}]}
STREAMED = QUESTION | {"stream": True}
CHAT = "/v1/chat/completions"


def eventually(fact: Callable[[], bool], *, within: float = 10) -> bool:
    """Whether a fact comes true in time."""
    give_up = time.monotonic() + within
    while not fact():
        if time.monotonic() > give_up:
            return False
        threading.Event().wait(0.005)
    return True


@pytest.fixture
def through(runtime: LocalRuntime) -> Iterator[Callable[..., tuple[FaultProxy, httpx.Client]]]:
    """Makes a proxy before the runtime, with a plan or with one fault for all POST requests, and a client of it."""
    opened: list[FaultProxy | httpx.Client] = []

    def make(plan: Plan | Fault | None = None, *, timeout: float = 10) -> tuple[FaultProxy, httpx.Client]:
        proxy = FaultProxy(runtime.url, always(plan) if isinstance(plan, Fault) else plan).start()
        client = httpx.Client(base_url=proxy.url, timeout=timeout, trust_env=False)
        opened.extend((proxy, client))
        return proxy, client

    yield make
    for each_opened in reversed(opened):
        each_opened.close()


Through = Callable[..., tuple[FaultProxy, httpx.Client]]


def stream(client: httpx.Client, **settings: Any) -> tuple[list[str], httpx.TransportError | None]:
    """The data of the events that arrive, and how it ended."""
    received = b""
    error: httpx.TransportError | None = None
    try:
        with client.stream("POST", CHAT, json=STREAMED | settings) as response:
            for piece in response.iter_raw():
                received += piece
    except httpx.TransportError as failure:
        error = failure
    lines = received.decode().split("\n\n")
    return [line.removeprefix("data: ") for line in lines if line.startswith("data: ")], error


def said(events: list[str]) -> list[str]:
    """The words in those events."""
    deltas = [json.loads(event)["choices"][0]["delta"] for event in events if event != "[DONE]"]
    return [delta["content"] for delta in deltas if delta.get("content")]


def test_passes_what_it_is_not_told_to_break(through: Through) -> None:
    """A chat, a stream and a question about models are as without it."""
    _, client = through()
    assert client.get("/v1/models").json()["object"] == "list"
    assert client.post(CHAT, json=QUESTION).json()["choices"][0]["message"]["content"] == RESILIENCE.text
    events, error = stream(client)
    assert (said(events), events[-1], error) == (list(RESILIENCE.script), "[DONE]", None)


def test_keeps_connections_alive(through: Through) -> None:
    """One connection serves one request after the other, as the server would have it."""
    proxy, client = through()
    for _ in range(3):
        client.get("/status")
    assert proxy.connections == (1, 1)


def test_breaks_requests_and_not_connections(through: Through) -> None:
    """The second request of a healthy connection can be the one that fails."""
    proxy, client = through(each(Pass(), Answer(503), Pass()))
    answers = [client.get("/status").status_code for _ in range(3)]
    assert (answers, proxy.connections.opened) == ([200, 503, 200], 1)


def test_leaves_the_management_of_the_server_alone(through: Through) -> None:
    """A plan sees method and path, so loading models can work while chats fail."""
    _, client = through(each_post(Answer(500)))
    assert client.get("/models/loaded").status_code == 200
    assert client.post(CHAT, json=QUESTION).status_code == 500
    assert client.post(CHAT, json=QUESTION).status_code == 200


def test_asks_the_plan_with_number_method_and_path(through: Through) -> None:
    """A test can choose by any of them."""
    asked: list[tuple[int, str, str]] = []

    def plan(number: int, method: str, path: str) -> Fault:
        asked.append((number, method, path))
        return Pass()

    _, client = through(plan)
    client.get("/status")
    client.post(CHAT, json=QUESTION)
    assert asked == [(1, "GET", "/status"), (2, "POST", CHAT)]


def test_remembers_what_it_saw(through: Through) -> None:
    """What was asked, what was done about it, and how many bytes went which way."""
    proxy, client = through(each_post(Pass(), Answer(429, {"Retry-After": "7"}, b"slow down")))
    client.post(CHAT, json=QUESTION)
    refusal = client.post(CHAT, json=QUESTION)
    assert eventually(lambda: all(request.done for request in proxy.requests))
    passed, refused = proxy.requests
    assert (passed.number, passed.method, passed.path, passed.fault) == (1, "POST", CHAT, Pass())
    assert json.loads(passed.body) == QUESTION
    assert passed.sent_up > len(passed.body)
    assert passed.sent_down > len(RESILIENCE.text)
    assert (refused.sent_up, refused.body) == (0, passed.body)
    assert (refusal.status_code, refusal.headers["retry-after"], refusal.text) == (429, "7", "slow down")


def test_delay_forwards_later(through: Through) -> None:
    """The answer is right and late."""
    _, client = through(Delay(0.2))
    begin = time.monotonic()
    assert client.post(CHAT, json=QUESTION).status_code == 200
    assert time.monotonic() - begin >= 0.2


def test_sixteen_delays_take_the_time_of_one(through: Through) -> None:
    """Requests wait beside each other and not one after the other."""
    _, client = through(Delay(0.5))
    begin = time.monotonic()
    with ThreadPoolExecutor(16) as pool:
        calls = [pool.submit(client.post, CHAT, json=QUESTION | {"max_tokens": 1}) for _ in range(16)]
    assert [call.result().status_code for call in calls] == [200] * 16
    assert time.monotonic() - begin < 16 * 0.5 / 2


def test_reset_is_a_read_error(through: Through) -> None:
    """The connection was reset by the peer, after the request had been sent."""
    proxy, client = through(Reset())
    with pytest.raises(httpx.ReadError, match="reset"):
        client.post(CHAT, json=QUESTION)
    assert (proxy.requests[0].sent_up, proxy.requests[0].sent_down) == (0, 0)


def test_closing_silently_is_a_protocol_error(through: Through) -> None:
    """The server disconnected without sending a response."""
    _, client = through(CloseSilently())
    with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
        client.post(CHAT, json=QUESTION)


def test_stall_is_a_read_timeout(through: Through) -> None:
    """Nothing comes until the client's patience ends, and then the connection is gone."""
    proxy, client = through(Stall(), timeout=0.2)
    with pytest.raises(httpx.ReadTimeout):
        client.post(CHAT, json=QUESTION)
    assert eventually(lambda: proxy.connections == (1, 0))


def test_a_stall_ends_by_itself(through: Through) -> None:
    """A client without a timeout is let go."""
    _, client = through(Stall(seconds=0.1))
    with pytest.raises(httpx.RemoteProtocolError):
        client.post(CHAT, json=QUESTION)


def test_answers_by_itself(through: Through) -> None:
    """A page of HTML where JSON was expected, for one."""
    _, client = through(Answer(404, {"Content-Type": "text/html"}, b"<h1>Not here</h1>"))
    answer = client.post(CHAT, json=QUESTION)
    assert (answer.status_code, answer.headers["content-type"], answer.text) == (404, "text/html", "<h1>Not here</h1>")


def test_cutting_before_the_first_event_sends_the_head_alone(through: Through) -> None:
    """200 is said, and nothing follows."""
    _, client = through(CutBeforeFirstEvent())
    with client.stream("POST", CHAT, json=STREAMED) as response:
        assert response.status_code == 200
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
            response.read()


@pytest.mark.parametrize("count", [1, 3, 40])
def test_cutting_after_events_sends_exactly_these(through: Through, count: int) -> None:
    """The events arrive whole, and then the body is incomplete."""
    events, error = stream(through(CutAfterEvents(count))[1])
    assert len(events) == count
    assert said(events) == list(RESILIENCE.script[: count - 1])
    assert isinstance(error, httpx.RemoteProtocolError)


def test_cutting_after_more_events_than_there_are_cuts_the_end(through: Through) -> None:
    """Everything was said, and yet the body is incomplete."""
    events, error = stream(through(CutAfterEvents(10_000))[1])
    assert (said(events), events[-1]) == (list(RESILIENCE.script), "[DONE]")
    assert isinstance(error, httpx.RemoteProtocolError)


def test_faults_of_a_stream_leave_other_answers_alone(through: Through) -> None:
    """A chat without a stream has no events to count."""
    _, client = through(CutAfterEvents(1))
    assert client.post(CHAT, json=QUESTION).json()["choices"][0]["finish_reason"] == "stop"


def test_a_reset_after_events_is_a_read_error(through: Through) -> None:
    """In mid-stream, as when the process dies."""
    events, error = stream(through(ResetAfterEvents(3))[1])
    assert len(events) <= 3
    assert isinstance(error, httpx.ReadError)


def test_a_stall_after_events_is_a_read_timeout(through: Through) -> None:
    """The events arrive, and then silence."""
    events, error = stream(through(StallAfterEvents(2), timeout=0.3)[1])
    assert len(events) == 2
    assert isinstance(error, httpx.ReadTimeout)


def test_a_truncated_stream_ends_properly_too_soon(through: Through) -> None:
    """Only the missing `[DONE]` shows it; the connection goes on being good."""
    proxy, client = through(each_post(Truncate(5)))
    events, error = stream(client)
    assert (len(events), error) == (5, None)
    assert client.post(CHAT, json=QUESTION).status_code == 200
    assert proxy.connections.opened == 1


def test_an_error_in_the_stream_comes_after_the_events(through: Through) -> None:
    """As the runtime reports what fails when it has said 200 already."""
    events, error = stream(through(InBandError(events=2, message="out of memory"))[1])
    *before, last = events
    assert (len(before), error) == (2, None)
    assert json.loads(last)["error"] == {
        "code": None,
        "message": "out of memory",
        "param": None,
        "type": "server_error",
    }


def test_dripping_loses_nothing(through: Through) -> None:
    """Whatever the size of the pieces, a parser must come to the same."""
    events, error = stream(through(Drip(size=7))[1])
    assert (said(events), error) == (list(RESILIENCE.script), None)


def test_dripping_takes_time(through: Through) -> None:
    """A body that trickles keeps a read timeout from ever being reached."""
    _, client = through(Drip(size=200, seconds=0.05), timeout=0.5)
    begin = time.monotonic()
    assert client.post(CHAT, json=QUESTION).status_code == 200
    assert time.monotonic() - begin > 0.15


def test_comments_come_before_the_stream(through: Through) -> None:
    """Life without progress: the stream is whole, and was silent for a while."""
    _, client = through(Comments(count=3, seconds=0.05))
    begin = time.monotonic()
    with client.stream("POST", CHAT, json=STREAMED) as response:
        text = response.read().decode()
    assert time.monotonic() - begin >= 0.15
    assert text.startswith(": keep-alive\n\n" * 3 + "data: ")
    assert text.endswith("data: [DONE]\n\n")


def test_comments_are_no_events(through: Through) -> None:
    """A proxy before a proxy that sends comments counts what matters."""
    outer, _ = through(Comments(count=3, seconds=0))
    with FaultProxy(outer.url, always(CutAfterEvents(1))) as inner:
        with httpx.Client(base_url=inner.url, trust_env=False) as client:
            events, _ = stream(client)
        assert len(events) == 1


def test_refuses_and_accepts_again(through: Through) -> None:
    """A server that is down, and then is not, at the same address."""
    proxy, client = through()
    client.get("/status")
    for _ in range(3):
        proxy.refuse()
        with pytest.raises(httpx.ConnectError, match="refused"):
            client.get("/status")
        proxy.accept()
        assert client.get("/status").status_code == 200


def test_refusing_closes_idle_connections(through: Through) -> None:
    """A pool that holds one finds it dead."""
    proxy, client = through()
    client.get("/status")
    with socket.create_connection(("127.0.0.1", urlsplit(proxy.url).port or 0), timeout=5) as idle:
        assert eventually(lambda: proxy.connections.open == 2)
        proxy.refuse()
        assert idle.recv(1) == b""
    assert eventually(lambda: proxy.connections.open == 0)


def test_refusing_is_done_when_it_returns(through: Through) -> None:
    """Also a connection whose answer has this moment come to its end: nothing is left for a client to use again."""
    proxy, client = through()
    for _ in range(300):
        client.get("/status")
        proxy.refuse()
        assert proxy.connections.open == 0
        proxy.accept()


def test_refusing_does_not_wait_for_what_is_under_way(through: Through) -> None:
    """A stream of a minute is no reason to stand still."""
    proxy, client = through(Stall(60))
    with contextlib.suppress(httpx.HTTPError), concurrent.futures.ThreadPoolExecutor() as pool:
        asked = pool.submit(client.get, "/status")
        assert eventually(lambda: len(proxy.requests) == 1)
        begin = time.monotonic()
        proxy.refuse()
        assert time.monotonic() - begin < 1.0
        proxy.close()
        asked.result()


def test_refusing_lets_what_is_under_way_end(through: Through) -> None:
    """The stream is whole, and its connection is gone afterwards."""
    proxy, client = through(Comments(count=4, seconds=0.05))
    with client.stream("POST", CHAT, json=STREAMED) as response:
        proxy.refuse()
        assert response.read().endswith(b"data: [DONE]\n\n")
    assert eventually(lambda: proxy.connections.open == 0)


def test_closing_ends_everything_at_once(runtime: LocalRuntime) -> None:
    """Streams, stalls and threads: nothing outlives it."""
    before = set(threading.enumerate())
    proxy = FaultProxy(runtime.url, each_post(Stall(), StallAfterEvents(2))).start()
    with ThreadPoolExecutor(2) as pool, httpx.Client(base_url=proxy.url, timeout=20, trust_env=False) as client:
        calls = [pool.submit(stream, client) for _ in range(2)]
        assert eventually(lambda: len(proxy.requests) == 2)
        begin = time.monotonic()
        proxy.close()
        assert time.monotonic() - begin < 2
        assert all(call.result()[1] is not None for call in calls)
    proxy.close()
    assert eventually(lambda: set(threading.enumerate()) <= before)


def test_a_client_that_leaves_with_a_reset_stops_the_server(through: Through, runtime: LocalRuntime) -> None:
    """What ends one connection ends the other in the same way, so generation stops as it would without a proxy."""
    proxy, _ = through()
    process = psutil.Process(runtime.pid)

    def spent() -> float:
        times = process.cpu_times()  # seconds of computing, however many share the machine
        return float(times.user + times.system)

    def rests() -> bool:
        before = spent()
        threading.Event().wait(0.3)
        return spent() - before < 0.05

    body = json.dumps(QUESTION | {"model": ENDLESS.id, "max_tokens": 60_000}).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", urlsplit(proxy.url).port or 0)) as client:
        at_rest = spent()
        client.sendall(head + body)
        assert eventually(lambda: spent() > at_rest + 0.2)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert eventually(rests)
    assert proxy.requests[0].sent_down == 0


class Rude(http.server.BaseHTTPRequestHandler):
    """A small server that ends its answers as its clients' paths say."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer in one of the ways that HTTP has, or in none."""
        self.close_connection = True
        match self.path:
            case "/until-close":
                self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\nall of it")
            case "/half":
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")
            case "/chunked-half":
                self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
            case "/trailer":
                self.wfile.write(
                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nDigest: 1\r\n\r\n"
                )
            case "/no-chunk":
                self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n")
            case "/empty":
                self.wfile.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            case "/early":
                self.wfile.write(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            case _:
                pass

    def do_HEAD(self) -> None:
        """A length, and no body."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")

    def do_POST(self) -> None:
        """Say back what was sent in chunks."""
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


@pytest.fixture(scope="module")
def rude() -> Iterator[httpx.Client]:
    """A client of a proxy before the rude server."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Rude) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with (
                FaultProxy(f"http://127.0.0.1:{server.server_port}") as proxy,
                httpx.Client(base_url=proxy.url, timeout=10, trust_env=False) as client,
            ):
                yield client
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [("/until-close", 200, "all of it"), ("/trailer", 200, "hello"), ("/empty", 204, ""), ("/early", 200, "ok")],
)
def test_passes_every_way_of_ending_an_answer(rude: httpx.Client, path: str, status: int, text: str) -> None:
    """Closing, chunks with extensions and trailers, no body at all, and an interim answer before."""
    answer = rude.get(path)
    assert (answer.status_code, answer.text) == (status, text)


@pytest.mark.parametrize("path", ["/half", "/chunked-half", "/nothing"])
def test_passes_an_answer_that_is_cut_as_it_is_cut(rude: httpx.Client, path: str) -> None:
    """The proxy neither completes nor explains what the server did not."""
    with pytest.raises(httpx.RemoteProtocolError):
        rude.get(path)


def test_resets_when_it_does_not_understand_the_server(rude: httpx.Client) -> None:
    """A chunk of minus five bytes ends the conversation, and nothing else."""
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        rude.get("/no-chunk")
    assert rude.get("/empty").status_code == 204


def test_an_answer_to_head_has_no_body(rude: httpx.Client) -> None:
    """Its length is that of the body which it does not have."""
    assert rude.head("/").headers["content-length"] == "100"


def test_passes_a_request_in_chunks(rude: httpx.Client) -> None:
    """As clients send what they do not know the length of."""
    assert rude.post("/", content=iter([b"one ", b"two"])).text == "one two"


def test_a_server_that_is_gone_is_a_reset(free_port: int) -> None:
    """The proxy was there and the server was not."""
    with FaultProxy(f"http://127.0.0.1:{free_port}") as proxy, pytest.raises(httpx.ReadError):
        httpx.get(proxy.url, trust_env=False)


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port that is held and that nobody listens on."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: Delay(61), "seconds is 61; a fault lasts from 0 to 60 seconds"),
        (lambda: Stall(-1), "seconds is -1"),
        (lambda: Comments(count=10, seconds=7), "seconds is 70"),
        (lambda: Comments(count=-1, seconds=1), "count is -1"),
        (lambda: CutAfterEvents(-1), "events is -1"),
        (lambda: Drip(size=0), "size is 0"),
        (lambda: Answer(100), "status is 100"),
        (
            lambda: FaultProxy("https://127.0.0.1:1"),
            "upstream is no plain address of a server; it takes http://HOST:PORT",
        ),
    ],
)
def test_faults_cannot_be_built_wrong(make: Callable[[], object], complaint: str) -> None:
    """Every fault has an end, and says what it takes."""
    with pytest.raises(ValueError, match=complaint):
        make()
