"""So many calls at once and no more; whoever comes later waits for its turn, or is told at once."""

from __future__ import annotations

import gc
import pickle
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import anyio
import httpx
import httpx2
import pytest

from resilient_foundry import (
    AdaptiveLimit,
    AttemptTimeout,
    CallOptions,
    CircuitBreaker,
    ConcurrencyLimit,
    ConcurrencyLimitError,
    Deadline,
    DeadlineExceededError,
    Hedge,
    Retry,
    Stack,
    StackError,
    StreamGuard,
)
from resilient_foundry.call import shared_of
from resilient_foundry.effects import History as HistoryOfTheCall
from resilient_foundry.effects import Now, Tell, Wait
from resilient_foundry.events import BodyEnd, CallShed, Event, Ledger, LimitChanged, Queued, RetryScheduled
from resilient_foundry.faults import Verdict
from resilient_foundry.flow import Flow, Policy, Proceed, Request, Response, respond, watch
from resilient_foundry.policies.gate import Snapshot
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

URL = "http://foundry.local:5273/v1/models"
OTHER = "http://elsewhere.local:5273/v1/models"


def in_use(limit: ConcurrencyLimit, url: str = URL) -> int:
    return limit.snapshot(url).in_use


@contextmanager
def held(limit: ConcurrencyLimit, url: str = URL) -> Generator[None]:
    """One place of the limit is taken, by an answer whose body has not ended."""
    client = httpx.Client(transport=over(Stack(limit), scripted(events("a", "[DONE]"))))
    with client, client.stream("GET", url):
        yield


def test_a_call_that_finds_a_place_is_not_held_up() -> None:
    limit = ConcurrencyLimit(1)
    history = rehearse(limit, ok())
    assert history.status == 200
    assert history.elapsed == 0.0
    assert not any(isinstance(event, Queued) for event in history.events)


HOLDS_UNTIL_THE_END = pytest.mark.parametrize(
    "said",
    [
        ok(),
        failed(),
        busy(),
        events("a", "[DONE]"),
        events("a", breaks="ReadError"),
        Answer(chunks=(b"a", b"b"), breaks="ReadTimeout"),
        Answer(status=204, chunks=()),
        Answer(status=301, headers={"location": OTHER}),
        unsent(),
        lost(),
        Failure(error="PoolTimeout"),
        Failure(error="ReadTimeout"),
    ],
    ids=repr,
)


@HOLDS_UNTIL_THE_END
@pytest.mark.parametrize("read", [True, False], ids=["read", "closed unread"])
@pytest.mark.parametrize("limit", [1, AdaptiveLimit()], ids=repr)
def test_a_place_is_free_again_however_the_call_ended(said: Said, limit: int | AdaptiveLimit, *, read: bool) -> None:
    policy = ConcurrencyLimit(limit)
    for _ in range(3):
        rehearse(policy, said, read=read)
        assert policy.snapshot(URL) == (1, 0, 0, 0)


def test_a_place_is_held_until_the_body_ends() -> None:
    """A server that streams is at work; the head of its answer is the beginning of that."""
    limit = ConcurrencyLimit(2)
    with held(limit):
        assert limit.snapshot(URL) == Snapshot(limit=2, in_use=1, waiting=0, lingering=0)
    assert in_use(limit) == 0


def test_an_answer_that_came_whole_holds_no_place() -> None:
    """As those of MockTransport do: nothing is left to read."""
    limit = ConcurrencyLimit(1)
    double = httpx.MockTransport(lambda _: httpx.Response(200, content=b"here"))
    with httpx.Client(transport=over(Stack(limit), double)) as client, client.stream("GET", URL):
        assert in_use(limit) == 0


def test_an_answer_of_a_policy_holds_no_place() -> None:
    class Ours:
        def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
            del request, proceed
            return (yield from respond(200, content=b"ours"))

    for limit in (ConcurrencyLimit(1), ConcurrencyLimit(AdaptiveLimit()), ConcurrencyLimit(1, linger=5)):
        history = rehearse(Stack(limit, Ours()))
        assert history.response is not None
        assert history.response.content == b"ours"
        assert in_use(limit) == 0


