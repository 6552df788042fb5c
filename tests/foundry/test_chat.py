"""Chats, streams and embeddings on both generations, with both libraries."""

from __future__ import annotations

import json
from typing import Any

import pytest

from resilient_foundry.foundry import (
    ContextLengthExceededError,
    FoundryClient,
    InferenceError,
    InvalidRequestError,
    ModelNotLoadedError,
    NotFoundryError,
    ProtocolError,
    StreamInterruptedError,
    UnsupportedError,
)
from tests.foundry.conftest import AsyncConnect, Connect
from tests.foundry.servers import (
    EVENT_STREAM,
    TOO_LONG,
    Answer,
    One,
    Two,
    delta,
    delta_on_1,
    events,
    fault,
    reply,
    usage,
    whole,
    whole_on_1,
)

PHI = "phi-4-mini-instruct-cpu:1"
TOOL = {"type": "function", "function": {"name": "add"}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": "{}"}}


def two(*chats: Answer) -> Two:
    """2.x with the model loaded, and these answers."""
    return Two(loaded=[PHI], chats=list(chats))


def one(*chats: Answer) -> One:
    """1.x with the model loaded, and these answers."""
    return One(loaded=[PHI], chats=list(chats))


def test_an_answer_is_read(connect: Connect) -> None:
    """All of it, and what we do not know stays in `raw`."""
    result = connect(two(), model=PHI).complete("hi", system="be brief", max_tokens=5)
    assert (result.content, result.finish_reason, result.model, result.complete) == ("To be", "stop", PHI, True)
    assert result.usage is not None
    assert (result.usage.prompt_tokens, result.usage.completion_tokens, result.usage.reasoning_tokens) == (2, 2, 0)
    assert result.raw["object"] == "chat.completion"
    assert result.elapsed is not None


def test_the_request_is_one_that_both_servers_take(connect: Connect) -> None:
    """A length, a type, raw UTF-8, no HEAD, no Expect."""
    server = two()
    connect(server, model=PHI, api_key="k1").complete("größe", max_tokens=5)
    chat = server.seen[-1]
    assert chat.body == {"model": PHI, "messages": [{"role": "user", "content": "größe"}], "max_tokens": 5}
    assert chat.headers["content-type"] == "application/json"
    assert int(chat.headers["content-length"]) > 0
    assert chat.headers["authorization"] == "Bearer k1"
    assert "expect" not in chat.headers
    assert {exchange.method for exchange in server.seen} <= {"GET", "POST"}


def test_no_key_means_no_authorization(connect: Connect) -> None:
    """A head is short on 2.x."""
    server = two()
    connect(server, model=PHI).complete("hi")
    assert "authorization" not in server.seen[-1].headers


def test_an_empty_answer_is_empty(connect: Connect) -> None:
    """2.x writes a space where nothing was generated."""
    assert connect(two(whole(" ", tokens=0)), model=PHI).complete("hi").content == ""
    assert connect(two(whole(" ", tokens=1)), model=PHI).complete("hi").content == " "


def test_thoughts_are_told_from_the_answer(connect: Connect) -> None:
    """A field of its own on 2.x, text on 1.x."""
    on_2 = connect(two(whole("yes", reasoning_content="hm")), model=PHI).complete("hi")
    on_1 = connect(one(whole_on_1("<think>hm</think>\n\nyes")), model=PHI).complete("hi")
    assert [(result.reasoning, result.content) for result in (on_2, on_1)] == [("hm", "yes")] * 2


def test_tool_calls_are_read_and_their_markup_removed(connect: Connect) -> None:
    """1.x leaves the markup in the text, beside the calls that it read from it."""
    text = 'One moment.<tool_call>{"name": "add"}</tool_call>'
    on_1 = connect(one(whole_on_1(text, tool_calls=[CALL])), model=PHI).complete("hi", tools=[TOOL])
    on_2 = connect(two(whole("", tool_calls=[CALL], finish_reason="tool_calls")), model=PHI).complete(
        "hi", tools=[TOOL]
    )
    assert on_1.content == "One moment."
    for result in (on_1, on_2):
        (call,) = result.tool_calls
        assert (call.id, call.name, call.arguments) == ("call_1", "add", "{}")


def test_the_default_cap_of_1_is_a_length(connect: Connect) -> None:
    """1.x says `stop` where its own cap of 2048 tokens ended the answer."""
    assert connect(one(whole_on_1(tokens=2048)), model=PHI).complete("hi").finish_reason == "length"
    assert connect(one(whole_on_1(tokens=2048)), model=PHI).complete("hi", max_tokens=4000).finish_reason == "stop"


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"choices":[]}', b'{"choices":[{"message":5}]}', b'{"a":1}'])
def test_an_answer_that_cannot_be_read_is_a_protocol_error(connect: Connect, body: bytes) -> None:
    """It carries what was said."""
    with pytest.raises(ProtocolError) as caught:
        connect(two(Answer(200, body)), model=PHI).complete("hi")
    assert (caught.value.body, caught.value.status) == (body, 200)


