"""What happened, and how a person reads it."""

from resilient_foundry import Backoff, CircuitBreaker, Deadline, Retry, Stack, StreamGuard
from resilient_foundry.events import (
    Attempt,
    AttemptAnswered,
    AttemptEnded,
    AttemptStarted,
    CircuitClosed,
    CircuitHalfOpened,
    CircuitOpened,
    Event,
    Ledger,
    Outcome,
    RetriesExhausted,
    RetryScheduled,
)
from resilient_foundry.testing import VirtualTime, busy, events, failed, lost, ok, rehearse, unsent

URL = "http://foundry.local:5273/v1/models"


def test_a_call_tells_its_story_line_by_line() -> None:
    """This is what the command prints, and what somebody reads at night."""
    stack = Stack.unchecked(Retry(attempts=4), StreamGuard())
    history = rehearse(
        stack, unsent(after=0.2), busy(retry_after=2), events(), events("hello", "[DONE]", pause=0.25), url=URL
    )
    assert history.ledger.explain() == (
        "   0.200 s  attempt 1: ConnectError, broken after 0.200 s\n"
        "   0.200 s  waits 0.050 s because of ConnectError\n"
        "   0.250 s  attempt 2: 503 after 0.000 s\n"
        "   0.250 s  waits 2.000 s (the server's word) because of 503\n"
        "   2.250 s  attempt 3: 200, truncated (no event) after 0.000 s\n"
        "   2.250 s  waits 0.200 s because of truncated\n"
        "   2.950 s  attempt 4: 200 after 0.500 s"
    )


def test_a_call_that_is_given_up_says_why() -> None:
    history = rehearse(Stack(Deadline(1), Retry()), busy(retry_after=7))
    assert history.ledger.explain() == (
        "   0.000 s  attempt 1: 503 after 0.000 s\n"
        "   0.000 s  is not tried again after 503: the wait would outlast the deadline"
    )


def test_the_life_of_a_circuit_can_be_read_from_three_calls() -> None:
    breaker, clock = CircuitBreaker(failures=1), VirtualTime()
    assert rehearse(breaker, failed(), url=URL, clock=clock).ledger.explain() == (
        "   0.000 s  attempt 1: 500 after 0.000 s\n"
        "   0.000 s  circuit for http://foundry.local:5273 opened (failures in a row); next probe in 5.0 s"
    )
    assert rehearse(breaker, url=URL, clock=clock).ledger.explain() == (
        "   0.000 s  refused: circuit for http://foundry.local:5273 is open"
    )
    clock.pass_(5)
    assert rehearse(breaker, ok(after=0.1), url=URL, clock=clock).ledger.explain() == (
        "   0.000 s  circuit for http://foundry.local:5273 admits a probe\n"
        "   0.100 s  attempt 1: 200 after 0.100 s\n"
        "   0.100 s  circuit for http://foundry.local:5273 closed"
    )


def test_a_passed_limit_is_part_of_the_story() -> None:
    history = rehearse(Stack(Deadline(3)), ok(after=9))
    assert history.ledger.explain() == (
        "   3.000 s  read limit passed\n"
        "   3.000 s  attempt 1: ReadTimeout, stalled after 3.000 s\n"
        "   3.000 s  deadline limit passed (3 s)"
    )


def test_an_attempt_that_is_still_under_way_says_so() -> None:
    assert Attempt(number=1, started=0).explain() == "attempt 1: under way"
    assert Attempt(number=2, started=0, status=200, answered_after=0.5).explain() == "attempt 2: 200 after 0.500 s"


def test_a_body_that_broke_names_its_status_and_its_error() -> None:
    broken = Attempt(1, 0, status=200, ended_after=1, outcome=Outcome.BROKEN, error="ReadError", detail="")
    assert broken.explain() == "attempt 1: 200, broken: ReadError after 1.000 s"


def test_the_ledger_counts_from_the_start_of_its_call() -> None:
    ledger = Ledger(started=100.0)
    ledger.tell(AttemptStarted(1), 101.5)
    assert ledger.events == [(1.5, AttemptStarted(1))]


def test_listeners_hear_every_event_in_order() -> None:
    heard: list[Event] = []
    history = rehearse(Retry(attempts=2), failed(503), ok(after=0.5), listener=heard.append)
    assert heard == history.events
    assert heard == [
        AttemptStarted(1),
        AttemptAnswered(1, 503, 0.0),
        AttemptEnded(1, 503, Outcome.COMPLETE, 0.0, 6),
        RetryScheduled(1, 0.05, "503", "backoff"),
        AttemptStarted(2),
        AttemptAnswered(2, 200, 0.5),
        AttemptEnded(2, 200, Outcome.COMPLETE, 0.5, 2),
    ]


def test_waits_are_the_seconds_between_attempts() -> None:
    history = rehearse(Retry(backoff=Backoff(base=1)), lost(), lost(), ok())
    assert history.ledger.waits == [0.5, 1.0]


def test_attempts_add_up_what_came_over_the_wire() -> None:
    (attempt,) = rehearse(Retry(), events("one", "two", pause=1)).ledger.attempts
    assert (attempt.bytes, attempt.chunks) == (22, 2)
    assert (attempt.started, attempt.answered_after, attempt.ended_after) == (0.0, 0.0, 2.0)
    assert (attempt.status, attempt.outcome, attempt.error) == (200, Outcome.COMPLETE, None)


def test_an_error_is_known_by_its_class_and_never_by_its_text() -> None:
    """The text of an error may quote the request."""
    (attempt,) = rehearse(Retry(), lost(), method="POST").ledger.attempts
    assert attempt.error == "ReadError"
    assert "scripted" not in attempt.explain()


def test_giving_up_is_an_event() -> None:
    assert rehearse(Retry(attempts=2), busy(), busy()).events[-1] == RetriesExhausted(2, "503")


def test_changes_of_a_circuit_are_told_to_the_call_that_caused_them() -> None:
    breaker, clock = CircuitBreaker(failures=1, open_seconds=2), VirtualTime()
    name = "http://foundry.local:5273"
    assert CircuitOpened(name, 2, "failures") in rehearse(breaker, failed(), clock=clock).events
    clock.pass_(2)
    told = rehearse(breaker, ok(), clock=clock).events
    assert [event for event in told if isinstance(event, (CircuitHalfOpened, CircuitClosed))] == [
        CircuitHalfOpened(name),
        CircuitClosed(name),
    ]