def test_an_answer_that_nobody_closed_gives_its_place_back_with_the_next_call() -> None:
    """The collector finds it; its place is given back where there is no lock that could be held."""
    limit = ConcurrencyLimit(1, queue=0)
    client = httpx.Client(transport=over(Stack(limit), scripted(events("a", "[DONE]"), ok())))
    kept = [client.send(client.build_request("GET", URL), stream=True)]
    assert in_use(limit) == 1

    def forget() -> None:
        kept.clear()
        gc.collect()

    with pytest.warns(ResourceWarning, match="never closed"):
        forget()
    assert client.get(URL).status_code == 200
    client.close()


def test_no_place_is_held_between_the_attempts() -> None:
    """Else those who wait to try again would keep out those who could."""
    limit = ConcurrencyLimit(1)
    seen: list[int] = []

    def listener(event: Event) -> None:
        if isinstance(event, RetryScheduled):
            seen.append(in_use(limit))

    history = rehearse(Stack(Retry(), limit), busy(), busy(), ok(), listener=listener)
    assert history.status == 200
    assert seen == [0, 0]


def test_a_full_queue_refuses_at_once_and_says_so() -> None:
    """With what is full as facts: whoever calls can decide to come later, or elsewhere."""
    limit = ConcurrencyLimit(1, queue=0)
    with held(limit):
        history = rehearse(limit)
    error = history.error
    assert isinstance(error, ConcurrencyLimitError)
    assert isinstance(error, httpx.TransportError)
    assert (error.why, error.limit, error.in_use, error.waiting, error.waited) == ("queue_full", 1, 1, 0, 0.0)
    assert error.limiter == "the concurrency limit of http://foundry.local:5273"
    assert str(error) == (
        "no place in the concurrency limit of http://foundry.local:5273: its queue is full (1 of 1 in use, 0 waiting); "
        "call less at once, or give the call more time to wait"
    )
    assert history.events == [CallShed(error.limiter, "queue_full")]
    assert history.sent == 0


def test_waits_no_longer_than_it_may() -> None:
    limit = ConcurrencyLimit(1, longest_wait=3.0)
    with held(limit):
        history = rehearse(limit)
    error = history.error
    assert isinstance(error, ConcurrencyLimitError)
    assert (error.why, error.waited, history.elapsed) == ("waited_too_long", 3.0, 3.0)
    assert "none was free within 3 s" in str(error)
    assert history.events == [CallShed(error.limiter, "waited_too_long")]
    assert limit.snapshot(URL) == (1, 0, 0, 0)


@pytest.mark.parametrize("longest_wait", [None, 60.0])
def test_the_wait_counts_against_the_deadline(longest_wait: float | None) -> None:
    """And a call whose deadline has passed is never sent."""
    limit = ConcurrencyLimit(1, longest_wait=longest_wait)
    with held(limit):
        history = rehearse(Stack.unchecked(Deadline(5), limit), ok())
        assert limit.snapshot(URL).waiting == 0
    assert isinstance(history.error, DeadlineExceededError)
    assert history.elapsed == 5.0
    assert history.sent == 0
    assert CallShed("the concurrency limit of http://foundry.local:5273", "deadline") in history.events


@pytest.mark.parametrize("outer", [(Retry(),), (Retry(), CircuitBreaker(failures=4))], ids=["retry", "circuit"])
def test_a_refusal_is_neither_tried_again_nor_held_against_the_server(outer: tuple[Policy, ...]) -> None:
    """It was decided on this side: the server has done nothing wrong, and asking again at once changes nothing."""
    limit = ConcurrencyLimit(1, queue=0)
    stack = Stack(*outer, limit)
    with held(limit):
        for _ in range(6):
            history = rehearse(stack, options=CallOptions(repeatable=True))
            assert isinstance(history.error, ConcurrencyLimitError)
            assert not history.waits
    assert rehearse(stack, ok()).status == 200


