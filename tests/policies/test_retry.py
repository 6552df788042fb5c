"""Whether to try again, when, and what the caller gets when trying ends."""

import gzip
import io
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import anyio
import httpx
import pytest
import stamina
from hypothesis import given
from hypothesis import strategies as st

from resilient_foundry import Backoff, CallOptions, CircuitBreaker, Deadline, Retry, RetryBudget, Stack, StreamGuard
from resilient_foundry.events import Event, Outcome, RetriesExhausted, RetryDenied, RetryScheduled
from resilient_foundry.faults import Verdict, judge_by_status
from resilient_foundry.flow import Flow, Proceed, Request, Response, listen
from resilient_foundry.testing import (
    Answer,
    Failure,
    Said,
    VirtualTime,
    busy,
    events,
    failed,
    lost,
    ok,
    rehearse,
    scripted,
    unsent,
)
from tests.over import over

IDEMPOTENT = ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "QUERY"]
OTHERS = ["POST", "PATCH", "CONNECT", "LOCK"]
AT_ONCE = Backoff(base=0, cap=0)


def denials(history_events: list[Event]) -> list[str]:
    return [event.why for event in history_events if isinstance(event, RetryDenied)]


# How often


@given(attempts=st.integers(1, 20))
def test_a_call_is_tried_so_many_times_in_all(attempts: int) -> None:
    history = rehearse(Retry(attempts=attempts), *[failed(502)] * attempts)
    assert history.sent == attempts
    assert history.status == 502


def test_a_good_answer_ends_the_trying() -> None:
    history = rehearse(Retry(attempts=5), lost(), failed(502), ok(b"good"))
    assert (history.status, history.content, history.sent) == (200, b"good", 3)
    assert history.error is None


@pytest.mark.parametrize("wrong", [0, -1])
def test_no_attempt_at_all_cannot_be_said(wrong: int) -> None:
    with pytest.raises(ValueError, match=rf"Retry\.attempts is at least 1, not {wrong}"):
        Retry(attempts=wrong)


@pytest.mark.parametrize("wrong", [2.0, True, "3"])
def test_attempts_are_whole(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"Retry\.attempts is a whole number"):
        Retry(attempts=wrong)


@pytest.mark.parametrize("wrong", [0, -1.0, float("nan"), float("inf")])
def test_the_longest_wait_is_a_positive_number_of_seconds(wrong: float) -> None:
    with pytest.raises(ValueError, match=r"Retry\.longest_wait is"):
        Retry(longest_wait=wrong)


# What is repeated


@pytest.mark.parametrize("method", IDEMPOTENT + OTHERS)
@pytest.mark.parametrize("failure", ["ConnectError", "ConnectTimeout", "PoolTimeout"])
def test_a_call_of_which_nothing_was_sent_is_repeated_whatever_its_method(method: str, failure: str) -> None:
    assert rehearse(Retry(attempts=2), Failure(error=failure), ok(), method=method).status == 200


@pytest.mark.parametrize("method", IDEMPOTENT + OTHERS)
@pytest.mark.parametrize("status", [425, 429, 503])
def test_an_answer_that_says_not_processed_is_repeated_whatever_its_method(method: str, status: int) -> None:
    assert rehearse(Retry(attempts=2), failed(status), ok(), method=method).status == 200


UNCERTAIN = [
    *(failed(status) for status in (408, 500, 502, 504)),
    *(Failure(error=name) for name in ("ReadError", "WriteError", "ReadTimeout", "WriteTimeout", "ProxyError")),
    Failure(error="RemoteProtocolError"),
]


@pytest.mark.parametrize("method", IDEMPOTENT)
@pytest.mark.parametrize("failure", UNCERTAIN, ids=repr)
def test_what_may_have_been_done_is_repeated_where_doing_it_twice_does_no_harm(method: str, failure: Said) -> None:
    assert rehearse(Retry(attempts=2), failure, ok(), method=method).status == 200


@pytest.mark.parametrize("method", OTHERS)
@pytest.mark.parametrize("failure", UNCERTAIN, ids=repr)
def test_what_may_have_been_done_is_not_repeated_otherwise(method: str, failure: Said) -> None:
    history = rehearse(Retry(attempts=2), failure, method=method)
    assert denials(history.events) == ["not_repeatable"]


