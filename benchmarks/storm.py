"""What becomes of hundreds of streamed calls when their server resets, stalls, cuts, rejects, goes down and comes back.

Callers stream chats, each a new one every few seconds, through calm, trouble, an outage and calm again. Every answer is
compared with what it must be. A call that fails must have been given up by a rule, which its ledger names; a call that
failed without one is lost. At the end nothing may be left: no connection, permit, task or span. Then the same outage is
shown to bare httpx and to one policy after the other, and it is told how many requests reached the server.

    python -m benchmarks.storm [--callers N] [--seconds S] [--library httpx|httpx2] [--json] [--plot FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider

from benchmarks.stormy_server import TEXT, Stormy, stormy
from resilient_foundry import (
    AttemptTimeout,
    Backoff,
    CallOptions,
    CircuitBreaker,
    ConcurrencyLimit,
    Deadline,
    Ledger,
    RateLimit,
    ResilienceError,
    Retry,
    RetryBudget,
    Stack,
    StreamGuard,
    Tracing,
)
from resilient_foundry._extras import require
from resilient_foundry.events import ResumeDenied, RetriesExhausted, RetryDenied, StreamResumed
from resilient_foundry.leaks import no_leaks

WEATHER = (("calm", 0.15), ("trouble", 0.4), ("outage", 0.25), ("calm", 0.2))
"""And the share of the time that it lasts."""
EVERY = 3.0
"""Seconds between the beginnings of two calls of one caller; a chat takes less than half of that."""
CHAT = {"model": "any", "stream": True, "temperature": 0, "messages": [{"role": "user", "content": "go on"}]}


def everything(provider: TracerProvider | None = None, budget: RetryBudget | None = None) -> Stack:
    """All at once, as for a model server."""
    return Stack(
        Tracing(tracer_provider=provider),
        Deadline(20.0),
        _retry(budget or RetryBudget()),
        RateLimit(),
        _breaker(),
        ConcurrencyLimit(600, queue=600),
        AttemptTimeout(connect=5.0, pool=None, read=2.0, idle=2.0),
        StreamGuard(first_event=1.0, progress=1.0, resume=True),
    )


def _breaker() -> CircuitBreaker:
    """Of hundreds of streams, those that fail are the first to end: a few failures in a row say little."""
    return CircuitBreaker(
        failures=40, failure_rate=0.5, window=4.0, minimum_calls=40, open_seconds=0.5, longest_open=1.0
    )


def _retry(budget: RetryBudget | None = None) -> Retry:
    return Retry(attempts=4, backoff=Backoff(base=0.05, cap=0.5), budget=budget)


CONTENDERS: dict[str, Callable[[], Stack] | None] = {
    "bare": None,
    "Retry()": lambda: Stack(_retry(), StreamGuard()),
    "Retry(budget=...)": lambda: Stack(_retry(RetryBudget()), StreamGuard()),
    "CircuitBreaker()": lambda: Stack(_retry(), _breaker(), StreamGuard()),
    "RateLimit()": lambda: Stack(_retry(), RateLimit(), StreamGuard()),
    "all": everything,
}


@dataclass(slots=True)
class Report:
    """What became of the calls. Seconds, bytes, requests."""

    contender: str
    calls: int = 0
    whole: int = 0
    """Answered to the last character."""
    resumed: int = 0
    """Of these, streams that broke in their middle and were continued."""
    given_up: Counter[str] = field(default_factory=Counter[str])
    """Calls that a rule gave up, by the rule."""
    lost: list[str] = field(default_factory=list[str])
    """Calls that failed for no reason that a rule gives: the ledger of each."""
    wrong: list[str] = field(default_factory=list[str])
    """Answers with another text than the server's."""
    spans_open: int = 0
    tasks_left: int = 0
    descriptors_left: int = 0
    memory: list[int] = field(default_factory=list[int])
    """Bytes of this process, once a second."""
    objects: list[int] = field(default_factory=list[int])
    """Python objects that a collector looks after, at the end of each weather."""
    turns: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])
    """When the weather changed, seconds since the start, and to what."""
    requests: list[int] = field(default_factory=list[int])
    """What reached the server, a number for each tenth of a second."""

    def a_second(self, weather: str) -> float:
        """Requests a second that reached the server in this weather, without its first half second."""
        for (began, name), (ended, _) in zip(self.turns, self.turns[1:], strict=False):
            if name == weather:
                seen = self.requests[int(10 * began) + 5 : int(10 * ended)]
                return 10 * sum(seen) / max(1, len(seen))
        return 0.0


