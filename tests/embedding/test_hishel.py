"""The cache of hishel outside our stack, and inside it: a hit sends nothing, a miss is retried."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import hishel
import hishel.httpx
import hishel.httpx2
import pytest

from resilient_foundry import Backoff, CircuitBreaker, CircuitOpenError, Retry, Stack
from tests.servers import Conversation, Server, replies, script
from tests.ways import LIBRARIES, ledger_of

CACHES: dict[str, Any] = {"httpx": hishel.httpx, "httpx2": hishel.httpx2}
Wiring = Callable[[Any, Any, Any], Any]


def stack(*innermost: Any) -> Any:
    """A stack over any library."""
    return Stack(Retry(attempts=3, backoff=Backoff(base=0.0)), *innermost)


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> Any:
    """Each library in turn."""
    return LIBRARIES[request.param]


def outside(library: Any, policies: Any, storage: hishel.SqliteStorage, *, rfc: bool = False) -> Any:
    """A client whose cache is asked first; what it does not know goes through the stack."""
    transport = CACHES[library.__name__].CacheTransport(policies.over(library.HTTPTransport()), storage, rfc)
    return library.Client(transport=transport)


def inside(library: Any, policies: Any, storage: hishel.SqliteStorage) -> Any:
    """The client that hishel offers; every attempt of the stack asks its cache."""
    return policies.client(CACHES[library.__name__].CacheClient, storage=storage)


@pytest.fixture
def storage(tmp_path: Path) -> hishel.SqliteStorage:
    """A cache of the test's own; who holds it last closes it."""
    return hishel.SqliteStorage(database_path=tmp_path / "cache.db")


def busy_once_and_then(body: bytes) -> Any:
    """One 503, then this."""
    return script(replies(503, b"busy"), replies(200, body))


def test_with_the_cache_outside_a_miss_is_retried_and_a_hit_never_reaches_the_stack(
    library: Any, storage: hishel.SqliteStorage
) -> None:
    """An answer out of the cache has no ledger, for there was no attempt."""
    with Server(busy_once_and_then(b"here")) as server, outside(library, stack(), storage) as client:
        miss = client.get(server.url)
        hit = client.get(server.url)
        assert (miss.content, hit.content) == (b"here", b"here")
        assert [attempt.status for attempt in ledger_of(miss).attempts] == [503, 200]
        assert hit.extensions["caching"]["from_cache"]
        assert "resilience" not in hit.extensions
        assert len(server.asked) == 2


def test_with_the_cache_outside_a_hit_is_served_though_the_circuit_is_open(
    library: Any, storage: hishel.SqliteStorage
) -> None:
    """That is the order for what should outlast an outage."""
    breaker = CircuitBreaker()
    with Server(replies(200, b"here")) as server, outside(library, stack(breaker), storage) as client:
        client.get(f"{server.url}/known")
        breaker.circuit(library.URL(server.url)).breaker.open()
        assert client.get(f"{server.url}/known").content == b"here"
        with pytest.raises(CircuitOpenError):
            client.get(f"{server.url}/unknown")


def test_with_the_cache_outside_asking_whether_it_is_still_good_is_retried_too(
    library: Any, storage: hishel.SqliteStorage
) -> None:
    """RFC 9111 section 4.3: the conditional request goes out as often as it must, with its header."""
    busy = replies(503)
    first = replies(
        200, b"here", {"etag": '"one"', "cache-control": "no-cache", "date": "Mon, 23 Nov 2026 00:00:00 GMT"}
    )

    def unchanged(talk: Conversation) -> None:
        talk.reply_without_a_body(304, {"etag": '"one"', "cache-control": "no-cache"})

    with Server(script(first, busy, unchanged)) as server, outside(library, stack(), storage, rfc=True) as client:
        client.get(server.url)
        again = client.get(server.url)
        assert (again.status_code, again.content) == (200, b"here")
        assert again.extensions["caching"]["revalidated"]
        assert [asked.headers.get("if-none-match") for asked in server.asked] == [None, '"one"', '"one"']


def test_with_the_cache_inside_a_miss_is_retried_and_a_hit_sends_nothing(
    library: Any, storage: hishel.SqliteStorage
) -> None:
    """A failure is not kept. An answer out of the cache is an attempt like any other, and has its ledger."""
    with Server(busy_once_and_then(b"here")) as server, inside(library, stack(), storage) as client:
        miss = client.get(server.url)
        hit = client.get(server.url)
        assert (miss.content, hit.content) == (b"here", b"here")
        assert [attempt.status for attempt in ledger_of(miss).attempts] == [503, 200]
        assert hit.extensions["caching"]["from_cache"]
        assert [attempt.status for attempt in ledger_of(hit).attempts] == [200]
        assert len(server.asked) == 2


def test_with_the_cache_inside_an_open_circuit_refuses_hits_as_well(
    library: Any, storage: hishel.SqliteStorage
) -> None:
    """The circuit is asked before the cache."""
    breaker = CircuitBreaker()
    with Server(replies(200, b"here")) as server, inside(library, stack(breaker), storage) as client:
        client.get(server.url)
        breaker.circuit(library.URL(server.url)).breaker.open()
        with pytest.raises(CircuitOpenError):
            client.get(server.url)


@pytest.mark.anyio
@pytest.mark.parametrize("place", ["outside", "inside"])
async def test_so_it_is_asynchronously(library: Any, place: str, tmp_path: Path) -> None:
    """On asyncio and on trio."""
    cache = CACHES[library.__name__]
    storage = hishel.AsyncSqliteStorage(database_path=tmp_path / "cache.db")
    transport: Any = library.AsyncHTTPTransport()
    if place == "outside":
        transport = cache.AsyncCacheTransport(stack().over(transport), storage)
    else:
        transport = stack().over(cache.AsyncCacheTransport(transport, storage))
    with Server(busy_once_and_then(b"here")) as server:
        async with library.AsyncClient(transport=transport) as client:
            miss = await client.get(server.url)
            hit = await client.get(server.url)
        assert (miss.content, hit.content) == (b"here", b"here")
        assert [attempt.status for attempt in ledger_of(miss).attempts] == [503, 200]
        assert cast("dict[str, Any]", hit.extensions["caching"])["from_cache"]
        assert ("resilience" in hit.extensions) is (place == "inside")
        assert len(server.asked) == 2
