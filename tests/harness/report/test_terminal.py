"""The report for somebody at a terminal."""

from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console

from resilient_foundry.harness import SHOULD
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


def test_what_is_to_be_looked_at_is_said_and_then_areas_are_counted() -> None:
    """A long list does not push the table off the screen."""
    assert shown(
        outcome(name="chat.holds"), outcome(Verdict.FIXED, name="chat.other", why="It holds."), outcome(name="b.c")
    ) == (
        "fixed MUST chat.other: It holds.\n\n"
        "area  held  fixed\n"
        "chat     1      1\n"
        "b        1\n"
        "all      2      1\n"
        "Of 3 contracts foundry-local 2.2.1 (live) has 1 out of date, on tape or in the ledger."
    )


def test_where_all_is_well_one_sentence_says_so() -> None:
    assert shown(outcome()).endswith("\nfoundry-local 2.2.1 (live) keeps every contract that it must.")


def test_what_is_known_is_said_first_and_as_the_ledger_says_it() -> None:
    """What came instead stands in the other reports; here it would hide what is new."""
    told = shown(
        outcome(Verdict.BROKEN, why="It is otherwise."),
        outcome(Verdict.BROKEN, level=SHOULD, why="It is too."),
        outcome(Verdict.DEVIATES, why="It does not. (The status is 500.)"),
    ).splitlines()
    assert told[:3] == [
        "deviates MUST area.holds: It does not.",
        "broken SHOULD area.holds: It is too.",
        "broken MUST area.holds: It is otherwise.",
    ]


def test_what_could_not_be_asked_is_not_passed_over() -> None:
    """Else somebody whose server has no model reads that all is well."""
    assert shown(outcome(), outcome(Verdict.NOT_EXERCISED)).endswith(
        "keeps every contract that it must. 1 of 2 were not exercised."
    )
    assert shown(outcome(Verdict.NOT_EXERCISED), outcome(Verdict.OUTSIDE)).endswith(
        "\nfoundry-local 2.2.1 (live) was asked for none of 2 contracts."
    )


def test_of_drawn_values_those_of_the_smallest_failure_are_shown() -> None:
    assert "area.holds: It is otherwise. (with 0, '')" in shown(
        replace(outcome(Verdict.BROKEN, why="It is otherwise."), smallest=("0", "''"))
    )


def test_what_a_server_said_stays_on_its_line_is_no_markup_and_moves_no_cursor() -> None:
    assert "holds: [red]a\\u001b[2J b\n" in shown(outcome(Verdict.BROKEN, why="[red]a\x1b[2J\n b"))