def test_a_stream_hands_over_pieces_and_joins_them(connect: Connect) -> None:
    """`for chunk in client.stream_complete(...)`, and the whole answer afterwards."""
    server = two(events(delta(role="assistant"), delta("To"), delta(" be"), delta("", "stop"), usage(2)))
    stream = connect(server, model=PHI).stream_complete("hi", max_tokens=5)
    assert [chunk.content for chunk in stream if chunk.content] == ["To", " be"]
    result = stream.result()
    assert (result.content, result.finish_reason, result.model, result.complete) == ("To be", "stop", "m:1", True)
    assert result.usage is not None
    assert result.usage.completion_tokens == 2
    assert server.chat_bodies[0]["stream"] is True


def test_a_stream_of_1_is_the_same(connect: Connect) -> None:
    """Asked in the same words: other chunks, the same pieces; thoughts parted although their markers are cut."""
    pieces = [delta_on_1(piece) for piece in ("<th", "ink>h", "m</think", ">\n\nyes")]
    server = one(events(*pieces, delta_on_1("!", "stop")))
    stream = connect(server, model=PHI).stream_complete("hi")
    assert "".join(chunk.content for chunk in stream) == "yes!"
    assert (stream.result().reasoning, stream.result().content) == ("hm", "yes!")
    assert server.chat_bodies[0]["stream_options"] == {"include_usage": True}


def test_an_empty_stream_is_empty(connect: Connect) -> None:
    """As the answer in one piece."""
    stream = connect(two(events(delta(" "), delta("", "stop"), usage(0))), model=PHI).stream_complete("hi")
    list(stream)
    assert stream.result().content == ""


def test_tool_calls_in_pieces_are_joined(connect: Connect) -> None:
    """2.x sends them whole; OpenAI's own way is understood too."""
    first = {"index": 0, "id": "call_1", "function": {"name": "add", "arguments": '{"a"'}}
    second = {"index": 0, "function": {"arguments": ": 1}"}}
    server = two(events(delta(tool_calls=[first]), delta(tool_calls=[second]), delta("", "tool_calls")))
    stream = connect(server, model=PHI).stream_complete("hi", tools=[TOOL])
    list(stream)
    (call,) = stream.result().tool_calls
    assert (call.id, call.name, call.arguments) == ("call_1", "add", '{"a": 1}')


def test_a_stream_with_tools_is_asked_whole_on_1(connect: Connect) -> None:
    """1.x streams tool calls as text that nobody has read."""
    server = one(whole_on_1("<tool_call>{}</tool_call>", tool_calls=[CALL]))
    stream = connect(server, model=PHI).stream_complete("hi", tools=[TOOL])
    (chunk,) = stream
    assert chunk.tool_calls[0].name == "add"
    assert stream.result().content == ""
    assert "stream" not in server.chat_bodies[0]


