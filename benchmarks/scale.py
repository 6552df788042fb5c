"""What a call costs, and what is remembered, when there is much of everything: origins, circuits, threads, streams.

Policies keep something for each origin: a circuit, an account of repetitions, a gate. That is looked up with every call
and must not be dearer with ten thousand of them than with one, and what is not used any more has to go. Origins,
circuits and threads are asked from memory and by one process a contender; streams come over loopback, through as many
pools as leave each of them fifty connections, since httpx's own pool is what would be measured otherwise.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import multiprocessing
import random
import ssl
import tracemalloc
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import httpx

from benchmarks.isolated import Taken, Watch, isolated
from benchmarks.origin import EVENTS, Origin, apart, origin
from benchmarks.question import Figures, Question
from benchmarks.race import CONTROL, TRUSTED, race
from resilient_foundry import (
    AttemptTimeout,
    CircuitBreaker,
    ConcurrencyLimit,
    Deadline,
    RateLimit,
    Retry,
    RetryBudget,
    Stack,
    Tracing,
)
from resilient_foundry.call import CIRCUIT
from resilient_foundry.tuning.figures import estimate

GOAL_OF_THE_COST = 1.6
"""Times the cost that is added to a call to one origin."""
GOAL_OF_THE_WEIGHT = 2000.0
"""Bytes an origin."""
GOAL_OF_A_STREAM = 3000.0
"""Bytes to reach: what an open stream takes, over httpx's own."""

BARE = "httpx alone"
STANDARD = "Stack.standard()"
INFERENCE = "Stack.inference()"
NUMBERS: dict[str, tuple[int, ...]] = {
    "origins": (1, 100, 10_000),
    "circuits of one origin": (1, 100, 10_000),
    "threads": (1, 8, 32),
}
STREAMS = {10: 7, 100: 5, 1000: 2, 5000: 1}
"""How many at once, and how many rounds of them."""
WEIGHED = 10_000
"""Origins."""
REMEMBERED = 100
"""Origins that are remembered, to see that the others go."""

_AT_ONCE = 320
"""Calls in a turn."""
_CONNECTIONS = 50
"""Of each pool."""
_OPENED_AT_ONCE = 32
_PIECES = 3
"""Events of a stream."""
_SHORTEST_GAP, _GAP_A_STREAM = 0.02, 0.002
"""Seconds between two events: all streams are to be open before the first of them ends."""
_WARM = 50
_TURNED_OVER = 20
"""How often all that is remembered has gone before its weight is looked at: caches and tables are full by then."""
_MANY = 1_000_000
_MICROSECONDS = 1e6


def standard(origins: int) -> Stack:
    """Stack.standard(), but for how many origins it remembers."""
    return Stack(
        Tracing(),
        Deadline(30.0),
        Retry(budget=RetryBudget(max_origins=origins)),
        CircuitBreaker(max_origins=origins),
        AttemptTimeout(),
    )


KEEPERS: dict[str, Callable[[int], Stack]] = {
    STANDARD: standard,
    "CircuitBreaker()": lambda origins: Stack(CircuitBreaker(max_origins=origins)),
    "CircuitBreaker(rate)": lambda origins: Stack(CircuitBreaker(failure_rate=0.5, max_origins=origins)),
    "Retry(budget)": lambda origins: Stack(Retry(budget=RetryBudget(max_origins=origins))),
    "ConcurrencyLimit(4)": lambda origins: Stack(ConcurrencyLimit(4, max_origins=origins)),
    "RateLimit(rate)": lambda origins: Stack(RateLimit(1e6, max_origins=origins)),
}
"""What keeps something for each origin."""


def measure(quick: bool) -> Figures:
    """All of it; quickly, with fewer of everything."""
    if quick:
        numbers = {what: tuple(min(one, 200) for one in of) for what, of in NUMBERS.items()}
        return measured(numbers, rounds=3, seconds=1.0, origins=500, streams={10: 1, 50: 1}, held=100)
    return measured(NUMBERS, rounds=25, seconds=15.0, origins=WEIGHED, streams=STREAMS, held=1000)


def measured(
    numbers: Mapping[str, Sequence[int]],
    *,
    rounds: int,
    seconds: float,
    origins: int,
    streams: Mapping[int, int],
    held: int,
) -> Figures:
    """What calls cost with so many of each, what so many origins weigh, and what so many streams at once cost."""
    with apart():
        costs = {what: costs_of(what, of, rounds=rounds, seconds=seconds) for what, of in numbers.items()}
    return {
        "costs": costs,
        "origins": origins,
        "weights": {name: _apart(weight_of_an_origin, name, origins) for name in KEEPERS},
        "remembered": REMEMBERED,
        "left": _apart(left_of_many, REMEMBERED, origins),
        "held": held,
        "stream": _apart(weight_of_a_stream, INFERENCE, held) - _apart(weight_of_a_stream, BARE, held),
        "streams": streams_at_once(streams),
    }


