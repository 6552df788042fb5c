"""Stop calling a server that fails, and find out with one call when it works again."""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import anyio
import httpx
import pybreaker
import pytest

from resilient_foundry import AttemptTimeout, CircuitBreaker, CircuitOpenError, Deadline, Stack, StreamGuard
from resilient_foundry.events import CallRejected, CircuitClosed, CircuitHalfOpened, CircuitOpened, CircuitProbed
from resilient_foundry.faults import Verdict
from resilient_foundry.flow import Flow, Proceed, Request, Response
from resilient_foundry.origin import origin
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
    unsent,
)

URL = "http://foundry.local:5273/v1/models"


def state_after(
    *answers: Said, stack: Callable[[CircuitBreaker], Stack] = Stack, read: bool = True, **settings: Any
) -> str:
    """The state of a circuit that one failure opens, after these calls."""
    settings.setdefault("failures", 1)
    breaker = CircuitBreaker(**settings)
    for answer in answers:
        rehearse(stack(breaker), answer, url=URL, read=read)
    return breaker.circuit(httpx.URL(URL)).state


def open_after(failures: int = 1, **settings: Any) -> tuple[CircuitBreaker, VirtualTime]:
    """A breaker that has just opened, and the time it goes by."""
    breaker, clock = CircuitBreaker(failures=failures, **settings), VirtualTime()
    for _ in range(failures):
        rehearse(breaker, failed(), url=URL, clock=clock)
    return breaker, clock


def state_of(breaker: CircuitBreaker) -> str:
    return breaker.circuit(httpx.URL(URL)).state


def test_refuses_calls_after_so_many_failures_in_a_row() -> None:
    breaker, clock = open_after(failures=3)
    history = rehearse(breaker, url=URL, clock=clock)
    assert isinstance(history.error, CircuitOpenError)
    assert isinstance(history.error, httpx.TransportError)
    assert history.sent == 0
    assert history.events == [CallRejected("http://foundry.local:5273", 5.0)]


def test_a_success_between_failures_starts_the_count_anew() -> None:
    assert state_after(failed(), ok(), failed(), failures=2) == "closed"
    assert state_after(failed(), failed(), failures=2) == "open"


def test_after_its_time_one_probe_goes_out_and_closes_it() -> None:
    breaker, clock = open_after(open_seconds=30)
    clock.pass_(29.9)
    assert rehearse(breaker, url=URL, clock=clock).sent == 0
    clock.pass_(0.1)
    assert rehearse(breaker, ok(), url=URL, clock=clock).status == 200
    assert state_of(breaker) == "closed"


def test_a_probe_that_fails_opens_it_again() -> None:
    breaker, clock = open_after()
    clock.pass_(5)
    assert rehearse(breaker, failed(), url=URL, clock=clock).status == 500
    assert rehearse(breaker, url=URL, clock=clock).sent == 0


def test_while_a_probe_is_under_way_others_are_refused() -> None:
    breaker, clock = open_after()
    clock.pass_(5)
    meanwhile: list[History] = []

    class Meanwhile:
        def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
            meanwhile.append(rehearse(breaker, url=URL, clock=clock))
            return (yield from proceed(request))

    rehearse(Stack(breaker, Meanwhile()), ok(), url=URL, clock=clock)
    assert meanwhile[0].sent == 0
    assert meanwhile[0].events == [CallRejected("http://foundry.local:5273", None)]


def test_more_than_one_success_can_be_asked_for() -> None:
    breaker, clock = open_after(successes=2)
    clock.pass_(5)
    rehearse(breaker, ok(), url=URL, clock=clock)
    assert state_of(breaker) == "half-open"
    rehearse(breaker, ok(), url=URL, clock=clock)
    assert state_of(breaker) == "closed"


FAILURES: list[Said] = [
    *(failed(status) for status in (408, 500, 502, 503, 504, 507, 599)),
    *(Failure(error=name) for name in ("ConnectError", "ConnectTimeout", "ReadTimeout", "WriteTimeout")),
    *(Failure(error=name) for name in ("ReadError", "WriteError", "RemoteProtocolError", "ProxyError")),
    Answer(breaks="ReadError"),
    Answer(breaks="ReadTimeout"),
    Answer(breaks="RemoteProtocolError"),
]


@pytest.mark.parametrize("failure", FAILURES, ids=repr)
def test_a_failure_is_what_the_server_is_to_blame_for(failure: Said) -> None:
    assert state_after(failure) == "open"


SUCCESSES: list[Said] = [failed(status) for status in (200, 204, 301, 304, 400, 401, 403, 404, 409, 422, 501, 505)]


@pytest.mark.parametrize("success", SUCCESSES, ids=repr)
def test_an_answer_that_blames_the_caller_is_a_success_of_the_server(success: Said) -> None:
    assert state_after(failed(), success, failed(), failures=2) == "closed"


NEUTRAL: list[Said] = [
    failed(425),
    busy(status=429),
    Failure(error="PoolTimeout"),
    Failure(error="LocalProtocolError"),
    Failure(error="DecodingError"),
]


