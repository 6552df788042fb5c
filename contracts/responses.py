"""OpenAI's newer way to ask: POST /v1/responses, plain and streamed, and the store of what was answered."""

import json
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final

from hypothesis import strategies as st

from resilient_foundry.harness import (
    MAY,
    MUST,
    OWN,
    SHOULD,
    Answer,
    Grammar,
    Session,
    contract,
    each,
    named_kind,
    one_of,
)
from resilient_foundry.harness.evidence import COMPLETE
from resilient_foundry.sse import Event

_PATH: Final = "/v1/responses"
_QUESTION: Final = "What is resilience?"
_TEXTS: Final = st.text(min_size=1, max_size=200).filter(lambda text: bool(text.strip()))
_UNKNOWN: Final = "no-such-response"
_ANSWERED: Final = one_of("completed", "incomplete")
_MESSAGE: Final = {
    "type": "message",
    "id": str,
    "role": "assistant",
    "status": _ANSWERED,
    "content": each({"type": "output_text", "text": str}, least=1),
}
_TOOL: Final = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather in a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
_PARTS: Final = (
    "response_content_part_added response_output_text_delta* response_output_text_done response_content_part_done"
)
_CALL: Final = "response_function_call_arguments_delta* response_function_call_arguments_done"
_THOUGHTS: Final = (
    "response_reasoning_delta* response_reasoning_done | response_reasoning_text_delta* response_reasoning_text_done"
)
"""As 2.x calls them, or as OpenAI does."""
_ITEM: Final = f"response_output_item_added (({_PARTS})* | {_CALL} | {_THOUGHTS}) response_output_item_done"
_STREAM: Final = Grammar(
    named_kind,
    f"response_created response_in_progress? ({_ITEM})* (response_completed | response_incomplete) done?",
)
"""OpenAI sends no `[DONE]` here; both generations of the runtime do, and it harms nobody."""


def _ask(session: Session, *, part: str = "chat", **more: Any) -> Answer:
    return session.post(_PATH, json={"model": session.model(part), "input": _QUESTION} | more)


def _stream(session: Session, *, part: str = "chat", **more: Any) -> Answer:
    return _ask(session, part=part, stream=True, **more).status(200).media("text/event-stream").ended()


def _told(answer: Answer) -> list[Any]:
    """The data of the events, without the `[DONE]` at their end."""
    return [json.loads(event.data) for event in answer.events if event.data.strip() != "[DONE]"]


def _texts(response: Any) -> list[str]:
    """The texts of an answer as its messages have them."""
    messages = [item for item in response["output"] if item["type"] == "message"]
    return [part["text"] for item in messages for part in item["content"] if part["type"] == "output_text"]


def _of(answer: Answer, kind: str) -> list[Any]:
    return [told for told in _told(answer) if told.get("type") == kind]


def _last(answer: Answer) -> Any:
    """The response that the last event carries."""
    answer.value(_told(answer)[-1:], [{"response": {"status": str}}], "the last event")
    return _told(answer)[-1]["response"]


def _fails(answer: Answer) -> Answer:
    """It is a response that failed, and says why."""
    return answer.has({"object": "response", "status": "failed", "error": {"code": str, "message": str}})


@contextmanager
def _stored(session: Session, *, part: str = "chat", **more: Any) -> Generator[Answer]:
    """An answer that is stored for as long as the block lasts."""
    answer = _ask(session, part=part, store=True, **more).status(200).has({"id": str})
    try:
        yield answer
    finally:
        session.delete(f"{_PATH}/{answer.json['id']}")  # 404 where the contract deleted it


# Plain


@contract(MUST, needs="chat")
def answers_in_one_object(session: Session) -> None:
    """A question is answered with one JSON object: a message of the assistant, and the model that said it."""
    most = session.vary(8, st.integers(1, 64))
    answer = _ask(session, input=session.vary(_QUESTION, _TEXTS), max_output_tokens=most)
    answer.status(200).media("application/json").has(
        {
            "object": "response",
            "id": str,
            "created_at": int,
            "status": _ANSWERED,
            "model": session.model("chat"),
            "error": None,
            "output": each({"type": str, "id": str}, least=1),
        }
    )
    messages = [item for item in answer.json["output"] if item["type"] == "message"]
    answer.value(messages, [_MESSAGE], "the messages")


