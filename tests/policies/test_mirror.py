"""What processes know of a circuit that they share, against one storage that they all look at."""

import contextlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pybreaker
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from resilient_foundry.policies.mirror import Held, Mirror, News

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Shelf:
    """The shared storage, which does what Redis does with pybreaker's words."""

    def __init__(self) -> None:
        self.held = Held()

    def meets(self, mirror: Mirror) -> News:
        news = mirror.reconcile(self.held)
        self.hears(news)
        return news

    def hears(self, news: News) -> None:
        held = self.held
        if news.opened_at is not None:
            moment = news.opened_at.replace(microsecond=0)
            held = replace(held, opened_at=moment if held.opened_at is None else max(moment, held.opened_at))
        if news.state is not None:
            held = replace(held, state=news.state)
        self.held = replace(held, failures=(0 if news.reset else held.failures) + news.failures)


def mirror() -> Mirror:
    return Mirror("http://foundry.local:5273", lambda: None)


def shut(one: Mirror) -> None:
    """What pybreaker does when a probe succeeded."""
    one.reset_counter()
    one.reset_success_counter()
    one.state = "closed"


def trip(one: Mirror, moment: datetime = NOON) -> None:
    """What pybreaker does when it opens."""
    one.opened_at = moment
    one.state = "open"


