"""How long answers take, measured."""

import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_foundry.policies.quantile import LatencyQuantile

ORIGIN = "http://foundry.local:80"


def measured(quantile: float, *seconds: float, warm_up: int = 1) -> float | None:
    latencies = LatencyQuantile(quantile, warm_up=warm_up, limit=10)
    for one in seconds:
        latencies.took(ORIGIN, one)
    return latencies.of(ORIGIN)


def test_says_nothing_before_enough_was_measured() -> None:
    assert measured(0.5) is None
    assert measured(0.5, 1.0, 2.0, warm_up=3) is None
    assert measured(0.5, 1.0, 2.0, 3.0, warm_up=3) == 2.0


def test_that_share_of_the_answers_came_within_it() -> None:
    hundred = [float(number * 37 % 101) for number in range(1, 101)]
    assert measured(0.95, *hundred) == 95.0
    assert measured(0.5, *hundred) == 50.0
    assert measured(0.001, *hundred) == 1.0


@given(
    seconds=st.lists(st.floats(0, 100), min_size=1, max_size=300),
    quantile=st.floats(0.01, 0.99),
)
def test_it_is_the_smallest_measurement_that_so_many_do_not_exceed(seconds: list[float], quantile: float) -> None:
    """Of the latest two hundred, whatever came before them."""
    latest = seconds[-200:]
    found = measured(quantile, *seconds)
    assert found in latest
    assert sum(one <= found for one in latest) >= quantile * len(latest)
    assert sum(one < found for one in latest) < quantile * len(latest)


def test_what_is_old_is_forgotten() -> None:
    """A server that got faster is not waited for as long as before."""
    assert measured(0.95, *[9.0] * 500, *[1.0] * 200) == 1.0


def test_each_origin_has_its_own_and_the_least_recently_used_is_forgotten() -> None:
    latencies = LatencyQuantile(0.5, warm_up=1, limit=2)
    latencies.took("a", 1.0)
    latencies.took("b", 2.0)
    latencies.took("a", 1.0)
    latencies.took("c", 3.0)
    assert [latencies.of(name) for name in "abc"] == [1.0, None, 3.0]


def test_measurements_of_many_threads_are_all_counted() -> None:
    latencies = LatencyQuantile(0.5, warm_up=160, limit=10)
    start = threading.Barrier(8)

    def measure() -> None:
        start.wait()
        for _ in range(20):
            latencies.took(ORIGIN, 1.0)

    threads = [threading.Thread(target=measure) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert latencies.of(ORIGIN) == 1.0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_lock_that_was_held_at_a_fork_is_free_in_the_child() -> None:
    """The thread that held it is not there to let go."""
    held = threading.Event()
    done = threading.Event()

    class Slow(float):
        """A measurement during whose comparison the lock is held."""

        def __lt__(self, other: float) -> bool:
            held.set()
            done.wait(20)
            return super().__lt__(other)

    latencies = LatencyQuantile(0.5, warm_up=1, limit=10)
    latencies.took(ORIGIN, Slow(1.0))
    holder = threading.Thread(target=latencies.took, args=(ORIGIN, Slow(2.0)))
    holder.start()
    assert held.wait(20)
    child = os.fork()
    if child == 0:
        os._exit(0 if latencies.of("another") is None else 1)
    done.set()
    holder.join()
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
