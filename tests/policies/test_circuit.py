"""A circuit against a model of ten lines, and what threads, forks and listeners do to it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from datetime import UTC, datetime, tzinfo
from typing import Any

import pybreaker
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from resilient_foundry import CircuitOpenError
from resilient_foundry.events import (
    CircuitClosed,
    CircuitEvent,
    CircuitHalfOpened,
    CircuitListenerFailed,
    CircuitOpened,
)
from resilient_foundry.policies.circuit import Circuit, Permit

OPEN_SECONDS = 10.0
LEASE = 4.0
NOTHING: Any = multiple()  # pyright: ignore[reportUnknownVariableType] - results of no kind


def make(*, failures: int = 3, successes: int = 1, storage: pybreaker.CircuitBreakerStorage | None = None) -> Circuit:
    return Circuit(
        "http://foundry.local:5273",
        failures=failures,
        open_seconds=OPEN_SECONDS,
        successes=successes,
        probe_lease=LEASE,
        storage=storage,
    )


class Model:
    """What a circuit is, in as few lines as it can be said in."""

    def __init__(self, failures: int, successes: int) -> None:
        self.failures, self.successes = failures, successes
        self.state, self.count, self.good, self.opened, self.epoch = "closed", 0, 0, 0.0, 0
        self.leases: dict[int, float] = {}

    def admits(self, now: float) -> bool:
        if self.state == "open" and now >= self.opened + OPEN_SECONDS:
            self.move("half-open", now)
        free = not any(ends > now for ends in self.leases.values())
        return self.state == "closed" or (self.state == "half-open" and free)

    def move(self, state: str, now: float) -> None:
        self.state, self.count, self.good, self.opened = state, 0, 0, now
        self.leases, self.epoch = {}, self.epoch + 1

    def settle(self, epoch: int, good: bool, now: float) -> None:
        if epoch != self.epoch or self.state == "open":
            return
        self.count, self.good = (0, self.good + 1) if good else (self.count + 1, 0)
        if self.state == "half-open" and good and self.good >= self.successes:
            self.move("closed", now)
        elif not good and (self.state == "half-open" or self.count >= self.failures):
            self.move("open", now)


class Ticket:
    """A permit of the circuit beside what the model knows of it."""

    def __init__(self, permit: Permit, epoch: int, number: int) -> None:
        self.permit, self.epoch, self.number, self.released = permit, epoch, number, False


class CircuitMachine(RuleBasedStateMachine):
    """Calls come, go, get lost and end late, time passes, and somebody turns the handle."""

    tickets: Bundle[Ticket] = Bundle("tickets")

    @initialize(failures=st.integers(1, 4), successes=st.integers(1, 3))
    def begin(self, failures: int, successes: int) -> None:
        self.now = 1000.0
        self.issued = 0
        self.circuit = make(failures=failures, successes=successes)
        self.model = Model(failures, successes)

    @rule(target=tickets)
    def admit(self) -> Any:
        expected = self.model.admits(self.now)
        if not expected:
            with pytest.raises(CircuitOpenError) as caught:
                self.circuit.admit(self.now)
            left = self.model.opened + OPEN_SECONDS - self.now if self.model.state == "open" else None
            assert caught.value.retry_after == (pytest.approx(left) if left is not None else None)
            return NOTHING
        permit, _ = self.circuit.admit(self.now)
        assert permit.is_probe == (self.model.state == "half-open")
        self.issued += 1
        if permit.is_probe:
            self.model.leases[self.issued] = self.now + LEASE
        return Ticket(permit, self.model.epoch, self.issued)

    @rule(ticket=consumes(tickets))
    def succeed(self, ticket: Ticket) -> None:
        self.model.leases.pop(ticket.number, None)
        if not ticket.released:
            self.model.settle(ticket.epoch, True, self.now)  # noqa: FBT003
        ticket.permit.success(self.now)

    @rule(ticket=consumes(tickets))
    def fail(self, ticket: Ticket) -> None:
        self.model.leases.pop(ticket.number, None)
        self.model.settle(ticket.epoch, False, self.now)  # noqa: FBT003
        ticket.permit.failure(self.now)

    @rule(ticket=tickets)
    def release(self, ticket: Ticket) -> None:
        """Cancelled; of what is said later only a failure counts, so the ticket may stay."""
        self.model.leases.pop(ticket.number, None)
        ticket.permit.release(self.now)
        ticket.released = True

    @rule(ticket=tickets)
    def begin_well(self, ticket: Ticket) -> None:
        """A success at once; after it, only a failure counts, in the epoch that the success led to."""
        if not ticket.released:
            self.model.leases.pop(ticket.number, None)
            if ticket.epoch == self.model.epoch:
                self.model.settle(ticket.epoch, True, self.now)  # noqa: FBT003
                ticket.epoch = self.model.epoch
        ticket.permit.begun(self.now)
        ticket.released = True

    @rule(seconds=st.sampled_from([0.0, 1.0, 3.9, 4.0, 6.0, 9.9, 10.0, 60.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def open_by_hand(self) -> None:
        self.circuit.breaker.open()
        self.model.move("open", self.now)
        self.admit_nobody()

    def admit_nobody(self) -> None:
        """The time of a circuit opened by hand starts when it is first seen."""
        with pytest.raises(CircuitOpenError):
            self.circuit.admit(self.now)

    @rule()
    def close_by_hand(self) -> None:
        self.circuit.breaker.close()
        self.model.move("closed", self.now)

    @invariant()
    def they_agree(self) -> None:
        assert self.circuit.state == self.model.state
        if self.model.state == "closed":
            assert self.circuit.breaker.fail_counter == self.model.count


CircuitMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40)
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
    assert fail(circuit, 0.0) == [CircuitOpened(circuit.name, OPEN_SECONDS)]
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
    assert probe(circuit, 10.0).failure(12.0) == [CircuitOpened(circuit.name, OPEN_SECONDS)]
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
    assert changes == [CircuitOpened(circuit.name, OPEN_SECONDS), CircuitClosed(circuit.name)]


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
        CircuitOpened("http://foundry.local:5273", 10.0),
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


def test_a_listener_may_call_through_the_same_circuit() -> None:
    """It may send its alert through the same client; the lock is re-entrant, and what it meets counts no further."""
    circuit = make(failures=1)
    calls: list[str] = []

    class Alert(pybreaker.CircuitBreakerListener):
        def state_change(self, cb: Any, old_state: Any, new_state: Any) -> None:
            del cb, old_state
            calls.append(new_state.name)
            try:
                circuit.admit(0.0)[0].failure(0.0)
            except CircuitOpenError:
                calls.append("refused")

    circuit.breaker.add_listener(Alert())
    fail(circuit, 0.0)
    assert calls[0] == "open"
    assert len(calls) <= 2
    assert circuit.state == "open"


def test_opening_by_hand_and_a_listeners_own_call_cannot_wait_for_each_other() -> None:
    """With a lock of ours beside pybreaker's, one thread would take them in one order and the other in the other."""
    listening, settling, inside = threading.Event(), threading.Event(), threading.Event()

    class Looked(pybreaker.CircuitMemoryStorage):
        @property
        def state(self) -> str:
            if settling.is_set():
                inside.set()
            return self._state

        @state.setter
        def state(self, state: str) -> None:
            self._state = state

    circuit = make(storage=Looked(pybreaker.STATE_CLOSED))

    class Alert(pybreaker.CircuitBreakerListener):
        def state_change(self, cb: Any, old_state: Any, new_state: Any) -> None:
            del cb, old_state, new_state
            listening.set()
            inside.wait(0.2)  # which it can't be any more: this thread holds the one lock
            circuit.admit(0.0)  # pybreaker writes the new state down after this

    def call() -> None:
        listening.wait()
        with contextlib.suppress(CircuitOpenError):
            permit = probe(circuit, 0.0)
            settling.set()
            permit.success(0.0)

    circuit.breaker.add_listener(Alert())
    threads = [threading.Thread(target=work, daemon=True) for work in (circuit.breaker.open, call)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=5)
    assert not any(thread.is_alive() for thread in threads)


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

class Slow(pybreaker.CircuitBreakerListener):
    def success(self, cb):
        inside.set()
        go_on.wait()

circuit.breaker.add_listener(Slow())
thread = threading.Thread(target=lambda: rehearse(breaker, ok()))
thread.start()
inside.wait()  # the other thread holds our lock, and pybreaker's
child = os.fork()
if child == 0:
    go_on.set()
    history = rehearse(breaker, ok())
    assert history.status == 200, history
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
