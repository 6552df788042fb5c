"""How many requests an origin is sent in a time, and silence while it asks for it."""

import math
import pickle
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import stamina

from resilient_foundry import (
    Backoff,
    CallOptions,
    CircuitBreaker,
    CircuitOpenError,
    Deadline,
    Hedge,
    RateLimit,
    RateLimitError,
    Retry,
    Stack,
)
from resilient_foundry.events import CallShed, HeldBack, Queued
from resilient_foundry.flow import Flow, Proceed, Request, Response
from resilient_foundry.testing import Answer, History, Said, VirtualTime, busy, failed, lost, ok, rehearse, unsent

URL = "http://foundry.local:5273/v1/models"
LIMITER = "rate limit of http://foundry.local:5273"
AT_ONCE = Backoff(base=0, cap=0)


def elapsed(policy: Any, *answers: Said, calls: int, clock: VirtualTime | None = None, **settings: Any) -> list[float]:
    """How long each of so many calls took, one after the other."""
    clock = clock or VirtualTime()
    return [rehearse(policy, *(answers or (ok(),)), url=URL, clock=clock, **settings).elapsed for _ in range(calls)]


def held_back(policy: RateLimit, answer: Said, clock: VirtualTime, **settings: Any) -> History:
    """The call that comes after this answer."""
    rehearse(policy, answer, url=URL, clock=clock)
    return rehearse(policy, ok(), url=URL, clock=clock, **settings)


# The rate


def test_calls_are_sent_evenly() -> None:
    """Ten a second are one each tenth of a second: no window of a second ever sees twenty."""
    assert elapsed(RateLimit(10), calls=4) == pytest.approx([0, 0.1, 0.1, 0.1])


def test_the_rate_is_so_many_in_so_many_seconds() -> None:
    assert elapsed(RateLimit(3, per=60), calls=3) == pytest.approx([0, 20, 20])


def test_a_burst_goes_at_once_after_a_pause() -> None:
    assert elapsed(RateLimit(10, burst=3), calls=5) == pytest.approx([0, 0, 0, 0.1, 0.1])


def test_a_wait_is_told_and_a_turn_that_is_free_is_not() -> None:
    limit, clock = RateLimit(2), VirtualTime()
    first, second = (rehearse(limit, ok(), url=URL, clock=clock) for _ in range(2))
    assert not any(isinstance(event, Queued) for event in first.events)
    assert second.events[0] == Queued(LIMITER, 0.5)


def test_every_attempt_counts() -> None:
    """It is attempts that a server counts."""
    stack = Stack(Retry(attempts=3, backoff=AT_ONCE), RateLimit(2))
    assert rehearse(stack, failed(502), lost(), ok(), url=URL).elapsed == pytest.approx(1.0)


def test_an_attempt_that_found_no_server_counts_as_well() -> None:
    assert elapsed(RateLimit(2), unsent(), calls=2) == pytest.approx([0, 0.5])


def test_each_origin_has_a_rate_of_its_own() -> None:
    limit, clock = RateLimit(1), VirtualTime()
    rehearse(limit, ok(), url="http://a/", clock=clock)
    assert rehearse(limit, ok(), url="http://b/", clock=clock).elapsed == 0
    assert rehearse(limit, ok(), url="http://A:80/x", clock=clock).elapsed == 1


def test_two_rates_can_hold_at_once() -> None:
    """As of a server that allows so many a second, and fewer in the long run."""
    stack = Stack(RateLimit(10), RateLimit(4, per=2, burst=2))
    assert elapsed(stack, calls=4) == pytest.approx([0, 0.1, 0.4, 0.5])


# Who can't wait


