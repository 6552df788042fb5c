"""So many inside at once, a bounded number outside, and who is next: values in, values out."""

from __future__ import annotations

import os
import random
import threading
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from resilient_foundry.policies.gate import Gate, Place, Standing
from tests.servers import PATIENCE


def inside(gate: Gate, count: int = 1) -> list[Place]:
    """So many places, all of which were free."""
    places = [gate.enter() for _ in range(count)]
    assert None not in places
    return [place for place in places if place is not None]


def outside(gate: Gate, **about: Any) -> Place:
    """A place in the queue."""
    place = gate.queue(0.0, **about)
    assert place is not None
    assert place.standing is Standing.WAITING
    return place


def test_lets_in_as_many_as_the_limit_says() -> None:
    gate = Gate(3, queue=10)
    inside(gate, 3)
    assert gate.enter() is None
    assert gate.snapshot() == (3, 3, 0, 0)


def test_what_is_given_back_goes_to_the_next_at_once() -> None:
    """In the same step, so that nobody who comes later finds it free."""
    gate = Gate(1, queue=10)
    (held,) = inside(gate)
    first, second = outside(gate), outside(gate)
    gate.leave(held)
    assert (first.standing, second.standing) == (Standing.HELD, Standing.WAITING)
    assert first.signal.is_given
    assert not second.signal.is_given
    assert gate.enter() is None


def test_nobody_overtakes_those_who_wait() -> None:
    """A place that is free while somebody waits does not exist, also where the limit has just grown."""
    gate = Gate(1, queue=10)
    inside(gate)
    waiting = outside(gate)
    gate.resize(2, 1)
    assert waiting.standing is Standing.HELD
    assert gate.enter() is None


def test_the_highest_priority_goes_first_and_then_whoever_is_here_longest() -> None:
    gate = Gate(1, queue=10)
    (held,) = inside(gate)
    late = outside(gate, since=20.0)
    early = outside(gate, since=10.0)
    urgent = outside(gate, priority=1, since=30.0)
    as_early = outside(gate, since=10.0)
    order: list[Place] = []
    for _ in range(4):
        gate.leave(held)
        (held,) = [place for place in (late, early, urgent, as_early) if place.standing is Standing.HELD]
        order.append(held)
    assert order == [urgent, early, as_early, late]


def test_a_waiter_that_gives_up_makes_room() -> None:
    """And is not let in later."""
    gate = Gate(1, queue=1)
    (held,) = inside(gate)
    gone = outside(gate)
    assert gate.queue(0.0) is None
    gate.leave(gone)
    behind = outside(gate)
    gate.leave(held)
    assert (gone.standing, behind.standing) == (Standing.GONE, Standing.HELD)


def test_a_place_that_was_granted_to_one_that_gives_up_is_handed_on() -> None:
    """The race that loses permits elsewhere: granted, and cancelled before it could run."""
    gate = Gate(1, queue=10)
    (held,) = inside(gate)
    cancelled, behind = outside(gate), outside(gate)
    gate.leave(held)
    assert cancelled.standing is Standing.HELD
    gate.leave(cancelled)
    assert behind.standing is Standing.HELD


@pytest.mark.parametrize("times", [2, 3])
def test_a_place_is_given_back_once_however_often_it_is_said(times: int) -> None:
    gate = Gate(1, queue=10)
    (held,) = inside(gate)
    first, second = outside(gate), outside(gate)
    for _ in range(times):
        gate.leave(held)
    assert (first.standing, second.standing) == (Standing.HELD, Standing.WAITING)


def test_one_that_comes_too_late_is_passed_over() -> None:
    """It is told, so that it does not wait for a place that is not to be had."""
    gate = Gate(1, queue=10)
    (held,) = inside(gate)
    late, behind = outside(gate, until=5.0), outside(gate)
    gate.look(behind, 5.0)
    gate.leave(held)
    assert (late.standing, behind.standing) == (Standing.GONE, Standing.HELD)
    assert late.signal.is_given


def test_a_full_queue_takes_nobody() -> None:
    gate = Gate(1, queue=2)
    inside(gate)
    for _ in range(2):
        outside(gate)
    assert gate.queue(0.0, priority=9) is None
    assert gate.snapshot() == (1, 1, 2, 0)


