"""ConcurrencyLimit: so many calls at once and no more; whoever comes later waits for its turn, or is told at once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, TypedDict
from weakref import WeakValueDictionary

from resilient_foundry import sse
from resilient_foundry._forks import renewed_in_children
from resilient_foundry.call import CLOCK_STEP, NO_SHORTCUT, Passage, attempt_of, options_of, passage_of, shared_of
from resilient_foundry.errors import ConcurrencyLimitError
from resilient_foundry.events import BodyEnd, CallShed, LimitChanged, Outcome, Queued
from resilient_foundry.faults import Fault, Verdict, fault_of
from resilient_foundry.flow import history, now, tell, wait, watch
from resilient_foundry.holders import holders
from resilient_foundry.origin import origin
from resilient_foundry.policies._checks import count, number, seconds, switch
from resilient_foundry.policies.adaptive import AdaptiveLimit, Search
from resilient_foundry.policies.gate import Gate, Place, Snapshot, Standing

if TYPE_CHECKING:
    from resilient_foundry.events import Attempt, Event, Ledger
    from resilient_foundry.flow import URL, Flow, Proceed, Request, Response

_OVERLOADED = frozenset({429, 503, 504})
"""RFC 6585 section 4, RFC 9110 sections 15.6.4 and 15.6.5."""
_REFUSALS = 400
_SHARE_OF_THE_IDLE_LIMIT = 0.8
"""A connection is given up this much before its server would, so that no request meets one that is being closed."""
_KINDS = 64
"""Kinds of calls of a server whose usual duration is remembered."""
_NEWEST = 0.2
"""Weight of the latest call in the usual duration."""

Kind = tuple[str, str, int]
"""Method, path, and size of the request to a power of two: what calls are compared by."""


class PoolLimits(TypedDict):
    """The keyword arguments of `httpx.Limits` and `httpx2.Limits`."""

    max_connections: int
    max_keepalive_connections: int
    keepalive_expiry: float


@dataclass(frozen=True, slots=True)
class ConcurrencyLimit:
    """Lets so many calls out to an origin at once; the others wait for their turn: `ConcurrencyLimit(4)`.

    With `ConcurrencyLimit(AdaptiveLimit())` it finds out by itself how many calls the server bears. A place is taken
    for each attempt, so it is free during the waits between them, and held until the body of the answer has ended or
    is closed: a stream that is being read counts. There is one limit an origin (scheme, host, port), for the
    `max_origins` used last. Stacks that hold the same object share it, also between threads, asyncio and trio; all
    stand in one queue.

    Those who wait are served by `CallOptions.priority`, the highest first, and of one priority in the order in which
    their calls began, so that a retried call keeps its turn. As long as calls of a higher priority keep coming, lower
    ones wait: they may starve. At most `queue` calls wait; each for at most `longest_wait` seconds (None: as long as
    its deadline allows), and one whose deadline has passed is never sent. Waiting ends at once for a call that is
    cancelled.

    A server that computes in silence does not notice that nobody waits any more. With `linger`, a call that was sent
    and then cancelled or timed out before the first byte of its answer's body keeps its place while the server is
    probably still at it: as long as such calls usually take, or as long again if it took longer already, and at most
    so many seconds from when it was given up. A server notices that a stream is closed when it writes to it; with
    `linger_streams` a place is kept after those as well, for servers that don't.

    Raises `ConcurrencyLimitError` at once where the queue is full, and when `longest_wait` has passed; nothing was
    sent. The circuit and `Retry` count neither.
    """

    limit: int | AdaptiveLimit
    queue: int = field(default=100, kw_only=True)
    longest_wait: float | None = field(default=None, kw_only=True)
    linger: float = field(default=0.0, kw_only=True)
    linger_streams: bool = field(default=False, kw_only=True)
    max_origins: int = field(default=1000, kw_only=True)
    _servers: _Servers = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.limit, AdaptiveLimit):
            count("ConcurrencyLimit.limit", self.limit)
        count("ConcurrencyLimit.queue", self.queue, at_least=0)
        seconds("ConcurrencyLimit.longest_wait", self.longest_wait)
        number("ConcurrencyLimit.linger", self.linger, at_least=0.0)
        switch("ConcurrencyLimit.linger_streams", self.linger_streams)
        count("ConcurrencyLimit.max_origins", self.max_origins)
        limit, queue = self.limit, self.queue
        object.__setattr__(self, "_servers", _Servers(lambda name: _Server(name, limit, queue), self.max_origins))

    def snapshot(self, url: URL | str, now: float | None = None) -> Snapshot:
        """The limit of a URL's origin, the places in use, how many wait, and how many of those in use linger.

        With `now` (`time.monotonic()`), those whose time is up by then are not counted any more. Raises ValueError for
        a string that is no absolute URL.
        """
        server = self._servers.known(origin(url))
        if server is None:
            start = self.limit.start if isinstance(self.limit, AdaptiveLimit) else self.limit
            return Snapshot(start, in_use=0, waiting=0, lingering=0)
        return server.gate.snapshot(now)

    def pool(self, *, origins: int = 1, server_idle: float = 5.0) -> PoolLimits:
        """What suits this limit of a connection pool: `httpx.HTTPTransport(limits=httpx.Limits(**limit.pool()))`.

        There is a connection for every place, for so many `origins`, and all are kept, because httpx 0.28 reuses hardly
        any where it may keep fewer than it may open. They are given up before the server does so, which closes idle
        ones after `server_idle` seconds (5 of uvicorn and Node).
        """
        count("ConcurrencyLimit.pool(origins)", origins)
        number("ConcurrencyLimit.pool(server_idle)", server_idle, above=0.0)
        places = origins * (self.limit.highest if isinstance(self.limit, AdaptiveLimit) else self.limit)
        return PoolLimits(
            max_connections=places,
            max_keepalive_connections=places,
            keepalive_expiry=_SHARE_OF_THE_IDLE_LIMIT * server_idle,
        )

    def take(self, call: Passage) -> object:
        """A place, where one is free; nothing is learnt of the call, and it is not to be waited for."""
        if self.linger or isinstance(self.limit, AdaptiveLimit):
            return NO_SHORTCUT
        server = self._servers.of(call.origin)
        place = server.gate.enter()
        return NO_SHORTCUT if place is None else _Call(self, server, place)

    def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
        """Take a place, send, and give it back when the body ends."""
        passage = passage_of(request)
        if passage is not None:
            call: _Call = passage.taken_by(self)
            server, waited = call.server, 0.0
        else:
            server = self._servers.of(origin(request.url))
            place, waited = server.gate.enter(), 0.0
            if place is None:
                place, waited = yield from self._queue(server, request)
            call = _Call(self, server, place)
        try:
            if server.search is not None or self.linger:
                call.begins(request, (yield from history()), waited)
            response = yield from proceed(request)
            call.answered(response)
            yield from watch(response, call)
        except Exception as error:
            for event in call.failed(error):
                yield from tell(event)
            raise
        except BaseException:
            call.given_up()
            raise
        return response

    def _queue(self, server: _Server, request: Request) -> Generator[Any, Any, tuple[Place, float]]:
        """Wait for a place; gives it, and the seconds waited."""
        asked = yield from now()
        ledger = yield from history()
        deadline = shared_of(request).until
        until = deadline
        if self.longest_wait is not None and (until is None or asked + self.longest_wait < until):
            until = asked + self.longest_wait
        gate = server.gate
        place = gate.queue(asked, priority=options_of(request).priority, since=ledger.started, until=until)
        if place is None:
            yield from tell(CallShed(server.limiter, "queue_full"))
            raise server.refusal("queue_full", 0.0)
        moment = asked
        try:
            while place.standing is Standing.WAITING and (until is None or moment < until):
                again = gate.look(place, moment)
                yield from wait(place.signal, again, apart=True)
                moment = yield from now()
            in_time = place.standing is Standing.HELD and (deadline is None or moment < deadline)
            if in_time and moment > asked:
                yield from tell(Queued(server.limiter, moment - asked))
            elif not in_time:
                if deadline is not None and moment >= deadline:
                    yield from tell(CallShed(server.limiter, "deadline"))
                    raise TimeoutError  # which Deadline makes its own
                yield from tell(CallShed(server.limiter, "waited_too_long"))
                raise server.refusal("waited_too_long", moment - asked)
        except BaseException:
            gate.leave(place)
            raise
        return place, moment - asked


class _Server:
    """What is known of one origin: its gate, what it was found to bear, and how long calls to it usually take."""

    def __init__(self, name: str, limit: int | AdaptiveLimit, queue: int) -> None:
        self.limiter = f"the concurrency limit of {name}"
        self.search = Search(limit) if isinstance(limit, AdaptiveLimit) else None
        self.gate = Gate(limit.start if isinstance(limit, AdaptiveLimit) else limit, queue)
        self._usual: dict[Kind, float] = {}
        holders.add(self)

    def held(self) -> list[str]:
        """The places that calls have not given back yet; one that is kept after its call was given up is none."""
        seen = self.gate.snapshot()
        taken = [f"a place in {self.limiter} was not given back"] * (seen.in_use - seen.lingering)
        return taken + [f"a place in the queue of {self.limiter} was not given up"] * seen.waiting

    def learn(self, step: Callable[[Search], bool]) -> list[Event]:
        """Let the search for the limit take a step; what is to be told of it."""
        search = self.search
        if search is None:
            return []
        found, limit, epoch = self.gate.alone(lambda: (step(search), search.limit, search.epoch))
        self.gate.resize(limit, epoch)
        return [LimitChanged(self.limiter, limit)] if found else []

    def took(self, kind: Kind, duration: float) -> None:
        """A call of this kind was answered to its end."""
        self.gate.alone(lambda: self._took(kind, duration))

    def _took(self, kind: Kind, duration: float) -> None:
        usual = self._usual.pop(kind, duration)
        if len(self._usual) >= _KINDS:
            del self._usual[next(iter(self._usual))]
        self._usual[kind] = usual + _NEWEST * (duration - usual)

    def usual(self, kind: Kind) -> float | None:
        """The seconds that a call of this kind takes, where one has been seen to its end."""
        return self._usual.get(kind)

    def refusal(self, why: str, waited: float) -> ConcurrencyLimitError:
        """The error of a call that found no place."""
        seen = self.gate.snapshot()
        what = "its queue is full" if why == "queue_full" else f"none was free within {waited:.3g} s"
        return ConcurrencyLimitError(
            f"no place in {self.limiter}: {what} ({seen.in_use} of {seen.limit} in use, {seen.waiting} waiting); "
            "call less at once, or give the call more time to wait",
            limiter=self.limiter,
            why=why,
            limit=seen.limit,
            in_use=seen.in_use,
            waiting=seen.waiting,
            waited=waited,
        )


class _Servers:
    """The servers of a limit, one an origin, the least recently used dropped first, and none that is in use."""

    def __init__(self, make: Callable[[str], _Server], most: int) -> None:
        self._make = make
        self._most = most
        self._kept: OrderedDict[str, _Server] = OrderedDict()
        self._alive: WeakValueDictionary[str, _Server] = WeakValueDictionary()  # dropped while a call still holds it
        self._lock = threading.Lock()
        renewed_in_children(self)

    def of(self, name: str) -> _Server:
        """The server of this name, made if it is new."""
        with self._lock:
            server = self._kept.get(name)
            if server is None:
                server = self._alive.get(name)
                if server is None:
                    server = self._alive[name] = self._make(name)
                if len(self._kept) >= self._most:
                    self._drop()
                self._kept[name] = server
            self._kept.move_to_end(name)
            return server

    def known(self, name: str) -> _Server | None:
        """The server of this name, if there was a call to it."""
        with self._lock:
            return self._alive.get(name)

    def after_fork(self) -> None:
        """A lock of its own."""
        self._lock = threading.Lock()

    def _drop(self) -> None:
        for name, server in self._kept.items():
            if server.gate.is_idle:
                del self._kept[name]
                return
        self._kept.popitem(last=False)


class _Call:
    """One attempt that has a place, until its body ends: watches it, gives the place back, and says what was learnt."""

    _kind: Kind | None = None
    _ledger: Ledger | None = None
    _before = 0
    _until: float | None = None
    _waited = 0.0
    _response: Response | None = None
    _is_stream = False
    _first_chunk: float | None = None

    def __init__(self, limit: ConcurrencyLimit, server: _Server, place: Place) -> None:
        self.policy = limit
        self.server = server
        self._place = place

    def put_back(self) -> None:
        """Nothing was sent."""
        self.server.gate.leave(self._place)

    def completed(self, response: Response, ledger: Ledger, at: float) -> None:
        """The body is whole, and nothing is to be learnt of it."""
        del response, ledger, at
        self.server.gate.leave(self._place)

    def watcher(self, response: Response, ledger: Ledger) -> Self:
        """Itself; a body that did not come whole gives its place back all the same."""
        del response, ledger
        return self

    def begins(self, request: Request, ledger: Ledger, waited: float) -> None:
        """Remember what the call is, where something is to be learnt of it."""
        size = request.headers.get("content-length", "")
        self._kind = (request.method, request.url.path, int(size).bit_length() if size.isdecimal() else 0)
        self._ledger = ledger
        self._before = len(ledger.attempts)
        self._until = shared_of(request).until
        self._waited = waited

    def answered(self, response: Response) -> None:
        """The head is there."""
        if self._ledger is not None:
            self._response = response
            self._is_stream = sse.announced_by(response.headers)

    def chunk(self, data: bytes, at: float) -> None:
        """Note when the first piece came."""
        del data
        if self._first_chunk is None:
            self._first_chunk = at

    def ended(self, end: BodyEnd, at: float) -> BodyEnd:
        """Give the place back, and learn."""
        response, ledger = self._response, self._ledger
        attempt = None if response is None else attempt_of(response)
        if response is None or ledger is None or attempt is None:
            self._leave()
            return end
        sent = ledger.started + attempt.started
        is_silent = not attempt.chunks and (self._is_stream or end.outcome is not Outcome.ABANDONED)
        if end.outcome in _GIVEN_UP and (is_silent or (self._is_stream and self.policy.linger_streams)):
            self._leave(self._lingers_until(sent, at))
        else:
            self._leave()
        if end.outcome is Outcome.COMPLETE and response.status_code < _REFUSALS and self._kind is not None:
            self.server.took(self._kind, at - sent)
        for event in self._learn_from(end, response.status_code, attempt, sent):
            ledger.tell(event, at)
        return end

    def failed(self, error: Exception) -> list[Event]:
        """No answer came; what is to be told of it."""
        attempt = self._attempt()
        is_late = _is_a(error, "ReadTimeout") or type(error) is TimeoutError
        if is_late and attempt is not None:
            self._give_up(attempt)
        else:
            self._leave()
        if fault_of(error) is Fault.OURS or _is_a(error, "PoolTimeout") or self._we_were_late(attempt, error):
            return []
        return self.server.learn(lambda search: search.dropped(epoch=self._place.epoch))

    def given_up(self) -> None:
        """The call was cancelled, or the program interrupted."""
        attempt = self._attempt()
        if attempt is not None:
            self._give_up(attempt)
        else:
            self._leave()

    def _attempt(self) -> Attempt | None:
        """The attempt of this call: the first that began after it. Beside it may run others of the same ledger."""
        if self._ledger is None or len(self._ledger.attempts) <= self._before:
            return None
        return self._ledger.attempts[self._before]

    def _leave(self, until: float | None = None) -> None:
        self.server.gate.leave(self._place, until)

    def _give_up(self, attempt: Attempt) -> None:
        """Leave, or keep the place while the server is probably at it."""
        ledger, linger_streams = self._ledger, self.policy.linger_streams
        if ledger is None or (attempt.chunks and not linger_streams):
            self._leave()
            return
        sent = ledger.started + attempt.started
        self._leave(self._lingers_until(sent, sent + (attempt.ended_after or attempt.answered_after or 0.0)))

    def _lingers_until(self, sent: float, given_up: float) -> float | None:
        usual, elapsed = None if self._kind is None else self.server.usual(self._kind), given_up - sent
        left = self.policy.linger
        if usual is not None:
            left = min(left, usual - elapsed if elapsed < usual else usual)
        return given_up + left if left > 0 else None

    def _learn_from(self, end: BodyEnd, status: int, attempt: Attempt, sent: float) -> list[Event]:
        epoch, load, kind = self._place.epoch, self._place.load, self._kind
        broke = end.outcome in {Outcome.STALLED, Outcome.BROKEN} and end.verdict is not Verdict.CALLER
        if broke or end.verdict is Verdict.BUSY or status in _OVERLOADED:
            return self.server.learn(lambda search: search.dropped(epoch=epoch))
        latency = self._latency(attempt, sent)
        if latency is None or status >= _REFUSALS or end.outcome not in {Outcome.COMPLETE, Outcome.ABANDONED}:
            return []
        return self.server.learn(lambda search: search.answered(latency, kind=kind, load=load, epoch=epoch))

    def _latency(self, attempt: Attempt, sent: float) -> float | None:
        """Seconds to the head; of a stream to its first event, or else to its first piece."""
        if not self._is_stream:
            return attempt.answered_after
        if attempt.first_event_after is not None:
            return attempt.first_event_after
        return None if self._first_chunk is None else self._first_chunk - sent

    def _we_were_late(self, attempt: Attempt | None, error: Exception) -> bool:
        """Whether the deadline passed because the call had waited here, more than because of the server."""
        if attempt is None or self._ledger is None or self._until is None or not _is_a(error, "TimeoutException"):
            return False
        took = attempt.ended_after or 0.0
        ended = self._ledger.started + attempt.started + took
        return ended >= self._until - CLOCK_STEP and took < self._waited


_GIVEN_UP = frozenset({Outcome.ABANDONED, Outcome.CANCELLED, Outcome.STALLED})


def _is_a(error: Exception, name: str) -> bool:
    """Whether it is of this class of its library; all httpx-shaped libraries have the same names."""
    return any(kind.__name__ == name for kind in type(error).__mro__)