def test_a_wait_beyond_the_deadline_is_refused_at_once() -> None:
    limit, clock = RateLimit(1, per=30), VirtualTime()
    rehearse(limit, ok(), url=URL, clock=clock)
    history = rehearse(Stack(Deadline(10), limit), url=URL, clock=clock)
    assert isinstance(history.error, RateLimitError)
    assert isinstance(history.error, httpx.TransportError)
    assert (history.elapsed, history.sent) == (0, 0)
    assert history.events == [CallShed(LIMITER, "deadline")]
    assert (history.error.origin, history.error.retry_after) == ("http://foundry.local:5273", 30)
    assert str(history.error) == (
        "the rate limit of http://foundry.local:5273 is used up: "
        "the next turn comes in 30.0 s, later than the deadline of this call; nothing was sent"
    )


def test_a_wait_that_is_too_long_is_refused_at_once() -> None:
    limit, clock = RateLimit(1, per=30, longest_wait=20), VirtualTime()
    assert elapsed(limit, calls=1, clock=clock) == [0]
    history = rehearse(limit, url=URL, clock=clock)
    assert isinstance(history.error, RateLimitError)
    assert history.events == [CallShed(LIMITER, "rate")]
    assert "later than this call may wait" in str(history.error)


def test_who_is_refused_takes_no_turn() -> None:
    limit, clock = RateLimit(1, per=30, longest_wait=20), VirtualTime()
    for _ in range(5):
        rehearse(limit, ok(), url=URL, clock=clock)
    clock.pass_(30)
    assert rehearse(limit, ok(), url=URL, clock=clock).elapsed == 0


def test_a_wait_that_ends_before_the_deadline_is_waited() -> None:
    assert elapsed(Stack(Deadline(10), RateLimit(1, per=9)), calls=2) == [0, 9]


def test_a_refusal_is_not_tried_again() -> None:
    """The next attempt would be refused as well."""
    limit, clock = RateLimit(1, per=30, longest_wait=20), VirtualTime()
    rehearse(limit, ok(), url=URL, clock=clock)
    history = rehearse(Stack(Retry(attempts=5), limit), url=URL, clock=clock)
    assert isinstance(history.error, RateLimitError)
    assert [event for event in history.events if isinstance(event, CallShed)] == [CallShed(LIMITER, "rate")]


def test_a_refusal_travels_between_processes_with_its_facts() -> None:
    limit, clock = RateLimit(1, per=30, longest_wait=20), VirtualTime()
    rehearse(limit, ok(), url=URL, clock=clock)
    arrived = pickle.loads(pickle.dumps(rehearse(limit, url=URL, clock=clock).error))  # noqa: S301 - our own bytes
    assert type(arrived) is RateLimitError
    assert (arrived.origin, arrived.retry_after) == ("http://foundry.local:5273", 30)


# A circuit


def test_an_open_circuit_spends_no_turns() -> None:
    """Else the first calls after the outage would wait for those that were never sent."""
    stack, clock = Stack(RateLimit(1, per=9), CircuitBreaker(failures=1, open_seconds=20)), VirtualTime()
    assert rehearse(stack, failed(), url=URL, clock=clock).elapsed == 0
    clock.pass_(9)
    refused = [rehearse(stack, url=URL, clock=clock) for _ in range(50)]
    assert all(isinstance(history.error, CircuitOpenError) for history in refused)
    assert {history.elapsed for history in refused} == {0}
    clock.pass_(11)
    assert rehearse(stack, ok(), url=URL, clock=clock).elapsed == 0


def test_a_call_that_another_policy_answers_spends_no_turn() -> None:
    class Ready:
        def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
            del request, proceed
            yield from ()
            return httpx.Response(200, content=b"kept")

    assert elapsed(Stack(RateLimit(1), Ready()), calls=3) == [0, 0, 0]


# A server that asks for rest


@pytest.mark.parametrize("limit", [RateLimit(100), RateLimit()], ids=["with a rate", "without"])
@pytest.mark.parametrize("status", [429, 503, 502, 500, 408])
def test_who_is_told_to_wait_holds_the_others_back(limit: RateLimit, status: int) -> None:
    clock = VirtualTime()
    history = held_back(limit, busy(status=status, retry_after=7), clock, draw=lambda: 0.0)
    assert history.elapsed == pytest.approx(7)
    assert history.status == 200
    clock.pass_(1)
    assert rehearse(limit, ok(), url=URL, clock=clock).elapsed == 0


