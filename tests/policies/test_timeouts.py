"""How long each phase of one attempt may take."""

from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_foundry import AttemptTimeout, CallOptions, Deadline, Retry, Stack, StreamGuard
from resilient_foundry.call import IDLE
from resilient_foundry.testing import Answer, Failure, History, VirtualTime, events, lost, ok, rehearse, scripted
from tests.over import over

PHASES = ("connect", "pool", "write", "read")
limits = st.none() | st.floats(0.01, 1e4)


def written(history: History, attempt: int = 1) -> dict[str, float | None]:
    """The limits that stood on the request of an attempt when it went out."""
    limits: dict[str, float | None] = history.script.requests[attempt - 1].extensions["timeout"]
    return {phase: limits[phase] for phase in PHASES}


@given(
    own=st.fixed_dictionaries(dict.fromkeys(PHASES, limits)), asked=st.fixed_dictionaries(dict.fromkeys(PHASES, limits))
)
def test_of_two_limits_the_smaller_one_is_kept(own: dict[str, Any], asked: dict[str, Any]) -> None:
    """No limit at all is the largest."""
    history = rehearse(AttemptTimeout(**own, idle=1), ok(), timeout=asked)
    smallest = {
        phase: min((limit for limit in (own[phase], asked[phase]) if limit is not None), default=None)
        for phase in ("connect", "pool", "write")
    }
    seen = written(history)
    assert {phase: seen[phase] for phase in smallest} == smallest


def test_the_default_of_httpx_is_not_taken_for_a_wish() -> None:
    """Httpx puts 5 s on every request when nobody said anything; a local model needs longer for its first token."""
    script = scripted(ok(), ok())
    with httpx.Client(transport=over(Stack(AttemptTimeout(read=60, idle=60)), script)) as client:
        client.get("http://foundry.local/")
        client.get("http://foundry.local/", timeout=7)
    first, second = (request.extensions["timeout"] for request in script.script.requests)
    assert dict(first) == {"connect": 5.0, "pool": 5.0, "write": 10.0, "read": 60}
    assert dict(second) == {"connect": 5.0, "pool": 5.0, "write": 7, "read": 7}
    assert script.script.requests[1].extensions[IDLE] == 7


def test_the_callers_own_request_is_left_as_it_was() -> None:
    request = httpx.Request("GET", "http://foundry.local/", extensions={"timeout": {"read": 99.0}, "mine": 1})
    with httpx.Client(transport=over(Stack(AttemptTimeout()), scripted(ok()))) as client:
        client.send(request)
    assert request.extensions["timeout"] == {"read": 99.0}
    assert request.extensions["mine"] == 1


@pytest.mark.parametrize(
    ("phase", "error"), [("connect", "ConnectTimeout"), ("pool", "PoolTimeout"), ("write", "WriteTimeout")]
)
def test_a_phase_that_takes_too_long_raises_the_librarys_own_error(phase: str, error: str) -> None:
    settings: dict[str, Any] = {phase: 2.0}
    history = rehearse(AttemptTimeout(**settings), Failure(error=error, after=99))
    assert type(history.error).__name__ == error
    assert history.elapsed == 2.0


def test_read_is_for_the_head_and_for_the_first_chunk() -> None:
    assert isinstance(rehearse(AttemptTimeout(read=2), ok(after=3)).error, httpx.ReadTimeout)
    assert isinstance(rehearse(AttemptTimeout(read=2), events("a", pause=3)).error, httpx.ReadTimeout)
    assert rehearse(AttemptTimeout(read=2), events("a", "b", pause=1.5)).error is None


def test_without_idle_later_chunks_have_the_limit_of_the_first() -> None:
    assert rehearse(AttemptTimeout(read=2), ok()).script.requests[0].extensions[IDLE] == 2


def test_in_sync_code_the_chunks_share_the_longer_of_read_and_idle() -> None:
    """A socket read can't be interrupted, and the library reads its limit once a body."""
    assert rehearse(AttemptTimeout(read=2, idle=5), events("a", pause=4)).error is None
    assert isinstance(rehearse(AttemptTimeout(read=2, idle=5), events("a", pause=6)).error, httpx.ReadTimeout)


def test_none_limits_nothing() -> None:
    unlimited = AttemptTimeout(connect=None, pool=None, write=None, read=None)
    history = rehearse(unlimited, ok(after=1e6))
    assert history.error is None
    assert written(history) == dict.fromkeys(PHASES)


def vain(after: float = 100.0) -> Answer:
    return ok(after=after)


