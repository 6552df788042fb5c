"""Whether a request has become dearer than it was, as far as a busy machine can say: ratios of such as take turns.

    python -m benchmarks.gate            # fails where one has
    python -m benchmarks.gate --write    # writes down what is seen, where a change is worth it

A ratio fails where its whole interval lies beyond what was written down and a tenth, and does so again in twice the
rounds. Nothing is concluded where the control strays, or where another version of Python counts. Times are shown and
never judged; what can be counted is counted by `work_of_a_stack`, exactly.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.contenders import FIVE, STANDARD, five
from benchmarks.cost_of_a_stack import BARE, FIVE_TRACED, PLACES, contender
from benchmarks.isolated import Taken, isolated
from benchmarks.origin import Behaviour, apart, origin
from benchmarks.peers import TRACED, available
from benchmarks.race import CONTROL, TRUSTED, race
from benchmarks.sdk import NO_SDK
from resilient_foundry import ConcurrencyLimit, Stack
from resilient_foundry._extras import require
from resilient_foundry.tuning.figures import Estimate, estimate

WRITTEN = Path(__file__).with_name("gate.json")
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
ROOM = 1.10
LEAST_ROUNDS = 9
_SECONDS = 12.0
"""Of a match; twice as many of one that is played again."""
Turns = Mapping[str, Callable[[], float]]
"""What each contender does in its turn; gives what it took."""
_OURS, _THEIRS = f"{FIVE_TRACED}, {NO_SDK}", f"{TRACED}, {NO_SDK}"
_IN_FRONT = "ConcurrencyLimit"
_CALLERS, _POOL, _EACH = 64, 8, 2


@dataclass(frozen=True, slots=True)
class Match:
    """Contenders that take turns, and which of them are compared."""

    name: str
    set_up: Callable[[], AbstractContextManager[Turns]]
    ratios: Mapping[str, tuple[str, str]]
    """By what is said of them: a contender, and what it is compared with."""
    rounds: int


@dataclass(frozen=True, slots=True)
class Seen:
    """What a match showed."""

    rounds: int
    """For which there was time."""
    strays: float
    """How far the control is from 1."""
    ratios: Mapping[str, Estimate]


@dataclass(frozen=True, slots=True)
class Judged:
    """One ratio, and what is to be said of it."""

    of: str
    seen: Estimate
    written: float | None
    said: str
    has_failed: bool = False


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and judge; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gate", description="Has a request become dearer?")
    parser.add_argument("--write", action="store_true", help="write down what is seen, and judge nothing")
    asked = parser.parse_args(arguments)
    began = time.monotonic()
    written: dict[str, dict[str, float]] = json.loads(WRITTEN.read_text(encoding="utf-8")) if WRITTEN.exists() else {}
    if asked.write:
        found = [played(match, 2) for match in matches()]
        written[HERE] = {name: round(ratio.median, 3) for seen in found for name, ratio in seen.ratios.items()}
        WRITTEN.write_text(json.dumps(written, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        print(f"wrote {WRITTEN.name}")
        return 0
    all_judged = [judged for match in matches() for judged in judge(match, written.get(HERE, {}))]
    widest = max(len(one.of) for one in all_judged)
    for one in all_judged:
        print(f"{one.of:<{widest}}  {one.seen!s:<24} {one.said}")
    failed = [one.of for one in all_judged if one.has_failed]
    print(f"{len(all_judged)} ratios in {time.monotonic() - began:.0f} s; {len(failed)} have become worse")
    if failed:
        print("if that is worth it: python -m benchmarks.gate --write")
    return int(bool(failed))


def judge(match: Match, written: Mapping[str, float], play: Callable[[Match, int], Seen] | None = None) -> list[Judged]:
    """What is to be said of each ratio of a match; it is played again, in twice the rounds, where one looks worse."""
    play = play or played
    first = play(match, 1)
    verdicts = _verdicts(first, written)
    if any(one.has_failed for one in verdicts):
        again = {one.of: one for one in _verdicts(play(match, 2), written)}
        return [again[one.of] if one.has_failed else one for one in verdicts]
    return verdicts


def _verdicts(seen: Seen, written: Mapping[str, float]) -> list[Judged]:
    return [_verdict(name, ratio, written.get(name), seen) for name, ratio in seen.ratios.items()]


def _verdict(name: str, ratio: Estimate, written: float | None, seen: Seen) -> Judged:
    if written is None:
        return Judged(name, ratio, written, f"skipped: nothing is written down for Python {HERE}")
    if seen.rounds < LEAST_ROUNDS:
        return Judged(name, ratio, written, f"skipped: there was time for {seen.rounds} rounds")
    if seen.strays > TRUSTED:
        return Judged(name, ratio, written, f"skipped: the control strays by {seen.strays:.1%}")
    if ratio.low > ROOM * written:
        return Judged(name, ratio, written, f"WORSE than {written:g}, which was written down", has_failed=True)
    return Judged(name, ratio, written, f"holds: {written:g} was written down")


def played(match: Match, times: int) -> Seen:
    """Let them take turns, in so many times the rounds."""
    with match.set_up() as turns:
        taken = race(turns, rounds=match.rounds * times, seconds=_SECONDS * times)

    def ratio(one: str, other: str) -> Estimate:
        return estimate([a / b for a, b in zip(taken[one], taken[other], strict=True)])

    strays = abs(ratio(CONTROL, BARE).median - 1)
    return Seen(len(taken[BARE]), strays, {name: ratio(*pair) for name, pair in match.ratios.items()})


def matches() -> list[Match]:
    """All of them."""
    return [
        *(_in_memory(colour) for colour in ("sync", "async")),
        Match(
            "a queue",
            _queue,
            {f"CPU, {_CALLERS} callers in line for {_POOL}: {_IN_FRONT} to a semaphore": (_IN_FRONT, BARE)},
            15,
        ),
        Match("threads", _threads, {f"time, {_POOL} threads on one client: {FIVE}": (FIVE, BARE)}, 25),
    ]


def _in_memory(colour: str) -> Match:
    ratios = {f"CPU, in memory, {colour}: {name}": (name, BARE) for name in (FIVE, _OURS, STANDARD)}
    if TRACED in available("httpx", colour):
        ratios[f"CPU, in memory, {colour}: ours to what is built otherwise"] = (_OURS, _THEIRS)
    return Match(f"in memory, {colour}", partial(_memory, colour, list(ratios.values())), ratios, 25)


@contextmanager
def _memory(colour: str, pairs: Sequence[tuple[str, str]]) -> Generator[Turns]:
    names = list(dict.fromkeys((BARE, CONTROL, *(name for pair in pairs for name in pair))))
    make = partial(contender, "memory", "httpx", colour, "http://here", PLACES["memory"].requests)
    with apart(), isolated(make, names) as turns:
        yield {name: partial(_cpu, turn) for name, turn in turns.items()}


def _cpu(turn: Callable[[], Taken]) -> float:
    return turn().cpu


def _run(runner: asyncio.Runner, turn: Callable[[str], Coroutine[Any, Any, float]], name: str) -> float:
    return runner.run(turn(name))


@contextmanager
def _queue() -> Generator[Turns]:
    """A limit in front of the pool, and asyncio's semaphore there; the bare pool is too moody to be compared with."""
    httpx: Any = require("httpx", extra="")
    limits = httpx.Limits(max_connections=_POOL, max_keepalive_connections=_POOL)
    limit: Any = Stack(ConcurrencyLimit(_POOL))
    with origin(Behaviour(delay=0.005)) as server, apart(), asyncio.Runner() as runner:
        wires = {name: httpx.AsyncHTTPTransport(limits=limits, verify=False) for name in (BARE, CONTROL, _IN_FRONT)}
        clients = {
            name: httpx.AsyncClient(transport=limit.over(wire) if name == _IN_FRONT else wire, trust_env=False)
            for name, wire in wires.items()
        }

        async def caller(client: Any, turnstile: AbstractAsyncContextManager[None]) -> None:
            for _ in range(_EACH):
                async with turnstile:
                    await client.get(server.url)

        async def turn(name: str) -> float:
            turnstile = nullcontext() if name == _IN_FRONT else asyncio.Semaphore(_POOL)
            began = time.process_time()
            await asyncio.gather(*(caller(clients[name], turnstile) for _ in range(_CALLERS)))
            return time.process_time() - began

        try:
            yield {name: partial(_run, runner, turn, name) for name in clients}
        finally:
            for each in clients.values():
                runner.run(each.aclose())


@contextmanager
def _threads() -> Generator[Turns]:
    """Threads that share a client; the time on the wall, since what serialises them takes none of the processor's."""
    httpx: Any = require("httpx", extra="")
    limits = httpx.Limits(max_connections=_POOL, max_keepalive_connections=_POOL)

    def client(name: str) -> Any:
        wire = httpx.HTTPTransport(limits=limits, verify=False)
        stack: Any = five()
        return httpx.Client(transport=stack.over(wire) if name == FIVE else wire, timeout=30, trust_env=False)

    with origin(Behaviour(delay=0.02)) as server, apart(), ThreadPoolExecutor(_POOL) as pool:
        clients = {name: client(name) for name in (BARE, CONTROL, FIVE)}

        def caller(client: Any) -> None:
            for _ in range(_EACH):
                client.get(server.url)

        def turn(client: Any) -> float:
            began = time.perf_counter()
            for each in [pool.submit(caller, client) for _ in range(_POOL)]:
                each.result()
            return time.perf_counter() - began

        try:
            yield {name: partial(turn, client) for name, client in clients.items()}
        finally:
            for each in clients.values():
                each.close()


if __name__ == "__main__":
    sys.exit(main())