def test_origins_have_limits_of_their_own() -> None:
    limit = ConcurrencyLimit(1, queue=0)
    with held(limit):
        assert rehearse(limit, ok(), url=OTHER).status == 200
        assert isinstance(rehearse(limit).error, ConcurrencyLimitError)


def test_stacks_that_hold_the_same_object_share_its_limit() -> None:
    """Two that are merely equal do not."""
    limit = ConcurrencyLimit(1, queue=0)
    assert limit == ConcurrencyLimit(1, queue=0)
    with held(limit):
        assert isinstance(rehearse(Stack(Retry(), limit)).error, ConcurrencyLimitError)
        assert rehearse(ConcurrencyLimit(1, queue=0), ok()).status == 200


def test_an_origin_in_use_is_never_forgotten() -> None:
    """However many others there are: it would be given a second limit beside the first."""
    limit = ConcurrencyLimit(1, queue=0, max_origins=2)
    with held(limit):
        for number in range(5):
            rehearse(limit, ok(), url=f"http://host{number}.local/")
        assert in_use(limit) == 1
        assert isinstance(rehearse(limit).error, ConcurrencyLimitError)
    with held(limit, "http://a.local"), held(limit, "http://b.local"), held(limit, "http://c.local"):
        for name in "abc":
            assert isinstance(rehearse(limit, url=f"http://{name}.local").error, ConcurrencyLimitError)


def test_an_origin_with_a_place_that_lingers_is_not_forgotten() -> None:
    """Nobody holds it any more but the limit itself."""
    limit, clock = ConcurrencyLimit(1, linger=30.0, max_origins=2), VirtualTime()
    rehearse(limit, given_up(), clock=clock)
    for number in range(3):
        rehearse(limit, ok(), clock=clock, url=f"http://host{number}.local/")
    gc.collect()
    assert limit.snapshot(URL, clock.now).lingering == 1


def test_an_origin_that_was_never_called_has_its_whole_limit() -> None:
    """Looking at it makes nothing."""
    assert ConcurrencyLimit(3).snapshot("http://foundry.local") == (3, 0, 0, 0)
    assert ConcurrencyLimit(AdaptiveLimit(start=2)).snapshot(httpx2.URL(URL)) == (2, 0, 0, 0)
    with pytest.raises(ValueError, match="absolute URL"):
        ConcurrencyLimit(3).snapshot("foundry")


# linger: a server that computes in silence does not notice that nobody waits any more


def given_up(after: float = 2.0) -> Failure:
    return Failure(error="ReadTimeout", after=after)


def test_without_linger_a_place_is_free_when_the_call_is_given_up() -> None:
    limit = ConcurrencyLimit(1)
    rehearse(limit, given_up())
    assert in_use(limit) == 0


def test_a_call_that_timed_out_keeps_its_place_for_as_long_as_was_said() -> None:
    """Where nothing is known of how long such calls take. The next call waits for the server, outside of it."""
    limit, clock = ConcurrencyLimit(1, linger=30.0), VirtualTime()
    rehearse(limit, given_up(), clock=clock)
    assert limit.snapshot(URL, clock.now) == Snapshot(limit=1, in_use=1, waiting=0, lingering=1)
    history = rehearse(limit, ok(), clock=clock)
    assert history.status == 200
    assert history.elapsed == 30.0
    assert history.events[0] == Queued("the concurrency limit of http://foundry.local:5273", 30.0)


@pytest.mark.parametrize(
    ("usual", "after", "waits"),
    [(10.0, 2.0, 8.0), (10.0, 9.5, 0.5), (10.0, 12.0, 10.0), (100.0, 2.0, 30.0)],
    ids=["what is left of the usual time", "little left", "longer than usual, so as long again", "at most so much"],
)
def test_keeps_its_place_for_as_long_as_the_server_is_probably_at_it(usual: float, after: float, waits: float) -> None:
    limit, clock = ConcurrencyLimit(1, linger=30.0), VirtualTime()
    rehearse(limit, ok(after=usual), clock=clock)
    rehearse(limit, given_up(after), clock=clock)
    assert rehearse(limit, ok(), clock=clock).elapsed == pytest.approx(waits)


