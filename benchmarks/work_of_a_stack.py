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

from benchmarks.contenders import EMPTY, FOR_STREAMS, STANDARD, Make, contenders, from_memory
from resilient_foundry._extras import require

WAYS = tuple((library, colour) for library in ("httpx", "httpx2") for colour in ("sync", "async"))
TEXT, STREAM = "/", "/events"
PATHS = {TEXT: "two bytes", STREAM: "a stream of 12 events"}
_OURS = "resilient_foundry."
_TO_WARM_UP = 3


def main() -> None:
    """Count, and print one sentence and a table for each kind of answer."""
    counts = {
        (path, library, colour, name): calls(library, colour, make, path).total()
        for path in PATHS
        for library, colour in WAYS
        for name, make in contenders(colour).items()
        if path == TEXT or name in FOR_STREAMS
    }
    standard, empty = (counts[TEXT, "httpx", "sync", name] for name in (STANDARD, EMPTY))
    print(
        f"A request through the standard stack enters {standard} functions of ours, {empty} of them without any policy."
    )
    for path, words in PATHS.items():
        print(f"\n{words:<24}" + "".join(f"{f'{library} {colour}':>14}" for library, colour in WAYS))
        for name in contenders("async") if path == TEXT else FOR_STREAMS:
            print(f"{name:<24}" + "".join(f"{counts.get((path, *way, name), ''):>14}" for way in WAYS))


def calls(library: str, colour: str, make: Make, path: str = TEXT) -> Counter[str]:
    """How often code of each of our modules was entered for one request; modules by their names within the package."""
    module: Any = require(library, extra="httpx2") if library == "httpx2" else require(library, extra="")
    stack: Any = make()
    transport = stack.over(from_memory(module, colour))
    if colour == "sync":
        return _sync_calls(module.Client(transport=transport), f"http://here{path}")
    return asyncio.run(_async_calls(module.AsyncClient(transport=transport), f"http://here{path}"))


def _sync_calls(client: Any, url: str) -> Counter[str]:  # of either library
    with client:
        for _ in range(_TO_WARM_UP):
            client.get(url)
        with _counted() as counts:
            client.get(url)
    return counts


async def _async_calls(client: Any, url: str) -> Counter[str]:  # of either library
    async with client:
        for _ in range(_TO_WARM_UP):
            await client.get(url)
        with _counted() as counts:
            await client.get(url)
    return counts


@contextmanager
def _counted() -> Generator[Counter[str]]:
    """What is entered within the block, by this thread."""
    counts: Counter[str] = Counter()

    def note(frame: FrameType, event: str, _argument: object) -> None:
        name: str = frame.f_globals.get("__name__", "")
        if event == "call" and name.startswith(_OURS):
            counts[name.removeprefix(_OURS)] += 1

    gc.disable()  # what it would finalize here belongs to others
    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield counts
    finally:
        sys.setprofile(before)
        gc.enable()


if __name__ == "__main__":
    main()