@pytest.mark.parametrize("neutral", NEUTRAL, ids=repr)
def test_what_says_nothing_of_the_servers_health_counts_as_nothing(neutral: Said) -> None:
    """Neither does it open the circuit, nor does it make the failures before it forgotten."""
    assert state_after(neutral) == "closed"
    assert state_after(failed(), neutral, failed(), failures=2) == "open"


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, GeneratorExit, SystemExit])
def test_an_interrupted_call_counts_as_nothing(interruption: type[BaseException]) -> None:
    breaker = CircuitBreaker(failures=1)
    rehearse(Stack(breaker, _Raising(interruption())), url=URL)
    assert state_of(breaker) == "closed"


class _Raising:
    def __init__(self, error: BaseException | None) -> None:
        self.error = error

    def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
        if self.error is not None:
            raise self.error
        return (yield from proceed(request))


def test_a_refusal_of_a_policy_further_in_counts_as_nothing() -> None:
    breaker = CircuitBreaker(failures=1)
    rehearse(
        Stack.unchecked(breaker, Deadline(1e-12), AttemptTimeout()), Failure(error="PoolTimeout", after=1), url=URL
    )
    rehearse(Stack(breaker, _Raising(CircuitOpenError("no"))), url=URL)
    assert state_of(breaker) == "closed"


def test_a_cancelled_probe_gives_its_place_to_the_next_one() -> None:
    breaker, clock = open_after()
    clock.pass_(5)
    rehearse(Stack(breaker, _Raising(KeyboardInterrupt())), url=URL, clock=clock)
    assert state_of(breaker) == "half-open"
    assert rehearse(breaker, ok(), url=URL, clock=clock).status == 200
    assert state_of(breaker) == "closed"


