"""CircuitBreaker: stop calling a server that fails, and find out with one call when it works again."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

from resilient_foundry import sse
from resilient_foundry._forks import renewed_in_children
from resilient_foundry.call import (
    ASIDE,
    CIRCUIT,
    NO_SHORTCUT,
    OPTIONS,
    Passage,
    attempt_of,
    derive,
    options_of,
    passage_of,
)
from resilient_foundry.errors import CircuitOpenError, ResilienceError
from resilient_foundry.events import (
    Attempt,
    BodyEnd,
    CallRejected,
    CircuitEvent,
    CircuitProbed,
    Event,
    HedgeWon,
    Ledger,
    Outcome,
    TimedOut,
)
from resilient_foundry.faults import Fault, Judge, Verdict, fault_of, judge_by_status, legible
from resilient_foundry.flow import (
    URL,
    Flow,
    Proceed,
    Request,
    Response,
    discard,
    history,
    now,
    preview,
    tell,
    today,
    watch,
)
from resilient_foundry.origin import origin
from resilient_foundry.policies._checks import count, number, seconds, share, switch
from resilient_foundry.policies.retry_after import retry_after

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
        renewed_in_children(self)

    def of(self, name: str) -> Circuit:
        """The circuit of this name, made if it is new."""
        with self._lock:
            circuit = self._circuits.get(name)
            if circuit is not None:
                self._circuits.move_to_end(name)
                return circuit
        fresh = self._make(name)  # without the lock: a storage may be made by somebody's own code
        with self._lock:
            circuit = self._circuits.get(name)
            if circuit is None:  # no other thread was faster
                if len(self._circuits) >= self._limit:
                    self._forget()
                circuit = self._circuits[name] = fresh
            return circuit

    def __iter__(self) -> Iterator[Circuit]:
        with self._lock:
            return iter(list(self._circuits.values()))

    def after_fork(self) -> None:
        """A lock of its own."""
        self._lock = threading.Lock()

    def _forget(self) -> None:
        """Drop the least recently used circuit that is closed by itself; where none is, the least recently used."""
        for name, circuit in self._circuits.items():
            if circuit.state == _CLOSED and circuit.forced is None:
                del self._circuits[name]
                return
        self._circuits.popitem(last=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitBreaker:
    """Refuses calls to an origin that fails, for `open_seconds`; then admits one probe.

    It opens after `failures` in a row (None: however many). With `failure_rate` also when that share of the calls of
    the last `window` seconds failed, and with `slow_seconds` when the share `slow_rate` of them took that long to the
    head of their answer (of a stream that a `StreamGuard` holds: to its first event); either once `minimum_calls`
    ended in the window. Half the calls failing makes five failures in a row soon enough, so no rate is counted unless
    asked for.

    A success of the probe closes it (`successes` of them in a row, where more than one is asked for). A failure, or a
    slow success, opens it for `growth` times as long as before, at most `longest_open` seconds (or `open_seconds`
    where that is longer). Where the failures carried a `Retry-After`, it stays open as long as they asked, within the
    same bound. With `probe="/status"` a GET of that path at the same origin is the probe, and the caller's own
    call goes out only after its success. It carries the caller's headers without those of its body, and each
    of its phases has 3 seconds.

    One circuit an origin (scheme, host, port), for the `max_origins` used last. Two stacks that hold the same object
    share its circuits.

    Judged at the end of the body: a failure is a 5xx answer (but 501 and 505), a 408, a stream that broke, stalled,
    was truncated or reported an error, and a call that got no answer, also when its deadline ended it. Answers that
    blame the caller (4xx, and what `judge` recognises) are successes of the server. Cancelled and interrupted calls,
    425 and 429 (which may speak of one caller only, whatever their `Retry-After`), full pools and refusals by other
    policies count as nothing. A probe that is cancelled gives its place to the next one; a probe that is lost is given
    up after `probe_lease` seconds, which are to be more than a healthy answer may take.

    A probe whose answer is a stream has succeeded as soon as a `StreamGuard` further in has seen its first event with
    content, so that other calls need not wait for its end; if it ends badly, that counts as one failure after it.

    Raises `CircuitOpenError` at once, without sending; with `watch_only=True` it counts and tells what it would have
    refused, and lets it pass. It runs on pybreaker: `circuit(url).breaker` is pybreaker's own object. `storage` makes
    the pybreaker storage of one circuit, from its name; see `redis_storage`.
    """

    failures: int | None = 5
    failure_rate: float | None = None
    slow_seconds: float | None = None
    slow_rate: float = 0.5
    window: float = 30.0
    minimum_calls: int = 10
    open_seconds: float = 5.0
    growth: float = 2.0
    longest_open: float = 60.0
    successes: int = 1
    probe: str | None = None
    probe_lease: float = 60.0
    watch_only: bool = False
    max_origins: int = 1000
    judge: Judge = judge_by_status
    storage: Callable[[str], pybreaker.CircuitBreakerStorage] | None = None
    circuits: Circuits = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        storage: object = self.storage
        if storage is not None and not callable(storage):
            raise TypeError(
                f"CircuitBreaker.storage makes the storage of a circuit from its name, such as "
                f'redis_storage("redis://127.0.0.1/0"); it is not {type(storage).__name__}'
            )
        if self.failures is not None:
            count("CircuitBreaker.failures", self.failures)
        elif self.failure_rate is None and self.slow_seconds is None:
            raise ValueError("CircuitBreaker.failures is None, so failure_rate or slow_seconds is a number, not None")
        if self.failure_rate is not None:
            share("CircuitBreaker.failure_rate", self.failure_rate)
        seconds("CircuitBreaker.slow_seconds", self.slow_seconds)
        share("CircuitBreaker.slow_rate", self.slow_rate)
        number("CircuitBreaker.window", self.window, above=0.0)
        count("CircuitBreaker.minimum_calls", self.minimum_calls)
        number("CircuitBreaker.open_seconds", self.open_seconds, above=0.0)
        number("CircuitBreaker.growth", self.growth, at_least=1.0)
        number("CircuitBreaker.longest_open", self.longest_open, above=0.0)
        count("CircuitBreaker.successes", self.successes)
        _check_path("CircuitBreaker.probe", self.probe)
        number("CircuitBreaker.probe_lease", self.probe_lease, above=0.0)
        switch("CircuitBreaker.watch_only", self.watch_only)
        count("CircuitBreaker.max_origins", self.max_origins)
        from resilient_foundry.policies.circuit import Circuit  # noqa: PLC0415 - as above: who makes a breaker pays

        def make(name: str) -> Circuit:
            return Circuit(name, self, self.storage(name) if self.storage else None)

        object.__setattr__(self, "circuits", Circuits(make, self.max_origins))

    def circuit(self, url: URL | str) -> Circuit:
        """The circuit of a URL's origin: its state, the hand on it, and pybreaker's object for listeners.

        Raises ValueError for a string that is no absolute URL.
        """
        return self.circuits.of(origin(url))

    def take(self, call: Passage) -> object:
        """A permit of a circuit that is closed."""
        model: str | None = call.request.extensions.get(CIRCUIT)
        circuit = self.circuits.of(call.origin if model is None else f"{call.origin} {model}")
        permit = circuit.admit_at_once(call.began)
        return NO_SHORTCUT if permit is None else _Settlement(permit, self)

    def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
        """Ask the circuit, send, and tell it at the end of the body how it went."""
        passage = passage_of(request)
        if passage is not None:
            taken: _Settlement = passage.taken_by(self)
            return (yield from self._sent(taken.permit, request, proceed))
        circuit = self.circuits.of(_name(request))
        permit = yield from self._admission(circuit)
        if self.probe is not None and not self.watch_only:
            while permit is not None and permit.is_probe:
                works = yield from self._probed(circuit, permit, _cheap(request, self.probe), proceed)
                permit = yield from self._admission(circuit)
                if works is None:
                    break  # the cheap question taught nothing: the call itself is the probe
        if permit is None:
            return (yield from proceed(request))
        return (yield from self._sent(permit, request, proceed))

    def _sent(self, permit: Permit, request: Request, proceed: Proceed) -> Flow[Response]:
        ledger = yield from history()
        try:
            response = yield from proceed(request)
        except Exception as error:
            failed = yield from now()
            permit.slow = self.slow_seconds is not None and failed - permit.admitted >= self.slow_seconds
            settle = permit.failure if _blames_the_server(error) else permit.release
            yield from _tell_all(settle(failed))
            raise
        except BaseException:  # cancelled or interrupted: nothing was learnt, unless a deadline did it
            permit.release(permit.admitted)
            ledger.listen(_Hindsight(permit, ledger))
            raise
        attempt = attempt_of(response)
        yield from self._note(permit, response, attempt, ledger)
        if permit.is_probe and _has_begun_well(response, attempt):
            yield from _tell_all(permit.begun((yield from now())))
        yield from watch(response, _Settlement(permit, self).watcher(response, ledger))
        return response

    def _admission(self, circuit: Circuit) -> Flow[Permit | None]:
        """A permit, or the refusal raised; None where it is only watched."""
        admitted = yield from now()
        try:
            permit, changes = circuit.admit(admitted)
        except CircuitOpenError as refusal:
            yield from _tell_all(circuit.untold())
            watched_only = self.watch_only and circuit.forced is None
            yield from tell(CallRejected(circuit.name, refusal.retry_after, watched_only))
            if watched_only:
                return None
            raise
        try:
            yield from _tell_all(changes)
        except BaseException:  # a listener's error: nobody would give the permit back
            permit.release(admitted)
            raise
        return permit

    def _probed(self, circuit: Circuit, permit: Permit, question: Request, proceed: Proceed) -> Flow[bool | None]:
        """Whether the server works, by a request that costs it little; None where nothing was learnt."""
        ledger = yield from history()
        try:
            works = yield from self._asked(permit, question, proceed, ledger)
        except Exception as error:
            if not _blames_the_server(error):
                permit.release(permit.admitted)
                if isinstance(error, ResilienceError) or fault_of(error) is not Fault.OURS:
                    return None  # the call itself meets the same, and says so
                raise
            works = False
        except BaseException:
            permit.release(permit.admitted)
            ledger.listen(_Hindsight(permit, ledger))
            raise
        settle = permit.release if works is None else permit.success if works else permit.failure
        changes = settle((yield from now()))
        if works is not None:
            yield from tell(CircuitProbed(circuit.name, works))
        yield from _tell_all(changes)
        return works

    def _asked(self, permit: Permit, question: Request, proceed: Proceed, ledger: Ledger) -> Flow[bool | None]:
        response = yield from proceed(question)
        attempt = attempt_of(response)
        yield from self._note(permit, response, attempt, ledger)
        answer = _Judgement(self.judge, response, attempt)
        yield from watch(response, answer)
        if not sse.announced_by(response.headers):
            yield from preview(response, _BODY_OF_A_FAILURE)  # read to its end, its connection can be used again
        yield from discard(response)
        return answer.works()

    def _note(self, permit: Permit, response: Response, attempt: Attempt | None, ledger: Ledger) -> Flow[None]:
        """What is known of an answer before its body: whether it was slow, and how long the server wants to rest."""
        if self.slow_seconds is not None:
            began = permit.admitted if attempt is None else ledger.started + attempt.started
            permit.slow = (yield from now()) - began >= self.slow_seconds
        if response.status_code >= _FAILURES:
            permit.asked = retry_after(response.headers, (yield from today())) or 0.0


class _Hindsight:
    """A call was cancelled: if it turns out that its deadline did that, the server was too slow."""

    def __init__(self, permit: Permit, ledger: Ledger) -> None:
        self._permit = permit
        self._ledger = ledger
        self._lost = False

    def __call__(self, event: Event) -> None:
        if isinstance(event, HedgeWon):  # told after the others were cancelled: it was that
            self._lost = True
        elif isinstance(event, TimedOut) and event.phase == "deadline" and not self._lost:
            at = self._ledger.started + self._ledger.events[-1][0]
            for change in self._permit.failure(at):
                self._ledger.tell(change, at)


class _Judgement:
    """Watches the body of an answer, and says what it tells of the server."""

    def __init__(self, judge: Judge, response: Response, attempt: Attempt | None) -> None:
        self._judge = judge
        self._response = response
        self._attempt = attempt
        self._body = bytearray()
        self._end: BodyEnd | None = None

    def chunk(self, data: bytes, at: float) -> None:
        """Keep the beginning of a failure's body for the judge."""
        del at
        if self._response.status_code >= _FAILURES:
            self._body += data[: _BODY_OF_A_FAILURE - len(self._body)]

    def ended(self, end: BodyEnd, at: float) -> BodyEnd:
        """Remember how it ended."""
        del at
        self._end = end
        return end

    def works(self) -> bool | None:
        """Whether the server did its work; None where the answer tells nothing of that."""
        response, end = self._response, self._end
        if end is None or end.outcome is Outcome.CANCELLED:
            return None
        if end.outcome in {Outcome.BROKEN, Outcome.STALLED, Outcome.TRUNCATED}:
            return None if end.verdict is Verdict.CALLER else False
        if end.outcome is Outcome.IN_BAND_ERROR:
            return end.verdict is Verdict.CALLER
        body = legible(response.headers, bytes(self._body))
        verdict = self._judge(response.status_code, response.headers, body)
        if verdict is Verdict.BUSY:
            return False if response.status_code == _UNAVAILABLE else None
        if verdict is not Verdict.SERVER and end.outcome is Outcome.ABANDONED and not _came(self._attempt):
            return None  # closed unread: its head says too little
        return verdict is not Verdict.SERVER


