"""Every built-in model, asked over HTTP in the real runtime."""

import json
import time
from typing import Any

import httpx
import pytest

from resilient_foundry.foundry.runtime import (
    BREAKING,
    BUILTIN_MODELS,
    EMBEDDING,
    EMPTY,
    ENDLESS,
    JSON_TEXT,
    NOT_DOWNLOADED,
    RESILIENCE,
    SLOW,
    SPLIT_UTF8,
    THINKING,
    TOOL_CALL,
    TWO_TOOL_CALLS,
    BuiltinModel,
)

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def ask(client: httpx.Client, model: BuiltinModel, **settings: Any) -> httpx.Response:
    """One question to a model."""
    question = {"model": model.id, "messages": [{"role": "user", "content": "Say something."}]}
    return client.post("/v1/chat/completions", json=question | settings)


def choice(response: httpx.Response) -> Any:
    """The one choice of a chat."""
    assert response.status_code == httpx.codes.OK, response.text
    return response.json()["choices"][0]


def events(response: httpx.Response) -> list[Any]:
    """The data of a stream's events, as far as they are JSON."""
    lines = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def contents(response: httpx.Response) -> list[str]:
    """The pieces of text of a stream."""
    deltas = [event["choices"][0]["delta"] for event in events(response)]
    return [delta["content"] for delta in deltas if delta.get("content")]


@pytest.mark.parametrize("model", [RESILIENCE, SLOW, SPLIT_UTF8, JSON_TEXT, EMPTY], ids=lambda model: model.alias)
def test_says_its_script_to_the_last_letter(client: httpx.Client, model: BuiltinModel) -> None:
    """Answers that are known beforehand are what makes tests of a client exact."""
    answer = choice(ask(client, model))
    assert (answer["message"]["content"], answer["finish_reason"]) == (model.text, "stop")


def test_streams_one_word_a_chunk(client: httpx.Client) -> None:
    """So that a test can count chunks."""
    assert contents(ask(client, RESILIENCE, stream=True)) == list(RESILIENCE.script)


def test_stops_at_the_length_that_was_asked_for(client: httpx.Client) -> None:
    """The limit on tokens counts words here."""
    answer = choice(ask(client, RESILIENCE, max_tokens=3))
    assert (answer["message"]["content"], answer["finish_reason"]) == ("Hello! Every call", "length")


def test_answers_whatever_was_asked(client: httpx.Client) -> None:
    """A prompt in any script and of any length is taken."""
    question = "¿Qué? 何ですか 🤔 <|end|> <tool_call> " * 50
    response = ask(client, RESILIENCE, messages=[{"role": "user", "content": question}])
    assert choice(response)["message"]["content"] == RESILIENCE.text


def test_the_slow_model_takes_its_time_over_each_word(client: httpx.Client) -> None:
    """Slow enough to be cancelled, timed and raced; fast enough for a test."""
    begin = time.perf_counter()
    ask(client, RESILIENCE)
    quick = time.perf_counter() - begin
    begin = time.perf_counter()
    ask(client, SLOW)
    slow = time.perf_counter() - begin
    assert slow > 5 * quick
    assert slow > 0.1


def test_calls_a_tool(client: httpx.Client) -> None:
    """The runtime parses the call from the markers, as with a real model."""
    answer = choice(ask(client, TOOL_CALL, tools=[WEATHER]))
    [call] = answer["message"]["tool_calls"]
    assert answer["finish_reason"] == "tool_calls"
    assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == ("get_weather", {"city": "Lisbon"})


def test_calls_two_tools_in_one_answer(client: httpx.Client) -> None:
    """Both calls arrive, in order."""
    calls = choice(ask(client, TWO_TOOL_CALLS, tools=[WEATHER]))["message"]["tool_calls"]
    cities = [json.loads(call["function"]["arguments"])["city"] for call in calls]
    assert cities == ["Lisbon", "Oslo"]


