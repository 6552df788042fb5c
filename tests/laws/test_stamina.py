"""Retry runs its first attempt outside of stamina's loop; whoever listens to stamina can't tell."""

from collections.abc import Callable
from typing import Any

import anyio
import httpx
import pytest
import stamina
from hypothesis import given, settings
from hypothesis import strategies as st
from stamina.instrumentation import RetryDetails, set_on_retry_hooks

from resilient_foundry import Backoff, Retry, Stack
from resilient_foundry.testing import Said, busy, failed, lost, ok, scripted, unsent
from tests.over import over

URL = "http://foundry.local:5273/v1/models?key=secret"
SCRIPTS = st.lists(
    st.sampled_from([ok(), failed(404), lost(), unsent(), failed(502), busy(), busy(retry_after=0.0005)]),
    min_size=6,
    max_size=6,
)

STACK_OF = {attempts: Stack(Retry(attempts=attempts, backoff=Backoff(base=0, cap=0))) for attempts in range(1, 7)}
Way = Callable[[list[Said], int], tuple[object, int]]


class Unsuccessful(Exception):  # noqa: N818 - a message from attempt to loop
    """An answer that is worth another attempt."""

    def __init__(self, status: int, wait: float) -> None:
        self.status, self.wait = status, wait
        super().__init__(str(status))


def plainly(script: list[Said], attempts: int) -> tuple[object, int]:
    """The loop as stamina's documentation writes it, over the same transport; gives how it ended, and what was sent."""
    transport = scripted(*script)

    def wait(error: Exception) -> float | bool:
        if isinstance(error, Unsuccessful):
            return error.wait
        return 0.0 if isinstance(error, httpx.TransportError) else False

    loop: Any = stamina.retry_context(on=wait, attempts=attempts, timeout=None)
    ended: object = None
    try:
        for attempt in loop.with_name("GET http://foundry.local:5273", (), {}):
            with attempt:
                response = transport.handle_request(httpx.Request("GET", URL))
                ended = response.status_code
                if response.status_code in {502, 503}:
                    raise Unsuccessful(response.status_code, float(response.headers.get("retry-after", 0)))
    except Unsuccessful as last:
        ended = last.status
    except httpx.TransportError as last:
        ended = type(last).__name__
    return ended, len(transport.script.requests)


def sync(script: list[Said], attempts: int) -> tuple[object, int]:
    """Ours, over the same transport."""
    transport = scripted(*script)
    with httpx.Client(transport=over(STACK_OF[attempts], transport)) as client:
        try:
            ended: object = client.get(URL).status_code
        except httpx.TransportError as last:
            ended = type(last).__name__
    return ended, len(transport.script.requests)


async def asynchronous(script: list[Said], attempts: int) -> tuple[object, int]:
    """Ours in the other colour."""
    transport = scripted(*script)
    async with httpx.AsyncClient(transport=over(STACK_OF[attempts], transport)) as client:
        try:
            ended: object = (await client.get(URL)).status_code
        except httpx.TransportError as last:
            ended = type(last).__name__
    return ended, len(transport.script.requests)


def on_asyncio(script: list[Said], attempts: int) -> tuple[object, int]:
    return anyio.run(asynchronous, script, attempts, backend="asyncio")


def on_trio(script: list[Said], attempts: int) -> tuple[object, int]:
    return anyio.run(asynchronous, script, attempts, backend="trio")


def heard(way: Way, script: list[Said], attempts: int) -> tuple[tuple[object, int], list[object]]:
    """How it ended, and everything that stamina told of it."""
    told: list[object] = []

    def hook(details: RetryDetails) -> None:
        reason = details.caused_by
        told.append(
            (
                details.name,
                details.args,
                details.kwargs,
                details.retry_num,
                details.wait_for,
                pytest.approx(details.waited_so_far),
                type(reason).__name__ if isinstance(reason, httpx.TransportError) else str(reason),
            )
        )

    set_on_retry_hooks([hook])
    return way(script, attempts), told


@pytest.mark.parametrize("way", [sync, on_asyncio, on_trio])
@given(script=SCRIPTS, attempts=st.integers(1, 6))
@settings(max_examples=60)
def test_stamina_tells_of_our_retries_what_it_tells_of_a_plain_loop(
    way: Way, script: list[Said], attempts: int
) -> None:
    """The same hooks with the same numbers, waits and causes, and the same end."""
    assert heard(way, script, attempts) == heard(plainly, script, attempts)


@pytest.mark.parametrize("way", [sync, on_asyncio, on_trio])
@given(script=SCRIPTS, attempts=st.integers(2, 4), testing=st.integers(1, 6), cap=st.booleans())
@settings(max_examples=40)
def test_and_in_its_testing_mode_as_well(
    way: Way,
    script: list[Said],
    attempts: int,
    testing: int,
    cap: bool,
) -> None:
    with stamina.set_testing(True, attempts=testing, cap=cap):
        assert heard(way, script, attempts) == heard(plainly, script, attempts)


@given(script=SCRIPTS, attempts=st.integers(1, 6))
@settings(max_examples=40)
def test_and_switched_off(script: list[Said], attempts: int) -> None:
    stamina.set_active(False)
    assert heard(sync, script, attempts) == heard(plainly, script, attempts)


def test_the_name_that_stamina_tells_holds_no_path_and_no_query() -> None:
    """Its default hooks write it into logs."""
    _, told = heard(sync, [busy(), ok()], 2)
    assert "secret" not in str(told)
    assert "models" not in str(told)


def test_a_hook_that_raises_ends_the_call() -> None:
    """As it does in stamina; the answer that was in hand is closed."""

    def hook(details: RetryDetails) -> None:
        raise ZeroDivisionError(details.name)

    set_on_retry_hooks([hook])
    transport = scripted(busy(), ok())
    with httpx.Client(transport=over(Stack(Retry()), transport)) as client, pytest.raises(ZeroDivisionError):
        client.get(URL)
    assert transport.script.closed == {1: 1}
