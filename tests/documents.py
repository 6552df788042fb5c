"""Pages that name the tests which show what they say."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent.parent


def tables(page: str) -> list[list[str]]:
    """The cells of every row of every table of a page in docs/."""
    lines = (HERE / "docs" / page).read_text(encoding="utf-8").splitlines()
    return [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines if line.startswith("|")]


def named_in(cell: str) -> list[tuple[str, str]]:
    """The tests that a cell names, as file and name."""
    return re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", cell)


def missing_of(cell: str) -> list[str]:
    """The tests that a cell names and that are not there."""
    return [f"{file}::{name}" for file, name in named_in(cell) if name not in _names_in(file)]


@cache
def _names_in(file: str) -> frozenset[str]:
    """The names of all tests in a file, those of classes too."""
    tree = ast.parse((HERE / file).read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return frozenset(function.name for function in functions if function.name.startswith("test_"))