@pytest.mark.parametrize("failure", UNCERTAIN, ids=repr)
def test_an_idempotency_key_makes_a_call_repeatable(failure: Said) -> None:
    """The server tells the second sending from a second call."""
    script = scripted(failure, ok())
    with httpx.Client(transport=over(Stack(Retry(attempts=2, backoff=AT_ONCE)), script)) as client:
        response = client.post("http://foundry.local/", json={}, headers={"Idempotency-Key": "k1"})
    assert response.status_code == 200
    assert [request.headers["idempotency-key"] for request in script.script.requests] == ["k1", "k1"]


@pytest.mark.parametrize("failure", UNCERTAIN, ids=repr)
def test_a_caller_who_says_that_a_call_is_repeatable_is_believed(failure: Said) -> None:
    history = rehearse(Retry(attempts=2), failure, ok(), method="POST", options=CallOptions(repeatable=True))
    assert history.status == 200


@pytest.mark.parametrize("failure", UNCERTAIN, ids=repr)
def test_a_caller_who_says_that_a_call_is_not_repeatable_is_believed_too(failure: Said) -> None:
    """Foundry's GET /models/load changes state: the method alone would promise too much."""
    history = rehearse(Retry(attempts=2), failure, options=CallOptions(repeatable=False))
    assert history.sent == 1


def test_even_then_what_was_never_sent_is_sent_again() -> None:
    assert rehearse(Retry(attempts=2), unsent(), ok(), options=CallOptions(repeatable=False)).status == 200


@pytest.mark.parametrize("status", [200, 204, 301, 304, 400, 401, 403, 404, 409, 413, 421, 422, 501, 505, 507])
def test_other_answers_are_the_callers_business(status: int) -> None:
    history = rehearse(Retry(), failed(status))
    assert (history.sent, history.status) == (1, status)
    assert denials(history.events) == []


@pytest.mark.parametrize(
    "name", ["LocalProtocolError", "UnsupportedProtocol", "DecodingError", "TooManyRedirects", "InvalidURL"]
)
def test_an_error_of_this_side_is_never_repeated(name: str) -> None:
    history = rehearse(Retry(), Failure(error=name))
    assert history.sent == 1
    assert type(history.error).__name__ == name


def test_a_server_that_says_try_again_is_believed_about_any_failure() -> None:
    answer = Answer(status=409, headers={"x-should-retry": "true"})
    assert rehearse(Retry(attempts=2), answer, ok()).status == 200


def test_but_not_about_a_call_that_must_not_be_repeated() -> None:
    answer = Answer(status=409, headers={"x-should-retry": "true"})
    assert denials(rehearse(Retry(attempts=2), answer, method="POST").events) == ["not_repeatable"]


def test_try_again_on_a_good_answer_means_nothing() -> None:
    assert rehearse(Retry(), Answer(headers={"x-should-retry": "true"})).sent == 1


def test_a_server_that_says_do_not_try_again_is_believed() -> None:
    history = rehearse(Retry(), Answer(status=503, headers={"x-should-retry": "False "}))
    assert history.status == 503
    assert denials(history.events) == ["told_not_to"]


def test_the_same_500_twice_is_not_tried_a_third_time() -> None:
    """A failure that repeats itself to the letter is no accident: the same prompt will fail every time."""
    history = rehearse(Retry(attempts=5), failed(500, b"same"), failed(500, b"same"))
    assert history.sent == 2
    assert history.content == b"same"
    assert denials(history.events) == ["same_failure_twice"]


def test_two_different_500s_are_two_accidents() -> None:
    assert rehearse(Retry(), failed(500, b"one"), failed(500, b"two"), ok()).status == 200


def test_a_500_that_comes_back_after_another_failure_is_a_new_one() -> None:
    assert rehearse(Retry(attempts=4), failed(500), lost(), failed(500), ok()).status == 200


@pytest.mark.parametrize("status", [408, 502, 503, 504])
def test_statuses_of_load_and_gateways_may_repeat_themselves(status: int) -> None:
    assert rehearse(Retry(), failed(status), failed(status), ok()).status == 200


