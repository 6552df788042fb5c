"""`resilient-foundry matrix`: contracts against runtimes, as a table, a page of HTML, and Markdown."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from resilient_foundry.cli.output import console, errors, print_json, say
from resilient_foundry.harness.contract import Contract, collect, provided
from resilient_foundry.harness.matrix import Matrix, markdown, rendered
from resilient_foundry.harness.report import html, json
from resilient_foundry.harness.runtimes import RECIPES, interpreter
from resilient_foundry.harness.subject import Started, Subject, taped
from resilient_foundry.harness.verdict import Outcome, Verification
from resilient_foundry.harness.verify import verify


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The arguments of the command. Without `runtimes` it is about all that there are."""

    only: Sequence[str] = ()
    runtimes: Sequence[str] = ()
    live: bool = False
    fresh: bool = False
    every: bool = False
    contracts: Path | None = None
    tapes: Path | None = None
    html: Path | None = None
    markdown: Path | None = None
    as_json: bool = False


def run(asked: Asked) -> int:
    """Ask every runtime, and tell; the exit code is 1 where somebody must look."""
    if asked.fresh and not asked.live:
        raise ValueError("--fresh makes environments for runtimes that run: ask for them with --live")
    contracts = collect(asked.contracts or provided("contracts"), only=asked.only)
    columns = [_verified(contracts, opened) for opened in _subjects(asked)]
    matrix = Matrix(tuple(columns))
    files = [file for file in (asked.html, asked.markdown) if file is not None]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
    if asked.html is not None:
        asked.html.write_text(html.page(columns), "utf-8", newline="\n")
    if asked.markdown is not None:
        folder = asked.tapes or provided("cassettes")
        beside = Path(os.path.relpath(folder, asked.markdown.parent)).as_posix()
        asked.markdown.write_text(markdown(matrix, tapes=beside), "utf-8", newline="\n")
    if asked.as_json:
        print_json(json.document(columns))
    else:
        for piece in rendered(matrix, every=asked.every):
            console.print(piece, soft_wrap=not console.is_terminal)
        for file in files:
            say(f"wrote {file}")
    return int(matrix.has_failures)


def _subjects(asked: Asked) -> Iterator[AbstractContextManager[Subject]]:
    """Each runtime, ready to be entered; those that run are started one after the other."""
    if asked.live:
        for version in reversed(_chosen(asked.runtimes, tuple(RECIPES))):
            with errors.status(f"preparing Foundry Local {version}") as status:
                python = interpreter(version, fresh=asked.fresh, on_progress=status.update)
            yield Started(version, python=python)
        return
    found = taped(asked.tapes or provided("cassettes"))
    for version in _chosen(asked.runtimes, tuple(each.runtime.version for each in found)):
        yield nullcontext(next(each for each in found if each.runtime.version == version))


def _chosen(wanted: Sequence[str], known: Sequence[str]) -> Sequence[str]:
    """Those of the known versions that are wanted, in their order; `ValueError` for one that is not known."""
    asked = [version.strip() for each in wanted for version in each.split(",")]
    for version in asked:
        if version not in known:
            raise ValueError(f"there is no runtime {version!r} here; there are {', '.join(known)}")
    return [version for version in known if not asked or version in asked]


def _verified(contracts: Sequence[Contract], opened: AbstractContextManager[Subject]) -> Verification:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[at]}"))
    with (
        opened as subject,
        Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as progress,
    ):
        task = progress.add_task(f"{subject.runtime} ({subject.way})", total=len(contracts), at="")

        def done(outcome: Outcome) -> None:
            progress.update(task, advance=1, at=outcome.contract.name)

        return verify(contracts, subject, on_outcome=done)
