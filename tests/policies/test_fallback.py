"""Whom to ask instead, or for which other model, when what was asked first fails."""

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilient_foundry import (
    Backoff,
    CallOptions,
    CircuitBreaker,
    CircuitOpenError,
    Deadline,
    DeadlineExceededError,
    Fallback,
    RateLimit,
    RateLimitError,
    ResilienceError,
    Retry,
    Stack,
    StreamGuard,
    Target,
)
from resilient_foundry.call import TARGET
from resilient_foundry.events import FallbackDenied, FellBack
from resilient_foundry.faults import Verdict, judge_by_status
from resilient_foundry.flow import Flow, Proceed, Request, Response
from resilient_foundry.testing import (
    Answer,
    Failure,
    History,
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
from tests.laws.worlds import BUSY, CALLS, UNSENT, WORLD, Call
from tests.over import over

MAIN = "http://main:5273"
URL = f"{MAIN}/v1/chat"
OTHER, THIRD = "http://other:5274", "http://third:5275"
AT_ONCE = Backoff(base=0, cap=0)
REPEATABLE = CallOptions(repeatable=True)


def asked(history: History) -> list[str]:
    """The origins that were sent something, in order."""
    return [f"{request.url.scheme}://{request.url.netloc.decode()}" for request in history.script.requests]


def fell_back(history: History) -> list[tuple[str, str]]:
    return [(event.target, event.reason) for event in history.events if isinstance(event, FellBack)]


def denied(history: History) -> list[str]:
    return [event.why for event in history.events if isinstance(event, FallbackDenied)]


def whose(history: History) -> Any:
    """Which target the answer says it is of; None of an error, and of who was asked first."""
    return None if history.response is None else history.response.extensions.get(TARGET)


# When


def test_a_good_answer_is_all_that_is_asked_for() -> None:
    history = rehearse(Fallback(OTHER), ok(b"main"), url=URL)
    assert (history.content, history.sent, whose(history)) == (b"main", 1, None)
    assert not fell_back(history)


FAILURES: list[tuple[Said, str]] = [
    (unsent(), "ConnectError"),
    (Failure(error="ConnectTimeout"), "ConnectTimeout"),
    (Failure(error="PoolTimeout"), "PoolTimeout"),
    (Failure(error="ReadTimeout"), "ReadTimeout"),
    (Failure(error="RemoteProtocolError"), "RemoteProtocolError"),
    (lost(), "ReadError"),
    (busy(), "503"),
    (busy(status=429), "429"),
    *((failed(status), str(status)) for status in (408, 425, 500, 502, 504)),
]


@pytest.mark.parametrize(("failure", "reason"), FAILURES, ids=lambda value: repr(value)[:40])
def test_a_failure_is_answered_by_the_next_target(failure: Said, reason: str) -> None:
    history = rehearse(Fallback(OTHER), failure, ok(b"other"), url=URL)
    assert (history.status, history.content, whose(history)) == (200, b"other", OTHER)
    assert asked(history) == [MAIN, OTHER]
    assert fell_back(history) == [(OTHER, reason)]


@pytest.mark.parametrize("status", [200, 204, 302, 304, 400, 401, 403, 404, 409, 413, 422, 501])
def test_an_answer_that_is_no_failure_of_the_server_is_the_answer(status: int) -> None:
    """It would be the same elsewhere, or worse: an answer to another question."""
    history = rehearse(Fallback(OTHER), failed(status, b"said"), url=URL)
    assert (history.status, history.content, history.sent) == (status, b"said", 1)


def test_what_this_side_is_to_blame_for_is_raised() -> None:
    history = rehearse(Fallback(OTHER), Failure(error="LocalProtocolError"), url=URL)
    assert isinstance(history.error, httpx.LocalProtocolError)
    assert history.sent == 1


def test_a_judge_may_know_better() -> None:
    def judge(status: int, headers: Any, body: bytes) -> Verdict:
        if b"not here" in body:
            return Verdict.BUSY
        return Verdict.CALLER if b"template" in body else judge_by_status(status, headers, body)

    fallback = Fallback(OTHER, judge=judge)
    assert rehearse(fallback, failed(500, b"template"), url=URL).status == 500
    assert rehearse(fallback, failed(404, b"not here"), ok(), url=URL, method="POST").status == 200


@pytest.mark.parametrize(
    "headers",
    [{"content-type": "text/event-stream"}, {"content-encoding": "gzip"}],
    ids=["a stream, which may never end", "compressed, which nobody can read"],
)
def test_a_judge_is_shown_what_can_be_read(headers: dict[str, str]) -> None:
    shown: list[bytes] = []

    def judge(status: int, headers: Any, body: bytes) -> Verdict:
        shown.append(body)
        return judge_by_status(status, headers, body)

    rehearse(Fallback(OTHER, judge=judge), Answer(status=503, headers=headers, chunks=(b"said",)), ok(), url=URL)
    rehearse(Fallback(OTHER, judge=judge), failed(503, b"said"), ok(), url=URL)
    assert shown == [b"", b"said"]


def test_a_stream_that_fails_before_its_first_event_is_a_failure() -> None:
    stack = Stack(Fallback(OTHER), StreamGuard())
    history = rehearse(stack, events('{"error": {"type": "x"}}'), events("hello", "[DONE]"), url=URL)
    assert b"hello" in history.content
    assert fell_back(history) == [(OTHER, "in-band error")]


def test_a_stream_that_the_caller_has_seen_is_its_own() -> None:
    stack = Stack(Fallback(OTHER), StreamGuard())
    history = rehearse(stack, events("hello", '{"error": {"type": "x"}}'), url=URL)
    assert b"hello" in history.content
    assert history.sent == 1


def test_an_error_in_a_stream_that_blames_the_caller_is_the_answer() -> None:
    def judge(status: int, headers: Any, body: bytes) -> Verdict:
        return Verdict.CALLER if b"template" in body else judge_by_status(status, headers, body)

    stack = Stack(Fallback(OTHER), StreamGuard(judge=judge))
    assert rehearse(stack, events('{"error": {"type": "template"}}'), url=URL).sent == 1


# To whom


def test_the_targets_are_asked_in_their_order() -> None:
    history = rehearse(Fallback(OTHER, Target(THIRD)), unsent(), failed(502), ok(b"third"), url=URL)
    assert (history.content, whose(history)) == (b"third", THIRD)
    assert asked(history) == [MAIN, OTHER, THIRD]
    assert fell_back(history) == [(OTHER, "ConnectError"), (THIRD, "502")]


def chat(policy: Any, *answers: Said, **settings: Any) -> tuple[list[Any], list[str]]:
    """The bodies that were sent for one chat, and the reasons for which another target was not asked."""
    transport = scripted(*answers)
    with httpx.Client(transport=over(Stack(policy), transport)) as client:
        response = client.post(URL, json={"model": "big"}, **settings)
    told = [event.why for _, event in response.extensions["resilience"].events if isinstance(event, FallbackDenied)]
    return [json.loads(body) for body in transport.script.bodies], told


def test_another_model_is_asked_for_where_the_request_names_one() -> None:
    fallback = Fallback(Target(model="small"), Target(OTHER, model="tiny"))
    bodies, told = chat(fallback, busy(), busy(), ok())
    assert [body["model"] for body in bodies] == ["big", "small", "tiny"]
    assert not told


def test_a_target_that_suits_the_request_not_is_passed_over() -> None:
    history = rehearse(Fallback(Target(model="small"), OTHER), unsent(), ok(b"other"), url=URL)
    assert asked(history) == [MAIN, OTHER]
    assert denied(history) == ["no_model"]


def test_who_was_asked_already_is_not_asked_again() -> None:
    history = rehearse(Fallback(MAIN, OTHER), unsent(), ok(b"other"), url=URL)
    assert asked(history) == [MAIN, OTHER]
    assert rehearse(Fallback(MAIN), unsent(), url=URL).sent == 1


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500])
def test_a_target_that_refuses_is_passed_over(status: int) -> None:
    """It may lack the model, or the key that did not travel: its 404 is no answer to what the caller asked."""
    history = rehearse(Fallback(OTHER, THIRD), busy(), failed(status), ok(b"third"), url=URL)
    assert (history.content, fell_back(history)) == (b"third", [(OTHER, "503"), (THIRD, str(status))])


