"""Laws that hold for every stack of every policy: what goes out, what is held, what the caller gets."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import httpx
import stamina
from hypothesis import given, settings
from hypothesis import strategies as st

from resilient_foundry import (
    CallOptions,
    Chaos,
    CircuitBreaker,
    ConcurrencyLimit,
    Deadline,
    Fallback,
    Hedge,
    RateLimit,
    Remedy,
    ResilienceError,
    Retry,
    RetryBudget,
    Stack,
    StreamGuard,
    Tracing,
)
from resilient_foundry.call import SHARED, attempt_of, derive
from resilient_foundry.events import (
    Attempt,
    AttemptEnded,
    AttemptStarted,
    HedgeStarted,
    HeldBack,
    Outcome,
    Queued,
    Remedied,
    RetryScheduled,
)
from resilient_foundry.faults import Verdict, judge_by_status
from resilient_foundry.flow import (
    Branch,
    Flow,
    Policy,
    Proceed,
    Request,
    Response,
    begin,
    discard,
    pull,
    respond,
    sleep,
    together,
    wait_for_any,
)
from resilient_foundry.origin import origin
from resilient_foundry.testing import Answer, Failure, History, Said, VirtualTime, rehearse
from tests.laws.worlds import BUSY, CALLS, COLD, CONTENT, UNSENT, WORD, WORLD, Call, policies

P = TypeVar("P")
SCRIPTS = st.lists(WORLD, min_size=6, max_size=6)
AGAIN = 60
"""How often it is said: no call sends more."""
CHOSEN = policies()
TINY = 1e-6


def the(kind: type[P], stack: Iterable[Policy]) -> P | None:
    """The policy of this kind, where there is one."""
    return next((policy for policy in stack if isinstance(policy, kind)), None)


def makes_faults(stack: Iterable[Policy]) -> bool:
    chaos = the(Chaos, stack)
    return chaos is not None and chaos.switch.is_on


def goes_on(stack: Iterable[Policy], call: Call) -> bool:
    """Whether a stream that breaks is continued, perhaps long after the caller got its beginning."""
    guard = the(StreamGuard, stack)
    return guard is not None and guard.resume and call.kind == "bytes" and call.body == COLD


class Play:
    """One call through a stack, and what is known of it."""

    def __init__(self, chosen: list[Policy], call: Call, script: list[Said], *, read: bool, clock: VirtualTime) -> None:
        self.chosen, self.call, self.script, self.read = chosen, call, script * AGAIN, read
        self.stack = Stack.unchecked(*chosen)
        self.clock = clock
        self.began = clock.now
        self.history: History = rehearse(
            self.stack,
            *self.script,
            method=call.method,
            content=call.content(),
            options=call.options,
            clock=clock,
            read=read,
        )
        self.requests: list[Any] = self.history.script.requests
        self.attempts = self.history.ledger.attempts

    def of_the_caller(self) -> Iterator[tuple[Said, Attempt, bool]]:
        """What became of the requests that no probe and no remedy made, and whether they went to another target."""
        for said, attempt, request in zip(self.script, self.attempts, self.requests, strict=False):
            if not request.url.path.endswith(("/status", "/open")):
                yield said, attempt, request.url.host != "foundry.local"

    def under_way(self) -> Iterator[tuple[float, Counter[str]]]:
        """How many attempts are under way at each origin, after each event."""
        now: Counter[str] = Counter()
        for at, event in self.history.ledger.events:
            if isinstance(event, (AttemptStarted, AttemptEnded)):
                where = origin(self.requests[event.number - 1].url)
                now[where] += 1 if isinstance(event, AttemptStarted) else -1
                yield at, now

    def starts(self) -> dict[str, list[float]]:
        """When each origin was sent a request."""
        when: dict[str, list[float]] = defaultdict(list)
        for attempt, request in zip(self.attempts, self.requests, strict=True):
            when[origin(request.url)].append(attempt.started)
        return when


@given(chosen=CHOSEN, calls=st.lists(st.tuples(CALLS, SCRIPTS, st.booleans()), min_size=1, max_size=2))
@settings(max_examples=350)
def test_every_stack_holds_the_laws(chosen: list[Policy], calls: list[tuple[Call, list[Said], bool]]) -> None:
    """One or two calls, one after the other, that share circuits, limits, budgets and remedies."""
    clock = VirtualTime()
    spent: Counter[int] = Counter()
    for call, script, read in calls:
        play = Play(chosen, call, script, read=read, clock=clock)
        the_caller_gets_an_answer_or_an_error(play)
        sends_are_bounded(play)
        what_was_opened_is_closed_once(play.history)
        bodies_go_out_whole(play)
        nothing_is_sent_after_the_deadline(play)
        only_what_may_be_repeated_is(play)
        places_are_enough_and_given_back(play)
        turns_are_kept(play)
        the_ledger_tells_what_happened(play)
        the_caller_reads_what_the_server_said(play)
        nothing_follows_content(play)
        spent += the_budgets_hold(play, spent)
        clock.pass_(1.0)


@given(chosen=policies().flatmap(st.permutations), call=CALLS, script=SCRIPTS)
@settings(max_examples=200)
def test_even_in_a_wrong_order_nothing_leaks(chosen: list[Policy], call: Call, script: list[Said]) -> None:
    """But for chaos, which stays next to what it plays."""
    chosen = sorted(chosen, key=lambda policy: isinstance(policy, Chaos))
    play = Play(chosen, call, script, read=True, clock=VirtualTime())
    what_was_opened_is_closed_once(play.history)
    bodies_go_out_whole(play)
    the_ledger_tells_what_happened(play)
    nobody_holds_a_place(play.stack, play.clock.now + 1e6)


def the_caller_gets_an_answer_or_an_error(play: Play) -> None:
    history = play.history
    if history.response is None:
        assert history.error is not None
        assert history.content == b""
    if not play.read:
        assert (history.response is None) != (history.error is None)
    error = history.error
    if error is not None:
        assert isinstance(error, httpx.RequestError)
        assert getattr(error, "resilience", None) is history.ledger
        assert type(error).__module__.startswith("httpx") or isinstance(error, ResilienceError)


def sends_are_bounded(play: Play) -> None:
    stack, options = play.stack, play.call.options
    retry, remedy, hedge = the(Retry, stack), the(Remedy, stack), the(Hedge, stack)
    breaker, fallback = the(CircuitBreaker, stack), the(Fallback, stack)
    times = remedy.times if remedy is not None and options.retry else 0
    passes = retry.attempts if retry is not None and options.retry else 1
    if fallback is not None:
        passes *= 1 + len(fallback.targets)
    passes += 2 * times
    raced = hedge.most if hedge is not None and options.retry else 1
    probes = breaker.successes if breaker is not None and breaker.probe is not None else 0
    assert play.history.sent <= passes * raced * (1 + probes)
    assert sum(isinstance(event, Remedied) for event in play.history.events) <= max(times, 0)
    if not options.retry:
        assert sum(1 for _ in play.of_the_caller()) <= 1


def what_was_opened_is_closed_once(history: History) -> None:
    assert history.script.closed == Counter(range(1, history.script.opened + 1))


def bodies_go_out_whole(play: Play) -> None:
    left = [
        request
        for request, said in zip(play.requests, play.script, strict=False)
        if isinstance(said, Answer) or said.error not in UNSENT
    ]
    for request, body in zip(left, play.history.script.bodies, strict=True):
        is_open, is_probe = request.url.path.endswith("/open"), request.url.path.endswith("/status")
        assert body == (b"please" if is_open else b"" if is_probe else play.call.body)


def seconds_given(play: Play) -> float | None:
    deadline = the(Deadline, play.stack)
    return None if deadline is None else play.call.options.deadline or deadline.seconds


def nothing_is_sent_after_the_deadline(play: Play) -> None:
    """A stream has its time once it has begun; what continues it is no part of the call that the deadline bounds."""
    seconds = seconds_given(play)
    if seconds is None or goes_on(play.stack, play.call):
        return
    for attempt in play.attempts:
        assert attempt.started <= seconds
    for at, event in play.history.ledger.events:
        if isinstance(event, RetryScheduled):
            assert at + event.wait < seconds


def was_not_processed(said: Said, attempt: Attempt, *, is_elsewhere: bool) -> bool:
    """Whether the server did nothing for it, and says so; another target than was asked may also refuse."""
    if attempt.error in {"ConnectTimeout", "PoolTimeout", "ConnectError"}:
        return True
    if isinstance(said, Failure):
        return said.error in UNSENT
    if is_elsewhere and judge_by_status(said.status, {}, b"") is Verdict.CALLER:
        return True
    return attempt.status in {*BUSY, 423}


def only_what_may_be_repeated_is(play: Play) -> None:
    if play.call.repeatable or goes_on(play.stack, play.call):
        return
    for said, attempt, is_elsewhere in list(play.of_the_caller())[:-1]:
        assert was_not_processed(said, attempt, is_elsewhere=is_elsewhere), (said, attempt)


def places_are_enough_and_given_back(play: Play) -> None:
    limit = the(ConcurrencyLimit, play.stack)
    if limit is None:
        return
    if isinstance(limit.limit, int):
        for _, now in play.under_way():
            assert max(now.values()) <= limit.limit
    nobody_holds_a_place(play.stack, play.clock.now + 1e6)


def nobody_holds_a_place(stack: Stack, now: float) -> None:
    for policy in stack:
        for url in ("http://foundry.local:5273", "http://second.local:80", "https://third.example:443"):
            if isinstance(policy, ConcurrencyLimit):
                seen = policy.snapshot(url, now)
                assert seen == (seen.limit, 0, 0, 0)
            if isinstance(policy, RateLimit):
                assert policy.lines.of(url, now).waiting == 0
        if isinstance(policy, CircuitBreaker):
            for circuit in policy.circuits:
                assert circuit.held() == []


def turns_are_kept(play: Play) -> None:
    """Between the turn and the sending may lie a wait for a place, a cheap probe, or chaos."""
    limit, breaker = the(RateLimit, play.stack), the(CircuitBreaker, play.stack)
    unseen = the(ConcurrencyLimit, play.stack) or makes_faults(play.stack) or (breaker is not None and breaker.probe)
    if limit is None or unseen:
        return
    for where, when in play.starts().items():
        if limit.rate is not None:
            for earlier, later in zip(when, when[limit.burst :], strict=False):
                assert later - earlier >= limit.per / limit.rate - TINY
        for at, event in play.history.ledger.events:
            if isinstance(event, HeldBack) and event.origin == where:
                assert not any(at + TINY < start < at + event.seconds - TINY for start in when)


def the_budgets_hold(play: Play, spent: Counter[int]) -> Counter[int]:
    """Repetitions are no more than the share of the calls, and the floor; gives how many this call made, by budget."""
    retry, hedge = the(Retry, play.stack), the(Hedge, play.stack)
    fallback = the(Fallback, play.stack)
    origins = 1 if fallback is None else 1 + len(fallback.targets)
    made: Counter[int] = Counter()
    accounts: dict[int, RetryBudget] = {}
    for policy, event_kind in ((retry, RetryScheduled), (hedge, HedgeStarted)):
        if policy is not None and policy.budget is not None:
            accounts[id(policy.budget)] = policy.budget
            made[id(policy.budget)] += sum(isinstance(event, event_kind) for event in play.history.events)
    for key, budget in accounts.items():
        calls = 2.0 * origins * (1 if the(Retry, play.stack) else 20)
        allowed = budget.share * calls + origins * budget.floor * (budget.window * 2 + play.clock.now - 1000.0)
        assert made[key] + spent[key] <= allowed + TINY
    return made


def the_ledger_tells_what_happened(play: Play) -> None:
    ledger, history = play.history.ledger, play.history
    assert len(ledger.attempts) == history.sent
    times = [at for at, _ in ledger.events]
    assert times == sorted(times)
    ended = [event.number for event in history.events if isinstance(event, AttemptEnded)]
    assert sorted(ended) == [attempt.number for attempt in ledger.attempts] == list(range(1, history.sent + 1))
    for said, attempt in zip(play.script, ledger.attempts, strict=False):
        assert attempt.outcome is not None
        if isinstance(said, Failure) or attempt.status is None:
            assert attempt.error is not None
            assert (attempt.status, attempt.bytes) == (None, 0)
        else:
            assert attempt.status == said.status
            if not makes_faults(play.stack):
                assert attempt.bytes == sum(map(len, said.chunks[: attempt.chunks]))
    assert ledger.explain().count("attempt ") >= history.sent


def the_caller_reads_what_the_server_said(play: Play) -> None:
    """The bytes of one answer, from the first on; all of them, where nothing says otherwise."""
    history, stack = play.history, play.stack
    attempt = None if history.response is None else attempt_of(history.response)
    if attempt is None or makes_faults(stack):
        return
    said = play.script[attempt.number - 1]
    assert isinstance(said, Answer)
    assert history.status == said.status
    whole = b"".join(said.chunks)
    if goes_on(stack, play.call):
        told = [answer for answer in play.script[: history.sent] if isinstance(answer, Answer)]
        assert history.content.count(WORD) <= max(answer.chunks.count(WORD) for answer in told)
        return
    assert whole.startswith(history.content)
    if play.read and attempt.outcome is Outcome.COMPLETE:
        assert history.content == whole
        assert history.error is None
    guard = the(StreamGuard, stack)
    forgives = guard is not None and guard.resume  # what breaks behind the end of a stream
    if play.read and said.breaks and not forgives and attempt.outcome is not Outcome.IN_BAND_ERROR:
        assert history.error is not None


def nothing_follows_content(play: Play) -> None:
    """What a caller could have begun to read is the last thing that was asked for."""
    stack = play.stack
    if makes_faults(stack) or the(Hedge, stack) is not None or goes_on(stack, play.call):
        return
    guarded, elsewhere = the(StreamGuard, stack) is not None, the(Fallback, stack) is not None
    for said, attempt, _ in list(play.of_the_caller())[:-1]:
        if isinstance(said, Answer) and attempt.status is not None and said.status < 300:
            assert guarded
            seen = said.chunks[: attempt.chunks]
            in_band = [index for index, chunk in enumerate(seen) if b'"error"' in chunk]
            assert not CONTENT & set(seen[: in_band[0]] if in_band else seen)
        if isinstance(said, Answer) and attempt.status == 302:
            assert elsewhere


@given(chosen=CHOSEN, call=CALLS, script=SCRIPTS)
@settings(max_examples=200)
def test_where_stamina_is_switched_off_nothing_is_tried_again(
    chosen: list[Policy], call: Call, script: list[Said]
) -> None:
    """Retry and Remedy are transparent; all others do what they do."""
    stamina.set_active(False)
    try:
        play = Play(chosen, call, script, read=True, clock=VirtualTime())
    finally:
        stamina.set_active(True)
    assert not any(isinstance(event, (RetryScheduled, Remedied)) for event in play.history.events)
    what_was_opened_is_closed_once(play.history)
    fallback, hedge = the(Fallback, chosen), the(Hedge, chosen)
    most = (1 if fallback is None else 1 + len(fallback.targets)) * (1 if hedge is None else hedge.most)
    assert sum(1 for _ in play.of_the_caller()) <= most


@given(chosen=CHOSEN, call=CALLS, script=SCRIPTS)
@settings(max_examples=200)
def test_in_staminas_testing_mode_nobody_waits_to_try_again(
    chosen: list[Policy], call: Call, script: list[Said]
) -> None:
    """Neither for a backoff, nor for a turn."""
    with stamina.set_testing(True):
        play = Play(chosen, call, script, read=True, clock=VirtualTime())
    for event in play.history.events:
        assert not (isinstance(event, RetryScheduled) and event.wait)
        assert not (isinstance(event, Queued) and event.limiter.startswith("rate limit"))
        assert not isinstance(event, HeldBack)
    what_was_opened_is_closed_once(play.history)
    only_what_may_be_repeated_is(play)


class Crowd:
    """Several callers of the same, each by itself, a moment after the one before; each reads to the end."""

    def __init__(self, callers: int, gap: float) -> None:
        self.callers, self.gap = callers, gap
        self.ended: list[object] = []

    def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
        """An answer when all have theirs."""

        def calls(group: object) -> Flow[None]:
            branches: list[Branch[object]] = []
            for _ in range(self.callers):
                branches.append((yield from begin(group, self._call(request, proceed))))
                yield from sleep(self.gap)
            for branch in branches:
                yield from wait_for_any([branch], None)
                self.ended.append(branch.value if branch.error is None else branch.error)

        yield from together(calls)
        return (yield from respond(200))

    def _call(self, request: Request, proceed: Proceed) -> Flow[object]:
        opened: list[Response] = []
        own = derive(request, extensions={OPENED: opened})
        own.extensions.pop(SHARED, None)
        try:
            response = yield from proceed(own)
            if response in opened:
                opened.remove(response)
        finally:  # as a driver does with the answers that nobody took
            for other in opened:
                yield from discard(other)
        while (yield from pull(response)) is not None:
            pass
        return response.status_code


class Noted:
    """Stands innermost, and notes whose answers are whose."""

    def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
        """As it is."""
        response = yield from proceed(request)
        request.extensions[OPENED].append(response)
        return response


OPENED = "crowd.opened"


@given(
    chosen=policies().map(lambda chosen: [one for one in chosen if not isinstance(one, (Tracing, Deadline))]),
    method=st.sampled_from(["GET", "POST"]),
    script=SCRIPTS,
    callers=st.integers(2, 4),
    gap=st.sampled_from([0.0, 0.1, 3.0]),
)
@settings(max_examples=250)
def test_calls_side_by_side_share_places_turns_and_budgets(
    chosen: list[Policy], method: str, script: list[Said], callers: int, gap: float
) -> None:
    """Everybody gets an answer or an error; nobody exceeds what they share, and nothing is left."""
    crowd, clock = Crowd(callers, gap), VirtualTime()
    call = Call(method, COLD, "bytes", CallOptions())
    play = Play([crowd, *chosen, Noted()], call, script, read=True, clock=clock)
    assert play.history.status == 200
    assert len(crowd.ended) == callers
    for ended in crowd.ended:
        assert isinstance(ended, (int, httpx.RequestError, ResilienceError))
    what_was_opened_is_closed_once(play.history)
    bodies_go_out_whole(play)
    places_are_enough_and_given_back(play)
    turns_are_kept(play)
    the_ledger_tells_what_happened(play)
