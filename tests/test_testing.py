"""The stage on which policies are rehearsed."""

from types import ModuleType
from typing import Any, Literal

import anyio
import httpx
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_foundry import AttemptTimeout, Backoff, Deadline, Retry, Stack
from resilient_foundry.events import Outcome
from resilient_foundry.flow import Flow, Proceed, Request, Response, Source, pour, pull
from resilient_foundry.foundry import AsyncFoundryClient, FoundryClient
from resilient_foundry.testing import (
    Answer,
    Failure,
    VirtualTime,
    busy,
    events,
    failed,
    lost,
    no_leaks,
    ok,
    on,
    rehearse,
    run_on,
    scripted,
    unsent,
)
from tests.ways import ledger_of, over

LIBRARIES = [httpx, httpx2]
Backend = Literal["asyncio", "trio"]


def test_a_rehearsal_takes_no_time_of_its_own() -> None:
    history = rehearse(Retry(attempts=3), busy(retry_after=3600), busy(retry_after=60), ok(after=5), url="http://x/")
    assert history.waits == []  # an hour is more than Retry obeys without a deadline
    history = rehearse(Retry(attempts=3, longest_wait=1e5), busy(retry_after=3600), ok(after=5))
    assert (history.waits, history.elapsed) == ([3600.0], 3605.0)


def test_one_clock_can_be_handed_through_several_calls() -> None:
    clock = VirtualTime(now=50.0)
    rehearse(Retry(), ok(after=2), clock=clock)
    assert clock() == 52.0
    assert rehearse(Retry(), ok(after=1), clock=clock).elapsed == 1.0


def test_a_script_that_is_too_short_fails_the_test() -> None:
    """Shown as an error of the call, it would look like a decision of the policy."""
    with pytest.raises(AssertionError, match="the script has 1 answers, and was asked once more"):
        rehearse(Retry(attempts=2), lost())


class Mistaken:
    """A policy whose story of a body fails the test that it stands in."""

    def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
        response = yield from proceed(request)
        yield from pour(response, self.story)
        return response

    def story(self, source: Source) -> Flow[None]:
        yield from pull(source)
        raise AssertionError


def test_a_test_that_fails_while_a_body_is_read_leaves_it_closed() -> None:
    """Else a warning of an answer that was never closed comes up in some other test."""
    with no_leaks(), pytest.raises(AssertionError):
        rehearse(Mistaken(), ok())


def test_every_other_error_is_shown() -> None:
    assert isinstance(rehearse(Retry(), lost(), method="POST").error, httpx.ReadError)


def test_a_head_that_comes_too_late_is_a_timeout_at_the_limit() -> None:
    history = rehearse(AttemptTimeout(read=3), ok(after=4))
    assert isinstance(history.error, httpx.ReadTimeout)
    assert history.elapsed == 3.0


def test_a_chunk_that_comes_too_late_is_a_timeout_at_the_limit() -> None:
    history = rehearse(AttemptTimeout(read=3, idle=1), events("a", "b", pause=4))
    assert isinstance(history.error, httpx.ReadTimeout)
    assert (history.elapsed, history.status, history.content) == (3.0, 200, b"")


@pytest.mark.parametrize(
    ("failure", "limit", "late"),
    [
        ("ConnectError", "connect", httpx.ConnectTimeout),
        ("PoolTimeout", "pool", httpx.PoolTimeout),
        ("WriteError", "write", httpx.WriteTimeout),
        ("ReadError", "read", httpx.ReadTimeout),
    ],
)
def test_a_phase_that_takes_too_long_times_out_in_that_phase(failure: str, limit: str, late: type[Exception]) -> None:
    history = rehearse(Stack(), Failure(error=failure, after=9), timeout={limit: 2.0})
    assert type(history.error) is late
    assert history.elapsed == 2.0


def test_a_body_that_breaks_is_shown_as_far_as_it_came() -> None:
    history = rehearse(Stack(), Answer(chunks=(b"one", b"two"), breaks="ReadError"))
    assert history.content == b"onetwo"
    assert isinstance(history.error, httpx.ReadError)
    assert history.ledger.attempts[0].outcome is Outcome.BROKEN


def test_an_answer_may_be_left_unread() -> None:
    history = rehearse(Stack(), ok(), read=False)
    assert (history.status, history.content) == (200, b"")
    assert history.ledger.attempts[0].outcome is Outcome.ABANDONED
    assert history.script.closed == {1: 1}


def test_a_connection_that_never_came_about_reads_no_body() -> None:
    """As httpx does: so a generator can still be sent after it."""
    history = rehearse(Retry(attempts=2), unsent(), ok(), content=iter([b"one", b"two"]), method="PUT")
    assert history.sent == 2
    assert history.script.bodies == [b"onetwo"]


@given(draw=st.floats(0, 1, exclude_max=True))
def test_chance_is_what_the_test_says(draw: float) -> None:
    history = rehearse(Retry(backoff=Backoff(base=1)), lost(), ok(), draw=lambda: draw)
    assert history.waits == [draw]