def test_those_who_are_too_late_fill_no_queue() -> None:
    """They are gone, and have only not noticed yet."""
    gate = Gate(1, queue=1)
    inside(gate)
    late = outside(gate, until=5.0)
    assert gate.queue(6.0) is not None
    assert late.signal.is_given
    assert late.standing is Standing.GONE


def test_without_a_queue_nobody_waits() -> None:
    gate = Gate(1, queue=0)
    (held,) = inside(gate)
    assert gate.queue(0.0) is None
    gate.leave(held)
    place = gate.queue(0.0)
    assert place is not None
    assert place.standing is Standing.HELD


def test_one_that_lingers_keeps_its_place_up_to_its_moment() -> None:
    gate = Gate(1, queue=10)
    (held,) = inside(gate)
    gate.leave(held, until=7.0)
    assert gate.enter() is None
    assert gate.snapshot(6.9) == (1, 1, 0, 1)
    assert gate.snapshot(7.0) == (1, 0, 0, 0)


def test_whoever_looks_with_a_wrong_clock_changes_nothing() -> None:
    """The wall clock, say, by which everybody inside and outside would be late for ever."""
    gate = Gate(1, queue=10)
    (held,) = inside(gate)
    waiting = outside(gate, until=20.0)
    gate.snapshot(1.7e9)
    gate.leave(held, until=7.0)
    assert gate.look(waiting, 6.0) == 7.0
    gate.look(waiting, 7.0)
    assert waiting.standing is Standing.HELD


def test_whoever_waits_is_let_in_when_the_time_of_one_that_lingers_is_up() -> None:
    """It is told that there is a moment worth waiting for, which was not known when it began to wait."""
    gate = Gate(1, queue=10)
    (held,) = inside(gate)
    waiting = outside(gate, until=100.0)
    assert gate.look(waiting, 0.0) == 100.0
    heard = waiting.signal
    gate.leave(held, until=7.0)
    assert heard.is_given
    assert gate.look(waiting, 1.0) == 7.0
    assert not waiting.signal.is_given
    gate.look(waiting, 7.0)
    assert waiting.standing is Standing.HELD
    assert waiting.signal.is_given


def test_a_moment_later_than_one_that_is_known_wakes_nobody() -> None:
    """They look again at the earlier one, and learn of the other then."""
    gate = Gate(2, queue=10)
    one, other = inside(gate, 2)
    waiting = outside(gate)
    gate.leave(one, until=5.0)
    gate.look(waiting, 0.0)
    gate.leave(other, until=6.0)
    assert not waiting.signal.is_given


def test_of_a_limit_that_shrinks_nobody_is_sent_out() -> None:
    """Whoever is inside stays; nobody comes in before there are less than the new limit."""
    gate = Gate(3, queue=10)
    places = inside(gate, 3)
    waiting = outside(gate)
    gate.resize(1, 1)
    gate.leave(places[0])
    gate.leave(places[1])
    assert not waiting.signal.is_given
    gate.leave(places[2])
    assert waiting.standing is Standing.HELD


def test_of_two_changes_of_the_limit_the_later_one_counts() -> None:
    """Whichever of the two threads comes first."""
    gate = Gate(1, queue=10)
    gate.resize(5, 2)
    gate.resize(3, 1)
    assert gate.snapshot().limit == 5


def test_a_place_knows_how_many_were_inside_and_which_limit_held() -> None:
    gate = Gate(2, queue=10)
    first, second = inside(gate, 2)
    gate.resize(3, 1)
    (third,) = inside(gate)
    assert [(place.load, place.epoch) for place in (first, second, third)] == [(1, 0), (2, 0), (3, 1)]


def test_a_place_may_be_given_back_in_the_middle_of_everything() -> None:
    """As a collector does it that runs while this very thread is inside; it is taken in a moment later."""
    gate = Gate(1, queue=10)
    (held,) = inside(gate)
    waiting = outside(gate)
    ended: list[bool] = []

    def collector() -> None:
        gate.leave(held)
        ended.append(waiting.standing is Standing.WAITING)

    gate.alone(collector)
    assert ended == [True]
    assert waiting.standing is Standing.HELD


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_begins_with_an_empty_gate() -> None:
    """The calls under way are the parent's, whose lock another thread held at the fork; their end is no news here."""
    gate = Gate(1, queue=1)
    (held,) = inside(gate)
    outside(gate)

    def fork() -> int:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            place = gate.enter()
            gate.leave(held)
            os._exit(0 if place is not None and gate.snapshot() == (1, 1, 0, 0) else 1)
        return child

    child = gate.alone(fork)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert gate.snapshot() == (1, 1, 1, 0)


