"""Hedge: ask a second time beside a request that is slow, and take the answer that is good first."""

from __future__ import annotations

from dataclasses import dataclass, field

from resilient_foundry import sse
from resilient_foundry._warnings import warn
from resilient_foundry.call import (
    HEDGE,
    attempt_of,
    derive,
    lies_in_memory,
    may_run_beside_itself,
    options_of,
    shared_of,
)
from resilient_foundry.events import HedgeDenied, HedgeStarted, HedgeWon
from resilient_foundry.faults import Fault, Judge, Verdict, fault_of, judge_by_status, legible
from resilient_foundry.flow import (
    Branch,
    Flow,
    Proceed,
    Request,
    Response,
    begin,
    discard,
    now,
    preview,
    tell,
    today,
    together,
    wait_for_any,
)
from resilient_foundry.origin import origin
from resilient_foundry.policies._checks import count, kind, number
from resilient_foundry.policies.beginning import as_far_as_it_came
from resilient_foundry.policies.budget import RetryBudget
from resilient_foundry.policies.quantile import LatencyQuantile
from resilient_foundry.policies.retry_after import retry_after

_REFUSALS = 400
_BODY_OF_A_FAILURE = 64 * 1024
"""Bytes read of an answer that may be thrown away: enough to keep its connection, and to show it after all."""


@dataclass(frozen=True, slots=True)
class Hedge:
    """Asks again beside a request that has no answer after `delay` seconds, and takes the first good answer.

    For servers of which one answer in twenty takes ten times as long as the others, because it met a pause, a lost
    packet or a slow replica. **Not for a single local GPU**: there the second request takes its time from the first,
    and every answer comes later. (Dean and Barroso, "The Tail at Scale", 2013.)

    With `quantile` (such as 0.95) the delay is measured: so long as that share of the latest 200 answers of the origin
    took, once `warm_up` of them have come, and `delay` until then. An answer is there with its head, a stream of
    events with its first event where a `StreamGuard` stands further in. A request that lost against one begun later
    counts as one that took as long as the call did, since dropping it would make the quantile shrink and shrink.

    A call sends `most` requests in all, each begun a delay after the one before it, or at once when all before it have
    failed. Good is what `judge` calls good or blames the caller for. An answer with `Retry-After` or with
    `x-should-retry: false`, an open circuit and a full limiter begin no further request. Where all fail, the caller
    gets the failure of the first one. The others are cancelled as soon as one has won, and waited for; they count
    neither for the circuit nor against it. With `budget` the further requests are a share of the traffic, one with the
    repetitions of a `Retry` that holds the same budget.

    Only what may be under way twice is sent twice: the method is safe (RFC 9110 section 9.2.1), an `Idempotency-Key`
    is sent or `CallOptions(repeatable=True)` says so, and the body lies in memory, since a file can't be read at two
    places at once. `CallOptions(retry=False)` lets the call go out once.

    Asynchronous clients alone can wait for two answers: over a transport that is synchronous only, TypeError is raised
    when the stack is put over it, over one that is both, by the call. The pool of connections needs
    room for both requests, else the second waits for the first. On httpx 0.28 one that is cancelled while it waits for
    a connection costs the pool a place for good (measured: 128 hedged calls of 16 callers cost 2 of 16 places, and none
    on httpx2), of which a RuntimeWarning tells: use httpx2, or put a `ConcurrencyLimit` inside.
    """

    delay: float
    quantile: float | None = field(default=None, kw_only=True)
    warm_up: int = field(default=20, kw_only=True)
    most: int = field(default=2, kw_only=True)
    budget: RetryBudget | None = field(default=None, kw_only=True)
    max_origins: int = field(default=1000, kw_only=True)
    judge: Judge = field(default=judge_by_status, kw_only=True)
    latencies: LatencyQuantile | None = field(init=False, repr=False, compare=False)
    _warned: list[str] = field(init=False, repr=False, compare=False, default_factory=list[str])

    def __post_init__(self) -> None:
        number("Hedge.delay", self.delay, at_least=0.0)
        count("Hedge.warm_up", self.warm_up)
        count("Hedge.most", self.most)
        count("Hedge.max_origins", self.max_origins)
        latencies = None
        if self.quantile is not None:
            number("Hedge.quantile", self.quantile, above=0.0)
            if self.quantile >= 1:
                raise ValueError(f"Hedge.quantile is less than 1, not {self.quantile!r}")
            latencies = LatencyQuantile(self.quantile, warm_up=self.warm_up, limit=self.max_origins)
        object.__setattr__(self, "latencies", latencies)
        if self.budget is not None:
            kind("Hedge.budget", self.budget, RetryBudget, "RetryBudget(share=0.2)")

    def check(self, library: str, colours: frozenset[str]) -> None:
        """Refuse what can't wait for two answers, and warn of what loses connections; see `flow.Particular`."""
        if "async" not in colours:
            raise TypeError(
                "Hedge waits for two answers at once, which synchronous code can't: put the stack over an "
                "asynchronous transport, or leave Hedge out"
            )
        if library == "httpx" and "sync" not in colours and not self._warned:  # a double is both, and has no pool
            self._warned.append(library)
            warn(
                "Hedge cancels the requests that lost, and httpx 0.28 loses a place of its pool for good with each one "
                "that is cancelled while it waits for a connection: use httpx2, or put a ConcurrencyLimit inside "
                "Hedge, no larger than the pool"
            )

    def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
        """Send the request, and again beside it where it is slow."""
        options = options_of(request)
        if self.most == 1 or not options.retry:
            return (yield from proceed(request))
        if not may_run_beside_itself(request):
            return (yield from self._alone(request, proceed, "not_repeatable"))
        if not lies_in_memory(request):
            return (yield from self._alone(request, proceed, "body_sent"))
        race = _Race(self, request, proceed)
        kept = yield from together(race.run)
        yield from race.discard_all_but(kept)
        if race.is_won and len(race.branches) > 1:  # told last: whoever was cancelled for it can know so
            yield from tell(HedgeWon(race.branches.index(kept) + 1))
        if kept.value is not None:
            return (yield from as_far_as_it_came(kept.value))
        try:
            raise kept.error or AssertionError
        finally:
            del kept, race  # the error holds this frame

    def delay_for(self, name: str) -> float:
        """Seconds until a second request to this origin is begun."""
        measured = self.latencies.of(name) if self.latencies is not None else None
        return self.delay if measured is None else measured

    def _alone(self, request: Request, proceed: Proceed, why: str) -> Flow[Response]:
        """What may go out once only; where it is slow, the ledger says why nothing was done about it."""
        delay = self.delay_for(origin(request.url))
        began = yield from now()
        try:
            response = yield from proceed(request)
        except Exception:
            yield from self._deny(began, delay, why)
            raise
        yield from self._deny(began, delay, why)
        return response

    def _deny(self, began: float, delay: float, why: str) -> Flow[None]:
        if (yield from now()) - began > delay:
            yield from tell(HedgeDenied(why))