@contract(MUST, needs="chat")
def gives_each_answer_an_id(session: Session) -> None:
    """No two answers share an id."""
    first, again = _ask(session, max_output_tokens=1).status(200), _ask(session, max_output_tokens=1).status(200)
    again.holds(first.json["id"] != again.json["id"], "both answers have the same id")


@contract(SHOULD, needs="chat")
def says_that_it_was_cut(session: Session) -> None:
    """An answer that `max_output_tokens` cut says that it is incomplete, and why."""
    answer = _ask(session, max_output_tokens=8).status(200)
    answer.has({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}})


@contract(SHOULD, needs="chat")
def keeps_to_the_tokens_that_it_may_take(session: Session) -> None:
    """An answer has at most as many tokens as it may take, and the tokens add up."""
    most = session.vary(8, st.integers(1, 64))
    answer = _ask(session, max_output_tokens=most).status(200)
    answer.has({"usage": {"input_tokens": int, "output_tokens": int, "total_tokens": int}})
    usage = answer.json["usage"]
    answer.holds(usage["output_tokens"] <= most, f"it took {usage['output_tokens']} tokens of {most}")
    answer.holds(usage["input_tokens"] + usage["output_tokens"] == usage["total_tokens"], "the tokens don't add up")


@contract(MUST, needs="chat")
def takes_a_conversation(session: Session) -> None:
    """The input may be the messages of a conversation, with text or with parts of text."""
    said = session.vary("And what is a promise?", _TEXTS)
    messages = [
        {"type": "message", "role": "user", "content": _QUESTION},
        {"type": "message", "role": "assistant", "content": "A promise."},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": said}]},
    ]
    _ask(session, input=messages, max_output_tokens=4).status(200).has({"status": _ANSWERED, "output": [_MESSAGE]})


@contract(SHOULD, needs="chat")
def takes_messages_that_do_not_say_what_they_are(session: Session) -> None:
    """A message may leave out that it is one, as OpenAI's API allows."""
    messages = [{"role": "user", "content": _QUESTION}]
    _ask(session, input=messages, max_output_tokens=4).status(200).has({"status": _ANSWERED, "output": [_MESSAGE]})


@contract(SHOULD, needs="chat")
def takes_its_own_answer_back(session: Session) -> None:
    """The items of an answer may be sent back as they came, with the next question behind them."""
    asked = {"type": "message", "role": "user", "content": _QUESTION}
    answer = _ask(session, max_output_tokens=4).status(200).has({"output": each({"type": str}, least=1)})
    again = _ask(session, input=[asked, *answer.json["output"], asked], max_output_tokens=4)
    again.status(200).has({"status": _ANSWERED})


@contract(SHOULD, needs="chat")
def gives_back_what_it_was_told(session: Session) -> None:
    """Instructions and the metadata of the client come back with the answer."""
    metadata = {"ticket": session.vary("17", st.from_regex(r"[0-9]{1,9}", fullmatch=True))}
    answer = _ask(session, instructions="Be brief.", metadata=metadata, max_output_tokens=4).status(200)
    answer.has({"instructions": "Be brief.", "metadata": metadata})


@contract(SHOULD, needs="empty")
def may_have_nothing_to_say(session: Session) -> None:
    """An answer without a word is complete, and no failure."""
    answer = _ask(session, part="empty").status(200).has({"status": "completed", "error": None})
    answer.holds(not "".join(_texts(answer.json)).strip(), "the answer has a text")


@contract(SHOULD, needs="tool-call")
def calls_a_tool(session: Session) -> None:
    """A call of a tool is an item of its own: the name, an id to answer to, and the arguments as JSON in a string."""
    answer = _ask(session, part="tool-call", tools=[_TOOL]).status(200)
    calls = [item for item in answer.json["output"] if item["type"] == "function_call"]
    answer.value(calls, [{"name": "get_weather", "call_id": str, "arguments": str}], "the calls")
    answer.value(json.loads(calls[0]["arguments"]), {"city": "Lisbon"}, "the arguments")


