"""What it costs a program to have the library: to import it, to build a stack, and to make the first request.

Each figure comes from an interpreter that was started for it; httpx is there before the clock starts, because whoever
puts something over httpx has it. Bytecode is cached, as it is after the first run of an installed program. Time of the
processor; what else the machine does is not in it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.question import Figures, Question
from benchmarks.race import race
from resilient_foundry.tuning.figures import estimate

GOAL_OF_THE_IMPORT = 8.0
"""Milliseconds beyond httpx."""
GOAL_OF_BUILDING = 0.3
"""Milliseconds for a stack over a transport, once its parts are there."""

PACKAGE = "import resilient_foundry"
SOME = "its names for a stack"
EVERY = "all of its names"
OPENAI = "import openai"
BARE = "httpx alone"
STANDARD = "Stack.standard()"
STANDARD_ASYNC = "Stack.standard(), async"
PEERS = "httpx-retries + pybreaker + OpenTelemetry's instrumentation"


@dataclass(frozen=True, slots=True)
class Program:
    """What a fresh interpreter does, step by step; each step is a clock of its own."""

    imports: str = "pass"
    builds: str = ""
    """Makes `ask`, which makes one request from memory; "" where only the import is looked at."""
    needs: tuple[str, ...] = ()
    """Packages without which it is left out."""


_ANSWER = "wire = {library}.MockTransport(lambda request: {library}.Response(200, content=b'ok'))\n"
_SYNC = _ANSWER.format(library="httpx") + "client = httpx.Client(transport={over})\nask = lambda: client.get(URL)\n"
_ASYNC = (
    _ANSWER.format(library="httpx")
    + "client = httpx.AsyncClient(transport={over})\nask = lambda: runner.run(client.get(URL))\n"
)
_OF_A_STACK = "from resilient_foundry import CircuitBreaker, Deadline, Retry, Stack, Tracing"
_OF_PEERS = "import httpx_retries, pybreaker\nfrom opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor"
_PEERS = (
    _ANSWER.format(library="httpx")
    + """
client = httpx.Client(transport=httpx_retries.RetryTransport(transport=wire, retry=httpx_retries.Retry(total=3)))
HTTPXClientInstrumentor.instrument_client(client)
breaker = pybreaker.CircuitBreaker()
ask = lambda: breaker.call(client.get, URL)
"""
)
_NEEDED_BY_PEERS = ("httpx_retries", "pybreaker", "opentelemetry.instrumentation.httpx")
PROGRAMS: dict[str, Program] = {
    PACKAGE: Program("import resilient_foundry"),
    SOME: Program(_OF_A_STACK),
    EVERY: Program("from resilient_foundry import *"),
    "import pybreaker": Program("import pybreaker"),
    OPENAI: Program("import openai", needs=("openai",)),
    BARE: Program(builds=_SYNC.format(over="wire")),
    STANDARD: Program(_OF_A_STACK, _SYNC.format(over="Stack.standard().over(wire)")),
    STANDARD_ASYNC: Program(_OF_A_STACK, _ASYNC.format(over="Stack.standard().over(wire)")),
    PEERS: Program(_OF_PEERS, _PEERS, _NEEDED_BY_PEERS),
}
NEEDED = (PACKAGE, SOME, BARE, STANDARD, STANDARD_ASYNC)
"""Those that the answer is about."""
_ON_IMPORT = (PACKAGE, SOME, EVERY, "import pybreaker", OPENAI, PEERS)
_TO_BUILD = (BARE, STANDARD, STANDARD_ASYNC, PEERS)

_RUN = """
import asyncio, gc, json, resource, sys, time
import httpx
URL = "http://here/"
runner = asyncio.Runner()
runner.get_loop()
steps = json.loads(sys.argv[1])
there, had = {"httpx": httpx, "runner": runner, "URL": URL}, len(sys.modules)
def took(code, times=1):
    gc.collect()
    began = time.process_time()
    for _ in range(times):
        exec(code, there)
    return (time.process_time() - began) / times * 1e3
pages = lambda: int(open("/proc/self/statm").read().split()[1]) if sys.platform == "linux" else 0
before = pages()
found = {"import": took(compile(steps["imports"], "imports", "exec"))}
found["modules"] = len(sys.modules) - had
found["megabytes"] = (pages() - before) * resource.getpagesize() / 1e6
if steps["builds"]:
    builds, asks = compile(steps["builds"], "builds", "exec"), compile("ask()", "asks", "exec")
    found["first_build"] = took(builds)
    found["first_request"] = took(asks)
    found["build"] = took(builds, 20)
