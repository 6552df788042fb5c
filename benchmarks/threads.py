"""How many threads may share a client with a stack.

A policy that holds a lock while a request is under way makes threads wait for each other: pybreaker's own `call` does.
So many threads ask through one client, a server that takes 50 ms and one that answers at once; bare httpx, our stacks,
and pybreaker around the client's `get`. By turns; answers a second against those of bare httpx in the same round.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

import httpx
import pybreaker

from benchmarks.contenders import FIVE, STANDARD, five
from benchmarks.origin import Behaviour, apart, origin
from benchmarks.question import Figures, Question
from resilient_foundry import ConcurrencyLimit, Stack
from resilient_foundry.flow import Policy

BARE = "httpx"
BY_CALL = "pybreaker.call"
CONTENDERS = (BARE, FIVE, STANDARD, BY_CALL)
COUNTS = (1, 4, 16, 32, 64)
SERVERS = {"50 ms": Behaviour(delay=0.05), "at once": Behaviour()}
SLOW = "50 ms"
GOAL, OF = 0.97, 32
"""To reach: of what bare httpx does with so many threads, before the slow server."""


def measure(quick: bool) -> Figures:
    """Every contender with every number of threads, before both servers."""
    if quick:
        return measured(rounds=1, seconds=0.4, counts=(1, OF))
    return measured(rounds=3, seconds=1.0, counts=COUNTS)


def measured(*, rounds: int, seconds: float, counts: Sequence[int]) -> Figures:
    """Answers a second, round by round, of so many seconds each."""
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    with apart(), origin() as server:
        for name, behaviour in SERVERS.items():
            server.behave(behaviour)
            for threads in counts:
                of = found.setdefault(name, {}).setdefault(str(threads), {})
                for number in range(rounds):
                    first = number % len(CONTENDERS)
                    for contender in CONTENDERS[first:] + CONTENDERS[:first]:
                        of.setdefault(contender, []).append(_rate(contender, server.url, threads, seconds))
    return {"rates": found}


def _rate(contender: str, url: str, threads: int, seconds: float) -> float:
    limits = httpx.Limits(max_connections=threads, max_keepalive_connections=threads)
    wire: Any = httpx.HTTPTransport(limits=limits, verify=False)
    stacks: dict[str, Any] = {
        FIVE: Stack(*(_as_wide(policy, threads) for policy in five())),
        STANDARD: Stack.standard(),
    }
    if contender in stacks:
        wire = stacks[contender].over(wire)
    with httpx.Client(transport=wire, timeout=30.0) as client:
        call: Callable[[], object] = lambda: client.get(url)  # noqa: E731 - one of two
        if contender == BY_CALL:
            breaker = pybreaker.CircuitBreaker()
            call = lambda: breaker.call(client.get, url)  # noqa: E731 - the other one
        return _answers(call, threads, seconds) / seconds


def _as_wide(policy: Policy, threads: int) -> Policy:
    """A limit that has a place for each thread: what is asked is what sharing costs, and not waiting."""
    return ConcurrencyLimit(threads) if isinstance(policy, ConcurrencyLimit) else policy


def _answers(call: Callable[[], object], threads: int, seconds: float) -> int:
    """How many came within so many seconds, of threads that ask without a pause; after a call each to warm up."""
    warm = threading.Barrier(threads + 1)
    counted = [0] * threads
    until = [0.0]
    begin = threading.Event()

    def ask(number: int) -> None:
        call()
        warm.wait()
        begin.wait()
        while time.monotonic() < until[0]:
            call()
            counted[number] += 1

    asking = [threading.Thread(target=ask, args=(number,), daemon=True) for number in range(threads)]
    for thread in asking:
        thread.start()
    warm.wait()
    until[0] = time.monotonic() + seconds
    begin.set()
    for thread in asking:
        thread.join()
    return sum(counted)


def ratio(figures: Figures, server: str, threads: int, contender: str) -> float:
    """Of bare httpx in the same round; the median."""
    of = figures["rates"][server][str(threads)]
    return float(median(one / bare for one, bare in zip(of[contender], of[BARE], strict=True)))


def answer(figures: Figures) -> str:
    """The answer, in one sentence."""
    ours, theirs = ratio(figures, SLOW, OF, FIVE), ratio(figures, SLOW, OF, BY_CALL)
    word = "reached" if ours >= GOAL else "not reached"
    return (
        f"{OF} threads on one client do {ours:.3f} of bare httpx's calls through five policies, and {theirs:.3f} "
        f"through pybreaker's own call, before a server that takes 50 ms; the figure to reach is {GOAL}: {word}."
    )


def table(figures: Figures) -> str:
    """A row for each contender and server, a column for each number of threads."""
    lines: list[str] = []
    for server, by_count in figures["rates"].items():
        counts = list(by_count)
        lines += [
            f"| a server that answers {'after ' if server == SLOW else ''}{server} | "
            + " | ".join(f"{count} thread{'s' if count != '1' else ''}" for count in counts)
            + " |",
            "|---|" + "---:|" * len(counts),
            f"| {BARE} | " + " | ".join(f"{median(by_count[count][BARE]):,.0f}/s" for count in counts) + " |",
        ]
        lines += [
            f"| {name} | " + " | ".join(f"{ratio(figures, server, int(count), name):.3f} x" for count in counts) + " |"
            for name in CONTENDERS
            if name != BARE
        ]
        lines.append("")
    return "\n".join(lines).rstrip()


def draw(figures: Figures, figure: Any, colours: Mapping[str, str]) -> None:
    """Of bare httpx, by the number of threads."""
    panels = figure.subplots(1, len(figures["rates"]), sharey=True)
    for axes, (server, by_count) in zip(panels, figures["rates"].items(), strict=True):
        counts = [int(count) for count in by_count]
        for name in CONTENDERS[1:]:
            axes.plot(counts, [ratio(figures, server, count, name) for count in counts], marker="o", label=name)
        axes.axhline(1.0, color=colours["text"], linestyle="--", linewidth=1)
        axes.set_xscale("log", base=2)
        axes.set_xticks(counts, list(by_count))
        axes.set_ylim(0, 1.2)
        axes.set_title(f"a server that answers {'after ' if server == SLOW else ''}{server}")
        axes.set_xlabel("threads on one client")
    panels[0].set_ylabel("answers, of those of bare httpx")
    panels[0].legend()


QUESTION = Question(
    "threads", "How many threads may share a client with a stack?", measure, answer, table, draw, (11.0, 4.5)
)


if __name__ == "__main__":
    QUESTION.main()