@contract(SHOULD, needs="tool-call")
def keeps_markup_of_calls_out_of_the_text(session: Session) -> None:
    """What a model wrote to call a tool is not in the text as well."""
    answer = _ask(session, part="tool-call", tools=[_TOOL]).status(200)
    answer.holds("<tool_call>" not in "".join(_texts(answer.json)), "the text holds the markup of the call")


@contract(SHOULD, needs="tool-call")
def takes_what_a_tool_returned(session: Session) -> None:
    """What a tool returned goes back as an item beside the call, and the model goes on."""
    items = [
        {"type": "message", "role": "user", "content": "How is the weather in Lisbon?"},
        {"type": "function_call", "call_id": "call-one", "name": "get_weather", "arguments": '{"city":"Lisbon"}'},
        {"type": "function_call_output", "call_id": "call-one", "output": "Sunny."},
    ]
    _ask(session, part="tool-call", input=items, tools=[_TOOL]).status(200).has({"status": "completed"})


@contract(SHOULD, needs="thinking")
def keeps_thoughts_out_of_the_text(session: Session) -> None:
    """What a model thinks is an item of its own, and not in the text."""
    answer = _ask(session, part="thinking").status(200)
    answer.holds("<think>" not in "".join(_texts(answer.json)), "the text holds the thoughts")
    kinds = [item["type"] for item in answer.json["output"]]
    answer.holds("reasoning" in kinds, f"the items are {', '.join(kinds)}")


@contract(MAY, needs="json-text")
def takes_a_schema(session: Session) -> None:
    """A schema for the answer is taken as OpenAI's API has it, and the answer is JSON."""
    format_ = {"type": "json_schema", "name": "anything", "schema": {"type": "object"}}
    answer = _ask(session, part="json-text", text={"format": format_}).status(200).has({"status": "completed"})
    answer.value(json.loads("".join(_texts(answer.json))), dict, "the text")


# Failures


@contract(MUST, needs="breaking")
def says_in_the_answer_that_it_failed(session: Session) -> None:
    """A generation that breaks off is answered with a response that says that it failed, and why."""
    _fails(_ask(session, part="breaking"))


@contract(SHOULD, needs="breaking")
def says_by_the_status_that_it_failed(session: Session) -> None:
    """A generation that breaks off is answered with a status of 5xx, so that a client need not read it to know."""
    answer = _ask(session, part="breaking")
    answer.holds(answer.code >= 500, f"the status is {answer.code}, as if it had worked")


@contract(SHOULD)
def refuses_a_model_that_it_does_not_know(session: Session) -> None:
    """A model that is not there is refused with 404."""
    session.post(_PATH, json={"model": "no-such-model", "input": _QUESTION}).refused(404)


@contract(SHOULD, needs="not-downloaded")
def refuses_a_model_that_is_not_loaded(session: Session) -> None:
    """A model that is not in memory is refused with 400, and the message says that it is not loaded."""
    answer = _ask(session, part="not-downloaded").refused(400)
    message = answer.json["error"]["message"]
    answer.holds("not loaded" in message, f"the message does not say that the model is not loaded: {message}")


@contract(SHOULD)
def refuses_a_request_without_a_model(session: Session) -> None:
    """A request that names no model is refused with 400."""
    session.post(_PATH, json={"input": _QUESTION}).refused(400)


@contract(SHOULD, needs="chat")
def refuses_a_request_without_input(session: Session) -> None:
    """A request without input is refused with 400."""
    session.post(_PATH, json={"model": session.model("chat")}).refused(400)


@contract(SHOULD, needs="chat")
def refuses_an_empty_conversation(session: Session) -> None:
    """A conversation without messages is refused with 400."""
    _ask(session, input=[]).refused(400)


@contract(SHOULD)
def refuses_what_is_no_json(session: Session) -> None:
    """A body that is no JSON is refused with 400."""
    session.post(_PATH, content=b"{", headers={"content-type": "application/json"}).refused(400)


@contract(SHOULD, needs="chat")
def refuses_to_answer_in_no_tokens(session: Session) -> None:
    """`max_output_tokens` of 0 is refused with 400."""
    _ask(session, max_output_tokens=0).refused(400)