print(json.dumps(found))
"""


def measure(quick: bool) -> Figures:
    """Every program that can be run here; quickly, those that the answer is about."""
    if quick:
        return measured({name: PROGRAMS[name] for name in NEEDED}, rounds=3, seconds=5.0)
    return measured(PROGRAMS, rounds=25, seconds=120.0)


def measured(programs: Mapping[str, Program], *, rounds: int, seconds: float) -> Figures:
    """What each of these took, in at most so many rounds and about so many seconds; those that lack a package not."""
    left_out = sorted(name for name, program in programs.items() if not all(map(_is_there, program.needs)))
    with _cached() as environment:
        contenders: dict[str, Callable[[], dict[str, float]]] = {
            name: partial(_run, program, environment) for name, program in programs.items() if name not in left_out
        }
        taken = race(contenders, rounds=rounds, seconds=seconds)
    return {
        "left_out": left_out,
        "programs": {
            name: {what: asdict(estimate([one[what] for one in runs])) for what in runs[0]}
            for name, runs in taken.items()
        },
    }


def _is_there(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # not even the package that it is in
        return False


@contextmanager
def _cached() -> Generator[dict[str, str]]:
    """An environment for interpreters that keep their bytecode, in a folder that goes with the block."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        root = str(Path(__file__).parents[1])
        yield {**environment, "PYTHONPYCACHEPREFIX": folder, "PYTHONPATH": root}


def _run(program: Program, environment: Mapping[str, str]) -> dict[str, float]:
    steps = json.dumps({"imports": program.imports, "builds": program.builds})
    ran = subprocess.run(  # noqa: S603 - this interpreter, and what is written above
        [sys.executable, "-c", _RUN, steps],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=dict(environment),
    )
    found: dict[str, float] = json.loads(ran.stdout)
    return found


def answer(figures: Figures) -> str:
    """The answer, in one sentence."""
    of = figures["programs"]
    package, some = _median(of[PACKAGE], "import"), _median(of[SOME], "import")
    build = max(_added(figures, name, "build") for name in (STANDARD, STANDARD_ASYNC))
    others = "".join(
        f", {name} {_median(of[key], 'import'):.0f}"
        for key, name in ((PEERS, "what one would use otherwise"), (OPENAI, "openai"))
        if key in of
    )
    return (
        f"`import resilient_foundry` takes {package:.1f} ms beyond httpx (the figure to reach is "
        f"{GOAL_OF_THE_IMPORT:.0f}: {_word(package <= GOAL_OF_THE_IMPORT)}), and the names of a stack {some:.0f} ms "
        f"when they are used first{others}; a stack is built over a transport in {build:.2f} ms (to reach: "
        f"{GOAL_OF_BUILDING}: {_word(build <= GOAL_OF_BUILDING)})."
    )


def _word(is_reached: bool) -> str:
    return "reached" if is_reached else "not reached"


def _median(program: Mapping[str, Any], what: str) -> float:
    return float(program[what]["median"])


def _added(figures: Figures, name: str, what: str) -> float:
    """Milliseconds beyond httpx alone."""
    return _median(figures["programs"][name], what) - _median(figures["programs"][BARE], what)


def table(figures: Figures) -> str:
    """What is imported, and what is built and asked; ms of the processor."""
    of = figures["programs"]
    lines = ["| beyond httpx | import, ms | modules | memory, MB |", "|---|---:|---:|---:|"]
    for name in _ON_IMPORT:
        if name in of:
            one, took = of[name], of[name]["import"]
            lines.append(
                f"| {_shown(name)} | {took['median']:.1f} ({took['low']:.1f} to {took['high']:.1f}) "
                f"| {_median(one, 'modules'):.0f} | {_median(one, 'megabytes'):.1f} |"
            )
    lines += [
        "",
        "| a client from memory | build first, ms | build again, ms | first request, ms |",
        "|---|---:|---:|---:|",
    ]
    for name in _TO_BUILD:
        if name in of:
            cells = [_median(of[name], what) for what in ("first_build", "build", "first_request")]
            lines.append(f"| {_shown(name)} | " + " | ".join(f"{cell:.2f}" for cell in cells) + " |")
    lines += [
        "",
        "pybreaker, which is imported with the first circuit breaker, imports redis wherever that is installed.",
    ]
    if figures["left_out"]:
        lines += ["", f"Left out, for want of their packages: {', '.join(figures['left_out'])}."]
    return "\n".join(lines)


def _shown(name: str) -> str:
    return f"`{name}`" if name.startswith(("import ", "Stack.standard()")) else name


def draw(figures: Figures, figure: Any, colours: Mapping[str, str]) -> None:
    """Bars of the imports, and the figure to reach."""
    axes: Any = figure.subplots()
    of = figures["programs"]
    names = [name for name in _ON_IMPORT if name in of]
    took = [_median(of[name], "import") for name in names]
    bars = axes.barh(range(len(names)), took, 0.7)
    axes.bar_label(bars, [f" {one:.1f}" for one in took], color=colours["text"])
    axes.margins(x=0.12)
    axes.axvline(GOAL_OF_THE_IMPORT, color=colours["text"], linestyle="--", linewidth=1)
    axes.set_yticks(range(len(names)), [name.replace(" + ", "\n+ ") for name in names])
    axes.invert_yaxis()
    axes.set_xlabel("ms beyond httpx; dashed: the figure to reach for the package")


QUESTION = Question(
    "cost_of_an_import", "What does it cost to import, to build and to begin?", measure, answer, table, draw, (9.0, 3.6)
)

if __name__ == "__main__":
    QUESTION.main()
