"""A circuit: pybreaker's state machine, asked in two phases.

`admit` gives a permit or refuses; the permit takes exactly one of success, failure and release. In between, no lock is
held, so a slow call holds nobody up, and the same circuit serves threads, asyncio and trio at once. pybreaker keeps the
counters, thresholds, transitions, listeners and storage; a known outcome is replayed into its state with a
function that returns or raises at once. What stands here is what pybreaker leaves open:

    closed ──(fail_max failures in a row)──▶ open ──(open_seconds)──▶ half-open ──(probe succeeds)──▶ closed
                                              ▲                           │
                                              └───────(probe fails)───────┘

* one probe at a time in half-open, by a lease that runs out, so that a lost probe can't jam the circuit;
* an epoch, which every transition ends: results of calls that were admitted in an earlier one are dropped;
* a neutral outcome (`release`): a cancelled call says nothing about the server;
* monotonic time: a step of the wall clock neither prolongs nor ends a break;
* one lock, ours and pybreaker's the same: with two, a listener that calls through the same client while somebody opens
  the circuit by hand would take them in the other order.

What the storage raises passes: before anything is sent where it can't be asked, and instead of the answer where the
outcome can't be written down. No permit is lost by it: the lease is given back first.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pybreaker

from resilient_foundry.errors import CircuitOpenError
from resilient_foundry.events import (
    CircuitClosed,
    CircuitEvent,
    CircuitHalfOpened,
    CircuitListenerFailed,
    CircuitOpened,
)


class _ServerFailedError(Exception):
    """What is replayed into pybreaker for a failed answer that was no exception."""


@dataclass(slots=True)
class _Lease:
    """A probe's right to be the only one, until `ends`."""

    ends: float


class Permit:
    """Admission of one call. Exactly one of its answers counts; later ones are ignored.

    Only a failure may still follow a release, when it turns out that a deadline, and not the caller, cancelled the
    call; and a good beginning, when what began well ends badly.
    """

    __slots__ = ("_circuit", "_epoch", "_lease", "_settled", "_spent")

    def __init__(self, circuit: Circuit, epoch: int, lease: _Lease | None) -> None:
        self._circuit = circuit
        self._epoch = epoch
        self._lease = lease
        self._settled = False
        self._spent = False

    @property
    def is_probe(self) -> bool:
        """Whether the circuit waits for this call's outcome."""
        return self._lease is not None

    def success(self, now: float) -> list[CircuitEvent]:
        """The server did its work."""
        return [] if self._settled else self._settle(now, _succeed)

    def begun(self, now: float) -> list[CircuitEvent]:
        """The server is at work: a success now, and from here on a call like any that is admitted after it."""
        if self._spent or self._settled:
            return []
        self._settled = True
        with self._circuit.lock:
            is_news = self._epoch == self._circuit.epoch
            changes = self._circuit.settle(self._epoch, self._lease, now, _succeed)
            if is_news:
                self._epoch = self._circuit.epoch
        return changes

    def failure(self, now: float) -> list[CircuitEvent]:
        """The server failed."""
        return self._settle(now, _fail)

    def release(self, now: float) -> list[CircuitEvent]:
        """Nothing was learnt about the server."""
        if self._spent or self._settled:
            return []
        self._settled = True
        return self._circuit.settle(self._epoch, self._lease, now, None)

    def _settle(self, now: float, replay: Callable[[], None]) -> list[CircuitEvent]:
        if self._spent:
            return []
        self._spent = True
        return self._circuit.settle(self._epoch, self._lease, now, replay)