def test_words_of_a_script() -> None:
    assert ok(b"") == Answer(chunks=())
    assert busy(retry_after=2.5).headers == {"retry-after": "2.5"}
    assert busy(retry_after="soon", status=429) == Answer(
        status=429, headers={"retry-after": "soon"}, chunks=(b"busy",)
    )
    assert failed(502, b"x", after=1) == Answer(status=502, chunks=(b"x",), after=1)
    assert events("a").chunks == (b"data: a\n\n",)
    assert unsent(after=1) == Failure(error="ConnectError", after=1)
    assert lost() == Failure(error="ReadError")


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda module: module.__name__)
@pytest.mark.anyio
async def test_a_scripted_transport_serves_both_colours(library: ModuleType) -> None:
    transport = scripted(ok(b"one"), events("two"), module=library)
    async with library.AsyncClient(transport=transport) as client:
        response = await client.post("http://foundry.local/", content=b"asked")
    assert response.content == b"one"
    await anyio.lowlevel.checkpoint()
    with library.Client(transport=transport) as client:
        assert client.get("http://foundry.local/").content == b"data: two\n\n"
    assert transport.script.bodies == [b"asked", b""]
    assert transport.script.closed == {1: 1, 2: 1}


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda module: module.__name__)
def test_a_scripted_transport_fails_in_the_librarys_own_words(library: ModuleType) -> None:
    with library.Client(transport=scripted(lost(), module=library)) as client, pytest.raises(library.ReadError):
        client.get("http://foundry.local/")


def test_what_is_no_policy_and_no_answer_is_a_mistake_of_the_test() -> None:
    """It must not lie in `history.error`, where a weak test would not look."""
    anything: Any = rehearse
    with pytest.raises(TypeError, match=r"write Retry\(\)"):
        anything(Retry, ok())
    with pytest.raises(TypeError, match="a script is made of Answer and Failure"):
        anything(Retry(), 200)


def name_of(module: ModuleType) -> Literal["httpx", "httpx2"]:
    return "httpx2" if module is httpx2 else "httpx"


STATUS = Answer(chunks=(b'{"endpoints": [], "modelCachePath": "/models", "pid": 1}',))
HELLO = events('{"choices":[{"delta":{"content":"Hi"}}]}', '{"choices":[{"finish_reason":"stop"}]}', "[DONE]", pause=3)


@pytest.mark.parametrize("module", [httpx, httpx2])
def test_a_real_client_lives_on_a_virtual_clock(module: ModuleType) -> None:
    """Seconds asked for, backoff and the pauses of a stream pass at once, and to the millisecond."""
    clock = VirtualTime()
    answers = scripted(STATUS, busy(retry_after=7), busy(), HELLO, module=module, clock=clock)
    with (
        on(clock),
        FoundryClient("http://foundry.invalid", model="m:1", library=name_of(module), transport=answers) as client,
    ):
        assert [chunk.content for chunk in client.stream_complete("Hello")] == ["Hi", ""]
    assert clock.now == pytest.approx(1000 + 7 + 0.1 + 9)


@pytest.mark.parametrize("module", [httpx, httpx2])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_asynchronous_client_lives_on_a_virtual_clock(module: ModuleType, backend: Backend) -> None:
    """Its event loop jumps to the next timer, so its waits are those of the synchronous client."""
    clock = VirtualTime()
    answers = scripted(STATUS, busy(retry_after=7), busy(), HELLO, module=module, clock=clock)

    async def ask() -> list[str]:
        async with AsyncFoundryClient(
            "http://foundry.invalid", model="m:1", library=name_of(module), transport=answers
        ) as client:
            return [chunk.content async for chunk in client.stream_complete("Hello")]

    assert run_on(clock, ask, backend=backend) == ["Hi", ""]
    assert clock.now == pytest.approx(1000 + 7 + 0.1 + 9)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_tasks_in_a_virtual_loop_wait_side_by_side(backend: Backend) -> None:
    """Two who wait for 5 and for 8 seconds have waited 8 in all."""
    clock = VirtualTime()

    async def main() -> list[float]:
        ends: list[float] = []

        async def wait(seconds: float) -> None:
            await anyio.sleep(seconds)
            ends.append(clock.now - 1000)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait, 8)
            tasks.start_soon(wait, 5)
        return ends

    assert run_on(clock, main, backend=backend) == [pytest.approx(5), pytest.approx(8)]


def test_what_is_made_outside_the_block_keeps_the_real_time() -> None:
    """A virtual clock is for the transports that are made on it."""
    clock = VirtualTime()
    with on(clock):
        inside = over(Stack(Deadline(5.0)), scripted(ok(), clock=clock))
    outside = over(Stack(Deadline(5.0)), scripted(ok()))
    with httpx.Client(transport=inside) as client:
        assert ledger_of(client.get("http://foundry.invalid")).started == 1000
    with httpx.Client(transport=outside) as client:
        assert ledger_of(client.get("http://foundry.invalid")).started != 1000
