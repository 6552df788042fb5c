"""Whose turn it is under a rate, and when."""

import os
import threading
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_foundry.policies.rate import Line, Lines, Turn


def asks(line: Line, now: float, *, latest: float = float("inf"), draw: float = 0.0) -> tuple[Turn, float]:
    """A new caller comes, and is told its moment."""
    turn = Turn(latest=latest, draw=draw)
    return turn, line.ask(turn, now)


def moments(line: Line, now: float, callers: int) -> list[float]:
    return [asks(line, now)[1] for _ in range(callers)]


def woken(turn: Turn) -> bool:
    return turn.signal.is_given


# The rate


def test_callers_that_come_together_go_one_by_one() -> None:
    assert moments(Line(0.5), 10, 4) == [10, 10.5, 11, 11.5]


def test_who_comes_late_enough_goes_at_once() -> None:
    line = Line(0.5)
    assert [asks(line, now)[1] for now in (10, 10.5, 99)] == [10, 10.5, 99]


def test_a_pause_earns_a_burst_and_no_more() -> None:
    line = Line(1, burst=3)
    assert moments(line, 10, 5) == [10, 10, 10, 11, 12]
    assert moments(Line(1, burst=3), 10, 3) == [10, 10, 10]


def test_a_used_burst_grows_again_by_the_rate() -> None:
    line = Line(1, burst=3)
    moments(line, 10, 3)
    assert moments(line, 12, 3) == [12, 12, 13]


def test_without_a_rate_nobody_waits() -> None:
    assert moments(Line(), 10, 100) == [10] * 100


def played(interval: float, burst: int, arrivals: list[float], *, early: float = 0.0) -> list[tuple[int, float]]:
    """The callers, in the order in which they went, and when; each asks again when its moment comes."""
    line, went = Line(interval, burst), list[tuple[int, float]]()
    waiting: list[tuple[float, int, Turn]] = [(at, number, Turn()) for number, at in enumerate(sorted(arrivals))]
    while waiting:
        waiting.sort(key=lambda entry: entry[:2])
        at, number, turn = waiting.pop(0)
        moment = line.ask(turn, at)
        if moment <= at:
            went.append((number, at))
        else:
            waiting.append((max(at, moment - early) if moment - early > at else moment, number, turn))
    return went


@given(
    interval=st.floats(0.01, 10),
    burst=st.integers(1, 5),
    arrivals=st.lists(st.floats(0, 100), min_size=1, max_size=30),
    early=st.sampled_from([0.0, 0.004]),
)
def test_no_history_sends_more_than_the_rate_and_its_burst(
    interval: float, burst: int, arrivals: list[float], early: float
) -> None:
    """In any stretch of time: so many as fit into it, and a burst. Timers that fire early don't change it."""
    went = played(interval, burst, arrivals, early=early)
    times = [at for _, at in went]
    assert len(times) == len(arrivals)
    for first in range(len(times)):
        for last in range(first, len(times)):
            allowed = (times[last] - times[first]) / interval + burst
            assert last - first + 1 <= allowed + 1e-6


@given(interval=st.floats(0.01, 10), arrivals=st.lists(st.floats(0, 100), min_size=1, max_size=30))
def test_first_come_first_served(interval: float, arrivals: list[float]) -> None:
    went = played(interval, 1, arrivals)
    assert [number for number, _ in went] == list(range(len(arrivals)))
    assert all(earlier <= later for (_, earlier), (_, later) in pairwise(went))


# Who can't wait


def test_who_would_wait_too_long_is_told_so_and_takes_no_place() -> None:
    line = Line(1)
    moments(line, 10, 3)
    _, moment = asks(line, 10, latest=12.5)
    assert moment == 13
    assert asks(line, 10)[1] == 13


def test_a_turn_that_is_given_up_moves_the_others_up() -> None:
    line = Line(1)
    moments(line, 10, 1)
    (first, _), (second, _), (third, told) = (asks(line, 10) for _ in range(3))
    assert told == 13
    line.leave(second)
    assert line.ask(first, 11) == 11
    assert woken(third)
    assert line.ask(third, 11) == 12


def test_who_is_first_now_is_woken_at_once() -> None:
    line = Line(1)
    moments(line, 10, 1)
    (first, _), (second, _) = asks(line, 10), asks(line, 10)
    assert not woken(second)
    line.leave(first)
    assert woken(second)
    assert line.ask(second, 10.5) == 11


def test_a_turn_that_was_taken_for_nothing_is_given_to_the_next() -> None:
    """A circuit refused the call: the server has seen nothing of it."""
    line = Line(1)
    went, _ = asks(line, 10)
    waiting, _ = asks(line, 10)
    line.leave(went)
    assert woken(waiting)
    assert line.ask(waiting, 10.25) == 10.25


def test_leaving_twice_gives_one_turn_back() -> None:
    line = Line(1, burst=3)
    went, _ = asks(line, 10)
    moments(line, 10, 2)
    line.leave(went)
    line.leave(went)
    assert moments(line, 10, 2) == [10, 11]