class _Settlement:
    """Settles the permit of a call when the body of its answer ends."""

    _judgement: _Judgement
    _ledger: Ledger

    def __init__(self, permit: Permit, policy: CircuitBreaker) -> None:
        self.permit = permit
        self.policy = policy

    def put_back(self) -> None:
        """Nothing was sent."""
        self.permit.release(self.permit.admitted)

    def completed(self, response: Response, ledger: Ledger, at: float) -> None:
        """A good answer has come, and as fast as it did; what else it may be is the judge's to say."""
        policy = self.policy
        if policy.slow_seconds is not None:
            self.permit.slow = (ledger.attempts[0].answered_after or 0.0) >= policy.slow_seconds
        if policy.judge is not judge_by_status:
            self.watcher(response, ledger).ended(BodyEnd(Outcome.COMPLETE), at)
            return
        for change in self.permit.success(at):
            ledger.tell(change, at)

    def watcher(self, response: Response, ledger: Ledger) -> Self:
        """Itself, which now listens to how the body ends."""
        self._judgement = _Judgement(self.policy.judge, response, attempt_of(response))
        self._ledger = ledger
        return self

    def chunk(self, data: bytes, at: float) -> None:
        """Have it looked at."""
        self._judgement.chunk(data, at)

    def ended(self, end: BodyEnd, at: float) -> BodyEnd:
        """Tell the circuit."""
        permit = self.permit
        try:
            self._judgement.ended(end, at)
            works = self._judgement.works()
        except BaseException:  # the judge's: it is the user's own code
            permit.release(at)
            raise
        settle = permit.release if works is None else permit.success if works else permit.failure
        for change in settle(at):
            self._ledger.tell(change, at)
        return end