def test_the_usual_time_is_that_of_calls_of_the_same_kind() -> None:
    """Listing models says nothing of how long a generation takes."""
    limit, clock = ConcurrencyLimit(1, linger=30.0), VirtualTime()
    rehearse(limit, ok(after=0.1), clock=clock)
    rehearse(limit, ok(after=10.0), method="POST", content=b"{}", clock=clock)
    rehearse(limit, given_up(), method="POST", content=b"{}", clock=clock)
    assert rehearse(limit, ok(), clock=clock).elapsed == pytest.approx(8.0)


def test_the_usual_time_of_the_kinds_seen_last_is_remembered() -> None:
    """Sixty-four of them: a server with an id in every path must not fill the memory."""
    limit, clock = ConcurrencyLimit(1, linger=30.0), VirtualTime()
    for number in range(65):
        rehearse(limit, ok(after=10.0), url=f"http://foundry.local/{number}", clock=clock)
    for number, waits in ((0, 30.0), (64, 8.0)):
        rehearse(limit, given_up(), url=f"http://foundry.local/{number}", clock=clock)
        assert rehearse(limit, ok(), url="http://foundry.local/", clock=clock).elapsed == pytest.approx(waits)


@pytest.mark.parametrize(
    "said",
    [
        unsent(),
        lost(),
        Failure(error="ConnectTimeout"),
        Failure(error="PoolTimeout"),
        failed(),
        ok(),
        events("a", "b", breaks="ReadTimeout"),
    ],
    ids=repr,
)
def test_a_call_that_the_server_is_not_at_keeps_no_place(said: Said) -> None:
    """It was not sent, or has been answered, or is a stream that the server writes to."""
    limit, clock = ConcurrencyLimit(1, linger=30.0), VirtualTime()
    rehearse(limit, said, clock=clock)
    assert limit.snapshot(URL, clock.now).in_use == 0


@pytest.mark.parametrize(("linger_streams", "lingering"), [(False, 0), (True, 1)])
def test_a_stream_that_is_closed_keeps_its_place_only_where_that_was_said(
    lingering: int, *, linger_streams: bool
) -> None:
    limit = ConcurrencyLimit(1, linger=30.0, linger_streams=linger_streams)
    double = over(Stack(limit), scripted(events("a", "b", "[DONE]")))
    with httpx.Client(transport=double) as client, client.stream("GET", URL) as response:
        next(response.iter_raw())
    assert limit.snapshot(URL).lingering == lingering


def test_a_stream_that_said_nothing_yet_is_one_the_server_computes_for() -> None:
    """It has its head, and no byte: the server has not written since, and so not noticed."""
    limit, clock = ConcurrencyLimit(1, linger=30.0), VirtualTime()
    rehearse(limit, events(breaks="ReadTimeout"), clock=clock)
    assert limit.snapshot(URL, clock.now).lingering == 1


def test_so_is_any_answer_whose_body_was_waited_for_in_vain() -> None:
    """Ollama's own streams are lines of JSON. An answer that its caller closes unread says nothing of that kind."""
    limit, clock = ConcurrencyLimit(1, linger=30.0), VirtualTime()
    rehearse(limit, Answer(pause=9), timeout={"read": 5}, clock=clock)
    assert limit.snapshot(URL, clock.now).lingering == 1
    clock.pass_(30)
    rehearse(limit, Answer(pause=9), clock=clock, read=False)
    assert limit.snapshot(URL, clock.now).lingering == 0


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
@pytest.mark.parametrize(("linger", "lingering"), [(0.0, 0), (60.0, 1)])
async def test_a_call_that_is_cancelled_keeps_its_place_only_where_that_was_said(linger: float, lingering: int) -> None:
    limit = ConcurrencyLimit(1, linger=linger)

    async def silent(_: httpx.Request) -> httpx.Response:
        scope.cancel()
        await anyio.sleep_forever()
        raise AssertionError

    with anyio.CancelScope() as scope:
        async with httpx.AsyncClient(transport=over(Stack(limit), httpx.MockTransport(silent))) as client:
            await client.get(URL)
    assert scope.cancelled_caught
    assert limit.snapshot(URL) == (1, lingering, 0, lingering)


