"""Faults made on purpose, over real sockets: they look as the network's own, and leave nothing behind."""

from __future__ import annotations

from typing import Any

import pytest

from resilient_foundry import (
    AttemptTimeout,
    Backoff,
    Chaos,
    CircuitBreaker,
    Deadline,
    DeadlineExceededError,
    Retry,
    Stack,
    StreamGuard,
)
from resilient_foundry.events import ChaosInjected, Outcome
from resilient_foundry.testing import ok, rehearse
from tests.servers import Server, replies, streams
from tests.ways import Way, assert_nothing_is_under_way, ledger_of

AT_ONCE = Backoff(base=0, cap=0)
EVENTS = streams("one", "two", "three")
WHOLE = b"data: one\n\ndata: two\n\ndata: three\n\ndata: [DONE]\n\n"


def injected(carrier: Any) -> list[str]:
    return [event.fault for _, event in ledger_of(carrier).events if isinstance(event, ChaosInjected)]


def breaking(fault: str, **settings: Any) -> Chaos:
    return Chaos(on=True, seed=1, stream_rate=1, stream_faults=(fault,), **settings)


@pytest.mark.parametrize("error", ["ConnectError", "WriteError", "ReadError", "RemoteProtocolError"])
def test_an_error_is_the_librarys_own(way: Way, error: str) -> None:
    with Server(replies(200)) as server:
        client = way.client(Stack(Chaos(on=True, error_rate=1, errors=(error,))))
        with pytest.raises(getattr(way.library, error), match=f"chaos: {error}") as caught:
            client.get(server.url)
        assert injected(caught.value) == [error]
        assert len(server.asked) == (1 if error in {"ReadError", "RemoteProtocolError"} else 0)
        assert_nothing_is_under_way(client.transport)


def test_a_timeout_takes_its_time(way: Way) -> None:
    client = way.client(Stack(AttemptTimeout(connect=0.01), Chaos(on=True, error_rate=1, errors=("ConnectTimeout",))))
    with pytest.raises(way.library.ConnectTimeout) as caught:
        client.get("http://127.0.0.1:9/")
    assert ledger_of(caught.value).events[-1][0] < 5


def test_an_answer_that_no_server_gave_is_an_answer(way: Way) -> None:
    client = way.client(Stack(Chaos(on=True, status_rate=1, statuses=(429,), retry_after=3)))
    response = client.get("http://127.0.0.1:9/")
    assert (response.status_code, response.headers["retry-after"], response.content) == (429, "3", b"chaos")


def test_a_latency_ends_with_the_deadline(way: Way) -> None:
    client = way.client(Stack(Deadline(0.05), Chaos(on=True, latency_rate=1, latency=3600)))
    with pytest.raises(DeadlineExceededError) as caught:
        client.get("http://127.0.0.1:9/")
    assert isinstance(caught.value, way.library.TimeoutException)


def test_a_body_is_cut_in_the_middle(way: Way) -> None:
    with Server(EVENTS) as server:
        client = way.client(Stack(breaking("cut", stream_after=15)))
        with client.stream("GET", server.url) as streamed:
            pieces: list[bytes] = []
            with pytest.raises(way.library.ReadError, match="chaos") as caught:
                pieces.extend(iter(streamed.next, None))
        assert b"".join(pieces) == WHOLE[:15]
        (attempt,) = ledger_of(caught.value).attempts
        assert (attempt.outcome, attempt.bytes) == (Outcome.BROKEN, 15)
        assert_nothing_is_under_way(client.transport)


def test_a_body_is_truncated(way: Way) -> None:
    with Server(EVENTS) as server:
        client = way.client(Stack(breaking("truncated", stream_after=15)))
        assert client.get(server.url).content == WHOLE[:15]
        assert_nothing_is_under_way(client.transport)


