"""The Ollama SDK, which makes its httpx client by itself and hands settings through: `transport=stack.over(...)`.

It has no errors of its own for what the network or a stack says: those pass as httpx's. Its streams are lines of JSON.
"""

from __future__ import annotations

from typing import Any

import httpx
import ollama
import pytest

from resilient_foundry import CircuitOpenError, Deadline, DeadlineExceededError, Retry, Stack
from tests.embedding.speakers import SAID, ollama_is_busy, ollama_speaks
from tests.embedding.stacks import Repeatable, open_circuit, stack
from tests.servers import Conversation, Server, says_nothing, script

MODEL = "llama-of-the-test"
QUESTION = [{"role": "user", "content": "What is resilience?"}]


def sdk(url: str, policies: Stack) -> Any:  # an ollama.Client, whose methods are half typed
    """The SDK, synchronous; it has no retries of its own."""
    return ollama.Client(host=url, transport=policies.over(httpx.HTTPTransport()))


def async_sdk(url: str, policies: Stack) -> Any:  # an ollama.AsyncClient
    """The SDK, asynchronous."""
    return ollama.AsyncClient(host=url, transport=policies.over(httpx.AsyncHTTPTransport()))


def cut_before_the_first_line(talk: Conversation) -> None:
    """The head of a stream, and then nothing: the connection is closed."""
    talk.begin_stream("application/x-ndjson")


def test_it_chats() -> None:
    """A queue that was full in between is not noticed."""
    with Server(script(ollama_is_busy, ollama_speaks)) as server, sdk(server.url, stack()) as client:
        assert client.chat(MODEL, QUESTION).message.content == "".join(SAID)
        assert len(server.asked) == 2


def test_it_streams() -> None:
    """Also line by line."""
    with Server(script(ollama_is_busy, ollama_speaks)) as server, sdk(server.url, stack()) as client:
        parts = list(client.chat(MODEL, QUESTION, stream=True))
        assert [part.message.content for part in parts] == [*SAID, ""]
        assert parts[-1].done
        assert len(server.asked) == 2


def test_a_stream_of_lines_is_not_held() -> None:
    """`StreamGuard` reads server-sent events; a stream of lines that breaks is httpx's error, and not repeated."""
    with (
        Server(cut_before_the_first_line) as server,
        sdk(server.url, stack(Repeatable())) as client,
        pytest.raises(httpx.RemoteProtocolError),
    ):
        list(client.chat(MODEL, QUESTION, stream=True))
    assert len(server.asked) == 1


def test_a_failure_that_stays_is_the_sdks_own_error() -> None:
    """With what the server said."""
    with Server(ollama_is_busy) as server, sdk(server.url, stack()) as client:
        with pytest.raises(ollama.ResponseError, match="server busy") as caught:
            client.chat(MODEL, QUESTION)
        assert caught.value.status_code == 503
        assert len(server.asked) == 3


def test_an_open_circuit_and_a_passed_deadline_are_errors_of_httpx() -> None:
    """That is what the SDK lets out for every other failure of the network too, but a refused connection."""
    policies = Stack(Retry(), open_circuit(httpx.URL("http://127.0.0.1:9")))
    with sdk("http://127.0.0.1:9", policies) as client, pytest.raises(httpx.TransportError) as refused:
        client.chat(MODEL, QUESTION)
    assert isinstance(refused.value, CircuitOpenError)
    with Server(says_nothing) as server, sdk(server.url, Stack(Deadline(0.1))) as client:
        with pytest.raises(httpx.TimeoutException) as late:
            client.chat(MODEL, QUESTION)
        assert isinstance(late.value, DeadlineExceededError)


@pytest.mark.anyio
async def test_it_chats_and_streams_asynchronously() -> None:
    """On asyncio and on trio."""
    with Server(script(ollama_is_busy, ollama_speaks, ollama_is_busy, ollama_speaks)) as server:
        async with async_sdk(server.url, stack()) as client:
            assert (await client.chat(MODEL, QUESTION)).message.content == "".join(SAID)
            parts = [part async for part in await client.chat(MODEL, QUESTION, stream=True)]
            assert [part.message.content for part in parts] == [*SAID, ""]
        assert len(server.asked) == 4


@pytest.mark.anyio
async def test_errors_of_ours_leave_the_asynchronous_sdk_as_errors_of_httpx() -> None:
    """On asyncio and on trio."""
    policies = Stack(Retry(), open_circuit(httpx.URL("http://127.0.0.1:9")))
    async with async_sdk("http://127.0.0.1:9", policies) as client:
        with pytest.raises(httpx.TransportError) as refused:
            await client.chat(MODEL, QUESTION)
        assert isinstance(refused.value, CircuitOpenError)
    with Server(says_nothing) as server:
        async with async_sdk(server.url, Stack(Deadline(0.1))) as client:
            with pytest.raises(httpx.TimeoutException) as late:
                await client.chat(MODEL, QUESTION)
            assert isinstance(late.value, DeadlineExceededError)