@pytest.mark.anyio
async def test_a_probe_whose_task_is_cancelled_gives_its_place_to_the_next_one() -> None:
    class Sleeping(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.url.path == "/slow":
                await anyio.sleep_forever()
            return httpx.Response(500 if request.url.path == "/bad" else 200)

    breaker = CircuitBreaker(failures=1, open_seconds=0.001)
    async with httpx.AsyncClient(
        transport=Stack(breaker).over(Sleeping()), base_url="http://foundry.local:5273"
    ) as client:
        await client.get("/bad")
        await anyio.sleep(0.002)
        with anyio.move_on_after(0.005):
            await client.get("/slow")
        assert state_of(breaker) == "half-open"
        await client.get("/good")
    assert state_of(breaker) == "closed"


def test_a_lost_probe_is_given_up_after_its_lease() -> None:
    """An answer that nobody reads and nobody closes."""
    breaker, clock = open_after(probe_lease=60)
    clock.pass_(5)
    permit, _ = breaker.circuit(httpx.URL(URL)).admit(clock.now)
    assert rehearse(breaker, url=URL, clock=clock).sent == 0
    clock.pass_(60)
    assert rehearse(breaker, ok(), url=URL, clock=clock).sent == 1
    permit.failure(clock.now)
    assert state_of(breaker) == "closed"


# Judged at the end of the body


def guarded(breaker: CircuitBreaker) -> Stack:
    return Stack(breaker, StreamGuard(judge=breaker.judge))


@pytest.mark.parametrize(
    "stream",
    [
        events('{"choices": [{"delta": {"content": "hello"}}]}'),
        events(),
        events('{"error": {"type": "server_error"}}'),
        events("hello", '{"error": {"type": "server_error"}}', "[DONE]"),
        events("hello", breaks="ReadError"),
        events("hello", breaks="ReadTimeout"),
    ],
    ids=["truncated", "empty", "error", "late error", "broken", "stalled"],
)
def test_a_stream_is_judged_when_it_ends_and_not_by_its_status(stream: Answer) -> None:
    assert state_after(stream, stack=guarded) == "open"


def test_a_stream_that_ends_well_is_a_success() -> None:
    assert state_after(failed(), events("hello", "[DONE]"), failed(), stack=guarded, failures=2) == "closed"


def test_headers_alone_do_not_make_a_failure_forgotten() -> None:
    """The count is kept until the stream has ended."""
    breaker = CircuitBreaker(failures=2)
    rehearse(guarded(breaker), failed(), url=URL)
    counted: list[int] = []

    class Look:
        def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
            response = yield from proceed(request)
            counted.append(breaker.circuit(httpx.URL(URL)).breaker.fail_counter)
            return response

    rehearse(Stack(Look(), guarded(breaker)), events("hello", "more", "[DONE]"), url=URL)
    assert counted == [1]
    assert breaker.circuit(httpx.URL(URL)).breaker.fail_counter == 0


class Reading:
    """A caller who has got its answer, and does something else before it reads the body."""

    def __init__(self, meanwhile: Callable[[], object]) -> None:
        self.meanwhile = meanwhile

    def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
        response = yield from proceed(request)
        self.meanwhile()
        return response


def test_a_probe_whose_stream_delivers_holds_nobody_up() -> None:
    """An answer of minutes would refuse every other call until its last token."""
    breaker, clock = open_after()
    clock.pass_(5)
    others: list[History] = []
    stack = Stack(Reading(lambda: others.append(rehearse(guarded(breaker), ok(), url=URL, clock=clock))))
    probe = rehearse(stack + guarded(breaker), events("hello", "more", "[DONE]"), url=URL, clock=clock)
    assert [other.status for other in others] == [200]
    assert probe.events.index(CircuitClosed("http://foundry.local:5273")) < len(probe.events) - 1
    assert state_of(breaker) == "closed"


def test_until_its_first_event_with_content_the_probe_is_the_only_one() -> None:
    """A role is announced before anything was generated."""
    breaker, clock = open_after()
    clock.pass_(5)
    others: list[History] = []

    meanwhile = Reading(lambda: others.append(rehearse(guarded(breaker), url=URL, clock=clock)))
    stack = guarded(breaker) + Stack(meanwhile)  # further in than the guard: between the head and the first event
    rehearse(stack, events('{"choices": [{"delta": {"role": "assistant"}}]}', breaks="ReadError"), url=URL, clock=clock)
    assert [other.sent for other in others] == [0]
    assert state_of(breaker) == "open"


@pytest.mark.parametrize(("failures", "state"), [(1, "open"), (2, "closed")])
def test_a_probe_that_began_well_and_ends_badly_is_one_failure_after_it(failures: int, state: str) -> None:
    breaker, clock = open_after(failures)
    clock.pass_(5)
    rehearse(guarded(breaker), events("hello", breaks="ReadError"), url=URL, clock=clock)
    assert state_of(breaker) == state
    rehearse(guarded(breaker), failed(), url=URL, clock=clock)
    assert state_of(breaker) == "open"


def test_a_probe_that_ended_with_its_first_event_is_judged_by_its_end() -> None:
    breaker, clock = open_after()
    clock.pass_(5)
    probe = rehearse(guarded(breaker), events('{"error": {"type": "server_error"}}'), url=URL, clock=clock)
    assert CircuitClosed("http://foundry.local:5273") not in probe.events
    assert state_of(breaker) == "open"


def test_where_two_successes_are_asked_for_a_stream_is_one_of_them() -> None:
    breaker, clock = open_after(successes=2)
    clock.pass_(5)
    rehearse(guarded(breaker), events("hello", "more", "[DONE]"), url=URL, clock=clock)
    assert state_of(breaker) == "half-open"
    rehearse(guarded(breaker), events("hello", "more", "[DONE]"), url=URL, clock=clock)
    assert state_of(breaker) == "closed"


def test_a_probe_without_a_guard_is_judged_at_its_end() -> None:
    breaker, clock = open_after()
    clock.pass_(5)
    others: list[History] = []
    stack = Stack(Reading(lambda: others.append(rehearse(breaker, url=URL, clock=clock))), breaker)
    rehearse(stack, events("hello", "more", "[DONE]"), url=URL, clock=clock)
    assert [other.sent for other in others] == [0]
    assert state_of(breaker) == "closed"


def test_a_judge_that_raises_gives_the_probes_place_back() -> None:
    """Its error passes, and the circuit is not jammed until the lease ends."""
    words: list[Exception] = [ValueError("a mistake of mine")]

    def judge(status: int, headers: Mapping[str, str], body: bytes) -> Verdict:
        del status, headers, body
        if words and clock.now > 1000.0:
            raise words.pop()
        return Verdict.SERVER

    clock = VirtualTime()
    breaker = CircuitBreaker(failures=1, judge=judge)
    rehearse(breaker, failed(), url=URL, clock=clock)
    clock.pass_(5)
    mistaken = rehearse(breaker, failed(), url=URL, clock=clock)
    assert isinstance(mistaken.error, ValueError)
    assert rehearse(breaker, failed(), url=URL, clock=clock).sent == 1
    assert state_of(breaker) == "open"


@pytest.mark.parametrize("heard", ["CircuitHalfOpened", "CircuitClosed"])
def test_a_listener_that_raises_leaves_no_probe_behind(heard: str) -> None:
    def listener(event: object) -> None:
        if type(event).__name__ == heard:
            raise OSError("no mail server")

    breaker, clock = open_after()
    clock.pass_(5)
    rehearse(breaker, ok(), url=URL, clock=clock, listener=listener)
    assert rehearse(breaker, ok(), url=URL, clock=clock).status == 200


def blames_the_caller(status: int, headers: Mapping[str, str], body: bytes) -> Verdict:
    del status, headers
    return Verdict.CALLER if b"template" in body else Verdict.SERVER


def test_a_judge_may_blame_the_caller_for_a_500() -> None:
    assert state_after(failed(500, b"bad template"), judge=blames_the_caller) == "closed"
    assert state_after(failed(500, b"out of memory"), judge=blames_the_caller) == "open"


def test_a_judge_may_blame_the_caller_for_an_in_band_error() -> None:
    answer = events('{"error": {"message": "bad template"}}')
    assert state_after(answer, stack=guarded, judge=blames_the_caller) == "closed"


def test_the_judge_sees_the_first_kilobytes_of_a_failure_and_no_more() -> None:
    seen: list[int] = []

    def judge(status: int, headers: Mapping[str, str], body: bytes) -> Verdict:
        del status, headers
        seen.append(len(body))
        return Verdict.SERVER

    state_after(Answer(status=500, chunks=(b"x" * 5000,) * 10), judge=judge)
    assert seen == [8192]


def test_a_caller_who_stops_reading_a_good_answer_has_met_no_failure() -> None:
    """Break at the stop word: a success. Closed unread: it says too little."""
    breaker = CircuitBreaker(failures=2)
    rehearse(guarded(breaker), failed(), url=URL)
    rehearse(guarded(breaker), events("a", "b", "[DONE]"), url=URL, read=False)
    assert breaker.circuit(httpx.URL(URL)).breaker.fail_counter == 0
    rehearse(breaker, failed(), url=URL)
    rehearse(breaker, ok(), url=URL, read=False)
    assert breaker.circuit(httpx.URL(URL)).breaker.fail_counter == 1


def test_a_failure_closed_unread_is_a_failure() -> None:
    assert state_after(failed(502), read=False) == "open"


def test_an_interruption_in_the_middle_of_a_body_counts_as_nothing() -> None:
    """Ctrl-C while a stream is read says nothing of the server, and gives a probe's place to the next one."""

    class Interrupted(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield b"half"
            raise KeyboardInterrupt

    mock = httpx.MockTransport(lambda _: httpx.Response(200, stream=Interrupted()))
    breaker, clock = open_after()
    clock.pass_(5)
    probe, _ = breaker.circuit(httpx.URL(URL)).admit(clock.now)
    probe.release(clock.now)
    with httpx.Client(transport=Stack(breaker).over(mock)) as client, pytest.raises(KeyboardInterrupt):
        client.get(URL)
    assert state_of(breaker) == "half-open"
    assert rehearse(breaker, ok(), url=URL, clock=clock).status == 200


def test_an_upgrade_to_another_protocol_is_a_success_at_the_switch() -> None:
    assert state_after(failed(), Answer(status=101, chunks=()), failed(), failures=2) == "closed"


def test_an_answer_made_with_its_content_is_judged_as_well() -> None:
    """As test doubles make them: nothing is left to read when it comes by."""
    breaker = CircuitBreaker(failures=1)
    mock = httpx.MockTransport(lambda _: httpx.Response(500, text="bad"))
    with httpx.Client(transport=Stack(breaker).over(mock)) as client:
        client.get(URL)
        with pytest.raises(CircuitOpenError):
            client.get(URL)


# Circuits


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://a/x", "http://a/y?z"),
        ("http://a/", "http://a:80/"),
        ("https://a/", "https://a:443/"),
        ("http://A.example/", "http://a.EXAMPLE/"),
        ("http://user:word@a/", "http://a/"),
        ("http://[::1]:80/", "http://[::1]/"),
    ],
)
def test_urls_of_one_origin_share_a_circuit(one: str, other: str) -> None:
    breaker = CircuitBreaker()
    assert breaker.circuit(httpx.URL(one)) is breaker.circuit(httpx.URL(other))