def test_an_error_in_a_stream_says_what_was_delivered(connect: Connect) -> None:
    """2.x reports failures inside the stream, and ends it cleanly."""
    error = {"error": {"code": None, "message": "token generation failed", "param": None, "type": "server_error"}}
    stream = connect(two(events(delta("To"), delta(" be"), error, done=False)), model=PHI).stream_complete("hi")
    with pytest.raises(InferenceError) as caught:
        list(stream)
    assert (caught.value.delivered, caught.value.status) == ("To be", None)
    assert stream.result().content == "To be"
    assert not stream.result().complete


@pytest.mark.parametrize("name", ["", "event: error\n"])
def test_an_error_event_is_understood_by_its_words(connect: Connect, name: str) -> None:
    """A prompt too long is a 400 without streaming, and an event with it."""
    event = name + "data: " + json.dumps({"error": {"message": TOO_LONG, "type": "invalid_request_error"}})
    with pytest.raises(ContextLengthExceededError) as caught:
        list(connect(two(events(event, done=False)), model=PHI).stream_complete("hi"))
    assert (caught.value.needed, caught.value.limit) == (5002, 4096)


def test_an_error_before_the_stream_is_an_error_as_ever(connect: Connect) -> None:
    """A real 400."""
    with pytest.raises(ModelNotLoadedError):
        list(connect(Two()).stream_complete("hi", model=PHI))


def test_a_finish_reason_without_terminator_is_an_answer(connect: Connect) -> None:
    """It is marked as not complete."""
    stream = connect(two(events(delta("a"), delta("", "stop"), done=False)), model=PHI).stream_complete("hi")
    list(stream)
    assert (stream.result().content, stream.result().complete) == ("a", False)


@pytest.mark.parametrize("cut", [True, False])
def test_a_stream_that_just_ends_is_interrupted(connect: Connect, cut: bool) -> None:
    """Cut or closed: half an answer must not look whole, and is not asked again in silence."""
    server = two(events(delta("To"), delta(" be"), done=False, cut=cut))
    with pytest.raises(StreamInterruptedError, match="interrupted after 2 chunks") as caught:
        list(connect(server, model=PHI).stream_complete("hi"))
    assert (caught.value.delivered, caught.value.chunks) == ("To be", 2)
    assert (caught.value.__cause__ is not None) is cut
    assert len(server.chat_bodies) == 1


def test_what_comes_after_the_terminator_does_not_count(connect: Connect) -> None:
    """The answer is whole, however the connection ends."""
    body = events(delta("a", "stop")).body + b"data: rubbish\n\n"
    stream = connect(two(Answer(200, body, EVENT_STREAM, cut=True)), model=PHI).stream_complete("hi")
    assert [chunk.content for chunk in stream] == ["a"]
    assert stream.result().complete


@pytest.mark.parametrize("event", ["data: {", "data: 5", "data: [DONE"])
def test_an_event_that_cannot_be_read_is_a_protocol_error(connect: Connect, event: str) -> None:
    """With what was delivered before it."""
    with pytest.raises(ProtocolError) as caught:
        list(connect(two(events(delta("a"), event)), model=PHI).stream_complete("hi"))
    assert caught.value.delivered == "a"


def test_an_event_without_end_is_a_protocol_error(connect: Connect) -> None:
    """The memory is bounded."""
    server = two(Answer(200, b"data: " + b"x" * (1 << 20) + b"y", EVENT_STREAM))
    with pytest.raises(ProtocolError, match="larger than 1048576 bytes"):
        list(connect(server, model=PHI).stream_complete("hi"))