def test_who_is_found_by_a_collector_leaves_without_waiting_for_a_lock() -> None:
    """It may run while this very thread is inside; who left is taken out a moment later."""
    line = Line(1)
    moments(line, 10, 1)
    (lost, _), (waiting, _) = asks(line, 10), asks(line, 10)

    class FindsAnother(Turn):
        def __hash__(self) -> int:
            line.leave(lost)
            return id(self)

    thread = threading.Thread(target=line.ask, args=(FindsAnother(), 10), daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    assert line.waiting == 2
    assert woken(waiting)


def test_who_sleeps_through_its_moment_holds_nobody_up() -> None:
    """Its event loop may stand still, or have ended."""
    line = Line(1)
    moments(line, 10, 1)
    (sleeper, _), (second, told) = asks(line, 10), asks(line, 10)
    assert line.ask(second, told) == told == 12
    assert line.ask(sleeper, 12.25) == 12.25
    assert asks(line, 12.25)[1] == 13


def test_waking_a_little_late_does_not_slow_the_rate_down() -> None:
    """Each goes on the slot that it was told, a millisecond late or not."""
    line = Line(1)
    moments(line, 10, 1)
    turns = [asks(line, 10)[0] for _ in range(5)]
    assert [line.ask(turn, 11.001 + place) for place, turn in enumerate(turns)] == [
        11.001 + place for place in range(5)
    ]


def test_after_a_long_sleep_of_the_machine_they_do_not_all_go_at_once() -> None:
    line = Line(1)
    moments(line, 10, 1)
    turns = [asks(line, 10)[0] for _ in range(5)]
    assert [line.ask(turn, 1000) for turn in turns] == [1000, 1000, 1001, 1002, 1003]


# A server that asks for rest


def test_nobody_goes_while_the_server_wants_rest() -> None:
    line = Line(1)
    line.hold(10, 7)
    assert moments(line, 10, 3) == [17, 18, 19]


def test_those_that_wait_already_wait_longer() -> None:
    line = Line(1)
    moments(line, 10, 1)
    waiting, told = asks(line, 10)
    assert told == 11
    line.hold(10.5, 7)
    assert line.ask(waiting, 11) == 17.5


def test_those_that_can_wait_no_longer_are_woken() -> None:
    """They may ask somebody else instead."""
    line = Line(1)
    moments(line, 10, 1)
    patient, _ = asks(line, 10)
    hurried, _ = asks(line, 10, latest=15)
    line.hold(10, 7)
    assert woken(hurried)
    assert not woken(patient)
    assert line.ask(hurried, 10) > hurried.latest
    assert line.ask(patient, 17) == 17


def test_they_come_back_one_by_one_whatever_the_burst() -> None:
    line = Line(1, burst=10)
    line.hold(10, 5)
    assert moments(line, 10, 3) == [15, 16, 17]


def test_without_a_rate_they_come_back_spread_over_a_tenth_of_the_time() -> None:
    line = Line()
    line.hold(10, 20)
    assert [asks(line, 10, draw=draw)[1] for draw in (0.0, 0.5, 0.75)] == [30, 31, 31.5]


def test_who_comes_back_by_itself_just_then_is_spread_as_well() -> None:
    """Retry sleeps as long as the server asks: all who were told so would be back in the same moment."""
    line = Line()
    line.hold(10, 20)
    assert asks(line, 30, draw=0.5)[1] == 31
    assert asks(line, 31.5, draw=0.5)[1] == 31.5
    assert asks(line, 32, draw=0.9)[1] == 32


def test_a_shorter_wish_does_not_shorten_a_longer_one() -> None:
    line = Line(1)
    line.hold(10, 60)
    line.hold(11, 2)
    assert moments(line, 12, 1) == [70]


def test_a_hold_is_news_once() -> None:
    """A server under load answers many at once: each prolongs the hold a little, and none has more to tell."""
    line = Line()
    assert line.hold(10, 5)
    assert not line.hold(10.1, 5)
    assert line.is_held(15.05)
    assert not line.hold(14, 3)
    assert not line.hold(14.5, 5)
    assert line.hold(15, 30)
    assert not line.hold(16, 30)
    assert line.hold(60, 5)


def test_a_turn_that_was_taken_before_a_hold_is_not_given_back_into_it() -> None:
    line = Line(1)
    went, _ = asks(line, 10)
    line.hold(10.5, 5)
    line.leave(went)
    assert moments(line, 11, 2) == [15.5, 16.5]


# Origins


def test_each_origin_has_a_line_of_its_own() -> None:
    lines = Lines(lambda: Line(1), 10)
    assert lines.of("a", 0) is lines.of("a", 0)
    assert lines.of("a", 0) is not lines.of("b", 0)


def test_the_origin_used_least_recently_is_forgotten() -> None:
    lines = Lines(lambda: Line(1), 2)
    first, second = lines.of("a", 0), lines.of("b", 0)
    lines.of("a", 0)
    lines.of("c", 0)
    assert lines.of("a", 0) is first
    assert lines.of("b", 0) is not second


def test_an_origin_that_is_held_back_is_forgotten_last() -> None:
    """Forgetting it would end its rest."""
    lines = Lines(Line, 2)
    held, other = lines.of("held", 0), lines.of("other", 0)
    held.hold(0, 60)
    lines.of("new", 1)
    assert lines.of("held", 1) is held
    assert lines.of("other", 1) is not other


def test_where_no_origin_is_idle_the_oldest_goes() -> None:
    lines = Lines(Line, 1)
    held = lines.of("held", 0)
    held.hold(0, 60)
    lines.of("other", 0)
    assert lines.of("held", 0) is not held


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_the_child_of_a_fork_does_not_queue_behind_its_parents_callers() -> None:
    """They wait in the parent, and will never go in the child."""
    line = Line(1)
    moments(line, 10, 5)
    if (child := os.fork()) == 0:
        os._exit(0 if asks(line, 11)[1] == 11 else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
