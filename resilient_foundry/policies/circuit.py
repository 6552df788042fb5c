"""A circuit: pybreaker's state machine, asked in two phases.

`admit` gives a permit or refuses, and whoever got one says later how the call went: success, failure, or neither
(`release`). No lock is held meanwhile, so a slow call holds nobody up, whatever the colour of the others. Counting,
thresholds, transitions and what is stored are pybreaker's: it is handed an outcome that is known, as a function that
does nothing but return or raise. What stands here is what pybreaker leaves open:

    closed ──(too many failures or slow calls)──▶ open ──(its time is up)──▶ half-open ──(probe succeeds)──▶ closed
                                                   ▲                             │
                                                   └────────(probe fails)────────┘

* rates: a window of the last calls beside pybreaker's count of failures in a row; it opens the circuit by `open()`;
* how long it stays open: longer with each probe that fails, and as long as the server asks;
* one probe at a time in half-open, by a lease that runs out, so that a lost probe can't jam the circuit;
* an epoch, which every transition ends: results of calls that were admitted in an earlier one are dropped;
* a neutral outcome (`release`): a cancelled call says nothing about the server;
* a hand that holds it open or closed, whatever is counted;
* monotonic time: a step of the wall clock neither prolongs nor ends a break;
* one lock, ours and pybreaker's the same, and listeners are called, in order, when it is free: they may block, call
  through this circuit, or through another whose listener calls through this one.

What the storage raises passes: before anything is sent where it can't be asked, and instead of the answer where the
outcome can't be written down. No permit is lost by it: the lease is given back first.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from operator import methodcaller
from typing import TYPE_CHECKING, Any

import pybreaker

from resilient_foundry._forks import renewed_in_children
from resilient_foundry.errors import CircuitOpenError
from resilient_foundry.events import (
    CircuitClosed,
    CircuitEvent,
    CircuitHalfOpened,
    CircuitListenerFailed,
    CircuitOpened,
)
from resilient_foundry.holders import holders
from resilient_foundry.policies.window import Window

if TYPE_CHECKING:
    from resilient_foundry.policies.breaker import CircuitBreaker

_CLOSED, _OPEN, _HALF_OPEN = pybreaker.STATE_CLOSED, pybreaker.STATE_OPEN, pybreaker.STATE_HALF_OPEN
_NO_EPOCH = -1
"""Of permits that were given by hand, or to a listener: their results are dropped."""
_UNTOLD = 100
"""What was done by hand is kept for the next call to tell; the latest of it, where nobody calls for long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitSnapshot:
    """What a circuit knew at one moment. Rates are shares of the `calls` in its window; None where none is counted."""

    name: str
    state: str
    """`closed`, `open` or `half-open`."""
    forced: bool
    """Whether a hand holds it there."""
    failures: int
    """Failures in a row."""
    calls: int
    failure_rate: float | None
    slow_rate: float | None
    opened: float | None
    """The monotonic moment since which it is open; None where it is not, or nobody has called since."""
    retry_after: float | None
    """Seconds until a probe is admitted; None where it is not open, or held so."""


class _ServerFailedError(Exception):
    """What is replayed into pybreaker for a failed answer that was no exception."""


@dataclass(slots=True)
class _Lease:
    """A probe's right to be the only one, until `ends`."""

    ends: float