@pytest.mark.parametrize(
    "url", ["http://a/x", "https://A.example:8443?y", "http://user:word@a:80/", "http://[::1]:8080/", "HTTP://a"]
)
def test_a_circuit_is_found_by_a_url_as_text_too(url: str) -> None:
    breaker = CircuitBreaker()
    assert breaker.circuit(url) is breaker.circuit(httpx.URL(url))


@pytest.mark.parametrize("text", ["", "localhost:5273", "/v1/models", "http://", "http://a:b/", "http://[::1"])
def test_a_text_that_is_no_url_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"such as 'http://127.0.0.1:5273', not to {text!r}")):
        CircuitBreaker().circuit(text)


@pytest.mark.parametrize("other", ["https://a/", "http://b/", "http://a:81/"])
def test_other_origins_have_circuits_of_their_own(other: str) -> None:
    breaker = CircuitBreaker()
    assert breaker.circuit(httpx.URL("http://a/")) is not breaker.circuit(httpx.URL(other))


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://Foundry.Local:5273/v1", "http://foundry.local:5273"),
        ("https://user:word@example.com/?key=secret", "https://example.com:443"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
    ],
)
def test_a_circuit_is_named_by_its_origin(url: str, name: str) -> None:
    assert origin(httpx.URL(url)) == name


def test_one_failing_origin_does_not_close_the_way_to_another() -> None:
    breaker, clock = open_after()
    assert rehearse(breaker, ok(), url="http://elsewhere/", clock=clock).status == 200


def test_the_circuits_used_last_are_kept() -> None:
    breaker = CircuitBreaker(max_origins=2)
    a, b = (breaker.circuit(httpx.URL(url)) for url in ("http://a/", "http://b/"))
    assert breaker.circuit(httpx.URL("http://a/")) is a
    breaker.circuit(httpx.URL("http://c/"))
    assert [circuit.name for circuit in breaker.circuits] == ["http://a:80", "http://c:80"]
    assert breaker.circuit(httpx.URL("http://b/")) is not b


def test_an_open_circuit_is_kept_longer_than_a_closed_one() -> None:
    """It is the one that remembers something."""
    breaker = CircuitBreaker(max_origins=2, failures=1)
    rehearse(breaker, failed(), url="http://bad/")
    for name in ("a", "b", "c"):
        rehearse(breaker, ok(), url=f"http://{name}/")
    assert [circuit.name for circuit in breaker.circuits] == ["http://bad:80", "http://c:80"]


