"""A second layer of retries is said once, below ours and above it; where there is one layer, nothing is said."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, cast

import pytest

from resilient_foundry import Backoff, CircuitBreaker, Deadline, Retry, Stack, wrap
from tests.servers import Server, replies
from tests.ways import Way, over

RETRYING = Stack(Retry(attempts=2, backoff=Backoff(base=0.0)))
BELOW = r"^the transport underneath has retries=3, .*: their attempts multiply; leave retries= out$"
ABOVE = r"^an SDK repeats calls .*: their attempts multiply; switch the SDK's own retries off \(max_retries=0\)$"


def said_by(action: Callable[[], Any]) -> list[str]:
    """Every warning that this gives, also those which Python would show once."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        action()
    return [f"{warning.category.__name__}: {warning.message}" for warning in caught]


def test_retries_of_the_transport_are_noticed_when_the_stack_is_put_over_it(way: Way) -> None:
    """They repeat connecting, which Retry repeats as well. The warning points to the line that did it."""
    with pytest.warns(RuntimeWarning, match=BELOW) as caught:
        over(RETRYING, way.transport(retries=3))
    assert [warning.filename.endswith("ways.py") for warning in caught] == [True]


def test_so_are_those_under_a_stack_without_retry(way: Way) -> None:
    with pytest.warns(RuntimeWarning, match=BELOW):
        over(RETRYING, over(Stack(Deadline(3)), way.transport(retries=3)))


@pytest.mark.parametrize("stack", [Stack(), Stack(Deadline(3), CircuitBreaker()), Stack(Retry(attempts=1))], ids=repr)
def test_without_a_retry_of_ours_there_is_nothing_to_say(way: Way, stack: Stack) -> None:
    over(stack, way.transport(retries=3))
    over(RETRYING, over(stack, way.transport()))


def test_retries_of_mounts_are_noticed_once_a_transport(way: Way) -> None:
    """A transport that is mounted twice is one transport."""
    transport = way.transport(retries=3)
    kind: Any = way.library.Client if way.colour == "sync" else way.library.AsyncClient
    client = kind(mounts={"all://one.test": transport, "all://other.test": transport})
    (said,) = said_by(lambda: wrap(client, RETRYING))
    assert "retries=3" in said
    way.run(way.method(client, "close"))


def test_a_retry_over_a_retry_is_noticed(way: Way) -> None:
    """Two stacks, nested by hand: no lint sees them together."""
    inner = over(RETRYING, way.transport())
    with pytest.warns(RuntimeWarning, match=r"^the transport underneath is one of Stack\(Retry.* both have a Retry"):
        over(Stack(Deadline(3), Retry()), inner)


@pytest.mark.parametrize("said", [{}, {"x-stainless-retry-count": "0"}, {"x-stainless-retry-count": ""}], ids=repr)
def test_an_sdk_that_has_not_repeated_anything_is_not_complained_of(way: Way, said: dict[str, str]) -> None:
    with Server(replies(503)) as server:
        assert way.client(RETRYING).get(server.url, headers=said).status_code == 503


def test_an_sdk_that_repeats_calls_is_noticed_once_a_transport(way: Way) -> None:
    with Server(replies(503)) as server:
        client = way.client(RETRYING)
        again = {"x-stainless-retry-count": "1"}
        with pytest.warns(RuntimeWarning, match=ABOVE):
            client.get(server.url, headers=again)
        assert said_by(lambda: client.get(server.url, headers=again)) == []


def test_an_sdk_may_repeat_what_a_stack_does_not(way: Way) -> None:
    """No Retry, or a call that said `retry=False`: then the SDK's is the only layer."""
    again: dict[str, Any] = {"headers": {"x-stainless-retry-count": "1"}}
    with Server(replies(503)) as server:
        way.client(Stack(Deadline(30))).get(server.url, **again)
        way.client(RETRYING).get(server.url, **again, extensions=cast("Any", {"resilience": {"retry": False}}))
        assert len(server.asked) == 2
