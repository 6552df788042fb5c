"""What a stream of events costs, an event and as a whole.

The same chat of many small events, read to its end: as bytes, as JSON by httpx-sse and by httpx2's own reader, as what
openai's SDK makes of it, and as ours: bytes under `Stack.inference()`, whose `StreamGuard` reads every event, and
chunks of `AsyncFoundryClient`. From memory, many events in a piece, and each in a piece of its own; a core's time.
Then memory at the peak of long and of longer streams, and how much later the first event comes over loopback.
"""

from __future__ import annotations

import asyncio
import gc
import json
import time
import tracemalloc
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from statistics import median
from typing import Any

import httpx
import httpx2

from benchmarks.isolated import Taken, Watch, isolated
from benchmarks.origin import apart, origin
from benchmarks.question import Figures, Question
from benchmarks.race import CONTROL, is_trusted, race, standings
from resilient_foundry import Stack
from resilient_foundry._extras import require
from resilient_foundry.foundry import AsyncFoundryClient

BYTES = "aiter_bytes"
GUARDED = "Stack.inference(), as bytes"
TYPED = "AsyncFoundryClient, as chunks"
LINES = "aiter_lines + json"
HTTPX_SSE = "httpx-sse + json"
HTTPX2_SSE = "httpx2's own + json"
OPENAI = "openai's SDK"
CONTENDERS = (BYTES, CONTROL, GUARDED, TYPED, LINES, HTTPX_SSE, HTTPX2_SSE, OPENAI)
BULK, SINGLE = "64 events a piece", "1 event a piece"
PIECES = {BULK: 64, SINGLE: 1}
GOAL = 4.0
"""Microseconds to reach: what an event costs, guarded and typed, more than as bytes; in bulk."""
GOAL_OF_THE_FIRST = 0.2
"""Milliseconds to reach: how much later the first event comes."""
GOAL_OF_THE_PEAK = 16.0
"""Kilobytes to reach: how much higher memory goes for a stream that is five times as long."""
_LENGTHS = (10_000, 50_000)
_EVENT = (
    b'data: {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000, "model": "builtin", '
    b'"choices": [{"index": 0, "delta": {"role": "assistant", "content": "word "}, "finish_reason": null}]}\n\n'
)
_END = (
    b'data: {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000, "model": "builtin", '
    b'"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\n'
    b"data: [DONE]\n\n"
)
_HEAD = {"Content-Type": "text/event-stream"}
_BODY = {"model": "builtin", "messages": [{"role": "user", "content": "Go on."}], "stream": True}
_ASKED = {
    "/status": b'{"modelDirPath": "/models", "pid": 1, "endpoints": []}',
    "/v1/models": b'{"object": "list", "data": [{"id": "builtin"}]}',
    "/models/loaded": b'["builtin"]',
}
_URL = "http://127.0.0.1:9"


def measure(quick: bool) -> Figures:
    """Everything."""
    if quick:
        return measured(rounds=2, seconds=1.0, events=500, pieces=(BULK,), lengths=(1_000, 5_000), firsts=10)
    return measured(rounds=25, seconds=40.0, events=2_000, pieces=tuple(PIECES), lengths=_LENGTHS, firsts=300)


def measured(
    *, rounds: int, seconds: float, events: int, pieces: Sequence[str], lengths: Sequence[int], firsts: int
) -> Figures:
    """What each took, of streams of so many events."""
    missing = [name for name in CONTENDERS if not _is_there(name)]
    costs: dict[str, Any] = {}
    with apart():
        for piece in pieces:
            names = [name for name in CONTENDERS if name not in missing]
            with isolated(partial(contender, events, PIECES[piece]), names) as contenders:
                taken = race(contenders, rounds=rounds, seconds=seconds)
            standing = standings({name: [one.cpu for one in of] for name, of in taken.items()}, BYTES)
            costs[piece] = {
                "trusted": is_trusted(standing),
                "events": {
                    name: {"figure": asdict(one.figure), "added": asdict(one.added)} for name, one in standing.items()
                },
            }
        peaks = {name: [_peak(name, length) for length in lengths] for name in (BYTES, GUARDED, TYPED)}
        first = asyncio.run(_firsts(firsts))
    return {"costs": costs, "lengths": list(lengths), "peaks": peaks, "firsts": first, "missing": missing}


