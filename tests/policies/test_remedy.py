"""What stands in a call's way is mended within the call."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx
import pytest
import stamina

from resilient_foundry import (
    Backoff,
    CallOptions,
    CircuitBreaker,
    ConcurrencyLimit,
    Deadline,
    DeadlineExceededError,
    Retry,
    Stack,
)
from resilient_foundry.call import derive
from resilient_foundry.events import AttemptStarted, Event, Remedied
from resilient_foundry.flow import Flow, Proceed, Request, Response, discard, sleep
from resilient_foundry.policies.remedy import TRIED, Remedy
from resilient_foundry.testing import Answer, History, VirtualTime, busy, failed, ok, rehearse, unsent
from tests.servers import Conversation, Server
from tests.ways import Barrier, Way, ledger_of, way_named


class StuckError(Exception):
    """The door does not open."""


@dataclass(frozen=True)
class Opening:
    """Opens the door where it is locked (423), or where nobody answers, by asking `/open`; which takes its time."""

    takes: float = 0.0
    mistake: Exception | None = None
    name: str = "door_opened"
    doing: str = "opening"
    failures: tuple[type[Exception], ...] = (StuckError, httpx.TransportError)
    ways: list[str] = field(default_factory=list[str], compare=False)

    def prepare(self, request: Request) -> Request:
        """Once the door was opened, calls say so."""
        return derive(request, headers={"X-Way": self.ways[-1]}) if self.ways else request

    def noticed(self, request: Request, failure: Response | Exception) -> Flow[str | None]:
        """A locked door."""
        yield from ()
        del request
        locked = isinstance(failure, httpx.ConnectError) or getattr(failure, "status_code", 0) == 423
        return "the door" if locked else None

    def mend(self, request: Request, proceed: Proceed, thing: str) -> Flow[str]:
        """Ask for it."""
        url = httpx.URL("http://foundry.local:5273/open")
        response = yield from proceed(derive(request, method="PUT", url=url, content=b"please"))
        yield from discard(response)
        yield from sleep(self.takes)
        if self.mistake is not None:
            raise self.mistake
        if response.status_code != 200:
            raise StuckError(f"the lock said {response.status_code}")
        self.ways.append("front")
        return f"{thing}, with a key"


def remedies(history: History) -> list[Remedied]:
    """What was mended, or was not."""
    return [event for event in history.events if isinstance(event, Remedied)]


LOCKED = failed(423, b"locked")


def test_what_stands_in_the_way_is_mended_and_the_call_is_asked_once_more() -> None:
    """Whatever its method: nothing was done with it."""
    history = rehearse(Remedy(Opening()), LOCKED, ok(), ok(b"come in"), method="POST", content=b"hello")
    assert (history.status, history.content) == (200, b"come in")
    assert [str(request.url.path) for request in history.script.requests] == ["/v1/models", "/open", "/v1/models"]
    assert history.script.bodies == [b"hello", b"please", b"hello"]


def test_the_failure_does_not_hold_the_place_that_the_remedy_waits_for() -> None:
    """One whose body was too long, or too slow, to be read to its end: the call would wait for itself."""
    large = Answer(status=423, chunks=(b"x" * 70_000,) * 2)
    history = rehearse(Stack(Remedy(Opening()), ConcurrencyLimit(1)), large, ok(), ok(b"come in"))
    assert (history.status, history.content) == (200, b"come in")


def test_a_failure_that_was_closed_before_its_end_ends_with_an_error_of_the_library() -> None:
    """Half an answer does not look like a whole one."""
    large = Answer(status=423, chunks=(b"x" * 70_000,) * 2)
    history = rehearse(Remedy(Opening()), large, failed(500))
    assert (history.status, len(history.content)) == (423, 70_000)
    assert isinstance(history.error, httpx.ReadError)


def test_an_error_can_be_mended_as_well() -> None:
    """Nobody answered, and now somebody does."""
    assert rehearse(Remedy(Opening()), unsent(), ok(), ok(b"come in")).content == b"come in"


def test_one_event_tells_what_was_done_and_how_long_it_took() -> None:
    """At the level of warnings: it needed somebody's hand."""
    history = rehearse(Remedy(Opening(takes=3.0)), LOCKED, ok(), ok())
    (event,) = remedies(history)
    assert event == Remedied("door_opened", "the door, with a key", 3.0)
    assert str(event) == "remedy: door opened, the door, with a key, 3.000 s"


def test_what_was_mended_shapes_the_calls_that_follow() -> None:
    """A call that is asked again, and every later one, goes out as the cure prepares it."""
    remedy, clock = Remedy(Opening()), VirtualTime()
    first = rehearse(remedy, LOCKED, ok(), ok(), clock=clock)
    later = rehearse(remedy, ok(), clock=clock)
    said = [request.headers.get("x-way") for request in (*first.script.requests, *later.script.requests)]
    assert said == [None, None, "front", "front"]