def test_a_target_that_sends_the_client_elsewhere_is_passed_over() -> None:
    """The client would read `Location: /login` as a path of the origin that it believes to have asked."""
    redirect = Answer(status=302, headers={"location": "/login"})
    history = rehearse(Fallback(OTHER, THIRD), busy(), redirect, ok(b"third"), url=URL)
    assert history.content == b"third"


@pytest.mark.parametrize(("status", "may"), [(301, False), (302, False), (303, False), (307, True), (308, True)])
def test_a_target_that_may_have_acted_before_it_sent_the_client_elsewhere_is_the_last_one(
    status: int, may: bool
) -> None:
    """A form is answered with "303, see your order": two servers would both take it."""
    redirect = Answer(status=status, headers={"location": "/orders/1"})
    history = rehearse(Fallback(OTHER, THIRD), unsent(), redirect, ok(), url=URL, method="POST")
    assert (history.sent, denied(history)) == ((3, []) if may else (2, ["not_repeatable"]))


def test_a_redirect_of_the_same_origin_is_followed_as_ever() -> None:
    redirect = Answer(status=302, headers={"location": "/login"})
    assert rehearse(Fallback(Target(f"{MAIN}/v2")), busy(), redirect, url=URL).status == 302


def test_a_target_whose_certificate_is_not_trusted_is_passed_over() -> None:
    failure = Failure(error="UnsupportedProtocol")
    history = rehearse(Fallback("https://other", THIRD), unsent(), failure, ok(b"third"), url=URL)
    assert history.content == b"third"