def test_an_attempt_after_a_vain_wait_waits_longer() -> None:
    """A local model whose caller gave up in mid-prefill starts again from nothing."""
    history = rehearse(Stack(Retry(attempts=3), AttemptTimeout(read=10, growth=2)), vain(), vain(), ok(after=39))
    assert [written(history, attempt)["read"] for attempt in (1, 2, 3)] == [10, 20, 40]
    assert history.status == 200


def test_only_a_vain_wait_for_the_first_byte_makes_the_next_one_longer() -> None:
    """A connection that did not come about in time says nothing of how long an answer takes."""
    others = [Failure(error="ConnectTimeout"), Failure(error="PoolTimeout"), Failure(error="WriteTimeout"), lost()]
    history = rehearse(Stack(Retry(attempts=5), AttemptTimeout(read=10, growth=2)), *others, ok())
    assert [written(history, attempt)["read"] for attempt in (1, 2, 3, 4, 5)] == [10] * 5


def test_a_wait_for_the_first_event_is_in_vain_whatever_comments_came() -> None:
    """Else a server that keeps the connection alive while it works would be given up on again and again."""
    comments = Answer(headers={"content-type": "text/event-stream"}, chunks=(b": keep-alive\n\n", b"late"), pause=7)
    silent = Answer(headers={"content-type": "text/event-stream"}, chunks=(b": keep-alive\n\n",), breaks="ReadTimeout")
    stack = Stack(Retry(attempts=4), AttemptTimeout(read=8, idle=8, growth=2), StreamGuard(first_event=8))
    history = rehearse(stack, comments, silent, events("words", "[DONE]", pause=20))
    assert [written(history, attempt)["read"] for attempt in (1, 2, 3)] == [8, 16, 32]
    assert [history.script.requests[number].extensions[IDLE] for number in range(3)] == [8, 16, 32]
    assert history.error is None


def test_a_silence_after_the_first_event_was_not_in_vain() -> None:
    """A stream that stalled later is no sign of a slow prefill."""
    stalled = events('{"choices": [{"delta": {"content": "a"}}]}', breaks="ReadTimeout")
    resumed = Stack(Retry(), AttemptTimeout(read=10, growth=2), StreamGuard(resume=True))
    history = rehearse(resumed, stalled, ok(), method="POST", content=b'{"stream": true, "temperature": 0}')
    assert [written(history, attempt)["read"] for attempt in (1, 2)] == [10, 10]


def test_the_callers_own_limit_is_not_outgrown() -> None:
    history = rehearse(Stack(Retry(), AttemptTimeout(read=10, growth=4)), vain(), ok(), timeout={"read": 15.0})
    assert [written(history, attempt)["read"] for attempt in (1, 2)] == [10, 15]


def test_the_callers_own_limit_grows_too_where_the_caller_says_so() -> None:
    """A client that says how long one answer may take knows that the next attempt must not be given up as early."""
    history = rehearse(
        Stack(Retry(), AttemptTimeout(read=100, growth=2)),
        vain(),
        ok(),
        timeout={"read": 15.0},
        options=CallOptions(elastic=True),
    )
    assert [written(history, attempt)["read"] for attempt in (1, 2)] == [15, 30]


def test_the_limits_of_an_attempt_are_cut_to_the_deadline() -> None:
    """So the library itself ends the attempt in time, and no connection is lost by cancelling."""
    clock = VirtualTime()
    history = rehearse(Stack(Deadline(12), Retry(), AttemptTimeout(read=10)), vain(), vain(), clock=clock)
    assert history.sent == 2
    assert history.elapsed == pytest.approx(12.0)
    assert type(history.error).__name__ == "DeadlineExceededError"


def test_a_body_has_its_own_limit_again_after_the_head() -> None:
    """What the deadline left for the head must not become the limit between chunks."""
    history = rehearse(
        Stack(Deadline(12, body=False), AttemptTimeout(read=10)), Answer(after=9, chunks=(b"a", b"b"), pause=8)
    )
    assert (history.error, history.content) == (None, b"ab")
    assert history.elapsed == 25.0


@pytest.mark.parametrize("field", ["connect", "pool", "write", "read", "idle"])
@pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf")])
def test_a_limit_is_a_positive_number_of_seconds(field: str, wrong: float) -> None:
    settings: dict[str, Any] = {field: wrong}
    with pytest.raises(ValueError, match=rf"AttemptTimeout\.{field} is "):
        AttemptTimeout(**settings)


@pytest.mark.parametrize("wrong", [0.5, float("nan")])
def test_growth_is_at_least_one(wrong: float) -> None:
    with pytest.raises(ValueError, match=r"AttemptTimeout\.growth is "):
        AttemptTimeout(growth=wrong)
