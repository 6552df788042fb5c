"""docs/edge-cases.md is true: every case has a row, and every row a test that exists, or a reason why it has none."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).parent.parent
DOCUMENT = HERE / "docs" / "edge-cases.md"
CASES = 90


@dataclass(frozen=True)
class Row:
    """A case, as the document tells it."""

    number: int
    situation: str
    answer: str
    tests: tuple[tuple[str, str], ...]
    """File and name of each."""

    def __str__(self) -> str:
        return str(self.number)


def rows() -> Iterator[Row]:
    """The rows of all tables, in order."""
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0].isdigit():
            number, situation, answer, shown = cells
            tests = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", shown)
            yield Row(int(number), situation, answer, tuple(tests))


ROWS = list(rows())


@cache
def names_in(file: str) -> frozenset[str]:
    """The names of all tests in a file, those of classes too."""
    tree = ast.parse((HERE / file).read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return frozenset(function.name for function in functions if function.name.startswith("test_"))


def test_every_case_has_a_row() -> None:
    """In order, none twice."""
    assert [row.number for row in ROWS] == list(range(1, CASES + 1))


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_row_names_tests_that_exist_or_says_why_there_are_none(row: Row) -> None:
    """A test that was renamed, or never written, shows here."""
    assert row.answer
    assert row.tests or row.answer.startswith("Does not apply: ")
    assert [f"{file}::{name}" for file, name in row.tests if name not in names_in(file)] == []
