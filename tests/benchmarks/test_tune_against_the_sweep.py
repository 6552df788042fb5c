"""The benchmark runs, and its judgement is right; whether tune is, a full run says."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.question import Figures
from benchmarks.tune_against_the_sweep import Effort, answer, is_right, measured, table


def test_tune_and_the_sweep_meet_the_same_server() -> None:
    """A glance is enough to see it."""
    effort = Effort(tuned=1.0, swept=0.02, rounds=1, kinds=("one at a time, 10 ms",), limits=(1, 2), callers=2)
    figures = measured(effort)
    (kind,) = figures["kinds"]
    assert {1, 2} <= {each["limit"] for each in kind["sweep"]}
    assert (kind["recommended"] is None) == bool(kind["objections"])
    assert kind["kind"] in table(figures)


def kind(limit: int | None, *, rate: float = 100.0, p99: float = 0.1, reuse: float = 1.0) -> dict[str, Any]:
    """What tune said of a server whose best limit is 8, at 100 a second and 100 ms."""
    sweep = [
        {"limit": 1, "rate": 50.0, "p99": {"median": 0.01}},
        {"limit": 4, "rate": rate, "p99": {"median": p99}},
        {"limit": 8, "rate": 100.0, "p99": {"median": 0.1}},
    ]
    return {
        "kind": "a server",
        "recommended": None if limit is None else {"limit": limit, "keepalive_expiry": 4.0},
        "objections": [] if limit else ["they are alike"],
        "reuse": reuse,
        "sweep": sweep,
        "again": sweep,
    }


@pytest.mark.parametrize(
    ("told", "right"),
    [
        (kind(4), True),
        (kind(4, rate=94.0), False),
        (kind(4, p99=0.12), False),
        (kind(4, reuse=0.98), False),
        (kind(None), True),
        (kind(1), False),
    ],
)
def test_a_number_is_right_if_the_sweep_says_so(told: dict[str, Any], right: bool) -> None:
    """And no number always is. The p99 of a limit with half the throughput is nobody's measure."""
    assert is_right(told) == right


def test_the_answer_counts_what_was_right() -> None:
    figures: Figures = {"library": "httpx2", "callers": 32, "kinds": [kind(4), kind(4, rate=50.0), kind(None)]}
    assert answer(figures).startswith("Of 3 kinds of server tune named a limit for 2, and 1 of these had at least 95%")
    assert answer(figures).endswith("for 1 it named no number: not reached.")
    assert answer(figures | {"kinds": [kind(None)]}).endswith("no number: nothing is shown by that.")
    assert table(figures).splitlines()[4:] == [
        "| a server | 4, kept 4 s | 4: 100/s | 1.00 | 1.00 | 1.000 | reached |",
        "| a server | 4, kept 4 s | 8: 100/s | 0.50 | 1.00 | 1.000 | not reached |",
        "| a server | no number | 4: 100/s | | | 1.000 | they are alike |",
    ]
