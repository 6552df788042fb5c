"""What an origin weighs is bounded, and goes with it; the benchmark runs, and its answer says what was seen."""

from __future__ import annotations

import pytest

from benchmarks.question import Figures
from benchmarks.race import CONTROL
from benchmarks.scale import (
    BARE,
    KEEPERS,
    STANDARD,
    answer,
    compared,
    contender,
    left_of_many,
    streams_at_once,
    table,
    weight_of_a_stream,
    weight_of_an_origin,
)

MOST = {
    "Stack.standard()": 2250,
    "CircuitBreaker()": 1850,
    "CircuitBreaker(rate)": 2200,
    "Retry(budget)": 550,
    "ConcurrencyLimit(4)": 1700,
    "RateLimit(rate)": 750,
}
"""Bytes an origin, with room for what versions of Python differ by: a window or a queue more for each would not fit."""


@pytest.mark.parametrize("name", KEEPERS)
def test_an_origin_weighs_no_more_than_it_did(name: str) -> None:
    """A program that calls ten thousand servers keeps something for each: it is counted, so that it can't creep up."""
    assert weight_of_an_origin(name, 200) <= MOST[name]


def test_what_is_remembered_of_an_origin_goes_with_it() -> None:
    """However many there were: nothing outside the policies, such as lists of who holds something, remembers them."""
    assert left_of_many(20, 2000) < 2000 * 10  # tables grow in steps; a weak reference alone weighs 72 bytes


def test_an_open_stream_weighs_no_more_than_it_did() -> None:
    """Beyond what httpx's own takes."""
    ours, bare = weight_of_a_stream("Stack.inference()", 50), weight_of_a_stream(BARE, 50)
    assert 0 < ours - bare <= 5500


@pytest.mark.parametrize("what", ["origins", "circuits of one origin", "threads"])
def test_every_contender_has_its_turn(what: str) -> None:
    """With as many of each as it was told."""
    for name in (CONTROL, f"3 {STANDARD}"):
        with contender(what, name) as turn:
            assert turn().cpu > 0


def test_all_streams_are_open_at_once() -> None:
    """Else it would be told what they cost one after the other."""
    (one,) = streams_at_once({8: 1})
    assert (one["number"], one["at_once"]) == (8, 8)


def test_what_is_added_is_compared_round_by_round() -> None:
    """A round in which the machine is slow is slow for all."""
    cpu = {
        f"1 {BARE}": [10.0, 20.0, 10.0],
        f"1 {STANDARD}": [20.0, 40.0, 20.0],
        f"100 {BARE}": [10.0, 20.0, 10.0],
        f"100 {STANDARD}": [25.0, 50.0, 25.0],
        CONTROL: [10.0, 20.0, 11.0],
    }
    found = compared(cpu, (1, 100))
    assert found["trusted"]
    assert [(one["number"], one["added"]["median"], one["times"]["median"]) for one in found["by_number"]] == [
        (1, 10.0, 1.0),
        (100, 15.0, 1.5),
    ]
    assert not compared({**cpu, CONTROL: [11.0, 22.0, 11.0]}, (1, 100))["trusted"]


def test_the_answer_says_whether_the_figures_were_reached() -> None:
    """That of the cost, and that of the weight."""
    assert answer(found(times=1.2, weight=1900.0)) == (
        "With 10,000 origins a call through `Stack.standard()` costs 1.20 times the microseconds that it adds with one "
        "(the figure to reach is 1.6: reached), and an origin weighs 1,900 bytes (to reach: 2,000: reached); of 10,000 "
        "origins through a stack that remembers 100, 64 bytes are left."
    )
    assert "is 1.6: not reached" in answer(found(times=1.7, weight=1900.0))
    assert "2,000: not reached" in answer(found(times=1.2, weight=2001.0))


def test_the_table_has_a_row_for_each_number() -> None:
    """And says where the machine was too busy to tell."""
    lines = table(found(times=1.2, weight=1900.0)).splitlines()
    assert "| 10,000 origins | 8.0 | 12.0 | 1.20 (1.20 to 1.20) |" in lines
    assert "| `Stack.standard()` | 1,900 |" in lines
    assert "| 5,000 | 900 | 100 |" in lines
    assert "digits mean little" not in "\n".join(lines)
    assert "digits mean little" in table(found(times=1.2, weight=1900.0, trusted=False))


def found(*, times: float, weight: float, trusted: bool = True) -> Figures:
    """What was seen with one origin, and with very many."""
    return {
        "costs": {
            "origins": {
                "trusted": trusted,
                "by_number": [
                    {"number": number, "bare": exact(8.0), "added": exact(10.0 * ratio), "times": exact(ratio)}
                    for number, ratio in ((1, 1.0), (10_000, times))
                ],
            }
        },
        "origins": 10_000,
        "weights": {STANDARD: weight},
        "remembered": 100,
        "left": 64.0,
        "held": 1000,
        "stream": 3000.0,
        "streams": [{"number": 5000, "at_once": 5000, "bare": exact(900.0), "added": exact(100.0)}],
    }


def exact(figure: float) -> dict[str, float]:
    """A figure of which nothing strays."""
    return {"median": figure, "low": figure, "high": figure}