@contract(SHOULD, needs="chat")
def refuses_a_temperature_out_of_range(session: Session) -> None:
    """A temperature above 2 is refused with 400."""
    _ask(session, temperature=5, max_output_tokens=4).refused(400)


@contract(MUST, needs=["breaking", "chat"])
def serves_others_after_a_failure(session: Session) -> None:
    """After a generation that broke off, other models answer as before."""
    _ask(session, part="breaking")
    _ask(session, max_output_tokens=4).status(200).has({"status": _ANSWERED})


# Streamed


@contract(MUST, needs="chat")
def streams_in_order(session: Session) -> None:
    """A stream opens a response, gives its items part by part, each opened and closed, and ends with the response."""
    most = session.vary(8, st.integers(1, 64))
    _stream(session, input=session.vary(_QUESTION, _TEXTS), max_output_tokens=most).order(_STREAM)


@contract(SHOULD, needs="thinking")
def streams_thoughts_in_order(session: Session) -> None:
    """What a model thinks is streamed in the same order, whatever its events are called."""
    _stream(session, part="thinking").order(_STREAM)


@contract(SHOULD, needs="tool-call")
def streams_calls_in_order(session: Session) -> None:
    """The call of a tool is streamed in the same order: an item is closed before the next is opened."""
    _stream(session, part="tool-call", tools=[_TOOL]).order(_STREAM)


@contract(MUST, needs="chat")
def names_events_by_their_type(session: Session) -> None:
    """The name of an event is the type that its data has: clients look at either."""
    answer = _stream(session, max_output_tokens=4)

    def is_named(event: Event) -> bool:
        return event.data.strip() == "[DONE]" or json.loads(event.data).get("type") == event.event

    answer.holds(all(map(is_named, answer.events)), "an event has another name than its type")


@contract(SHOULD, needs="chat")
def numbers_events(session: Session) -> None:
    """The events count from 0 without a gap, so that a lost one is noticed."""
    answer = _stream(session, max_output_tokens=8)
    numbers = [told.get("sequence_number") for told in _told(answer)]
    answer.holds(numbers == list(range(len(numbers))), f"the numbers are {numbers}")


@contract(MUST, needs="chat")
def streams_the_text_that_it_ends_with(session: Session) -> None:
    """The pieces of text make the text that the last events carry whole."""
    answer = _stream(session, max_output_tokens=8)
    streamed = "".join(told["delta"] for told in _of(answer, "response.output_text.delta"))
    whole = [told["text"] for told in _of(answer, "response.output_text.done")]
    answer.holds(whole == [streamed], f"the pieces make {streamed!r}, and the text at the end is {whole}")
    answer.holds(_texts(_last(answer)) == [streamed], "the response at the end has another text")


@contract(SHOULD, needs="chat")
def streams_what_it_answers_whole(session: Session) -> None:
    """The same question gets the same text streamed and whole, at temperature 0."""
    whole = _ask(session, temperature=0, max_output_tokens=8).status(200)
    answer = _stream(session, temperature=0, max_output_tokens=8)
    answer.holds(_texts(_last(answer)) == _texts(whole.json), "the streamed text is another one")


@contract(SHOULD, needs="chat")
def ends_a_stream_with_what_it_cost(session: Session) -> None:
    """The response at the end of a stream carries the tokens, which add up."""
    answer = _stream(session, max_output_tokens=8)
    usage = _last(answer).get("usage")
    answer.value(usage, {"input_tokens": int, "output_tokens": int, "total_tokens": int}, "the usage")
    answer.holds(usage["input_tokens"] + usage["output_tokens"] == usage["total_tokens"], "the tokens don't add up")


@contract(SHOULD, needs="chat")
def says_that_a_stream_was_cut(session: Session) -> None:
    """A stream that `max_output_tokens` cut ends with `response.incomplete`, and says why."""
    answer = _stream(session, max_output_tokens=8)
    shape = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    answer.value(_last(answer), shape, "the response at the end")