class Spans(SpanProcessor):
    """Counts spans that were begun and not ended."""

    def __init__(self) -> None:
        self.open = 0

    def on_start(self, span: Span, parent_context: Any = None) -> None:
        """One more."""
        del span, parent_context
        self.open += 1

    def on_end(self, span: ReadableSpan) -> None:
        """One less."""
        del span
        self.open -= 1


async def storm(
    server: Stormy,
    stack: Stack | None,
    *,
    contender: str,
    callers: int,
    seconds: float,
    library: Any,
    spans: Spans | None = None,
    weather: Sequence[tuple[str, float]] = WEATHER,
    every: float = EVERY,
) -> Report:
    """Let it pass over so many callers, each with a call every so many seconds; `library` is httpx or httpx2."""
    report = Report(contender)
    process = psutil.Process()
    before = process.num_fds()
    limits = library.Limits(max_connections=callers + 100, max_keepalive_connections=callers + 100)
    wire = library.AsyncHTTPTransport(limits=limits, verify=False)
    transport = wire if stack is None else _over(stack, wire)
    began = time.monotonic()
    skipped = len(server.counts())
    async with library.AsyncClient(transport=transport, timeout=10.0) as client:
        until = began + seconds
        tasks = [
            asyncio.create_task(_caller(client, server.url, report, until, began + every * number / callers, every))
            for number in range(callers)
        ]
        for name, share in weather:
            server.turn(name)
            report.turns.append((time.monotonic() - began, name))
            turn = time.monotonic() + share * seconds
            while time.monotonic() < turn:
                await asyncio.sleep(min(1.0, max(0.0, turn - time.monotonic())))
                report.memory.append(process.memory_info().rss)
            gc.collect()
            report.objects.append(len(gc.get_objects()))
        report.turns.append((time.monotonic() - began, "end"))
        server.turn("calm")
        await asyncio.gather(*tasks)
    await asyncio.sleep(0)
    gc.collect()
    report.tasks_left = len(asyncio.all_tasks()) - 1
    report.descriptors_left = max(0, process.num_fds() - before)
    report.spans_open = spans.open if spans else 0
    report.requests = server.counts()[skipped:]
    return report


async def _caller(client: Any, url: str, report: Report, until: float, first: float, every: float) -> None:
    """One caller: a chat every few seconds, until the time is over."""
    following = first
    while following < until:
        await asyncio.sleep(max(0.0, following - time.monotonic()))
        following = max(following + every, time.monotonic())
        report.calls += 1
        said = ""
        try:
            async with client.stream(
                "POST",
                f"{url}/v1/chat/completions",
                json=CHAT,
                extensions={"resilience": CallOptions(repeatable=True)},
            ) as response:
                async for line in response.aiter_lines():
                    if line.startswith("data: {"):
                        for choice in json.loads(line[6:]).get("choices", ()):
                            said += choice["delta"]["content"]
                ledger: Ledger | None = response.extensions.get("resilience")
                _note(report, response.status_code, said, ledger)
        except Exception as error:  # noqa: BLE001 - every failure is put down to a rule, or is lost
            _note_failure(report, error, getattr(error, "resilience", None))


def _note(report: Report, status: int, said: str, ledger: Ledger | None) -> None:
    if status == 200 and said == TEXT:  # noqa: PLR2004 - RFC 9110
        report.whole += 1
        if ledger is not None:
            report.resumed += any(isinstance(event, StreamResumed) for _, event in ledger.events)
    elif status == 200 and ledger is not None and not ledger.attempts[-1].failed_in_its_body:  # noqa: PLR2004
        report.wrong.append(f"{said!r}\n{ledger.explain()}")
    else:
        _give_up(report, ledger, str(status))


def _note_failure(report: Report, error: Exception, ledger: Ledger | None) -> None:
    if isinstance(error, ResilienceError):
        report.given_up[type(error).__name__] += 1
    else:
        _give_up(report, ledger, type(error).__name__)


def _give_up(report: Report, ledger: Ledger | None, failure: str) -> None:
    """Put a failure down to the rule that gave it up."""
    if ledger is None:
        report.given_up["nothing tried"] += 1
        return
    for _, event in reversed(ledger.events):
        if isinstance(event, (RetryDenied, ResumeDenied)):
            report.given_up[event.why] += 1
            return
        if isinstance(event, RetriesExhausted):
            report.given_up["attempts"] += 1
            return
    report.lost.append(f"{failure}\n{ledger.explain()}")