def test_streams_tool_calls(client: httpx.Client) -> None:
    """Each call comes whole, in one chunk."""
    deltas = [
        event["choices"][0]["delta"] for event in events(ask(client, TWO_TOOL_CALLS, tools=[WEATHER], stream=True))
    ]
    calls = [call for delta in deltas for call in delta.get("tool_calls", [])]
    assert [(call["index"], call["function"]["name"]) for call in calls] == [(0, "get_weather"), (1, "get_weather")]


def test_thinks_before_it_answers(client: httpx.Client) -> None:
    """Thinking and answer arrive in fields of their own."""
    message = choice(ask(client, THINKING))["message"]
    assert (message["reasoning_content"], message["content"]) == ("Two and two make four.", "The answer is 4.")


def test_never_splits_a_character_between_events(client: httpx.Client) -> None:
    """Tokens end within characters; what the server sends does not."""
    chunks = contents(ask(client, SPLIT_UTF8, stream=True))
    assert "".join(chunks) == SPLIT_UTF8.text
    assert "東" in chunks
    assert "👋" in chunks


def test_the_empty_answer_has_no_tokens(client: httpx.Client) -> None:
    """A stream of it has a role and an end, and nothing between."""
    assert contents(ask(client, EMPTY, stream=True)) == []
    assert ask(client, EMPTY).json()["usage"]["completion_tokens"] == 0


def test_breaks_in_mid_sentence_with_an_error_in_the_stream(client: httpx.Client) -> None:
    """The head said 200 already, so the failure comes as an event, and `[DONE]` never does."""
    response = ask(client, BREAKING, stream=True)
    *answered, last = events(response)
    assert response.status_code == httpx.codes.OK
    assert [event["choices"][0]["delta"]["content"] for event in answered[1:]] == list(BREAKING.script)
    assert "token generation failed" in last["error"]["message"]
    assert "[DONE]" not in response.text


def test_breaks_with_a_status_when_nothing_was_sent(client: httpx.Client) -> None:
    """Without a stream the same failure is an honest 500."""
    response = ask(client, BREAKING)
    assert (response.status_code, response.json()["error"]["type"]) == (500, "server_error")


def test_goes_on_until_it_is_stopped(client: httpx.Client) -> None:
    """As many tokens as a test wants, in a context that is large enough."""
    response = ask(client, ENDLESS, max_tokens=5000)
    assert (choice(response)["finish_reason"], response.json()["usage"]["completion_tokens"]) == ("length", 5000)


def test_what_says_json_can_be_parsed(client: httpx.Client) -> None:
    """The answer is one object."""
    assert json.loads(choice(ask(client, JSON_TEXT))["message"]["content"])["colour"] == "blue"


def test_turns_texts_into_vectors(client: httpx.Client) -> None:
    """Equal texts are equal, similar texts are near, others are not; vectors have the length one."""

    def embed(*texts: str) -> list[list[float]]:
        response = client.post("/v1/embeddings", json={"model": EMBEDDING.id, "input": texts})
        return [item["embedding"] for item in response.json()["data"]]

    def near(one: list[float], other: list[float]) -> float:
        return sum(a * b for a, b in zip(one, other, strict=True))

    first, same, similar, other = embed("hello there", "hello there", "hello theme", "XYZ 42")
    assert len(first) == 16
    assert first == same
    assert near(first, first) == pytest.approx(1)
    assert near(first, similar) > 0.9
    assert near(first, other) < 0.5


def test_what_is_not_downloaded_is_listed_and_cannot_be_loaded(client: httpx.Client) -> None:
    """The answer that a client gets when a model is known and not there."""
    listed = [model["id"] for model in client.get("/v1/models").json()["data"]]
    refusal = client.get(f"/models/load/{NOT_DOWNLOADED.alias}")
    assert sorted(listed) == sorted(model.id for model in BUILTIN_MODELS)
    assert refusal.status_code == 400
    assert "not cached" in refusal.json()["error"]["message"]