@contract(MUST, needs="empty")
def streams_nothing_and_ends(session: Session) -> None:
    """A stream without a word is complete, and no failure."""
    answer = _stream(session, part="empty").order(_STREAM)
    answer.value(_last(answer), {"status": "completed"}, "the response at the end")


@contract(MUST, needs="split-utf8")
def keeps_characters_whole(session: Session) -> None:
    """No event tears a character apart, although tokens do."""
    answer = _stream(session, part="split-utf8")
    pieces = [told["delta"] for told in _of(answer, "response.output_text.delta")]
    torn = [piece for piece in pieces if "\N{REPLACEMENT CHARACTER}" in piece]
    answer.holds(not torn, f"pieces of the text are torn: {torn}")
    answer.holds("".join(pieces) == "naïve café, 東京, 👋🏽, ¡adiós!", f"the text is {''.join(pieces)!r}")


@contract(MUST, needs="breaking")
def says_in_the_stream_that_it_failed(session: Session) -> None:
    """A generation that breaks off in mid-stream ends the stream with `response.failed`, which says why."""
    answer = _stream(session, part="breaking")
    answer.value(_told(answer)[-1].get("type"), "response.failed", "the last event")
    answer.value(_last(answer), {"status": "failed", "error": {"code": str, "message": str}}, "the response at the end")


@contract(SHOULD)
def refuses_before_it_streams(session: Session) -> None:
    """A model that is not there is refused with 404 before a stream begins."""
    session.post(_PATH, json={"model": "no-such-model", "input": _QUESTION, "stream": True}).refused(404)


@contract(MUST)
def never_ends_a_refused_stream_as_if_it_were_whole(session: Session) -> None:
    """A stream that can't begin is refused, failed or broken off, but never ends properly without an event."""
    answer = session.post(_PATH, json={"model": "no-such-model", "input": _QUESTION, "stream": True})
    whole = answer.code == 200 and answer.exchange.ended.how == COMPLETE
    answer.holds(not whole or answer.events, "the stream is whole, and holds nothing")


@contract(SHOULD, needs="chat")
def refuses_a_stream_at_a_temperature_out_of_range(session: Session) -> None:
    """What is refused when asked for whole is refused when asked for as a stream, with the same status."""
    _ask(session, temperature=5, max_output_tokens=4, stream=True).refused(400)


@contract(SHOULD, needs="tool-call")
def streams_the_call_of_a_tool(session: Session) -> None:
    """The arguments of a call come in pieces, and whole in the end."""
    answer = _stream(session, part="tool-call", tools=[_TOOL])
    streamed = "".join(told["delta"] for told in _of(answer, "response.function_call_arguments.delta"))
    whole = [told["arguments"] for told in _of(answer, "response.function_call_arguments.done")]
    answer.holds(whole == [streamed], f"the pieces make {streamed!r}, and the arguments at the end are {whole}")
    answer.value(json.loads(streamed), {"city": "Lisbon"}, "the arguments")


@contract(SHOULD, needs="tool-call")
def streams_no_markup_of_calls(session: Session) -> None:
    """What a model writes to call a tool is not streamed as text."""
    answer = _stream(session, part="tool-call", tools=[_TOOL])
    text = "".join(told["delta"] for told in _of(answer, "response.output_text.delta"))
    answer.holds("<tool_call>" not in text, f"the text is {text!r}")


@contract(SHOULD, needs="thinking")
def streams_no_thoughts_as_text(session: Session) -> None:
    """What a model thinks is not streamed as text."""
    answer = _stream(session, part="thinking")
    text = "".join(told["delta"] for told in _of(answer, "response.output_text.delta"))
    answer.holds("<think>" not in text, f"the text is {text!r}")


@contract(MAY, needs="thinking")
def streams_thoughts_under_their_names(session: Session) -> None:
    """What a model thinks is streamed as `response.reasoning_text.delta` or as a summary, which are OpenAI's names."""
    answer = _stream(session, part="thinking")
    names = {"response.reasoning_text.delta", "response.reasoning_summary_text.delta"}
    thoughts = sorted({told["type"] for told in _told(answer) if ".reasoning" in told["type"]})
    answer.holds(names & set(thoughts), f"the events about thoughts are {', '.join(thoughts) or 'none'}")