# adaptive


def found(limit: ConcurrencyLimit) -> int:
    return limit.snapshot(URL).limit


DROPPED = pytest.mark.parametrize(
    "said",
    [
        busy(),
        busy(status=429),
        failed(504),
        unsent(),
        lost(),
        given_up(),
        Failure(error="ConnectTimeout"),
        Answer(breaks="ReadTimeout"),
        Answer(breaks="RemoteProtocolError"),
    ],
    ids=repr,
)
IGNORED = pytest.mark.parametrize(
    "said",
    [
        failed(500),
        failed(502),
        failed(404),
        failed(400),
        Failure(error="PoolTimeout"),
        Failure(error="UnsupportedProtocol"),
    ],
    ids=repr,
)


@DROPPED
def test_overload_and_outages_lower_the_limit(said: Said) -> None:
    limit = ConcurrencyLimit(AdaptiveLimit(start=8))
    history = rehearse(limit, said)
    assert found(limit) == 6
    assert LimitChanged("the concurrency limit of http://foundry.local:5273", 6) in history.events


@IGNORED
def test_other_failures_say_nothing_of_the_limit(said: Said) -> None:
    """They may have been quick or slow for any reason, and are neither load nor proof of room."""
    limit = ConcurrencyLimit(AdaptiveLimit(start=8))
    rehearse(limit, said)
    assert found(limit) == 8


def test_grows_where_calls_at_the_limit_are_answered() -> None:
    """After a few calls a second one is let in beside the first, on trial."""
    limit, clock = ConcurrencyLimit(AdaptiveLimit()), VirtualTime()
    for _ in range(20):
        rehearse(limit, ok(after=1.0), clock=clock)
    assert found(limit) == 2


def trials(limit: ConcurrencyLimit, seconds: Callable[[int], Said]) -> tuple[int, list[Event]]:
    """The limit after calls that were made in pairs; `seconds` gives the answer among so many."""
    clock, told = VirtualTime(), list[Event]()
    for _ in range(60):
        if found(limit) == 1:
            told += rehearse(limit, seconds(1), clock=clock).events
        else:
            with held(limit):
                told += rehearse(limit, seconds(2), clock=clock).events
    return found(limit), [event for event in told if isinstance(event, LimitChanged)]


def test_a_trial_that_succeeds_is_told_and_one_that_fails_is_not() -> None:
    """What is on trial is no news; what was found is."""
    limit = ConcurrencyLimit(AdaptiveLimit(highest=2))
    assert trials(limit, lambda _: ok(after=1.0)) == (
        2,
        [LimitChanged("the concurrency limit of http://foundry.local:5273", 2)],
    )
    limit = ConcurrencyLimit(AdaptiveLimit(highest=2))
    assert trials(limit, lambda among: ok(after=float(among)))[1] == []


@pytest.mark.parametrize("guards", [(), (StreamGuard(),)], ids=["without a guard", "with one"])
def test_the_latency_of_a_stream_is_the_time_to_its_first_event(guards: tuple[Policy, ...]) -> None:
    """Its head comes at once, and its end when the answer is long enough; both say nothing of the load."""
    limit, clock, told = ConcurrencyLimit(AdaptiveLimit(highest=2)), VirtualTime(), list[Event]()
    for _ in range(40):
        if found(limit) == 1:
            told += rehearse(Stack(limit, *guards), events("a", "[DONE]", pause=1.0), clock=clock).events
        else:
            with held(limit):
                told += rehearse(Stack(limit, *guards), events("a", "[DONE]", pause=2.0), clock=clock).events
    assert not any(isinstance(event, LimitChanged) for event in told)


