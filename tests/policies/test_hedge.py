"""Ask a second time beside a request that is slow, and take the answer that is good first."""

import warnings
from collections import Counter
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

import resilient_foundry
from resilient_foundry import (
    CallOptions,
    CircuitBreaker,
    CircuitOpenError,
    ConcurrencyLimit,
    Deadline,
    DeadlineExceededError,
    Hedge,
    Retry,
    RetryBudget,
    Stack,
    StackError,
    StreamGuard,
    Tracing,
)
from resilient_foundry.events import AttemptStarted, HedgeDenied, HedgeStarted, HedgeWon, Outcome
from resilient_foundry.faults import Verdict
from resilient_foundry.flow import Policy
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
from tests.over import over

ERROR = '{"error": {"type": "server_error"}}'
WRONG = '{"error": {"type": "invalid_request_error"}}'
HEDGE = Hedge(0.5)


def begun(history: History) -> list[float]:
    """When each request went out, in seconds from the start of the call."""
    return [round(at, 6) for at, event in history.ledger.events if isinstance(event, AttemptStarted)]


def told(history: History) -> list[object]:
    """What the ledger says of hedging, times rounded."""
    return [
        HedgeStarted(event.number, round(event.after, 6)) if isinstance(event, HedgeStarted) else event
        for event in history.events
        if isinstance(event, (HedgeStarted, HedgeWon, HedgeDenied))
    ]


def outcomes(history: History) -> list[Outcome | None]:
    return [attempt.outcome for attempt in history.ledger.attempts]


def took(history: History) -> float:
    return round(history.elapsed, 6)


def test_a_request_that_is_answered_in_time_stays_alone() -> None:
    history = rehearse(HEDGE, ok(after=0.4))
    assert (history.content, begun(history), told(history)) == (b"ok", [0.0], [])


def test_asks_again_after_the_delay_and_takes_what_is_answered_first() -> None:
    """The whole point: one answer that hangs does not make its caller hang."""
    history = rehearse(HEDGE, ok(b"slow", after=60), ok(b"fast", after=0.2))
    assert (history.content, begun(history), took(history)) == (b"fast", [0.0, 0.5], 0.7)
    assert told(history) == [HedgeStarted(2, 0.5), HedgeWon(2)]


def test_the_first_may_still_win() -> None:
    history = rehearse(HEDGE, ok(b"first", after=0.6), ok(b"second", after=60))
    assert (history.content, begun(history), took(history)) == (b"first", [0.0, 0.5], 0.6)
    assert told(history) == [HedgeStarted(2, 0.5), HedgeWon(1)]


def test_the_loser_is_cancelled_and_every_answer_closed_once() -> None:
    history = rehearse(HEDGE, ok(after=60), ok(after=0.2))
    assert outcomes(history) == [Outcome.CANCELLED, Outcome.COMPLETE]
    assert history.script.closed == Counter({1: 1})


def test_of_two_answers_at_one_moment_the_one_not_taken_is_closed_too() -> None:
    history = rehearse(HEDGE, ok(b"first", after=1.0), ok(b"second", after=0.5))
    assert history.content == b"first"
    assert history.script.closed == Counter({1: 1, 2: 1})
    assert outcomes(history) == [Outcome.COMPLETE, Outcome.ABANDONED]


def test_sends_at_most_so_many_each_a_delay_after_the_one_before() -> None:
    history = rehearse(Hedge(0.5, most=4), *[ok(after=60)] * 3, ok(b"fourth", after=1))
    assert (history.content, begun(history)) == (b"fourth", [0.0, 0.5, 1.0, 1.5])
    assert told(history)[-1] == HedgeWon(4)
    assert took(rehearse(Hedge(0.5, most=2), ok(after=3), ok(after=60))) == 3.0
    assert begun(rehearse(Hedge(0.5, most=1), ok(after=3))) == [0.0]


@pytest.mark.parametrize("delay", [0.0, 0.5])
def test_an_answer_of_failure_does_not_hold_the_place_that_the_next_request_waits_for(delay: float) -> None:
    """One whose body was too long, or too slow, to be read to its end: the call would wait for itself."""
    large = Answer(status=500, chunks=(b"x" * 70_000,) * 2)
    history = rehearse(Stack(Hedge(delay), ConcurrencyLimit(1)), large, ok())
    assert (history.status, history.content, took(history)) == (200, b"ok", 0.0)


def test_a_first_failure_that_was_closed_before_its_end_ends_with_an_error_of_the_library() -> None:
    """Half an answer does not look like a whole one."""
    large = Answer(status=500, chunks=(b"x" * 70_000,) * 2)
    history = rehearse(HEDGE, large, lost())
    assert (history.status, len(history.content)) == (500, 70_000)
    assert isinstance(history.error, httpx.ReadError)
    alone = rehearse(Hedge(0.5, budget=RetryBudget(share=0.0, floor=0.0)), large)
    assert (alone.status, len(alone.content), alone.error) == (500, 140_000, None)


