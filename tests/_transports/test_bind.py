"""What a bound transport is to its client: the right class and colour, closed once; and a clear word otherwise."""

from __future__ import annotations

import copy
import pickle
from collections import Counter
from typing import Any, cast

import httpx
import httpx2
import pytest

from resilient_foundry import Backoff, CircuitBreaker, Retry, Stack, StreamGuard
from tests.servers import Server, replies
from tests.ways import LIBRARIES, Way, ledger_of, over

RETRYING = Stack(Retry(attempts=2, backoff=Backoff(base=0.0)), CircuitBreaker(), StreamGuard())


def counting(way: Way) -> Any:  # a transport of the way's library
    """A network transport of this way that counts how often it is entered, left and closed."""
    calls: Counter[str] = Counter()
    network: type[Any] = way.transport().__class__

    def counted(name: str) -> Any:
        def method(self: Any, *arguments: Any) -> Any:
            calls[name] += 1
            parent = cast("Any", super(kind, self))
            return getattr(parent, name)(*arguments)

        return method

    kind: type[Any]
    names = ("__enter__", "__exit__", "close") if way.colour == "sync" else ("__aenter__", "__aexit__", "aclose")
    kind = type("Counting", (network,), {name: counted(name) for name in names})
    transport = kind()
    transport.calls = calls
    return transport


def test_it_is_a_transport_of_its_library_and_colour_and_of_no_other(way: Way) -> None:
    """Clients and other wrappers check by isinstance, and find what they look for."""
    bound = over(Stack(), way.transport())
    for name, library in LIBRARIES.items():
        same_library = name == way.library.__name__
        assert isinstance(bound, library.BaseTransport) is (same_library and way.colour == "sync")
        assert isinstance(bound, library.AsyncBaseTransport) is (same_library and way.colour != "sync")


def test_a_client_as_context_manager_enters_and_leaves_the_network_transport_once(way: Way) -> None:
    """What the client opens is opened below, and closed below, once each."""
    network = counting(way)
    client = way.over(over(Stack(), network))
    way.run(way.method(client.wrapped, "__enter__"))
    way.run(way.method(client.wrapped, "__exit__"), None, None, None)
    if way.colour == "sync":
        assert network.calls == {"__enter__": 1, "__exit__": 1}
    else:
        assert network.calls == {"__aenter__": 1, "__aexit__": 1}


def test_closing_a_client_closes_the_network_transport_once(way: Way) -> None:
    """Also without a context manager."""
    network = counting(way)
    client = way.over(over(Stack(), network))
    client.close()
    assert network.calls == {"close" if way.colour == "sync" else "aclose": 1}


def test_stacks_over_stacks_forward_to_the_one_network(way: Way) -> None:
    """A transport of ours is a transport like any other: it can be wrapped again."""
    network = counting(way)
    with Server(replies(200, b"here")) as server:
        client = way.over(over(RETRYING, Stack(CircuitBreaker()).over(network)))
        assert client.get(server.url).content == b"here"
        client.close()
    assert network.calls == {"close" if way.colour == "sync" else "aclose": 1}


def test_a_client_of_the_other_library_is_told_so_at_the_first_use(way: Way) -> None:
    """The two libraries share no class; the error names both."""
    other: Any = httpx2 if way.library is httpx else httpx
    transport = over(Stack(), way.transport())
    kind = other.Client if way.colour == "sync" else other.AsyncClient
    client = kind(transport=transport)
    with pytest.raises(TypeError) as caught:
        way.run(client.get, "http://localhost/")
    assert f"over {way.library.__name__}." in str(caught.value)
    assert f"is a {other.__name__}.Request" in str(caught.value)
    way.run(way.method(client, "close"))


@pytest.mark.parametrize("library", LIBRARIES.values(), ids=LIBRARIES)
def test_a_sync_client_over_an_async_transport_is_told_so(library: Any) -> None:
    """On entering, or at the first call."""
    transport = over(Stack(), library.AsyncHTTPTransport())
    client = library.Client(transport=transport)
    with pytest.raises(TypeError, match=rf"{library.__name__}\.AsyncHTTPTransport.* ordinary Client .*own colour"):
        client.get("http://localhost/")
    client.close()
    with pytest.raises(TypeError, match=rf"{library.__name__}\.AsyncHTTPTransport.* ordinary Client"):
        library.Client(transport=transport).__enter__()