def _is_there(name: str) -> bool:
    try:
        if name == OPENAI:
            require("openai", extra="bench")
        elif name == HTTPX_SSE:
            require("httpx_sse", extra="bench")
    except ImportError:
        return False
    return True


@contextmanager
def contender(events: int, piece: int, name: str) -> Generator[Callable[[], Taken]]:
    """Reads a stream in its turn, in this process; what an event took."""
    with asyncio.Runner() as runner:

        def turn() -> Taken:
            watch = Watch()
            with watch:
                seen = runner.run(_read(name, events, piece))
            assert seen
            return watch.divided(events)

        yield turn


async def _pieces(events: int, piece: int) -> AsyncGenerator[bytes]:
    whole, rest = divmod(events, piece)
    together = _EVENT * piece
    for _ in range(whole):
        yield together
    yield _EVENT * rest + _END


def _wire(library: Any, events: int, piece: int) -> Any:
    def answer(request: Any) -> Any:
        if request.method == "GET":  # what a client of Foundry Local asks before it knows whom it talks to
            return library.Response(200, content=_ASKED[request.url.path])
        return library.Response(200, headers=_HEAD, content=_pieces(events, piece))

    return library.MockTransport(answer)


async def _read(name: str, events: int, piece: int) -> int:
    """Read it all; how many pieces of whatever kind there were."""
    library: Any = httpx2 if name in {HTTPX2_SSE, OPENAI} else httpx
    wire = _wire(library, events, piece)
    if name == TYPED:
        return await _typed(wire)
    if name == OPENAI:
        return await _by_openai(wire)
    if name == GUARDED:
        stack: Any = Stack.inference()
        wire = stack.over(wire)
    async with library.AsyncClient(transport=wire) as client, client.stream("POST", _URL, json=_BODY) as response:
        return await _count(name, response)


async def _count(name: str, response: Any) -> int:
    if name == LINES:
        return await _lines(response.aiter_lines())
    if name == HTTPX_SSE:
        source = require("httpx_sse", extra="bench").EventSource(response)
        return await _events(source.aiter_sse())
    if name == HTTPX2_SSE:
        return await _events(aiter(httpx2.EventSource(response)))
    count = 0
    async for _ in response.aiter_bytes():
        count += 1
    return count


async def _lines(lines: AsyncIterator[str]) -> int:
    count = 0
    async for line in lines:
        if line.startswith("data: ") and line != "data: [DONE]":
            json.loads(line[6:])
            count += 1
    return count


async def _events(events: AsyncIterator[Any]) -> int:
    count = 0
    async for event in events:
        if event.data != "[DONE]":
            json.loads(event.data)
            count += 1
    return count


async def _typed(wire: Any) -> int:
    count = 0
    async with AsyncFoundryClient(_URL, transport=wire, load=False) as client:
        async for _ in client.stream_complete("Go on.", model="builtin"):
            count += 1
    return count


async def _by_openai(wire: Any) -> int:
    openai: Any = require("openai", extra="bench")
    count = 0
    client = openai.AsyncOpenAI(base_url=_URL, api_key="none", http_client=httpx2.AsyncClient(transport=wire))
    async with client:
        async for _ in await client.chat.completions.create(**_BODY):
            count += 1
    return count


def _peak(name: str, events: int) -> float:
    """Bytes at the most, while a stream of so many events is read."""
    with asyncio.Runner() as runner:
        runner.run(_read(name, 200, PIECES[BULK]))  # what is made once
        gc.collect()
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            runner.run(_read(name, events, PIECES[BULK]))
            return float(tracemalloc.get_traced_memory()[1] - before)
        finally:
            tracemalloc.stop()


async def _firsts(calls: int) -> dict[str, float]:
    """Seconds to the first bytes of a stream over loopback, median; bare and through `Stack.inference()`, by turns."""
    taken: dict[str, list[float]] = {BYTES: [], GUARDED: []}
    with origin() as server:
        async with AsyncExitStack() as opened:
            clients = {
                name: await opened.enter_async_context(httpx.AsyncClient(transport=wire))
                for name, wire in (
                    (BYTES, httpx.AsyncHTTPTransport(verify=False)),  # no TLS here, and certificates take long to load
                    (GUARDED, Stack.inference().over(httpx.AsyncHTTPTransport(verify=False))),
                )
            }
            for number in range(calls):
                for name in sorted(clients, reverse=bool(number % 2)):
                    began = time.perf_counter()
                    async with clients[name].stream("GET", f"{server.url}/events/20/1") as response:
                        chunks = response.aiter_bytes()
                        await anext(chunks)
                        taken[name].append(time.perf_counter() - began)
                        async for _ in chunks:
                            pass
    return {name: median(of) for name, of in taken.items()}