def test_the_caller_that_was_told_gets_its_answer_at_once() -> None:
    """Retry, or the caller itself, decides what to do with it."""
    history = rehearse(RateLimit(), busy(retry_after=7), url=URL)
    assert (history.status, history.elapsed) == (503, 0)
    assert HeldBack("http://foundry.local:5273", 7) in history.events


def test_a_date_is_understood_as_well() -> None:
    said, until = (datetime(2026, 5, 1, 12, 0, second, tzinfo=UTC) for second in (0, 9))
    form = "%a, %d %b %Y %H:%M:%S GMT"
    answer = Answer(status=429, headers={"date": said.strftime(form), "retry-after": until.strftime(form)})
    assert held_back(RateLimit(1), answer, VirtualTime()).elapsed == 9


def test_a_very_long_wish_is_cut() -> None:
    """A server that answers `Retry-After: 86400` would silence the program for a day."""
    assert held_back(RateLimit(1), busy(retry_after=86400), VirtualTime()).elapsed == 120
    assert held_back(RateLimit(1, longest_hold=5), busy(retry_after=86400), VirtualTime()).elapsed == 5


@pytest.mark.parametrize(
    "answer",
    [
        busy(),
        busy(retry_after=0),
        busy(retry_after="soon"),
        Answer(status=302, headers={"retry-after": "7"}),
        Answer(status=413, headers={"retry-after": "7"}),
        Answer(status=404, headers={"retry-after": "7"}),
        Answer(status=501, headers={"retry-after": "7"}),
        Answer(status=200, headers={"retry-after": "7"}),
    ],
    ids=repr,
)
def test_what_speaks_of_one_request_holds_nobody_back(answer: Answer) -> None:
    """After a redirect, for instance, it is this one resource that is not there yet (RFC 9110 section 10.2.3)."""
    assert held_back(RateLimit(), answer, VirtualTime()).elapsed == 0


def test_other_origins_are_not_held_back() -> None:
    limit, clock = RateLimit(), VirtualTime()
    rehearse(limit, busy(retry_after=7), url="http://a/", clock=clock)
    assert rehearse(limit, ok(), url="http://b/", clock=clock).elapsed == 0


def test_without_a_rate_they_do_not_come_back_together() -> None:
    """Facts of a herd: all that were told the same moment would be there in that moment."""
    limit, clock = RateLimit(), VirtualTime()
    rehearse(limit, busy(retry_after=20), url=URL, clock=clock)
    began = clock.now
    came = [
        rehearse(limit, ok(), url=URL, clock=VirtualTime(began), draw=draw).elapsed
        for draw in (lambda: 0.0, lambda: 0.25, lambda: 0.5)
    ]
    assert came == pytest.approx([20, 20.5, 21])


def test_with_a_rate_they_come_back_one_by_one() -> None:
    limit, clock = RateLimit(2, burst=5), VirtualTime()
    rehearse(limit, busy(retry_after=20), url=URL, clock=clock)
    assert elapsed(limit, calls=3, clock=clock) == pytest.approx([20, 0.5, 0.5])


def test_a_hold_that_outlasts_the_deadline_refuses_at_once() -> None:
    """So that a fallback further out can ask somebody else while there is time."""
    limit, clock = RateLimit(), VirtualTime()
    rehearse(limit, busy(retry_after=60), url=URL, clock=clock)
    history = rehearse(Stack(Deadline(10), limit), url=URL, clock=clock, draw=lambda: 0.0)
    assert isinstance(history.error, RateLimitError)
    assert history.elapsed == 0
    assert history.error.retry_after == 60
    assert "http://foundry.local:5273 asks for rest: the next turn comes in 60.0 s" in str(history.error)


def test_a_hold_that_is_longer_than_a_call_may_wait_is_a_refusal_with_its_reason() -> None:
    limit, clock = RateLimit(longest_wait=5), VirtualTime()
    history = held_back(limit, busy(retry_after=60), clock)
    assert history.events == [CallShed(LIMITER, "told_to_wait")]


