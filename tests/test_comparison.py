"""docs/comparison.md is true of us: every cell of ours has a test that exists."""

from __future__ import annotations

import pytest

from tests.documents import missing_of, named_in, tables

PEERS = 8
ROWS = tables("comparison.md")
COMPARED = {cells[0]: cells[1:] for cells in ROWS if len(cells) == PEERS + 1 and cells[0].strip("-")}
SHOWN = {cells[0]: cells[1] for cells in ROWS if len(cells) == 2 and cells[0].strip("-")}


def test_what_is_compared_is_shown_and_nothing_else() -> None:
    assert COMPARED
    assert list(COMPARED) == list(SHOWN)


@pytest.mark.parametrize("feature", COMPARED)
def test_each_cell_of_ours_is_shown_by_a_test(feature: str) -> None:
    """A test that was renamed, or never written, shows here."""
    ours, *others = COMPARED[feature]
    assert ours
    assert all(others)
    assert named_in(SHOWN[feature])
    assert missing_of(SHOWN[feature]) == []