def test_a_target_that_this_side_could_not_speak_with_may_have_heard_a_part() -> None:
    mute = Failure(error="LocalProtocolError")
    history = rehearse(Fallback(OTHER, THIRD), unsent(), mute, url=URL, method="POST")
    assert asked(history) == [MAIN, OTHER]
    assert isinstance(history.error, httpx.ConnectError)


def test_a_mistake_in_the_code_of_a_policy_is_raised() -> None:
    class Mistaken:
        def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
            if request.url.host == "other":
                raise KeyError("a mistake")
            return (yield from proceed(request))

    assert isinstance(rehearse(Stack(Fallback(OTHER), Mistaken()), unsent(), url=URL).error, KeyError)


# All fail


def test_the_caller_gets_the_first_answer_when_all_fail() -> None:
    """What it asked for failed like this; how the stand-ins failed is in the ledger."""
    history = rehearse(Fallback(OTHER, THIRD), failed(503, b"main"), failed(500, b"other"), lost(), url=URL)
    assert (history.status, history.content, whose(history)) == (503, b"main", None)
    assert asked(history) == [MAIN, OTHER, THIRD]


def test_the_caller_gets_the_first_error_when_all_fail_and_a_note_on_the_others() -> None:
    history = rehearse(Fallback(OTHER, THIRD), lost(), failed(500), unsent(), url=URL)
    assert isinstance(history.error, httpx.ReadError)
    assert history.error.__notes__ == [f"asked in vain as well: {OTHER} (500), {THIRD} (ConnectError)"]


def test_an_error_has_no_note_where_nobody_else_was_asked() -> None:
    history = rehearse(Fallback(OTHER), lost(), url=URL, method="POST")
    assert not hasattr(history.error, "__notes__")


def test_a_large_first_answer_is_whole_where_nobody_else_is_asked() -> None:
    large = Answer(status=500, chunks=(b"x" * 60_000,) * 5)
    history = rehearse(Fallback(OTHER), large, url=URL, method="POST")
    assert len(history.content) == 300_000


def test_of_a_large_first_answer_the_beginning_is_kept_while_others_are_asked() -> None:
    large = Answer(status=500, chunks=(b"x" * 60_000,) * 5)
    history = rehearse(Fallback(OTHER), large, unsent(), url=URL)
    assert history.status == 500
    assert 64 * 1024 <= len(history.content) <= 120_000


def test_a_first_answer_that_was_not_read_to_its_end_ends_with_an_error_of_the_library() -> None:
    """Neither does half an answer look like a whole one, nor is it the caller's mistake to read it."""
    for first in (
        Answer(status=500, chunks=(b"x" * 60_000,) * 5),
        Answer(status=503, headers={"content-type": "text/event-stream"}, chunks=(b"data: busy\n\n",)),
    ):
        history = rehearse(Fallback(OTHER), first, unsent(), url=URL)
        assert history.status == first.status
        assert isinstance(history.error, httpx.ReadError)
        assert str(history.error) == f"this answer ({first.status}) was closed before its end, to ask once more"
        assert history.error.resilience is history.ledger  # type: ignore[attr-defined]  # every error carries its ledger
        assert history.script.closed == {1: 1}


