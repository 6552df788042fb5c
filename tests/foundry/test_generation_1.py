"""The client against the real service of generation 1.x, where the environment names an interpreter that has it.

The same calls as for 2.x; what differs is the server's business and the client's to even out.
"""

import os
from collections.abc import Iterator

import pytest

from resilient_foundry.foundry import (
    FoundryClient,
    Generation,
    ModelNotCachedError,
    StreamInterruptedError,
    UnsupportedError,
)
from resilient_foundry.foundry.runtime import (
    BREAKING,
    BUILTIN_MODELS,
    EMBEDDING,
    NOT_DOWNLOADED,
    RESILIENCE,
    SPLIT_UTF8,
    THINKING,
    TWO_TOOL_CALLS,
    BuiltinModel,
    LocalRuntime,
)

PYTHON = os.environ.get("RESILIENT_FOUNDRY_PYTHON_1X")

pytestmark = pytest.mark.skipif(PYTHON is None, reason="RESILIENT_FOUNDRY_PYTHON_1X names no interpreter")


@pytest.fixture(scope="module")
def service() -> Iterator[LocalRuntime]:
    """The real 1.x."""
    assert PYTHON is not None
    with LocalRuntime(*BUILTIN_MODELS, python=PYTHON) as runtime:
        yield runtime


@pytest.fixture
def foundry(service: LocalRuntime) -> Iterator[FoundryClient]:
    """A client of it."""
    with FoundryClient(service.url) as client:
        yield client


def test_is_told_from_its_status(foundry: FoundryClient) -> None:
    """1.x names no process, so its memory is not known."""
    health = foundry.health_check()
    assert (health.status, health.generation, health.memory_usage) == ("healthy", Generation.ONE, None)


@pytest.mark.parametrize("name", [RESILIENCE.alias, RESILIENCE.id])
def test_chats_by_alias_and_by_id(foundry: FoundryClient, name: str) -> None:
    """It takes both; 2.x takes the id only, and the client makes up for it."""
    assert foundry.complete("Hello?", model=name).content == RESILIENCE.text


@pytest.mark.parametrize("model", [RESILIENCE, SPLIT_UTF8])
def test_streams_what_it_says_whole(foundry: FoundryClient, model: BuiltinModel) -> None:
    """Pieces add up to the answer, characters of several bytes included."""
    with foundry.stream_complete("Hello?", model=model.id) as stream:
        pieces = [chunk.content for chunk in stream]
        result = stream.result()
    assert len([piece for piece in pieces if piece]) > 5
    assert "".join(pieces) == result.content == model.text
    assert result.complete


def test_thoughts_are_told_from_the_answer(foundry: FoundryClient) -> None:
    """1.x leaves them in the text."""
    result = foundry.complete("2 + 2?", model=THINKING.id)
    assert (result.reasoning or "").strip() == "Two and two make four."
    assert result.content.strip() == "The answer is 4."


def test_tool_calls_arrive_in_a_stream_too(foundry: FoundryClient) -> None:
    """1.x does not parse them while it streams."""
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]
    with foundry.stream_complete("Weather?", model=TWO_TOOL_CALLS.id, tools=tools) as stream:
        for _ in stream:
            pass
    assert [call.name for call in stream.result().tool_calls] == ["get_weather", "get_weather"]


def test_a_failure_in_mid_stream_says_what_was_delivered(foundry: FoundryClient) -> None:
    """1.x just cuts the connection."""
    with pytest.raises(StreamInterruptedError) as caught, foundry.stream_complete("?", model=BREAKING.id) as stream:
        for _ in stream:
            pass
    assert caught.value.delivered == BREAKING.text


def test_embeds(foundry: FoundryClient) -> None:
    """A name that says so is enough; any other model would crash the server."""
    assert len(foundry.embed(["one", "two"], model=EMBEDDING.id).vectors) == 2


def test_what_it_would_ignore_is_refused(foundry: FoundryClient) -> None:
    """An answer that runs past a stop word looks like any other."""
    with pytest.raises(UnsupportedError, match="stop"):
        foundry.complete("Hello?", model=RESILIENCE.id, stop="x")


def test_loads_and_unloads(foundry: FoundryClient) -> None:
    """It answers both with nothing, so the client looks."""
    assert foundry.unload_model(RESILIENCE.alias).state == "unloaded"
    assert RESILIENCE.id not in foundry.loaded_models()
    assert foundry.load_model(RESILIENCE.id).state == "loaded"
    assert RESILIENCE.id in foundry.loaded_models()


@pytest.mark.parametrize("name", [RESILIENCE.alias, RESILIENCE.id])
@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
def test_a_model_that_somebody_else_unloaded_is_loaded_again(
    service: LocalRuntime, foundry: FoundryClient, name: str, *, streamed: bool
) -> None:
    """Of a stream it never says that this is what is wrong."""
    foundry.health_check()
    with FoundryClient(service.url) as other:
        other.unload_model(RESILIENCE.alias)
    if streamed:
        assert "".join(chunk.content for chunk in foundry.stream_complete("Hello?", model=name)) == RESILIENCE.text
    else:
        assert foundry.complete("Hello?", model=name).content == RESILIENCE.text


def test_a_stream_whose_model_was_lost_behind_our_back_goes_on(service: LocalRuntime, foundry: FoundryClient) -> None:
    """It was seen loaded once."""
    for _ in range(2):
        said = "".join(chunk.content for chunk in foundry.stream_complete("Hello?", model=RESILIENCE.id))
        assert said == RESILIENCE.text
        with FoundryClient(service.url) as other:
            other.unload_model(RESILIENCE.alias)
    foundry.load_model(RESILIENCE.id)


@pytest.mark.parametrize("name", ["no-such-model", NOT_DOWNLOADED.alias])
def test_says_why_a_model_cannot_be_loaded(foundry: FoundryClient, name: str) -> None:
    """The server's own answer is a 500 without a word."""
    with pytest.raises(ModelNotCachedError, match=name):
        foundry.load_model(name)