def _apart(weigh: Callable[..., float], *about: object) -> float:
    """What it gives in a process that has done nothing else."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(weigh, *about).result()


def costs_of(what: str, numbers: Sequence[int], *, rounds: int, seconds: float) -> Figures:
    """What the stack adds to a call, for each of these numbers of origins, circuits or threads."""
    names = [f"{number} {who}" for number in numbers for who in (BARE, STANDARD)]
    with isolated(partial(contender, what), [*names, CONTROL]) as contenders:
        taken = race(contenders, rounds=rounds, seconds=seconds)
    cpu = {name: [one.cpu * _MICROSECONDS for one in of] for name, of in taken.items()}
    return compared(cpu, numbers)


def compared(cpu: Mapping[str, Sequence[float]], numbers: Sequence[int]) -> Figures:
    """From the microseconds of each contender, round by round, to what is added, and to how much more that is."""
    added = {
        number: [one - other for one, other in zip(cpu[f"{number} {STANDARD}"], cpu[f"{number} {BARE}"], strict=True)]
        for number in numbers
    }
    first = added[numbers[0]]
    alone = cpu[f"{numbers[0]} {BARE}"]
    strayed = estimate([one / other for one, other in zip(cpu[CONTROL], alone, strict=True)]).median
    return {
        "trusted": abs(strayed - 1) <= TRUSTED,
        "by_number": [
            {
                "number": number,
                "bare": asdict(estimate(cpu[f"{number} {BARE}"])),
                "added": asdict(estimate(added[number])),
                "times": asdict(estimate([one / other for one, other in zip(added[number], first, strict=True)])),
            }
            for number in numbers
        ],
    }


@contextmanager
def contender(what: str, name: str) -> Generator[Callable[[], Taken]]:
    """What one of them does in its turn, in this process."""
    number, who = (1, BARE) if name == CONTROL else _read(name)
    wire: Any = httpx.MockTransport(lambda _: httpx.Response(200, content=b"ok"))
    transport = wire if who == BARE else _over(standard(max(number, 1000)), wire)
    make = {"origins": _of_origins, "circuits of one origin": _of_circuits, "threads": _of_threads}[what]
    with ExitStack() as opened:
        requests, ask = make(number, transport, opened)
        for _ in range(0, number, _AT_ONCE):  # each of them once
            ask(list(itertools.islice(requests, _AT_ONCE)))

        def block() -> Taken:
            watch = Watch()
            sent = list(itertools.islice(requests, _AT_ONCE))
            with watch:
                ask(sent)
            return watch.divided(_AT_ONCE)

        yield block


def _read(name: str) -> tuple[int, str]:
    number, _, who = name.partition(" ")
    return int(number), who


Made = tuple[Iterable[httpx.Request], Callable[[list[httpx.Request]], object]]
"""Requests without an end, and what asks some of them."""


def _of_origins(number: int, transport: Any, _: ExitStack) -> Made:
    urls = [httpx.URL(f"http://host-{one}.test/") for one in range(number)]
    random.Random(1).shuffle(urls)  # noqa: S311 - no order that memory could guess
    return (httpx.Request("GET", url) for url in itertools.cycle(urls)), partial(_ask, transport)


def _of_circuits(number: int, transport: Any, _: ExitStack) -> Made:
    url, models = httpx.URL("http://host.test/"), itertools.cycle(f"model-{one}" for one in range(number))
    return (httpx.Request("GET", url, extensions={CIRCUIT: model}) for model in models), partial(_ask, transport)


def _of_threads(number: int, transport: Any, opened: ExitStack) -> Made:
    pool = opened.enter_context(ThreadPoolExecutor(number))
    url = httpx.URL("http://host.test/")

    def ask(requests: list[httpx.Request]) -> None:
        list(pool.map(partial(_ask, transport), (requests[one::number] for one in range(number))))

    return (httpx.Request("GET", url) for _ in itertools.repeat(None)), ask


def _ask(transport: Any, requests: Iterable[httpx.Request]) -> None:
    for request in requests:
        transport.handle_request(request).read()


def weight_of_an_origin(name: str, origins: int) -> float:
    """Bytes that one more origin takes, of the stack of this name."""
    transport = _from_memory(KEEPERS[name](_MANY))
    _ask_origins(transport, range(_WARM))
    with _traced() as traced:
        _ask_origins(transport, range(_WARM, _WARM + origins))
        return traced() / origins


def left_of_many(remembered: int, origins: int) -> float:
    """Bytes more after so many origins than after as many as are remembered: what does not go with them."""
    transport = _from_memory(standard(remembered))
    first = _TURNED_OVER * remembered
    with _traced() as traced:
        _ask_origins(transport, range(first))
        before = traced()
        _ask_origins(transport, range(first, first + origins))
        return traced() - before


def _from_memory(stack: Stack) -> Any:
    return _over(stack, httpx.MockTransport(lambda _: httpx.Response(200, content=b"ok")))


def _over(stack: Any, wire: Any) -> Any:  # of a MockTransport, which has both colours, no type says what comes of it
    return stack.over(wire)


def _ask_origins(transport: Any, numbers: range) -> None:
    _ask(transport, (httpx.Request("GET", f"http://host-{number:07d}.test/") for number in numbers))


def weight_of_a_stream(name: str, streams: int) -> float:
    """Bytes that one more open stream takes, its first event read; from memory."""

    async def weigh() -> float:
        wire: Any = httpx.MockTransport(_streamed)
        client = httpx.AsyncClient(transport=wire if name == BARE else _over(Stack.inference(), wire))
        async with client, AsyncExitStack() as opened:
            for _ in range(_WARM):
                await _begin(client, opened)
            with _traced() as traced:
                for _ in range(streams):
                    await _begin(client, opened)
                return traced() / streams

    return asyncio.run(weigh())


def _streamed(_: httpx.Request) -> httpx.Response:
    async def events() -> AsyncGenerator[bytes]:
        for event in EVENTS:
            yield event

    return httpx.Response(200, headers={"Content-Type": "text/event-stream"}, content=events())


async def _begin(client: httpx.AsyncClient, opened: AsyncExitStack) -> None:
    response = await opened.enter_async_context(client.stream("GET", "http://host.test/events"))
    chunks: Any = response.aiter_bytes()  # an async generator, which its annotation does not say
    opened.push_async_callback(chunks.aclose)
    await anext(chunks)


@contextmanager
def _traced() -> Generator[Callable[[], int]]:
    """The bytes that were taken since, and are still."""
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]

        def taken() -> int:
            gc.collect()
            return tracemalloc.get_traced_memory()[0] - before

        yield taken
    finally:
        tracemalloc.stop()


@dataclass(frozen=True, slots=True)
class _Streams:
    """So many streams, opened, all of them open at once, and read to their end."""

    cpu: float
    """Microseconds of this process, a stream."""
    at_once: int
    """As the server saw it."""


def streams_at_once(numbers: Mapping[int, int]) -> list[Figures]:
    """What so many streams cost, in so many rounds; those for which the system has no files are left out."""
    allowed = _files() // 2  # one for each end, in processes of their own; and some for all else
    chance = random.Random(1)  # noqa: S311 - the same order each time
    found: list[Figures] = []
    with origin() as server, apart():
        for name in (BARE, INFERENCE):
            asyncio.run(_stream(server, name, min(numbers)))
        for number, rounds in numbers.items():
            if number > allowed:
                continue
            runs: dict[str, list[_Streams]] = {BARE: [], INFERENCE: []}
            for _ in range(rounds):
                for name in chance.sample(list(runs), len(runs)):
                    runs[name].append(asyncio.run(_stream(server, name, number)))
            pairs = list(zip(runs[INFERENCE], runs[BARE], strict=True))
            found.append(
                {
                    "number": number,
                    "at_once": min(one.at_once for of in runs.values() for one in of),
                    "bare": asdict(estimate([one.cpu for one in runs[BARE]])),
                    "added": asdict(estimate([one.cpu - other.cpu for one, other in pairs])),
                }
            )
    return found


async def _stream(server: Origin, name: str, number: int) -> _Streams:
    server.reset()
    gap = max(_SHORTEST_GAP, number * _GAP_A_STREAM)
    path = f"{server.url}/events/{_PIECES}/{gap * 1000:.0f}"
    stack, context, door = Stack.inference(), ssl.create_default_context(), asyncio.Semaphore(_OPENED_AT_ONCE)
    watch = Watch()

    async def read(client: httpx.AsyncClient) -> None:
        async with AsyncExitStack() as opened:
            async with door:
                response = await opened.enter_async_context(client.stream("GET", path))
            async for _ in response.aiter_bytes():
                pass

    async with AsyncExitStack() as opened:
        clients: list[httpx.AsyncClient] = []
        for _ in range(-(-number // _CONNECTIONS)):
            wire: Any = httpx.AsyncHTTPTransport(verify=context, trust_env=False)
            transport = wire if name == BARE else _over(stack, wire)
            client = httpx.AsyncClient(transport=transport, timeout=60.0, trust_env=False)
            clients.append(await opened.enter_async_context(client))
        with watch:
            async with asyncio.TaskGroup() as group:
                for _, client in zip(range(number), itertools.cycle(clients), strict=False):
                    group.create_task(read(client))
    return _Streams(watch.divided(number).cpu * _MICROSECONDS, server.counts().most_at_once)


def _files() -> int:
    """How many files this process may have open, once it has asked for as many as it is allowed."""
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        return 512
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard or hard == resource.RLIM_INFINITY:
        wanted = 20_000 if hard == resource.RLIM_INFINITY else hard
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return soft


def answer(figures: Figures) -> str:
    """The answer, in one sentence."""
    most = figures["costs"]["origins"]["by_number"][-1]
    times, weight = most["times"]["median"], figures["weights"][STANDARD]
    return (
        f"With {most['number']:,} origins a call through `{STANDARD}` costs {times:.2f} times the microseconds that it "
        f"adds with one (the figure to reach is {GOAL_OF_THE_COST}: {_word(times <= GOAL_OF_THE_COST)}), and an origin "
        f"weighs {weight:,.0f} bytes (to reach: {GOAL_OF_THE_WEIGHT:,.0f}: {_word(weight <= GOAL_OF_THE_WEIGHT)}); "
        f"of {figures['origins']:,} origins through a stack that remembers {figures['remembered']}, "
        f"{max(0.0, figures['left']):,.0f} bytes are left."
    )


def _word(is_reached: bool) -> str:
    return "reached" if is_reached else "not reached"


def table(figures: Figures) -> str:
    """What a call costs, what an origin weighs, and what streams cost, each by its number."""
    lines = ["| how many | httpx alone, µs a call | added, µs | times that of the first |", "|---|---:|---:|---:|"]
    for what, costs in figures["costs"].items():
        for one in costs["by_number"]:
            times = one["times"]
            lines.append(
                f"| {one['number']:,} {what} | {one['bare']['median']:.1f} | {one['added']['median']:.1f} "
                f"| {times['median']:.2f} ({times['low']:.2f} to {times['high']:.2f}) |"
            )
    if not all(costs["trusted"] for costs in figures["costs"].values()):
        lines += ["", "The baseline against itself strayed too far: the machine was busy, and digits mean little."]
    lines += ["", "| what is kept for an origin | bytes |", "|---|---:|"]
    lines += [f"| `{name}` | {weight:,.0f} |" for name, weight in figures["weights"].items()]
    lines += [
        "",
        "| streams at once | httpx alone, µs a stream | added by `Stack.inference()`, µs |",
        "|---|---:|---:|",
    ]
    for one in figures["streams"]:
        lines.append(f"| {one['at_once']:,} | {one['bare']['median']:,.0f} | {one['added']['median']:,.0f} |")
    lines += ["", f"An open stream of `Stack.inference()` weighs {figures['stream']:,.0f} bytes more than httpx's own."]
    return "\n".join(lines)


def draw(figures: Figures, figure: Any, colours: Mapping[str, str]) -> None:
    """What is added, by number; and what an origin weighs."""
    left, right = figure.subplots(1, 2)
    for what, costs in figures["costs"].items():
        of = costs["by_number"]
        left.plot([one["number"] for one in of], [one["added"]["median"] for one in of], marker="o", label=what)
    most = figures["costs"]["origins"]["by_number"][0]["added"]["median"] * GOAL_OF_THE_COST
    left.axhline(most, color=colours["text"], linestyle="--", linewidth=1)
    left.set_xscale("log")
    left.set_ylim(bottom=0)
    left.set_xlabel("how many")
    left.set_ylabel("µs added to a call; dashed: to reach")
    left.legend()
    names = list(figures["weights"])
    right.barh(range(len(names)), [figures["weights"][name] for name in names], 0.7)
    right.axvline(GOAL_OF_THE_WEIGHT, color=colours["text"], linestyle="--", linewidth=1)
    right.set_yticks(range(len(names)), names)
    right.invert_yaxis()
    right.set_xlabel("bytes an origin; dashed: to reach")


QUESTION = Question("scale", "What does much of everything cost?", measure, answer, table, draw, (11.0, 4.2))

if __name__ == "__main__":
    QUESTION.main()