def test_a_stream_that_comes_in_one_piece_has_a_first_event_too() -> None:
    """The guard saw it, before anybody further out could."""
    limit, clock = ConcurrencyLimit(AdaptiveLimit(highest=2)), VirtualTime()
    whole = Answer(headers={"content-type": "text/event-stream"}, chunks=(b"data: a\n\ndata: [DONE]\n\n",), pause=1.0)
    for _ in range(20):
        rehearse(Stack(limit, StreamGuard()), whole, clock=clock)
    assert found(limit) == 2


def test_a_stream_that_says_that_the_server_is_busy_lowers_the_limit() -> None:
    """As the judge of the guard understands it."""
    limit = ConcurrencyLimit(AdaptiveLimit(start=8))

    def judge(status: int, headers: Mapping[str, str], body: bytes) -> Verdict:
        del status, headers, body
        return Verdict.BUSY

    rehearse(Stack(limit, StreamGuard(judge=judge)), events('{"error": {"type": "overloaded"}}'))
    assert found(limit) == 6


def test_a_body_that_the_caller_read_too_slowly_is_not_held_against_the_server() -> None:
    class Slow:
        """Says at the end of a body that it was the caller who took the time."""

        def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
            response = yield from proceed(request)
            yield from watch(response, self)
            return response

        def chunk(self, data: bytes, at: float) -> None:
            pass

        def ended(self, end: BodyEnd, at: float) -> BodyEnd:
            del at
            return replace(end, verdict=Verdict.CALLER)

    limit = ConcurrencyLimit(AdaptiveLimit(start=8))
    rehearse(Stack(limit, Slow()), Answer(breaks="ReadTimeout"))
    assert found(limit) == 8


def test_quick_refusals_of_the_caller_are_no_sign_of_room() -> None:
    """A 404 costs the server nothing, and says nothing of what a good call costs it."""
    limit, clock = ConcurrencyLimit(AdaptiveLimit()), VirtualTime()
    for _ in range(40):
        rehearse(limit, failed(404), clock=clock)
    assert found(limit) == 1


def test_a_place_that_comes_after_the_deadline_is_given_back() -> None:
    """Granted in time, and noticed too late: sending would be in vain. Played by hand, for the two meet by chance."""
    limit = ConcurrencyLimit(1)
    request = httpx.Request("GET", URL)
    shared_of(request).until = 5.0

    def proceed(_: Request) -> Flow[Response]:
        raise AssertionError("it was sent")

    with held(limit):
        flow = limit.flow(request, proceed)
        assert isinstance(flow.send(None), Now)
        assert isinstance(flow.send(0.0), HistoryOfTheCall)
        assert isinstance(flow.send(Ledger(started=0.0)), Wait)
    assert in_use(limit) == 1
    assert isinstance(flow.send(True), Now)  # noqa: FBT003 - the answer to Wait
    assert flow.send(5.0) == Tell(CallShed("the concurrency limit of http://foundry.local:5273", "deadline"))
    with pytest.raises(TimeoutError):
        flow.send(None)
    assert in_use(limit) == 0


def test_a_deadline_that_passed_in_the_queue_is_not_held_against_the_server() -> None:
    """Nine seconds of ten were spent here, and one there: with a lower limit the queue would be longer still."""
    limit, clock = ConcurrencyLimit(AdaptiveLimit(start=4), linger=9.0), VirtualTime()
    with held(limit), held(limit):
        rehearse(limit, Failure(error="ReadTimeout"), clock=clock)
        assert limit.snapshot(URL) == Snapshot(limit=3, in_use=3, waiting=0, lingering=1)
        history = rehearse(Stack(Deadline(10), limit), given_up(30.0), clock=clock)
    assert isinstance(history.error, DeadlineExceededError)
    assert (history.sent, history.elapsed) == (1, 10.0)
    assert found(limit) == 3


# settings, lint, pool