def test_unknown_fields_and_empty_chunks_do_no_harm(connect: Connect) -> None:
    """Servers say more than they should."""
    odd: list[dict[str, Any]] = [{}, {"choices": None}, {"choices": [5]}, {"choices": [{"delta": None}]}, {"x": 1}]
    stream = connect(two(events(*odd, delta("a", "stop"))), model=PHI).stream_complete("hi")
    assert [chunk.content for chunk in stream] == ["a"]


def test_a_whole_answer_to_a_stream_is_one_chunk(connect: Connect) -> None:
    """A proxy that does not stream."""
    stream = connect(two(whole()), model=PHI).stream_complete("hi")
    assert [chunk.content for chunk in stream] == ["To be"]
    assert stream.result().complete


def test_an_empty_cut_stream_of_1_is_explained(connect: Connect) -> None:
    """1.x has no other way to say that a model is not loaded, or that a prompt is too long."""
    server = one(events(delta_on_1("a", "stop")))
    client = connect(server, model="phi-4-mini")
    list(client.stream_complete("hi"))
    server.loaded.clear()  # by somebody else
    with pytest.raises(ModelNotLoadedError, match=r"cut the stream before its first chunk, and 'phi-4-mini' is not"):
        list(client.stream_complete("hi"))
    server = one(Answer(200, b"", EVENT_STREAM, cut=True))
    with pytest.raises(StreamInterruptedError, match="the likely cause: prompt and max_tokens"):
        list(connect(server).stream_complete("hi", model="phi-4-mini"))


def test_a_model_that_1_has_not_loaded_is_not_streamed(connect: Connect) -> None:
    """The cut connection would look like a failing network, and open the circuit for everybody."""
    server = One(loaded=["llama:1"])
    with pytest.raises(ModelNotLoadedError, match=r"not among the loaded models of the service \(llama:1\)"):
        list(connect(server).stream_complete("hi", model="phi-4-mini"))
    assert server.chat_bodies == []


def test_1_streams_when_its_catalog_is_out(connect: Connect) -> None:
    """Nobody knows then what an alias means, so the service is asked."""
    server = one(events(delta_on_1("a", "stop")))
    server.script["/v1/models"] = [fault(500, "catalog")]
    assert [chunk.content for chunk in connect(server).stream_complete("hi", model="phi-4-mini")] == ["a"]


def test_a_stream_left_early_keeps_what_it_had(connect: Connect) -> None:
    """Leaving the block closes the answer."""
    with connect(two(events(delta("a"), delta("b", "stop"))), model=PHI).stream_complete("hi") as stream:
        next(stream)
    assert (stream.result().content, stream.result().complete) == ("a", False)
    assert list(stream) == []


def test_nothing_is_sent_before_the_first_piece_is_asked_for(connect: Connect) -> None:
    """A stream that is never used costs nothing."""
    server = two()
    connect(server, model=PHI).stream_complete("hi").close()
    assert server.asked == []


def test_embeddings_come_in_the_order_of_the_texts(connect: Connect) -> None:
    """Whatever order the server writes them in."""
    result = connect(two(), model=PHI).embed(["a", "b"])
    assert result.vectors == ((1.0, 0.0), (1.0, 0.0))
    assert connect(one()).embed("a", model="qwen3-embedding").vectors == ((1.0,),)


def test_embeddings_of_a_chat_model_are_not_asked_of_1(connect: Connect) -> None:
    """It would be the end of the service."""
    server = one()
    with pytest.raises(UnsupportedError):
        connect(server).embed("a", model="phi-4-mini")
    assert server.asked == ["GET /status"]


def test_embeddings_that_are_none_are_a_protocol_error(connect: Connect) -> None:
    """One vector for each text, made of numbers."""
    for data in ([], [{"embedding": "base64"}], [{"embedding": ["x"]}]):
        server = two()
        server.script["/v1/embeddings"] = [reply({"data": data})]
        with pytest.raises(ProtocolError):
            connect(server, model=PHI).embed("a")