def test_a_stream_that_was_to_be_continued_and_never_began_is_an_error_of_the_library() -> None:
    """When all fail: as without a fallback, where reading it raises this."""
    empty = Answer(headers={"content-type": "text/event-stream"}, chunks=())
    stack = Stack(Fallback(OTHER), Retry(attempts=2), StreamGuard(resume=True))
    history = rehearse(stack, empty, empty, unsent(), unsent(), url=URL)
    assert isinstance(history.error, httpx.RemoteProtocolError)
    assert str(history.error).startswith("the stream ended before its first event; asked in vain as well: ")
    assert history.script.closed == {1: 1, 2: 1}


def test_an_answer_is_closed_before_the_next_target_is_asked() -> None:
    """Its connection would be held for as long as the others take."""
    transport, seen = scripted(failed(), failed(), ok()), list[int]()

    class Look:
        def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
            seen.append(transport.script.closed.total())
            return (yield from proceed(request))

    with httpx.Client(transport=over(Stack(Fallback(OTHER, THIRD), Look()), transport)) as client:
        assert client.get(URL).status_code == 200
    assert seen == [0, 1, 2]


# Repeating


@pytest.mark.parametrize("failure", [failed(500), failed(502), failed(408), lost(), Failure(error="ReadTimeout")])
def test_what_may_have_been_acted_on_is_asked_of_nobody_else(failure: Said) -> None:
    """Two servers would both send the mail."""
    history = rehearse(Fallback(OTHER), failure, url=URL, method="POST")
    assert history.sent == 1
    assert denied(history) == ["not_repeatable"]


@pytest.mark.parametrize("failure", [unsent(), Failure(error="PoolTimeout"), busy(), busy(status=429), failed(425)])
def test_what_was_not_processed_may_be_asked_of_anybody(failure: Said) -> None:
    assert rehearse(Fallback(OTHER), failure, ok(), url=URL, method="POST").status == 200


def test_the_caller_may_say_that_repeating_does_no_harm() -> None:
    assert rehearse(Fallback(OTHER), lost(), ok(), url=URL, method="POST", options=REPEATABLE).status == 200
    refused = rehearse(Fallback(OTHER), lost(), url=URL, method="GET", options=CallOptions(repeatable=False))
    assert denied(refused) == ["not_repeatable"]


def test_a_target_that_may_have_acted_is_the_last_one_asked() -> None:
    history = rehearse(Fallback(OTHER, THIRD), unsent(), lost(), url=URL, method="POST")
    assert asked(history) == [MAIN, OTHER]
    assert isinstance(history.error, httpx.ConnectError)


def test_a_call_that_is_to_go_out_once_goes_out_once() -> None:
    once = CallOptions(retry=False)
    history = rehearse(Fallback(OTHER), busy(), url=URL, options=once)
    assert (history.sent, denied(history)) == (1, ["told_not_to"])


def test_a_call_that_is_to_go_out_once_may_go_to_another_where_it_has_not_gone_out() -> None:
    """An open circuit has sent nothing."""
    breaker, clock = CircuitBreaker(failures=1), VirtualTime()
    rehearse(breaker, failed(), url=URL, clock=clock)
    stack = Stack(Fallback(OTHER), breaker)
    assert rehearse(stack, ok(), url=URL, clock=clock, options=CallOptions(retry=False)).status == 200


def body() -> Iterator[bytes]:
    yield b"once"


def test_a_body_that_can_not_be_sent_again_goes_nowhere() -> None:
    history = rehearse(Fallback(OTHER), busy(), url=URL, method="PUT", content=body())
    assert denied(history) == ["body_sent"]


def test_a_body_that_nobody_has_begun_to_send_may_go_elsewhere() -> None:
    history = rehearse(Fallback(OTHER), unsent(), ok(), url=URL, method="PUT", content=body())
    assert history.script.bodies == [b"once"]


def test_the_whole_body_is_sent_to_the_next_target() -> None:
    history = rehearse(Fallback(OTHER), busy(), ok(), url=URL, method="POST", content=b"all of it")
    assert history.script.bodies == [b"all of it", b"all of it"]


def was_not_processed(said: Said) -> bool:
    """Whether the server has done nothing, by all that this side can know."""
    if isinstance(said, Failure):
        return said.error in UNSENT
    return said.status in BUSY or (said.status in range(400, 500) and said.status != 408)


