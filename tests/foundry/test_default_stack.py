"""The stack that stands under a client when nobody says otherwise, over real sockets."""

from __future__ import annotations

import importlib
import re
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest

from resilient_foundry.foundry import FoundryClient, InvalidRequestError, ModelBusyError
from resilient_foundry.foundry.connect import stack_for
from resilient_foundry.policies.retry import Retry
from resilient_foundry.policies.timeouts import AttemptTimeout


def whole_request(connection: socket.socket) -> bytes:
    """A request, head and body."""
    data = b""
    while True:
        head, end, body = data.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head.lower())
        if end and len(body) >= (int(length[1]) if length else 0):
            return data
        data += connection.recv(65536)


@contextmanager
def serving(*answers: bytes) -> Generator[tuple[str, list[bytes]]]:
    """A socket that answers each request with the next of these bytes and closes; b"" says nothing at all."""
    requests: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for answer in answers:
                connection, _ = server.accept()
                with connection:
                    requests.append(whole_request(connection))
                    connection.sendall(answer)
                    if not answer:
                        try:
                            requests.append(connection.recv(1))
                        except ConnectionResetError:
                            requests.append(b"reset")

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", requests
        thread.join(10)


def http(status: int, body: bytes, *headers: str) -> bytes:
    """An answer as it goes over the wire."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


STATUS = http(200, b'{"modelCachePath": "/c", "pid": 1}')
CHAT = http(200, b'{"choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}]}')


@pytest.mark.parametrize("library", ["httpx", "httpx2"])
def test_a_busy_service_is_asked_again(library: Any) -> None:
    """The ledger tells how often."""
    busy = http(503, b"", "Retry-After: 0")
    with serving(STATUS, busy, CHAT) as (url, requests), FoundryClient(url, library=library, model="m:1") as client:
        result = client.complete("hi")
    assert result.content == "yes"
    assert result.resilience is not None
    assert [attempt.status for attempt in result.resilience.attempts] == [503, 200]
    assert requests[1] == requests[2]


def test_a_500_that_is_the_callers_fault_is_not_repeated() -> None:
    """Nor counted against the service."""
    stoi = http(500, b'{"error": {"message": "Inference failed: stoi", "type": "server_error"}}')
    with (
        serving(STATUS, stoi) as (url, requests),
        FoundryClient(url, model="m:1") as client,
        pytest.raises(InvalidRequestError) as caught,
    ):
        client.complete("hi")
    assert len(requests) == 2
    assert caught.value.resilience is not None
    assert len(caught.value.resilience.attempts) == 1


def test_a_model_that_is_busy_is_asked_again() -> None:
    """2.x refuses to unload it with a 500 while somebody else's answer runs."""
    busy = http(500, b'{"error": {"message": "Unload failed: 1 session(s) still using it"}}', "Retry-After: 0")
    loaded = http(200, b'["a:1"]')
    with (
        serving(STATUS, loaded, busy, busy) as (url, requests),
        FoundryClient(url, retries=1, aliases={"a": "a:1"}) as client,
        pytest.raises(ModelBusyError),
    ):
        client.unload_model("a")
    assert len(requests) == 4


@pytest.mark.parametrize("library", ["httpx", "httpx2"])
def test_a_timeout_resets_the_connection(library: Any) -> None:
    """2.x does not notice a polite goodbye, and computes on for nobody."""
    module: Any = importlib.import_module(library)
    with (
        serving(STATUS, b"") as (url, requests),
        FoundryClient(url, library=library, model="m:1", timeout=0.2, retries=0) as client,
        pytest.raises(module.ReadTimeout),
    ):
        client.complete("hi")
    assert requests[-1] == b"reset"


def test_every_head_is_short_and_honest() -> None:
    """2.2.1 resets the connection beyond 4096 bytes."""
    with serving(STATUS, CHAT) as (url, requests), FoundryClient(url, model="m:1", api_key="k" * 3000) as client:
        client.complete("hi")
    for request in requests:
        head = request.partition(b"\r\n\r\n")[0]
        assert len(head) + 4 <= 4096
        assert b"user-agent: resilient-foundry/" in head.lower()
        assert b"expect:" not in head.lower()


def test_a_key_that_makes_the_head_too_long_is_refused() -> None:
    """Rather than reset, without a word."""
    with (
        FoundryClient("http://127.0.0.1:1", model="m:1", api_key="k" * 5000) as client,
        pytest.raises(InvalidRequestError, match="shorten the API key") as caught,
    ):
        client.complete("hi")
    assert "kkkk" not in str(caught.value)


def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """2.x does not understand requests as proxies write them, and the service is on this machine."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with serving(STATUS, CHAT) as (url, _), FoundryClient(url, model="m:1") as client:
        assert client.complete("hi").content == "yes"


def test_retries_and_timeout_become_the_stack() -> None:
    """Retries + 1 attempts; a load may take longer than an answer."""
    stack = stack_for(retries=4, timeout=7.0)
    (retry,) = [policy for policy in stack if isinstance(policy, Retry)]
    (limits,) = [policy for policy in stack if isinstance(policy, AttemptTimeout)]
    assert retry.attempts == 5
    assert limits.read == 900.0
