"""How long a call may take, all attempts, waits and queueing together."""

from collections.abc import Generator
from types import ModuleType
from typing import Any

import anyio
import httpx
import httpx2
import pytest

from resilient_foundry import (
    AttemptTimeout,
    Backoff,
    CallOptions,
    CircuitBreaker,
    Deadline,
    DeadlineExceededError,
    Retry,
    Stack,
    StreamGuard,
)
from resilient_foundry._transports.bind import bind
from resilient_foundry._transports.driver import World
from resilient_foundry.call import SHARED
from resilient_foundry.events import Outcome, TimedOut
from resilient_foundry.flow import Flow, Proceed, Request, Response
from resilient_foundry.testing import Answer, Failure, Said, VirtualTime, events, failed, lost, ok, rehearse, scripted
from tests.over import over

LIBRARIES = [httpx, httpx2]


def test_an_answer_in_time_passes() -> None:
    history = rehearse(Deadline(5), ok(after=4.9))
    assert (history.status, history.error) == (200, None)


def test_an_answer_too_late_is_given_up_at_the_deadline() -> None:
    history = rehearse(Deadline(5), ok(after=60))
    assert isinstance(history.error, DeadlineExceededError)
    assert isinstance(history.error, httpx.TimeoutException)
    assert history.elapsed == 5.0
    assert history.error.seconds == 5
    assert str(history.error) == (
        "no answer from foundry.local within the deadline of 5 s; "
        "give the call more time; error.resilience.explain() tells what took it"
    )
    assert isinstance(history.error.__cause__, httpx.ReadTimeout)
    assert TimedOut("deadline", 5) in history.events


@pytest.mark.parametrize("error", ["ConnectTimeout", "PoolTimeout", "WriteTimeout", "ReadTimeout"])
def test_it_holds_in_every_phase(error: str) -> None:
    history = rehearse(Deadline(5), Failure(error=error, after=60))
    assert isinstance(history.error, DeadlineExceededError)
    assert history.elapsed == 5.0


def test_all_attempts_share_it() -> None:
    stack = Stack(Deadline(10), Retry(attempts=9, backoff=Backoff(base=0, cap=0)), AttemptTimeout(read=4))
    history = rehearse(stack, *[ok(after=60)] * 3)
    assert isinstance(history.error, DeadlineExceededError)
    assert history.elapsed == 10.0
    assert [attempt.ended_after for attempt in history.ledger.attempts] == [4.0, 4.0, 2.0]


def test_an_attempts_own_limit_that_passes_earlier_stays_itself() -> None:
    """Only what ended at the deadline is blamed on it."""
    history = rehearse(Stack(Deadline(10), AttemptTimeout(read=4)), ok(after=60))
    assert type(history.error) is httpx.ReadTimeout


def test_an_error_that_is_no_timeout_stays_itself_even_at_the_deadline() -> None:
    history = rehearse(Deadline(5), lost(after=5))
    assert type(history.error) is httpx.ReadError


def test_a_timer_that_fires_a_little_early_is_still_the_deadline() -> None:
    assert isinstance(rehearse(Deadline(5), Failure(error="ReadTimeout", after=4.997)).error, DeadlineExceededError)


def test_a_deadline_that_is_over_sends_nothing() -> None:
    clock = VirtualTime()
    history = rehearse(
        Stack.unchecked(Deadline(5), _Late(clock, 6), Deadline(9), CircuitBreaker(failures=1)), clock=clock
    )
    assert isinstance(history.error, DeadlineExceededError)
    assert history.sent == 0


class _Late:
    """Takes its time before it goes on."""

    def __init__(self, clock: VirtualTime, seconds: float) -> None:
        self.clock = clock
        self.seconds = seconds

    def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
        self.clock.pass_(self.seconds)
        return (yield from proceed(request))


def test_an_earlier_deadline_further_out_stays() -> None:
    history = rehearse(Stack(Deadline(5), Deadline(60)), ok(after=99))
    assert history.elapsed == 5.0


def test_an_earlier_deadline_further_in_counts_there() -> None:
    history = rehearse(Stack(Deadline(60), Deadline(5)), ok(after=99))
    assert (history.elapsed, str(history.error)[:60]) == (
        5.0,
        "no answer from foundry.local within the deadline of 5 s; giv",
    )