def test_an_open_circuit_ends_the_trying() -> None:
    """At once, and not after a wait for a refusal: the caller gets the failure that opened it."""
    stack = Stack.unchecked(Retry(attempts=5), CircuitBreaker(failures=2))
    history = rehearse(stack, failed(502), failed(502))
    assert (history.sent, history.status) == (2, 502)
    assert history.waits == [0.05]
    assert RetryDenied(2, "502", "circuit_open") in history.events


def test_a_circuit_that_opens_with_an_error_ends_the_trying_too() -> None:
    stack = Stack.unchecked(Retry(attempts=5), CircuitBreaker(failures=1))
    history = rehearse(stack, lost())
    assert type(history.error).__name__ == "ReadError"
    assert RetryDenied(1, "ReadError", "circuit_open") in history.events


def test_a_circuit_that_is_open_for_less_than_the_wait_ends_nothing() -> None:
    """It will admit the next attempt, as its probe."""
    stack = Stack.unchecked(Retry(attempts=2), CircuitBreaker(failures=1, open_seconds=1))
    history = rehearse(stack, busy(retry_after=1), ok())
    assert (history.sent, history.status) == (2, 200)


def test_what_another_call_did_to_the_circuit_is_not_this_calls_matter() -> None:
    """Only what happened within the attempt is looked at; a circuit that was closed again refuses nobody."""
    breaker, clock = CircuitBreaker(failures=1, open_seconds=1), VirtualTime()
    rehearse(breaker, failed(502), clock=clock)
    clock.pass_(1)
    stack = Stack.unchecked(Retry(attempts=2), breaker)
    history = rehearse(stack, failed(429), ok(), clock=clock)
    assert (history.sent, history.status) == (2, 200)


def test_the_attempts_of_one_call_are_shared_by_stacks_over_stacks() -> None:
    """Three times three would be nine."""
    stack = Stack.unchecked(Retry(attempts=3), Retry(attempts=3))
    history = rehearse(stack, *[failed(503)] * 9)
    assert history.sent == 3


def test_a_budget_bounds_what_all_calls_repeat_together() -> None:
    """A fifth of the calls, and no floor: of ten calls two are repeated once."""
    stack, clock = Stack(Retry(attempts=3, budget=RetryBudget(share=0.2, floor=0.0))), VirtualTime()
    histories = [rehearse(stack, *[failed(503)] * 3, clock=clock) for _ in range(10)]
    assert sum(history.sent for history in histories) == 12
    assert all(history.status == 503 for history in histories)
    assert RetryDenied(1, "503", "budget") in histories[0].events


def test_a_budget_is_the_origins_own() -> None:
    stack, clock = Stack(Retry(attempts=2, budget=RetryBudget(share=0.0, floor=0.1))), VirtualTime()
    assert rehearse(stack, failed(503), ok(), url="http://a/", clock=clock).sent == 2
    assert rehearse(stack, failed(503), url="http://a/", clock=clock).sent == 1
    assert rehearse(stack, failed(503), ok(), url="http://b/", clock=clock).sent == 2


def test_an_empty_budget_fails_no_first_attempt() -> None:
    stack = Stack(Retry(budget=RetryBudget(share=0.0, floor=0.0)))
    assert rehearse(stack, ok()).status == 200


def test_a_judge_that_blames_the_caller_ends_the_trying() -> None:
    """Foundry answers 500 to some wrong requests; asking again changes nothing."""

    def judge(status: int, headers: Mapping[str, str], body: bytes) -> Verdict:
        assert headers["x-kind"] == "template"
        return Verdict.CALLER if status == 500 and b"template" in body else Verdict.SERVER

    answer = Answer(status=500, headers={"x-kind": "template"}, chunks=(b"bad ", b"template"))
    history = rehearse(Retry(judge=judge), answer)
    assert (history.sent, history.content) == (1, b"bad template")
    assert denials(history.events) == ["caller"]


def always_busy(status: int, headers: Mapping[str, str], body: bytes) -> Verdict:
    del status, headers, body
    return Verdict.BUSY


def test_a_judge_that_says_busy_lets_any_method_be_repeated() -> None:
    history = rehearse(Retry(attempts=2, judge=always_busy), failed(500), ok(), method="POST")
    assert history.status == 200