_REFUSALS = 400
_FAILURES = 500
_UNAVAILABLE = 503
"""The server says itself that it does not work (RFC 9110 section 15.6.4); 425 and 429 may speak of one caller only."""


def _name(request: Request) -> str:
    """The origin, and the model where a `Fallback` asks it for another one."""
    model: str | None = request.extensions.get(CIRCUIT)
    return origin(request.url) if model is None else f"{origin(request.url)} {model}"


_PROBE_SECONDS = 3.0
"""As long as a health check may take, in each phase. (Not the 5 of httpx's default, which is taken for no wish.)"""
_OF_THE_CALL_ALONE = re.compile(r"content-.*|transfer-encoding|expect|te|trailer|idempotency-key|range|if-.*")
"""Headers that speak of the caller's own body, and of its own answer (RFC 9110 sections 8, 10.1 and 13)."""


def _cheap(request: Request, path: str) -> Request:
    """A GET of this path at the origin of the request, with its credentials and without what is about its body."""
    url: Any = type(request.url)  # every httpx-shaped library constructs its URL from text
    asked: Mapping[str, float | None] = request.extensions.get("timeout") or {}
    limits = {phase: min(asked.get(phase) or _PROBE_SECONDS, _PROBE_SECONDS) for phase in _PHASES}
    return derive(
        request,
        method="GET",
        url=url(origin(request.url) + path),
        without=[name for name in request.headers if _OF_THE_CALL_ALONE.fullmatch(name.lower())],
        content=b"",
        extensions={"timeout": limits, ASIDE: True, OPTIONS: replace(options_of(request), template=path)},
    )


_PHASES = ("connect", "read", "write", "pool")


def _check_path(name: str, path: object) -> None:
    if path is not None and not (isinstance(path, str) and path.startswith("/")):
        raise ValueError(f"{name} is a path such as '/status', or None, not {path!r}")


def _tell_all(changes: list[CircuitEvent]) -> Flow[None]:
    for change in changes:
        yield from tell(change)


def _came(attempt: Attempt | None) -> bool:
    return attempt is not None and attempt.bytes > 0


def _has_begun_well(response: Response, attempt: Attempt | None) -> bool:
    """Whether a stream of events is delivering: a guard further in has held it until its first event with content."""
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