class Circuit:
    """One circuit, for one origin. Give it `now`, monotonic seconds; it reads no clock."""

    def __init__(
        self,
        name: str,
        *,
        failures: int,
        open_seconds: float,
        successes: int,
        probe_lease: float,
        storage: pybreaker.CircuitBreakerStorage | None,
    ) -> None:
        self.name = name
        self._open_seconds = open_seconds
        self._probe_lease = probe_lease
        self.lock = threading.RLock()  # re-entrant: a listener may call through the same client
        self.epoch = 0
        """How many transitions there were."""
        self._opened: float | None = None
        self._leases: list[_Lease] = []
        self._replaying = False
        self._told: list[CircuitEvent] = []
        self._storage = storage or pybreaker.CircuitMemoryStorage(pybreaker.STATE_CLOSED)
        self.breaker = self._made(failures, successes, [_Transitions(self)])
        """pybreaker's own object, for its listeners, its counters, and `open()` and `close()` by hand."""
        _circuits.add(self)

    def _made(
        self, failures: int, successes: int, listeners: Sequence[pybreaker.CircuitBreakerListener]
    ) -> pybreaker.CircuitBreaker:
        return _Breaker(
            self,
            fail_max=failures,
            reset_timeout=self._open_seconds,
            success_threshold=successes,
            listeners=listeners,
            state_storage=self._storage,
            name=self.name,
            throw_new_error_on_trip=False,
        )

    @property
    def state(self) -> str:
        """`closed`, `open` or `half-open`."""
        return self.breaker.current_state

    def admit(self, now: float) -> tuple[Permit, list[CircuitEvent]]:
        """A permit for one call, and what changed; raises `CircuitOpenError`."""
        with self.lock:
            state = self.breaker.state.name
            if state == pybreaker.STATE_CLOSED:
                return Permit(self, self.epoch, None), self._changes()
            if state == pybreaker.STATE_OPEN:
                if self._opened is None:  # opened by hand or by another process: its time starts when it is first seen
                    self._opened = now
                left = self._opened + self._open_seconds - now
                if left > 0:
                    raise CircuitOpenError(
                        f"circuit for {self.name} is open; next probe in {left:.1f} s",
                        circuit=self.name,
                        retry_after=left,
                    )
                self.breaker.half_open()
            self._leases = [lease for lease in self._leases if lease.ends > now]
            if self._leases:
                raise CircuitOpenError(
                    f"circuit for {self.name} is open; a probe is under way, and its result decides", circuit=self.name
                )
            lease = _Lease(ends=now + self._probe_lease)
            self._leases.append(lease)
            return Permit(self, self.epoch, lease), self._changes()

    def settle(
        self, epoch: int, lease: _Lease | None, now: float, replay: Callable[[], None] | None
    ) -> list[CircuitEvent]:
        """Take the outcome of a permit; called by the permit, once."""
        with self.lock:
            if lease is not None:
                self._leases = [other for other in self._leases if other is not lease]
            if replay is not None and not self._replaying:  # what a listener's own call meets is no news
                state = self.breaker.state  # one look; it may end the epoch
                if epoch == self.epoch and state.name != pybreaker.STATE_OPEN:
                    self._replay(state, replay)
                    if self._opened is None and self.breaker.current_state == pybreaker.STATE_OPEN:
                        self._opened = now
            return self._changes()

    def _replay(self, state: pybreaker.CircuitBreakerState, outcome: Callable[[], None]) -> None:
        """As `breaker.call` does, which would look anew, and refuse what another process has cut off since."""
        self._replaying = True
        try:
            state.call(outcome)
        except _ServerFailedError as replayed:
            # pybreaker's frames hold it in a cycle, and it would hold the caller's own error in there too
            replayed.__context__ = replayed.__traceback__ = None
        finally:
            self._replaying = False

    def moved(self, state: str) -> None:
        """A transition happened, whoever caused it; called by pybreaker, under its lock."""
        self.epoch += 1
        self._leases = []
        self._opened = None
        if state == pybreaker.STATE_OPEN:
            self._told.append(CircuitOpened(self.name, self._open_seconds))
        elif state == pybreaker.STATE_HALF_OPEN:
            self._told.append(CircuitHalfOpened(self.name))
        else:
            self._told.append(CircuitClosed(self.name))

    def hear_of(self, listener: object, error: Exception) -> None:
        """A listener failed; called by pybreaker's circuit, under its lock."""
        self._told.append(CircuitListenerFailed(self.name, type(listener).__name__, type(error).__name__))

    def after_fork(self) -> None:
        """A lock that another thread held at the fork is never free again in the child, ours and pybreaker's alike."""
        self.lock = threading.RLock()
        self._leases = []
        self._replaying = False
        old: Any = self.breaker  # pybreaker's annotations leave the type of a listener open
        self.breaker = self._made(old.fail_max, old.success_threshold, old.listeners)

    def _changes(self) -> list[CircuitEvent]:
        """What is to be told once the lock is free."""
        told, self._told = self._told, []
        return told


class _Breaker(pybreaker.CircuitBreaker):
    """pybreaker's circuit, under our lock. What its listeners raise is told, and fails no call."""

    def __init__(self, circuit: Circuit, **settings: Any) -> None:  # pybreaker's own settings
        self._circuit = weakref.ref(circuit)
        super().__init__(**settings)
        self._lock = circuit.lock  # pybreaker's own name for it

    def add_listener(self, listener: Any) -> None:
        """Register a listener."""
        super().add_listener(_Guarded(listener, self._circuit))


class _Guarded(pybreaker.CircuitBreakerListener):
    """One listener. pybreaker calls it under its lock, and in the middle of a transition."""

    def __init__(self, listener: Any, circuit: weakref.ref[Circuit]) -> None:
        self._listener = listener
        self._circuit = circuit

    def __eq__(self, other: object) -> bool:
        """Equal to what it guards, by which pybreaker finds it to remove it."""
        return self is other or bool(self._listener == other)

    __hash__ = None  # type: ignore[assignment]  # nothing keeps listeners in a set

    def before_call(self, cb: Any, func: Any, *args: Any, **kwargs: Any) -> None:
        self._guard("before_call", cb, func, *args, **kwargs)

    def success(self, cb: Any) -> None:
        self._guard("success", cb)

    def failure(self, cb: Any, exc: Any) -> None:
        self._guard("failure", cb, exc)

    def state_change(self, cb: Any, old_state: Any, new_state: Any) -> None:
        self._guard("state_change", cb, old_state, new_state)

    def _guard(self, method: str, *args: Any, **kwargs: Any) -> None:
        try:
            getattr(self._listener, method)(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - somebody else's code
            circuit = self._circuit()
            if circuit is not None:
                circuit.hear_of(self._listener, error)


class _Transitions(pybreaker.CircuitBreakerListener):
    def __init__(self, circuit: Circuit) -> None:
        self._circuit = weakref.ref(circuit)

    def state_change(self, cb: Any, old_state: Any, new_state: Any) -> None:  # noqa: ARG002 - pybreaker's signature
        circuit = self._circuit()
        if circuit is not None:
            circuit.moved(new_state.name)


def _succeed() -> None:
    return None


def _fail() -> None:
    raise _ServerFailedError


_circuits: weakref.WeakSet[Circuit] = weakref.WeakSet()


def _renew_locks() -> None:
    for circuit in list(_circuits):
        circuit.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)