def test_it_is_a_storage_like_pybreakers_own() -> None:
    breaker = pybreaker.CircuitBreaker(fail_max=2, state_storage=mirror())
    for _ in range(2):
        with contextlib.suppress(ZeroDivisionError, pybreaker.CircuitBreakerError):
            breaker.call(lambda: 1 // 0)
    assert breaker.current_state == "open"


def test_who_looks_at_the_state_or_changes_it_has_it_brought_in_step() -> None:
    """A hand changes it without a look, and without a call that would look later. A call that is counted has looked."""
    asked: list[str] = []
    one = Mirror("x", lambda: asked.append("asked"))
    one.increment_counter()
    assert (one.counter, one.success_counter, one.opened_at, asked) == (1, 0, None, [])
    assert (one.state, asked) == ("closed", ["asked"])
    one.is_due = False
    one.state = "open"
    assert (one.is_due, asked) == (True, ["asked", "asked"])


def test_an_opening_that_was_forgotten_is_told_again() -> None:
    """Redis came back with nothing in it."""
    shelf, one = Shelf(), mirror()
    trip(one)
    shelf.meets(one)
    shelf.held = Held()
    shelf.meets(one)
    assert (shelf.held.state, shelf.held.opened_at) == ("open", NOON)


def test_failures_after_an_opening_that_was_forgotten_are_told_again_with_it() -> None:
    shelf, one = Shelf(), mirror()
    trip(one)
    shelf.meets(one)
    shut(one)
    one.increment_counter()
    shelf.meets(one)
    shelf.held = Held()
    shelf.meets(one)
    assert (shelf.held.state, shelf.held.failures, one.counter) == ("closed", 1, 1)


def test_closing_an_opening_does_not_close_a_later_one() -> None:
    shelf, one, other = Shelf(), mirror(), mirror()
    trip(one)
    for each in (one, other):
        shelf.meets(each)
    shut(other)
    trip(one, NOON + timedelta(seconds=30))
    shelf.meets(one)
    shelf.meets(other)
    assert (shelf.held.state, other.state) == ("open", "open")


def test_a_clock_that_lags_opens_it_all_the_same() -> None:
    shelf, one, other = Shelf(), mirror(), mirror()
    trip(one)
    for each in (one, other):
        shelf.meets(each)
    shut(one)
    for each in (one, other):
        shelf.meets(each)
    trip(other, NOON - timedelta(hours=1))
    for each in (other, one):
        shelf.meets(each)
    assert (one.state, other.state) == ("open", "open")


def test_opened_twice_in_a_second_it_is_the_second_opening_that_counts() -> None:
    shelf, one, other = Shelf(), mirror(), mirror()
    trip(one, NOON)
    for each in (one, other):
        shelf.meets(each)
    first = other.opened_at
    trip(one, NOON + timedelta(milliseconds=300))
    for each in (one, other):
        shelf.meets(each)
    assert other.opened_at != first


def test_where_no_failure_is_known_of_a_success_is_no_news() -> None:
    """Else every good call would be written down in Redis."""
    one = mirror()
    one.reset_counter()
    assert Shelf().meets(one) == News()


def test_failures_are_no_fewer_after_redis_was_away() -> None:
    shelf, one = Shelf(), mirror()
    one.increment_counter()
    one.increment_counter()
    shelf.meets(one)
    one.increment_counter()
    one.doubt()
    shelf.held = Held()
    shelf.meets(one)
    assert (shelf.held.failures, one.counter) == (3, 3)


def test_what_may_have_been_heard_is_not_counted_twice() -> None:
    """The connection broke after Redis had counted, and before it said so."""
    shelf, one = Shelf(), mirror()
    one.increment_counter()
    shelf.hears(one.reconcile(shelf.held))
    one.failed_to_tell(News(failures=1))
    shelf.meets(one)
    assert (shelf.held.failures, one.counter) == (1, 1)


def test_what_was_not_heard_is_told_again() -> None:
    shelf, one, other = Shelf(), mirror(), mirror()
    trip(one)
    for each in (one, other):
        shelf.meets(each)
    shut(one)
    one.failed_to_tell(one.reconcile(shelf.held))
    shelf.meets(one)
    assert shelf.held.state == "closed"


class Processes(RuleBasedStateMachine):
    """Three processes fail, succeed, open and close; the storage is away, forgets, and comes back."""

    @initialize()
    def begin(self) -> None:
        self.shelf = Shelf()
        self.processes = [mirror() for _ in range(3)]
        self.now = NOON
        self.away = False
        self.seen_open: set[datetime] = set()
        self.closed: set[datetime | None] = set()

    @rule(who=st.integers(0, 2), seconds=st.sampled_from([0.0, 0.3, 1.0, 20.0]), lags=st.sampled_from([0, 0, 5, 3600]))
    def open(self, who: int, seconds: float, lags: int) -> None:
        self.now += timedelta(seconds=seconds)
        trip(self.processes[who], self.now - timedelta(seconds=lags))

    @rule(who=st.integers(0, 2))
    def half_open(self, who: int) -> None:
        if self.processes[who].state == "open":
            self.processes[who].state = "half-open"

    @rule(who=st.integers(0, 2))
    def close(self, who: int) -> None:
        process = self.processes[who]
        if process.state == "half-open":
            shut(process)
            self.closed.add(_second(process.opened_at))

    @rule(who=st.integers(0, 2))
    def fail(self, who: int) -> None:
        self.processes[who].increment_counter()

    @rule(who=st.integers(0, 2))
    def succeed(self, who: int) -> None:
        self.processes[who].reset_counter()

    @rule(who=st.integers(0, 2))
    def meet(self, who: int) -> None:
        if self.away:
            self.processes[who].doubt()
        else:
            self.shelf.meets(self.processes[who])

    @rule(who=st.integers(0, 2), heard=st.booleans())
    def break_off(self, who: int, *, heard: bool) -> None:
        news = self.processes[who].reconcile(self.shelf.held)
        if heard:
            self.shelf.hears(news)
        self.processes[who].failed_to_tell(news)

    @rule(forgets=st.booleans())
    def leave(self, *, forgets: bool) -> None:
        self.away = True
        if forgets:
            self.shelf.held = Held()

    @rule()
    def come_back(self) -> None:
        self.away = False

    @rule()
    def settle(self) -> None:
        """All have met twice: all know the same, and what nobody closed is open."""
        self.away = False
        latest = max((_second(each.opened_at) for each in self.processes if each.opened_at), default=None)
        was_open = any(each.state != "closed" for each in self.processes if _second(each.opened_at) == latest)
        for process in [*self.processes, *self.processes]:
            self.shelf.meets(process)
        held = self.shelf.held
        for process in self.processes:
            assert (process.state != "closed") == (held.state == "open")
            assert _second(process.opened_at) == held.opened_at
            assert process.counter == held.failures
        assert held.opened_at is None or latest is None or held.opened_at >= latest
        if latest is not None and held.opened_at == latest and latest not in self.closed:
            assert held.state == "open" or not was_open

    @invariant()
    def nothing_is_counted_below_zero(self) -> None:
        assert self.shelf.held.failures >= 0
        assert all(process.counter >= 0 for process in self.processes)


def _second(moment: datetime | None) -> Any:
    return None if moment is None else moment.replace(microsecond=0)


Processes.TestCase.settings = settings(max_examples=150, stateful_step_count=40)
TestProcesses = Processes.TestCase


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["fail", "succeed"])), max_size=30))
def test_met_after_every_call_they_count_as_one(calls: list[tuple[int, str]]) -> None:
    """Failures in a row, whoever saw them."""
    shelf, processes, expected = Shelf(), [mirror() for _ in range(3)], 0
    for who, outcome in calls:
        if outcome == "fail":
            processes[who].increment_counter()
            expected += 1
        else:
            processes[who].reset_counter()
            expected = 0
        for process in [processes[who], *processes]:
            shelf.meets(process)
        assert {process.counter for process in processes} == {shelf.held.failures} == {expected}
