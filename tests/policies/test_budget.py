"""How much of the traffic may be repetition."""

from __future__ import annotations

import os
import threading
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_foundry import RetryBudget

ORIGIN = "http://foundry.local:5273"


def spent(budget: RetryBudget, at: float, *, tries: int = 1000) -> int:
    """How often a request may be repeated right now."""
    return sum(budget.spend(ORIGIN, at) for _ in range(tries))


def test_a_program_that_calls_seldom_may_still_try_again() -> None:
    """The floor: so many a second, over the whole window."""
    assert spent(RetryBudget(share=0.0, floor=0.3, window=10.0), 0.0) == 3


def test_a_share_of_the_calls_may_be_repeated() -> None:
    budget = RetryBudget(share=0.2, floor=0.0)
    for _ in range(50):
        budget.called(ORIGIN, 1.0)
    assert spent(budget, 1.0) == 10


def test_what_is_older_than_the_window_counts_no_more() -> None:
    """Neither the calls, nor what was repeated."""
    budget = RetryBudget(share=0.5, floor=0.1, window=10.0)
    budget.called(ORIGIN, 0.0)
    budget.called(ORIGIN, 0.0)
    assert spent(budget, 5.0) == 2
    assert spent(budget, 9.0) == 0
    assert spent(budget, 16.0) == 1


def test_a_clock_that_goes_back_gives_nothing_away() -> None:
    budget = RetryBudget(share=0.0, floor=0.1, window=10.0)
    assert spent(budget, 100.0) == 1
    assert spent(budget, 50.0) == 0


def test_origins_have_accounts_of_their_own_and_the_oldest_is_forgotten() -> None:
    budget = RetryBudget(share=0.0, floor=0.1, window=10.0, max_origins=2)
    assert budget.spend("a", 0.0)
    assert budget.spend("b", 0.0)
    assert not budget.spend("a", 0.0)
    assert budget.spend("c", 0.0)  # b was used longest ago
    assert not budget.spend("a", 0.0)
    assert budget.spend("b", 0.0)


def test_what_is_left_can_be_read() -> None:
    budget = RetryBudget(share=0.5, floor=0.1, window=10.0)
    assert budget.left(ORIGIN, 0.0) == 1.0
    budget.called(ORIGIN, 0.0)
    assert budget.left(ORIGIN, 0.0) == 1.5


@given(
    st.lists(st.tuples(st.floats(0.0, 2.0), st.booleans()), max_size=300),
    st.floats(0.0, 1.0),
    st.floats(0.0, 3.0),
)
def test_no_window_holds_more_repetitions_than_the_share_and_the_floor(
    steps: list[tuple[float, bool]], share: float, floor: float
) -> None:
    """In any window, counted back from any moment, within the tenth by which buckets leave."""
    budget = RetryBudget(share=share, floor=floor, window=10.0)
    at, calls, repetitions = 0.0, list[float](), list[float]()
    for pause, is_call in steps:
        at += pause
        if is_call:
            budget.called(ORIGIN, at)
            calls.append(at)
        elif budget.spend(ORIGIN, at):
            repetitions.append(at)
        within = [moment for moment in repetitions if moment > at - 9.0]
        traffic = [moment for moment in calls if moment > at - 10.0]
        assert len(within) <= share * len(traffic) + floor * 10.0 + 1e-6


def test_threads_share_it() -> None:
    budget = RetryBudget(share=0.0, floor=10.0, window=10.0)
    granted: list[bool] = []
    threads = [
        threading.Thread(target=lambda: granted.extend(budget.spend(ORIGIN, 0.0) for _ in range(50))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(granted) == 100


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_process_can_use_it_though_the_lock_was_held_at_the_fork() -> None:
    """Another thread may be in the middle of a call when the program forks."""
    budget = RetryBudget()
    with budget.accounts.locked(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # test runners have threads
        child = os.fork()
        if child == 0:
            os._exit(0 if budget.spend(ORIGIN, 0.0) else 1)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ({"share": -0.1}, "RetryBudget.share is at least 0, not -0.1"),
        ({"share": 20}, "RetryBudget.share is at most 1, as many repetitions as calls, not 20"),
        ({"floor": float("nan")}, "RetryBudget.floor is a finite number, not nan"),
        ({"window": 0.0}, "RetryBudget.window is more than 0, not 0.0"),
        ({"max_origins": 0}, "RetryBudget.max_origins is at least 1, not 0"),
    ],
)
def test_a_wrong_setting_is_named(setting: dict[str, float], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        RetryBudget(**setting)  # type: ignore[arg-type]