def test_a_call_may_bring_its_own() -> None:
    assert rehearse(Deadline(5), ok(after=60), options=CallOptions(deadline=90)).status == 200
    assert rehearse(Deadline(90), ok(after=60), options=CallOptions(deadline=5)).elapsed == 5.0


def test_it_covers_the_body_of_an_answer() -> None:
    """A server that drips its answer is held to the deadline too; no limit of a phase would ever end it."""
    history = rehearse(Deadline(5), Answer(after=1, chunks=(b"x",) * 1000, pause=1))
    assert isinstance(history.error, DeadlineExceededError)
    assert history.elapsed == 5.0
    assert history.ledger.attempts[0].outcome is Outcome.STALLED
    assert history.script.closed == {1: 1}


def test_it_ends_with_the_head_where_it_is_told_to() -> None:
    """A download takes as long as it takes; that it goes on arriving is the business of AttemptTimeout."""
    history = rehearse(Deadline(5, body=False), Answer(after=4, chunks=(b"a", b"b", b"c"), pause=4))
    assert (history.content, history.error, history.elapsed) == (b"abc", None, 16.0)


def test_with_a_guard_it_ends_with_the_first_event() -> None:
    history = rehearse(Stack(Deadline(5), StreamGuard()), events("a", "[DONE]", pause=4))
    assert (history.error, history.elapsed) == (None, 8.0)


def test_comments_keep_a_stream_alive_but_not_its_deadline() -> None:
    """Only an event is progress: a server that says nothing but `:` is given up at the deadline, in sync code too."""
    head = {"content-type": "text/event-stream"}
    endless = Answer(headers=head, chunks=(b": still here\n\n",) * 100, pause=1)
    history = rehearse(Stack(Deadline(5), StreamGuard()), endless)
    assert isinstance(history.error, DeadlineExceededError)
    assert history.elapsed == 5.0
    assert history.script.closed == {1: 1}


def test_a_failure_that_comes_in_drips_is_not_read_to_its_end() -> None:
    """Retry looks at a failed answer before it decides; a slow body must not hold the caller for long."""
    drips = Answer(status=503, chunks=(b"x",) * 100, pause=1)
    history = rehearse(Stack(Deadline(5), Retry()), drips, ok())
    assert (history.status, history.content) == (200, b"ok")
    assert history.elapsed == pytest.approx(1.05)
    assert history.script.closed == {1: 1, 2: 1}


def test_the_deadline_of_one_call_does_not_bind_the_next() -> None:
    """A request may be sent twice; after an answer its time is nobody's business."""
    request = httpx.Request("GET", "http://foundry.local/")
    with httpx.Client(transport=over(Stack(Deadline(5)), scripted(ok(), failed()))) as client:
        client.send(request)
        assert request.extensions[SHARED].until is None
        client.send(request)
        assert request.extensions[SHARED].until is None


def on(clock: VirtualTime, stack: Stack, *answers: Said) -> httpx.Client:
    """A real client whose time is virtual."""
    transport = bind(scripted(*answers, clock=clock), stack.around_the_network(), "stack", World(monotonic=clock))
    return httpx.Client(transport=transport)


def test_a_deadline_that_passed_does_not_bind_the_next_call_either() -> None:
    request = httpx.Request("GET", "http://foundry.local/")
    with on(VirtualTime(), Stack(Deadline(5)), Answer(after=6), ok()) as client:
        with pytest.raises(DeadlineExceededError):
            client.send(request)
        assert client.send(request).status_code == 200


def test_a_caller_who_takes_his_time_is_no_failure_of_the_server() -> None:
    """The deadline ends the reading all the same; the circuit looks at who kept whom waiting."""
    clock, breaker = VirtualTime(), CircuitBreaker(failures=1)
    with on(clock, Stack(Deadline(5), breaker), Answer(chunks=(b"a", b"b", b"c")), ok()) as client:
        with client.stream("GET", "http://foundry.local/") as response:
            chunks = response.iter_raw()
            assert next(chunks) == b"a"
            clock.pass_(6)
            with pytest.raises(DeadlineExceededError):
                next(chunks)
        assert client.get("http://foundry.local/").status_code == 200