class Permit:
    """Admission of one call. Exactly one of its answers counts; later ones are ignored.

    Only a failure may still follow a release, when it turns out that a deadline, and not the caller, cancelled the
    call; and a good beginning, when what began well ends badly. Before its answer is given it may be noted that the
    call was `slow`, and how many seconds of rest the server `asked` for.
    """

    __slots__ = ("_circuit", "_settled", "_spent", "admitted", "asked", "epoch", "lease", "slow")

    def __init__(self, circuit: Circuit, admitted: float, epoch: int, lease: _Lease | None) -> None:
        self._circuit = circuit
        self._settled = False
        self._spent = False
        self.admitted = admitted
        self.epoch = epoch
        self.lease = lease
        self.slow = False
        self.asked = 0.0

    @property
    def is_probe(self) -> bool:
        """Whether the circuit waits for this call's outcome."""
        return self.lease is not None

    def success(self, now: float) -> list[CircuitEvent]:
        """The server did its work."""
        circuit = self._circuit
        if (  # one more success, of which pybreaker would keep nothing and tell nobody
            circuit.is_clean
            and circuit.is_closed
            and circuit.is_ours
            and self.epoch == circuit.epoch
            and not self._settled
        ):
            self._spent = True
            return []
        return [] if self._settled else self._settle(now, _succeed)

    def begun(self, now: float) -> list[CircuitEvent]:
        """The server is at work: a success now, and from here on a call like any that is admitted after it."""
        if self._spent or self._settled:
            return []
        self._settled = True
        return self._circuit.settle(self, now, _succeed, goes_on=True)

    def failure(self, now: float) -> list[CircuitEvent]:
        """The server failed."""
        return self._settle(now, _fail)

    def release(self, now: float) -> list[CircuitEvent]:
        """Nothing was learnt about the server."""
        if self._spent or self._settled:
            return []
        self._settled = True
        return self._circuit.settle(self, now, None)

    def _settle(self, now: float, replay: Callable[[], None]) -> list[CircuitEvent]:
        if self._spent:
            return []
        self._spent = True
        return self._circuit.settle(self, now, replay)


