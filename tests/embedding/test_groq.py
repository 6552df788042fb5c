"""The Groq SDK, over a client of its own kind that stands under a stack, with the real Foundry Local behind it.

It takes clients of httpx only.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import groq
import httpx
import pytest
from groq.types.chat import ChatCompletionMessageParam

from resilient_foundry import Backoff, CircuitOpenError, Deadline, DeadlineExceededError, Retry, Stack
from resilient_foundry.foundry.runtime import RESILIENCE, LocalRuntime
from resilient_foundry.harness.faults import Answer, CutBeforeFirstEvent, InBandError, Pass, Stall, each_post
from resilient_foundry.harness.proxy import FaultProxy
from tests.embedding.stacks import Repeatable, open_circuit, stack
from tests.servers import Server, replies
from tests.ways import ledger_of

SAID = "".join(str(piece) for piece in RESILIENCE.script)
QUESTION: list[ChatCompletionMessageParam] = [{"role": "user", "content": "What is resilience?"}]
BUSY = Answer(503, {"Retry-After": "0.01"}, b'{"error": {"message": "busy"}}')


def at_the_path_of_foundry(request: httpx.Request) -> None:
    """Groq's API is OpenAI's, and begins at /openai/v1, a part of the path which the SDK does not let go."""
    request.url = request.url.copy_with(path=request.url.path.removeprefix("/openai"))


@contextmanager
def sdk(url: str, policies: Stack, retries: int = 0) -> Generator[groq.Groq]:
    """The SDK, synchronous, without retries of its own."""
    hooks: dict[str, list[Any]] = {"request": [at_the_path_of_foundry]}
    with policies.client(groq.DefaultHttpxClient, event_hooks=hooks) as client:
        yield groq.Groq(base_url=url, api_key="none", http_client=client, max_retries=retries)


@asynccontextmanager
async def async_sdk(url: str, policies: Stack) -> AsyncGenerator[groq.AsyncGroq]:
    """The SDK, asynchronous, without retries of its own."""

    async def hook(request: httpx.Request) -> None:
        at_the_path_of_foundry(request)

    hooks: dict[str, list[Any]] = {"request": [hook]}
    async with policies.client(groq.DefaultAsyncHttpxClient, event_hooks=hooks) as client:
        yield groq.AsyncGroq(base_url=url, api_key="none", http_client=client, max_retries=0)


def test_it_chats(runtime: LocalRuntime) -> None:
    """A 503 in between is not noticed."""
    with FaultProxy(runtime.url, each_post(BUSY)) as proxy, sdk(proxy.url, stack()) as client:
        answer = client.chat.completions.create(model=runtime.models[0].id, messages=QUESTION)
        assert answer.choices[0].message.content == SAID
        assert len(proxy.requests) == 2


def test_it_streams(runtime: LocalRuntime) -> None:
    """Nor is a stream that was cut, or failed, before its first word."""
    faults = each_post(CutBeforeFirstEvent(), InBandError())
    with FaultProxy(runtime.url, faults) as proxy, sdk(proxy.url, stack(Repeatable())) as client:
        pieces = client.chat.completions.create(model=runtime.models[0].id, messages=QUESTION, stream=True)
        assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == SAID
        assert len(proxy.requests) == 3


def test_an_open_circuit_is_a_connection_error_of_the_sdk(runtime: LocalRuntime) -> None:
    """With ours as its cause, and the ledger on that."""
    policies = Stack(Retry(), open_circuit(httpx.URL(runtime.url)))
    with sdk(runtime.url, policies) as client:
        with pytest.raises(groq.APIConnectionError) as caught:
            client.chat.completions.create(model=runtime.models[0].id, messages=QUESTION)
        assert isinstance(caught.value.__cause__, CircuitOpenError)
        assert not isinstance(caught.value, groq.APITimeoutError)
        assert ledger_of(caught.value.__cause__).attempts == []


def test_a_passed_deadline_is_a_timeout_error_of_the_sdk(runtime: LocalRuntime) -> None:
    """With ours as its cause."""
    policies = Stack(Deadline(0.1), Retry())
    with FaultProxy(runtime.url, each_post(Stall())) as proxy, sdk(proxy.url, policies) as client:
        with pytest.raises(groq.APITimeoutError) as caught:
            client.chat.completions.create(model=runtime.models[0].id, messages=QUESTION)
        assert isinstance(caught.value.__cause__, DeadlineExceededError)


def test_retries_of_its_own_are_noticed() -> None:
    """`max_retries` is 2 unless it is switched off."""
    twice = Stack(Retry(attempts=2, backoff=Backoff(base=0.0)))
    with Server(replies(503, headers={"retry-after-ms": "1"})) as server, sdk(server.url, twice, retries=1) as client:
        with (
            pytest.warns(RuntimeWarning, match=r"^an SDK repeats calls over a stack that has a Retry"),
            pytest.raises(groq.InternalServerError),
        ):
            client.chat.completions.create(model="any", messages=QUESTION)
        assert len(server.asked) == 4  # two by two: the attempts have multiplied


@pytest.mark.anyio
async def test_it_chats_and_streams_asynchronously(runtime: LocalRuntime) -> None:
    """On asyncio and on trio."""
    faults = each_post(BUSY, Pass(), CutBeforeFirstEvent())
    model = runtime.models[0].id
    with FaultProxy(runtime.url, faults) as proxy:
        async with async_sdk(proxy.url, stack(Repeatable())) as client:
            answer = await client.chat.completions.create(model=model, messages=QUESTION)
            assert answer.choices[0].message.content == SAID
            pieces = await client.chat.completions.create(model=model, messages=QUESTION, stream=True)
            assert "".join([piece.choices[0].delta.content or "" async for piece in pieces]) == SAID
            assert len(proxy.requests) == 4


@pytest.mark.anyio
async def test_errors_of_ours_are_errors_of_the_asynchronous_sdk(runtime: LocalRuntime) -> None:
    """A deadline is its APITimeoutError, an open circuit its APIConnectionError."""
    model = runtime.models[0].id
    async with async_sdk(runtime.url, Stack(open_circuit(httpx.URL(runtime.url)))) as client:
        with pytest.raises(groq.APIConnectionError) as refused:
            await client.chat.completions.create(model=model, messages=QUESTION)
        assert isinstance(refused.value.__cause__, CircuitOpenError)
    with FaultProxy(runtime.url, each_post(Stall())) as proxy:
        async with async_sdk(proxy.url, Stack(Deadline(0.1))) as client:
            with pytest.raises(groq.APITimeoutError) as late:
                await client.chat.completions.create(model=model, messages=QUESTION)
            assert isinstance(late.value.__cause__, DeadlineExceededError)
