"""The commands and their options; what they do stands in the modules beside this one."""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import httpx
import typer

from resilient_foundry._extras import MissingExtraError
from resilient_foundry.cli import bench as benchmarking
from resilient_foundry.cli import chat as chatting
from resilient_foundry.cli import demo as demonstration
from resilient_foundry.cli import drift as drifting
from resilient_foundry.cli import matrix as comparing
from resilient_foundry.cli import models as managing
from resilient_foundry.cli import record as recording
from resilient_foundry.cli import replay as replaying
from resilient_foundry.cli import serve as serving
from resilient_foundry.cli import trace as tracing
from resilient_foundry.cli import tune as tuning
from resilient_foundry.cli import verify as verifying
from resilient_foundry.cli.output import complain
from resilient_foundry.cli.telemetry import OTLP
from resilient_foundry.errors import ResilienceError
from resilient_foundry.foundry import FoundryError, SettingsError
from resilient_foundry.foundry.runtime import RuntimeStartError
from resilient_foundry.foundry.settings import LOG_LEVEL, log_level
from resilient_foundry.harness.runtimes import RuntimeNotInstalledError
from resilient_foundry.harness.subject import UnreachableError
from resilient_foundry.traces.jaeger import JaegerError
from resilient_foundry.tuning.tune import Limits

app = typer.Typer(
    help="Resilient HTTP for Foundry Local: see it survive, talk to it, look after it.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
models_app = typer.Typer(
    help="List, load and unload the models of a service.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(models_app, name="models")

Url = Annotated[
    str | None,
    typer.Option(
        "--url", metavar="URL", help="The service; else FOUNDRY_LOCAL_ENDPOINT, else what the foundry command says."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Otlp = Annotated[
    str | None,
    typer.Option(
        "--otlp",
        metavar="[URL]",
        help="Send spans and metrics there, by OTLP over HTTP; without a URL to http://127.0.0.1:4318.",
    ),
]
Model = Annotated[
    str | None,
    typer.Option("--model", "-m", metavar="MODEL", help="Alias or id; else FOUNDRY_MODEL, else the one loaded."),
]


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"resilient-foundry {metadata.version('resilient-foundry')}")
        raise typer.Exit


@app.callback()
def options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Say the version, and leave.")
    ] = False,
) -> None:
    """Resilient HTTP for Foundry Local: see it survive, talk to it, look after it."""
    del version  # said before this is reached


@app.command()
def demo(*, otlp: Otlp = None, json: Json = False) -> None:
    """Break connections of a real Foundry Local on purpose; lose no chat."""
    raise typer.Exit(demonstration.run(as_json=json, otlp=otlp))


@app.command()
def serve(
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", metavar="MODEL", help="A model of the catalogue; else the built-in one."),
    ] = None,
    port: Annotated[
        int, typer.Option(metavar="PORT", help="The loopback port; else one that is free.", min=0, max=65535)
    ] = 0,
    *,
    json: Json = False,
) -> None:
    """Serve the real Foundry Local on a loopback port until Ctrl-C."""
    serving.run(model=model, port=port, as_json=json)


@app.command()
def chat(
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What to ask; - reads it from standard input.")],
    model: Model = None,
    url: Url = None,
    system: Annotated[str | None, typer.Option(metavar="TEXT", help="What the model is told about its task.")] = None,
    max_tokens: Annotated[int | None, typer.Option(metavar="TOKENS", help="The longest answer.", min=1)] = None,
    temperature: Annotated[float | None, typer.Option(metavar="0..2", help="How freely it chooses its words.")] = None,
    *,
    explain: Annotated[bool, typer.Option("--explain", help="Show the attempts behind the answer.")] = False,
    otlp: Otlp = None,
    json: Json = False,
) -> None:
    """Ask, and stream the answer to the terminal."""
    chatting.run(
        prompt,
        model=model,
        url=url,
        system=system,
        max_tokens=max_tokens,
        temperature=temperature,
        explain=explain,
        as_json=json,
        otlp=otlp,
    )


@app.command()
def health(url: Url = None, *, json: Json = False) -> None:
    """Say how the service does; exit 1 unless it is well."""
    raise typer.Exit(managing.health(url=url, as_json=json))


