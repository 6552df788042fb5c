"""respx underneath: each attempt is a call of a route.

It replaces httpcore's pools, which stand below our transports. It knows httpx alone: under httpx2, which stands on
httpcore2, its routes are never asked, and calls go out to the network.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import httpx2
import pytest
import respx

from resilient_foundry import Backoff, Retry, Stack
from tests.servers import Server, replies, script
from tests.ways import ledger_of

STACK = Stack(Retry(attempts=3, backoff=Backoff(base=0.0)))
URL = "http://foundry.invalid/status"


@pytest.fixture
def router() -> Iterator[respx.MockRouter]:
    """The routes of a test; what matches none is an error."""
    with respx.mock() as router:
        yield router


def test_each_attempt_is_a_call_of_the_route(router: respx.MockRouter) -> None:
    route = router.get(URL).mock(side_effect=[httpx.Response(503), httpx.Response(200, text="here")])
    with STACK.client(httpx.Client) as client:
        response = client.get(URL)
    assert response.text == "here"
    assert route.call_count == 2
    assert [attempt.status for attempt in ledger_of(response).attempts] == [503, 200]


def test_an_error_of_the_network_can_be_played_and_is_retried(router: respx.MockRouter) -> None:
    """As the class of httpx that the real thing would raise."""
    route = router.post(URL).mock(side_effect=[httpx.ConnectError, httpx.Response(200)])
    with STACK.client(httpx.Client) as client:
        response = client.post(URL, json={"asked": "twice"})
    assert response.status_code == 200
    calls: Any = route.calls  # half typed
    assert [call.request.content for call in calls] == [b'{"asked":"twice"}'] * 2
    assert [attempt.error for attempt in ledger_of(response).attempts] == ["ConnectError", None]


@pytest.mark.anyio
async def test_so_it_is_asynchronously(router: respx.MockRouter) -> None:
    """On asyncio and on trio."""
    router.get(URL).mock(side_effect=[httpx.Response(503), httpx.Response(200, text="here")])
    async with STACK.client(httpx.AsyncClient) as client:
        response = await client.get(URL)
    assert [attempt.status for attempt in ledger_of(response).attempts] == [503, 200]


def test_its_router_can_be_the_transport_itself() -> None:
    """Where nothing is to be patched: the stack stands over it like over any other."""
    router = respx.MockRouter()
    router.get(URL).mock(side_effect=[httpx.Response(503), httpx.Response(200, text="here")])
    with httpx.Client(transport=STACK.over(httpx.MockTransport(router.handler))) as client:
        assert len(ledger_of(client.get(URL)).attempts) == 2


def test_mocking_by_httpx_itself_takes_the_place_of_our_transport() -> None:
    """`using="httpx"` answers above every transport: nothing is retried there, and no answer has a ledger."""
    with respx.mock(using="httpx") as router, STACK.client(httpx.Client) as client:
        route = router.get(URL).mock(return_value=httpx.Response(503))
        assert "resilience" not in client.get(URL).extensions
        assert route.call_count == 1


def test_it_does_not_reach_httpx2(router: respx.MockRouter) -> None:
    """A call under httpx2 passes it by, to a real server, and is retried there. `httpx2.MockTransport` is the means."""
    with Server(script(replies(503), replies(200))) as server, STACK.client(httpx2.Client) as client:
        assert len(ledger_of(client.get(server.url)).attempts) == 2
    assert router.calls.call_count == 0
