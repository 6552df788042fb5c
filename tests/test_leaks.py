"""What calls leave behind, and who finds it."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from resilient_foundry import CircuitBreaker, ConcurrencyLimit, Retry, Stack
from resilient_foundry.holders import all_of
from resilient_foundry.leaks import LeakError, no_leaks
from resilient_foundry.testing import Answer, ok, scripted
from tests._transports.conftest import way as way  # noqa: PLC0414 - the fixture of the six ways
from tests.over import over
from tests.servers import Conversation, Server, replies
from tests.ways import LIBRARIES, Way

pytest_plugins = ["pytester"]

EVENTS = {"content-type": "text/event-stream"}


def half(talk: Conversation) -> None:
    """One chunk, and silence."""
    talk.begin_stream("text/plain")
    talk.chunk(b"one")
    talk.wait_for_the_client_to_leave()


def left_by(work: Callable[[], object]) -> list[str]:
    """What this leaves behind."""
    try:
        with no_leaks():
            work()
    except LeakError as error:
        return error.leaks
    return []


def test_calls_that_are_read_or_closed_leave_nothing(way: Way) -> None:
    with Server(replies(200, b"here")) as server, no_leaks():
        client = way.client(Stack(Retry(), CircuitBreaker()))
        assert client.get(server.url).content == b"here"
        with client.stream("GET", server.url):
            pass


def test_an_answer_that_is_left_open_is_found(way: Way) -> None:
    with Server(half) as server, ExitStack() as later:
        client = way.client(Stack(Retry()))
        (left,) = left_by(lambda: later.enter_context(client.stream("GET", server.url)))
        assert left.startswith("the answer to attempt 1 (200), asked for at ")
        assert left.endswith(", was not closed")


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> Any:
    """Each library in turn."""
    return LIBRARIES[request.param]


def test_the_line_that_is_named_is_the_programs_own(library: Any) -> None:
    with Server(half) as server, library.Client(transport=over(Stack(Retry()), library.HTTPTransport())) as client:
        kept: list[Any] = []
        (left,) = left_by(lambda: kept.append(client.send(client.build_request("GET", server.url), stream=True)))
        assert "asked for at test_leaks.py:" in left
        kept[0].close()


def test_an_answer_that_was_collected_unclosed_is_found(library: Any) -> None:
    """Its connection is lost to the pool, and nobody can close it any more."""

    def forget() -> None:
        client.send(client.build_request("GET", server.url), stream=True)
        gc.collect()

    with Server(half) as server, library.Client(transport=over(Stack(Retry()), library.HTTPTransport())) as client:
        with pytest.warns(ResourceWarning, match="was never closed"):
            (left,) = left_by(forget)
        assert left.endswith("was not closed")


def test_a_connection_that_is_busy_without_an_answer_is_found() -> None:
    """As when a request was begun beside our back, and never read."""
    transport = httpx.HTTPTransport()
    with Server(half) as server, httpx.Client(transport=Stack(Retry()).over(transport)):
        kept: list[httpx.Response] = []
        (left,) = left_by(lambda: kept.append(transport.handle_request(httpx.Request("GET", server.url))))
        assert left.startswith("a connection is still busy: <HTTPConnection ['http://127.0.0.1:")
        kept[0].close()


def test_a_probe_that_is_never_given_back_is_found() -> None:
    circuit = CircuitBreaker(failures=1).circuit("http://foundry.local:5273")
    circuit.breaker.half_open()
    permits: list[Any] = []
    assert left_by(lambda: permits.append(circuit.admit(0.0)[0])) == [
        "the place of the probe of the circuit for http://foundry.local:5273 was not given back"
    ]
    permits[0].release(0.0)


def test_a_place_of_a_limiter_that_is_never_given_back_is_found() -> None:
    """Such as that of an answer which nobody closes."""
    kept, transport = ExitStack(), over(Stack(ConcurrencyLimit(2)), scripted(ok(), ok()))
    client = kept.enter_context(httpx.Client(transport=transport))
    answer, place = left_by(lambda: kept.enter_context(client.stream("GET", "http://foundry.local/")))
    assert answer.endswith(", was not closed")
    assert place == "a place in the concurrency limit of http://foundry.local:80 was not given back"
    kept.close()


def test_a_place_that_is_kept_for_a_call_which_was_given_up_is_no_leak() -> None:
    lingering = over(Stack(ConcurrencyLimit(2, linger=60.0)), scripted(Answer(headers=EVENTS, chunks=(b":",))))
    with httpx.Client(transport=lingering) as client, no_leaks(), client.stream("GET", "http://foundry.local/"):
        pass


def test_what_was_left_before_is_not_this_blocks_matter() -> None:
    with Server(half) as server, httpx.Client(transport=Stack(Retry()).over(httpx.HTTPTransport())) as client:
        response = client.send(client.build_request("GET", server.url), stream=True)
        assert left_by(lambda: None) == []
        assert left_by(response.close) == []


def test_an_error_in_the_block_passes_as_itself() -> None:
    with pytest.raises(ZeroDivisionError), no_leaks():
        raise ZeroDivisionError


def test_it_is_a_fixture_for_the_tests_of_others(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made known by one line in a conftest.py."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))
    pytester.makeconftest('pytest_plugins = ["resilient_foundry.pytest_plugin"]')
    pytester.makepyfile(
        """
        import httpx
        import pytest
        from resilient_foundry import Retry, Stack
        from resilient_foundry.testing import ok, scripted

        pytestmark = pytest.mark.usefixtures("no_leaks")
        kept = []

        def send():
            client = httpx.Client(transport=Stack(Retry()).over(scripted(ok(b"one"))))
            return client.send(client.build_request("GET", "http://a/"), stream=True)

        def test_good():
            assert send().read() == b"one"

        def test_bad():
            kept.append(send())
        """
    )
    outcome = pytester.runpytest_subprocess("-p", "no:randomly", "-p", "no:xdist")
    outcome.assert_outcomes(passed=2, errors=1)
    outcome.stdout.fnmatch_lines(["*LeakError: the answer to attempt 1 (200), asked for at *.py:11, was not closed*"])


class Thing:
    """Something that lives."""


class Growing(weakref.WeakSet[Thing]):
    """A set into which another thread puts something while it is looked through for the first time."""

    late: Thing | None = None

    def __iter__(self) -> Iterator[Thing]:
        things = super().__iter__()
        yield next(things)
        if self.late is None:
            self.late = Thing()
            self.add(self.late)
        yield from things


def test_what_other_threads_make_meanwhile_disturbs_nobody_who_looks() -> None:
    """A test may look for leaks while others make transports and circuits."""
    living, there = Growing(), [Thing(), Thing()]
    living.update(there)
    assert set(all_of(living)) == {*there, living.late}