# The store


@contract(MUST, needs="chat")
def gives_what_it_stored(session: Session) -> None:
    """An answer that was to be stored can be asked for by its id, and is the same."""
    with _stored(session, max_output_tokens=8) as stored:
        again = session.get(f"{_PATH}/{stored.json['id']}").status(200).media("application/json")
        again.holds(again.json == stored.json, "what was stored differs from the answer")


@contract(SHOULD, needs="chat")
def stores_nothing_unasked(session: Session) -> None:
    """An answer that nobody wanted to be stored is not."""
    answer = _ask(session, max_output_tokens=4).status(200)
    session.get(f"{_PATH}/{answer.json['id']}").refused(404)


@contract(MUST, needs="chat")
def stores_what_it_streamed(session: Session) -> None:
    """An answer that was streamed can be stored, too."""
    streamed = _last(_stream(session, max_output_tokens=4, store=True))
    path = f"{_PATH}/{streamed['id']}"
    try:
        again = session.get(path).status(200).has({"id": streamed["id"], "status": streamed["status"]})
        again.holds(_texts(again.json) == _texts(streamed), "what was stored has another text")
    finally:
        session.delete(path)


@contract(MUST, needs="chat")
def lists_what_it_stored(session: Session) -> None:
    """What is stored is listed, in OpenAI's envelope of lists."""
    with _stored(session, max_output_tokens=4) as stored:
        answer = session.get(f"{_PATH}?limit=100").status(200).media("application/json")
        answer.has({"object": "list", "data": each({"id": str}, least=1), "has_more": bool})
        answer.has({"first_id": answer.json["data"][0]["id"], "last_id": answer.json["data"][-1]["id"]})
        answer.holds(stored.json["id"] in [item["id"] for item in answer.json["data"]], "the answer is not listed")


@contract(SHOULD, needs="chat")
def lists_page_by_page(session: Session) -> None:
    """A list is read page by page: `limit` says how long one is, `after` where it begins, `has_more` if one follows."""
    with _stored(session) as one, _stored(session) as two, _stored(session) as three:
        wanted = {stored.json["id"] for stored in (one, two, three)}
        seen: list[str] = []
        answer = session.get(f"{_PATH}?limit=1").status(200)
        for _ in range(100):  # as many as a store holds
            page = answer.has({"data": [{"id": str}], "has_more": bool}).json
            seen.append(page["data"][0]["id"])
            if not page["has_more"]:
                break
            answer = session.get(f"{_PATH}?limit=1&after={seen[-1]}").status(200)
        answer.holds(wanted <= set(seen), "not all that is stored is on the pages")
        answer.holds(len(set(seen)) == len(seen), "something is on two pages")


@contract(MAY, needs="chat")
def lists_the_newest_first(session: Session) -> None:
    """A list begins with the newest; with `order=asc` with the oldest."""
    ids: list[str] = []
    try:
        ids.extend(_ask(session, max_output_tokens=1, store=True).status(200).json["id"] for _ in range(6))
        for order, wanted in (("desc", ids[::-1]), ("asc", ids)):
            answer = session.get(f"{_PATH}?limit=100&order={order}").status(200)
            listed = [item["id"] for item in answer.json["data"] if item["id"] in ids]
            answer.holds(listed == wanted, "they are listed in another order")
    finally:
        for stored in ids:
            session.delete(f"{_PATH}/{stored}")


@contract(MUST, needs="chat")
def gives_what_it_was_asked(session: Session) -> None:
    """The input of a stored answer can be asked for as a list of items."""
    text = session.vary(_QUESTION, _TEXTS)
    with _stored(session, max_output_tokens=4, input=text) as stored:
        answer = session.get(f"{_PATH}/{stored.json['id']}/input_items").status(200).media("application/json")
        answer.has({"object": "list", "data": [{"type": "message", "role": "user", "id": str}], "has_more": False})
        content = answer.json["data"][0]["content"]
        said = content if isinstance(content, str) else "".join(part["text"] for part in content)
        answer.holds(said == text, f"it was asked {text!r}, and says {said!r}")


