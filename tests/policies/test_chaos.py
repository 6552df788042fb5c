"""Make a share of the calls fail on purpose, to see what the policies around it make of that."""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

import resilient_foundry
from resilient_foundry import (
    AttemptTimeout,
    Backoff,
    Chaos,
    CircuitBreaker,
    CircuitOpenError,
    Deadline,
    DeadlineExceededError,
    Retry,
    Stack,
    StackError,
    StreamGuard,
)
from resilient_foundry.events import ChaosInjected, Outcome
from resilient_foundry.flow import Flow, Request, Response, respond
from resilient_foundry.policies.chance import Calls, Draws
from resilient_foundry.testing import Answer, History, VirtualTime, events, failed, ok, rehearse

EVENTS = events("one", "two", "three", "[DONE]")
WHOLE = b"".join(EVENTS.chunks)
AT_ONCE = Backoff(base=0, cap=0)


def injected(history: History) -> list[str]:
    return [event.fault for event in history.events if isinstance(event, ChaosInjected)]


def breaking(fault: str, **settings: Any) -> Chaos:
    return Chaos(on=True, seed=1, stream_rate=1, stream_faults=(fault,), **settings)


def test_does_nothing_unless_it_is_switched_on() -> None:
    history = rehearse(Chaos(error_rate=1), ok())
    assert (history.status, injected(history)) == (200, [])


def test_costs_a_look_while_it_is_off() -> None:
    """The rest of the stack is run as if it were not there: no generator of its own stands between."""
    rest: Flow[Response] = respond(200)

    def proceed(request: Request) -> Flow[Response]:
        del request
        return rest

    request: Any = httpx.Request("GET", "http://foundry.local/")
    assert Chaos(error_rate=1).flow(request, proceed) is rest
    assert Chaos(on=True, error_rate=1, when=lambda _: False).flow(request, proceed) is rest


def test_is_switched_while_calls_go_on() -> None:
    chaos = Chaos(status_rate=1)
    assert rehearse(chaos, ok()).status == 200
    chaos.switch.on()
    assert chaos.switch.is_on
    assert rehearse(chaos).status == 503
    chaos.switch.off()
    assert rehearse(chaos, ok()).status == 200


def test_says_of_each_request_whether_it_may_be_hit() -> None:
    def is_a_post(request: Request) -> bool:
        return request.method == "POST"

    chaos = Chaos(on=True, status_rate=1, when=is_a_post)
    assert rehearse(chaos, ok()).status == 200
    assert rehearse(chaos, method="POST").status == 503


@pytest.mark.parametrize("error", ["ConnectError", "ConnectTimeout", "PoolTimeout", "WriteError", "WriteTimeout"])
def test_an_error_of_these_comes_instead_of_sending(error: str) -> None:
    history = rehearse(Chaos(on=True, error_rate=1, errors=(error,)))
    assert type(history.error) is getattr(httpx, error)
    assert (history.sent, injected(history)) == (0, [error])


@pytest.mark.parametrize("error", ["ReadError", "ReadTimeout", "RemoteProtocolError"])
def test_of_these_the_server_has_acted_and_its_answer_is_lost(error: str) -> None:
    """What a POST that is sent twice is tested with."""
    history = rehearse(Chaos(on=True, error_rate=1, errors=(error,)), ok())
    assert type(history.error) is getattr(httpx, error)
    assert history.sent == 1
    assert history.script.closed == Counter({1: 1})


@pytest.mark.parametrize(
    ("error", "seconds"), [("ConnectTimeout", 1.0), ("PoolTimeout", 2.0), ("WriteTimeout", 3.0), ("ReadTimeout", 4.0)]
)
def test_timeouts_come_when_their_limit_has_passed(error: str, seconds: float) -> None:
    limits = AttemptTimeout(connect=1, pool=2, write=3, read=4)
    history = rehearse(Stack(limits, Chaos(on=True, error_rate=1, errors=(error,))), ok())
    assert (type(history.error), history.elapsed) == (getattr(httpx, error), seconds)


def test_answers_with_a_status_instead_of_sending() -> None:
    history = rehearse(Chaos(on=True, status_rate=1, statuses=(429,), retry_after=2.5))
    assert history.response is not None
    assert (history.status, history.response.headers["retry-after"], history.sent) == (429, "2.5", 0)
    assert injected(history) == ["status 429"]


@pytest.mark.parametrize(("method", "status"), [("HEAD", 503), ("GET", 204), ("GET", 304)])
def test_an_answer_that_has_no_body_is_given_none(method: str, status: int) -> None:
    history = rehearse(Chaos(on=True, status_rate=1, statuses=(status,)), method=method)
    assert (history.status, history.content) == (status, b"")


def test_waits_before_sending() -> None:
    history = rehearse(Chaos(on=True, latency_rate=1, latency=3), ok())
    assert (history.status, history.elapsed) == (200, 3.0)
    assert injected(history) == ["latency of 3.000 s"]
    between = [rehearse(Chaos(on=True, seed=n, latency_rate=1, latency=(2, 4)), ok()).elapsed for n in range(50)]
    assert 2 <= min(between) < 2.5
    assert 3.5 < max(between) < 4