# Streams


def test_a_stream_that_fails_before_its_first_event_is_repeated() -> None:
    stack = Stack(Retry(attempts=4), StreamGuard())
    history = rehearse(
        stack, events(), events('{"error": {"type": "x"}}'), events(breaks="ReadError"), events("[DONE]")
    )
    assert (history.sent, history.status, history.content) == (4, 200, b"data: [DONE]\n\n")
    assert [attempt.outcome for attempt in history.ledger.attempts] == [
        Outcome.TRUNCATED,
        Outcome.IN_BAND_ERROR,
        Outcome.BROKEN,
        Outcome.COMPLETE,
    ]


def test_a_stream_that_fails_later_is_never_repeated() -> None:
    """The caller has seen its beginning."""
    history = rehearse(Stack(Retry(), StreamGuard()), events("hello", breaks="ReadError"))
    assert (history.sent, history.content) == (1, b"data: hello\n\n")
    assert isinstance(history.error, httpx.ReadError)


def test_a_stream_that_fails_is_not_repeated_where_the_call_must_not_be() -> None:
    history = rehearse(Stack(Retry(), StreamGuard()), events(), method="POST")
    assert denials(history.events) == ["not_repeatable"]


def test_an_in_band_error_that_blames_the_caller_is_handed_over() -> None:
    def judge(status: int, headers: Mapping[str, str], body: bytes) -> Verdict:
        del status, headers
        return Verdict.CALLER if b"context length" in body else Verdict.SERVER

    answer = events('{"error": {"message": "context length"}}')
    history = rehearse(Stack(Retry(judge=judge), StreamGuard(judge=judge)), answer)
    assert history.sent == 1
    assert history.content == answer.chunks[0]


def test_the_last_failed_stream_is_handed_over_whole() -> None:
    answers = [events('{"error": {"type": "first"}}'), events('{"error": {"type": "second"}}')]
    history = rehearse(Stack(Retry(attempts=2), StreamGuard()), *answers)
    assert history.content == answers[1].chunks[0]
    assert history.events[-1] == RetriesExhausted(2, "in-band error")


def test_an_endless_stream_of_failure_is_not_read_to_its_end() -> None:
    """A 500 or a 503 may come as a stream of events that never ends: nothing of it is waited for."""
    for status in (500, 503):
        endless = Answer(status=status, headers={"content-type": "text/event-stream"}, chunks=(b":\n",) * 99, pause=1)
        history = rehearse(Retry(attempts=2), endless, ok())
        assert history.elapsed == pytest.approx(history.waits[0])
        assert history.script.closed == {1: 1, 2: 1}


def test_an_endless_failure_is_closed_before_the_next_attempt() -> None:
    """It may still be shown while the decision is open; after that it would only hold a connection."""
    script = scripted(Answer(status=503, headers={"content-type": "text/event-stream"}, chunks=(b":\n",)), ok())
    closed: list[int] = []

    class Noting:
        def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
            closed.append(script.script.closed.total())
            return (yield from proceed(request))

    with httpx.Client(transport=over(Stack(Retry(backoff=AT_ONCE), Noting()), script)) as client:
        assert client.get("http://foundry.local/").status_code == 200
    assert closed == [0, 1]


# How long it waits


def test_waits_as_long_as_the_server_asks() -> None:
    """A Retry-After header beats the backoff curve."""
    history = rehearse(Retry(attempts=2), busy(retry_after=7), ok())
    assert history.waits == [7.0]
    assert RetryScheduled(1, 7.0, "503", "retry_after") in history.events


def test_waits_by_its_backoff_where_the_server_asks_nothing() -> None:
    history = rehearse(Retry(attempts=4, backoff=Backoff(base=1, factor=3)), lost(), failed(502), lost(), ok())
    assert history.waits == [0.5, 1.5, 4.0]
    assert {event.source for event in history.events if isinstance(event, RetryScheduled)} == {"backoff"}


def test_a_server_that_asks_for_no_wait_is_not_hammered() -> None:
    """Retry-After: 0 still leaves the jitter, so that no hot loop begins."""
    assert rehearse(Retry(attempts=2), busy(retry_after=0), ok()).waits == [0.05]


