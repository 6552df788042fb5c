"""Transports that are closed twice, a stack that threads and two event loops share, a server that nobody trusts."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from resilient_foundry import Backoff, CircuitBreaker, CircuitOpenError, Retry, Stack
from resilient_foundry.events import Event, RetryScheduled
from resilient_foundry.flow import Flow, Proceed, Request, Response, listen
from tests.servers import Gate, Server, replies
from tests.ways import NAMES, Way, ledger_of, way_named


def test_closing_twice_is_closing_once(way: Way) -> None:
    """Neither the second close of a client nor one of its transport does harm."""
    with Server(replies(200)) as server:
        client = way.client(Stack.standard())
        client.get(server.url)
        client.close()
        client.close()
        way.run(way.method(client.transport, "close"))
        server.wait_until_closed(connections=1)


def test_one_stack_serves_threads_and_event_loops_of_both_libraries_at_once() -> None:
    """It holds no loop and no connection: what one way has learnt of a server, all know."""
    breaker = CircuitBreaker(failures=len(NAMES), open_seconds=60)
    stack = Stack(breaker)
    ways: list[Way] = []
    try:
        with Server(replies(500)) as server:
            for name in NAMES:
                assert breaker.circuit(server.url).state == "closed"
                ways.append(way_named(name))
                ways[-1].client(stack).get(server.url)
            assert breaker.circuit(server.url).state == "open"
            for way in ways:
                with pytest.raises(CircuitOpenError):
                    way.client(stack).get(server.url)
            assert len(server.asked) == len(NAMES)
    finally:
        for way in ways:
            way.close()


def test_urls_that_differ_in_letters_alone_are_one_server(way: Way) -> None:
    """Case, user, path and query make no other origin; another port does."""
    breaker = CircuitBreaker(failures=1, open_seconds=60)
    with Server(replies(500)) as server, Server(replies(200)) as other:
        client = way.client(Stack(breaker))
        client.get(server.url)
        for url in (server.url.upper(), server.url.replace("//", "//user:secret@"), f"{server.url}/path?query"):
            with pytest.raises(CircuitOpenError):
                client.get(url)
        assert client.get(other.url).status_code == 200


@dataclass(kw_only=True)
class TlsServer(Server):
    """Speaks TLS, with a certificate that nobody has signed."""

    certificate: Path

    def serve(self, connection: socket.socket) -> None:
        """Answer one connection to its end."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate)
        with context.wrap_socket(connection, server_side=True) as secured:
            super().serve(secured)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost that signs itself, with its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl makes the certificate")
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-nodes", "-subj", "/CN=localhost"),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-keyout", str(path), "-out", str(path.with_suffix(".crt"))),
        ],
        check=True,
        capture_output=True,
    )
    with path.open("a") as both:
        both.write(path.with_suffix(".crt").read_text())
    return path


def test_a_server_that_nobody_trusts_is_asked_once(way: Way, certificate: Path) -> None:
    """Its certificate will be no better in a second, and says nothing of its health."""
    breaker = CircuitBreaker(failures=1, open_seconds=60)
    with TlsServer(handler=replies(200), certificate=certificate) as server:
        client = way.client(Stack.unchecked(Retry(backoff=Backoff(base=0.0)), breaker))
        url = server.url.replace("http:", "https:")
        with pytest.raises(way.library.ConnectError) as caught:
            client.get(url)
        assert len(ledger_of(caught.value).attempts) == 1
        assert (server.connections, breaker.circuit(url).state) == (1, "closed")


@dataclass(frozen=True)
class Listening:
    """A policy that tells a test what happens, while it happens."""

    happened: Callable[[Event], None]

    def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
        """Pass the request on."""
        yield from listen(self.happened)
        return (yield from proceed(request))


def test_a_client_that_is_closed_while_a_call_waits_sends_nothing_more(way: Way) -> None:
    """A retry would open a connection that nobody is left to close; the call ends with the client's own error."""
    waiting = Gate()

    def saw(event: Event) -> None:
        if isinstance(event, RetryScheduled):
            waiting.open()

    with Server(replies(503, b"busy", {"retry-after": "0.1"})) as server:
        client = way.client(Stack(Listening(saw), Retry()))
        with way.meanwhile(partial(client.get, server.url)) as call:
            waiting.wait()
            client.close()
        with pytest.raises(RuntimeError, match="has been closed"):
            call.result()
        assert (len(server.asked), server.connections) == (1, 1)