def test_no_model_is_one_sentence(connect: Connect) -> None:
    """Neither the call, nor the client, nor the environment names one."""
    with pytest.raises(InvalidRequestError, match="no model was named: pass model=, or set FOUNDRY_MODEL"):
        connect(two()).complete("hi")


def test_what_is_refused_is_not_sent(connect: Connect) -> None:
    """And no model is loaded for it."""
    server = Two()
    with pytest.raises(InvalidRequestError, match="temperature"):
        connect(server).complete("hi", model="phi-4-mini", temperature=3)
    assert server.asked == ["GET /status"]


def test_a_server_that_is_no_foundry_is_one_sentence(connect: Connect) -> None:
    """An HTML 404, or a page that answers everything."""
    page = Answer(404, b"<!DOCTYPE html><h1>Not Found</h1>", "text/html")
    for status in (page, Answer(200, b"<html>hello</html>", "text/html"), reply({"status": "ok"})):
        server = Two(script={"/status": [status]})
        with pytest.raises(NotFoundryError, match=r"http://127.0.0.1:5273 is no Foundry Local") as caught:
            connect(server, model=PHI).complete("hi")
        assert "<" not in str(caught.value)


def test_generation_0_is_recognised(connect: Connect) -> None:
    """And refused with what to do."""
    server = Two(script={"/status": [Answer(404, b"", None)], "/openai/status": [reply({"Endpoints": []})]})
    with pytest.raises(UnsupportedError, match=r"is Foundry Local 0\.x, and this client speaks to 1.x and 2.x only"):
        connect(server, model=PHI).complete("hi")


@pytest.mark.anyio
async def test_the_asynchronous_client_does_the_same(connect_async: AsyncConnect) -> None:
    """`async for` works directly, without await."""
    server = two(events(delta("To"), delta(" be", "stop")))
    async with connect_async(server, model="phi-4-mini") as client:
        assert [chunk.content async for chunk in client.stream_complete("hi")] == ["To", " be"]
        assert (await client.complete("hi")).content == "To be"
        assert (await client.embed("a")).vectors == ((1.0, 0.0),)
        assert (await client.load_model()).state == "already_loaded"
        async with client.stream_complete("hi") as stream:
            pieces = [chunk async for chunk in stream]
        assert (pieces[0].content, stream.result().content) == ("To be", "To be")
        assert [model.loaded for model in await client.list_models()] == [True]
        assert await client.loaded_models() == [PHI]
        assert (await client.unload_model()).state == "unloaded"
        assert (await client.health_check()).status == "degraded"


@pytest.mark.anyio
async def test_an_asynchronous_stream_fails_the_same(connect_async: AsyncConnect) -> None:
    """Errors in the stream, cut connections, early ends."""
    server = two(events(delta("To"), done=False, cut=True), events(delta("a"), delta("b", "stop")))
    async with connect_async(server, model=PHI) as client:
        with pytest.raises(StreamInterruptedError) as caught:
            [chunk async for chunk in client.stream_complete("hi")]
        assert caught.value.delivered == "To"
        async with client.stream_complete("hi") as stream:
            await anext(stream)
        assert stream.result().content == "a"
        assert (await client.unload_model("phi-4-mini", wait=0.01)).state == "unloaded"
    with pytest.raises(ModelNotLoadedError):
        await connect_async(One(), model=PHI).complete("hi")


def test_a_misspelt_parameter_is_a_type_error(connect: Connect) -> None:
    """Not a field that the server ignores."""
    client: Any = connect(two(), model=PHI)
    with pytest.raises(TypeError, match="unexpected keyword argument 'temprature'"):
        client.complete("hi", temprature=1)


def test_a_client_of_the_other_colour_is_a_type_error(library: Any) -> None:
    """It names what it wants and what it got."""
    with pytest.raises(TypeError, match=r"httpx.Client or httpx2.Client, not AsyncClient"):
        FoundryClient("http://127.0.0.1:1", http_client=library.AsyncClient())