def test_a_server_that_takes_its_time_over_the_body_is() -> None:
    breaker = CircuitBreaker(failures=1)
    rehearse(Stack(Deadline(5), breaker), Answer(chunks=(b"a",) * 9, pause=1), url="http://foundry.local/")
    assert breaker.circuit("http://foundry.local/").state == "open"


def test_a_deadline_further_in_does_not_loosen_the_one_further_out() -> None:
    """What the outer one covers stays covered."""
    drips = Answer(chunks=(b"x",) * 10, pause=1)
    history = rehearse(Stack(Deadline(2), Deadline(60, body=False)), drips)
    assert isinstance(history.error, DeadlineExceededError)
    assert history.elapsed == 2.0


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda module: module.__name__)
def test_legs_of_a_redirect_share_it(library: ModuleType) -> None:
    """A server that redirects for ever does not win."""
    untils: list[float | None] = []

    class Noting:
        def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
            untils.append(request.extensions[SHARED].until)
            return (yield from proceed(request))

    here, there = (Answer(status=302, headers={"location": f"/{place}"}, chunks=()) for place in ("here", "there"))
    transport = over(Stack(Deadline(30), Noting()), scripted(here, there, ok(), module=library))
    with library.Client(transport=transport, follow_redirects=True) as client:
        assert client.get("http://foundry.local/").status_code == 200
    assert len(untils) == 3
    assert len(set(untils)) == 1


def test_legs_of_an_authentication_share_it() -> None:
    untils: list[float | None] = []

    class Noting:
        def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
            untils.append(request.extensions[SHARED].until)
            return (yield from proceed(request))

    challenge = Answer(status=401, headers={"www-authenticate": 'Digest realm="r", nonce="n", qop="auth"'})
    transport = over(Stack(Deadline(30), Noting()), scripted(challenge, ok()))
    with httpx.Client(transport=transport, auth=httpx.DigestAuth("user", "word")) as client:
        assert client.get("http://foundry.local/").status_code == 200
    assert len(untils) == 2
    assert len(set(untils)) == 1


@pytest.mark.parametrize(("pause", "sent"), [(29.0, 2), (30.5, 1), (31.5, 2)])
def test_a_client_that_dawdles_between_two_legs_wins_no_time(pause: float, sent: int) -> None:
    """What begins just after the deadline is too late; long after it, somebody means another call."""
    clock = VirtualTime()
    wire = scripted(Answer(status=401), ok(), clock=clock)
    stack = Stack(Deadline(30))
    transport = bind(wire, stack.around_the_network(), stack, World(monotonic=clock))

    class Dawdling(httpx.Auth):
        requires_response_body = True

        def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
            yield request
            clock.pass_(pause)
            request.headers["authorization"] = "word"
            yield request

    with httpx.Client(transport=transport, auth=Dawdling()) as client:
        if sent == 1:
            with pytest.raises(DeadlineExceededError):
                client.get("http://foundry.local/")
        else:
            assert client.get("http://foundry.local/").status_code == 200
    assert len(wire.script.requests) == sent


@pytest.mark.anyio
async def test_async_code_is_cancelled_where_the_library_keeps_no_limit() -> None:
    """A transport that knows no limits, as test doubles do, is ended all the same."""

    class Sleeping(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await anyio.sleep_forever()
            raise AssertionError(request)

    async with httpx.AsyncClient(transport=Stack(Deadline(0.005)).over(Sleeping())) as client:
        with pytest.raises(DeadlineExceededError) as caught:
            await client.get("http://foundry.local/")
    assert caught.value.__cause__ is None


@pytest.mark.anyio
async def test_a_cancellation_from_outside_is_never_taken_for_the_deadline() -> None:
    class Sleeping(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await anyio.sleep_forever()
            raise AssertionError(request)

    async with httpx.AsyncClient(transport=Stack(Deadline(60)).over(Sleeping())) as client:
        with anyio.move_on_after(0.005) as scope:
            await client.get("http://foundry.local/")
    assert scope.cancelled_caught


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf")])
def test_a_deadline_is_a_positive_number_of_seconds(wrong: float) -> None:
    with pytest.raises(ValueError, match=r"Deadline\.seconds is "):
        Deadline(wrong)


def test_a_deadline_is_a_number() -> None:
    wrong: Any = "30"
    with pytest.raises(TypeError, match=r"Deadline\.seconds is a number, not '30'"):
        Deadline(wrong)
