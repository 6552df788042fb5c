from __future__ import annotations

import math

import pytest

from resilient_foundry.tuning.capacity import Scaling, Step, fit, is_flat, knee, little, rates


def step(limit: int, *figures: float, took: float = 0.02) -> Step:
    return Step(limit, figures, (took,) * 20)


SLOTS = [step(1, 44, 45), step(2, 90, 89), step(4, 175, 176), step(6, 192, 191), step(8, 193, 192), step(12, 192, 193)]
"""A server of four slots: one more than four keeps them busy while answers are on their way."""


def test_the_knee_is_the_smallest_limit_that_is_as_good_as_the_best() -> None:
    found = knee(SLOTS)
    assert (found.limit, found.best) == (6, 8)
    assert found.shares[4].high < 0.95 <= found.shares[6].low


def test_a_limit_that_may_be_worse_than_it_looks_is_not_taken() -> None:
    """It is at 99.8 % of the best, and its interval goes far down."""
    found = knee([step(2, 57, 180, 150, 97), step(4, 100, 100, 100, 100)])
    assert found.limit == 4


def test_a_limit_whose_answers_take_too_long_is_not_taken() -> None:
    steps = [step(1, 100, took=0.01), step(2, 180, took=0.03), step(4, 300, took=0.2)]
    assert knee(steps, p95=0.05).limit == 2
    nothing = knee(steps, p95=0.001)
    assert (nothing.limit, nothing.in_time) == (1, False)


def test_there_is_no_knee_of_nothing() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        knee([])


def test_the_search_ends_when_two_steps_in_a_row_bring_less_than_three_percent() -> None:
    """One alone may be an accident."""
    assert not is_flat([100, 101])
    assert not is_flat([100, 200, 202])
    assert is_flat([100, 200, 202, 203])
    assert is_flat([200, 150, 100])


def test_answers_that_come_in_bursts_are_counted_by_whole_bursts() -> None:
    """Four at once, each 50 ms: 80 a second, however the time is cut."""
    ended = [0.05 * burst for burst in range(1, 11) for _ in range(4)]
    assert rates(ended, at_once=4) == [pytest.approx(80)]
    assert rates(ended, at_once=4, pieces=3) == [pytest.approx(80)] * 3


def test_the_time_in_which_the_line_grows_is_left_out() -> None:
    """The first is there after a second, the others every tenth."""
    assert rates([1 + 0.1 * number for number in range(9)], at_once=1) == [pytest.approx(10)]


@pytest.mark.parametrize("ended", [[], [0.5]])
def test_too_few_answers_have_no_rate(ended: list[float]) -> None:
    assert rates(ended, at_once=4) == []


def test_a_piece_that_was_quick_counts_for_its_answers_not_for_its_rate() -> None:
    """Ten answers in a second and ten in a tenth of one are 20 in 1.1 seconds."""
    assert step(1, 10, 100).rate == pytest.approx(20 / 1.1)


def test_little_says_how_many_are_under_way() -> None:
    """192 a second, each 22 ms by itself: a little more than four."""
    assert little(SLOTS) == pytest.approx(192.5 / 44.5, rel=1e-3)


@pytest.mark.parametrize("law", [Scaling(1000, 0.05, 0.0003), Scaling(20, 0.0, 0.0), Scaling(300, 0.9, 0.0)])
def test_the_law_that_made_the_figures_is_found_again(law: Scaling) -> None:
    found = fit([(limit, law.at(limit)) for limit in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)])
    assert found is not None
    seen = [found.rate, found.contention, found.coherency]
    assert seen == pytest.approx([law.rate, law.contention, law.coherency], abs=1e-9)


def test_the_law_never_has_less_than_no_contention() -> None:
    """Figures that grow faster than their limit are noise."""
    found = fit([(1, 10), (2, 25), (4, 60), (8, 130)])
    assert found is not None
    assert found.contention >= 0 <= found.coherency


def test_the_law_says_where_more_brings_less() -> None:
    assert Scaling(1, 0.19, 0.01).peak == pytest.approx(9)
    assert Scaling(1, 0.5, 0).peak == math.inf


def test_two_points_have_no_law() -> None:
    assert fit([(1, 10), (2, 20), (4, 0)]) is None