@pytest.mark.anyio
async def test_an_async_client_over_a_sync_transport_is_told_so(async_way: str) -> None:
    """On entering, or at the first call."""
    library: Any = LIBRARIES[async_way.partition("-")[0]]
    transport = over(Stack(), library.HTTPTransport())
    client = library.AsyncClient(transport=transport)
    with pytest.raises(TypeError, match=rf"{library.__name__}\.HTTPTransport.* AsyncClient .*own colour"):
        await client.get("http://localhost/")
    await client.aclose()
    with pytest.raises(TypeError, match=rf"{library.__name__}\.HTTPTransport.* AsyncClient"):
        await library.AsyncClient(transport=transport).__aenter__()


def test_what_is_no_transport_is_refused_with_a_word_on_what_is() -> None:
    """A client, or a class instead of an object, is what people hand in by mistake."""
    anything: Any = Stack().over
    with httpx.Client() as client, pytest.raises(TypeError, match=r"not over httpx\.Client"):
        anything(client)
    with pytest.raises(TypeError, match=r"not over a class: write HTTPTransport\(\)"):
        anything(httpx.HTTPTransport)


def test_a_mock_transport_serves_both_colours(way: Way) -> None:
    """MockTransport is both; its answers are made whole, and judged all the same."""
    answers = [500, 200]

    def handler(_request: Any) -> Any:
        status = answers.pop(0)
        return way.library.Response(status, json={"status": status})

    client = way.client(RETRYING, way.library.MockTransport(handler))
    response = client.get("http://localhost/")
    assert response.json() == {"status": 200}
    attempts = ledger_of(response).attempts
    assert [(attempt.status, attempt.bytes) for attempt in attempts] == [
        (500, len(way.library.Response(200, json={"status": 500}).content)),
        (200, len(response.content)),
    ]


def test_a_mock_transport_that_streams_is_read_like_the_wire(way: Way) -> None:
    """A generator as content is read once, piece by piece, and closed."""
    closed: list[str] = []

    def pieces() -> Any:
        try:
            yield b"data: one\n\n"
            yield b"data: [DONE]\n\n"
        finally:
            closed.append("closed")

    async def async_pieces() -> Any:
        for piece in pieces():
            yield piece

    def handler(_request: Any) -> Any:
        content = pieces() if way.colour == "sync" else async_pieces()
        return way.library.Response(200, headers={"content-type": "text/event-stream"}, content=content)

    with way.client(RETRYING, way.library.MockTransport(handler)).stream("GET", "http://localhost/") as stream:
        assert stream.next() == b"data: one\n\n"
        assert stream.rest() == b"data: [DONE]\n\n"
    assert closed == ["closed"]


def test_an_application_without_a_socket_can_stand_underneath(way: Way) -> None:
    """WSGITransport and ASGITransport know neither timeouts nor connections."""
    failing = [True]

    def wsgi(_environ: Any, start_response: Any) -> list[bytes]:
        start_response("503 Busy" if failing else "200 OK", [("content-type", "text/plain")])
        return [b"busy"] if failing and failing.pop() else [b"here"]

    async def asgi(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        busy = bool(failing and failing.pop())
        await send({"type": "http.response.start", "status": 503 if busy else 200, "headers": []})
        await send({"type": "http.response.body", "body": b"busy" if busy else b"here"})

    library = way.library
    transport = library.WSGITransport(app=wsgi) if way.colour == "sync" else library.ASGITransport(app=asgi)
    response = way.client(Stack.inference(), transport).get("http://localhost/")
    assert (response.status_code, response.content) == (200, b"here")
    assert [attempt.status for attempt in ledger_of(response).attempts] == [503, 200]


def test_it_says_what_it_is_made_of(way: Way) -> None:
    """The repr is the line that made it."""
    bound = over(Stack(Retry(attempts=2)), way.transport())
    assert repr(bound).startswith(f"Stack(Retry(attempts=2)).over(<{way.library.__name__}.")


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_it_is_not_copied(way: Way, copied: Any) -> None:
    """Two copies of one pool would share its sockets."""
    with pytest.raises(TypeError, match="can't be copied or pickled"):
        copied(over(Stack(), way.transport()))
