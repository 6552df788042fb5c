"""The benchmark runs, and its arithmetic is right; how long anybody waits is not judged here."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from benchmarks.queue_in_front import BARE, LIMIT, MANY, SLOTS, answer, measured, reached, table, told_of
from resilient_foundry.tuning.load import Load


def test_every_contender_is_served_in_both_scenes() -> None:
    """Nobody is refused, however long the line is."""
    found = measured(rounds=1, seconds=0.1, contenders=(BARE, LIMIT))
    assert set(found["scenes"]) == {MANY.name, SLOTS.name}
    for by_name in found["scenes"].values():
        assert {name: of["errors"] for name, of in by_name.items()} == {BARE: 0.0, LIMIT: 0.0}


def test_the_first_answer_of_each_caller_is_left_out() -> None:
    """All begin at once, and none of them will again."""
    load = Load(latencies=[9.0, 9.0, 1.0, 2.0, 3.0, 4.0], ended=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], seconds=6.0)
    told = told_of(load, 2)
    assert (told["throughput"], told["p50"], told["p99"], told["fair"]) == (1.0, 2.0, 4.0, 2.0)


@pytest.mark.parametrize(
    ("changed", "missed"),
    [
        ({}, set[str]()),
        ({"throughput": 150.0}, {"requests"}),
        ({"p99": 0.5, "p50": 0.45}, {"p99"}),
        ({"p50": 0.1}, {"evenness"}),
    ],
)
def test_a_figure_is_reached_by_what_was_measured(changed: Mapping[str, float], missed: set[str]) -> None:
    seen = reached(found(**changed))
    assert {name for name, (_, is_reached) in seen.items() if not is_reached} == missed


def test_the_answer_and_the_table_say_it() -> None:
    assert answer(found()).startswith(
        "In front: 128 callers get 2.5 times the answers of httpx 0.28's pool, with a p99 of 220"
    )
    assert answer(found()).endswith("all figures are reached.")
    assert answer(found(p50=0.1)).endswith("not all figures are reached.")
    assert "| p99, against its median | at most 1.25 x | 2.20 x | **no** |" in table(found(p50=0.1)).splitlines()


def found(**changed: float) -> dict[str, object]:
    """What a run finds, of a limit that does what it should."""
    bare = {"throughput": 200.0, "p50": 0.3, "p99": 2.2, "longest": 3.0, "cpu": 1e-3, "errors": 0.0, "fair": 0.64}
    ours = {"throughput": 500.0, "p50": 0.2, "p99": 0.22, "longest": 0.3, "cpu": 1e-3, "errors": 0.0, "fair": 0.21}
    return {
        "scenes": {MANY.name: {BARE: bare, LIMIT: ours | changed}, SLOTS.name: {BARE: bare, LIMIT: ours}},
        "missing": [],
    }