def test_a_retry_after_in_the_past_leaves_the_backoff() -> None:
    answer = busy(retry_after="Sun, 06 Nov 1994 08:49:37 GMT")
    assert rehearse(Retry(attempts=2), answer, ok()).waits == [0.05]


def test_a_retry_after_that_cannot_be_read_leaves_the_backoff() -> None:
    assert rehearse(Retry(attempts=2), busy(retry_after="NaN"), ok()).waits == [0.05]


def test_a_retry_after_of_a_429_is_obeyed_too() -> None:
    assert rehearse(Retry(attempts=2), busy(status=429, retry_after=3), ok(), method="POST").waits == [3.0]


def test_a_wait_longer_than_the_longest_is_not_begun() -> None:
    """The caller gets the answer at once, with its headers, and can decide better."""
    history = rehearse(Retry(longest_wait=5), busy(retry_after=6))
    assert (history.sent, history.elapsed, history.content) == (1, 0.0, b"busy")
    assert history.response is not None
    assert history.response.headers["retry-after"] == "6"
    assert denials(history.events) == ["wait_too_long"]


def test_a_wait_as_long_as_the_longest_is_begun() -> None:
    assert rehearse(Retry(longest_wait=5), busy(retry_after=5), ok()).waits == [5.0]


def test_without_a_deadline_two_minutes_are_waited_and_no_more() -> None:
    """A server that asks for an hour does not hold a caller for an hour who said nothing."""
    assert rehearse(Retry(), busy(retry_after=120), ok()).waits == [120.0]
    assert denials(rehearse(Retry(), busy(retry_after=121)).events) == ["wait_too_long"]


def test_a_wait_past_the_deadline_is_not_begun() -> None:
    history = rehearse(Stack(Deadline(10), Retry()), busy(retry_after=10))
    assert (history.status, history.elapsed) == (503, 0.0)
    assert denials(history.events) == ["deadline"]


def test_under_a_deadline_a_long_wait_is_begun_when_it_fits() -> None:
    assert rehearse(Stack(Deadline(1000), Retry()), busy(retry_after=900), ok()).waits == [900.0]


def test_the_time_that_attempts_took_counts_towards_the_deadline() -> None:
    history = rehearse(Stack(Deadline(10), Retry()), lost(after=6), busy(retry_after=4))
    assert history.sent == 2
    assert denials(history.events) == ["deadline"]


def test_the_callers_own_deadline_is_the_one_that_counts() -> None:
    history = rehearse(Stack(Deadline(10), Retry()), busy(retry_after=20), ok(), options=CallOptions(deadline=60))
    assert history.waits == [20.0]


# What the caller gets


def test_the_last_response_comes_as_it_came() -> None:
    answers = [Answer(status=503, chunks=(b"first",)), Answer(status=502, headers={"x": "y"}, chunks=(b"se", b"cond"))]
    history = rehearse(Retry(attempts=2), *answers)
    assert (history.status, history.content) == (502, b"second")
    assert history.response is not None
    assert history.response.headers["x"] == "y"
    assert history.events[-1] == RetriesExhausted(2, "502")


def test_the_last_error_comes_as_itself_with_a_note() -> None:
    history = rehearse(Retry(attempts=3, backoff=Backoff(base=1)), failed(502), unsent(), lost())
    assert type(history.error) is httpx.ReadError
    assert history.error.__notes__ == ["after 3 attempts (502, ConnectError, ReadError), 1.500 s of them waiting"]


def test_an_error_that_ended_a_single_attempt_has_no_note() -> None:
    error = rehearse(Retry(), lost(), method="POST").error
    assert not hasattr(error, "__notes__")


def test_a_large_failure_is_handed_over_whole() -> None:
    """More than Retry reads for itself: the rest follows from the wire."""
    chunks = (b"x" * 40_000, b"y" * 40_000, b"z" * 40_000)
    history = rehearse(Retry(attempts=2), Answer(status=502, chunks=chunks), Answer(status=502, chunks=chunks))
    assert history.content == b"".join(chunks)
    assert history.script.closed == {1: 1, 2: 1}


def test_a_failure_whose_body_breaks_is_still_a_failure_to_repeat() -> None:
    broken = Answer(status=502, chunks=(b"half",), breaks="ReadError")
    assert rehearse(Retry(attempts=2), broken, ok()).status == 200