class Circuit:
    """One circuit, for one origin. Give it `now`, monotonic seconds (`time.monotonic()`); it reads no clock."""

    def __init__(
        self, name: str, rules: CircuitBreaker, storage: pybreaker.CircuitBreakerStorage | None = None
    ) -> None:
        self.name = name
        self.lock = threading.RLock()  # re-entrant: pybreaker takes it once more
        self.epoch = 0
        """How many transitions there were."""
        self.forced: str | None = None
        """The state that a hand holds it in, if one does."""
        self._rules = rules
        self._counts_rates = rules.failure_rate is not None or rules.slow_seconds is not None
        self._window = Window(rules.window)
        self._leases: tuple[_Lease, ...] = ()
        self._opened: float | None = None
        self._opening: object = None  # by its time on the storage's clock: another process may open it anew
        self._next_open_for = rules.open_seconds
        self._open_for = rules.open_seconds
        self._asked_until = 0.0
        self._inside = False
        self._reason = ""
        self._now = 0.0
        self._told: list[CircuitEvent] = []
        self._unheard: list[tuple[Any, Callable[[Any], None]]] = []
        self._teller: int | None = None
        self._storage = storage or pybreaker.CircuitMemoryStorage(_CLOSED)
        self.is_ours = storage is None
        """Whether nobody else has a say in it, or listens."""
        self.is_closed = True
        """Whether it was closed when it last changed; a storage that others share may know otherwise."""
        self.is_clean = not self._counts_rates
        """Whether nothing is counted of the calls so far that a further success would change."""
        self._breaker = _Breaker(
            self,
            fail_max=rules.failures or sys.maxsize,
            reset_timeout=rules.open_seconds,
            success_threshold=rules.successes,
            listeners=[_Transitions(self)],
            state_storage=self._storage,
            name=name,
            throw_new_error_on_trip=False,
        )
        self.breaker: pybreaker.CircuitBreaker = self._breaker
        """pybreaker's own object, for its listeners, its counters, and `open()` and `close()` by hand."""
        renewed_in_children(self)
        holders.add(self)

    @property
    def state(self) -> str:
        """`closed`, `open` or `half-open`."""
        return self.forced or self.breaker.current_state

    def snapshot(self, now: float) -> CircuitSnapshot:
        """What the circuit knows at this moment; looking changes nothing."""
        with self.lock:
            state = self.state
            is_open = state == _OPEN and self.forced is None
            opened = self._opened if is_open else None
            window = self._window
            window.turn(now)
            share = 1.0 / window.calls if window.calls else 0.0
            return CircuitSnapshot(
                name=self.name,
                state=state,
                forced=self.forced is not None,
                failures=self.breaker.fail_counter,
                calls=window.calls,
                failure_rate=window.failures * share if self._rules.failure_rate is not None else None,
                slow_rate=window.slow * share if self._rules.slow_seconds is not None else None,
                opened=opened,
                retry_after=max(0.0, (now if opened is None else opened) + self._open_for - now) if is_open else None,
            )

    def force_open(self) -> None:
        """Hold it open from now on: every call is refused, whatever is counted, until `unforce()`."""
        self._force(_OPEN)

    def force_closed(self) -> None:
        """Hold it closed from now on: every call goes out and none is counted, until `unforce()`."""
        self._force(_CLOSED)

    def unforce(self) -> None:
        """Take the hand off it. One that was held open admits a probe at once, one that was held closed is closed."""
        self._force(None)

    def _force(self, state: str | None) -> None:
        with self.lock:
            self._inside, self._reason = True, "by_hand"
            was, self.forced = self.forced, state
            try:
                if state == _OPEN:
                    self.breaker.open()
                elif state == _CLOSED:
                    self.breaker.close()
                elif was == _OPEN:
                    self.breaker.half_open()
            finally:
                self._inside, self._reason = False, ""
        self.tell_later(self.call_listeners())

    def held(self) -> list[str]:
        """The places of probes that nobody has given back yet."""
        return [f"the place of the probe of the circuit for {self.name} was not given back" for _ in self._leases]

    def admit(self, now: float) -> tuple[Permit, list[CircuitEvent]]:
        """A permit for one call, and what changed; raises `CircuitOpenError`."""
        try:
            with self.lock:
                self._inside = True
                try:
                    permit, told = self._admit(now), self._changes()
                finally:
                    self._inside = False
        except CircuitOpenError:
            if self._unheard:  # somebody else has opened it
                self.tell_later(self.call_listeners())
            raise
        if self._unheard:
            try:
                told += self.call_listeners()
            except BaseException:  # a listener was interrupted: nobody would give the permit back
                permit.release(now)
                raise
        return permit, told

    def admit_at_once(self, now: float) -> Permit | None:
        """A permit for one call where the circuit is closed and nothing is to be told; None where `admit` is to decide.

        It takes no lock: a circuit that opens meanwhile is one that opened just after, and drops the outcome.
        """
        epoch = self.epoch
        if self.is_ours and self.is_closed and self.forced is None and not self._told:
            return Permit(self, now, epoch, None)
        return None

    def _admit(self, now: float) -> Permit:
        if self.forced is not None:
            if self.forced == _OPEN:
                raise CircuitOpenError(
                    f"circuit for {self.name} is held open by hand; nothing is sent until it is let go",
                    circuit=self.name,
                )
            return Permit(self, now, _NO_EPOCH, None)
        if self._is_a_listeners_own():
            return Permit(self, now, _NO_EPOCH, None)
        state = self.breaker.state.name
        if state == _CLOSED:
            return Permit(self, now, self.epoch, None)
        if state == _OPEN:
            left = self._opened_at(now) + self._open_for - now
            if left > 0:
                raise CircuitOpenError(
                    f"circuit for {self.name} is open; next probe in {left:.1f} s",
                    circuit=self.name,
                    retry_after=left,
                )
            self.breaker.half_open()
        self._leases = tuple(lease for lease in self._leases if lease.ends > now)
        if self._leases:
            raise CircuitOpenError(
                f"circuit for {self.name} is open; a probe is under way, and its result decides", circuit=self.name
            )
        lease = _Lease(ends=now + self._rules.probe_lease)
        self._leases = (*self._leases, lease)
        return Permit(self, now, self.epoch, lease)

    def _opened_at(self, now: float) -> float:
        """When it opened: where a hand or another process did that, when it was first seen."""
        opening = self._storage.opened_at
        if self._opened is None:
            self._opened, self._opening = now, opening
        elif opening != self._opening:  # the probe of another process failed
            self._grow()
            self._opened, self._opening, self._open_for = now, opening, self._next_open_for
        return self._opened

    def settle(
        self, permit: Permit, now: float, replay: Callable[[], None] | None, *, goes_on: bool = False
    ) -> list[CircuitEvent]:
        """Take the outcome of a permit; called by the permit, once. With `goes_on`, another may follow."""
        with self.lock:
            self._inside = True
            try:
                if permit.lease is not None:
                    self._leases = tuple(other for other in self._leases if other is not permit.lease)
                if replay is not None:
                    state = self.breaker.state  # one look; it may end the epoch
                    if permit.epoch == self.epoch:
                        if state.name != _OPEN:
                            self._judge(state, permit, now, replay)
                        if goes_on:
                            permit.epoch = self.epoch
                told = self._changes()
            finally:
                self._inside, self._reason = False, ""
        if self._unheard:
            told += self.call_listeners()
        return told

    def _judge(
        self, state: pybreaker.CircuitBreakerState, permit: Permit, now: float, replay: Callable[[], None]
    ) -> None:
        """Count an outcome, and open or close over it."""
        epoch, probing, self._now = self.epoch, state.name == _HALF_OPEN, now
        if probing and permit.slow:  # a server that is still too slow
            replay = _fail
        if replay is _succeed:
            self._asked_until = 0.0
        elif permit.asked:
            self._asked_until = max(self._asked_until, now + permit.asked)
        self._reason = "probe" if probing else "failures"
        self._replay(state, replay)
        self.is_clean = replay is _succeed and not self._counts_rates
        if self._counts_rates and self.epoch == epoch and not probing:
            self._window.record(now, failed=replay is _fail, slow=permit.slow)
            self._reason = self._too_many()
            if self._reason:
                self.breaker.open()
        if self._opened is None and self.epoch != epoch and self.breaker.current_state == _OPEN:
            self._opened_at(now)

    def _too_many(self) -> str:
        """Which rate of the window is too high, if one is."""
        window, rules = self._window, self._rules
        if window.calls >= rules.minimum_calls:
            if rules.failure_rate is not None and window.failures >= rules.failure_rate * window.calls:
                return "failure_rate"
            if rules.slow_seconds is not None and window.slow >= rules.slow_rate * window.calls:
                return "slow_calls"
        return ""

    def _replay(self, state: pybreaker.CircuitBreakerState, outcome: Callable[[], None]) -> None:
        """As `breaker.call` does, which would look anew, and refuse what another process has cut off since."""
        try:
            state.call(outcome)
        except _ServerFailedError as replayed:
            # pybreaker's frames hold it in a cycle, and it would hold the caller's own error in there too
            replayed.__context__ = replayed.__traceback__ = None

    def moved(self, old: str, new: str) -> None:
        """A transition happened, whoever caused it; called by pybreaker, under its lock."""
        self.epoch += 1
        self.is_closed = new == _CLOSED
        self._leases = ()
        self._opened = None
        if self._counts_rates:
            self._window.clear()
        if new == _OPEN:
            if old == _HALF_OPEN:
                self._grow()
            self._told.append(self._has_opened())
        elif new == _HALF_OPEN:
            self._told.append(CircuitHalfOpened(self.name))
        else:
            self._next_open_for = self._rules.open_seconds
            self._told.append(CircuitClosed(self.name))
        self._asked_until = 0.0

    def _has_opened(self) -> CircuitOpened:
        """How long it stays open, and why."""
        reason = self._reason if self._inside else "by_hand"
        self._open_for = self._next_open_for
        asked = min(self._asked_until - self._now, self._longest_open)
        if asked > self._open_for and reason not in {"", "by_hand"}:
            self._open_for, reason = asked, "retry_after"
        self.breaker.reset_timeout = self._open_for  # what pybreaker would have it be
        return CircuitOpened(self.name, None if self.forced == _OPEN else self._open_for, reason)

    def _grow(self) -> None:
        """A probe failed: stay open longer the next time."""
        self._next_open_for = min(self._next_open_for * self._rules.growth, self._longest_open)

    @property
    def _longest_open(self) -> float:
        return max(self._rules.longest_open, self._rules.open_seconds)

    def _is_a_listeners_own(self) -> bool:
        """Whether a listener, in this thread, calls through its own circuit: its alert goes out, and is no news."""
        return self._teller is not None and self._teller == threading.get_ident()

    def hear(self, listener: Any, call: Callable[[Any], None]) -> None:
        """A listener, anybody's, is to be called when the lock is free; called by pybreaker, under it."""
        self._unheard.append((listener, call))

    def call_listeners(self) -> list[CircuitEvent]:
        """Call those who listen, in order, one at a time and without the lock; gives what is to be told after it.

        Whoever comes while another thread does it goes on: that thread will see what has been added. A listener that
        is at work here takes no part in what its own calls cause, either.
        """
        with self.lock:
            if self._inside or self._teller is not None:
                return []
            self._teller = threading.get_ident()
        try:
            while True:
                with self.lock:
                    if not self._unheard:
                        self._teller = None
                        return self._changes()
                    listener, call = self._unheard.pop(0)
                try:
                    call(listener)
                except Exception as error:  # noqa: BLE001 - somebody else's code
                    failure = CircuitListenerFailed(self.name, type(listener).__name__, type(error).__name__)
                    self._told.append(failure)
        except BaseException:
            self._teller = None
            raise

    def untold(self) -> list[CircuitEvent]:
        """What happened before a call was refused: a hand, or another process, has opened the circuit."""
        with self.lock:
            return self._changes()

    def tell_later(self, changes: list[CircuitEvent]) -> None:
        """What was done by hand is told to the next call."""
        if changes:
            with self.lock:
                self._told = (changes + self._told)[-_UNTOLD:]

    def after_fork(self) -> None:
        """A lock that another thread held at the fork is never free again in the child, ours and pybreaker's alike."""
        self.lock = threading.RLock()
        self._leases = ()
        self._inside = False
        self._teller = None
        self._unheard.clear()
        self._breaker.share_lock(self)

    def _changes(self) -> list[CircuitEvent]:
        """What is to be told once the lock is free."""
        told, self._told = self._told, []
        return told


