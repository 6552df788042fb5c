"""The report for somebody at a terminal: a sentence for each contract to look at, and below them a table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from resilient_foundry.harness.report.summary import conclusion, counts, worth_saying
from resilient_foundry.harness.report.text import visible
from resilient_foundry.harness.verdict import Outcome, Verdict, Verification

COLOURS: Final = {
    Verdict.HELD: "green",
    Verdict.BROKEN: "red",
    Verdict.FIXED: "red",
    Verdict.NOT_RECORDED: "red",
    Verdict.DEVIATES: "yellow",
}


def rendered(verification: Verification) -> Iterator[RenderableType]:
    """What rich is to print: what needs most to be seen stands last, where the eye is."""
    verdicts, rows = counts(verification)
    table = Table(box=None, pad_edge=False)
    table.add_column("area")
    for verdict in verdicts:
        table.add_column(verdict.value, justify="right")
    for area, numbers in rows:
        cells = [Text(str(n or ""), COLOURS.get(verdict, "")) for verdict, n in zip(verdicts, numbers, strict=True)]
        table.add_row(area, *cells)
    told = sorted(worth_saying(verification), key=lambda each: (each.deviation is None, each.is_failure))
    for outcome in told:
        yield sentence(outcome)
    if told:
        yield Text()
    yield table
    yield Text(conclusion(verification), "red" if verification.failures else "green")


def sentence(outcome: Outcome) -> Text:
    """One outcome in words; of what is known only what the ledger says."""
    contract = outcome.contract
    colour = COLOURS[outcome.verdict] if outcome.is_failure or outcome.deviation else "yellow"
    words = Text.assemble((f"{outcome.verdict.value} {contract.level.value}", colour), f" {contract.name}")
    known = outcome.deviation if outcome.verdict is Verdict.DEVIATES else None
    reason = known.reason if known else outcome.reason
    words.append(f": {' '.join(visible(reason).split())}" if reason else "")
    if outcome.smallest:
        words.append(f" (with {', '.join(outcome.smallest)})")
    return words
