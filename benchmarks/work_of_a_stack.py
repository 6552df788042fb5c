"""How much code of ours runs for a request.

Counts the Python functions of ours that are entered, and the generators that go on, for one GET that is answered from
memory by a client that is warm: in httpx and httpx2, sync and on asyncio. The same on every machine and in every run,
unlike time. So it shows where work is done for a policy that is not in the stack.

    python -m benchmarks.work_of_a_stack
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from benchmarks.contenders import EMPTY, STANDARD, Make, contenders
from resilient_foundry._extras import require

WAYS = tuple((library, colour) for library in ("httpx", "httpx2") for colour in ("sync", "async"))
_OURS = "resilient_foundry."
_TO_WARM_UP = 3


def main() -> None:
    """Count, and print one sentence and a table."""
    counts = {
        (library, colour, name): calls(library, colour, make).total()
        for library, colour in WAYS
        for name, make in contenders(colour).items()
    }
    standard, empty = counts["httpx", "sync", STANDARD], counts["httpx", "sync", EMPTY]
    print(
        f"A request through the standard stack enters {standard} functions of ours, {empty} of them without any policy."
    )
    print(f"\n{'':<21}" + "".join(f"{f'{library} {colour}':>14}" for library, colour in WAYS))
    for name in contenders("async"):
        print(f"{name:<21}" + "".join(f"{counts.get((*way, name), ''):>14}" for way in WAYS))


def calls(library: str, colour: str, make: Make) -> Counter[str]:
    """How often code of each of our modules was entered for one request; modules by their names within the package."""
    module: Any = require(library, extra="httpx2") if library == "httpx2" else require(library, extra="")

    def ok(_request: Any) -> Any:
        return module.Response(200, content=b"ok")

    stack: Any = make()
    transport = stack.over(module.MockTransport(ok))
    if colour == "sync":
        return _sync_calls(module.Client(transport=transport))
    return asyncio.run(_async_calls(module.AsyncClient(transport=transport)))


def _sync_calls(client: Any) -> Counter[str]:  # of either library
    with client:
        for _ in range(_TO_WARM_UP):
            client.get("http://here/")
        with _counted() as counts:
            client.get("http://here/")
    return counts


async def _async_calls(client: Any) -> Counter[str]:  # of either library
    async with client:
        for _ in range(_TO_WARM_UP):
            await client.get("http://here/")
        with _counted() as counts:
            await client.get("http://here/")
    return counts


@contextmanager
def _counted() -> Generator[Counter[str]]:
    """What is entered within the block, by this thread."""
    counts: Counter[str] = Counter()

    def note(frame: FrameType, event: str, _argument: object) -> None:
        name: str = frame.f_globals.get("__name__", "")
        if event == "call" and name.startswith(_OURS):
            counts[name.removeprefix(_OURS)] += 1

    gc.collect()  # finalizers of earlier requests are theirs
    gc.disable()
    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield counts
    finally:
        sys.setprofile(before)
        gc.enable()


if __name__ == "__main__":
    main()