def test_a_circuit_that_a_hand_holds_is_kept_longer_than_others() -> None:
    breaker = CircuitBreaker(max_origins=2)
    breaker.circuit("http://mine/").force_closed()
    for name in ("a", "b", "c"):
        rehearse(breaker, ok(), url=f"http://{name}/")
    assert [circuit.name for circuit in breaker.circuits] == ["http://mine:80", "http://c:80"]


def test_where_all_circuits_are_open_the_oldest_makes_room() -> None:
    breaker = CircuitBreaker(max_origins=2, failures=1)
    for name in ("a", "b", "c"):
        assert rehearse(breaker, failed(), url=f"http://{name}/").status == 500
    assert [circuit.name for circuit in breaker.circuits] == ["http://b:80", "http://c:80"]


def test_stacks_that_hold_the_same_breaker_share_its_circuits() -> None:
    breaker = CircuitBreaker(failures=1)
    rehearse(Stack(breaker), failed(), url=URL)
    assert rehearse(Stack(Deadline(9), breaker), url=URL).sent == 0


def test_equal_breakers_do_not_share_theirs() -> None:
    one, other = CircuitBreaker(failures=1), CircuitBreaker(failures=1)
    assert one == other
    rehearse(one, failed(), url=URL)
    assert rehearse(other, ok(), url=URL).sent == 1


def test_opening_and_closing_by_hand_is_respected_at_once() -> None:
    breaker = CircuitBreaker()
    theirs = breaker.circuit(httpx.URL(URL)).breaker
    assert isinstance(theirs, pybreaker.CircuitBreaker)
    theirs.open()
    assert rehearse(breaker, url=URL).sent == 0
    theirs.close()
    assert rehearse(breaker, ok(), url=URL).sent == 1


def test_storage_is_made_once_a_circuit_from_its_name() -> None:
    asked: list[str] = []

    def storage(name: str) -> pybreaker.CircuitBreakerStorage:
        asked.append(name)
        return pybreaker.CircuitMemoryStorage(pybreaker.STATE_CLOSED)

    breaker = CircuitBreaker(storage=storage)
    for url in ("http://a/1", "http://a/2", "http://b/"):
        rehearse(breaker, ok(), url=url)
    assert asked == ["http://a:80", "http://b:80"]


@pytest.mark.parametrize("look", range(1, 7))
def test_a_good_answer_stays_good_when_another_process_opens_the_circuit_meanwhile(look: int) -> None:
    class Shared(pybreaker.CircuitMemoryStorage):
        looks = 0

        @property
        def state(self) -> str:
            self.looks -= 1
            if self.looks == 0:
                self.opened_at = datetime.now(UTC)
            return "open" if self.opened_at else "closed"

        @state.setter
        def state(self, state: str) -> None:
            self._state = state

    shared = Shared(pybreaker.STATE_CLOSED)
    breaker = CircuitBreaker(storage=lambda _: shared)

    def answer(_: httpx.Request) -> httpx.Response:
        shared.looks = look
        return httpx.Response(200, text="good")

    with httpx.Client(transport=Stack(breaker).over(httpx.MockTransport(answer))) as client:
        assert client.get(URL).text == "good"


def test_a_last_attempt_that_loses_its_answer_is_counted_once() -> None:
    breaker = CircuitBreaker(failures=2)
    rehearse(breaker, lost(), url=URL)
    assert breaker.circuit(httpx.URL(URL)).breaker.fail_counter == 1


# Rates, and how long it stays open


def test_slow_is_what_takes_long_to_the_head_of_its_answer() -> None:
    breaker, clock = CircuitBreaker(slow_seconds=2.0, minimum_calls=1), VirtualTime()
    rehearse(breaker, Answer(chunks=(b"a", b"b"), pause=5.0, after=1.9), url=URL, clock=clock)
    assert state_of(breaker) == "closed"
    rehearse(breaker, ok(after=2.0), url=URL, clock=clock)
    assert state_of(breaker) == "open"


def test_slow_is_a_stream_that_takes_long_to_its_first_event_with_content() -> None:
    breaker, clock = CircuitBreaker(slow_seconds=2.0, minimum_calls=1), VirtualTime()
    role = '{"choices": [{"delta": {"role": "assistant"}}]}'
    rehearse(guarded(breaker), events("hello", *["more"] * 9, "[DONE]", pause=1.0), url=URL, clock=clock)
    assert state_of(breaker) == "closed"
    rehearse(guarded(breaker), events(role, "hello", "[DONE]", pause=1.0), url=URL, clock=clock)
    assert state_of(breaker) == "open"


def test_the_wait_before_an_attempt_makes_no_call_slow() -> None:
    """A queue of ours says nothing of the server."""
    breaker, clock = CircuitBreaker(slow_seconds=2.0, minimum_calls=1), VirtualTime()

    class Queue:
        def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
            clock.pass_(60.0)
            return (yield from proceed(request))

    rehearse(Stack(breaker, Queue()), ok(after=1.0), url=URL, clock=clock)
    assert state_of(breaker) == "closed"
    assert breaker.circuit(URL).snapshot(clock.now).calls == 1