@given(call=CALLS, script=st.lists(WORLD, min_size=3, max_size=3), guarded=st.booleans())
@settings(max_examples=600)
def test_no_history_breaks_the_promises(call: Call, script: list[Said], guarded: bool) -> None:
    """Whatever three servers say: who is asked, what it is sent, and what the caller gets."""
    stack = Stack.unchecked(Fallback(OTHER, THIRD), *([StreamGuard()] if guarded else []))
    history = rehearse(stack, *script, url=URL, method=call.method, content=call.content(), options=call.options)
    assert asked(history) == [MAIN, OTHER, THIRD][: history.sent]
    assert set(history.script.bodies) <= {call.body}
    assert history.script.closed == dict.fromkeys(range(1, history.script.opened + 1), 1)
    assert history.sent == 1 or call.options.retry
    for said in script[: history.sent - 1]:
        assert was_not_processed(said) or call.repeatable
    if whose(history) is None and history.sent > 1:  # all failed, or nobody else might be asked
        first = script[0]
        if isinstance(first, Failure):
            assert type(history.error).__name__ == first.error
        else:
            assert history.status == first.status or history.error is not None
    elif history.sent > 1:
        assert history.response is not None
        assert history.response.status_code < 400
        assert whose(history) == [OTHER, THIRD][history.sent - 2]


# Time


def test_the_deadline_is_one_for_all_targets() -> None:
    stack = Stack(Deadline(10), Fallback(OTHER, THIRD))
    history = rehearse(stack, unsent(after=4), unsent(after=4), unsent(after=4), url=URL)
    assert history.elapsed == 10
    assert isinstance(history.error, httpx.ConnectError)  # what was asked for failed like this


def test_nobody_is_asked_when_the_deadline_is_spent() -> None:
    class Slow:
        """Ends in time, and looks at the clock late: what synchronous code may do."""

        def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
            response = yield from proceed(request)
            clock.pass_(11)
            return response

    clock = VirtualTime()
    history = rehearse(Stack(Deadline(10), Fallback(OTHER), Slow()), busy(), url=URL, clock=clock)
    assert (history.sent, denied(history)) == (1, ["deadline"])
    assert isinstance(history.error, DeadlineExceededError)


def test_an_inner_deadline_that_passed_is_a_failure_like_any() -> None:
    """Of a stack over a stack: so much time for each target, and so much for all."""
    stack = Stack.unchecked(Deadline(30), Fallback(OTHER), Deadline(5))
    assert rehearse(stack, ok(after=60), ok(b"other"), url=URL).content == b"other"
    refused = rehearse(stack, ok(after=60), url=URL, method="POST")
    assert denied(refused) == ["not_repeatable"]
    never_sent = rehearse(stack, unsent(after=60), ok(b"other"), url=URL, method="POST")
    assert never_sent.content == b"other"


# Further in


def test_every_target_has_attempts_of_its_own() -> None:
    stack = Stack(Fallback(OTHER), Retry(attempts=3, backoff=AT_ONCE))
    history = rehearse(stack, *[failed(502)] * 3, failed(502), failed(502), ok(b"other"), url=URL)
    assert asked(history) == [MAIN] * 3 + [OTHER] * 3
    assert history.content == b"other"


def test_every_target_has_a_circuit_of_its_own() -> None:
    """Once the first is known to be down, nothing is sent to it any more, and the second is asked at once."""
    breaker, clock = CircuitBreaker(failures=1, open_seconds=60), VirtualTime()
    stack = Stack(Fallback(OTHER), breaker)
    assert asked(rehearse(stack, lost(), ok(), url=URL, clock=clock)) == [MAIN, OTHER]
    history = rehearse(stack, ok(b"other"), url=URL, clock=clock, method="POST")
    assert asked(history) == [OTHER]
    assert fell_back(history) == [(OTHER, "CircuitOpenError")]
    assert breaker.circuit(MAIN).state == "open"
    assert breaker.circuit(OTHER).state == "closed"


def test_another_model_of_the_same_origin_has_a_circuit_of_its_own() -> None:
    """That one model can't be loaded is no reason not to ask its server for another."""
    breaker = CircuitBreaker(failures=1, open_seconds=60)
    stack = Stack(Fallback(Target(model="small")), breaker)
    transport = scripted(failed(503), ok(), ok())
    with httpx.Client(transport=over(stack, transport)) as client:
        assert [client.post(URL, json={"model": "big"}).status_code for _ in range(2)] == [200, 200]
    assert [json.loads(body)["model"] for body in transport.script.bodies] == ["big", "small", "small"]
    assert breaker.circuits.of(MAIN).state == "open"
    assert breaker.circuits.of(f"{MAIN} small").state == "closed"


