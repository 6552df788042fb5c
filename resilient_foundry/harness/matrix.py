"""Contracts against runtimes: a row for each contract, a column for each runtime, a symbol for each verdict."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import PurePosixPath
from typing import Final

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from resilient_foundry.harness.contract import Contract
from resilient_foundry.harness.verdict import Outcome, Verdict, Verification

SYMBOLS: Final[Mapping[Verdict, str]] = {
    Verdict.HELD: "✓",
    Verdict.DEVIATES: "≠",
    Verdict.BROKEN: "✗",
    Verdict.FIXED: "!",
    Verdict.NOT_RECORDED: "?",
    Verdict.NOT_EXERCISED: "-",
    Verdict.OUTSIDE: "·",
}
"""What stands in a cell."""
MEANINGS: Final[Mapping[Verdict, str]] = {
    Verdict.HELD: "the promise is kept",
    Verdict.DEVIATES: "it is not, as is known: the ledger of deviations says how",
    Verdict.BROKEN: "it is not, and the ledger does not know",
    Verdict.FIXED: "it is kept, and the ledger says that it is not",
    Verdict.NOT_RECORDED: "there is no tape of it, or one of something else",
    Verdict.NOT_EXERCISED: "it could not be asked",
    Verdict.OUTSIDE: "it is about other versions",
}
"""What the symbols mean."""
_STYLES: Final = {
    Verdict.HELD: "green",
    Verdict.DEVIATES: "yellow",
    Verdict.NOT_EXERCISED: "dim",
    Verdict.OUTSIDE: "dim",
}
_ASKED: Final = frozenset({Verdict.HELD, Verdict.DEVIATES, Verdict.BROKEN, Verdict.FIXED})
_SPECIAL: Final = re.compile(r"([\\`*_\[\]<>|#])")
_COMMAND: Final = "resilient-foundry matrix --markdown docs/contract-matrix.md"


@dataclass(frozen=True, slots=True)
class Row:
    """A contract, and its outcome in each column."""

    contract: Contract
    outcomes: tuple[Outcome, ...]

    @property
    def is_asked(self) -> bool:
        """Whether any runtime could be asked."""
        return any(each.verdict in _ASKED for each in self.outcomes)

    @property
    def is_kept(self) -> bool:
        """Whether every runtime that it is about keeps it."""
        return self.is_asked and all(each.verdict in {Verdict.HELD, Verdict.OUTSIDE} for each in self.outcomes)


@dataclass(frozen=True, slots=True)
class Area:
    """The contracts of a file."""

    name: str
    rows: tuple[Row, ...]

    def counts(self, column: int) -> tuple[int, int]:
        """How many contracts of it a runtime keeps, and of how many that it was asked about."""
        verdicts = [row.outcomes[column].verdict for row in self.rows]
        return verdicts.count(Verdict.HELD), sum(verdict in _ASKED for verdict in verdicts)


@dataclass(frozen=True, slots=True)
class Matrix:
    """Verifications of the same contracts, a column each. Raises `ValueError` where they are not of the same ones."""

    columns: tuple[Verification, ...]

    def __post_init__(self) -> None:
        asked = [[each.contract.name for each in column.outcomes] for column in self.columns]
        if not asked or any(each != asked[0] for each in asked):
            raise ValueError("a matrix is of at least one runtime, and of the same contracts for each")

    @property
    def rows(self) -> tuple[Row, ...]:
        """Contract by contract."""
        across = zip(*(column.outcomes for column in self.columns), strict=True)
        return tuple(Row(outcomes[0].contract, outcomes) for outcomes in across)

    @property
    def areas(self) -> tuple[Area, ...]:
        """The rows by their areas."""
        return tuple(Area(name, tuple(rows)) for name, rows in groupby(self.rows, key=lambda row: row.contract.area))

    @property
    def kept(self) -> str:
        """How many contracts are kept, in words."""
        asked = [row for row in self.rows if row.is_asked]
        kept = sum(row.is_kept for row in asked)
        return f"{kept} of {len(asked)} contracts are kept by every runtime that they are about"

    @property
    def has_failures(self) -> bool:
        """Whether somebody must look."""
        return any(column.failures for column in self.columns)


def rendered(matrix: Matrix, *, every: bool = False) -> Iterator[RenderableType]:
    """What rich is to print: how much is kept area by area, and the contracts that are not kept everywhere, or all."""
    names = [_runtime(column) for column in matrix.columns]
    areas = Table("area", box=None, pad_edge=False)
    for name in names:
        areas.add_column(name, justify="right")
    for area in matrix.areas:
        areas.add_row(area.name, *("/".join(map(str, area.counts(at))) for at in range(len(names))))
    yield areas
    yield Text()
    rows = [row for row in matrix.rows if every or (row.is_asked and not row.is_kept)]
    table = Table(box=None, pad_edge=False)
    table.add_column("contract", overflow="fold")
    table.add_column("level")
    for name in names:
        table.add_column(name, justify="center")
    for row in rows:
        cells = [Text(SYMBOLS[each.verdict], _STYLES.get(each.verdict, "red")) for each in row.outcomes]
        table.add_row(row.contract.name, row.contract.level.value, *cells)
    if rows:
        yield table
        shown = {each.verdict for row in rows for each in row.outcomes}
        yield Text("  ".join(f"{SYMBOLS[each]} {MEANINGS[each]}" for each in SYMBOLS if each in shown), "dim")
    yield Text(matrix.kept)


def markdown(matrix: Matrix, *, tapes: str = "../cassettes") -> str:
    """The matrix as a page of Markdown; `tapes` is where the folder of tapes is, seen from the page."""
    return "\n".join(_page(matrix, tapes)) + "\n"


def _page(matrix: Matrix, tapes: str) -> Iterator[str]:
    names = [_runtime(column) for column in matrix.columns]
    shown = {each.verdict for row in matrix.rows for each in row.outcomes}
    yield "# Contracts and runtimes"
    yield ""
    yield f"What clients rely on, and which runtimes keep it: {matrix.kept}."
    yield f"Written by `{_COMMAND}`; a test keeps it true to the tapes."
    yield ""
    yield from (f"- {SYMBOLS[each]} {MEANINGS[each]}" for each in SYMBOLS if each in shown)
    yield ""
    yield _row(["Kept, of those asked", *names])
    yield _row(["---", *("---:" for _ in names)])
    for area in matrix.areas:
        yield _row([f"[{area.name}](#{area.name})", *(_share(*area.counts(at)) for at in range(len(names)))])
    yield ""
    yield "## How they differ"
    yield ""
    yield "From what is promised, and so from each other. Each line of the ledger,"
    yield "[deviations.toml](../resilient_foundry/foundry/deviations.toml), has its evidence on a tape."
    yield ""
    yield from _differences(matrix, tapes)
    yield "## All contracts"
    yield ""
    for area in matrix.areas:
        yield f"### {area.name}"
        yield ""
        yield _row(["Promise", "Level", *names])
        yield _row(["---", "---", *(":---:" for _ in names)])
        for row in area.rows:
            promise = _plain(row.contract.promise.partition("\n\n")[0])
            yield _row([promise, row.contract.level.value, *(SYMBOLS[each.verdict] for each in row.outcomes)])
        yield ""


def _differences(matrix: Matrix, tapes: str) -> Iterator[str]:
    for area in matrix.areas:
        differing = [row for row in area.rows if any(each.deviation is not None for each in row.outcomes)]
        if not differing:
            continue
        yield f"**{_plain(area.name)}**"
        yield ""
        for row in differing:
            yield f"- *{_plain(row.contract.promise.partition(chr(10) * 2)[0])}*"
            yield from _deviations(matrix, row, tapes)
        yield ""


def _deviations(matrix: Matrix, row: Row, tapes: str) -> Iterator[str]:
    """A line for each reason, with the versions that it is about."""
    columns: dict[tuple[str, str], list[Verification]] = {}
    for column, outcome in zip(matrix.columns, row.outcomes, strict=True):
        if outcome.deviation is not None:
            columns.setdefault((outcome.deviation.reason, outcome.deviation.link), []).append(column)
    for (reason, link), found in columns.items():
        versions = ", ".join(each.runtime.version for each in found)
        evidence = [f"[tape of {each.runtime.version}]({_tape(row.contract, each, tapes)})" for each in found]
        report = [f"[report]({link})"] if link.startswith("https:") else []
        yield f"  - {versions}: {_plain(reason)} ({', '.join([*report, *evidence])})"


def _tape(contract: Contract, column: Verification, tapes: str) -> str:
    area, _, name = contract.name.partition(".")
    return str(PurePosixPath(tapes) / column.runtime.slug / area / f"{name}.yaml")


def _runtime(column: Verification) -> str:
    return f"{column.runtime.version} ({column.way})" if column.way != "tapes" else column.runtime.version


def _share(kept: int, asked: int) -> str:
    return f"{kept} of {asked}" if asked else "-"


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _plain(text: str) -> str:
    """Text on one line that Markdown takes for nothing else."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))