def test_a_call_without_an_answer_may_have_been_slow_too() -> None:
    breaker, clock = CircuitBreaker(slow_seconds=2.0, minimum_calls=1, failures=9), VirtualTime()
    rehearse(breaker, lost(after=3.0), url=URL, clock=clock)
    assert state_of(breaker) == "open"


def test_a_503_that_opens_it_says_for_how_long() -> None:
    breaker, clock = CircuitBreaker(failures=1), VirtualTime()
    history = rehearse(breaker, busy(retry_after=20), url=URL, clock=clock)
    assert CircuitOpened("http://foundry.local:5273", 20.0, "retry_after") in history.events
    clock.pass_(19.9)
    assert rehearse(breaker, url=URL, clock=clock).sent == 0
    clock.pass_(0.1)
    assert rehearse(breaker, ok(), url=URL, clock=clock).status == 200


def test_a_date_does_as_well_as_seconds() -> None:
    breaker = CircuitBreaker(failures=1)
    answer = Answer(
        status=503,
        headers={"retry-after": "Sun, 06 Nov 1994 08:50:07 GMT", "date": "Sun, 06 Nov 1994 08:49:37 GMT"},
    )
    history = rehearse(breaker, answer, url=URL)
    assert CircuitOpened("http://foundry.local:5273", 30.0, "retry_after") in history.events


def test_one_429_closes_the_way_to_nobody_however_long_it_asks_for_rest() -> None:
    """It may speak of one caller only."""
    assert state_after(busy(status=429, retry_after=30)) == "closed"


# A cheap question before an expensive one


STATUS = "/status"
CircuitEvents = (CircuitOpened, CircuitHalfOpened, CircuitClosed, CircuitProbed)


def expensive(breaker: CircuitBreaker, *answers: Said, clock: VirtualTime, **settings: Any) -> History:
    """A call that costs the server much: a POST with a body."""
    return rehearse(
        breaker, *answers, url=URL.replace("models", "chat"), method="POST", content=b"prompt", clock=clock, **settings
    )


def asked(history: History) -> list[tuple[str, str]]:
    return [(request.method, request.url.path) for request in history.script.requests]


def test_a_cheap_probe_goes_out_before_the_callers_own_call() -> None:
    breaker, clock = open_after(probe=STATUS)
    clock.pass_(5)
    history = expensive(breaker, ok(b"running"), ok(b"answer"), clock=clock)
    assert asked(history) == [("GET", "/status"), ("POST", "/v1/chat")]
    assert history.script.bodies == [b"", b"prompt"]
    assert history.content == b"answer"
    assert [event for event in history.events if isinstance(event, CircuitEvents)] == [
        CircuitHalfOpened("http://foundry.local:5273"),
        CircuitProbed("http://foundry.local:5273", works=True),
        CircuitClosed("http://foundry.local:5273"),
    ]
    assert history.script.closed == {1: 1, 2: 1}


@pytest.mark.parametrize(
    "answer", [failed(), busy(), unsent(), lost(), Answer(breaks="ReadError"), failed(408)], ids=repr
)
def test_a_cheap_probe_that_fails_opens_it_again_and_the_call_is_refused_unsent(answer: Said) -> None:
    breaker, clock = open_after(probe=STATUS)
    clock.pass_(5)
    history = expensive(breaker, answer, clock=clock)
    assert isinstance(history.error, CircuitOpenError)
    assert history.error.retry_after == 10.0
    assert asked(history) == [("GET", "/status")]
    assert CircuitProbed("http://foundry.local:5273", works=False) in history.events
    assert state_of(breaker) == "open"


def test_what_a_cheap_probe_is_told_to_wait_is_the_break() -> None:
    breaker, clock = open_after(probe=STATUS)
    clock.pass_(5)
    history = expensive(breaker, busy(retry_after=40), clock=clock)
    assert isinstance(history.error, CircuitOpenError)
    assert history.error.retry_after == 40.0


@pytest.mark.parametrize("status", [401, 404, 405])
def test_an_answer_that_blames_the_probe_shows_that_the_server_works(status: int) -> None:
    breaker, clock = open_after(probe=STATUS)
    clock.pass_(5)
    assert expensive(breaker, failed(status), ok(), clock=clock).status == 200
    assert state_of(breaker) == "closed"


@pytest.mark.parametrize("answer", [busy(status=429), Failure(error="PoolTimeout")], ids=repr)
def test_where_the_cheap_probe_teaches_nothing_the_call_itself_is_the_probe(answer: Said) -> None:
    breaker, clock = open_after(probe=STATUS)
    clock.pass_(5)
    assert expensive(breaker, answer, failed(), clock=clock).status == 500
    assert state_of(breaker) == "open"


def test_as_many_cheap_probes_go_out_as_successes_are_asked_for() -> None:
    breaker, clock = open_after(probe=STATUS, successes=3)
    clock.pass_(5)
    history = expensive(breaker, ok(), ok(), ok(), ok(b"answer"), clock=clock)
    assert asked(history) == [("GET", "/status")] * 3 + [("POST", "/v1/chat")]
    assert history.content == b"answer"