def test_a_server_that_wants_rest_is_not_waited_for() -> None:
    stack, clock = Stack(Fallback(OTHER), RateLimit(longest_wait=1)), VirtualTime()
    assert asked(rehearse(stack, busy(retry_after=60), ok(), url=URL, clock=clock)) == [MAIN, OTHER]
    history = rehearse(stack, ok(b"other"), url=URL, clock=clock, method="POST")
    assert fell_back(history) == [(OTHER, "RateLimitError")]


def test_the_first_refusal_is_what_the_caller_gets_when_all_are_refused() -> None:
    breaker, clock = CircuitBreaker(failures=1, open_seconds=60), VirtualTime()
    stack = Stack(Fallback(OTHER), breaker)
    rehearse(stack, lost(), lost(), url=URL, clock=clock)
    history = rehearse(stack, url=URL, clock=clock)
    assert isinstance(history.error, CircuitOpenError)
    assert history.error.circuit == MAIN
    assert history.error.__notes__ == [f"asked in vain as well: {OTHER} (CircuitOpenError)"]


@pytest.mark.parametrize(
    ("attempt", "may"),
    [(unsent(), True), (busy(), True), (lost(), False), (failed(500), False), (ok(), False)],
    ids=["unsent", "busy", "lost", "failed", "answered"],
)
def test_a_call_that_a_policy_gave_up_is_known_by_its_attempts(attempt: Said, may: bool) -> None:
    """A refusal says that nothing was sent last; what was sent before may have been acted on."""

    class GivenUpError(ResilienceError):
        """As a policy that nobody here knows may raise it."""

    class GivesUp:
        def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
            if request.url.host == "main":
                with contextlib.suppress(httpx.TransportError):
                    yield from proceed(request)
                raise GivenUpError("no more")
            return (yield from proceed(request))

    history = rehearse(Stack(Fallback(OTHER), GivesUp()), attempt, ok(b"other"), url=URL, method="POST")
    assert (history.content == b"other") is may
    assert isinstance(history.error, GivenUpError) is not may


def test_a_refusal_of_a_rate_travels_on_where_no_target_is_left() -> None:
    limit, clock = RateLimit(1, per=60, longest_wait=1), VirtualTime()
    stack = Stack(Fallback(OTHER), limit)
    rehearse(stack, ok(), url=URL, clock=clock)
    assert asked(rehearse(stack, unsent(), url=URL, clock=clock)) == [OTHER]
    assert isinstance(rehearse(stack, url=URL, clock=clock).error, RateLimitError)


# What is told


def test_the_ledger_tells_the_story() -> None:
    history = rehearse(Fallback(OTHER, THIRD), unsent(after=0.5), busy(), ok(after=0.25), url=URL)
    assert history.ledger.explain() == (
        "   0.500 s  attempt 1: ConnectError, broken after 0.500 s\n"
        "   0.500 s  falls back to http://other:5274 because of ConnectError\n"
        "   0.500 s  attempt 2: 503 after 0.000 s\n"
        "   0.500 s  falls back to http://third:5275 because of 503\n"
        "   0.750 s  attempt 3: 200 after 0.250 s"
    )


def test_the_ledger_tells_why_nobody_else_was_asked() -> None:
    history = rehearse(Fallback(OTHER), failed(502), url=URL, method="POST")
    assert str(history.events[-1]) == f"does not fall back to {OTHER} after 502: not repeatable"


# Settings


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (Fallback, "Fallback has at least one target, not none"),
        (lambda: Fallback(3), "Fallback is given a Target or the URL of an origin, not 3"),  # type: ignore[arg-type]
        (lambda: Fallback("other"), r"Target\.url is an absolute URL"),
    ],
)
def test_a_wrong_setting_is_named(make: Callable[[], Fallback], complaint: str) -> None:
    with pytest.raises((ValueError, TypeError), match=complaint):
        make()


def test_a_url_is_a_target() -> None:
    assert Fallback(OTHER) == Fallback(Target(OTHER))
    assert Fallback(OTHER).targets == (Target(OTHER),)


def test_it_prints_as_it_is_written() -> None:
    stack = Stack(Fallback(OTHER, Target(model="small")))
    assert repr(stack) == "Stack(Fallback(Target('http://other:5274'), Target(model='small')))"
    assert eval(repr(stack)) == stack  # noqa: S307 - what we printed ourselves
