"""What is refused before it is sent, and what is translated."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilient_foundry.foundry import Generation, InvalidRequestError, UnsupportedError
from resilient_foundry.foundry.rules import chat_body, check_embedding_model, check_names, embedding_inputs, messages_of
from resilient_foundry.foundry.wire import encode

HELLO = [{"role": "user", "content": "hello"}]
TOOL = {"type": "function", "function": {"name": "add"}}
ONE, TWO = Generation.ONE, Generation.TWO


def body(
    generation: Generation = TWO, *, strict: bool = True, messages: Any = HELLO, **parameters: Any
) -> dict[str, Any]:
    """The body of a chat with these parameters."""
    return chat_body(generation, "m:1", messages, parameters, strict=strict)  # type: ignore[arg-type]  # wrong ones too


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"temperature": -0.1}, "temperature is a number from 0 to 2, not -0.1"),
        ({"temperature": "hot"}, "temperature is a number from 0 to 2"),
        ({"temperature": True}, "temperature is a number"),
        ({"temperature": float("nan")}, "temperature is a number"),
        ({"top_p": 1.1}, "top_p is a number from 0 to 1, not 1.1"),
        ({"max_tokens": 0}, "max_tokens is a whole number from 1 to 2147483647, not 0"),
        ({"max_tokens": 2**31}, "max_tokens is a whole number"),
        ({"max_tokens": 5.0}, "max_tokens is a whole number"),
        ({"n": 0}, "n is a whole number"),
        ({"seed": 2**63}, "seed is a 64-bit integer"),
        ({"stop": []}, "stop holds one to 4 texts"),
        ({"stop": ["a"] * 5}, "stop holds one to 4 texts"),
        ({"stop": [""]}, "none of them empty"),
        ({"stop": 5}, "stop is a text or a list of texts, not int"),
        ({"stop": "x" * 16385}, "stop is longer than 16384 bytes"),
        ({"metadata": {"top_k": "many"}}, r"metadata\['top_k'\] is a whole number from 0 to 1000"),
        ({"metadata": {"top_k": "999999"}}, r"metadata\['top_k'\] is a whole number from 0 to 1000"),
        ({"metadata": {"random_seed": "-1"}}, r"metadata\['random_seed'\] is a whole number"),
        ({"metadata": {"a": 1}}, "metadata is a dict of text to text"),
        ({"tools": {"a": 1}}, "tools is a list"),
        ({"tools": [{"type": "function"}]}, "tool 0 is not"),
        ({"tools": [TOOL, TOOL]}, "two tools are named 'add'"),
        ({"tool_choice": "required"}, "there are no tools"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "sub"}}}, "names one of the tools"),
        ({"parallel_tool_calls": "yes"}, "parallel_tool_calls is True or False"),
        ({"reasoning_effort": "huge"}, "reasoning_effort is one of none, minimal"),
        ({"response_format": {"type": "json_schema"}}, "needs the schema"),
        ({"response_format": {"type": "json_schema", "json_schema": "{}"}}, "needs the schema"),
        ({"response_format": "json"}, "response_format is a dict"),
        ({"presence_penalty": "much"}, "presence_penalty is a number"),
        ({"extra": {"stream": True}}, "extra can't hold 'stream', which the client itself sets"),
        ({"extra": {"temperature": -1}}, "extra can't hold 'temperature', which is a parameter"),
        ({"extra": {"max_completion_tokens": 0}}, "extra can't hold 'max_completion_tokens'"),
    ],
)
@pytest.mark.parametrize("generation", [ONE, TWO])
@pytest.mark.parametrize("strict", [True, False])
def test_what_no_server_takes_is_refused_with_one_sentence(
    parameters: dict[str, Any], sentence: str, generation: Generation, strict: bool
) -> None:
    """Also with strict=False: some of these kill a 1.x service."""
    with pytest.raises(InvalidRequestError, match=sentence) as caught:
        body(generation, strict=strict, **parameters)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("messages", "sentence"),
    [
        ([], "the list of messages is empty"),
        ("hello", "messages is a list"),
        ({"role": "user"}, "messages is a list"),
        (["hello"], "message 0 is a dict"),
        ([{"content": "a"}], "message 0 has no role"),
        ([{"role": "user", "content": ""}], "none of them has content"),
        ([{"role": "user", "content": None}], "none of them has content"),
        ([{"role": "user", "content": 5}], "the content of message 0 is text or a list of parts"),
    ],
)
def test_empty_and_shapeless_messages_are_refused(messages: Any, sentence: str) -> None:
    """An empty prompt has crashed servers."""
    with pytest.raises(InvalidRequestError, match=sentence):
        body(messages=messages)


@pytest.mark.parametrize("prompt", ["", "  \n", None, 5])
def test_an_empty_prompt_is_refused(prompt: Any) -> None:
    """Before anything is sent."""
    with pytest.raises(InvalidRequestError, match="the prompt is"):
        messages_of(prompt, None)


def test_a_system_prompt_stands_first() -> None:
    """As its own message."""
    assert [message["role"] for message in messages_of("hi", "be brief")] == ["system", "user"]


def test_text_parts_become_one_text() -> None:
    """1.x writes a list of parts into the prompt as JSON."""
    parts = [{"type": "text", "text": "a"}, {"type": "input_text", "text": "b"}]
    assert body(messages=[{"role": "user", "content": parts}])["messages"] == [{"role": "user", "content": "ab"}]


@pytest.mark.parametrize("strict", [True, False])
def test_an_image_is_refused(strict: bool) -> None:
    """Both servers would drop or garble it in silence."""
    parts = [{"type": "image_url", "image_url": {"url": "x"}}]
    with pytest.raises(UnsupportedError, match="part of type 'image_url'"):
        body(strict=strict, messages=[{"role": "user", "content": parts}])


@pytest.mark.parametrize(
    ("generation", "parameters", "what"),
    [
        (ONE, {"seed": 1}, r"seed; metadata=\{'random_seed': '7'\}"),
        (ONE, {"stop": "x"}, "stop"),
        (ONE, {"reasoning_effort": "low"}, "reasoning_effort"),
        (ONE, {"response_format": {"type": "json_object"}}, "response_format"),
        (ONE, {"n": 2}, "n other than 1"),
        (TWO, {"n": 2}, "n other than 1"),
        (TWO, {"presence_penalty": 0.5}, "penalties"),
        (TWO, {"extra": {"logprobs": True}}, "log probabilities"),
        (TWO, {"extra": {"top_k": 40}}, r"top_k outside metadata; use metadata=\{'top_k': '40'\}"),
    ],
)
def test_what_would_be_ignored_is_refused_or_let_through_on_request(
    generation: Generation, parameters: dict[str, Any], what: str
) -> None:
    """Nobody should believe that a seed was used when it was not."""
    with pytest.raises(UnsupportedError, match=rf"{generation.value} does not support {what}"):
        body(generation, **parameters)
    sent = body(generation, strict=False, **parameters)
    assert set(sent) > {"model", "messages"}


@pytest.mark.parametrize("parameters", [{"seed": 1, "stop": ["x"], "response_format": {"type": "json_object"}}])
def test_2_takes_what_1_ignores(parameters: dict[str, Any]) -> None:
    """They go into the body as they are."""
    sent = body(TWO, **parameters)
    assert {name: sent[name] for name in parameters} == parameters


def test_what_says_nothing_is_not_sent() -> None:
    """A penalty of zero changes the answers of 1.x, and 2.x refuses any other."""
    sent = body(ONE, presence_penalty=0, frequency_penalty=0.0, n=1, tools=[], temperature=None)
    assert set(sent) == {"model", "messages"}


def test_a_schema_loses_the_wrapper_of_openai() -> None:
    """2.x would take the wrapper for the schema, and enforce nothing."""
    schema = {"type": "object", "properties": {"schema": {"type": "string"}}}
    wrapped = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema}}
    bare = {"type": "json_schema", "json_schema": schema}
    assert body(response_format=wrapped)["response_format"] == bare
    assert body(response_format=bare)["response_format"] == bare


def test_the_text_format_is_left_out() -> None:
    """It is what comes anyway; 1.x needs no refusal for it."""
    assert "response_format" not in body(ONE, response_format={"type": "text"})


def test_strict_tools_are_refused() -> None:
    """2.x answers 400, 1.x does not know them."""
    tool = {"type": "function", "function": {"name": "add", "strict": True}}
    with pytest.raises(UnsupportedError, match="no strict tools"):
        body(tools=[tool])


def test_tools_and_extra_fields_go_into_the_body() -> None:
    """What we do not know is the caller's to send."""
    sent = body(tools=[TOOL], tool_choice="required", extra={"chat_template_kwargs": {"a": 1}})
    assert (sent["tools"], sent["tool_choice"], sent["chat_template_kwargs"]) == ([TOOL], "required", {"a": 1})