class _Race:
    """One call, and the requests that run side by side for it."""

    def __init__(self, policy: Hedge, request: Request, proceed: Proceed) -> None:
        self.branches: list[Branch[Response]] = []
        self.is_won = False
        self._policy = policy
        self._request = request
        self._proceed = proceed
        self._origin = origin(request.url)
        self._running: list[Branch[Response]] = []
        self._may_ask = True

    def run(self, group: object) -> Flow[Branch[Response]]:
        """Begin one request after the other until one has a good answer; the first one where none has."""
        policy, delay = self._policy, self._policy.delay_for(self._origin)
        began = due = yield from now()
        self._count_the_call(began)
        yield from self._begin(group)
        while self._running:
            due += delay
            winner = yield from self._first_good(due)
            if winner is not None:
                yield from self._measure(winner, began)
                return winner
            if self._may_ask and len(self.branches) < policy.most:
                due = yield from now()
                yield from self._ask_again(group, due, due - began)
        return self.branches[0]

    def discard_all_but(self, kept: Branch[Response]) -> Flow[None]:
        """Close the answers that nobody takes."""
        for branch in self.branches:
            if branch is not kept and branch.value is not None:
                yield from discard(branch.value)

    def _count_the_call(self, at: float) -> None:
        budget, shared = self._policy.budget, shared_of(self._request)
        if budget is not None and shared.counted is not budget:
            budget.called(self._origin, at)

    def _ask_again(self, group: object, at: float, after: float) -> Flow[None]:
        budget = self._policy.budget
        if budget is not None and not budget.spend(self._origin, at):
            self._may_ask = False
            yield from tell(HedgeDenied("budget"))
            return
        yield from self._make_room()
        yield from tell(HedgeStarted(len(self.branches) + 1, after))
        yield from self._begin(group)

    def _begin(self, group: object) -> Flow[None]:
        """The first one goes out as it came; the others are requests of their own over the same bytes."""
        request = derive(self._request, extensions={HEDGE: True}) if self.branches else self._request
        branch = yield from begin(group, self._proceed(request))
        self.branches.append(branch)
        self._running.append(branch)

    def _first_good(self, due: float) -> Flow[Branch[Response] | None]:
        """The first with a good answer; None once another request is due, or none is under way."""
        while self._running:
            is_last = not self._may_ask or len(self.branches) == self._policy.most
            if not (yield from wait_for_any(self._running, None if is_last else due)):
                return None
            for branch in [branch for branch in self._running if branch.ended.is_given]:
                self._running.remove(branch)
                self.is_won = yield from self._is_good(branch)
                if self.is_won:
                    return branch
            if self._running:
                yield from self._make_room()
        return None

    def _make_room(self) -> Flow[None]:
        """Close what failed: its place, or its connection, may be what another request waits for."""
        for branch in self.branches:
            if branch not in self._running and branch.value is not None:
                yield from discard(branch.value)

    def _is_good(self, branch: Branch[Response]) -> Flow[bool]:
        """Whether this answer is worth taking. One that is not may say that asking again is no use."""
        response = branch.value
        if response is None:
            self._may_ask &= branch.error is not None and fault_of(branch.error) is not Fault.OURS
            return False
        attempt = attempt_of(response)
        if attempt is not None and attempt.failed_in_its_body:
            return attempt.verdict is Verdict.CALLER
        status, headers, body = response.status_code, response.headers, b""
        if status >= _REFUSALS and not sse.announced_by(headers):  # a stream may never end, whatever its status
            body = yield from preview(response, _BODY_OF_A_FAILURE)
        if self._policy.judge(status, headers, legible(headers, body)) in {Verdict.GOOD, Verdict.CALLER}:
            return True
        told_not_to = headers.get("x-should-retry", "").strip().lower() == "false"
        if told_not_to or retry_after(headers, (yield from today())) is not None:
            self._may_ask = False
        return False

    def _measure(self, winner: Branch[Response], began: float) -> Flow[None]:
        """How long the first request took; where another one won, it takes at least this long."""
        latencies, first = self._policy.latencies, self.branches[0]
        if latencies is not None and (winner is first or first in self._running):
            latencies.took(self._origin, (yield from now()) - began)