@app.command()
def verify(
    where: Annotated[
        str | None,
        typer.Argument(
            metavar="[URL]", help="The service, else the one that other commands find; with --tapes, a folder."
        ),
    ] = None,
    runtime: Annotated[
        str | None, typer.Option(metavar="VERSION", help="Start the real runtime of this version, such as 2.2.1.")
    ] = None,
    contracts: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Contracts of your own; else those that come with this package.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Contracts that begin so, such as chat; may be repeated.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="PART=ID", help="The model that plays a part, such as chat=phi-4-mini; may be repeated."),
    ] = None,
    runtime_version: Annotated[
        str | None, typer.Option(metavar="VERSION", help="What serves at the URL; servers don't say it.")
    ] = None,
    fuzz: Annotated[
        int | None, typer.Option(metavar="N", help="Ask each contract with so many drawn values.", min=1)
    ] = None,
    report: Annotated[
        list[str] | None,
        typer.Option(metavar="KINDS", help="Write reports: html, junit, json, md, with commas between."),
    ] = None,
    report_to: Annotated[Path, typer.Option(metavar="DIR", help="The folder that reports are written to.")] = Path(),
    *,
    tapes: Annotated[
        bool,
        typer.Option("--tapes", help="Ask tapes, offline: those that come with this package, or of the folder named."),
    ] = False,
    may_change: Annotated[
        bool, typer.Option("--may-change", help="Models may be loaded and unloaded on the service at the URL.")
    ] = False,
    otlp: Otlp = None,
    json: Json = False,
) -> None:
    """Verify the contracts of a service; exit 0 if it keeps all that it must, 1 if not, 2 if it can't be asked."""
    asked = verifying.Asked(
        where=where,
        runtime=runtime,
        tapes=tapes,
        contracts=contracts,
        only=only or (),
        models=model or (),
        runtime_version=runtime_version,
        may_change=may_change,
        fuzz=fuzz,
        report=report or (),
        report_to=report_to,
        as_json=json,
        otlp=otlp,
    )
    raise typer.Exit(verifying.run(asked))


@models_app.command("list")
def list_models(url: Url = None, *, json: Json = False) -> None:
    """List the models that the service knows."""
    managing.list_models(url=url, as_json=json)


@models_app.command("load")
def load_model(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Alias or id.")], url: Url = None, *, json: Json = False
) -> None:
    """Load a model into memory, and wait until it is there."""
    managing.load(model, url=url, as_json=json)


@models_app.command("unload")
def unload_model(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Alias or id.")], url: Url = None, *, json: Json = False
) -> None:
    """Take a model out of memory."""
    managing.unload(model, url=url, as_json=json)


@app.command()
def record(
    contracts: Annotated[
        list[str] | None, typer.Argument(metavar="CONTRACTS", help="Beginnings of names, such as chat; else all.")
    ] = None,
    runtime: Annotated[
        list[str] | None,
        typer.Option(metavar="VERSION", help="A version to start and record, more than once; with --url, its version."),
    ] = None,
    url: Annotated[str | None, typer.Option("--url", metavar="URL", help="A server to record as it runs.")] = None,
    into: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the tapes go.")] = Path("cassettes"),
    folder: Annotated[
        Path | None, typer.Option("--contracts", metavar="FOLDER", help="Other contracts than those provided.")
    ] = None,
    *,
    prune: Annotated[bool, typer.Option("--prune", help="Remove tapes whose contracts are gone.")] = False,
    json: Json = False,
) -> None:
    """Record a real runtime on tapes, each proven against its contract."""
    raise typer.Exit(
        recording.run(
            contracts or (),
            runtimes=runtime or (),
            url=url,
            into=into,
            contracts=folder,
            pruned=prune,
            as_json=json,
        )
    )


