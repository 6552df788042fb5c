"""stamina's own switches and hooks mean what its users expect, in every way."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import stamina
from stamina.instrumentation import RetryDetails, get_on_retry_hooks, set_on_retry_hooks

from resilient_foundry import Backoff, CircuitBreaker, Retry, Stack
from tests.servers import Server, closed_port, replies, script
from tests.ways import Way, ledger_of

HOUR = {"retry-after": "3600"}


@pytest.fixture
def told() -> Iterator[list[RetryDetails]]:
    """What stamina's hooks are told."""
    before = get_on_retry_hooks()
    told: list[RetryDetails] = []

    def hook(details: RetryDetails) -> None:
        told.append(details)

    set_on_retry_hooks([hook])
    try:
        yield told
    finally:
        set_on_retry_hooks(before)


def test_inactive_is_transparent(way: Way) -> None:
    """One request goes out, and its answer is handed over as it came."""
    with Server(replies(503, b"busy")) as server:
        client = way.client(Stack(Retry()))
        stamina.set_active(False)
        try:
            response = client.get(server.url)
        finally:
            stamina.set_active(True)
        assert (response.status_code, response.content) == (503, b"busy")
        assert len(server.asked) == 1


def test_testing_takes_the_waits_out_and_sets_the_attempts(way: Way) -> None:
    """A server that asks for an hour is asked again at once, as often as the test says."""
    with Server(replies(503, b"busy", HOUR)) as server:
        client = way.client(Stack(Retry(attempts=3, longest_wait=4000.0), CircuitBreaker()))
        with stamina.set_testing(True, attempts=2):
            response = client.get(server.url)
        assert (response.status_code, response.content) == (503, b"busy")
        assert len(server.asked) == 2
        assert ledger_of(response).waits == [0.0, 0.0][: len(ledger_of(response).waits)]


def test_hooks_are_told_of_each_retry_and_of_no_secret(way: Way, told: list[RetryDetails]) -> None:
    """The name is method and origin, without path, query and credentials; numbers and waits are stamina's."""
    with Server(script(replies(503), replies(502), replies(200))) as server:
        client = way.client(Stack(Retry(backoff=Backoff(base=0.0))))
        url = server.url.replace("http://", "http://user:secret@")
        client.get(f"{url}/secret?key=secret", headers={"authorization": "secret"})
        assert [(each.retry_num, each.wait_for, each.name) for each in told] == [
            (1, 0.0, f"GET {server.url}"),
            (2, 0.0, f"GET {server.url}"),
        ]
        assert [str(each.caused_by) for each in told] == ["503", "502"]
        assert "secret" not in repr(told)
        assert all((each.args, each.kwargs) == ((), {}) for each in told)


def test_hooks_are_told_of_errors_by_their_own_class(way: Way, told: list[RetryDetails]) -> None:
    """What failed is the library's error, as the caller would see it."""
    client = way.client(Stack(Retry(attempts=2, backoff=Backoff(base=0.0))))
    with pytest.raises(way.library.ConnectError) as caught:
        client.get(closed_port())
    (only,) = told
    assert isinstance(only.caused_by, way.library.ConnectError)
    assert only.caused_by is not caught.value


def test_a_call_that_succeeds_at_once_tells_nobody(way: Way, told: list[RetryDetails]) -> None:
    """The first attempt does not even enter stamina."""
    with Server(replies(200)) as server:
        way.client(Stack(Retry())).get(server.url)
        assert told == []