def test_a_last_failure_whose_body_breaks_breaks_where_it_is_read() -> None:
    broken = Answer(status=502, chunks=(b"half",), breaks="ReadError")
    history = rehearse(Retry(attempts=2), broken, broken)
    assert (history.status, history.content) == (502, b"half")
    assert isinstance(history.error, httpx.ReadError)


def test_the_connection_is_given_back_before_the_wait() -> None:
    """A caller that waits must not hold a place in the pool meanwhile."""
    clock = VirtualTime()
    transport = scripted(busy(retry_after=5), ok(), clock=clock)
    seen: list[int] = []

    def listener(event: Event) -> None:
        if isinstance(event, RetryScheduled):
            seen.append(transport.script.closed.total())

    class Listening:
        def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
            yield from listen(listener)
            return (yield from proceed(request))

    with stamina.set_testing(True, attempts=3):
        client = httpx.Client(transport=over(Stack(Listening(), Retry()), transport))
        assert client.get("http://foundry.local/").status_code == 200
    assert seen == [1]


def test_one_attempt_asks_nobody_anything() -> None:
    history = rehearse(Retry(attempts=1), failed(503))
    assert denials(history.events) == []
    assert not any(isinstance(event, RetriesExhausted) for event in history.events)


# Bodies


def sending(content: Any, *answers: Said, method: str = "PUT", **form: Any) -> tuple[int, list[bytes]]:
    """Status, and the bodies that went out, of a real client over a script."""
    script = scripted(*answers)
    transport = over(Stack(Retry(attempts=len(answers) + 1, backoff=AT_ONCE)), script)
    with httpx.Client(transport=transport) as client:
        response = client.request(method, "http://foundry.local/", content=content, **form)
    return response.status_code, script.script.bodies


def generator() -> Iterator[bytes]:
    yield b"one"
    yield b"two"


def test_bytes_are_sent_again_whole() -> None:
    assert sending(b"body", failed(503), failed(502), ok()) == (200, [b"body"] * 3)


def test_json_is_sent_again_whole() -> None:
    assert sending(None, failed(503), ok(), json={"a": 1}) == (200, [b'{"a":1}'] * 2)


def test_a_file_is_rewound_to_where_it_was() -> None:
    """Httpx would send it silently empty."""
    file = io.BytesIO(b"skipped payload")
    file.seek(8)
    assert sending(file, failed(503), failed(503), ok()) == (200, [b"payload"] * 3)


def test_a_file_that_cannot_be_rewound_is_sent_once() -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    assert sending(Pipe(b"payload"), failed(503)) == (503, [b"payload"])


def test_a_file_that_was_closed_meanwhile_is_not_sent_again() -> None:
    class Closing(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size)
            if not data:
                self.close()
            return data

    assert sending(Closing(b"payload"), failed(503)) == (503, [b"payload"])


def test_a_generator_is_sent_once() -> None:
    """StreamConsumed never takes the place of the real answer."""
    assert sending(generator(), failed(503)) == (503, [b"onetwo"])


def test_a_generator_that_nobody_has_begun_is_still_whole() -> None:
    assert sending(generator(), unsent(), unsent(), ok()) == (200, [b"onetwo"])


def test_a_generator_that_was_sent_says_why_it_is_not_sent_again() -> None:
    history = rehearse(Retry(), lost(), method="PUT", content=generator())
    assert isinstance(history.error, httpx.ReadError)
    assert denials(history.events) == ["body_sent"]


def test_a_form_of_bytes_is_sent_again_whole() -> None:
    status, bodies = sending(None, failed(503), ok(), files={"a": ("name", b"payload")}, data={"b": "c"})
    assert status == 200
    assert bodies[0] == bodies[1]
    assert b"payload" in bodies[0]


def test_a_form_with_a_file_is_sent_again_whole() -> None:
    status, bodies = sending(None, failed(503), failed(503), ok(), files={"a": ("name", io.BytesIO(b"payload"))})
    assert status == 200
    assert len(bodies) == 3
    assert len(set(bodies)) == 1
    assert b"payload" in bodies[0]