class _Breaker(pybreaker.CircuitBreaker):
    """pybreaker's circuit, under our lock. Its listeners are called when the lock is free."""

    def __init__(self, circuit: Circuit, **settings: Any) -> None:  # pybreaker's own settings
        self._circuit = weakref.ref(circuit)
        super().__init__(**settings)
        self.share_lock(circuit)

    def share_lock(self, circuit: Circuit) -> None:
        """Use the circuit's lock."""
        self._lock = circuit.lock  # pybreaker's own name for it

    def _inc_counter(self) -> None:  # pybreaker's own name for it
        """Count a failure, whoever met it."""
        circuit = self._circuit()
        if circuit is not None:
            circuit.is_clean = False
        super()._inc_counter()

    def add_listener(self, listener: Any) -> None:
        """Register a listener."""
        circuit = self._circuit()
        if circuit is not None:
            circuit.is_ours = False
        super().add_listener(_Deferred(listener, self._circuit))

    def open(self) -> bool:
        """Open the circuit by hand, for its time."""
        try:
            return super().open()
        finally:
            self._call_listeners()

    def half_open(self) -> None:
        """Have the circuit admit a probe."""
        try:
            super().half_open()
        finally:
            self._call_listeners()

    def close(self) -> None:
        """Close the circuit by hand."""
        try:
            super().close()
        finally:
            self._call_listeners()

    def call(self, func: Any, *args: Any, **kwargs: Any) -> Any:
        """Call a function under pybreaker's own rules, without ours; its lock is held meanwhile."""
        try:
            return super().call(func, *args, **kwargs)
        finally:
            self._call_listeners()

    def _call_listeners(self) -> None:
        circuit = self._circuit()
        if circuit is not None:
            circuit.tell_later(circuit.call_listeners())


