"""docs/edge-cases.md is true: every case has a row, and every row a test that exists, or a reason why it has none."""

from __future__ import annotations

import pytest

from tests.documents import missing_of, named_in, tables

CASES = 90
ROWS = {int(cells[0]): cells for cells in tables("edge-cases.md") if cells[0].isdigit()}


def test_every_case_has_a_row() -> None:
    """In order, none twice."""
    assert [int(cells[0]) for cells in tables("edge-cases.md") if cells[0].isdigit()] == list(range(1, CASES + 1))


@pytest.mark.parametrize("number", ROWS)
def test_a_row_names_tests_that_exist_or_says_why_there_are_none(number: int) -> None:
    """A test that was renamed, or never written, shows here."""
    _, situation, answer, shown = ROWS[number]
    assert situation
    assert answer
    assert named_in(shown) or answer.startswith("Does not apply: ")
    assert missing_of(shown) == []