def test_with_no_delay_they_race_from_the_outset() -> None:
    history = rehearse(Hedge(0, most=3), ok(after=3), ok(after=2), ok(b"third", after=1))
    assert (history.content, begun(history), took(history)) == (b"third", [0.0, 0.0, 0.0], 1.0)


@pytest.mark.parametrize("bad", [lost(after=0.1), unsent(after=0.1), failed(after=0.1), failed(408, after=0.1)])
def test_one_that_fails_before_the_delay_is_followed_at_once(bad: Said) -> None:
    """It would be silly to wait for an answer that can't come any more."""
    history = rehearse(HEDGE, bad, ok())
    assert (history.status, begun(history)) == (200, [0.0, 0.1])
    assert told(history) == [HedgeStarted(2, 0.1), HedgeWon(2)]


def test_one_that_fails_while_another_is_under_way_changes_nothing() -> None:
    history = rehearse(Hedge(0.5, most=3), lost(after=0.6), ok(after=0.3))
    assert (history.status, begun(history)) == (200, [0.0, 0.5])
    history = rehearse(Hedge(0.5, most=3), lost(after=0.6), ok(after=60), ok(b"third"))
    assert (history.content, begun(history)) == (b"third", [0.0, 0.5, 1.0])


@pytest.mark.parametrize("status", [400, 401, 404, 422, 501])
def test_an_answer_that_blames_the_caller_is_an_answer(status: int) -> None:
    """The server would say the same to the other one."""
    history = rehearse(HEDGE, ok(after=60), failed(status))
    assert history.status == status
    assert told(history)[-1] == HedgeWon(2)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_an_answer_of_failure_does_not_win_against_one_under_way(status: int) -> None:
    history = rehearse(HEDGE, ok(after=3), failed(status))
    assert (history.status, took(history)) == (200, 3.0)
    assert told(history)[-1] == HedgeWon(1)
    assert history.script.closed == Counter({1: 1, 2: 1})


def test_the_judge_says_what_is_good() -> None:
    """It is shown the beginning of the body, as everywhere."""

    def judge(status: int, headers: Mapping[str, str], body: bytes) -> Verdict:
        del headers
        return Verdict.CALLER if b"template" in body else Verdict.SERVER if status >= 400 else Verdict.GOOD

    assert rehearse(Hedge(0.5, judge=judge), failed(500, b"bad template")).content == b"bad template"
    assert rehearse(Hedge(0.5, judge=judge), failed(404), ok()).status == 200


def test_where_all_fail_the_caller_gets_the_first_failure() -> None:
    history = rehearse(HEDGE, failed(500, b"first"), failed(502, b"second"))
    assert (history.status, history.content) == (500, b"first")
    assert told(history) == [HedgeStarted(2, 0.0)]
    assert history.script.closed == Counter({1: 1, 2: 1})
    assert type(rehearse(HEDGE, lost(), failed()).error) is httpx.ReadError
    assert type(rehearse(HEDGE, unsent(after=1), lost(after=0.1)).error) is httpx.ConnectError


def test_whoever_is_told_to_come_back_later_does_not_ask_at_once() -> None:
    """A server that sends Retry-After is in trouble: that wish is for Retry to fulfil."""
    history = rehearse(HEDGE, busy(retry_after=7))
    assert (history.status, history.sent) == (503, 1)
    assert rehearse(Stack(Retry(attempts=2), HEDGE), busy(retry_after=7), ok()).waits == [7.0]
    assert rehearse(HEDGE, Answer(status=500, headers={"x-should-retry": "false"})).sent == 1


def test_where_asking_again_is_no_use_the_one_under_way_is_waited_for() -> None:
    history = rehearse(Hedge(0.5, most=3), ok(b"late", after=60), busy(retry_after=7))
    assert (history.content, history.sent) == (b"late", 2)


def test_a_refusal_on_this_side_is_not_asked_again() -> None:
    breaker = CircuitBreaker()
    breaker.circuit("http://foundry.local:5273").breaker.open()
    history = rehearse(Stack(HEDGE, breaker))
    assert isinstance(history.error, CircuitOpenError)
    assert (history.sent, told(history)) == (0, [])


def test_the_first_good_event_of_a_stream_wins_and_not_its_head() -> None:
    """A local server sends the head of a stream before it has done anything."""
    late, soon = events("late", "[DONE]", pause=3), events("soon", "[DONE]", pause=0.2)
    history = rehearse(Stack(HEDGE, StreamGuard()), late, soon)
    assert history.content == b"".join(soon.chunks)
    assert outcomes(history) == [Outcome.CANCELLED, Outcome.COMPLETE]
    assert history.script.closed == Counter({1: 1, 2: 1})


