"""CircuitBreaker: stop calling a server that fails, and find out with one call when it works again."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from resilient_foundry import sse
from resilient_foundry.errors import CircuitOpenError
from resilient_foundry.events import BodyEnd, CallRejected, CircuitEvent, Event, Ledger, Outcome, TimedOut
from resilient_foundry.faults import Fault, Judge, Verdict, fault_of, judge_by_status, legible
from resilient_foundry.flow import URL, Flow, Proceed, Request, Response, history, now, tell, watch
from resilient_foundry.policies._checks import count, number
from resilient_foundry.policies.origin import origin

if TYPE_CHECKING:  # pybreaker imports redis, and redis the OpenTelemetry SDK, wherever they are installed
    import pybreaker

    from resilient_foundry.policies.circuit import Circuit, Permit

_BODY_OF_A_FAILURE = 8 * 1024
"""Bytes of a failure's body that the judge is shown."""

_CLOSED = "closed"


class Circuits:
    """The circuits of a breaker, one an origin, the least recently used dropped first. Shared by all who hold it."""

    def __init__(self, make: Callable[[str], Circuit], limit: int) -> None:
        self._make = make
        self._limit = limit
        self._circuits: OrderedDict[str, Circuit] = OrderedDict()
        self._lock = threading.Lock()
        self._owner = os.getpid()

    def of(self, name: str) -> Circuit:
        """The circuit of this name, made if it is new."""
        with self._locked():
            circuit = self._circuits.get(name)
            if circuit is None:
                if len(self._circuits) >= self._limit:
                    self._forget()
                circuit = self._circuits[name] = self._make(name)
            self._circuits.move_to_end(name)
            return circuit

    def __iter__(self) -> Iterator[Circuit]:
        with self._locked():
            return iter(list(self._circuits.values()))

    def _locked(self) -> threading.Lock:
        if self._owner != os.getpid():  # another thread may have held the lock at the fork
            self._lock, self._owner = threading.Lock(), os.getpid()
        return self._lock

    def _forget(self) -> None:
        """Drop the least recently used circuit that is closed; where none is, the least recently used."""
        for name, circuit in self._circuits.items():
            if circuit.state == _CLOSED:
                del self._circuits[name]
                return
        self._circuits.popitem(last=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitBreaker:
    """Refuses calls to an origin that failed `failures` times in a row, for `open_seconds`; then admits one probe.

    A success of the probe closes the circuit (`successes` of them in a row, where more than one is asked for), a
    failure opens it again. One circuit an origin (scheme, host, port), for the `max_origins` used last. Two stacks
    that hold the same object share its circuits.

    Judged at the end of the body: a failure is a 5xx answer (but 501 and 505), a 408, a stream that broke, stalled,
    was truncated or reported an error, and a call that got no answer, also when its deadline ended it. Answers that
    blame the caller (4xx, and what `judge` recognises) are successes of the server. Cancelled and interrupted calls,
    425 and 429, full pools and refusals by other policies count as nothing. A probe that is cancelled gives its place
    to the next one; a probe that is lost is given up after `probe_lease` seconds, which are to be more than a healthy
    answer may take.

    A probe whose answer is a stream has succeeded as soon as a `StreamGuard` further in has seen its first event with
    content, so that other calls need not wait for its end; if it ends badly, that counts as one failure after it.

    Raises `CircuitOpenError` at once, without sending. It runs on pybreaker: `circuit(url).breaker` is pybreaker's own
    object. `storage` makes the pybreaker storage of one circuit, from its name; see `redis_storage`.
    """

    failures: int = 5
    open_seconds: float = 5.0
    successes: int = 1
    probe_lease: float = 60.0
    max_origins: int = 1000
    judge: Judge = judge_by_status
    storage: Callable[[str], pybreaker.CircuitBreakerStorage] | None = None
    circuits: Circuits = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        count("CircuitBreaker.failures", self.failures)
        number("CircuitBreaker.open_seconds", self.open_seconds, above=0.0)
        count("CircuitBreaker.successes", self.successes)
        number("CircuitBreaker.probe_lease", self.probe_lease, above=0.0)
        count("CircuitBreaker.max_origins", self.max_origins)
        from resilient_foundry.policies.circuit import Circuit  # noqa: PLC0415 - as above: who makes a breaker pays

        def make(name: str) -> Circuit:
            return Circuit(
                name,
                failures=self.failures,
                open_seconds=self.open_seconds,
                successes=self.successes,
                probe_lease=self.probe_lease,
                storage=self.storage(name) if self.storage else None,
            )

        object.__setattr__(self, "circuits", Circuits(make, self.max_origins))

    def circuit(self, url: URL | str) -> Circuit:
        """The circuit of a URL's origin: its state, and pybreaker's object for listeners and manual control.

        Raises ValueError for a string that is no absolute URL.
        """
        return self.circuits.of(origin(url))

    def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
        """Ask the circuit, send, and tell it at the end of the body how it went."""
        circuit = self.circuits.of(origin(request.url))
        admitted = yield from now()
        try:
            permit, changes = circuit.admit(admitted)
        except CircuitOpenError as refusal:
            yield from tell(CallRejected(circuit.name, refusal.retry_after))
            raise
        try:
            yield from _tell_all(changes)
            ledger = yield from history()
        except BaseException:  # a listener's error: nobody would give the permit back
            permit.release(admitted)
            raise
        try:
            response = yield from proceed(request)
        except Exception as error:
            settle = permit.failure if _blames_the_server(error) else permit.release
            yield from _tell_all(settle((yield from now())))
            raise
        except BaseException:  # cancelled or interrupted: nothing was learnt, unless a deadline did it
            permit.release(admitted)
            ledger.listeners.append(_Hindsight(permit, ledger))
            raise
        if permit.is_probe and _has_begun_well(response, ledger):
            yield from _tell_all(permit.begun((yield from now())))
        yield from watch(response, _Settlement(permit, response, self.judge, ledger))
        return response


class _Hindsight:
    """A call was cancelled: if it turns out that its deadline did that, the server was too slow."""

    def __init__(self, permit: Permit, ledger: Ledger) -> None:
        self._permit = permit
        self._ledger = ledger

    def __call__(self, event: Event) -> None:
        if isinstance(event, TimedOut) and event.phase == "deadline":
            at = self._ledger.started + self._ledger.events[-1][0]
            for change in self._permit.failure(at):
                self._ledger.tell(change, at)


class _Settlement:
    """Watches the body of an answer, and settles the permit when it ends."""

    def __init__(self, permit: Permit, response: Response, judge: Judge, ledger: Ledger) -> None:
        self._permit = permit
        self._response = response
        self._judge = judge
        self._ledger = ledger
        self._attempt = ledger.attempts[-1] if ledger.attempts else None
        self._body = bytearray()

    def chunk(self, data: bytes, at: float) -> None:
        """Keep the beginning of a failure's body for the judge."""
        del at
        if self._response.status_code >= _FAILURES:
            self._body += data[: _BODY_OF_A_FAILURE - len(self._body)]

    def ended(self, end: BodyEnd, at: float) -> BodyEnd:
        """Tell the circuit."""
        try:
            settle = self._settle(end)
        except BaseException:  # the judge's: it is the user's own code
            self._permit.release(at)
            raise
        for change in settle(at):
            self._ledger.tell(change, at)
        return end

    def _settle(self, end: BodyEnd) -> Callable[[float], list[CircuitEvent]]:
        response, permit = self._response, self._permit
        if end.outcome is Outcome.CANCELLED:
            return permit.release
        if end.outcome in {Outcome.BROKEN, Outcome.STALLED, Outcome.TRUNCATED}:
            return permit.release if end.verdict is Verdict.CALLER else permit.failure
        if end.outcome is Outcome.IN_BAND_ERROR:
            return permit.success if end.verdict is Verdict.CALLER else permit.failure
        body = legible(response.headers, bytes(self._body))
        verdict = self._judge(response.status_code, response.headers, body)
        if verdict is Verdict.SERVER or (verdict is Verdict.BUSY and response.status_code == _UNAVAILABLE):
            return permit.failure
        if verdict is Verdict.BUSY:
            return permit.release
        if end.outcome is Outcome.ABANDONED and (self._attempt is None or not self._attempt.bytes):
            return permit.release  # closed unread: its head says too little
        return permit.success


_REFUSALS = 400
_FAILURES = 500
_UNAVAILABLE = 503
"""The server says itself that it does not work (RFC 9110 section 15.6.4); 425 and 429 may speak of one caller only."""


def _tell_all(changes: list[CircuitEvent]) -> Flow[None]:
    for change in changes:
        yield from tell(change)


def _has_begun_well(response: Response, ledger: Ledger) -> bool:
    """Whether a stream of events is delivering: a guard further in has held it until its first event with content."""
    attempt = ledger.attempts[-1] if ledger.attempts else None
    return (
        response.status_code < _REFUSALS
        and sse.announced_by(response.headers)
        and attempt is not None
        and attempt.chunks > 0
        and attempt.outcome is None
    )


def _blames_the_server(error: Exception) -> bool:
    """A full pool is ours; what was refused by a policy further in was decided on this side too."""
    return fault_of(error) is not Fault.OURS and not any(kind.__name__ == "PoolTimeout" for kind in type(error).__mro__)