class AnyHistory(RuleBasedStateMachine):
    """Whatever happens, in whatever order: never more than the limit come in, and nobody waits beside a free place."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = Gate(2, queue=3)
        self.limit = self.most = 2
        self.epoch = 0
        self.now = 0.0
        self.places: list[Place] = []

    @rule()
    def enter(self) -> None:
        self.places += [place for place in [self.gate.enter()] if place is not None]

    @rule(priority=st.integers(0, 2), lasts=st.none() | st.floats(0.1, 5))
    def queue(self, priority: int, lasts: float | None) -> None:
        until = None if lasts is None else self.now + lasts
        place = self.gate.queue(self.now, priority=priority, since=self.now, until=until)
        self.places += [place for place in [place] if place is not None]

    @precondition(lambda self: self.places)
    @rule(data=st.data(), linger=st.none() | st.floats(0.1, 5))
    def leave(self, data: st.DataObject, linger: float | None) -> None:
        place = data.draw(st.sampled_from(self.places))
        self.gate.leave(place, None if linger is None else self.now + linger)

    @rule(seconds=st.floats(0, 3))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        for place in self.places:
            self.gate.look(place, self.now)

    @rule(limit=st.integers(1, 4))
    def resize(self, limit: int) -> None:
        self.epoch += 1
        self.gate.resize(limit, self.epoch)
        self.limit, self.most = limit, max(limit, self.gate.snapshot().in_use)

    @invariant()
    def never_more_than_the_limit(self) -> None:
        seen = self.gate.snapshot()
        standing = [place.standing for place in self.places]
        self.most = max(self.limit, min(self.most, seen.in_use))  # those above a limit that shrank may only get fewer
        assert seen.in_use <= self.most
        assert seen.in_use == standing.count(Standing.HELD) + standing.count(Standing.LINGERING)
        assert seen.waiting == standing.count(Standing.WAITING) <= 3
        assert seen.waiting == 0 or seen.in_use >= seen.limit
        assert all(place.signal.is_given for place in self.places if place.rank[2] and _was_let_in_late(place))

    def teardown(self) -> None:
        for place in self.places:
            self.gate.leave(place)
        self.gate.look(Place(), self.now + 100)
        assert self.gate.is_idle


def _was_let_in_late(place: Place) -> bool:
    """Whether it waited: its signal is its own."""
    return place.standing is Standing.HELD and place.signal is not Place().signal


AnyHistory.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_any_history = AnyHistory.TestCase


def in_threads(calls: list[Callable[[], None]]) -> None:
    """Run them side by side; what fails there fails here."""
    problems: list[BaseException] = []

    def run(call: Callable[[], None]) -> None:
        try:
            call()
        except BaseException as problem:  # noqa: BLE001 - raised below
            problems.append(problem)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    for problem in problems:
        raise problem


def test_threads_that_hammer_it_neither_exceed_the_limit_nor_lose_a_place() -> None:
    """Real threads, random ends: given back, given up while waiting, granted and given up, lingering."""
    gate, count, counting = Gate(3, queue=5), [0], threading.Lock()

    def caller(seed: int) -> None:
        chance = random.Random(seed)  # noqa: S311 - no secret
        for _ in range(300):
            place = gate.enter() or gate.queue(0.0, priority=chance.randrange(2))
            if place is None:
                continue
            if place.standing is Standing.WAITING and chance.random() < 0.3:
                gate.leave(place)
                continue
            heard = threading.Event()
            place.signal.hear(heard.set)
            if place.standing is Standing.WAITING:
                assert heard.wait(PATIENCE)
            assert place.standing is Standing.HELD
            with counting:
                count[0] += 1
                assert count[0] <= 3
            with counting:
                count[0] -= 1
            gate.leave(place)

    in_threads([lambda seed=seed: caller(seed) for seed in range(8)])  # type: ignore[misc]  # a default is a binding
    assert gate.is_idle
