"""How long to wait, as a pure function."""

import math
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from resilient_foundry import Backoff

bases = st.floats(0, 1e6)
factors = st.floats(1, 1e6)
draws = st.floats(0, 1, exclude_max=True)
attempts = st.integers(1, 10**9)


@given(base=bases, factor=factors, span=bases, attempt=attempts, draw=draws)
def test_a_wait_lies_between_nothing_and_the_cap(
    base: float, factor: float, span: float, attempt: int, draw: float
) -> None:
    """For any attempt, the billionth too: nothing overflows."""
    backoff = Backoff(base=base, factor=factor, cap=base + span)
    assert 0 <= backoff.wait(attempt, draw) <= backoff.cap


@given(attempt=st.integers(1, 1000), draw=draws)
def test_a_later_attempt_waits_no_less_for_the_same_draw(attempt: int, draw: float) -> None:
    backoff = Backoff(base=0.1, factor=1.5, cap=60)
    assert backoff.wait(attempt + 1, draw) >= backoff.wait(attempt, draw)


@given(attempt=attempts, one=draws, other=draws)
def test_the_jitter_stays_at_the_cap(attempt: int, one: float, other: float) -> None:
    """Callers that failed together do not come back together, however often they failed."""
    assume(one < other)
    backoff = Backoff()
    assert backoff.wait(attempt, one) < backoff.wait(attempt, other)


def test_grows_by_its_factor_up_to_its_cap() -> None:
    backoff = Backoff(base=1, factor=2, cap=5)
    assert [backoff.wait(attempt, 0.5) for attempt in (1, 2, 3, 4, 5)] == [0.5, 1.0, 2.0, 2.5, 2.5]


def test_the_jitter_reaches_down_to_nothing() -> None:
    assert Backoff(base=8).wait(5, 0.0) == 0.0


def test_no_waiting_at_all_can_be_said() -> None:
    assert Backoff(base=0, cap=0).wait(3, 0.9) == 0.0


@pytest.mark.parametrize(
    ("settings", "error", "sentence"),
    [
        ({"base": -1}, ValueError, r"Backoff\.base is at least 0, not -1"),
        ({"base": math.nan}, ValueError, r"Backoff\.base is a finite number, not nan"),
        ({"factor": 0.5}, ValueError, r"Backoff\.factor is at least 1, not 0\.5"),
        ({"base": 2, "cap": 1}, ValueError, r"Backoff\.cap is at least 2, not 1"),
        ({"cap": math.inf}, ValueError, r"Backoff\.cap is a finite number, not inf"),
        ({"base": "1"}, TypeError, r"Backoff\.base is a number, not '1'"),
        ({"factor": True}, TypeError, r"Backoff\.factor is a number, not True"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, Any], error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        Backoff(**settings)
