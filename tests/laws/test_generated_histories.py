"""Laws that hold for every stack and every script of the world."""

from collections import Counter
from collections.abc import Callable

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilient_foundry import Deadline, ResilienceError, Retry, Stack, StreamGuard
from resilient_foundry.events import Attempt, AttemptEnded, Outcome, RetryScheduled
from resilient_foundry.testing import Answer, Failure, History, Said, VirtualTime, rehearse
from tests.laws.worlds import (
    BUSY,
    CALLS,
    CONTENT,
    CORE_STACKS,
    IN_BAND,
    SHUFFLED_CORE_STACKS,
    STREAM,
    UNSENT,
    WORLD,
    Call,
)

MOST_ATTEMPTS = 5
SCRIPTS = st.lists(WORLD, min_size=MOST_ATTEMPTS + 1, max_size=MOST_ATTEMPTS + 1)
OURS: list[Callable[[], Stack]] = [Stack.standard, Stack.inference]


def play(stack: Stack, call: Call, script: list[Said], clock: VirtualTime, *, read: bool) -> History:
    return rehearse(
        stack,
        *script,
        method=call.method,
        content=call.content(),
        options=call.options,
        clock=clock,
        read=read,
    )


@pytest.mark.parametrize("make", OURS, ids=["standard", "inference"])
@given(calls=st.lists(st.tuples(CALLS, SCRIPTS, st.booleans()), min_size=1, max_size=2))
@settings(max_examples=600)
def test_our_own_stacks_hold_the_laws(make: Callable[[], Stack], calls: list[tuple[Call, list[Said], bool]]) -> None:
    """A thousand histories, of one or two calls each that share a circuit."""
    stack, clock = make(), VirtualTime()
    for call, script, read in calls:
        hold(stack, call, script, play(stack, call, script, clock, read=read), read=read)
        clock.pass_(1.0)


@given(stack=CORE_STACKS, call=CALLS, script=SCRIPTS, read=st.booleans())
@settings(max_examples=600)
def test_any_stack_holds_the_laws(stack: Stack, call: Call, script: list[Said], read: bool) -> None:
    hold(stack, call, script, play(stack, call, script, VirtualTime(), read=read), read=read)


@given(stack=SHUFFLED_CORE_STACKS, call=CALLS, script=SCRIPTS)
@settings(max_examples=300)
def test_even_a_wrong_order_leaks_nothing_and_sends_nothing_twice_by_halves(
    stack: Stack, call: Call, script: list[Said]
) -> None:
    history = play(stack, call, script, VirtualTime(), read=True)
    attempts_are_bounded(stack, call, history)
    what_was_opened_is_closed_once(history)
    bodies_go_out_whole(call, history)
    the_ledger_tells_what_happened(script, history)


def hold(stack: Stack, call: Call, script: list[Said], history: History, *, read: bool) -> None:
    attempts_are_bounded(stack, call, history)
    waits_end_before_the_deadline(stack, call, history)
    if not read:
        the_deadline_is_kept(stack, call, history)
    what_was_opened_is_closed_once(history)
    bodies_go_out_whole(call, history)
    only_what_may_be_repeated_is(call, script, history)
    the_caller_reads_the_last_answer(script, history, read=read)
    the_ledger_tells_what_happened(script, history)
    nothing_follows_content(stack, script, history)
    errors_wear_the_librarys_names(history)


def attempts_are_bounded(stack: Stack, call: Call, history: History) -> None:
    most = max([policy.attempts for policy in stack if isinstance(policy, Retry)], default=1)
    assert history.sent <= (most if call.options.retry else 1)


def given_seconds(stack: Stack, call: Call) -> float | None:
    seconds = [policy.seconds for policy in stack if isinstance(policy, Deadline)]
    return None if not seconds else call.options.deadline or seconds[0]


def waits_end_before_the_deadline(stack: Stack, call: Call, history: History) -> None:
    seconds = given_seconds(stack, call)
    for at, event in history.ledger.events:
        if isinstance(event, RetryScheduled):
            assert event.wait >= 0
            assert seconds is None or at + event.wait < seconds