def test_a_call_after_its_cheap_probe_is_a_call_like_any_other() -> None:
    breaker, clock = open_after(failures=2, probe=STATUS)
    clock.pass_(5)
    assert expensive(breaker, ok(), failed(), clock=clock).status == 500
    assert state_of(breaker) == "closed"


def test_a_closed_circuit_sends_no_probe() -> None:
    history = expensive(CircuitBreaker(probe=STATUS), ok(), clock=VirtualTime())
    assert asked(history) == [("POST", "/v1/chat")]


def test_a_cheap_probe_carries_the_callers_credentials_and_nothing_of_its_body() -> None:
    breaker, clock = open_after(probe="/status?deep=1")
    seen: list[httpx.Request] = []

    class Dressed:
        def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
            for name, value in {
                "authorization": "Bearer word",
                "x-api-key": "key",
                "content-type": "application/json",
                "content-encoding": "gzip",
                "idempotency-key": "1",
                "if-none-match": "x",
                "range": "bytes=0-",
                "expect": "100-continue",
            }.items():
                request.headers[name] = value
            return (yield from proceed(request))

    clock.pass_(5)
    history = rehearse(Stack(Dressed(), breaker), ok(), ok(), url=URL, method="POST", content=b"prompt", clock=clock)
    seen = history.script.requests
    assert str(seen[0].url) == "http://foundry.local:5273/status?deep=1"
    assert dict(seen[0].headers) == {
        "host": "foundry.local:5273",
        "authorization": "Bearer word",
        "x-api-key": "key",
    }
    assert seen[1].headers["content-length"] == "6"
    assert seen[1].headers["idempotency-key"] == "1"


@pytest.mark.parametrize(
    ("limits", "read"), [({"read": 60.0}, 3.0), ({"read": 1.0}, 1.0), ({"read": None}, 3.0), ({}, 3.0)]
)
def test_a_cheap_probe_is_not_waited_for_as_long_as_an_answer(limits: dict[str, float | None], read: float) -> None:
    breaker, clock = open_after(probe=STATUS)
    clock.pass_(5)
    began = clock.now
    history = expensive(breaker, ok(after=30.0), clock=clock, timeout=limits)
    assert isinstance(history.error, CircuitOpenError)
    assert clock.now - began == read


def test_a_longer_limit_of_the_stack_does_not_hold_for_a_cheap_probe() -> None:
    said_nothing: dict[str, float | None] = dict.fromkeys(("connect", "read", "write", "pool"), 5.0)
    breaker, clock = open_after(probe=STATUS)
    clock.pass_(5)
    began = clock.now
    rehearse(Stack(breaker, AttemptTimeout(read=50.0)), ok(after=30.0), url=URL, clock=clock, timeout=said_nothing)
    assert clock.now - began == 3.0


def test_an_endless_answer_to_a_cheap_probe_is_not_read() -> None:
    breaker, clock = open_after(probe=STATUS)
    clock.pass_(5)
    began = clock.now
    assert expensive(breaker, events(*["tick"] * 1000, pause=1.0), ok(), clock=clock).status == 200
    assert clock.now == began


def test_a_cancelled_cheap_probe_gives_its_place_to_the_next_one() -> None:
    breaker, clock = open_after(probe=STATUS)
    clock.pass_(5)
    rehearse(Stack(breaker, _Raising(KeyboardInterrupt())), url=URL, clock=clock)
    assert state_of(breaker) == "half-open"
    assert expensive(breaker, ok(), ok(), clock=clock).status == 200


def test_a_judge_that_raises_over_a_cheap_probe_gives_its_place_back() -> None:
    def judge(status: int, headers: Mapping[str, str], body: bytes) -> Verdict:
        del headers, body
        if status == 200:
            raise ValueError("a mistake of mine")
        return Verdict.SERVER

    breaker, clock = open_after(probe=STATUS, judge=judge)
    clock.pass_(5)
    assert isinstance(expensive(breaker, ok(), clock=clock).error, ValueError)
    assert asked(expensive(breaker, failed(), clock=clock)) == [("GET", "/status")]
    assert state_of(breaker) == "open"


def test_while_a_cheap_probe_is_under_way_others_are_refused() -> None:
    breaker, clock = open_after(probe=STATUS)
    clock.pass_(5)
    meanwhile: list[History] = []

    class Meanwhile:
        def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
            if not meanwhile:
                meanwhile.append(expensive(breaker, clock=clock))
            return (yield from proceed(request))

    rehearse(Stack(breaker, Meanwhile()), ok(), ok(), url=URL, clock=clock)
    assert meanwhile[0].sent == 0
    assert isinstance(meanwhile[0].error, CircuitOpenError)


def test_the_deadline_of_the_call_holds_for_its_cheap_probe() -> None:
    breaker, clock = open_after(probe=STATUS)
    clock.pass_(5)
    began = clock.now
    history = rehearse(Stack(Deadline(1.0), breaker), ok(after=30.0), url=URL, clock=clock)
    assert history.error is not None
    assert clock.now - began == pytest.approx(1.0)


# A hand on it, and only watching


def test_held_open_by_hand_nothing_is_sent() -> None:
    breaker = CircuitBreaker()
    breaker.circuit(URL).force_open()
    history = rehearse(breaker, url=URL)
    assert history.sent == 0
    assert history.events[-1] == CallRejected("http://foundry.local:5273", None)


