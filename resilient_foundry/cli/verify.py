"""`resilient-foundry verify`: ask a service, a runtime or its tapes to keep the contracts."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import httpx
from packaging.version import InvalidVersion, Version
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Column

from resilient_foundry._extras import MissingExtraError
from resilient_foundry.cli.complaints import sentence
from resilient_foundry.cli.output import complain, console, errors, print_json, say
from resilient_foundry.cli.telemetry import Telemetry, collected
from resilient_foundry.foundry.errors import FoundryError, ServiceNotFoundError
from resilient_foundry.foundry.locate import ask_command
from resilient_foundry.foundry.runtime import RuntimeStartError
from resilient_foundry.foundry.settings import Settings
from resilient_foundry.foundry.settings import url as base_url_of
from resilient_foundry.harness.contract import Contract, collect, provided
from resilient_foundry.harness.report import formats, json, write
from resilient_foundry.harness.report.terminal import rendered
from resilient_foundry.harness.runtimes import RuntimeNotInstalledError, interpreter
from resilient_foundry.harness.subject import Live, Started, Subject, UnreachableError, roles, taped
from resilient_foundry.harness.verdict import Outcome, Verification
from resilient_foundry.harness.verify import verify
from resilient_foundry.telemetry.names import PREFIX, SCOPE, STABLE
from resilient_foundry.telemetry.spans import mark

HOLDS, BREAKS, UNKNOWN = 0, 1, 2
"""Exit codes: every MUST is kept; one is not; nobody could be asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The arguments of the command. `where` is a URL, or with `tapes` a folder of tapes."""

    where: str | None = None
    runtime: str | None = None
    tapes: bool = False
    contracts: Path | None = None
    only: Sequence[str] = ()
    models: Sequence[str] = ()
    runtime_version: str | None = None
    may_change: bool = False
    fuzz: int | None = None
    report: Sequence[str] = ()
    report_to: Path = field(default_factory=Path)
    as_json: bool = False
    otlp: str | None = None


def run(asked: Asked) -> int:
    """Verify, and tell; the exit code."""
    try:
        wanted = formats(asked.report)
        if wanted:
            asked.report_to.mkdir(parents=True, exist_ok=True)  # refused now rather than after minutes
        contracts = collect(asked.contracts or provided("contracts"), only=asked.only)
        with collected(asked.otlp, root="verify") as telemetry, _subjects(asked) as subjects:
            verifications = [_verified(contracts, each, asked, telemetry) for each in subjects]
        files = write(verifications, wanted, asked.report_to)
    except (
        FoundryError,
        MissingExtraError,
        RuntimeNotInstalledError,
        RuntimeStartError,
        UnreachableError,
        ValueError,
        httpx.HTTPError,
        OSError,
    ) as error:
        complain(_in_this_command(error))
        return UNKNOWN
    if asked.as_json:
        print_json(json.document(verifications))
    else:
        _show(verifications, files)
    return BREAKS if any(each.failures for each in verifications) else HOLDS


@contextmanager
def _subjects(asked: Asked) -> Generator[Sequence[Subject]]:
    """Who is asked, ready to be."""
    if asked.runtime is not None and (asked.tapes or asked.where is not None):
        raise ValueError("--runtime starts a server of its own; name no URL and no --tapes beside it")
    is_ours = asked.tapes or asked.runtime is not None
    if is_ours and (asked.models or asked.may_change or asked.runtime_version is not None):
        raise ValueError("--model, --may-change and --runtime-version are about a server at a URL")
    if asked.tapes:
        yield taped(Path(asked.where) if asked.where is not None else provided("cassettes"))
    elif asked.runtime is not None:
        with ExitStack() as stack:
            with errors.status(f"starting Foundry Local {asked.runtime}") as status:
                started = Started(asked.runtime, python=interpreter(asked.runtime, on_progress=status.update))
                stack.enter_context(started)
            yield [started]
    else:
        where = asked.where
        url = base_url_of("URL", where) if where is not None else Settings.read().endpoint or ask_command()
        version, models = _version(asked.runtime_version), _models(asked.models)
        yield [Live(url, version=version, models=models, may_change=asked.may_change)]


def _verified(
    contracts: Sequence[Contract], subject: Subject, asked: Asked, telemetry: Telemetry | None
) -> Verification:
    """Verify, with a line that shows how far it is."""
    whole, rest = Column(no_wrap=True), Column(no_wrap=True, ratio=1)
    columns = (
        TextColumn("{task.description}", markup=False, table_column=whole),
        BarColumn(bar_width=20),
        MofNCompleteColumn(table_column=whole),
        TextColumn("{task.fields[at]}", markup=False, table_column=rest),
    )
    hidden = not errors.is_terminal
    with Progress(*columns, console=errors, transient=True, expand=True, disable=hidden) as progress:
        task = progress.add_task(str(subject.runtime), total=len(contracts), at="")

        before = [time.time_ns()]

        def done(outcome: Outcome) -> None:
            progress.update(task, advance=1, at=outcome.contract.name)
            if telemetry is not None:
                before[0] = _trace(outcome, subject, telemetry, before[0])

        if asked.fuzz is None:
            return verify(contracts, subject, on_outcome=done)
        from resilient_foundry.harness.fuzz import fuzz  # noqa: PLC0415 - it imports hypothesis

        return verify(contracts, subject, asked_by=partial(fuzz, examples=asked.fuzz), way="fuzz", on_outcome=done)


def _trace(outcome: Outcome, subject: Subject, telemetry: Telemetry, before: int) -> int:
    """A span of a contract that was asked, with its exchanges as events: path and status, nothing of their bodies.

    It began after the one `before`, however long it took by the clock of a tape; gives when it ended.
    """
    ended = time.time_ns()
    if not outcome.exchanges:
        return ended
    span = telemetry.provider.get_tracer(SCOPE).start_span(
        f"contract {outcome.contract.name}",
        attributes={
            f"{PREFIX}.contract.verdict": outcome.verdict.value,
            f"{PREFIX}.contract.level": outcome.contract.level.value,
            f"{PREFIX}.contract.runtime": str(subject.runtime),
        },
        start_time=max(before, ended - int(outcome.seconds * 1e9)),
    )
    for exchange in outcome.exchanges:
        request, response = exchange.request, exchange.response
        status = {} if response is None else {"status": response.status}
        span.add_event(f"{request.method} {request.path.partition('?')[0]}", status, ended)
    if outcome.is_failure:
        mark(span, STABLE, outcome.verdict.value)
    span.end(ended)
    return ended


def _version(named: str | None) -> str | None:
    """A version that contracts and the ledger can be held against."""
    try:
        return named and str(Version(named))
    except InvalidVersion as error:
        raise ValueError(f"--runtime-version is {named!r}; it takes a version such as 2.2.1") from error


def _models(named: Sequence[str]) -> Mapping[str, str]:
    """Which model plays which part, as in "chat=phi-4-mini"."""
    models: dict[str, str] = {}
    for each in named:
        role, _, model = each.partition("=")
        if role not in roles() or not model:
            raise ValueError(f"--model is {each!r}; it takes PART=ID, and the parts are {', '.join(roles())}")
        models[role] = model
    return models


def _show(verifications: Sequence[Verification], files: Sequence[Path]) -> None:
    for verification in verifications:
        if len(verifications) > 1:
            say(f"{verification.runtime} ({verification.way})", style="bold")
        for piece in rendered(verification):
            console.print(piece, soft_wrap=not console.is_terminal)
        console.print()
    for file in files:
        say(f"wrote {file}")


def _in_this_command(error: Exception) -> Exception:
    """The error with advice for this command, whose URL is an argument."""
    if not isinstance(error, ServiceNotFoundError):
        return error
    return ServiceNotFoundError(sentence(error).replace("name its URL with --url", "name its URL: verify URL"))