def _over(stack: Any, wire: Any) -> Any:  # which library it is, is known when it runs
    return stack.over(wire)


def run(callers: int, seconds: float, library: str, compared: float) -> list[Report]:
    """The whole storm over everything at once, then an outage for each contender."""
    module: Any = require(library, extra="httpx2")
    spans = Spans()
    provider = TracerProvider()
    provider.add_span_processor(spans)
    with stormy() as server, asyncio.Runner() as runner:
        with no_leaks():
            whole = runner.run(
                storm(
                    server,
                    everything(provider),
                    contender="the storm",
                    callers=callers,
                    seconds=seconds,
                    library=module,
                    spans=spans,
                )
            )
        outages = [
            runner.run(
                storm(
                    server,
                    make() if make else None,
                    contender=name,
                    callers=callers,
                    seconds=compared,
                    library=module,
                    weather=(("calm", 0.3), ("outage", 0.5), ("calm", 0.2)),
                )
            )
            for name, make in CONTENDERS.items()
            if compared
        ]
    return [whole, *outages]


def main(arguments: Sequence[str] | None = None) -> None:
    """Let the storm pass, and tell what became of the calls."""
    parser = argparse.ArgumentParser(prog="storm", description="What becomes of calls in a storm?")
    parser.add_argument("--callers", type=int, default=500, help="how many at once (500)")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long (60)")
    parser.add_argument("--compared", type=float, default=12.0, help="seconds for each policy by itself; 0: none (12)")
    parser.add_argument("--library", choices=("httpx", "httpx2"), default="httpx2")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the requests; needs the extra `bench`")
    asked = parser.parse_args(arguments)
    if asked.plot:
        require("matplotlib.figure", extra="bench")  # before anything is measured
    logging.getLogger("stamina").setLevel(logging.ERROR)  # it logs every retry
    reports = run(asked.callers, asked.seconds, asked.library, asked.compared)
    if asked.json:
        print(json.dumps([asdict(report) | {"given_up": dict(report.given_up)} for report in reports]))
    else:
        print(told(reports))
    if asked.plot:
        plot(reports, asked.plot)


def told(reports: Sequence[Report]) -> str:
    """One sentence, then what is behind it."""
    whole, *outages = reports
    megabytes = [round(rss / 2**20) for rss in whole.memory]
    quarters = [f"{megabytes[len(megabytes) * part // 4 - 1]} MB" for part in (1, 2, 3, 4)]
    lines = [
        (
            f"Of {whole.calls} calls {whole.whole} were answered to the last character ({whole.resumed} of them "
            f"continued in their middle), {sum(whole.given_up.values())} were given up by a rule, "
            f"{len(whole.lost)} were lost."
        ),
        "",
        f"given up: {', '.join(f'{rule} {count}' for rule, count in whole.given_up.most_common()) or 'none'}",
        (
            f"wrong answers: {len(whole.wrong)}; left behind: {whole.tasks_left} tasks, {whole.spans_open} spans, "
            f"{whole.descriptors_left} descriptors"
        ),
        (
            f"memory at the quarters of the time: {', '.join(quarters)}; objects at the end of each weather: "
            f"{', '.join(f'{count:,}' for count in whole.objects)}"
        ),
        "",
    ]
    if outages:
        lines.append(f"{'during an outage':<20}{'calm':>10}{'outage':>10}   requests a second at the server")
        lines += [
            f"{report.contender:<20}{report.a_second('calm'):>10.0f}{report.a_second('outage'):>10.0f}"
            for report in outages
        ]
    lines += whole.lost[:3] + whole.wrong[:3]
    return "\n".join(lines)


def plot(reports: Sequence[Report], file: Path) -> None:
    """Requests a second at the server, a line for each contender; a figure without a screen."""
    figure: Any = require("matplotlib.figure", extra="bench").Figure(figsize=(10, 5), layout="constrained")
    axes = figure.subplots()
    for report in reports[1:]:
        smooth = [sum(report.requests[at : at + 5]) * 2 for at in range(0, len(report.requests), 5)]
        axes.plot([at / 2 for at in range(len(smooth))], smooth, label=report.contender)
    for at, name in reports[1].turns if len(reports) > 1 else ():
        axes.axvline(at, linestyle=":", color="gray")
        axes.annotate(name, (at, 0), xytext=(2, 2), textcoords="offset points")
    axes.set_xlabel("seconds")
    axes.set_ylabel("requests a second at the server")
    axes.legend()
    figure.suptitle("What a server in an outage is sent")
    figure.savefig(file)


if __name__ == "__main__":
    main()