def test_held_closed_by_hand_everything_is_sent() -> None:
    breaker = CircuitBreaker(failures=1)
    breaker.circuit(URL).force_closed()
    assert [rehearse(breaker, failed(), url=URL).sent for _ in range(5)] == [1] * 5


def test_a_refused_call_tells_of_the_hand_that_opened_the_circuit() -> None:
    breaker = CircuitBreaker()
    breaker.circuit(URL).breaker.open()
    assert rehearse(breaker, url=URL).events == [
        CircuitOpened("http://foundry.local:5273", 5.0, "by_hand"),
        CallRejected("http://foundry.local:5273", 5.0),
    ]


def test_one_that_only_watches_tells_what_it_would_have_refused_and_refuses_nothing() -> None:
    breaker, clock = open_after(watch_only=True)
    history = rehearse(breaker, ok(), url=URL, clock=clock)
    assert history.status == 200
    assert CallRejected("http://foundry.local:5273", 5.0, watched_only=True) in history.events
    assert state_of(breaker) == "open", "what would have been refused teaches nothing"
    clock.pass_(5)
    rehearse(breaker, ok(), url=URL, clock=clock)
    assert state_of(breaker) == "closed"


def test_one_that_only_watches_sends_no_requests_of_its_own() -> None:
    breaker, clock = open_after(watch_only=True, probe=STATUS)
    clock.pass_(5)
    assert asked(expensive(breaker, ok(), clock=clock)) == [("POST", "/v1/chat")]


def test_a_hand_holds_open_also_what_only_watches() -> None:
    breaker = CircuitBreaker(watch_only=True)
    breaker.circuit(URL).force_open()
    assert rehearse(breaker, url=URL).sent == 0


def test_an_error_of_a_call_that_is_only_watched_is_as_it_would_be_without_a_breaker() -> None:
    breaker, clock = open_after(watch_only=True)
    error = rehearse(breaker, unsent(), url=URL, clock=clock).error
    assert isinstance(error, httpx.ConnectError)
    assert error.__context__ is None


@pytest.mark.parametrize(
    ("settings", "error", "sentence"),
    [
        ({"failures": 0}, ValueError, r"CircuitBreaker\.failures is at least 1, not 0"),
        ({"failures": 2.5}, TypeError, r"CircuitBreaker\.failures is a whole number, not 2\.5"),
        ({"open_seconds": 0}, ValueError, r"CircuitBreaker\.open_seconds is more than 0, not 0"),
        ({"successes": 0}, ValueError, r"CircuitBreaker\.successes is at least 1, not 0"),
        ({"probe_lease": -1}, ValueError, r"CircuitBreaker\.probe_lease is more than 0, not -1"),
        ({"failures": None}, ValueError, r"so failure_rate or slow_seconds is a number, not None"),
        ({"failure_rate": 0}, ValueError, r"CircuitBreaker\.failure_rate is more than 0, not 0"),
        ({"failure_rate": 1.1}, ValueError, r"CircuitBreaker\.failure_rate is at most 1, not 1\.1"),
        ({"slow_rate": 50}, ValueError, r"CircuitBreaker\.slow_rate is at most 1, not 50"),
        ({"slow_seconds": 0}, ValueError, r"CircuitBreaker\.slow_seconds is more than 0, not 0"),
        ({"window": 0}, ValueError, r"CircuitBreaker\.window is more than 0, not 0"),
        ({"minimum_calls": 0}, ValueError, r"CircuitBreaker\.minimum_calls is at least 1, not 0"),
        ({"growth": 0.5}, ValueError, r"CircuitBreaker\.growth is at least 1, not 0\.5"),
        ({"longest_open": 0}, ValueError, r"CircuitBreaker\.longest_open is more than 0, not 0"),
        ({"probe": "status"}, ValueError, r"CircuitBreaker\.probe is a path such as '/status', or None, not 'status'"),
        ({"watch_only": 1}, TypeError, r"CircuitBreaker\.watch_only is True or False, not 1"),
        ({"max_origins": 0}, ValueError, r"CircuitBreaker\.max_origins is at least 1, not 0"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, Any], error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        CircuitBreaker(**settings)


def test_a_storage_that_makes_no_storages_is_refused_when_the_breaker_is_made() -> None:
    """It may hold a password, so it is told by its kind."""
    with pytest.raises(TypeError, match=r'such as redis_storage\("redis://127\.0\.0\.1/0"\); it is not str'):
        CircuitBreaker(storage="redis://:secret@x")  # type: ignore[arg-type]


def test_a_storage_may_be_made_by_code_that_uses_the_breaker() -> None:
    """It is called without a lock of ours."""
    breakers: list[CircuitBreaker] = []

    def storage(name: str) -> pybreaker.CircuitBreakerStorage:
        assert [circuit.name for circuit in breakers[0].circuits if circuit.name == name] == []
        return pybreaker.CircuitMemoryStorage(pybreaker.STATE_CLOSED)

    breakers.append(CircuitBreaker(storage=storage))
    assert rehearse(breakers[0], ok()).status == 200
