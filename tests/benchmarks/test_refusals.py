"""The benchmark runs, and its arithmetic is right; how fast an open circuit refuses is not judged here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.question import Figures
from benchmarks.race import CONTROL
from benchmarks.refusals import BARE, CIRCUIT, OF_BOTH_COLOURS, PYBREAKER, answer, contender, table

ROOT = Path(__file__).parents[2]
MEASURE = "import json; from benchmarks.refusals import measured; print(json.dumps(measured({})))"


def test_every_contender_refuses_in_a_process_of_its_own() -> None:
    """One round is enough to see it."""
    asked = 'rounds=1, seconds=0.0, ways=(("httpx", "sync"),)'
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", MEASURE.format(asked)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    (way,) = json.loads(ran.stdout)["ways"]
    assert list(way["seconds"]) == [*OF_BOTH_COLOURS, PYBREAKER]
    assert all(one["median"] > 0 for one in way["seconds"].values())


@pytest.mark.parametrize("library", ["httpx", "httpx2"])
def test_asynchronous_calls_are_refused_as_well(library: str) -> None:
    """In both libraries; a call that was let pass fails the turn."""
    with contender(library, "async", CIRCUIT) as turn:
        assert turn().cpu > 0


def test_the_answer_says_whether_the_figure_was_reached() -> None:
    """By the slowest of the ways: a promise holds for all of them."""
    assert answer(found(10e-6, 16e-6)) == (
        "An open circuit refuses 62,500 to 100,000 calls a second at the transport, on one core; "
        "the figure to reach is 50,000: reached."
    )
    assert answer(found(10e-6, 25e-6)).endswith("to reach is 50,000: not reached.")


def test_the_table_has_a_row_for_each_contender() -> None:
    """But for the control, of which it only says where it strayed."""
    assert table(found(10e-6, 16e-6)).splitlines() == [
        "| refusals a second | httpx sync | httpx async |",
        "|---|---:|---:|",
        "| a transport that raises | 1,000,000 | 1,000,000 |",
        "| CircuitBreaker() | 100,000 | 62,500 |",
    ]
    assert table(found(10e-6, trusted=False)).endswith("digits mean little.")


def found(*seconds: float, trusted: bool = True) -> Figures:
    """What a refusal took, sync and async."""
    return {
        "ways": [
            {
                "library": "httpx",
                "colour": colour,
                "trusted": trusted,
                "seconds": {name: {"median": took} for name, took in ((BARE, 1e-6), (CONTROL, 1e-6), (CIRCUIT, one))},
            }
            for colour, one in zip(("sync", "async"), seconds, strict=False)
        ]
    }