def test_a_body_stalls_up_to_its_limit(way: Way) -> None:
    with Server(EVENTS) as server:
        client = way.client(Stack(AttemptTimeout(idle=0.05), breaking("stalled", stream_after=1)))
        with pytest.raises(way.library.ReadTimeout) as caught:
            client.get(server.url)
        assert [attempt.outcome for attempt in ledger_of(caught.value).attempts] == [Outcome.STALLED]
        assert_nothing_is_under_way(client.transport)


def test_a_stall_goes_on_after_its_time(way: Way) -> None:
    with Server(EVENTS) as server:
        client = way.client(Stack(breaking("stalled", stream_after=1, stall=0.01)))
        assert client.get(server.url).content == WHOLE


def test_a_stalled_stream_meets_the_limits_of_a_guard(way: Way) -> None:
    """They hold for what is told as they would for what comes off the wire."""
    with Server(EVENTS) as server:
        chaos = breaking("stalled", stream_after=1, stall=0.5)
        client = way.client(Stack(AttemptTimeout(idle=0.05), StreamGuard(progress=0.1, first_event=0.1), chaos))
        with pytest.raises(way.library.ReadTimeout):
            client.get(server.url)
        assert_nothing_is_under_way(client.transport)


def test_a_stream_that_reports_an_error_is_tried_again_until_chaos_ends(way: Way) -> None:
    with Server(EVENTS) as server:
        chaos = breaking("error", stream_after=0)
        client = way.client(Stack(Retry(attempts=3, backoff=AT_ONCE), CircuitBreaker(), StreamGuard(), chaos))
        response = client.get(server.url)
        assert b'"error"' in response.content
        assert [attempt.outcome for attempt in ledger_of(response).attempts] == [Outcome.IN_BAND_ERROR] * 3
        chaos.switch.off()
        assert client.get(server.url).content == WHOLE
        assert_nothing_is_under_way(client.transport)


def test_a_body_left_in_the_middle_of_chaos_is_closed(way: Way) -> None:
    with Server(EVENTS) as server:
        client = way.client(Stack(breaking("stalled", stream_after=1)))
        with client.stream("GET", server.url) as streamed:
            assert streamed.next()
        assert_nothing_is_under_way(client.transport)


def test_a_seed_makes_the_same_faults_in_every_way(way: Way) -> None:
    """What went wrong in one colour is played again in another, or in a rehearsal."""

    def chaos() -> Chaos:
        return Chaos(on=True, seed=11, error_rate=0.3, status_rate=0.2, latency_rate=0.2, latency=(0, 0.001))

    rehearsed = chaos()
    expected = [injected(played.response or played.error) for played in (rehearse(rehearsed, ok()) for _ in range(30))]
    with Server(replies(200)) as server:
        client = way.client(Stack(chaos()))
        seen: list[list[str]] = []
        for _ in range(30):
            try:
                seen.append(injected(client.get(server.url)))
            except way.library.TransportError as error:
                seen.append(injected(error))
    assert seen == expected
    assert {len(faults) for faults in seen} == {0, 1}


def test_callers_through_chaos_get_what_retry_can_save(way: Way) -> None:
    """A third of the requests go wrong, in every way there is; forty calls come through, and nothing is left."""
    chaos = Chaos(
        on=True,
        seed=5,
        error_rate=0.1,
        errors=("ConnectError", "ReadError", "RemoteProtocolError"),
        status_rate=0.1,
        latency_rate=0.05,
        latency=0.001,
        stream_rate=0.1,
        stream_faults=("cut", "truncated", "error"),
        stream_after=0,
    )
    stack = Stack(Retry(attempts=8, backoff=AT_ONCE), CircuitBreaker(failures=20), StreamGuard(done="[DONE]"), chaos)
    with Server(EVENTS) as server:
        client = way.client(stack)
        calls = way.together(40, lambda: client.get(server.url))
        assert [call.result().content for call in calls] == [WHOLE] * 40
        assert_nothing_is_under_way(client.transport)