def test_a_latency_longer_than_the_limit_for_reading_is_a_timeout() -> None:
    history = rehearse(Stack(AttemptTimeout(read=2), Chaos(on=True, latency_rate=1, latency=3)))
    assert (type(history.error), history.elapsed) == (httpx.ReadTimeout, 2.0)


def test_a_latency_counts_towards_the_deadline() -> None:
    history = rehearse(Stack(Deadline(2), Chaos(on=True, latency_rate=1, latency=3)))
    assert isinstance(history.error, DeadlineExceededError)
    assert history.elapsed == 2.0


def test_a_body_is_cut() -> None:
    history = rehearse(breaking("cut", stream_after=15), EVENTS)
    assert type(history.error) is httpx.ReadError
    assert history.content == WHOLE[:15]
    assert history.ledger.attempts[0].outcome is Outcome.BROKEN
    assert history.ledger.attempts[0].bytes == 15
    assert history.script.closed == Counter({1: 1})
    assert injected(history) == ["stream cut"]


def test_a_body_that_is_cut_at_once_brings_nothing() -> None:
    history = rehearse(breaking("cut", stream_after=0), EVENTS)
    assert (type(history.error), history.content) == (httpx.ReadError, b"")


def test_a_body_is_truncated_as_if_it_were_whole() -> None:
    history = rehearse(breaking("truncated", stream_after=15), EVENTS)
    assert (history.error, history.content) == (None, WHOLE[:15])
    assert rehearse(Stack(StreamGuard(), breaking("truncated")), EVENTS).ledger.attempts[0].outcome is Outcome.COMPLETE


def test_a_body_stalls_and_goes_on() -> None:
    history = rehearse(breaking("stalled", stream_after=15, stall=30), EVENTS)
    assert (history.error, history.content, history.elapsed) == (None, WHOLE, 30.0)


def test_a_body_stalls_no_longer_than_to_the_limit_of_a_chunk() -> None:
    history = rehearse(Stack(AttemptTimeout(read=20, idle=7), breaking("stalled", stream_after=15)), EVENTS)
    assert (type(history.error), history.elapsed) == (httpx.ReadTimeout, 7.0)
    assert history.ledger.attempts[0].outcome is Outcome.STALLED


def test_a_stall_is_held_to_the_deadline_where_that_covers_the_body() -> None:
    history = rehearse(Stack(Deadline(5), breaking("stalled", stream_after=1)), ok(b"plain text"))
    assert isinstance(history.error, DeadlineExceededError)
    assert history.elapsed == 5.0


def test_a_stream_reports_an_error() -> None:
    history = rehearse(breaking("error", stream_after=1), EVENTS)
    assert history.content.startswith(EVENTS.chunks[0])
    assert "error" in json.loads(history.content.removeprefix(EVENTS.chunks[0]).removeprefix(b"data: "))


def test_a_body_without_events_is_cut_where_a_stream_would_report_an_error() -> None:
    assert type(rehearse(breaking("error", stream_after=1), ok()).error) is httpx.ReadError


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_without_a_body_is_left_as_it_is(status: int) -> None:
    history = rehearse(breaking("cut"), Answer(status=status, chunks=()))
    assert (history.error, injected(history)) == (None, [])
    assert rehearse(breaking("cut"), Answer(chunks=()), method="HEAD").error is None


def test_the_policies_around_it_see_what_it_does_as_if_the_network_had_done_it() -> None:
    """A stream that breaks before its first event is tried again unseen, and the circuit counts it."""
    breaker = CircuitBreaker(failures=4)
    chaos = breaking("error", stream_after=0)
    stack = Stack(Retry(attempts=3, backoff=AT_ONCE), breaker, StreamGuard(), chaos)
    history = rehearse(stack, EVENTS, EVENTS, EVENTS)
    assert [attempt.outcome for attempt in history.ledger.attempts] == [Outcome.IN_BAND_ERROR] * 3
    assert breaker.circuit("http://foundry.local:5273").breaker.fail_counter == 3
    assert history.script.closed == Counter({1: 1, 2: 1, 3: 1})
    chaos.switch.off()
    assert rehearse(stack, EVENTS).content == WHOLE


def test_a_circuit_opens_on_answers_that_no_server_gave() -> None:
    stack = Stack(CircuitBreaker(failures=2), Chaos(on=True, status_rate=1))
    clock = VirtualTime()
    assert [rehearse(stack, clock=clock).status for _ in range(2)] == [503, 503]
    assert isinstance(rehearse(stack, clock=clock).error, CircuitOpenError)