class _Deferred(pybreaker.CircuitBreakerListener):
    """One listener. pybreaker calls it under its lock, in the middle of a transition; it is told of that later."""

    def __init__(self, listener: Any, circuit: weakref.ref[Circuit]) -> None:
        self._listener = listener
        self._circuit = circuit

    def __eq__(self, other: object) -> bool:
        """Equal to what it stands for, by which pybreaker finds it to remove it."""
        return self is other or bool(self._listener == other)

    __hash__ = None  # type: ignore[assignment]  # nothing keeps listeners in a set

    def before_call(self, cb: Any, func: Any, *args: Any, **kwargs: Any) -> None:
        self._hear(methodcaller("before_call", cb, func, *args, **kwargs))

    def success(self, cb: Any) -> None:
        self._hear(methodcaller("success", cb))

    def failure(self, cb: Any, exc: Any) -> None:
        self._hear(methodcaller("failure", cb, exc))

    def state_change(self, cb: Any, old_state: Any, new_state: Any) -> None:
        self._hear(methodcaller("state_change", cb, old_state, new_state))

    def _hear(self, call: Callable[[Any], None]) -> None:
        circuit = self._circuit()
        if circuit is not None:
            circuit.hear(self._listener, call)


class _Transitions(pybreaker.CircuitBreakerListener):
    def __init__(self, circuit: Circuit) -> None:
        self._circuit = weakref.ref(circuit)

    def state_change(self, cb: Any, old_state: Any, new_state: Any) -> None:  # noqa: ARG002 - pybreaker's signature
        circuit = self._circuit()
        if circuit is not None:
            circuit.moved(old_state.name, new_state.name)


def _succeed() -> None:
    return None


def _fail() -> None:
    raise _ServerFailedError