def test_a_stream_that_fails_before_its_first_event_is_followed_at_once() -> None:
    history = rehearse(Stack(HEDGE, StreamGuard()), events(ERROR), events("good", "[DONE]"))
    assert b"good" in history.content
    assert begun(history) == [0.0, 0.0]


def test_a_stream_that_blames_the_caller_wins() -> None:
    def judge(status: int, headers: Mapping[str, str], body: bytes) -> Verdict:
        del headers
        return Verdict.CALLER if b"invalid_request" in body else Verdict.SERVER if status >= 400 else Verdict.GOOD

    history = rehearse(Stack(HEDGE, StreamGuard(judge=judge)), events(WRONG))
    assert WRONG.encode() in history.content


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT", "DELETE"])
def test_what_must_not_be_done_twice_is_not(method: str) -> None:
    """Nor what may be done twice, but not twice at once: a PUT that lost may come after a later one that won."""
    history = rehearse(HEDGE, ok(after=3), method=method)
    assert (history.sent, told(history)) == (1, [HedgeDenied("not_repeatable")])
    assert told(rehearse(HEDGE, ok(after=0.1), method=method)) == []
    assert told(rehearse(HEDGE, lost(after=3), method=method)) == [HedgeDenied("not_repeatable")]


def test_what_the_caller_says_of_it_goes_first() -> None:
    may, may_not = CallOptions(repeatable=True), CallOptions(repeatable=False)
    assert rehearse(HEDGE, ok(after=3), ok(), method="POST", options=may).sent == 2
    assert rehearse(HEDGE, ok(after=3), options=may_not).sent == 1
    assert rehearse(HEDGE, ok(after=3), options=CallOptions(retry=False)).sent == 1


def test_bytes_go_out_whole_both_times() -> None:
    history = rehearse(HEDGE, ok(after=3), ok(), method="QUERY", content=b"asked")
    assert history.script.bodies == [b"asked", b"asked"]


def test_a_body_that_is_not_in_memory_is_sent_once() -> None:
    """A file can't be read at two places at once, even where it could be rewound."""
    history = rehearse(HEDGE, ok(after=3), method="QUERY", content=iter([b"asked"]))
    assert (history.script.bodies, told(history)) == ([b"asked"], [HedgeDenied("body_sent")])


def test_the_delay_is_measured_once_there_is_something_to_measure() -> None:
    hedge, clock = Hedge(2.0, quantile=0.9, warm_up=10), VirtualTime()
    for number in range(10):
        assert rehearse(hedge, ok(after=0.1 * (number + 1)), clock=clock).sent == 1
    history = rehearse(hedge, ok(after=60), ok(), clock=clock)
    assert begun(history) == [0.0, 0.9]


def test_until_then_the_fixed_delay_holds() -> None:
    hedge, clock = Hedge(2.0, quantile=0.9, warm_up=10), VirtualTime()
    for _ in range(9):
        rehearse(hedge, ok(after=0.1), clock=clock)
    assert begun(rehearse(hedge, ok(after=60), ok(), clock=clock)) == [0.0, 2.0]


def test_origins_are_measured_apart() -> None:
    hedge, clock = Hedge(2.0, quantile=0.9, warm_up=1), VirtualTime()
    rehearse(hedge, ok(after=0.1), clock=clock)
    history = rehearse(hedge, ok(after=60), ok(), clock=clock, url="http://elsewhere/")
    assert begun(history) == [0.0, 2.0]


def test_a_quantile_that_is_hedged_stays_where_it_is() -> None:
    """If losers were not counted, only the fast would be: the delay would shrink until every call was sent twice."""
    hedge, clock = Hedge(1.0, quantile=0.9, warm_up=100), VirtualTime()
    for number in range(1000):
        rehearse(hedge, ok(after=(number * 37 % 101) / 100), ok(after=0.01), clock=clock)
    assert 0.85 < hedge.delay_for("http://foundry.local:5273") < 0.95


def test_what_failed_fast_is_not_measured() -> None:
    hedge, clock = Hedge(2.0, quantile=0.5, warm_up=1), VirtualTime()
    rehearse(hedge, lost(), ok(after=0.1), clock=clock)
    assert hedge.delay_for("http://foundry.local:5273") == 2.0


def test_hedges_are_a_share_of_the_traffic() -> None:
    """When a server is slow for everybody, a second request each would be twice the trouble."""
    hedge, clock = Hedge(0.5, budget=RetryBudget(share=0.1, floor=0.0, window=1000)), VirtualTime()
    sent = [rehearse(hedge, ok(after=3), ok(after=3), clock=clock).sent for _ in range(100)]
    assert sum(sent) == 110