def test_many_answers_that_ask_for_the_same_are_told_once() -> None:
    """Several calls were under way when the server began to refuse: one hold, and one line in one ledger."""
    limit, clock, others = RateLimit(), VirtualTime(), list[History]()

    class Meanwhile:
        def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
            others.append(rehearse(limit, busy(retry_after=7), url=URL, clock=clock))
            clock.pass_(0.1)
            return (yield from proceed(request))

    last = rehearse(Stack(limit, Meanwhile()), busy(retry_after=7), url=URL, clock=clock)
    assert HeldBack("http://foundry.local:5273", 7) in others[0].events
    assert not any(isinstance(event, HeldBack) for event in last.events)
    assert rehearse(limit, ok(), url=URL, clock=clock, draw=lambda: 0.0).elapsed == pytest.approx(7)


def test_retry_and_the_hold_do_not_wait_twice() -> None:
    """Retry sleeps as long as it was told to; the hold is over by then, but for its spread."""
    stack = Stack(Retry(attempts=2), RateLimit())
    assert rehearse(stack, busy(retry_after=10), ok(), url=URL, draw=lambda: 0.0).elapsed == pytest.approx(10)
    assert rehearse(stack, busy(retry_after=10), ok(), url="http://b/", draw=lambda: 0.5).elapsed == pytest.approx(10.5)


def test_stamina_in_testing_mode_takes_the_waits_out() -> None:
    stamina.set_testing(True, attempts=2)
    stack = Stack(Retry(attempts=2), RateLimit(1, per=3600))
    assert elapsed(stack, busy(retry_after=60), ok(), calls=2) == [0, 0]


def test_a_name_for_one_call_does_not_change_its_turn() -> None:
    assert elapsed(RateLimit(2), calls=2, options=CallOptions(name="chat")) == [0, 0.5]


# Side by side


def test_a_request_that_lost_a_race_while_it_waited_takes_no_turn() -> None:
    """The one beside it was sent, and is in the same ledger. Else all later calls would wait for one that is gone."""
    limit, clock = RateLimit(1, per=10), VirtualTime()
    rehearse(limit, ok(), url=URL, clock=clock)
    assert rehearse(Stack(Hedge(1), limit), ok(after=1), url=URL, clock=clock).elapsed == 11
    assert rehearse(limit, ok(), url=URL, clock=clock).elapsed == 9


# Settings


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: RateLimit(0), r"RateLimit\.rate is more than 0, not 0"),
        (lambda: RateLimit(math.inf), r"RateLimit\.rate is a finite number, not inf"),
        (lambda: RateLimit("10"), r"RateLimit\.rate is a number, not '10'"),  # type: ignore[arg-type]
        (lambda: RateLimit(1e-300, per=1e300), r"RateLimit\.per / RateLimit\.rate is a finite number, not inf"),
        (lambda: RateLimit(1, per=0), r"RateLimit\.per is more than 0, not 0"),
        (lambda: RateLimit(1, burst=0), r"RateLimit\.burst is at least 1, not 0"),
        (lambda: RateLimit(1, burst=1.5), r"RateLimit\.burst is a whole number, not 1\.5"),  # type: ignore[arg-type]
        (lambda: RateLimit(longest_wait=0), r"RateLimit\.longest_wait is more than 0, not 0"),
        (lambda: RateLimit(longest_hold=-1), r"RateLimit\.longest_hold is more than 0, not -1"),
        (lambda: RateLimit(max_origins=0), r"RateLimit\.max_origins is at least 1, not 0"),
    ],
)
def test_a_wrong_setting_is_named(make: Callable[[], RateLimit], complaint: str) -> None:
    with pytest.raises((ValueError, TypeError), match=complaint):
        make()


def test_it_prints_as_it_is_written() -> None:
    assert repr(Stack(RateLimit(10, burst=2))) == "Stack(RateLimit(rate=10, burst=2))"
    assert repr(Stack(RateLimit())) == "Stack(RateLimit())"