@pytest.mark.parametrize(
    ("arguments", "settings", "complaint"),
    [
        ((0,), {}, r"ConcurrencyLimit\.limit is at least 1, not 0"),
        (("4",), {}, r"ConcurrencyLimit\.limit is a whole number, not '4'"),
        ((4,), {"queue": -1}, r"ConcurrencyLimit\.queue is at least 0"),
        ((4,), {"longest_wait": 0}, r"ConcurrencyLimit\.longest_wait is more than 0"),
        ((4,), {"linger": -1}, r"ConcurrencyLimit\.linger is at least 0"),
        ((4,), {"linger_streams": 1}, r"ConcurrencyLimit\.linger_streams is True or False"),
        ((4,), {"max_origins": 0}, r"ConcurrencyLimit\.max_origins is at least 1"),
    ],
)
def test_a_wrong_setting_is_refused_with_what_it_accepts(
    arguments: tuple[Any, ...], settings: dict[str, Any], complaint: str
) -> None:
    with pytest.raises((ValueError, TypeError), match=complaint):
        ConcurrencyLimit(*arguments, **settings)


LIMIT = ConcurrencyLimit(4)


@pytest.mark.parametrize(
    ("policies", "complaint"),
    [
        ([LIMIT, Retry()], "Retry stands inside ConcurrencyLimit and belongs outside it: else a place is held through"),
        ([LIMIT, Deadline(5)], "else waiting for a place costs the call nothing"),
        ([LIMIT, CircuitBreaker()], "else calls queue for a server that the circuit would refuse them anyway"),
        ([LIMIT, Hedge(1)], "else two requests share a place that is meant for one"),
        ([AttemptTimeout(), LIMIT], "an attempt that timed out tells an adaptive limit that the server is slow"),
        ([StreamGuard(), LIMIT], "it is the guard that tells an adaptive limit when the first event came"),
        ([LIMIT, LIMIT], "two ConcurrencyLimit policies in one stack"),
        ([Deadline(5), ConcurrencyLimit(4, longest_wait=6)], "ConcurrencyLimit.longest_wait (6 s) is longer than"),
    ],
)
def test_a_stack_that_contradicts_it_is_refused(policies: list[Policy], complaint: str) -> None:
    with pytest.raises(StackError) as caught:
        Stack(*policies)
    assert complaint in str(caught.value)


def test_its_place_in_a_stack() -> None:
    Stack(Deadline(5), Retry(), CircuitBreaker(), ConcurrencyLimit(4, longest_wait=4), AttemptTimeout(), StreamGuard())


@pytest.mark.parametrize("library", [httpx, httpx2])
def test_a_pool_that_suits_it_has_a_connection_for_every_place(library: Any) -> None:
    """All are kept, and are given up before the server does so."""
    limits = library.Limits(**ConcurrencyLimit(4).pool())
    assert (limits.max_connections, limits.max_keepalive_connections, limits.keepalive_expiry) == (4, 4, 4.0)
    limits = library.Limits(**ConcurrencyLimit(AdaptiveLimit(highest=8)).pool(origins=2, server_idle=60))
    assert (limits.max_connections, limits.max_keepalive_connections, limits.keepalive_expiry) == (16, 16, 48.0)


def test_its_error_travels_between_processes_with_its_facts() -> None:
    limit = ConcurrencyLimit(1, queue=0)
    with held(limit):
        error = rehearse(limit).error
    arrived = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert type(arrived) is ConcurrencyLimitError
    assert (arrived.why, arrived.limit, str(arrived)) == ("queue_full", 1, str(error))


def test_a_listener_that_fails_costs_no_place() -> None:
    """What a user wrote may fail; the next call finds its place."""

    class BrokenError(Exception):
        pass

    def listener(event: Event) -> None:
        if isinstance(event, (LimitChanged, Queued)):
            raise BrokenError

    limit = ConcurrencyLimit(AdaptiveLimit(start=2), linger=5)
    clock = VirtualTime()
    for _ in range(4):
        history = rehearse(limit, busy(), clock=clock, listener=listener)
        assert isinstance(history, History)
        assert in_use(limit) == 0