def test_a_call_through_retry_and_hedge_counts_once_for_the_budget_of_both() -> None:
    budget, clock = RetryBudget(share=0.1, floor=0.0, window=1000), VirtualTime()
    stack = Stack(Retry(budget=budget), Hedge(0.5, budget=budget))
    sent = [rehearse(stack, ok(after=3), ok(after=3), clock=clock).sent for _ in range(100)]
    assert sum(sent) == 110


def test_a_budget_that_is_spent_lets_the_first_request_go_on() -> None:
    hedge = Hedge(0.5, budget=RetryBudget(share=0.0, floor=0.0))
    history = rehearse(hedge, ok(after=3))
    assert (history.status, told(history)) == (200, [HedgeDenied("budget")])
    assert type(rehearse(hedge, lost()).error) is httpx.ReadError


def test_losers_count_neither_for_the_circuit_nor_against_it() -> None:
    breaker, clock = CircuitBreaker(failures=2), VirtualTime()
    circuit = breaker.circuit("http://foundry.local:5273")
    for _ in range(5):
        rehearse(Stack.unchecked(HEDGE, breaker), ok(after=60), ok(after=0.1), clock=clock)
    assert circuit.breaker.fail_counter == 0
    rehearse(Stack.unchecked(HEDGE, breaker), failed(after=0.1), failed(after=0.1), clock=clock)
    assert circuit.state == "open"


def test_retry_tries_again_what_failed_as_a_whole() -> None:
    stack = Stack(Retry(attempts=2), HEDGE)
    history = rehearse(stack, failed(), lost(), ok(after=60), ok(b"fourth", after=0.1))
    assert (history.content, history.sent) == (b"fourth", 4)


def test_one_deadline_holds_for_all_of_them() -> None:
    history = rehearse(Stack(Deadline(2), HEDGE), ok(after=60), ok(after=60))
    assert isinstance(history.error, DeadlineExceededError)
    assert took(history) == 2.0


def test_its_place_is_between_retry_and_the_circuit() -> None:
    Stack(Tracing(), Deadline(30), Retry(), HEDGE, CircuitBreaker(), StreamGuard())
    wrong: list[tuple[Policy, Policy]] = [
        (HEDGE, Deadline(30)),
        (HEDGE, Retry()),
        (CircuitBreaker(), HEDGE),
        (StreamGuard(), HEDGE),
        (HEDGE, HEDGE),
    ]
    for outer, inner in wrong:
        with pytest.raises(StackError, match="Hedge"):
            Stack(outer, inner)


def test_a_synchronous_transport_is_refused_when_the_stack_is_put_over_it() -> None:
    with pytest.raises(TypeError, match="synchronous code can't"):
        Stack(HEDGE).over(httpx.HTTPTransport())


def test_over_a_double_that_is_both_the_synchronous_call_is_refused() -> None:
    with (
        httpx.Client(transport=over(Stack(HEDGE), scripted(ok()))) as client,
        pytest.raises(TypeError, match="use an AsyncClient"),
    ):
        client.get("http://foundry.local/")


def test_on_httpx_a_warning_says_once_what_to_do() -> None:
    """It is httpx 0.28 alone that loses places of its pool (httpcore issue 1093)."""
    hedge: Any = Hedge(0.5)
    with pytest.warns(RuntimeWarning, match="use httpx2, or put a ConcurrencyLimit inside") as warned:
        Stack(hedge).over(httpx.AsyncHTTPTransport())
    assert warned[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Stack(hedge).over(httpx.AsyncHTTPTransport())
        over(Stack(Hedge(0.5)), scripted(ok()))


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"delay": -1}, "Hedge.delay is at least 0"),
        ({"delay": 1, "quantile": 0}, "Hedge.quantile is more than 0"),
        ({"delay": 1, "quantile": 1}, "Hedge.quantile is less than 1"),
        ({"delay": 1, "most": 0}, "Hedge.most is at least 1"),
        ({"delay": 1, "warm_up": 0}, "Hedge.warm_up is at least 1"),
        ({"delay": 1, "max_origins": 0}, "Hedge.max_origins is at least 1"),
    ],
)
def test_a_wrong_setting_says_what_it_accepts(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Hedge(**settings)


def test_prints_as_it_is_written() -> None:
    stack = Stack(Hedge(0.5, most=3, budget=RetryBudget()))
    names = {name: getattr(resilient_foundry, name) for name in resilient_foundry.__all__}
    assert eval(repr(stack), names) == stack  # noqa: S307 - what we printed ourselves


def test_a_mistake_of_the_script_is_shown() -> None:
    """Also where it lies in a part that runs beside another one."""
    with pytest.raises(AssertionError, match="asked once more"):
        rehearse(HEDGE, Failure(error="ReadError"))


def test_a_budget_of_another_kind_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Hedge\.budget is a RetryBudget, such as RetryBudget\(share=0\.2\), not 0\.2"):
        Hedge(0.5, budget=0.2)  # type: ignore[arg-type]