@app.command()
def matrix(
    contracts: Annotated[
        list[str] | None, typer.Argument(metavar="CONTRACTS", help="Beginnings of names, such as chat; else all.")
    ] = None,
    runtimes: Annotated[
        list[str] | None,
        typer.Option(metavar="VERSIONS", help="Which, with commas between or more than once; else all."),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write it as a page, each verdict with evidence.")
    ] = None,
    markdown: Annotated[Path | None, typer.Option(metavar="FILE", help="Write it as Markdown.")] = None,
    tapes: Annotated[
        Path | None, typer.Option("--tapes", metavar="FOLDER", help="Other tapes than those provided.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--contracts", metavar="FOLDER", help="Other contracts than those provided.")
    ] = None,
    *,
    live: Annotated[
        bool, typer.Option("--live", help="Start the runtimes, each in an environment made for it, in place of tapes.")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Make the environments anew.")] = False,
    every: Annotated[bool, typer.Option("--all", help="Show the contracts that every runtime keeps as well.")] = False,
    json: Json = False,
) -> None:
    """Show contracts against runtimes: what each keeps, and how they differ."""
    asked = comparing.Asked(
        only=contracts or (),
        runtimes=runtimes or (),
        live=live,
        fresh=fresh,
        every=every,
        contracts=folder,
        tapes=tapes,
        html=html,
        markdown=markdown,
        as_json=json,
    )
    raise typer.Exit(comparing.run(asked))


@app.command()
def replay(
    tape: Annotated[
        Path, typer.Argument(metavar="TAPE", help="A tape with a streamed chat.", exists=True, dir_okay=False)
    ],
    way: Annotated[
        str, typer.Option("--way", metavar="WAY", help="httpx or httpx2, and sync, asyncio or trio.")
    ] = "httpx-sync",
    *,
    json: Json = False,
) -> None:
    """Play a tape against the client: each chunk in its time, and how it took it; exit 1 if it took it wrongly."""
    raise typer.Exit(replaying.run(tape, way=way, as_json=json))


@app.command()
def drift(
    before: Annotated[str, typer.Argument(metavar="A", help="What the client was built on: version, folder or URL.")],
    after: Annotated[str, typer.Argument(metavar="B", help="What it is to meet: version, folder or URL.")],
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="AREA", help="verdicts, answers, shapes, streams, framing or headers; more than once."),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--contracts", metavar="FOLDER", help="Other contracts than those provided.")
    ] = None,
    *,
    json: Json = False,
) -> None:
    """Say what is otherwise in B than in A; exit 3 where it breaks a client of A."""
    raise typer.Exit(drifting.run(before, after, only=only or (), contracts=folder, as_json=json))


@app.command()
def trace(
    where: Annotated[
        str | None,
        typer.Argument(
            metavar="[FILE|TRACE_ID]",
            help="OTLP JSON, or what Jaeger saves; - is standard input. An id is of a Jaeger.",
        ),
    ] = None,
    jaeger: Annotated[
        str | None, typer.Option(metavar="URL", help="The Jaeger that has the trace; else the one on this machine.")
    ] = None,
    only: Annotated[
        str | None, typer.Option("--id", metavar="TRACE_ID", help="Of several traces, those that begin so.")
    ] = None,
    *,
    last: Annotated[bool, typer.Option("--last", help="The last trace of a command on this machine.")] = False,
    json: Json = False,
) -> None:
    """Draw a trace: attempts, waits and what came of them, on one axis of time."""
    tracing.run(where, last=last, jaeger=jaeger, wanted=only, as_json=json)


@app.command()
def bench(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAMES]", help="Which benchmarks; else all.")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Keep figures and pictures there.", file_okay=False)
    ] = None,
    *,
    quick: Annotated[bool, typer.Option("--quick", help="See that they work; what they say means little.")] = False,
    listed: Annotated[bool, typer.Option("--list", help="Say what they ask, and measure nothing.")] = False,
    json: Json = False,
) -> None:
    """Measure what resilience costs and gives on this machine, against servers of its own on loopback."""
    raise typer.Exit(benchmarking.run(names or (), quick=quick, out=out, listed=listed, as_json=json))