def added(figures: Figures, name: str, piece: str = BULK) -> float:
    """Microseconds that an event costs more than as bytes."""
    return 1e6 * float(figures["costs"][piece]["events"][name]["added"]["median"])


def later(figures: Figures) -> float:
    """Milliseconds by which the first event comes later."""
    return 1e3 * float(figures["firsts"][GUARDED] - figures["firsts"][BYTES])


def growth(figures: Figures, name: str = GUARDED) -> float:
    """Kilobytes by which the peak of the longer stream is higher; the client also keeps the text, for `result()`."""
    short, long = figures["peaks"][name]
    return float(long - short) / 1024


def answer(figures: Figures) -> str:
    """The answer, in one sentence."""
    words = {True: "reached", False: "not reached"}
    typed, late, grown = added(figures, TYPED), later(figures), growth(figures)
    there = figures["costs"][BULK]["events"]
    theirs = f"; openai's SDK adds {added(figures, OPENAI):.0f}" if OPENAI in there else ""
    return (
        f"An event, guarded and typed, costs {typed:.1f} µs more than as bytes "
        f"(to reach {GOAL:g}: {words[typed <= GOAL]}){theirs}; the first comes {late:.2f} ms later "
        f"(to reach {GOAL_OF_THE_FIRST}: {words[late <= GOAL_OF_THE_FIRST]}); "
        f"memory grows by {grown:.0f} kB over {figures['lengths'][1] // 1000},000 events "
        f"(to reach {GOAL_OF_THE_PEAK:g}: {words[grown <= GOAL_OF_THE_PEAK]})."
    )


def table(figures: Figures) -> str:
    """A row for each contender."""
    pieces = list(figures["costs"])
    lines = [
        "| µs of an event, over aiter_bytes | " + " | ".join(pieces) + " |",
        "|---|" + "---:|" * len(pieces),
    ]
    for name in figures["costs"][pieces[0]]["events"]:
        cells = [
            f"{1e6 * figures['costs'][piece]['events'][name]['figure']['median']:.1f}"
            if name == BYTES
            else f"{added(figures, name, piece):+.1f}"
            for piece in pieces
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    shorter, longer = figures["lengths"]
    lines += ["", f"| kB at the most, of a stream of | {shorter:,} events | {longer:,} events |", "|---|---:|---:|"]
    lines += [
        f"| {name} | {short / 1024:.0f} | {long / 1024:.0f} |" for name, (short, long) in figures["peaks"].items()
    ]
    lines.append("\nThe client keeps the text of the whole answer, for `result()`.")
    lines += ["", "| ms to the first event, over loopback | |", "|---|---:|"]
    lines += [f"| {name} | {1e3 * seconds:.2f} |" for name, seconds in figures["firsts"].items()]
    if figures["missing"]:
        lines.append(f"\nLeft out, because it is not installed: {', '.join(figures['missing'])}.")
    if not all(of["trusted"] for of in figures["costs"].values()):
        lines.append("\nThe control strayed: the machine was busy, and digits mean little.")
    return "\n".join(lines)


def draw(figures: Figures, figure: Any, colours: Mapping[str, str]) -> None:
    """What each adds to an event."""
    axes = figure.subplots()
    names = [name for name in figures["costs"][BULK]["events"] if name not in {BYTES, CONTROL}]
    rows = range(len(names))
    height = 0.8 / len(figures["costs"])
    for number, piece in enumerate(figures["costs"]):
        places = [row + (number - (len(figures["costs"]) - 1) / 2) * height for row in rows]
        axes.barh(places, [added(figures, name, piece) for name in names], height * 0.9, label=piece)
    axes.axvline(GOAL, color=colours["text"], linestyle="--", linewidth=1)
    axes.set_yticks(rows, names)
    axes.invert_yaxis()
    axes.set_xlabel("µs that an event costs more than as bytes; dashed: the figure to reach")
    axes.legend()


QUESTION = Question("cost_of_a_stream", "What does a stream of events cost?", measure, answer, table, draw, (9.0, 4.5))


if __name__ == "__main__":
    QUESTION.main()
