"""The report for somebody at a terminal."""

from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console

from resilient_foundry.harness.report.terminal import rendered
from resilient_foundry.harness.verdict import Outcome, Verdict
from tests.harness.subjects import outcome, verification


def shown(*outcomes: Outcome) -> str:
    """What is printed, on a wide screen without colours."""
    console = Console(file=io.StringIO(), width=200)
    for piece in rendered(verification(*outcomes)):
        console.print(piece)
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())


def test_areas_are_counted_and_what_is_to_be_looked_at_is_said() -> None:
    assert shown(
        outcome(name="chat.holds"), outcome(Verdict.FIXED, name="chat.other", why="It holds."), outcome(name="b.c")
    ) == (
        "area  held  fixed\n"
        "chat     1      1\n"
        "b        1\n"
        "all      2      1\n"
        "fixed MUST chat.other: It holds.\n"
        "Of 3 contracts foundry-local 2.2.1 (live) has 1 out of date, on tape or in the ledger."
    )


def test_where_all_is_well_one_sentence_says_so() -> None:
    assert shown(outcome()).endswith("\nfoundry-local 2.2.1 (live) keeps every contract that it must.")


def test_of_drawn_values_those_of_the_smallest_failure_are_shown() -> None:
    assert "area.holds: It is otherwise. (with 0, '')" in shown(
        replace(outcome(Verdict.BROKEN, why="It is otherwise."), smallest=("0", "''"))
    )


def test_what_a_server_said_stays_on_its_line_is_no_markup_and_moves_no_cursor() -> None:
    assert "holds: [red]a\\u001b[2J b\n" in shown(outcome(Verdict.BROKEN, why="[red]a\x1b[2J\n b"))