def test_shares_are_kept() -> None:
    chaos = Chaos(on=True, seed=7, error_rate=0.2, status_rate=0.1, latency_rate=0.3, stream_rate=0.1)
    seen: Counter[str] = Counter()
    for _ in range(2000):
        faults = injected(rehearse(chaos, EVENTS))
        seen[faults[0].split()[0] if faults else "none"] += 1
    shares = {
        "error": seen["ConnectError"] + seen["ReadError"],
        "status": seen["status"],
        "latency": seen["latency"],
        "stream": seen["stream"],
        "none": seen["none"],
    }
    expected = {"error": 400, "status": 200, "latency": 600, "stream": 200, "none": 600}
    for kind, count in expected.items():
        assert abs(shares[kind] - count) < 60, (kind, shares)


def test_a_seed_gives_the_same_faults_again() -> None:
    def run(seed: int) -> list[list[str]]:
        chaos = Chaos(on=True, seed=seed, error_rate=0.2, status_rate=0.2, latency_rate=0.2, latency=(1, 2))
        return [injected(rehearse(chaos, ok())) for _ in range(50)]

    assert run(3) == run(3)
    assert run(3) != run(4)


def test_requests_that_may_not_be_hit_do_not_shift_the_others() -> None:
    def only_posts(request: Request) -> bool:
        return request.method == "POST"

    def faults(methods: list[str]) -> list[list[str]]:
        chaos = Chaos(on=True, seed=3, error_rate=0.5, when=only_posts)
        told = [(method, injected(rehearse(chaos, ok(), method=method))) for method in methods]
        return [fault for method, fault in told if method == "POST"]

    assert faults(["POST"] * 10) == faults(["GET", "POST"] * 10)


def test_without_a_seed_chance_is_the_drivers() -> None:
    chaos = Chaos(on=True, error_rate=0.5)
    drawn = iter([n / 64 for n in range(64)])
    hit = [bool(injected(rehearse(chaos, ok(), draw=lambda: next(drawn)))) for _ in range(64)]
    assert set(hit) == {True, False}


def test_many_threads_share_one_sequence_of_calls() -> None:
    calls, alone = Calls(5), Calls(5)
    with ThreadPoolExecutor(8) as threads:
        drawn = [one.result() for one in [threads.submit(lambda: calls.next().next()) for _ in range(400)]]
    assert sorted(drawn) == sorted(alone.next().next() for _ in range(400))


def test_draws_are_spread_evenly() -> None:
    draws = Draws(1)
    tenths = Counter(int(draws.next() * 10) for _ in range(10_000))
    assert set(tenths) == set(range(10))
    assert max(abs(count - 1000) for count in tenths.values()) < 120


def test_stands_innermost() -> None:
    Stack(Retry(), CircuitBreaker(), StreamGuard(), Chaos())
    with pytest.raises(StackError, match="StreamGuard stands inside Chaos"):
        Stack(Chaos(), StreamGuard())


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"error_rate": 0.6, "status_rate": 0.6}, "add up to 1 at most, not to 1.2"),
        ({"stream_rate": -0.1}, "Chaos.stream_rate is at least 0"),
        ({"errors": ("TooMuch",)}, "Chaos.errors are some of ConnectError.*not 'TooMuch'"),
        ({"errors": ()}, "Chaos.errors are some of ConnectError.*not none"),
        ({"stream_faults": ("fire",)}, "Chaos.stream_faults are some of cut, .*not 'fire'"),
        ({"statuses": ()}, "Chaos.statuses names at least one status"),
        ({"statuses": (100,)}, "Chaos.statuses is at least 200"),
        ({"statuses": (600,)}, "Chaos.statuses is at most 599, not 600"),
        ({"statuses": 503}, r"Chaos.statuses names at least one status, such as \(503,\), not 503"),
        ({"retry_after": -1}, "Chaos.retry_after is at least 0"),
        ({"latency": (2, 1)}, "Chaos.latency is at least 2"),
        ({"latency": (1, 2, 3)}, r"Chaos.latency is a number of seconds or two of them, not \(1, 2, 3\)"),
        ({"latency": -1}, "Chaos.latency is at least 0"),
        ({"seed": -1}, "Chaos.seed is at least 0"),
        ({"stream_after": -1}, "Chaos.stream_after is at least 0"),
        ({"stall": -1}, "Chaos.stall is at least 0"),
    ],
)
def test_a_wrong_setting_says_what_it_accepts(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Chaos(**settings)


def test_shares_may_add_up_to_one() -> None:
    """Ten times 0.1 is a little more, for a computer."""
    Chaos(error_rate=0.1, status_rate=0.2, latency_rate=0.3, stream_rate=0.4)
    assert rehearse(Chaos(on=True, error_rate=0.1 + 0.2, status_rate=0.7), failed()).sent <= 1


def test_prints_as_it_is_written() -> None:
    stack = Stack(Chaos(on=True, seed=1, error_rate=0.5, latency=(1, 2)))
    names = {name: getattr(resilient_foundry, name) for name in resilient_foundry.__all__}
    assert eval(repr(stack), names) == stack  # noqa: S307 - what we printed ourselves
