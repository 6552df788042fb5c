"""A circuit against a model of ten lines, and what threads, forks and listeners do to it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, tzinfo
from typing import Any

import pybreaker
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from resilient_foundry import CircuitBreaker, CircuitOpenError
from resilient_foundry.events import (
    CircuitClosed,
    CircuitEvent,
    CircuitHalfOpened,
    CircuitListenerFailed,
    CircuitOpened,
)
from resilient_foundry.policies.circuit import Circuit, CircuitSnapshot, Permit

OPEN_SECONDS = 10.0
LEASE = 4.0
LONGEST = 50.0
NOTHING: Any = multiple()  # pyright: ignore[reportUnknownVariableType] - results of no kind


def make(*, storage: pybreaker.CircuitBreakerStorage | None = None, **settings: Any) -> Circuit:
    rules: dict[str, Any] = {"failures": 3, "open_seconds": OPEN_SECONDS, "probe_lease": LEASE, "growth": 1.0}
    return Circuit("http://foundry.local:5273", CircuitBreaker(**{**rules, **settings}), storage)


class Model:
    """What a circuit is, in as few lines as it can be said in."""

    def __init__(self, rules: CircuitBreaker) -> None:
        self.rules = rules
        self.state, self.count, self.good, self.opened, self.epoch = "closed", 0, 0, 0.0, 0
        self.leases: dict[int, float] = {}
        self.calls: list[tuple[int, bool, bool]] = []
        self.open_for = self.next_open_for = OPEN_SECONDS
        self.asked_until = 0.0
        self.forced: str | None = None

    def admits(self, now: float) -> bool:
        if self.forced:
            return self.forced == "closed"
        if self.state == "open" and now >= self.opened + self.open_for:
            self.move("half-open", now)
        free = not any(ends > now for ends in self.leases.values())
        return self.state == "closed" or (self.state == "half-open" and free)

    def move(self, state: str, now: float, *, asked: float = 0.0) -> None:
        if state == "open":
            if self.state == "half-open":
                self.next_open_for = min(self.next_open_for * self.rules.growth, LONGEST)
            self.open_for = max(self.next_open_for, min(asked, LONGEST))
        elif state == "closed":
            self.next_open_for = OPEN_SECONDS
        self.state, self.count, self.good, self.opened, self.asked_until = state, 0, 0, now, 0.0
        self.leases, self.calls, self.epoch = {}, [], self.epoch + 1

    def settle(self, epoch: int, now: float, *, good: bool, slow: bool = False, asked: float = 0.0) -> None:
        if self.forced or epoch != self.epoch or self.state == "open":
            return
        rules, probing = self.rules, self.state == "half-open"
        good = good and not (slow and probing)
        self.asked_until = 0.0 if good else max(self.asked_until, now + asked if asked else 0.0)
        self.count, self.good = (0, self.good + 1) if good else (self.count + 1, 0)
        if probing and good and self.good >= rules.successes:
            self.move("closed", now)
        elif not good and (probing or (rules.failures and self.count >= rules.failures)):
            self.move("open", now, asked=self.asked_until - now)
        elif not probing and (rules.failure_rate or rules.slow_seconds):
            self.calls.append((int(now), not good, slow))
            calls = self.within(now)
            failed, late = sum(call[1] for call in calls), sum(call[2] for call in calls)
            if len(calls) >= rules.minimum_calls and (
                (rules.failure_rate and failed / len(calls) >= rules.failure_rate)
                or (rules.slow_seconds and late / len(calls) >= rules.slow_rate)
            ):
                self.move("open", now, asked=self.asked_until - now)

    def within(self, now: float) -> list[tuple[int, bool, bool]]:
        """The calls of the last ten seconds, by whole seconds."""
        return [call for call in self.calls if call[0] > int(now) - 10]


class Ticket:
    """A permit of the circuit beside what the model knows of it."""

    def __init__(self, permit: Permit, epoch: int, number: int) -> None:
        self.permit, self.epoch, self.number, self.released = permit, epoch, number, False


RULES = st.builds(
    CircuitBreaker,
    failures=st.integers(1, 4),
    successes=st.integers(1, 3),
    growth=st.sampled_from([1.0, 2.0, 3.0]),
    failure_rate=st.sampled_from([None, 0.25, 0.5, 1.0]),
    slow_seconds=st.sampled_from([None, 2.0]),
    slow_rate=st.sampled_from([0.5, 1.0]),
    window=st.just(10.0),
    minimum_calls=st.integers(1, 5),
    open_seconds=st.just(OPEN_SECONDS),
    longest_open=st.just(LONGEST),
    probe_lease=st.just(LEASE),
)


class CircuitMachine(RuleBasedStateMachine):
    """Calls come, go, get lost and end late, time passes, and somebody turns the handle."""

    tickets: Bundle[Ticket] = Bundle("tickets")

    @initialize(rules=RULES, only_rates=st.booleans())
    def begin(self, rules: CircuitBreaker, *, only_rates: bool) -> None:
        if only_rates and (rules.failure_rate or rules.slow_seconds):
            rules = replace(rules, failures=None)
        self.now = 1000.0
        self.issued = 0
        self.breaker = rules
        self.circuit = Circuit("http://foundry.local:5273", rules)
        self.model = Model(rules)

    @rule(target=tickets)
    def admit(self) -> Any:
        expected = self.model.admits(self.now)
        if not expected:
            with pytest.raises(CircuitOpenError) as caught:
                self.circuit.admit(self.now)
            timed = self.model.state == "open" and not self.model.forced
            left = self.model.opened + self.model.open_for - self.now if timed else None
            assert caught.value.retry_after == (pytest.approx(left) if left is not None else None)
            return NOTHING
        permit, _ = self.circuit.admit(self.now)
        assert permit.is_probe == (self.model.state == "half-open" and not self.model.forced)
        self.issued += 1
        if permit.is_probe:
            self.model.leases[self.issued] = self.now + LEASE
        return Ticket(permit, -1 if self.model.forced else self.model.epoch, self.issued)

    @rule(ticket=consumes(tickets), slow=st.booleans())
    def succeed(self, ticket: Ticket, *, slow: bool) -> None:
        ticket.permit.slow = slow = slow and self.breaker.slow_seconds is not None
        self.model.leases.pop(ticket.number, None)
        if not ticket.released:
            self.model.settle(ticket.epoch, self.now, good=True, slow=slow)
        ticket.permit.success(self.now)

    @rule(ticket=consumes(tickets), slow=st.booleans(), asked=st.sampled_from([0.0, 0.0, 7.0, 25.0, 200.0]))
    def fail(self, ticket: Ticket, asked: float, *, slow: bool) -> None:
        ticket.permit.slow = slow = slow and self.breaker.slow_seconds is not None
        ticket.permit.asked = asked
        self.model.leases.pop(ticket.number, None)
        self.model.settle(ticket.epoch, self.now, good=False, slow=slow, asked=asked)
        ticket.permit.failure(self.now)

    @rule(ticket=tickets)
    def release(self, ticket: Ticket) -> None:
        """Cancelled; of what is said later only a failure counts, so the ticket may stay."""
        self.model.leases.pop(ticket.number, None)
        ticket.permit.release(self.now)
        ticket.released = True

    @rule(ticket=tickets, slow=st.booleans())
    def begin_well(self, ticket: Ticket, *, slow: bool) -> None:
        """A success at once; after it, only a failure counts, in the epoch that the success led to."""
        ticket.permit.slow = slow = slow and self.breaker.slow_seconds is not None
        if not ticket.released:
            self.model.leases.pop(ticket.number, None)
            if ticket.epoch == self.model.epoch and not self.model.forced:
                self.model.settle(ticket.epoch, self.now, good=True, slow=slow)
                ticket.epoch = self.model.epoch
        ticket.permit.begun(self.now)
        ticket.released = True

    @rule(seconds=st.sampled_from([0.0, 1.0, 2.5, 3.9, 4.0, 6.0, 9.9, 10.0, 25.0, 60.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def open_by_hand(self) -> None:
        self.circuit.breaker.open()
        self.model.move("open", self.now)
        if not self.model.forced:
            self.admit_nobody()

    def admit_nobody(self) -> None:
        """The time of a circuit opened by hand starts when it is first seen."""
        with pytest.raises(CircuitOpenError):
            self.circuit.admit(self.now)

    @rule()
    def close_by_hand(self) -> None:
        self.circuit.breaker.close()
        self.model.move("closed", self.now)

    @rule()
    def hold_open(self) -> None:
        self.circuit.force_open()
        self.model.move("open", self.now)
        self.model.forced = "open"

    @rule()
    def hold_closed(self) -> None:
        self.circuit.force_closed()
        self.model.move("closed", self.now)
        self.model.forced = "closed"

    @rule()
    def let_go(self) -> None:
        self.circuit.unforce()
        if self.model.forced == "open":
            self.model.move("half-open", self.now)
        was, self.model.forced = self.model.forced, None
        if was == "closed" and self.model.state == "open":  # opened by hand under a hand that held it closed
            self.model.opened = self.now
            self.admit_nobody()

    @invariant()
    def they_agree(self) -> None:
        model, shown = self.model, self.circuit.snapshot(self.now)
        assert shown.state == self.circuit.state == (model.forced or model.state)
        assert shown.forced == (model.forced is not None)
        assert shown.calls == len(model.within(self.now))
        if model.state == "closed":
            assert shown.failures == self.circuit.breaker.fail_counter == model.count
        if model.state == "open" and not model.forced:
            assert shown.opened == model.opened
            assert shown.retry_after == pytest.approx(max(0.0, model.opened + model.open_for - self.now))
        else:
            assert shown.opened is shown.retry_after is None


CircuitMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=40)
TestCircuitAgainstItsModel = CircuitMachine.TestCase


def fail(circuit: Circuit, now: float, times: int = 1) -> list[CircuitEvent]:
    told: list[CircuitEvent] = []
    for _ in range(times):
        permit, changes = circuit.admit(now)
        told += changes + permit.failure(now)
    return told


def probe(circuit: Circuit, now: float) -> Permit:
    return circuit.admit(now)[0]


def test_opens_after_so_many_failures_in_a_row() -> None:
    circuit = make(failures=3)
    assert fail(circuit, 0.0, 2) == []
    assert fail(circuit, 0.0) == [CircuitOpened(circuit.name, OPEN_SECONDS, "failures")]
    assert circuit.state == "open"


def test_a_success_between_failures_starts_the_count_anew() -> None:
    circuit = make(failures=2)
    fail(circuit, 0.0)
    probe(circuit, 0.0).success(0.0)
    fail(circuit, 0.0)
    assert circuit.state == "closed"


def test_a_refusal_says_when_to_come_back() -> None:
    circuit = make(failures=1)
    fail(circuit, 0.0)
    with pytest.raises(CircuitOpenError) as caught:
        circuit.admit(5.8)
    assert str(caught.value) == "circuit for http://foundry.local:5273 is open; next probe in 4.2 s"
    assert caught.value.circuit == "http://foundry.local:5273"
    assert caught.value.retry_after == pytest.approx(4.2)


def test_the_first_call_after_the_break_is_a_probe_and_the_only_one() -> None:
    circuit = make(failures=1)
    fail(circuit, 0.0)
    permit, changes = circuit.admit(OPEN_SECONDS)
    assert permit.is_probe
    assert changes == [CircuitHalfOpened(circuit.name)]
    with pytest.raises(CircuitOpenError, match="a probe is under way, and its result decides") as caught:
        circuit.admit(OPEN_SECONDS)
    assert caught.value.retry_after is None


def test_a_probe_that_succeeds_closes_it() -> None:
    circuit = make(failures=1)
    fail(circuit, 0.0)
    assert probe(circuit, 10.0).success(11.0) == [CircuitClosed(circuit.name)]
    assert circuit.state == "closed"


def test_a_probe_that_fails_opens_it_for_the_whole_time_again() -> None:
    circuit = make(failures=1)
    fail(circuit, 0.0)
    assert probe(circuit, 10.0).failure(12.0) == [CircuitOpened(circuit.name, OPEN_SECONDS, "probe")]
    with pytest.raises(CircuitOpenError) as caught:
        circuit.admit(12.0)
    assert caught.value.retry_after == OPEN_SECONDS


def test_more_than_one_success_can_be_asked_for() -> None:
    circuit = make(failures=1, successes=3)
    fail(circuit, 0.0)
    for number in (1, 2, 3):
        assert circuit.state == ("half-open" if number > 1 else "open")
        probe(circuit, 10.0).success(10.0)
    assert circuit.state == "closed"


def test_a_cancelled_probe_neither_closes_nor_jams_it() -> None:
    circuit = make(failures=1)
    fail(circuit, 0.0)
    assert probe(circuit, 10.0).release(10.0) == []
    assert circuit.state == "half-open"
    assert probe(circuit, 10.0).is_probe


def test_a_lost_probe_gives_its_place_up_when_its_lease_ends() -> None:
    circuit = make(failures=1)
    fail(circuit, 0.0)
    lost = probe(circuit, 10.0)
    with pytest.raises(CircuitOpenError):
        circuit.admit(10.0 + LEASE - 0.1)
    second = probe(circuit, 10.0 + LEASE)
    second.success(15.0)
    assert lost.failure(16.0) == []
    assert circuit.state == "closed"


@pytest.mark.parametrize("late", ["success", "failure", "release"])
def test_results_of_an_earlier_epoch_are_dropped(late: str) -> None:
    """A call that began before the break says nothing of the server after it."""
    circuit = make(failures=1)
    straggler = probe(circuit, 0.0)
    fail(circuit, 1.0)
    assert getattr(straggler, late)(5.0) == []
    with pytest.raises(CircuitOpenError) as caught:
        circuit.admit(5.0)
    assert caught.value.retry_after == pytest.approx(6.0)


def test_only_the_first_answer_of_a_permit_counts() -> None:
    circuit = make(failures=2)
    permit = probe(circuit, 0.0)
    for _ in range(5):
        permit.failure(0.0)
    permit.success(0.0)
    assert circuit.breaker.fail_counter == 1


def test_opened_by_hand_it_refuses_from_then_on() -> None:
    circuit = make()
    circuit.breaker.open()
    with pytest.raises(CircuitOpenError) as caught:
        circuit.admit(100.0)
    assert caught.value.retry_after == OPEN_SECONDS
    assert probe(circuit, 100.0 + OPEN_SECONDS).is_probe


def test_closed_by_hand_it_admits_at_once_and_the_running_probe_is_forgotten() -> None:
    circuit = make(failures=1)
    fail(circuit, 0.0)
    running = probe(circuit, 10.0)
    circuit.breaker.close()
    assert not probe(circuit, 10.0).is_probe
    running.failure(10.0)
    assert circuit.state == "closed"


def test_what_was_done_by_hand_is_told_to_the_next_call() -> None:
    circuit = make()
    circuit.breaker.open()
    circuit.breaker.close()
    _, changes = circuit.admit(0.0)
    assert changes == [CircuitOpened(circuit.name, OPEN_SECONDS, "by_hand"), CircuitClosed(circuit.name)]


def test_of_what_a_hand_did_while_nobody_called_for_long_the_latest_is_told() -> None:
    """What is kept for the next call does not grow without end."""
    circuit = make()
    for _ in range(1000):
        circuit.breaker.open()
        circuit.breaker.close()
    circuit.force_open()
    with pytest.raises(CircuitOpenError):
        circuit.admit(0.0)
    told = circuit.untold()
    assert (len(told), told[-1]) == (100, CircuitOpened(circuit.name, None, "by_hand"))


def test_a_step_of_the_wall_clock_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pybreaker measures its break on the wall clock; an hour back would make ten seconds 3610."""
    circuit = make(failures=1)
    fail(circuit, 0.0)

    class NineteenSeventy(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> NineteenSeventy:
            return cls.fromtimestamp(0, tz)

    with monkeypatch.context() as patch:
        patch.setattr(pybreaker, "datetime", NineteenSeventy)
        with pytest.raises(CircuitOpenError):
            circuit.admit(9.9)
        probe(circuit, 10.0).success(10.0)
    assert circuit.state == "closed"


def succeed(circuit: Circuit, now: float, times: int = 1, *, slow: bool = False) -> list[CircuitEvent]:
    told: list[CircuitEvent] = []
    for _ in range(times):
        permit, changes = circuit.admit(now)
        permit.slow = slow
        told += changes + permit.success(now)
    return told


def opened_for(circuit: Circuit, now: float) -> float:
    """Seconds until the next probe of an open circuit."""
    with pytest.raises(CircuitOpenError) as caught:
        circuit.admit(now)
    assert caught.value.retry_after is not None
    return caught.value.retry_after


# Rates


def test_opens_when_too_large_a_share_of_the_calls_fails() -> None:
    circuit = make(failures=None, failure_rate=0.5, minimum_calls=4)
    succeed(circuit, 0.0, 2)
    assert fail(circuit, 0.0) == []
    assert fail(circuit, 0.0) == [CircuitOpened(circuit.name, OPEN_SECONDS, "failure_rate")]


def test_opens_when_too_large_a_share_of_the_calls_is_slow() -> None:
    circuit = make(slow_seconds=2.0, slow_rate=0.5, minimum_calls=4)
    succeed(circuit, 0.0, 2)
    succeed(circuit, 0.0, slow=True)
    assert succeed(circuit, 0.0, slow=True) == [CircuitOpened(circuit.name, OPEN_SECONDS, "slow_calls")]


def test_a_rate_of_few_calls_says_nothing() -> None:
    circuit = make(failures=None, failure_rate=0.1, minimum_calls=10)
    fail(circuit, 0.0, 9)
    assert circuit.state == "closed"
    fail(circuit, 0.0)
    assert circuit.state == "open"


def test_calls_that_left_the_window_count_no_more() -> None:
    circuit = make(failures=None, failure_rate=0.5, minimum_calls=4, window=10.0)
    fail(circuit, 0.0, 3)
    assert fail(circuit, 10.0, 3) == []
    assert circuit.snapshot(10.0).calls == 3


def test_the_calls_before_a_break_count_no_more_after_it() -> None:
    circuit = make(failures=None, failure_rate=0.5, minimum_calls=4, window=60.0)
    fail(circuit, 0.0, 4)
    probe(circuit, 10.0).success(10.0)
    assert fail(circuit, 10.0, 3) == []
    assert circuit.state == "closed"


def test_probes_are_in_no_rate() -> None:
    circuit = make(failures=1, successes=3, failure_rate=0.5)
    fail(circuit, 0.0)
    succeed(circuit, 10.0, 2)
    assert (circuit.state, circuit.snapshot(10.0).calls) == ("half-open", 0)


def test_a_rate_is_there_beside_the_failures_in_a_row() -> None:
    circuit = make(failures=2, failure_rate=1.0, minimum_calls=50)
    assert fail(circuit, 0.0, 2) == [CircuitOpened(circuit.name, OPEN_SECONDS, "failures")]


def test_calls_of_which_nothing_was_learnt_are_in_no_rate() -> None:
    circuit = make(failures=None, failure_rate=0.5, minimum_calls=2)
    for _ in range(5):
        probe(circuit, 0.0).release(0.0)
    assert circuit.snapshot(0.0).calls == 0


def test_a_probe_that_is_slow_opens_it_again() -> None:
    """Else a server that answers too late would be let at once into the same trouble."""
    circuit = make(failures=1, slow_seconds=2.0)
    fail(circuit, 0.0)
    assert succeed(circuit, 10.0, slow=True)[1:] == [CircuitOpened(circuit.name, OPEN_SECONDS, "probe")]


# How long it stays open


def test_each_probe_that_fails_makes_the_next_break_longer_up_to_a_limit() -> None:
    """A server that is down for hours is not asked every few seconds."""
    circuit = make(failures=1, growth=2.0, longest_open=50.0)
    now, breaks = 0.0, list[float]()
    for _ in range(5):
        fail(circuit, now)
        breaks.append(opened_for(circuit, now))
        now += breaks[-1]
    assert breaks == [10.0, 20.0, 40.0, 50.0, 50.0]


def test_once_closed_it_begins_with_the_short_break_again() -> None:
    circuit = make(failures=1, growth=3.0)
    fail(circuit, 0.0)
    fail(circuit, 10.0)
    probe(circuit, 40.0).success(40.0)
    fail(circuit, 41.0)
    assert opened_for(circuit, 41.0) == OPEN_SECONDS


def test_the_first_break_is_never_cut_by_the_limit() -> None:
    circuit = make(failures=1, growth=2.0, longest_open=1.0)
    fail(circuit, 0.0)
    assert opened_for(circuit, 0.0) == OPEN_SECONDS
    fail(circuit, 10.0)
    assert opened_for(circuit, 10.0) == OPEN_SECONDS


def ask_for_rest(circuit: Circuit, now: float, seconds: float) -> list[CircuitEvent]:
    permit, _ = circuit.admit(now)
    permit.asked = seconds
    return permit.failure(now)


@pytest.mark.parametrize(("asked", "reason", "seconds"), [(3, "failures", 10), (25, "retry_after", 25)])
def test_stays_open_as_long_as_the_server_asks_where_that_is_longer(asked: float, reason: str, seconds: float) -> None:
    circuit = make(failures=1)
    assert ask_for_rest(circuit, 0.0, asked) == [CircuitOpened(circuit.name, seconds, reason)]
    assert opened_for(circuit, 0.0) == seconds


def test_what_the_server_asks_for_is_bounded() -> None:
    """An hour of maintenance may be over in a minute, and nobody would notice."""
    circuit = make(failures=1, longest_open=50.0)
    ask_for_rest(circuit, 0.0, 3600.0)
    assert opened_for(circuit, 0.0) == 50.0


def test_the_word_of_an_earlier_failure_still_holds() -> None:
    circuit = make(failures=2)
    ask_for_rest(circuit, 0.0, 30.0)
    fail(circuit, 4.0)
    assert opened_for(circuit, 4.0) == 26.0


def test_of_two_words_the_one_that_reaches_further_holds() -> None:
    circuit = make(failures=2)
    ask_for_rest(circuit, 0.0, 40.0)
    ask_for_rest(circuit, 1.0, 3.0)
    assert opened_for(circuit, 1.0) == 39.0


def test_a_success_makes_what_the_server_asked_for_forgotten() -> None:
    circuit = make(failures=2)
    ask_for_rest(circuit, 0.0, 30.0)
    succeed(circuit, 1.0)
    fail(circuit, 2.0, 2)
    assert opened_for(circuit, 2.0) == OPEN_SECONDS


def test_a_rest_that_was_asked_for_makes_no_later_break_longer() -> None:
    circuit = make(failures=1, growth=2.0)
    ask_for_rest(circuit, 0.0, 45.0)
    fail(circuit, 45.0)
    assert opened_for(circuit, 45.0) == 20.0


# A hand on it


def test_held_open_it_refuses_whatever_time_passes() -> None:
    circuit = make()
    circuit.force_open()
    for now in (0.0, 1e6):
        with pytest.raises(CircuitOpenError, match="held open by hand; nothing is sent until it is let go") as caught:
            circuit.admit(now)
        assert caught.value.retry_after is None
    assert circuit.state == "open"


def test_held_closed_it_admits_everything_and_counts_nothing() -> None:
    circuit = make(failures=1)
    fail(circuit, 0.0)
    circuit.force_closed()
    assert fail(circuit, 0.0, 20) == [CircuitClosed(circuit.name)]
    assert circuit.state == "closed"
    circuit.unforce()
    assert circuit.breaker.fail_counter == 0
    fail(circuit, 0.0)
    assert circuit.state == "open"


def test_let_go_after_it_was_held_open_it_admits_a_probe_at_once() -> None:
    """Whoever takes the hand off wants to know whether it works."""
    circuit = make()
    circuit.force_open()
    circuit.unforce()
    permit, changes = circuit.admit(0.0)
    assert permit.is_probe
    assert changes == [CircuitOpened(circuit.name, None, "by_hand"), CircuitHalfOpened(circuit.name)]
    permit.success(0.0)
    assert circuit.state == "closed"


@pytest.mark.parametrize("hand", ["force_open", "force_closed"])
def test_calls_that_were_under_way_when_a_hand_came_count_no_more(hand: str) -> None:
    circuit = make(failures=1)
    fail(circuit, 0.0)
    running = probe(circuit, 10.0)
    getattr(circuit, hand)()
    state = circuit.state
    assert CircuitOpened(circuit.name, OPEN_SECONDS, "probe") not in running.failure(10.0)
    assert circuit.state == state
    circuit.unforce()
    assert running.success(10.0) == []


def test_results_of_calls_admitted_by_hand_count_nothing_after_it() -> None:
    circuit = make(failures=1)
    circuit.force_closed()
    running = probe(circuit, 0.0)
    circuit.unforce()
    running.failure(0.0)
    assert circuit.state == "closed"


def test_taking_off_a_hand_that_is_not_there_changes_nothing() -> None:
    circuit = make(failures=1)
    fail(circuit, 0.0)
    circuit.unforce()
    assert opened_for(circuit, 0.0) == OPEN_SECONDS


def test_what_it_knows_can_be_read() -> None:
    circuit = make(failures=5, failure_rate=0.9, slow_seconds=1.0, minimum_calls=10)
    succeed(circuit, 0.0, 2)
    succeed(circuit, 0.0, slow=True)
    fail(circuit, 0.0)
    assert circuit.snapshot(0.0) == CircuitSnapshot(
        name="http://foundry.local:5273",
        state="closed",
        forced=False,
        failures=1,
        calls=4,
        failure_rate=0.25,
        slow_rate=0.25,
        opened=None,
        retry_after=None,
    )
    fail(circuit, 1.0, 4)
    shown = circuit.snapshot(4.0)
    assert (shown.state, shown.opened, shown.retry_after, shown.calls) == ("open", 1.0, 7.0, 0)
    assert circuit.snapshot(400.0).retry_after == 0.0
    assert circuit.state == "open", "looking changes nothing"


def test_where_no_rate_is_asked_for_none_is_counted() -> None:
    circuit = make(failures=9)
    fail(circuit, 0.0, 3)
    shown = circuit.snapshot(0.0)
    assert (shown.failures, shown.calls, shown.failure_rate, shown.slow_rate) == (3, 0, None, None)


def test_pybreakers_own_object_shows_how_long_the_break_is() -> None:
    circuit = make(failures=1)
    ask_for_rest(circuit, 0.0, 30.0)
    assert circuit.breaker.reset_timeout == 30.0


# Listeners


def test_pybreakers_listeners_hear_of_every_outcome() -> None:
    heard: list[str] = []

    class Listener(pybreaker.CircuitBreakerListener):
        def state_change(self, cb: Any, old_state: Any, new_state: Any) -> None:
            del cb
            heard.append(f"{old_state.name} to {new_state.name}")

        def success(self, cb: Any) -> None:
            del cb
            heard.append("success")

        def failure(self, cb: Any, exc: BaseException) -> None:
            del cb, exc
            heard.append("failure")

    circuit = make(failures=1)
    circuit.breaker.add_listener(Listener())
    probe(circuit, 0.0).success(0.0)
    fail(circuit, 0.0)
    probe(circuit, 10.0).success(10.0)
    assert heard == [
        "success",
        "failure",
        "closed to open",
        "open to half-open",
        "half-open to closed",
        "success",
    ]


def test_a_listener_that_fails_is_told_of_and_alters_nothing() -> None:
    """Somebody's alert that can't be sent must not make a good call fail, nor stop a transition half-way."""

    class Broken(pybreaker.CircuitBreakerListener):
        def state_change(self, cb: Any, old_state: Any, new_state: Any) -> None:
            del cb, old_state, new_state
            raise OSError("no mail server")

    circuit = make(failures=1)
    broken = Broken()
    circuit.breaker.add_listener(broken)
    permit, _ = circuit.admit(0.0)
    assert permit.failure(0.0) == [
        CircuitOpened("http://foundry.local:5273", 10.0, "failures"),
        CircuitListenerFailed("http://foundry.local:5273", "Broken", "OSError"),
    ]
    assert circuit.state == "open"
    circuit.breaker.remove_listener(broken)
    assert probe(circuit, 10.0).success(10.0) == [CircuitClosed("http://foundry.local:5273")]


def test_a_failure_may_follow_a_release_and_a_success_may_not() -> None:
    """That its deadline cancelled a call shows only after the call was let go."""
    circuit = make(failures=1)
    permit, _ = circuit.admit(0.0)
    permit.release(0.0)
    permit.success(0.0)
    assert circuit.state == "closed"
    permit.failure(0.0)
    assert circuit.state == "open"


class Alert(pybreaker.CircuitBreakerListener):
    """Does something whenever a circuit changes its state."""

    def __init__(self, act: Callable[[str], object]) -> None:
        self.act = act

    def state_change(self, cb: Any, old_state: Any, new_state: Any) -> None:
        del cb, old_state
        self.act(new_state.name)


def test_a_listener_may_call_through_the_same_circuit() -> None:
    """Its alert goes out, though the circuit is open by then, and what it meets counts no further."""
    circuit = make(failures=1)
    calls: list[str] = []

    def act(state: str) -> None:
        calls.append(state)
        circuit.admit(0.0)[0].failure(0.0)

    circuit.breaker.add_listener(Alert(act))
    fail(circuit, 0.0)
    assert (calls, circuit.state) == (["open"], "open")
    circuit.breaker.close()
    assert (calls, circuit.state) == (["open", "closed"], "closed")
    assert circuit.breaker.fail_counter == 0


def test_a_listener_that_calls_whenever_a_call_succeeds_does_not_call_for_ever() -> None:
    circuit = make()
    heard: list[str] = []

    class Ping(pybreaker.CircuitBreakerListener):
        def success(self, cb: Any) -> None:
            del cb
            heard.append("success")
            succeed(circuit, 0.0)

    circuit.breaker.add_listener(Ping())
    succeed(circuit, 0.0)
    assert heard == ["success"]


def test_a_listener_sees_the_state_that_it_hears_of() -> None:
    """Pybreaker writes the new state down after it has called its listeners."""
    circuit = make(failures=1)
    seen: list[tuple[str, str]] = []
    circuit.breaker.add_listener(Alert(lambda state: seen.append((state, circuit.state))))
    fail(circuit, 0.0)
    circuit.breaker.close()
    assert seen == [("open", "open"), ("closed", "closed")]


def test_listeners_hear_at_once_that_another_process_opened_the_circuit() -> None:
    """Also when every call is refused from then on."""
    shared = pybreaker.CircuitMemoryStorage(pybreaker.STATE_CLOSED)
    here, elsewhere = make(failures=1, storage=shared), make(failures=1, storage=shared)
    heard: list[str] = []
    here.breaker.add_listener(Alert(heard.append))
    fail(elsewhere, 0.0)
    with pytest.raises(CircuitOpenError):
        here.admit(0.0)
    assert heard == ["open"]
    assert here.untold() == [CircuitOpened(here.name, OPEN_SECONDS)]


def test_a_listener_that_blocks_holds_up_nobody_else_and_hears_the_rest_in_order() -> None:
    circuit = make(failures=1)
    heard: list[str] = []
    inside, leave = threading.Event(), threading.Event()

    def act(state: str) -> None:
        heard.append(state)
        inside.set()
        leave.wait(10)

    circuit.breaker.add_listener(Alert(act))
    caller = threading.Thread(target=fail, args=(circuit, 0.0))
    caller.start()
    inside.wait(10)
    probe(circuit, OPEN_SECONDS).success(OPEN_SECONDS)
    circuit.breaker.open()
    assert heard == ["open"]
    leave.set()
    caller.join(10)
    assert heard == ["open", "half-open", "closed", "open"]


def test_two_circuits_whose_listeners_call_through_each_other_cannot_wait_for_each_other() -> None:
    one, other = make(failures=1), make(failures=1)
    both = threading.Barrier(2, timeout=10)

    def through(circuit: Circuit) -> Callable[[str], None]:
        def act(state: str) -> None:
            if state == "open":
                both.wait()
                with contextlib.suppress(CircuitOpenError):
                    circuit.admit(0.0)[0].success(0.0)

        return act

    one.breaker.add_listener(Alert(through(other)))
    other.breaker.add_listener(Alert(through(one)))
    threads = [threading.Thread(target=fail, args=(circuit, 0.0), daemon=True) for circuit in (one, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert not any(thread.is_alive() for thread in threads)


def test_opening_by_hand_and_a_listeners_own_call_cannot_wait_for_each_other() -> None:
    """No lock is held while a listener runs, neither ours nor pybreaker's."""
    circuit = make()
    listening, called = threading.Event(), threading.Event()

    def act(state: str) -> None:
        del state
        listening.set()
        assert called.wait(10), "the other thread waits for this one"
        circuit.admit(100.0)

    def call() -> None:
        listening.wait(10)
        with contextlib.suppress(CircuitOpenError):
            circuit.admit(0.0)
        called.set()

    circuit.breaker.add_listener(Alert(act))
    threads = [threading.Thread(target=work, daemon=True) for work in (circuit.breaker.open, call)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert called.is_set()
    assert not any(thread.is_alive() for thread in threads)


def test_a_listener_that_is_interrupted_takes_no_permit_with_it_and_the_others_hear_the_rest() -> None:
    circuit = make(failures=1)
    heard: list[str] = []

    def act(state: str) -> None:
        heard.append(state)
        if state == "half-open":
            raise KeyboardInterrupt

    circuit.breaker.add_listener(Alert(act))
    fail(circuit, 0.0)
    with pytest.raises(KeyboardInterrupt):
        circuit.admit(10.0)
    assert probe(circuit, 10.0).success(10.0) == [CircuitClosed(circuit.name)]
    assert heard == ["open", "half-open", "closed"]


def test_what_a_listener_raises_when_a_hand_opened_it_is_told_to_the_next_call() -> None:
    circuit = make()

    def act(state: str) -> None:
        raise OSError(state)

    circuit.breaker.add_listener(Alert(act))
    circuit.force_open()
    circuit.force_closed()
    _, changes = circuit.admit(0.0)
    assert [type(change) for change in changes] == [
        CircuitOpened,
        CircuitListenerFailed,
        CircuitClosed,
        CircuitListenerFailed,
    ]


def test_a_call_through_pybreakers_own_object_is_heard_of_too() -> None:
    circuit = make(failures=1)
    heard: list[str] = []
    circuit.breaker.add_listener(Alert(heard.append))
    with pytest.raises(ZeroDivisionError):
        circuit.breaker.call(lambda: 1 // 0)
    assert heard == ["open"]


class Elsewhere(pybreaker.CircuitMemoryStorage):
    """A storage that another process opens just before it is looked at for the n-th time from now."""

    looks: int | None = None

    @property
    def state(self) -> str:
        if self.looks is not None:
            self.looks -= 1
            if self.looks == 0:
                self._state = pybreaker.STATE_OPEN
                self.opened_at = datetime.now(UTC)
        return self._state

    @state.setter
    def state(self, state: str) -> None:
        self._state = state


@pytest.mark.parametrize("half_open", [False, True])
@pytest.mark.parametrize("outcome", ["success", "failure", "release"])
@pytest.mark.parametrize("look", range(1, 7))
def test_an_outcome_never_raises_because_another_process_opened_the_circuit(
    look: int, outcome: str, half_open: bool
) -> None:
    """Whichever of our looks at the storage is the first to see it."""
    storage = Elsewhere(pybreaker.STATE_CLOSED)
    circuit = make(failures=1, storage=storage)
    if half_open:
        fail(circuit, 0.0)
    permit = probe(circuit, OPEN_SECONDS)
    storage.looks = look
    getattr(permit, outcome)(OPEN_SECONDS)


@pytest.mark.parametrize("half_open", [False, True])
@pytest.mark.parametrize("look", range(1, 7))
def test_a_refusal_is_ours_also_when_another_process_opens_the_circuit_meanwhile(look: int, half_open: bool) -> None:
    storage = Elsewhere(pybreaker.STATE_CLOSED)
    circuit = make(failures=1, storage=storage)
    if half_open:
        fail(circuit, 0.0)
    storage.looks = look
    with contextlib.suppress(CircuitOpenError):
        circuit.admit(OPEN_SECONDS)[0].release(OPEN_SECONDS)


class Unreachable(Elsewhere):
    """A storage that can't be asked while it is `down`."""

    down = False

    @property
    def state(self) -> str:
        if self.down:
            raise ConnectionError("no storage")
        return self._state

    @state.setter
    def state(self, state: str) -> None:
        self._state = state


@pytest.mark.parametrize("outcome", ["success", "failure"])
def test_a_storage_that_fails_takes_no_probes_place(outcome: str) -> None:
    storage = Unreachable(pybreaker.STATE_CLOSED)
    circuit = make(failures=1, storage=storage)
    fail(circuit, 0.0)
    permit = probe(circuit, OPEN_SECONDS)
    storage.down = True
    with pytest.raises(ConnectionError):
        getattr(permit, outcome)(OPEN_SECONDS)
    with pytest.raises(ConnectionError):
        circuit.admit(OPEN_SECONDS)
    storage.down = False
    assert probe(circuit, OPEN_SECONDS).is_probe


def test_two_circuits_on_one_storage_agree() -> None:
    storage = pybreaker.CircuitMemoryStorage(pybreaker.STATE_CLOSED)
    one, other = make(failures=2, storage=storage), make(failures=2, storage=storage)
    fail(one, 0.0)
    fail(other, 0.0)
    assert (one.state, other.state) == ("open", "open")
    with pytest.raises(CircuitOpenError):
        one.admit(0.0)
    probe(other, 0.0 + OPEN_SECONDS).success(10.0)
    assert not probe(one, 10.0).is_probe


def test_threads_get_exactly_one_probe_among_them() -> None:
    for _ in range(20):
        circuit = make(failures=1)
        fail(circuit, 0.0)
        gate = threading.Barrier(8)
        admitted: list[Permit] = []

        def ask(circuit: Circuit = circuit, gate: threading.Barrier = gate, to: list[Permit] = admitted) -> None:
            gate.wait()
            with contextlib.suppress(CircuitOpenError):
                to.append(circuit.admit(10.0)[0])

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(admitted) == 1


def test_a_running_call_holds_no_lock() -> None:
    """Pybreaker's own `call` keeps its lock while the function runs: sixteen slow calls would take turns."""
    circuit = make()
    permits = [probe(circuit, 0.0)]
    elsewhere = threading.Thread(target=lambda: permits.append(probe(circuit, 0.0)))
    elsewhere.start()
    elsewhere.join(timeout=5)
    assert len(permits) == 2


FORK = """
import os, threading, warnings
import pybreaker
from resilient_foundry import CircuitBreaker, CircuitOpenError
from resilient_foundry.testing import failed, ok, rehearse

warnings.simplefilter("ignore")
breaker = CircuitBreaker(failures=1)
circuit = breaker.circuit(__import__("httpx").URL("http://foundry.local:5273/v1/models"))
inside, go_on = threading.Event(), threading.Event()

heard = []

class Slow(pybreaker.CircuitBreakerListener):
    def success(self, cb):
        heard.append(os.getpid())
        inside.set()
        go_on.wait()

circuit.breaker.add_listener(Slow())
thread = threading.Thread(target=lambda: rehearse(breaker, ok()))
thread.start()
inside.wait()  # the other thread is telling the listeners, and will never be done with it in the child
child = os.fork()
if child == 0:
    go_on.set()
    history = rehearse(breaker, ok())
    assert history.status == 200, history
    assert heard[-1] == os.getpid(), heard
    rehearse(breaker, failed())
    assert circuit.state == "open", circuit.state
    assert len(list(breaker.circuits)) == 1
    os._exit(7)
go_on.set()
thread.join()
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
assert circuit.state == "closed"
raise SystemExit(code)
"""


def test_a_child_process_is_not_locked_out_by_a_thread_of_its_parent() -> None:
    """A lock that another thread held at the fork is never free again in the child."""
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 7, done.stderr
