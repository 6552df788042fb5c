"""Contracts against runtimes, as text for a terminal and as the page in docs/."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from resilient_foundry.harness.contract import collect, provided
from resilient_foundry.harness.matrix import Matrix, markdown, rendered
from resilient_foundry.harness.subject import taped
from resilient_foundry.harness.verdict import Runtime, Verdict, Verification
from resilient_foundry.harness.verify import verify
from tests.harness.subjects import outcome

PAGE = Path(__file__).parents[2] / "docs" / "contract-matrix.md"


def two() -> Matrix:
    """Of two runtimes, one of which keeps everything."""
    names = ["chat.answers", "chat.streams"]
    kept = tuple(outcome(name=name) for name in names)
    other = (outcome(name=names[0]), outcome(Verdict.DEVIATES, name=names[1]))
    return Matrix(
        (
            Verification(Runtime("foundry-local", "1.2.4"), other, "tapes"),
            Verification(Runtime("foundry-local", "2.2.1"), kept, "tapes"),
        )
    )


def shown(matrix: Matrix, *, every: bool = False) -> str:
    """What a terminal shows."""
    console = Console(file=io.StringIO(), width=120)
    for piece in rendered(matrix, every=every):
        console.print(piece)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_page_is_true_to_the_tapes() -> None:
    """Write it again with `resilient-foundry matrix --markdown docs/contract-matrix.md`."""
    contracts = collect(provided("contracts"))
    columns = tuple(verify(contracts, each) for each in taped(provided("cassettes")))
    assert PAGE.read_text("utf-8") == markdown(Matrix(columns))


def test_a_terminal_shows_what_is_not_kept_everywhere() -> None:
    """Most is kept, and would hide the rest."""
    text = shown(two())
    assert "chat.streams" in text
    assert "chat.answers" not in text
    assert "1 of 2 contracts are kept" in text
    assert "chat.answers" in shown(two(), every=True)


def test_the_page_says_how_runtimes_differ_and_where_that_can_be_seen() -> None:
    page = markdown(two(), tapes="../cassettes")
    assert "1.2.4: It does not." in page
    assert "[report](https://example.org/1)" in page
    assert "(../cassettes/foundry-local-1.2.4/chat/streams.yaml)" in page


def test_a_matrix_is_of_the_same_contracts() -> None:
    """Else a row would stand for two."""
    one, other = two().columns
    with pytest.raises(ValueError, match="the same contracts"):
        Matrix((one, Verification(other.runtime, other.outcomes[:1], "tapes")))
