"""How many calls a second an open circuit refuses.

While a server is down the circuit is the whole way of a call, and whoever shares the process with a thousand callers
that ask all the same wants that to cost next to nothing. Measured at the transport (`handle_request` on a request that
was made before), where it is ours, and through a client, where making the request is httpx's; beside a transport that
does nothing but raise, and pybreaker by itself. A core's time, not the wall's.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import Any

import pybreaker

from benchmarks.isolated import Taken, Watch, isolated
from benchmarks.origin import apart
from benchmarks.question import Figures, Question
from benchmarks.race import CONTROL, is_trusted, race, standings
from resilient_foundry import CircuitBreaker, CircuitOpenError, Deadline, Retry, RetryBudget, Stack, Tracing
from resilient_foundry._extras import require

GOAL = 50_000.0
"""Refusals a second, of a circuit by itself, at the transport."""
WAYS = tuple((library, colour) for library in ("httpx", "httpx2") for colour in ("sync", "async"))
BARE = "a transport that raises"
BARE_CLIENT = "the same, through a client"
CIRCUIT = "CircuitBreaker()"
STANDARD = "Stack.standard()"
THROUGH_A_CLIENT = "CircuitBreaker(), through a client"
PYBREAKER = "pybreaker.call"
OF_BOTH_COLOURS = (BARE, CONTROL, CIRCUIT, STANDARD, THROUGH_A_CLIENT, BARE_CLIENT)
URL = "http://here/"
_NOT_OURS = frozenset({BARE, BARE_CLIENT})
_THROUGH_A_CLIENT = frozenset({THROUGH_A_CLIENT, BARE_CLIENT})
_AT_ONCE = 300
"""Calls in a turn."""
_FOR_EVER = 1e6


def measure(quick: bool) -> Figures:
    """Every contender in both libraries and colours."""
    return measured(rounds=3 if quick else 25, seconds=1.0 if quick else 8.0, ways=WAYS[:2] if quick else WAYS)


def measured(*, rounds: int, seconds: float, ways: tuple[tuple[str, str], ...]) -> Figures:
    """What each did in each of these ways, in at most so many rounds and about so many seconds a way."""
    found: list[dict[str, Any]] = []
    with apart():
        for library, colour in ways:
            names = [*OF_BOTH_COLOURS, *([PYBREAKER] if colour == "sync" else [])]
            with isolated(partial(contender, library, colour), names) as contenders:
                taken = race(contenders, rounds=rounds, seconds=seconds)
            standing = standings({name: [one.cpu for one in of] for name, of in taken.items()}, CIRCUIT)
            found.append(
                {
                    "library": library,
                    "colour": colour,
                    "trusted": is_trusted(standing),
                    "seconds": {name: asdict(one.figure) for name, one in standing.items()},
                }
            )
    return {"ways": found}


def answer(figures: Figures) -> str:
    """The answer, in one sentence."""
    seen = sorted(_rate(way, CIRCUIT) for way in figures["ways"])
    word = "reached" if seen[0] >= GOAL else "not reached"
    return (
        f"An open circuit refuses {seen[0]:,.0f} to {seen[-1]:,.0f} calls a second at the transport, on one core; "
        f"the figure to reach is {GOAL:,.0f}: {word}."
    )


def table(figures: Figures) -> str:
    """A row for each contender, a column for each way; refusals a second."""
    ways = figures["ways"]
    names = list(dict.fromkeys(name for way in ways for name in way["seconds"] if name != CONTROL))
    lines = [
        "| refusals a second | " + " | ".join(f"{way['library']} {way['colour']}" for way in ways) + " |",
        "|---|" + "---:|" * len(ways),
    ]
    for name in names:
        cells = [f"{_rate(way, name):,.0f}" if name in way["seconds"] else "" for way in ways]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    if not all(way["trusted"] for way in ways):
        lines.append("\nThe circuit strayed from itself: the machine was busy, and digits mean little.")
    return "\n".join(lines)


def _rate(way: Mapping[str, Any], name: str) -> float:
    return 1.0 / float(way["seconds"][name]["median"])


def draw(figures: Figures, figure: Any, colours: Mapping[str, str]) -> None:
    """Bars, and the figure to reach."""
    axes: Any = figure.subplots()
    ways = figures["ways"]
    names = [CIRCUIT, STANDARD, THROUGH_A_CLIENT]
    height = 0.8 / len(ways)
    for number, way in enumerate(ways):
        rows = [row + (number - (len(ways) - 1) / 2) * height for row in range(len(names))]
        label = f"{way['library']} {way['colour']}"
        axes.barh(rows, [_rate(way, name) for name in names], height * 0.9, label=label)
    axes.axvline(GOAL, color=colours["text"], linestyle="--", linewidth=1)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel("refusals a second, on one core; dashed: the figure to reach")
    axes.legend()


@contextmanager
def contender(library: str, colour: str, name: str) -> Generator[Callable[[], Taken]]:
    """What it does in its turn, in this process."""
    module: Any = require(library, extra="httpx2") if library == "httpx2" else require(library, extra="")
    make: Any = _asynchronous if colour == "async" else _synchronous
    with make(module, name) as block:
        yield block


def _transport(module: Any, name: str) -> Any:
    """One whose circuit is open, or that refuses otherwise."""

    def fail(request: Any) -> Any:
        raise module.ConnectError("refused", request=request)

    wire = module.MockTransport(fail)
    if name in _NOT_OURS | {PYBREAKER}:
        return wire
    breaker = CircuitBreaker(open_seconds=_FOR_EVER)
    breaker.circuit(URL).breaker.open()
    around = (Tracing(), Deadline(30.0), Retry(budget=RetryBudget())) if name == STANDARD else ()
    stack: Any = Stack(*around, breaker)
    return stack.over(wire)


@contextmanager
def _synchronous(module: Any, name: str) -> Generator[Callable[[], Taken]]:
    transport = _transport(module, name)
    refused: Any = module.ConnectError if name in _NOT_OURS else CircuitOpenError
    with module.Client(transport=transport, trust_env=False) as client:
        send = transport.handle_request
        if name == PYBREAKER:
            breaker = pybreaker.CircuitBreaker(fail_max=1, reset_timeout=_FOR_EVER)
            breaker.open()
            refused = pybreaker.CircuitBreakerError
            send = partial(breaker.call, send)

        def block() -> Taken:
            watch = Watch()
            requests = [module.Request("GET", URL) for _ in range(_AT_ONCE)]
            with watch:
                for request in requests:
                    with contextlib.suppress(refused):
                        if name in _THROUGH_A_CLIENT:
                            client.get(URL)
                        else:
                            send(request)
                        raise AssertionError("a circuit that was to be open let a call pass")
            return watch.divided(_AT_ONCE)

        yield block


@contextmanager
def _asynchronous(module: Any, name: str) -> Generator[Callable[[], Taken]]:
    transport = _transport(module, name)
    refused: Any = module.ConnectError if name in _NOT_OURS else CircuitOpenError
    client = module.AsyncClient(transport=transport, trust_env=False)

    async def block() -> Taken:
        watch = Watch()
        requests = [module.Request("GET", URL) for _ in range(_AT_ONCE)]
        with watch:
            for request in requests:
                with contextlib.suppress(refused):
                    if name in _THROUGH_A_CLIENT:
                        await client.get(URL)
                    else:
                        await transport.handle_async_request(request)
                    raise AssertionError("a circuit that was to be open let a call pass")
        return watch.divided(_AT_ONCE)

    with asyncio.Runner() as runner:
        try:
            yield lambda: runner.run(block())
        finally:
            runner.run(client.aclose())


QUESTION = Question(
    "refusals", "How many calls a second does an open circuit refuse?", measure, answer, table, draw, (9.0, 3.6)
)

if __name__ == "__main__":
    QUESTION.main()