def the_deadline_is_kept(stack: Stack, call: Call, history: History) -> None:
    """Up to the head, or to the first event; a read that is under way in sync code is let to its own limit."""
    seconds = given_seconds(stack, call)
    if seconds is None:
        return
    reads = [request.extensions["timeout"].get("read") for request in history.script.requests]
    if None in reads:
        return
    assert history.elapsed <= seconds + max(reads, default=0.0) + 1e-6


def what_was_opened_is_closed_once(history: History) -> None:
    assert history.script.closed == Counter(range(1, history.script.opened + 1))


def bodies_go_out_whole(call: Call, history: History) -> None:
    assert set(history.script.bodies) <= {call.body}


def was_not_processed(said: Said) -> bool:
    if isinstance(said, Failure):
        return said.error in UNSENT
    return said.status in BUSY


def only_what_may_be_repeated_is(call: Call, script: list[Said], history: History) -> None:
    for said, attempt in list(zip(script, history.ledger.attempts, strict=False))[:-1]:
        connected = attempt.error not in {"ConnectTimeout", "PoolTimeout"}
        if connected and not (was_not_processed(said) and attempt.error in {None, *UNSENT, *BODY_ERRORS}):
            assert call.repeatable, (said, attempt)


BODY_ERRORS = {"ReadError", "ReadTimeout", "RemoteProtocolError"}
"""A refusal whose body broke is a refusal still."""


def the_caller_reads_the_last_answer(script: list[Said], history: History, *, read: bool) -> None:
    if history.response is None:
        assert history.content == b""
        return
    said = script[history.sent - 1]
    assert isinstance(said, Answer)
    whole = b"".join(said.chunks)
    assert history.status == said.status
    assert whole.startswith(history.content)
    last = history.ledger.attempts[-1]
    if read and last.outcome in {Outcome.COMPLETE, Outcome.TRUNCATED}:
        assert history.content == whole
        assert history.error is None
    if read and said.breaks and last.outcome is not Outcome.IN_BAND_ERROR:
        assert history.error is not None


def the_ledger_tells_what_happened(script: list[Said], history: History) -> None:
    ledger = history.ledger
    assert len(ledger.attempts) == history.sent
    times = [at for at, _ in ledger.events]
    assert times == sorted(times)
    ended = [event.number for event in history.events if isinstance(event, AttemptEnded)]
    assert sorted(ended) == [attempt.number for attempt in ledger.attempts] == list(range(1, history.sent + 1))
    for said, attempt in zip(script, ledger.attempts, strict=False):
        assert attempt.outcome is not None
        tells_the_truth(said, attempt)
    assert ledger.explain().count("attempt ") == history.sent


def tells_the_truth(said: Said, attempt: Attempt) -> None:
    if isinstance(said, Failure) or attempt.status is None:
        assert attempt.error is not None
        assert (attempt.status, attempt.bytes) == (None, 0)
    else:
        assert attempt.status == said.status
        assert attempt.bytes == sum(map(len, said.chunks[: attempt.chunks]))


def nothing_follows_content(stack: Stack, script: list[Said], history: History) -> None:
    """With a guard, what was repeated had not begun; without one, no good answer is ever repeated."""
    guarded = any(isinstance(policy, StreamGuard) for policy in stack)
    for said, attempt in list(zip(script, history.ledger.attempts, strict=False))[:-1]:
        if isinstance(said, Answer) and attempt.status is not None and said.status < 400:
            assert guarded
            assert said.headers == STREAM
            seen = said.chunks[: attempt.chunks]
            before = seen[: seen.index(IN_BAND)] if IN_BAND in seen else seen
            assert not CONTENT & set(before)


def errors_wear_the_librarys_names(history: History) -> None:
    if history.error is not None:
        assert isinstance(history.error, httpx.RequestError)
        if isinstance(history.error, ResilienceError):
            assert history.error.resilience is history.ledger