@app.command()
def tune(
    url: Annotated[str, typer.Argument(metavar="URL", help="A server of this machine.")],
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", metavar="ID", help="Ask this model for a chat of one token, each time."),
    ] = None,
    path: Annotated[str | None, typer.Option(metavar="PATH", help="What is asked for, else that of the URL.")] = None,
    method: Annotated[str | None, typer.Option(metavar="METHOD", help="Else GET, and POST of a body.")] = None,
    body: Annotated[str | None, typer.Option(metavar="JSON", help="A small body, the same each time.")] = None,
    library: Annotated[str, typer.Option(metavar="NAME", help="httpx or httpx2.")] = "httpx",
    requests: Annotated[
        int, typer.Option(metavar="N", help="Send no more than so many.", min=100, max=tuning.MOST_REQUESTS)
    ] = 30_000,
    seconds: Annotated[
        float, typer.Option(metavar="SECONDS", help="Take no longer.", min=1.0, max=tuning.MOST_SECONDS)
    ] = 120.0,
    callers: Annotated[
        int, typer.Option(metavar="N", help="So many of yours ask at once.", min=1, max=tuning.MOST_CALLERS)
    ] = 32,
    p95: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="95 of 100 answers are to take no longer.", min=0.0)
    ] = None,
    header: Annotated[
        list[str] | None, typer.Option(metavar="'NAME: VALUE'", help="Sent, and shown nowhere; may be repeated.")
    ] = None,
    header_from: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VARIABLE", help="A header whose value is in a variable; may be repeated."),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write what was measured there, as JSON.")] = None,
    *,
    load_this_server: Annotated[
        bool, typer.Option("--load-this-server", help="The address is not of this machine, and yours to load.")
    ] = False,
    json: Json = False,
) -> None:
    """Measure a server, and say which pool, limit and timeouts suit it; exit 3 if there is no clear winner."""
    asked = tuning.Asked(
        url=url,
        allowed=Limits(requests=requests, seconds=seconds, callers=callers, p95=p95),
        path=path,
        method=method,
        body=body,
        model=model,
        library=library,
        headers=header or (),
        header_from=header_from or (),
        load_this_server=load_this_server,
        out=out,
        as_json=json,
    )
    raise typer.Exit(tuning.run(asked))


def run() -> int:
    """Run the command; gives the exit code. What went wrong is one sentence on standard error."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        with _logged():
            return _run()
    except SettingsError as error:  # the level's: all else has been said within
        complain(error)
        return 1


def _run() -> int:
    try:
        # It prints usage errors itself, and ends by SystemExit.
        app(args=_with_urls(sys.argv[1:]), prog_name="resilient-foundry")
    except (
        FoundryError,
        JaegerError,
        ResilienceError,
        SettingsError,
        MissingExtraError,
        RuntimeNotInstalledError,
        RuntimeStartError,
        UnreachableError,
        ValueError,
        httpx.HTTPError,
        httpx.InvalidURL,
        OSError,
    ) as error:
        complain(error)
        return 1
    return 0


def _with_urls(arguments: Sequence[str]) -> list[str]:
    """The arguments, in which every `--otlp` has its URL: the next one is taken for it only where it looks like one."""
    given: list[str] = []
    for place, argument in enumerate(arguments):
        given.append(argument)
        if argument == "--":
            return [*given, *arguments[place + 1 :]]
        follows = arguments[place + 1] if place + 1 < len(arguments) else ""
        if argument == "--otlp" and not _URL.fullmatch(follows):
            if _HOST.fullmatch(follows):
                raise SettingsError(
                    f"--otlp {follows}: write http://{follows}, or --otlp={OTLP} before it", name="otlp"
                )
            given[-1] = f"--otlp={OTLP}"
    return given


_URL = re.compile(r"https?://\S+")
_HOST = re.compile(r"[\w.-]+:\d{2,5}(/\S*)?")
"""What somebody writes who means a URL, and what could as well be a prompt."""


def _terminate(number: int, _frame: FrameType | None) -> NoReturn:
    """Leave as after Ctrl-C, through everything that cleans up, with the exit code of a program that was ended."""
    raise SystemExit(128 + number)


@contextmanager
def _logged() -> Generator[None]:
    """Show the library's log on standard error where FOUNDRY_LOG_LEVEL asks for it; a command tells its story itself.

    Raises `SettingsError` for what is no level.
    """
    logging.getLogger("stamina").setLevel(logging.ERROR)  # it would say each of our lines again
    level = log_level(os.environ.get(LOG_LEVEL, "").strip() or None)
    if level is None:
        yield
        return
    logger, shown = logging.getLogger("resilient_foundry"), logging.StreamHandler()
    before = logger.level
    shown.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    logger.addHandler(shown)
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)
        logger.removeHandler(shown)
