"""Streams that nobody closed, and the collector that finds them."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from resilient_foundry.foundry import FoundryClient
from tests.foundry.servers import Two, delta, events

PHI = "phi-4-mini-instruct-cpu:1"

pytestmark = pytest.mark.filterwarnings("ignore:a ChatStream was left open:ResourceWarning")


@pytest.fixture
def lock() -> threading.Lock:
    """What the connection pool holds while the collector runs: a lock that is not reentrant."""
    return threading.Lock()


@pytest.fixture
def closed() -> list[str]:
    """What was closed, in this order."""
    return []


@pytest.fixture
def http(library: ModuleType, lock: threading.Lock, closed: list[str]) -> Iterator[Any]:
    """Its server's streams close as httpcore's do: in `close`, and where a generator is ended."""
    module: Any = library
    server = Two(loaded=[PHI])
    body = events(delta("a"), delta("b", "stop")).body

    def end(how: str) -> None:
        if not lock.acquire(timeout=0.1):
            how = "deadlock"
        else:
            lock.release()
        closed.append(how)

    class Stream(module.SyncByteStream):  # type: ignore[misc]  # either library
        def __iter__(self) -> Iterator[bytes]:
            try:
                yield body[:100]
                yield body[100:]
            except GeneratorExit:
                end("iteration")
                raise

        def close(self) -> None:
            end("close")

    answer: Callable[[Any], Any] = server.handler(library)

    def handle(request: Any) -> Any:
        if request.url.path.endswith("/chat/completions"):
            return module.Response(200, headers={"content-type": "text/event-stream"}, stream=Stream())
        return answer(request)

    with module.Client(transport=module.MockTransport(handle)) as made:
        yield made


@pytest.fixture
def client(http: Any) -> FoundryClient:
    """A client over it."""
    return FoundryClient("http://127.0.0.1:5273", http_client=http, model=PHI)


def leave_in_a_cycle(client: FoundryClient) -> None:
    """As the traceback of an error in somebody's loop does."""
    stream: Any = client.stream_complete("hi")
    next(stream)
    stream.itself = stream


def test_the_collector_closes_nothing(client: FoundryClient, lock: threading.Lock, closed: list[str]) -> None:
    """It may run inside the pool's lock, and would wait there for itself."""
    gc.collect()
    leave_in_a_cycle(client)
    with lock:
        gc.collect()
    assert closed == []


def test_the_collector_closes_nothing_of_a_client_that_is_gone_too(
    client: FoundryClient, http: Any, lock: threading.Lock, closed: list[str]
) -> None:
    """While its HTTP client is still in use."""
    other = FoundryClient("http://127.0.0.1:5273", http_client=http, model=PHI)
    leave_in_a_cycle(other)
    del other
    with lock:
        gc.collect()
    assert closed == []
    client.loaded_models()
    assert closed[0] == "close"


def test_the_next_call_closes_what_was_forgotten(client: FoundryClient, closed: list[str]) -> None:
    """So the server stops its work at the latest then."""
    leave_in_a_cycle(client)
    gc.collect()
    client.loaded_models()
    assert "close" in closed
    assert "deadlock" not in closed


def test_closing_the_client_closes_what_was_forgotten(client: FoundryClient, closed: list[str]) -> None:
    """Also where the HTTP client is somebody else's and stays open."""
    leave_in_a_cycle(client)
    gc.collect()
    client.close()
    assert "close" in closed


def test_a_forgotten_stream_is_told_of(client: FoundryClient) -> None:
    """As Python tells of a file that was left open."""
    stream = client.stream_complete("hi")
    next(stream)
    with pytest.warns(ResourceWarning, match="a ChatStream was left open; use it in a `with` block"):
        del stream


def test_a_stream_that_was_closed_is_not_told_of(client: FoundryClient, recwarn: pytest.WarningsRecorder) -> None:
    """Nor one that came to its end."""
    with client.stream_complete("hi") as stream:
        next(stream)
    assert [chunk.content for chunk in client.stream_complete("hi")] == ["a", "b"]
    del stream
    gc.collect()
    assert not recwarn.list