def test_a_misspelt_parameter_is_a_type_error() -> None:
    """As for any Python function."""
    with pytest.raises(TypeError, match=r"complete\(\) got an unexpected keyword argument 'temprature'"):
        check_names({"temprature": 1}, "complete")


@pytest.mark.parametrize("texts", ["", " ", [], ["a", ""]])
def test_nothing_to_embed_is_refused(texts: Any) -> None:
    """1.x answers 400, and an empty list means nothing."""
    with pytest.raises(InvalidRequestError):
        embedding_inputs(texts)


def test_a_chat_model_is_not_asked_for_embeddings_on_1() -> None:
    """1.2.4 dies of it (SIGSEGV), at the first try."""
    with pytest.raises(UnsupportedError, match=r"kills a 1\.x service; pass force=True"):
        check_embedding_model(ONE, "phi-4-mini", force=False)
    check_embedding_model(ONE, "phi-4-mini", force=True)
    check_embedding_model(ONE, "qwen3-Embedding-0.6b", force=False)
    check_embedding_model(TWO, "phi-4-mini", force=False)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=10,
)


@settings(deadline=None)
@given(st.dictionaries(st.text(), JSON), st.dictionaries(st.text(), JSON), st.sampled_from([ONE, TWO]))
def test_any_body_is_either_whole_json_or_one_sentence(
    extra: dict[str, Any], message: dict[str, Any], generation: Generation
) -> None:
    """Whatever a caller passes, nothing half-made reaches the wire and nothing but our errors comes out."""
    try:
        sent = encode(body(generation, messages=[{"role": "user", "content": "x", **message}], extra=extra))
    except (InvalidRequestError, UnsupportedError) as error:
        sentence = str(error)
        assert sentence
    else:
        assert sent.decode("utf-8").startswith('{"model":"m:1"')
