"""The calls of the last seconds, against a list of all of them."""

from hypothesis import given
from hypothesis import strategies as st

from resilient_foundry.policies.window import Window

CALLS = st.lists(st.tuples(st.sampled_from([0.0, 0.0, 0.4, 1.0, 2.3, 9.0, 11.0, 400.0]), st.booleans(), st.booleans()))


def shown(window: Window, now: float) -> tuple[int, int, int]:
    window.turn(now)
    return window.calls, window.failures, window.slow


@given(calls=CALLS, began=st.sampled_from([0.0, 7.7, 1e6]))
def test_it_counts_what_ended_in_the_last_ten_of_its_buckets(
    calls: list[tuple[float, bool, bool]], began: float
) -> None:
    window, now, everything = Window(10.0), began, list[tuple[float, bool, bool]]()
    for wait, failed, slow in calls:
        now += wait
        window.record(now, failed=failed, slow=slow)
        everything.append((now, failed, slow))
        last = [call for call in everything if int(call[0]) > int(now) - 10]
        assert shown(window, now) == (len(last), sum(call[1] for call in last), sum(call[2] for call in last))


def test_what_is_older_than_the_window_is_forgotten() -> None:
    window = Window(30.0)
    window.record(100.0, failed=True, slow=True)
    assert shown(window, 126.9) == (1, 1, 1)
    assert shown(window, 130.0) == (0, 0, 0)


def test_a_moment_before_the_latest_counts_as_the_latest() -> None:
    """Two threads may look at the clock in one order and take the lock in the other."""
    window = Window(10.0)
    window.record(50.0, failed=False, slow=False)
    window.record(49.0, failed=True, slow=False)
    assert shown(window, 59.9) == (2, 1, 0)
    assert shown(window, 60.0) == (0, 0, 0)


def test_a_long_silence_costs_no_more_than_a_short_one() -> None:
    """The buckets that passed meanwhile are not counted one by one."""
    window = Window(0.01)
    window.record(0.0, failed=True, slow=True)
    assert shown(window, 1e9) == (0, 0, 0)


def test_it_begins_anew_when_it_is_cleared() -> None:
    window = Window(10.0)
    window.record(50.0, failed=True, slow=True)
    window.clear()
    assert shown(window, 50.0) == (0, 0, 0)
    window.record(20.0, failed=True, slow=False)
    assert shown(window, 20.0) == (1, 1, 0)
