"""The OpenAI SDK, over a transport of ours, with the real Foundry Local behind it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx2
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from resilient_foundry import (
    Backoff,
    CircuitBreaker,
    CircuitOpenError,
    Deadline,
    DeadlineExceededError,
    Retry,
    Stack,
)
from resilient_foundry.foundry.runtime import RESILIENCE, LocalRuntime
from resilient_foundry.harness.faults import Answer, CutBeforeFirstEvent, InBandError, Stall, each_post
from resilient_foundry.harness.proxy import FaultProxy
from tests.embedding.stacks import Repeatable, stack
from tests.servers import Server, replies
from tests.ways import LIBRARIES, ledger_of, over, pool_of

SAID = "".join(str(piece) for piece in RESILIENCE.script)
QUESTION: list[ChatCompletionMessageParam] = [{"role": "user", "content": "What is resilience?"}]
BUSY = Answer(503, {"Retry-After": "0.01"}, b'{"error": {"message": "busy"}}')


@contextmanager
def sdk(library: Any, url: str, policies: Stack) -> Generator[openai.OpenAI]:
    """The SDK, synchronous, without retries of its own."""
    with library.Client(transport=over(policies, library.HTTPTransport())) as client:
        yield openai.OpenAI(base_url=f"{url}/v1", api_key="none", http_client=client, max_retries=0)


@asynccontextmanager
async def async_sdk(library: Any, url: str, policies: Stack) -> AsyncGenerator[openai.AsyncOpenAI]:
    """The SDK, asynchronous, without retries of its own."""
    async with library.AsyncClient(transport=over(policies, library.AsyncHTTPTransport())) as client:
        yield openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", http_client=client, max_retries=0)


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> Any:
    """Each library in turn."""
    return LIBRARIES[request.param]


def test_it_chats(library: Any, runtime: LocalRuntime) -> None:
    """A 503 in between is not noticed."""
    with FaultProxy(runtime.url, each_post(BUSY)) as proxy, sdk(library, proxy.url, stack()) as client:
        answer = client.chat.completions.create(model=runtime.models[0].id, messages=QUESTION)
        assert answer.choices[0].message.content == SAID
        assert len(proxy.requests) == 2


def test_it_streams(library: Any, runtime: LocalRuntime) -> None:
    """Nor is a stream that was cut, or failed, before its first word."""
    faults = each_post(CutBeforeFirstEvent(), InBandError())
    with FaultProxy(runtime.url, faults) as proxy, sdk(library, proxy.url, stack(Repeatable())) as client:
        pieces = client.chat.completions.create(model=runtime.models[0].id, messages=QUESTION, stream=True)
        assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == SAID
        assert len(proxy.requests) == 3


def test_an_open_circuit_is_a_connection_error_of_the_sdk(library: Any, runtime: LocalRuntime) -> None:
    """With ours as its cause, and the ledger on that."""
    policies = stack()
    (breaker,) = (policy for policy in policies if isinstance(policy, CircuitBreaker))
    breaker.circuit(library.URL(runtime.url)).breaker.open()
    with sdk(library, runtime.url, policies) as client:
        with pytest.raises(openai.APIConnectionError) as caught:
            client.chat.completions.create(model=runtime.models[0].id, messages=QUESTION)
        assert isinstance(caught.value.__cause__, CircuitOpenError)
        assert not isinstance(caught.value, openai.APITimeoutError)
        assert ledger_of(caught.value.__cause__).attempts == []


def test_a_passed_deadline_is_a_timeout_error_of_the_sdk(library: Any, runtime: LocalRuntime) -> None:
    """With ours as its cause."""
    policies = Stack(Deadline(0.1), Retry())
    with FaultProxy(runtime.url, each_post(Stall())) as proxy, sdk(library, proxy.url, policies) as client:
        with pytest.raises(openai.APITimeoutError) as caught:
            client.chat.completions.create(model=runtime.models[0].id, messages=QUESTION)
        assert isinstance(caught.value.__cause__, DeadlineExceededError)


def test_the_client_of_its_own_kind_keeps_its_settings(runtime: LocalRuntime) -> None:
    """It is the SDK's subclass, with the SDK's own defaults, and stands under the stack all the same."""
    plain = openai.DefaultHttpxClient()
    with FaultProxy(runtime.url, each_post(BUSY)) as proxy, stack().client(openai.DefaultHttpxClient) as http:
        client = openai.OpenAI(base_url=f"{proxy.url}/v1", api_key="none", http_client=http, max_retries=0)
        answer = client.chat.completions.create(model=runtime.models[0].id, messages=QUESTION)
        assert answer.choices[0].message.content == SAID
        assert len(proxy.requests) == 2
        assert (http.timeout, http.follow_redirects) == (plain.timeout, plain.follow_redirects)
        assert pool_limits(http) == pool_limits(plain) != pool_limits(httpx2.Client())
    plain.close()


def pool_limits(client: Any) -> tuple[int, int]:  # client: reached into for what httpx keeps private
    """The connections that the client may have, and those it may keep."""
    pool = pool_of(client._transport)
    return pool._max_connections, pool._max_keepalive_connections


def test_retries_of_its_own_are_noticed(library: Any) -> None:
    """`max_retries` is 2 unless it is switched off."""
    twice = Stack(Retry(attempts=2, backoff=Backoff(base=0.0)))
    with Server(replies(503, headers={"retry-after-ms": "1"})) as server, sdk(library, server.url, twice) as client:
        with (
            pytest.warns(RuntimeWarning, match=r"^an SDK repeats calls over a stack that has a Retry"),
            pytest.raises(openai.InternalServerError),
        ):
            client.with_options(max_retries=1).chat.completions.create(model="any", messages=QUESTION)
        assert len(server.asked) == 4  # two by two: the attempts have multiplied


@pytest.mark.anyio
async def test_it_chats_asynchronously(library: Any, runtime: LocalRuntime) -> None:
    """On asyncio and on trio."""
    with FaultProxy(runtime.url, each_post(BUSY)) as proxy:
        async with async_sdk(library, proxy.url, stack()) as client:
            answer = await client.chat.completions.create(model=runtime.models[0].id, messages=QUESTION)
            assert answer.choices[0].message.content == SAID
            assert len(proxy.requests) == 2


@pytest.mark.anyio
async def test_it_streams_asynchronously(library: Any, runtime: LocalRuntime) -> None:
    """On asyncio and on trio."""
    with FaultProxy(runtime.url, each_post(CutBeforeFirstEvent(), InBandError())) as proxy:
        async with async_sdk(library, proxy.url, stack(Repeatable())) as client:
            pieces = await client.chat.completions.create(model=runtime.models[0].id, messages=QUESTION, stream=True)
            assert "".join([piece.choices[0].delta.content or "" async for piece in pieces]) == SAID
            assert len(proxy.requests) == 3


@pytest.mark.anyio
async def test_errors_of_ours_are_errors_of_the_asynchronous_sdk(library: Any, runtime: LocalRuntime) -> None:
    """A deadline is its APITimeoutError, an open circuit its APIConnectionError."""
    breaker = CircuitBreaker()
    breaker.circuit(library.URL(runtime.url)).breaker.open()
    async with async_sdk(library, runtime.url, Stack(breaker)) as client:
        with pytest.raises(openai.APIConnectionError) as refused:
            await client.chat.completions.create(model=runtime.models[0].id, messages=QUESTION)
        assert isinstance(refused.value.__cause__, CircuitOpenError)
    with FaultProxy(runtime.url, each_post(Stall())) as proxy:
        async with async_sdk(library, proxy.url, Stack(Deadline(0.1))) as client:
            with pytest.raises(openai.APITimeoutError) as late:
                await client.chat.completions.create(model=runtime.models[0].id, messages=QUESTION)
            assert isinstance(late.value.__cause__, DeadlineExceededError)