@pytest.mark.anyio
async def test_an_async_generator_is_sent_once() -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"one"
        await anyio.lowlevel.checkpoint()
        yield b"two"

    script = scripted(unsent(), failed(503))
    transport = over(Stack(Retry(backoff=AT_ONCE)), script)
    async with httpx.AsyncClient(transport=transport) as client:
        response = await client.put("http://foundry.local/", content=body())
    assert response.status_code == 503
    assert script.script.bodies == [b"onetwo"]


# Stamina


def test_stamina_inactive_makes_it_transparent() -> None:
    stamina.set_active(False)
    history = rehearse(Retry(), busy(retry_after=1))
    assert (history.sent, history.status, history.waits) == (1, 503, [])


def test_stamina_testing_takes_the_waits_out() -> None:
    """Also those that no deadline would allow: they will not happen."""
    with stamina.set_testing(True, attempts=3):
        history = rehearse(Stack(Deadline(5), Retry(attempts=3)), busy(retry_after=60), busy(retry_after=60), ok())
    assert (history.status, history.waits, history.elapsed) == (200, [0.0, 0.0], 0.0)


@pytest.mark.parametrize("attempts", [1, 2, 5])
def test_stamina_testing_says_how_often_to_try(attempts: int) -> None:
    script = scripted(*[failed(503)] * attempts)
    client = httpx.Client(transport=over(Stack(Retry(attempts=3)), script))
    with stamina.set_testing(True, attempts=attempts), client:
        response = client.get("http://foundry.local/")
    assert (response.status_code, response.content) == (503, b"failed")
    assert len(script.script.requests) == attempts


def test_stamina_testing_may_cap_the_attempts() -> None:
    script = scripted(*[lost()] * 3)
    client = httpx.Client(transport=over(Stack(Retry(attempts=3)), script))
    with stamina.set_testing(True, attempts=9, cap=True), client, pytest.raises(httpx.ReadError):
        client.get("http://foundry.local/")
    assert len(script.script.requests) == 3


def test_inactive_wins_over_testing() -> None:
    stamina.set_active(False)
    with stamina.set_testing(True, attempts=5):
        assert rehearse(Retry(), failed(503)).sent == 1


# Interruption


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_interruption_passes_at_once_and_uncounted(interruption: type[BaseException]) -> None:
    class Interrupted:
        def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
            yield from proceed(request)
            raise interruption

    history = rehearse(Stack(Retry(), Interrupted()), failed(503))
    assert isinstance(history.error, interruption)
    assert history.sent == 1
    assert history.script.closed == {1: 1}
    assert history.waits == []


@pytest.mark.anyio
async def test_cancelling_a_backoff_leaves_at_once() -> None:
    """Stamina asks its hook about cancellation too; the answer is no."""
    script = scripted(busy(retry_after=100), ok())
    async with httpx.AsyncClient(transport=over(Stack(Retry()), script)) as client:
        with anyio.move_on_after(0.01) as scope:
            await client.get("http://foundry.local/")
    assert scope.cancelled_caught
    assert len(script.script.requests) == 1
    assert script.script.closed == {1: 1}


def test_a_judge_is_not_shown_what_it_cannot_read() -> None:
    """Clients ask for compressed answers by default; their bytes would look like anything."""
    seen: list[bytes] = []

    def judge(status: int, headers: Mapping[str, str], body: bytes) -> Verdict:
        seen.append(body)
        return judge_by_status(status, headers, body)

    squeezed = Answer(status=502, headers={"content-encoding": "gzip"}, chunks=(gzip.compress(b"no"),))
    rehearse(Stack(Retry(judge=judge), CircuitBreaker(judge=judge)), squeezed, failed(502, b"plain"), ok())
    assert set(seen) == {b"", b"plain"}


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ({"backoff": 2}, "Retry.backoff is a Backoff, such as Backoff(base=2), not 2"),
        ({"budget": 0.2}, "Retry.budget is a RetryBudget, such as RetryBudget(share=0.2), not 0.2"),
    ],
)
def test_a_setting_of_another_kind_is_refused_when_the_policy_is_made(setting: Any, complaint: str) -> None:
    """And not with the first failure."""
    with pytest.raises(TypeError, match=re.escape(complaint)):
        Retry(**setting)
