"""What is wrong with a stack, in one sentence each."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_foundry import (
    AttemptTimeout,
    CircuitBreaker,
    Deadline,
    Fallback,
    RateLimit,
    Remedy,
    Retry,
    Stack,
    StackError,
    StreamGuard,
    Tracing,
)
from resilient_foundry.flow import Flow, Policy, Proceed, Request, Response
from tests.cures import Nothing

GUARD, TIMEOUT, BREAKER, RATE, REMEDY, RETRY, FALLBACK, DEADLINE, TRACING = (
    StreamGuard(),
    AttemptTimeout(),
    CircuitBreaker(),
    RateLimit(10),
    Remedy(Nothing()),
    Retry(),
    Fallback("http://127.0.0.1:5274"),
    Deadline(30),
    Tracing(),
)
IN_ORDER: tuple[Policy, ...] = (TRACING, DEADLINE, FALLBACK, RETRY, REMEDY, RATE, BREAKER, TIMEOUT, GUARD)


@pytest.mark.parametrize("stack", [Stack(), Stack.standard(), Stack.inference()], ids=repr)
def test_our_own_stacks_have_nothing_to_complain_of(stack: Stack) -> None:
    assert stack.lint() == []


@pytest.mark.parametrize("attempts", [1, 3, 5, 8, 20])
@pytest.mark.parametrize("read", [1.0, 120.0, 3600.0])
def test_no_setting_of_inference_contradicts_itself(attempts: int, read: float) -> None:
    assert Stack.inference(attempts=attempts, read=read).lint() == []


@given(chosen=st.sets(st.sampled_from(range(len(IN_ORDER)))))
def test_any_choice_of_policies_in_their_order_is_fine(chosen: set[int]) -> None:
    assert Stack(*(IN_ORDER[index] for index in sorted(chosen))).lint() == []


@given(order=st.permutations(range(len(IN_ORDER))))
def test_any_other_order_is_refused(order: list[int]) -> None:
    policies = [IN_ORDER[index] for index in order]
    assert bool(Stack.unchecked(*policies).lint()) == (order != sorted(order))


@pytest.mark.parametrize(
    ("policies", "complaint"),
    [
        (
            [TIMEOUT, StreamGuard(resume=True)],
            (
                "StreamGuard.resume is set and no Retry stands outside of the guard, which is what asks again: "
                "put one there, or leave it out"
            ),
        ),
        (
            [BREAKER, RETRY],
            (
                "Retry stands inside CircuitBreaker and belongs outside it: "
                "else the circuit sees one call where the server saw several, and can't stop the attempts"
            ),
        ),
        (
            [RETRY, DEADLINE],
            (
                "Deadline stands inside Retry and belongs outside it: "
                "else every attempt gets the whole deadline anew, and the waits between them are free"
            ),
        ),
        (
            [TIMEOUT, RETRY],
            (
                "Retry stands inside AttemptTimeout and belongs outside it: "
                "else its limits would hold for all attempts as if they were one"
            ),
        ),
        (
            [GUARD, TIMEOUT],
            (
                "AttemptTimeout stands inside StreamGuard and belongs outside it: "
                "each sees what the ones further in report"
            ),
        ),
        ([RETRY, Retry(attempts=2)], "two Retry policies in one stack: their attempts multiply; keep one"),
        ([TRACING, Tracing(name="x")], "two Tracing policies in one stack: every call would get two spans; keep one"),
        (
            [BREAKER, CircuitBreaker()],
            "two CircuitBreaker policies in one stack: the outer one counts what the inner one refuses; keep one",
        ),
        (
            [FALLBACK, Fallback("http://127.0.0.1:5275")],
            (
                "two Fallback policies in one stack: "
                "every target of the outer one would be followed by all of the inner one's; keep one"
            ),
        ),
        (
            [GUARD, GUARD],
            "two StreamGuard policies in one stack: the inner one has held the stream already; keep one",
        ),
        (
            [Deadline(5), AttemptTimeout(connect=2, pool=2, write=2, read=12)],
            (
                "AttemptTimeout.read (12 s) is longer than the deadline (5 s), "
                "so it would never be reached: shorten it, or give the call more time"
            ),
        ),
        (
            [Deadline(5), Retry(longest_wait=6)],
            (
                "Retry.longest_wait (6 s) is longer than the deadline (5 s), "
                "so no such wait would be begun: shorten it, or leave it out"
            ),
        ),
        (
            [CircuitBreaker(), AttemptTimeout(read=120)],
            (
                "CircuitBreaker.probe_lease (60 s) is shorter than AttemptTimeout.read (120 s), "
                "so a second probe would go out while the first may still be answered: make it 120 or longer"
            ),
        ),
        (
            [CircuitBreaker(failure_rate=0.5, window=30, probe_lease=60), AttemptTimeout(read=20)],
            (
                "CircuitBreaker.window (30 s) is shorter than two AttemptTimeout.read (20 s), "
                "so of calls that time out too few fall into it together: make it 40 or longer"
            ),
        ),
        (
            [CircuitBreaker(slow_seconds=10, window=60), AttemptTimeout(read=10)],
            (
                "CircuitBreaker.slow_seconds (10 s) is not below AttemptTimeout.read (10 s), "
                "so what would be slow has timed out before: make it shorter than 10"
            ),
        ),
        (
            [Retry(attempts=6), CircuitBreaker(failures=5)],
            (
                "CircuitBreaker.failures (5) is not above Retry.attempts (6), "
                "so one bad call opens the circuit by itself: raise it above 6"
            ),
        ),
        (
            [Retry(attempts=5), CircuitBreaker(failures=5)],
            (
                "CircuitBreaker.failures (5) is not above Retry.attempts (5), "
                "so one bad call opens the circuit by itself: raise it above 5"
            ),
        ),
    ],
)
def test_each_complaint_names_what_is_wrong_and_what_to_do(policies: list[Policy], complaint: str) -> None:
    assert Stack.unchecked(*policies).lint() == [complaint]
    with pytest.raises(StackError) as caught:
        Stack(*policies)
    assert str(caught.value) == complaint


@given(order=st.permutations([*IN_ORDER, Retry(attempts=9), CircuitBreaker(), Deadline(1), GUARD, Tracing()]))
def test_every_complaint_is_one_sentence(order: list[Policy]) -> None:
    """One line, no full stop inside, and it says why after a colon or how after a semicolon."""
    complaints = Stack.unchecked(*order).lint()
    assert complaints
    for complaint in complaints:
        assert re.fullmatch(r"[^\n]+[:;] [^\n]+[^.]", complaint), complaint


def test_every_complaint_about_an_order_says_why() -> None:
    """In words that were written for these two."""
    for outer, policy in enumerate(IN_ORDER):
        for inner in IN_ORDER[outer + 1 :]:
            if {policy, inner} & {RATE, FALLBACK, REMEDY} and policy is not TRACING and inner is not GUARD:
                (complaint,) = Stack.unchecked(inner, policy).lint()
                assert "each sees what the ones further in report" not in complaint, complaint


def test_two_rates_do_not_contradict_each_other() -> None:
    """So many a second, and fewer in the long run."""
    assert Stack(RateLimit(10), RateLimit(100, per=60)).lint() == []


def test_one_attempt_and_one_failure_do_not_contradict_each_other() -> None:
    """Nothing is repeated, so the circuit's threshold is the user's own business."""
    assert Stack(Retry(attempts=1), CircuitBreaker(failures=1)).lint() == []


def test_a_window_that_is_not_counted_in_may_be_of_any_length() -> None:
    assert Stack(CircuitBreaker(window=1), AttemptTimeout(read=20)).lint() == []


def test_where_failures_in_a_row_open_no_circuit_attempts_cannot_be_too_many() -> None:
    assert Stack(Retry(attempts=9), CircuitBreaker(failures=None, failure_rate=0.5)).lint() == []


def test_a_shorter_deadline_is_the_one_that_counts() -> None:
    complaints = Stack.unchecked(Deadline(60), Deadline(5), AttemptTimeout(read=12, write=None, connect=1, pool=1))
    assert len(complaints.lint()) == 1


def test_policies_that_are_not_known_may_stand_anywhere() -> None:
    class Theirs:
        def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
            return (yield from proceed(request))

    theirs = Theirs()
    assert Stack(theirs, TRACING, theirs, RETRY, theirs, GUARD, theirs).lint() == []


def test_unchecked_takes_them_all_the_same() -> None:
    assert Stack.unchecked(BREAKER, RETRY).policies == (BREAKER, RETRY)


def test_a_limit_that_nobody_asked_for_is_no_contradiction() -> None:
    """A short deadline cuts the default limits; only one that was chosen can be a mistake."""
    assert Stack(Deadline(3), AttemptTimeout(read=2)).lint() == []


@pytest.mark.parametrize(
    "stack",
    [
        Stack.unchecked(CircuitBreaker(probe_lease=120), AttemptTimeout(read=120)),
        Stack.unchecked(CircuitBreaker(), AttemptTimeout(read=None)),
        Stack.unchecked(Deadline(30), CircuitBreaker(), AttemptTimeout(read=120)),
    ],
    ids=["as long", "no limit to compare", "the deadline ends the probe first"],
)
def test_a_lease_that_outlasts_the_limits_of_its_probe_is_long_enough(stack: Stack) -> None:
    assert not any("probe_lease" in complaint for complaint in stack.lint())
