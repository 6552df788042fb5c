"""The real 2.x runtime, six ways: two libraries, synchronous, asyncio and trio."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest

from resilient_foundry.events import Remedied
from resilient_foundry.foundry import (
    AsyncFoundryClient,
    ChatResult,
    ContextLengthExceededError,
    FoundryClient,
    Generation,
    InferenceError,
    InvalidRequestError,
    ModelNotFoundError,
    ModelNotLoadedError,
)
from resilient_foundry.foundry.runtime import (
    BREAKING,
    EMBEDDING,
    EMPTY,
    SPLIT_UTF8,
    THINKING,
    TOOL_CALL,
    BuiltinModel,
    LocalRuntime,
)

pytestmark = pytest.mark.xdist_group("runtime")


@pytest.fixture(scope="module")
def runtime() -> Iterator[LocalRuntime]:
    """One for all of these tests."""
    with LocalRuntime() as started:
        yield started


@pytest.fixture(scope="module")
def alias(runtime: LocalRuntime) -> str:
    """Of the model that it serves."""
    return runtime.models[0].alias


@pytest.fixture(params=["httpx", "httpx2"])
def way(request: pytest.FixtureRequest) -> Any:
    """Both HTTP libraries."""
    return request.param


def test_a_chat_and_a_stream_say_the_same(runtime: LocalRuntime, way: Any, alias: str) -> None:
    """By alias, with retry, circuit breaker and time limits under the client."""
    with FoundryClient(runtime, library=way, model=alias) as client:
        answer = client.complete("hello", max_tokens=40)
        with client.stream_complete("hello", max_tokens=40) as stream:
            pieces = [chunk.content for chunk in stream if chunk.content]
    assert len(pieces) > 3
    assert "".join(pieces) == answer.content == stream.result().content
    assert stream.result().usage == answer.usage
    assert answer.resilience is not None
    assert len(answer.resilience.attempts) == 1


def test_sixteen_threads_share_a_client(runtime: LocalRuntime, way: Any, alias: str) -> None:
    """Nothing mixes."""
    answers: list[str] = []
    with FoundryClient(runtime, library=way, model=alias) as client:
        expected = client.complete("hello", max_tokens=20).content
        threads = [
            threading.Thread(target=lambda: answers.append(client.complete("hello", max_tokens=20).content))
            for _ in range(16)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert answers == [expected] * 16


@pytest.mark.anyio
async def test_the_asynchronous_client_streams(runtime: LocalRuntime, way: Any, alias: str) -> None:
    """Under asyncio and trio."""
    async with AsyncFoundryClient(runtime.url, library=way, model=alias) as client:
        answer = await client.complete("hello", max_tokens=20)
        stream = client.stream_complete("hello", max_tokens=20)
        assert "".join([chunk.content async for chunk in stream]) == answer.content
        assert (await client.health_check()).status == "healthy"


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # httpcore leaves generators behind here, of which trio warns
async def test_an_asynchronous_stream_may_be_left_early(runtime: LocalRuntime, way: Any, alias: str) -> None:
    """Its connection is closed, and the client goes on."""
    async with AsyncFoundryClient(runtime.url, library=way, model=alias) as client:
        async with client.stream_complete("hello") as stream:
            first = await anext(stream)
        assert (stream.result().content, stream.result().complete) == (first.content, False)
        assert (await client.complete("hello", max_tokens=5)).content


def test_health_tells_the_memory_of_the_service(runtime: LocalRuntime, way: Any) -> None:
    """Of its own process, in bytes."""
    with FoundryClient(runtime, library=way) as client:
        health = client.health_check()
    assert (health.status, health.generation, health.url) == ("healthy", Generation.TWO, runtime.url)
    assert health.memory_usage is not None
    assert health.memory_usage > 1_000_000
    assert health.latency is not None


def test_errors_of_the_real_server_have_their_classes(runtime: LocalRuntime, way: Any, alias: str) -> None:
    """One sentence each, with its words kept."""
    with FoundryClient(runtime, library=way, model=alias) as client:
        with pytest.raises(ModelNotFoundError):
            client.complete("hi", model="no-such-model")
        with pytest.raises(ModelNotFoundError) as caught:
            client.complete("hi", model="no-such:1")
        assert (caught.value.status, b"No model matching" in caught.value.body) == (404, True)
        with pytest.raises(ContextLengthExceededError) as too_long:
            client.complete("hi", max_tokens=2**31 - 1)
        assert too_long.value.limit is not None
        with pytest.raises(ContextLengthExceededError):
            list(client.stream_complete("hi", max_tokens=2**31 - 1))
        tool = {"type": "function", "function": {"name": "add"}}
        with pytest.raises(InvalidRequestError, match="can't call tools"):
            client.complete("hi", tools=[tool])
        with pytest.raises(InvalidRequestError, match="no embedding model"):
            client.embed("hi")


def test_a_model_is_unloaded_and_loaded_again(runtime: LocalRuntime, way: Any, alias: str) -> None:
    """And a chat in between says what is missing."""
    with FoundryClient(runtime, library=way) as client:
        first = client.load_model(alias)
        assert first.id is not None
        assert client.unload_model(alias).state == "unloaded"
        with pytest.raises(ModelNotLoadedError):
            client.complete("hi", model=first.id)
        again = client.load_model(first.id)
        assert (again.state, again.id) == ("loaded", first.id)
        assert first.id in client.loaded_models()
        assert [model.id for model in client.list_models() if model.loaded] == [first.id]


@pytest.fixture(params=["sync", "asyncio", "trio"])
def complete(request: pytest.FixtureRequest) -> Any:
    """Two chats of a client of either colour, and what is done `between` them."""

    def ask(service: Any, *, model: str, between: Callable[[], object] = int, **settings: Any) -> list[ChatResult]:
        if request.param == "sync":
            with FoundryClient(service, model=model, **settings) as client:
                first = client.complete("hi", max_tokens=5)
                between()
                return [first, client.complete("hi", max_tokens=5)]

        async def both() -> list[ChatResult]:
            async with AsyncFoundryClient(service, model=model, **settings) as client:
                first = await client.complete("hi", max_tokens=5)
                between()
                return [first, await client.complete("hi", max_tokens=5)]

        return anyio.run(both, backend=request.param)

    return ask


def remedies(result: ChatResult) -> list[str]:
    """What was mended."""
    assert result.resilience is not None
    return [event.remedy for _, event in result.resilience.events if isinstance(event, Remedied) and event.worked]


def test_a_model_that_somebody_else_unloaded_is_loaded_again(complete: Any, runtime: LocalRuntime) -> None:
    """As the service itself does after some idle time; the chat goes on."""
    (model,) = runtime.models

    def unload() -> None:
        with FoundryClient(runtime) as other:
            assert other.unload_model(model.alias).state == "unloaded"

    first, second = complete(runtime.url, model=model.id, between=unload)
    assert first.content == second.content != ""
    assert remedies(second) == ["model_loaded"]


def test_a_runtime_that_restarts_on_another_port_costs_a_chat_only_time(complete: Any) -> None:
    """Found again by the object that stands for it, with nothing loaded."""
    with LocalRuntime(load=False) as restarting:
        urls = [restarting.url]

        def restart() -> None:
            restarting.close()
            with socket.create_server(("127.0.0.1", int(urls[0].rpartition(":")[2]))):  # so that it gets another port
                restarting.start()
            urls.append(restarting.url)

        first, second = complete(restarting, model=restarting.models[0].id, between=restart)
        assert urls[0] != urls[1]
    assert first.content == second.content != ""
    assert remedies(first) == ["model_loaded"]
    assert remedies(second) == ["service_found", "model_loaded"]


def test_sixteen_chats_load_their_model_once(way: Any) -> None:
    """All of them are answered."""
    answers: list[ChatResult] = []
    with LocalRuntime(load=False) as fresh, FoundryClient(fresh, library=way, model=fresh.models[0].id) as client:
        threads = [
            threading.Thread(target=lambda: answers.append(client.complete("hi", max_tokens=5))) for _ in range(16)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert len({answer.content for answer in answers}) == 1
    loads = [
        attempt
        for answer in answers
        if answer.resilience is not None
        for attempt in answer.resilience.attempts
        if attempt.detail == "foundry_local load_model" and attempt.status == 200
    ]
    assert (len(answers), len(loads)) == (16, 1)


@pytest.fixture(scope="module")
def scripted() -> Iterator[LocalRuntime]:
    """Models whose answers are known beforehand."""
    with LocalRuntime(TOOL_CALL, THINKING, SPLIT_UTF8, EMPTY, BREAKING, EMBEDDING) as started:
        yield started


def test_tool_calls_of_the_real_server_are_read(scripted: LocalRuntime, way: Any) -> None:
    """Whole and streamed alike."""
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
    with FoundryClient(scripted, library=way, model=TOOL_CALL.alias) as client:
        whole = client.complete("the weather?", tools=[tool])
        stream = client.stream_complete("the weather?", tools=[tool])
        list(stream)
    for result in (whole, stream.result()):
        (call,) = result.tool_calls
        assert (call.name, result.finish_reason, result.content) == ("get_weather", "tool_calls", "")
        assert "city" in call.arguments


def test_thoughts_of_the_real_server_are_told_from_its_answer(scripted: LocalRuntime, way: Any) -> None:
    """Whole and streamed alike."""
    with FoundryClient(scripted, library=way, model=THINKING.alias) as client:
        whole = client.complete("hi")
        stream = client.stream_complete("hi")
        list(stream)
    assert whole.reasoning
    assert (whole.reasoning, whole.content) == (stream.result().reasoning, stream.result().content)
    assert "think>" not in whole.content


@pytest.mark.parametrize("model", [SPLIT_UTF8, EMPTY])
def test_a_stream_joins_to_the_whole_answer(scripted: LocalRuntime, way: Any, model: BuiltinModel) -> None:
    """Characters of several tokens, and no token at all."""
    with FoundryClient(scripted, library=way, model=model.alias) as client:
        stream = client.stream_complete("hi")
        list(stream)
        assert stream.result().content == client.complete("hi").content
    assert "\ufffd" not in stream.result().content
    assert (stream.result().content == "") is (model is EMPTY)


def test_a_failure_in_the_middle_says_what_was_delivered(scripted: LocalRuntime, way: Any) -> None:
    """The server reports it inside the stream; it is not repeated behind the caller's back."""
    with FoundryClient(scripted, library=way, model=BREAKING.alias) as client:
        stream = client.stream_complete("hi")
        pieces: list[str] = []
        with pytest.raises(InferenceError) as caught:
            pieces.extend(chunk.content for chunk in stream)
    assert caught.value.delivered == stream.result().content != ""
    assert caught.value.resilience is not None
    assert len(caught.value.resilience.attempts) == 1


def test_the_real_server_embeds(scripted: LocalRuntime, way: Any) -> None:
    """A vector of length one for each text."""
    with FoundryClient(scripted, library=way) as client:
        result = client.embed(["one", "two"], model=EMBEDDING.alias)
    assert len(result.vectors) == 2
    assert sum(number * number for number in result.vectors[0]) == pytest.approx(1.0, abs=1e-3)
