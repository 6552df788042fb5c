"""What was asked and answered goes on spans where that is wanted, and nowhere else."""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilient_foundry import CircuitBreaker, Retry, Stack, StreamGuard
from resilient_foundry.foundry import content
from resilient_foundry.foundry.payloads import ChatResult, ToolCall
from resilient_foundry.telemetry.names import STABLE
from resilient_foundry.testing import busy, events, failed, lost
from tests.foundry.telemetry import Told, answer, chat, maybe, piece, runner, stream, take

INPUT, OUTPUT, TOOLS = "gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.tool.definitions"
ROOM = 16_384
CALL = {"id": "call-1", "type": "function", "function": {"name": "look", "arguments": '{"at": "it"}'}}
PHOTO = "data:image/png;base64," + "A" * 5_000_000


@pytest.fixture
def told() -> Told:
    return Told()


def asked(*messages: Any, tools: Any = None) -> Any:
    return json.loads(content.asked(list(messages), tools, STABLE)[INPUT])


def answered(**said: Any) -> Any:
    (message,) = json.loads(content.answered(ChatResult(**said), STABLE)[OUTPUT])
    return message


@pytest.mark.parametrize("value", ["true", "True", "SPAN_ONLY", "span_and_event"])
def test_messages_go_on_spans_where_somebody_wants_them(
    told: Told, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """By the variable and the values that all instrumentations of generative AI know, old and new."""
    monkeypatch.setenv(content.VARIABLE, value)
    runner("httpx-sync").run(told, chat, answer("or not"))
    assert json.loads(told.about[INPUT]) == [{"role": "user", "parts": [{"type": "text", "content": "to be?"}]}]
    said = {"role": "assistant", "parts": [{"type": "text", "content": "or not"}], "finish_reason": "stop"}
    assert json.loads(told.about[OUTPUT]) == [said]


@pytest.mark.parametrize("value", [None, "", "false", "NO_CONTENT", "EVENT_ONLY", "yes, please"])
def test_messages_go_nowhere_otherwise(told: Told, monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    """A value that is not known is no wish."""
    if value is None:
        monkeypatch.delenv(content.VARIABLE, raising=False)
    else:
        monkeypatch.setenv(content.VARIABLE, value)
    runner("httpx-sync").run(told, chat, answer())
    assert not {INPUT, OUTPUT, TOOLS} & set(told.about)


@pytest.mark.parametrize("way", ["httpx-sync", "httpx2-trio"])
@pytest.mark.parametrize("pieces", [1, None])
def test_half_an_answer_is_told_too(told: Told, monkeypatch: pytest.MonkeyPatch, way: str, pieces: int | None) -> None:
    """Of a stream that failed, and of one that the caller left."""
    monkeypatch.setenv(content.VARIABLE, "SPAN_ONLY")

    async def act(client: Any) -> Any:
        return await take(client, pieces=pieces)

    runner(way).run(told, act, stream("To ", "be", ends=False))
    (message,) = json.loads(told.about[OUTPUT])
    assert message["parts"] == [{"type": "text", "content": "To be" if pieces is None else "To "}]
    assert message["finish_reason"] == "error"


def test_what_was_asked_is_told_as_it_was_when_it_was_asked(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """A conversation grows while its last answer is still read."""
    monkeypatch.setenv(content.VARIABLE, "true")
    messages: list[Any] = [{"role": "user", "content": "to be?"}]

    async def act(client: Any) -> None:
        said = client.stream_chat(messages)
        next(said)
        messages.append({"role": "user", "content": "later"})
        said.close()

    runner("httpx-sync").run(told, act, stream("To ", "be"))
    assert [message["parts"][0]["content"] for message in json.loads(told.about[INPUT])] == ["to be?"]


def test_tools_their_calls_and_their_answers_are_parts(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the JSON schemas of the conventions have them; of tools no more than they require, for a schema is long."""
    monkeypatch.setenv(content.VARIABLE, "true")
    tool = {"type": "function", "function": {"name": "look", "description": "Looks.", "parameters": {"type": "object"}}}
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "look at "}, {"type": "text", "text": "it"}]},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call-1", "content": "a flower"},
    ]

    async def act(client: Any) -> Any:
        return await maybe(client.chat(messages, tools=[tool]))

    runner("httpx-sync").run(told, act, answer("", reasoning_content="hm", tool_calls=[CALL]))
    call = {"type": "tool_call", "id": "call-1", "name": "look", "arguments": '{"at": "it"}'}
    assert json.loads(told.about[INPUT]) == [
        {"role": "system", "parts": [{"type": "text", "content": "be brief"}]},
        {"role": "user", "parts": [{"type": "text", "content": "look at "}, {"type": "text", "content": "it"}]},
        {"role": "assistant", "parts": [call]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "call-1", "response": "a flower"}]},
    ]
    (message,) = json.loads(told.about[OUTPUT])
    assert message["parts"] == [{"type": "reasoning", "content": "hm"}, call]
    assert json.loads(told.about[TOOLS]) == [{"type": "function", "name": "look", "description": "Looks."}]


def test_of_a_picture_only_its_kind_and_size_are_told() -> None:
    """Nobody reads megabytes of base64 in a trace. Where it lies elsewhere, its address is told."""
    there = {"type": "image_url", "image_url": {"url": "http://127.0.0.1/a.png"}}
    (message,) = asked({"role": "user", "content": [{"type": "image_url", "image_url": {"url": PHOTO}}, there, {}]})
    assert message["parts"] == [
        {"type": "blob", "modality": "image", "mime_type": "image/png", "content": "", "omitted": len(PHOTO)},
        {"type": "uri", "modality": "image", "uri": "http://127.0.0.1/a.png"},
        {"type": "unknown"},
    ]


def test_a_text_that_is_cut_says_so_in_json_that_is_valid() -> None:
    (part,) = answered(content='"' * (ROOM + 7))["parts"]
    assert part["content"] == '"' * ROOM + "… (7 characters more)"


def test_of_a_long_conversation_the_latest_messages_are_told() -> None:
    """With a word on how many went before: the question is what somebody looks for."""
    first, *rest = asked(*({"role": "user", "content": f"{place:05}" * 1000} for place in range(100)))
    assert first == {"role": "omitted", "parts": [{"type": "omitted", "messages": 96}]}
    assert [message["parts"][0]["content"][:5] for message in rest] == ["00096", "00097", "00098", "00099"]
    assert len(asked(*[{"role": "user", "content": ""}] * 10_000)) == 257


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)) | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "content", "text", "type", "url", "function", "image_url"]), inner)
    ),
    max_leaves=12,
)


@given(st.lists(anything) | anything, anything)
@settings(max_examples=100, deadline=None)
def test_whatever_is_asked_does_no_harm_on_its_way(messages: Any, tools: Any) -> None:
    """It is written before it has been checked; what is wrong with it is for the client to say."""
    for told in content.asked(messages, tools, STABLE).values():
        told.encode("utf-8")
        assert isinstance(json.loads(told), list)


def test_half_characters_are_told_as_question_marks() -> None:
    """Whole exports fail over one."""
    half = "a\ud800"
    calls = (ToolCall(id=half, name=half, arguments=half),)
    message = answered(content=half, reasoning=half, tool_calls=calls, finish_reason=half)
    json.dumps(message, ensure_ascii=False).encode()
    assert message["parts"][1] == {"type": "text", "content": "a?"}


def test_messages_may_be_any_mapping() -> None:
    """As the client takes them."""
    message = MappingProxyType({"role": "user", "content": "to be?"})
    assert asked(message) == [{"role": "user", "parts": [{"type": "text", "content": "to be?"}]}]


secrets = st.text("abcdefghijklmnopqrstuvwxyz", min_size=12, max_size=12).map(lambda drawn: f"SECRET{drawn}")
FAULTS = (
    busy(retry_after=1),
    lost(after=1),
    failed(500, b'{"error": {"message": "SECRET", "type": "server_error"}}'),
    failed(400, b'{"error": {"message": "SECRET", "type": "invalid_request_error"}}'),
    events('{"error": {"message": "SECRET", "type": "server_error"}}'),
    stream("SECRET", ends=False),
    stream("SECRET", ends=False, breaks="ReadError"),
    events(piece("SECRET"), "SECRET is no JSON"),
    stream("SECRET", "SECRET", last='{"usage": {"prompt_tokens": 1, "SECRET": 2}}'),
    answer("SECRET", tool_calls=[{"id": "SECRET", "function": {"name": "SECRET", "arguments": "SECRET"}}]),
)


@given(
    secret=secrets,
    faults=st.lists(st.sampled_from(FAULTS), min_size=1, max_size=4),
    way=st.sampled_from(["httpx-sync", "httpx-asyncio", "httpx2-sync", "httpx2-trio"]),
    pieces=st.none() | st.integers(1, 2) | st.just(-1),
)
@settings(max_examples=50, deadline=None)
def test_nothing_that_was_said_leaves_unasked(secret: str, faults: list[Any], way: str, pieces: int | None) -> None:
    """No prompt, answer, argument, key, or value of a query, whatever goes wrong: in no span, event or metric."""
    told = Told()
    tool = {"type": "function", "function": {"name": secret, "description": secret, "parameters": {secret: secret}}}
    messages = [
        {"role": "user", "content": f"{secret}?"},
        {"role": "tool", "tool_call_id": secret, "content": secret},
    ]

    async def act(client: Any) -> None:
        try:
            if pieces is not None and pieces < 0:
                await maybe(client.chat(messages, tools=[tool]))
                return
            said = client.stream_chat(messages, tools=[tool])
            got = 0
            try:
                while pieces is None or got < pieces:
                    await anext(said) if hasattr(said, "__anext__") else next(said)
                    got += 1
            finally:
                await maybe(said.aclose() if hasattr(said, "aclose") else said.close())
        except (Exception, StopAsyncIteration):  # noqa: BLE001 - it is what is told that matters
            return

    stack = Stack(told.tracing(), Retry(), CircuitBreaker(failures=4), StreamGuard())
    runner(way).run(told, act, *faults, *[busy(retry_after=0)] * 3, stack=stack, api_key=secret)
    metrics = told.reader.get_metrics_data()
    exported = " ".join([span.to_json() for span in told.spans] + [metrics.to_json() if metrics else ""])
    assert "http.request.method" in exported
    assert "SECRET" not in exported
