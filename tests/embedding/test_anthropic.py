"""The Anthropic SDK, over a client of its own kind that stands under a stack.

It takes clients of httpx2 only. Its streams end with an event of their own and not with `[DONE]`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager

import anthropic
import httpx2
import pytest
from anthropic.types import MessageParam

from resilient_foundry import Backoff, CircuitOpenError, Deadline, DeadlineExceededError, Retry, Stack
from tests.embedding.speakers import SAID, anthropic_speaks, overloaded, overloaded_in_the_stream
from tests.embedding.stacks import Repeatable, open_circuit, stack
from tests.servers import Server, replies, says_nothing, script
from tests.ways import ledger_of

MODEL = "claude-of-the-test"
QUESTION: list[MessageParam] = [{"role": "user", "content": "What is resilience?"}]
WHOLE = "".join(SAID)
TWICE = Stack(Retry(attempts=2, backoff=Backoff(base=0.0)))


@contextmanager
def sdk(url: str, policies: Stack, retries: int = 0) -> Generator[anthropic.Anthropic]:
    """The SDK, synchronous, without retries of its own."""
    with policies.client(anthropic.DefaultHttpxClient) as client:
        yield anthropic.Anthropic(base_url=url, api_key="none", http_client=client, max_retries=retries)


@asynccontextmanager
async def async_sdk(url: str, policies: Stack) -> AsyncGenerator[anthropic.AsyncAnthropic]:
    """The SDK, asynchronous, without retries of its own."""
    async with policies.client(anthropic.DefaultAsyncHttpxClient) as client:
        yield anthropic.AsyncAnthropic(base_url=url, api_key="none", http_client=client, max_retries=0)


def text_of(message: anthropic.types.Message) -> str:
    """What was said."""
    return "".join(block.text for block in message.content if block.type == "text")


def test_it_chats() -> None:
    """A 503 in between is not noticed."""
    with Server(script(replies(503), anthropic_speaks)) as server, sdk(server.url, stack(done=None)) as client:
        assert text_of(client.messages.create(model=MODEL, max_tokens=9, messages=QUESTION)) == WHOLE
        assert len(server.asked) == 2


def test_it_is_told_of_an_overload_by_the_server_itself() -> None:
    """529 means nothing to anybody else; `x-should-retry` says what to do, where a call may be repeated."""
    handler = script(overloaded, anthropic_speaks)
    with Server(handler) as server, sdk(server.url, stack(Repeatable(), done=None)) as client:
        assert text_of(client.messages.create(model=MODEL, max_tokens=9, messages=QUESTION)) == WHOLE
        assert len(server.asked) == 2


def test_it_streams() -> None:
    """Nor is an error noticed that comes in the stream before its first word."""
    handler = script(overloaded_in_the_stream, anthropic_speaks)
    with Server(handler) as server, sdk(server.url, stack(Repeatable(), done=None)) as client:
        with client.messages.stream(model=MODEL, max_tokens=9, messages=QUESTION) as stream:
            assert tuple(stream.text_stream) == SAID
            assert stream.get_final_message().stop_reason == "end_turn"
        assert len(server.asked) == 2


def test_a_failure_that_stays_is_the_sdks_own_error() -> None:
    """The last answer as it came, after as many attempts as the stack has."""
    with Server(replies(503)) as server, sdk(server.url, stack(done=None)) as client:
        with pytest.raises(anthropic.InternalServerError) as caught:
            client.messages.create(model=MODEL, max_tokens=9, messages=QUESTION)
        assert [attempt.status for attempt in ledger_of(caught.value.response).attempts] == [503] * 3


def test_an_open_circuit_is_a_connection_error_of_the_sdk() -> None:
    """With ours as its cause."""
    policies = Stack(Retry(), open_circuit(httpx2.URL("http://127.0.0.1:9")))
    with sdk("http://127.0.0.1:9", policies) as client:
        with pytest.raises(anthropic.APIConnectionError) as caught:
            client.messages.create(model=MODEL, max_tokens=9, messages=QUESTION)
        assert isinstance(caught.value.__cause__, CircuitOpenError)
        assert not isinstance(caught.value, anthropic.APITimeoutError)


def test_a_passed_deadline_is_a_timeout_error_of_the_sdk() -> None:
    """With ours as its cause."""
    with Server(says_nothing) as server, sdk(server.url, Stack(Deadline(0.1), Retry())) as client:
        with pytest.raises(anthropic.APITimeoutError) as caught:
            client.messages.create(model=MODEL, max_tokens=9, messages=QUESTION)
        assert isinstance(caught.value.__cause__, DeadlineExceededError)


def test_retries_of_its_own_are_noticed() -> None:
    """`max_retries` is 2 unless it is switched off. Told by the server, it waits no longer than that."""
    soon = {"retry-after-ms": "1"}
    with Server(replies(503, headers=soon)) as server, sdk(server.url, TWICE, retries=1) as client:
        with (
            pytest.warns(RuntimeWarning, match=r"^an SDK repeats calls over a stack that has a Retry"),
            pytest.raises(anthropic.InternalServerError),
        ):
            client.messages.create(model=MODEL, max_tokens=9, messages=QUESTION)
        assert len(server.asked) == 4  # two by two: the attempts have multiplied


@pytest.mark.anyio
async def test_it_chats_and_streams_asynchronously() -> None:
    """On asyncio and on trio."""
    handler = script(replies(503), anthropic_speaks, overloaded_in_the_stream, anthropic_speaks)
    with Server(handler) as server:
        async with async_sdk(server.url, stack(Repeatable(), done=None)) as client:
            assert text_of(await client.messages.create(model=MODEL, max_tokens=9, messages=QUESTION)) == WHOLE
            async with client.messages.stream(model=MODEL, max_tokens=9, messages=QUESTION) as stream:
                assert tuple([text async for text in stream.text_stream]) == SAID
        assert len(server.asked) == 4


@pytest.mark.anyio
async def test_errors_of_ours_are_errors_of_the_asynchronous_sdk() -> None:
    """A deadline is its APITimeoutError, an open circuit its APIConnectionError."""
    async with async_sdk("http://127.0.0.1:9", Stack(open_circuit(httpx2.URL("http://127.0.0.1:9")))) as client:
        with pytest.raises(anthropic.APIConnectionError) as refused:
            await client.messages.create(model=MODEL, max_tokens=9, messages=QUESTION)
        assert isinstance(refused.value.__cause__, CircuitOpenError)
    with Server(says_nothing) as server:
        async with async_sdk(server.url, Stack(Deadline(0.1))) as client:
            with pytest.raises(anthropic.APITimeoutError) as late:
                await client.messages.create(model=MODEL, max_tokens=9, messages=QUESTION)
            assert isinstance(late.value.__cause__, DeadlineExceededError)
