"""Those who are woken together go on one by one, where the pool underneath can't bear them all at once."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from types import ModuleType
from typing import Any

import httpx
import httpx2
import pytest

from resilient_foundry import ConcurrencyLimit, Stack

PLACES = 3


@pytest.mark.parametrize(("library", "apart"), [(httpx, True), (httpx2, False)], ids=["httpx", "httpx2"])
def test_places_that_become_free_together_are_entered_apart(library: ModuleType, apart: bool) -> None:
    """Httpx 0.28 takes a connection a turn of the event loop after it was asked for one; httpx2 at once."""
    entered = asyncio.run(turns_of_entry(library))
    first, second = entered[:PLACES], entered[PLACES:]
    assert len(set(first)) == 1
    assert all(later - earlier >= 2 for earlier, later in pairwise(second)) is apart
    assert (len(set(second)) == 1) is not apart


async def turns_of_entry(library: Any) -> list[int]:
    """In which turns of the loop calls came to the transport underneath: three at once, and three in line."""
    turn, entered, in_hand, let_go = [0], list[int](), asyncio.Event(), asyncio.Event()

    async def answer(_request: Any) -> Any:
        entered.append(turn[0])
        if len(entered) == PLACES:
            in_hand.set()
        await let_go.wait()
        return library.Response(200, content=b"ok")

    async def count() -> None:
        while True:
            turn[0] += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    stack: Any = Stack(ConcurrencyLimit(PLACES))
    async with library.AsyncClient(transport=stack.over(library.MockTransport(answer))) as client:
        calls = [asyncio.create_task(client.get("http://here/")) for _ in range(2 * PLACES)]
        await in_hand.wait()
        let_go.set()
        await asyncio.gather(*calls)
    counting.cancel()
    return entered
