"""The benchmark runs, and its arithmetic is right; how well whom an outage becomes is not judged here."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.outage import LOOP, NONE, STANDARD, History, Plan, answer, table, told
from benchmarks.question import Figures

ROOT = Path(__file__).parents[2]
MEASURE = "import json; from benchmarks.outage import Plan, measured; print(json.dumps(measured({})))"
PLAN = Plan(rate=4.0, healthy=1.0, trouble=1.0, after=1.0)


def test_a_server_that_dies_is_shown_to_each_of_them() -> None:
    """A short story is enough to see that it is told: it is asked, dies, and is well again."""
    asked = '("no retries",), ("dead",), Plan(rate=40.0, healthy=0.25, trouble=0.25, after=0.25)'
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", MEASURE.format(asked)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    (one,) = json.loads(ran.stdout)["histories"]
    assert (one["contender"], one["trouble"]) == (NONE, "dead")
    assert sum(one["arrivals"]) <= 30
    assert sum(map(sum, one["answers"].values())) == 30
    assert one["good_in_trouble"] < 1


def test_what_reaches_the_server_is_compared_with_what_was_called_in_the_same_time() -> None:
    """Four calls are made while it fails, and three requests a call arrive."""
    story = told(History([1.0 + number / 12 for number in range(12)], calls(lambda made: not 1.0 <= made < 2.0)), PLAN)
    assert story["load"] == 3.0
    assert sum(story["arrivals"]) == 12
    assert story["good_in_trouble"] == 0.0
    assert story["good_after"] == 1.0


def test_the_peak_is_that_of_the_worst_half_second() -> None:
    """In requests a second, as times the rate of the calls."""
    assert told(History([0.1, 0.2, 0.3, 0.4, 2.0], calls(lambda _: True)), PLAN)["peak"] == 2.0


@pytest.mark.parametrize(
    ("well_from", "recovered"),
    [(0.0, 0.0), (2.0, 0.0), (2.5, 0.5), (2.75, 0.75), (3.0, None)],
)
def test_calls_have_recovered_when_none_fails_any_more(well_from: float, recovered: float | None) -> None:
    """Counted from when the server was well again; one good answer among failures is no recovery."""
    story = told(History([], calls(lambda made: made >= well_from or made == 2.0)), PLAN)
    assert story["recovered"] == recovered


def test_a_failure_is_told_by_how_long_it_took() -> None:
    """At once, where nobody was kept waiting for it."""
    history = History([], [(0.0, 0.01, True), (1.0, 0.1, False), (1.25, 0.2, False), (1.5, 0.2, False)])
    story = told(history, PLAN)
    assert {kind: sum(of) for kind, of in story["answers"].items()} == {
        "good": 1,
        "failed at once": 1,
        "failed late": 2,
    }
    assert story["to_fail"] == 0.2


def test_the_answer_is_one_sentence_with_numbers() -> None:
    """A reader who stops after the first line knows it."""
    assert answer(found()) == (
        "A server that works on 2 requests at a time, not on 12 for 1 s is met by a loop of three tries with 3.0 "
        "requests a call, and 0% of the calls after it are answered, until the end; by the standard stack with 0.5, "
        "and calls are answered again 0.5 s after it."
    )


def test_the_table_has_a_row_for_each_contender() -> None:
    """And says whose calls went out so late that they say nothing."""
    assert table(found()).splitlines()[2:] == [
        "| a loop of three tries | 3.00 | 3.0 x | 0.600 | 0% | 0% | not |",
        "| Stack.standard() | 0.50 | 1.0 x | 0.001 | 10% | 50% | 0.500 |",
        "",
        "Not to be trusted, since the machine was too busy to make its calls in time: Stack.standard() (overloaded).",
    ]


def calls(well: Callable[[float], bool]) -> list[tuple[float, float, bool]]:
    """Four calls a second for three seconds, answered well where it is so."""
    return [(number / 4, 0.01, well(number / 4)) for number in range(12)]


def found() -> Figures:
    """A loop that keeps the server down, and a stack that does not."""
    loop = {
        "load": 3.0,
        "peak": 3.0,
        "to_fail": 0.6,
        "good_in_trouble": 0.0,
        "good_after": 0.0,
        "recovered": None,
        "late": 0.0,
    }
    ours = {
        "load": 0.5,
        "peak": 1.0,
        "to_fail": 0.001,
        "good_in_trouble": 0.1,
        "good_after": 0.5,
        "recovered": 0.5,
        "late": 0.2,
    }
    return {
        "plan": {"rate": 4.0, "healthy": 1.0, "trouble": 1.0, "after": 1.0},
        "histories": [
            {"trouble": "overloaded", "contender": LOOP, **loop},
            {"trouble": "overloaded", "contender": STANDARD, **ours},
        ],
        "left_out": [],
    }