def test_other_failures_pass() -> None:
    """A cure is for what it knows."""
    history = rehearse(Remedy(Opening()), failed(500))
    assert (history.status, history.sent, remedies(history)) == (500, 1, [])


def test_a_call_has_one_remedy() -> None:
    """A door that is locked again behind us is no door to stand before for ever."""
    history = rehearse(Remedy(Opening()), LOCKED, ok(), LOCKED)
    assert (history.status, history.sent, len(remedies(history))) == (423, 3, 1)


def test_or_as_many_as_it_is_given() -> None:
    """`times`."""
    history = rehearse(Remedy(Opening(), times=2), LOCKED, ok(), LOCKED, ok(), ok())
    assert (history.status, len(remedies(history))) == (200, 2)


def test_attempts_of_a_retry_share_the_remedies_of_their_call() -> None:
    """Three attempts, one remedy."""
    stack = Stack(Retry(attempts=3, backoff=Backoff(base=0)), Remedy(Opening(), pause=0))
    history = rehearse(stack, unsent(), failed(), unsent(), unsent())
    assert (history.sent, len(remedies(history))) == (4, 1)


def test_an_answer_that_could_not_be_mended_says_what_was_tried() -> None:
    """It is the server's answer, whole, with a sentence beside it."""
    history = rehearse(Remedy(Opening()), LOCKED, failed(500))
    assert (history.status, history.content) == (423, b"locked")
    assert history.response is not None
    tried = "opening the door was in vain: StuckError: the lock said 500"
    assert history.response.extensions[TRIED] == tried
    assert remedies(history) == [Remedied("door_opened", "the door (StuckError)", 0.0, worked=False)]


def test_an_error_that_could_not_be_mended_says_what_was_tried_in_a_note() -> None:
    """Also the last one of several attempts, of which only the first had a remedy."""
    stack = Stack(Retry(attempts=2, backoff=Backoff(base=0)), Remedy(Opening()))
    history = rehearse(stack, unsent(), unsent(), unsent())
    assert isinstance(history.error, httpx.ConnectError)
    assert history.error.__notes__[0] == "opening the door was in vain: ConnectError: scripted ConnectError"


def test_a_remedy_that_failed_rests() -> None:
    """For all calls, so that an outage is not made worse by what is done against it."""
    remedy, clock = Remedy(Opening(), pause=30), VirtualTime()
    rehearse(remedy, LOCKED, failed(), clock=clock)
    clock.pass_(10)
    resting = rehearse(remedy, LOCKED, clock=clock)
    assert resting.sent == 1
    assert [str(event) for event in remedies(resting)] == [
        "remedy failed: no door opened, the door (not tried again for 20.0 s), 0.000 s"
    ]
    assert resting.response is not None
    assert "StuckError: the lock said 500; not tried again for 20.0 s" in resting.response.extensions[TRIED]
    clock.pass_(20)
    assert rehearse(remedy, LOCKED, ok(), ok(), clock=clock).status == 200


def test_a_body_that_was_sent_and_is_gone_forbids_it() -> None:
    """The second one would be empty."""

    def body() -> Iterator[bytes]:
        yield b"hello"

    history = rehearse(Remedy(Opening()), LOCKED, method="POST", content=body())
    assert (history.status, history.content, history.sent) == (423, b"locked", 1)


def test_a_call_that_is_to_go_out_once_goes_out_once() -> None:
    """`CallOptions(retry=False)`."""
    assert rehearse(Remedy(Opening()), LOCKED, options=CallOptions(retry=False)).sent == 1


def test_stamina_switched_off_switches_it_off() -> None:
    """One switch for all that sends a call twice; what was mended before still counts."""
    remedy = Remedy(Opening(ways=["front"]))
    stamina.set_active(False)
    history = rehearse(remedy, LOCKED)
    assert [request.headers["x-way"] for request in history.script.requests] == ["front"]


def test_a_remedy_ends_with_the_deadline_of_its_call() -> None:
    """And it is the deadline that the caller hears of."""
    history = rehearse(Stack(Deadline(5), Remedy(Opening(takes=6, mistake=StuckError()))), LOCKED, ok())
    assert isinstance(history.error, DeadlineExceededError)
    assert history.elapsed == 6
    assert remedies(history) == []


def test_a_call_without_time_says_nothing_about_the_next_one() -> None:
    """It is tried again at once, for somebody with more patience."""
    remedy, clock = Remedy(Opening(takes=6, mistake=httpx.ReadTimeout("late"))), VirtualTime()
    rehearse(Stack(Deadline(5), remedy), LOCKED, ok(), clock=clock)
    assert rehearse(remedy, LOCKED, ok(), clock=clock).sent == 2