@contract(MAY, needs="chat")
def gives_what_it_was_asked_in_parts(session: Session) -> None:
    """The content of an input item is a list of parts, as OpenAI's API has it, also where a string was sent."""
    with _stored(session, max_output_tokens=4) as stored:
        answer = session.get(f"{_PATH}/{stored.json['id']}/input_items").status(200)
        answer.has({"data": [{"content": [{"type": "input_text", "text": _QUESTION}]}]})


@contract(MUST, needs="chat")
def forgets_what_is_deleted(session: Session) -> None:
    """A stored answer can be deleted, and is not there any more."""
    with _stored(session, max_output_tokens=4) as stored:
        name = stored.json["id"]
        session.delete(f"{_PATH}/{name}").status(200).has({"id": name, "deleted": True})
        session.get(f"{_PATH}/{name}").refused(404)


@contract(MUST, needs="chat")
def says_that_it_was_deleted_already(session: Session) -> None:
    """Deleting again is refused with 404, so a client that repeats a lost deletion knows that it is done."""
    with _stored(session, max_output_tokens=4) as stored:
        session.delete(f"{_PATH}/{stored.json['id']}").status(200)
        session.delete(f"{_PATH}/{stored.json['id']}").refused(404)


@contract(MUST)
def refuses_what_it_did_not_store(session: Session) -> None:
    """What is not stored is refused with 404, and the code says that it is the response that is missing."""
    name = session.vary(_UNKNOWN, st.from_regex(r"no-such-[a-z0-9]{1,20}", fullmatch=True))
    for answer in (
        session.get(f"{_PATH}/{name}"),
        session.get(f"{_PATH}/{name}/input_items"),
        session.delete(f"{_PATH}/{name}"),
    ):
        answer.refused(404).has({"error": {"code": "response_not_found"}})


@contract(SHOULD, needs="chat")
def goes_on_from_an_answer(session: Session) -> None:
    """A question may go on from a stored answer by its id, and the answer says so."""
    with _stored(session) as before:
        name = before.json["id"]
        answer = _ask(session, previous_response_id=name, max_output_tokens=8).status(200)
        answer.has({"status": _ANSWERED, "previous_response_id": name})


@contract(SHOULD, needs="chat")
def goes_on_from_an_answer_that_was_cut(session: Session) -> None:
    """A question may go on from a stored answer that `max_output_tokens` cut."""
    with _stored(session, max_output_tokens=8) as before:
        name = before.json["id"]
        answer = _ask(session, previous_response_id=name, max_output_tokens=8).status(200)
        answer.has({"status": _ANSWERED, "previous_response_id": name})


@contract(SHOULD, needs="chat")
def does_not_go_on_from_nothing(session: Session) -> None:
    """A question that goes on from what is not stored is refused with 404: else the model would miss what was said."""
    _ask(session, previous_response_id=_UNKNOWN, max_output_tokens=4).refused(404)


@contract(SHOULD, needs="chat")
def does_not_go_on_from_what_is_deleted(session: Session) -> None:
    """A question that goes on from an answer that was deleted is refused with 404."""
    with _stored(session, max_output_tokens=4) as before:
        name = before.json["id"]
        session.delete(f"{_PATH}/{name}").status(200)
        _ask(session, previous_response_id=name, max_output_tokens=4).refused(404)


@contract(MAY, needs="chat")
def keeps_what_followed_a_deleted_answer(session: Session) -> None:
    """Deleting an answer leaves those that went on from it."""
    with _stored(session) as before, _stored(session, previous_response_id=before.json["id"]) as after:
        session.delete(f"{_PATH}/{before.json['id']}").status(200)
        session.get(f"{_PATH}/{after.json['id']}").status(200)


@contract(SHOULD, needs=[OWN, "empty"])
def keeps_answers_of_a_model_that_was_unloaded(session: Session) -> None:
    """A stored answer can be asked for whatever became of its model."""
    with _stored(session, part="empty") as stored:
        session.get(f"/models/unload/{session.alias('empty')}")
        try:
            session.get(f"{_PATH}/{stored.json['id']}").status(200)
        finally:
            session.get(f"/models/load/{session.alias('empty')}")