def test_a_mistake_in_a_cure_leaves_the_call() -> None:
    """Only its `failures` mean that it did not help. The next call may try."""
    remedy = Remedy(Opening(mistake=ZeroDivisionError("oops")))
    assert isinstance(rehearse(remedy, LOCKED, ok()).error, ZeroDivisionError)
    assert rehearse(remedy, LOCKED, ok()).sent == 2


def test_the_requests_of_a_cure_are_seen_by_the_policies_further_in() -> None:
    """A circuit counts them, and an open one refuses them."""
    breaker = CircuitBreaker(failures=1)
    remedy = Remedy(Opening(failures=(StuckError, Exception)))
    history = rehearse(Stack(remedy, breaker), LOCKED, failed(500))
    assert history.status == 423
    assert rehearse(Stack(breaker), ok()).sent == 0


def test_attempts_that_find_a_server_busy_are_not_its_business() -> None:
    """Those are for `Retry`, which stands outside."""
    stack = Stack(Retry(attempts=2, backoff=Backoff(base=0)), Remedy(Opening()))
    assert rehearse(stack, busy(), LOCKED, ok(), ok()).status == 200


@pytest.mark.parametrize(("times", "pause"), [(0, 1.0), (1, -1.0)])
def test_settings_that_mean_nothing_are_refused(times: int, pause: float) -> None:
    """By name."""
    with pytest.raises(ValueError, match=r"Remedy\.(times|pause) is at least"):
        Remedy(Opening(), times=times, pause=pause)


class Door:
    """A server whose door is locked until somebody opens it; callers meet it `together`."""

    def __init__(self, callers: int) -> None:
        self.locked = True
        self.opened = 0
        self._together = Barrier(callers)
        self._lock = threading.Lock()

    def __call__(self, talk: Conversation) -> None:
        """Answer one request."""
        if talk.asked.path == "/open":
            with self._lock:
                self.opened += 1
                self.locked = False
            talk.reply(200)
        elif self.locked:
            self._together.wait()
            talk.reply(423, b"locked")
        else:
            talk.reply(200, b"come in")


@dataclass(frozen=True)
class OpeningThere(Opening):
    """Opens the door of the server that was asked."""

    failures: tuple[type[Exception], ...] = ()

    def mend(self, request: Request, proceed: Proceed, thing: str) -> Flow[str]:
        """Ask for it."""
        url = request.url.copy_with(path="/open")
        yield from discard((yield from proceed(derive(request, method="PUT", url=url, content=b""))))
        return thing


@pytest.mark.parametrize("name", ["httpx-sync", "httpx2-asyncio", "httpx-trio"])
def test_callers_that_meet_it_together_mend_it_once(name: str) -> None:
    """One opens the door, and the others wait for it; each can tell from its own story why it took longer."""
    way: Way = way_named(name)
    door = Door(8)
    try:
        with Server(handler=door) as server:
            client = way.client(Stack(Remedy(OpeningThere())))
            calls = [call.result() for call in way.together(8, lambda: client.get(f"{server.url}/"))]
            assert [call.content for call in calls] == [b"come in"] * 8
            assert door.opened == 1
            told = [event for call in calls for _, event in ledger_of(call).events if isinstance(event, Remedied)]
            assert sorted(event.detail for event in told) == ["the door"] + ["the door (by another call)"] * 7
    finally:
        way.close()


def test_the_connection_of_the_failure_is_free_for_the_remedy() -> None:
    """A pool may have one place."""
    way = way_named("httpx-sync")
    try:
        with Server(handler=Door(1)) as server:
            transport = way.transport(limits=httpx.Limits(max_connections=1))
            client = way.client(Stack(Remedy(OpeningThere())), transport, timeout=httpx.Timeout(5, pool=0.5))
            assert client.get(f"{server.url}/").content == b"come in"
    finally:
        way.close()


def test_a_call_that_is_interrupted_while_it_mends_leaves_its_turn() -> None:
    """The next one mends; nobody waits for a call that is gone."""
    remedy = Remedy(Opening())

    def interrupt(event: Event) -> None:
        if event == AttemptStarted(2):
            raise KeyboardInterrupt

    first = rehearse(remedy, LOCKED, ok(), listener=interrupt)
    assert isinstance(first.error, KeyboardInterrupt)
    assert rehearse(remedy, LOCKED, ok(), ok()).status == 200


def test_what_is_no_cure_is_refused_when_the_policy_is_made() -> None:
    """And not when something is to be mended."""
    with pytest.raises(TypeError, match=r"Remedy\.cure is a Cure, and 'x' has no name"):
        Remedy("x")  # type: ignore[arg-type]
