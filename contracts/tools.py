"""Tools: what a model calls, and what it is told in return."""

import json

from hypothesis import strategies as st

from resilient_foundry.foundry.wire import items, mapping
from resilient_foundry.harness import CHAT, MAY, MUST, SHOULD, Answer, Session, contract, each
from resilient_foundry.harness.conversations import (
    Json,
    chat,
    deltas,
    endings,
    finish,
    heard,
    message,
    said,
    streamed,
    user,
)

_WEATHER: dict[str, Json] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
_NAMED = {"type": "function", "function": {"name": "get_weather"}}
_ASKED: dict[str, Json] = {"messages": [user("What is the weather in Lisbon?")], "tools": [_WEATHER]}
_ASKED_TWICE: dict[str, Json] = {"messages": [user("And in Lisbon and Oslo?")], "tools": [_WEATHER]}
_CALL = {"id": str, "type": "function", "function": {"name": str, "arguments": str}}
_ENOUGH = 64


@contract(MUST, needs="tool-call")
def a_tool_is_called(session: Session) -> None:
    """A model that calls a tool is answered for with `tool_calls`: an id, and the name of a function that was given."""
    answer = chat(session, "tool-call", **_ASKED)
    answer.holds([call["function"]["name"] for call in _calls(answer)] == ["get_weather"], "no call of get_weather")


@contract(MUST, needs="tool-call")
def arguments_are_json(session: Session) -> None:
    """The arguments of a call are a text that holds a JSON object, with what the model gave."""
    answer = chat(session, "tool-call", **_ASKED)
    _has_arguments(answer, [call["function"]["arguments"] for call in _calls(answer)], "Lisbon")


@contract(MUST, needs="tool-call")
def the_reason_for_the_end_is_the_call(session: Session) -> None:
    """An answer that calls a tool has the finish_reason `tool_calls`: agents look there."""
    answer = chat(session, "tool-call", **_ASKED)
    answer.holds(finish(answer) == "tool_calls", f"the finish_reason is {finish(answer)!r}, not 'tool_calls'")


@contract(SHOULD, needs="tool-call")
def the_text_holds_no_markup_of_the_call(session: Session) -> None:
    """What a model wrote to call a tool is no part of the text of its answer, which is empty or null."""
    answer = chat(session, "tool-call", **_ASKED)
    answer.holds(not said(answer), f"the text is {said(answer)!r}")


@contract(MAY, needs="tool-call")
def ids_of_calls_begin_as_openais_do(session: Session) -> None:
    """The id of a call begins with "call_"; some clients check that."""
    answer = chat(session, "tool-call", **_ASKED)
    answer.holds(all(call["id"].startswith("call_") for call in _calls(answer)), 'an id does not begin with "call_"')


@contract(MUST, needs="two-tool-calls")
def several_tools_may_be_called_at_once(session: Session) -> None:
    """All calls of an answer arrive, in the order in which the model made them."""
    answer = chat(session, "two-tool-calls", **_ASKED_TWICE)
    _has_arguments(answer, [call["function"]["arguments"] for call in _calls(answer)], "Lisbon", "Oslo")


@contract(MUST, needs="two-tool-calls")
def each_call_has_an_id_of_its_own(session: Session) -> None:
    """No two calls of an answer have the same id, and none has an empty one: results are told apart by it."""
    answer = chat(session, "two-tool-calls", **_ASKED_TWICE)
    ids = [call["id"] for call in _calls(answer)]
    answer.holds(all(ids) and len(set(ids)) == len(ids), f"the ids are {ids}")


@contract(MUST, needs="tool-call")
def a_stream_calls_a_tool(session: Session) -> None:
    """The deltas of a call, put together by its index, are its id, the name of the function and its arguments."""
    answer = streamed(session, "tool-call", **_ASKED)
    calls = _streamed_calls(answer)
    answer.value(calls, [{"id": str, "name": "get_weather", "arguments": str}], "tool_calls")
    _has_arguments(answer, [call["arguments"] for call in calls], "Lisbon")


@contract(MUST, needs="two-tool-calls")
def a_stream_numbers_its_calls(session: Session) -> None:
    """Every piece of a call says by its `index` to which call it belongs."""
    answer = streamed(session, "two-tool-calls", **_ASKED_TWICE)
    _has_arguments(answer, [call["arguments"] for call in _streamed_calls(answer)], "Lisbon", "Oslo")


@contract(MUST, needs="tool-call")
def a_stream_ends_with_the_call(session: Session) -> None:
    """The one reason for the end of a stream that calls a tool is `tool_calls`."""
    answer = streamed(session, "tool-call", **_ASKED)
    answer.holds(endings(answer) == ["tool_calls"], f"the reasons for the end are {endings(answer)}, not 'tool_calls'")


@contract(SHOULD, needs="tool-call")
def a_stream_that_calls_comes_in_order(session: Session) -> None:
    """The events of a stream that calls a tool come in the order of any stream."""
    streamed(session, "tool-call", **_ASKED).status(200).order(CHAT)


@contract(SHOULD, needs="tool-call")
def a_stream_tells_no_markup_of_the_call(session: Session) -> None:
    """What a model wrote to call a tool is not streamed as text."""
    answer = streamed(session, "tool-call", **_ASKED)
    answer.holds(not heard(answer), f"the text is {heard(answer)!r}")


@contract(SHOULD, needs="tool-call")
def none_is_called_where_none_is_given(session: Session) -> None:
    """Whatever a model writes, without `tools` nothing is taken for a call."""
    answer = chat(session, "tool-call", messages=[user("What is the weather in Lisbon?")])
    _calls_none(answer)


@contract(SHOULD, needs="tool-call")
def none_is_called_where_the_choice_is_none(session: Session) -> None:
    """With the tool_choice `none` nothing is taken for a call."""
    _calls_none(chat(session, "tool-call", **_ASKED, tool_choice="none"))


@contract(MUST, needs="tool-call")
def a_call_may_be_left_to_the_model(session: Session) -> None:
    """The tool_choice `auto` is as none given: the model calls if it likes."""
    answer = chat(session, "tool-call", **_ASKED, tool_choice="auto")
    answer.holds(len(_calls(answer)) == 1, f"there are {len(_calls(answer))} calls, not one")


@contract(SHOULD, needs="tool-call")
def a_call_may_be_required(session: Session) -> None:
    """With the tool_choice `required` the answer is a call."""
    answer = chat(session, "tool-call", **_ASKED, tool_choice="required", max_tokens=_ENOUGH)
    answer.holds(len(_calls(answer)) == 1, f"there are {len(_calls(answer))} calls, not one")


@contract(SHOULD, needs="tool-call")
def the_call_of_one_tool_may_be_required(session: Session) -> None:
    """With a tool_choice that names a function the answer is a call of it."""
    answer = chat(session, "tool-call", **_ASKED, tool_choice=_NAMED, max_tokens=_ENOUGH)
    answer.holds([call["function"]["name"] for call in _calls(answer)] == ["get_weather"], "no call of get_weather")


@contract(SHOULD, needs="tool-call")
def refuses_the_choice_of_a_tool_that_was_not_given(session: Session) -> None:
    """A tool_choice that names a function which is not among the tools is the client's mistake."""
    name = session.vary("get_time", _names)
    choice = {"type": "function", "function": {"name": name}}
    chat(session, "tool-call", **_ASKED, tool_choice=choice, max_tokens=_ENOUGH).refused(400, 422)


@contract(SHOULD, needs="tool-call")
def refuses_to_require_a_call_without_tools(session: Session) -> None:
    """The tool_choice `required` without tools is the client's mistake."""
    chat(session, "tool-call", tool_choice="required", max_tokens=_ENOUGH).refused(400, 422)


@contract(SHOULD, needs="tool-call")
def refuses_a_choice_that_there_is_not(session: Session) -> None:
    """A tool_choice of another name is the client's mistake, and no failure of the server."""
    choice = session.vary("perhaps", st.from_regex(r"x-[a-z]{1,20}", fullmatch=True))
    chat(session, "tool-call", **_ASKED, tool_choice=choice, max_tokens=_ENOUGH).refused(400, 422)


@contract(MUST, needs="tool-call")
def results_may_be_told(session: Session) -> None:
    """What a tool returned is told with the id of its call, after the message that called it; content may be null."""
    called = {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Oslo"}'}}
        ],
    }
    result = {"role": "tool", "tool_call_id": "call_1", "content": session.vary("Snow", st.text(min_size=1))}
    messages = [user("What is the weather in Oslo?"), called, result]
    message(chat(session, "tool-call", messages=messages, tools=[_WEATHER]))


@contract(SHOULD, needs="tool-call")
def refuses_a_result_of_no_call(session: Session) -> None:
    """A message of a tool that does not say which call it answers is the client's mistake."""
    messages = [user("What is the weather?"), {"role": "tool", "content": session.vary("Snow", st.text(min_size=1))}]
    chat(session, "tool-call", messages=messages, max_tokens=_ENOUGH).refused(400, 422)


@contract(SHOULD, needs="tool-call")
def refuses_a_tool_without_a_function(session: Session) -> None:
    """A tool that does not say what it is called is the client's mistake, and no failure of the server."""
    chat(session, "tool-call", tools=[{"type": "function"}], max_tokens=_ENOUGH).refused(400, 422)


@contract(SHOULD, needs="tool-call")
def refuses_two_tools_of_one_name(session: Session) -> None:
    """Two functions of the same name can't be told apart, so they are refused."""
    chat(session, "tool-call", tools=[_WEATHER, _WEATHER], max_tokens=_ENOUGH).refused(400, 422)


@contract(SHOULD, needs="tool-call")
def takes_strict_tools(session: Session) -> None:
    """A function may be marked `strict`, as OpenAI's own library does for every function that it describes."""
    strict = {**_WEATHER, "function": {**_WEATHER["function"], "strict": True}}
    message(chat(session, "tool-call", tools=[strict], max_tokens=_ENOUGH))


@contract(SHOULD, needs="json-text")
def tools_do_not_fail_a_model_that_calls_none(session: Session) -> None:
    """A model that knows no tools answers without them, or the request is refused as the client's mistake."""
    chat(session, "json-text", tools=[_WEATHER], max_tokens=8).status(200, 400, 422)


def _calls(answer: Answer) -> list[dict[str, Json]]:
    """The calls of an answer read whole."""
    found = message(answer).get("tool_calls")
    answer.value(found, each(_CALL, least=1), "$.choices[0].message.tool_calls")
    return [dict(mapping(call) or {}) for call in items(found) or ()]


def _calls_none(answer: Answer) -> None:
    found = items(message(answer).get("tool_calls")) or ()
    answer.holds(not found, f"{len(found)} calls are made, and none may be")
    answer.holds(finish(answer) == "stop", f"the finish_reason is {finish(answer)!r}, not 'stop'")


def _streamed_calls(answer: Answer) -> list[dict[str, str]]:
    """The calls of a stream, put together by their index, in its order."""
    calls: dict[int, dict[str, str]] = {}
    for delta in deltas(answer):
        for piece in map(mapping, items(delta.get("tool_calls")) or ()):
            known = piece or {}
            index = known.get("index")
            if not isinstance(index, int):
                raise answer.broken(f"a piece of a call has the index {index!r}, which is no number")
            function = mapping(known.get("function")) or {}
            call = calls.setdefault(index, {"id": "", "name": "", "arguments": ""})
            call["id"] += str(known.get("id") or "")
            call["name"] += str(function.get("name") or "")
            call["arguments"] += str(function.get("arguments") or "")
    return [calls[index] for index in sorted(calls)]


def _has_arguments(answer: Answer, arguments: list[str], *cities: str) -> None:
    """Break the contract where the arguments are not these cities, each in a JSON object."""
    try:
        found = [json.loads(text) for text in arguments]
    except ValueError:
        raise answer.broken(f"the arguments are {arguments}, which is not JSON") from None
    wanted = [{"city": city} for city in cities]
    answer.holds(found == wanted, f"the arguments are {found}, not {wanted}")


def _names() -> st.SearchStrategy[str]:
    """Names of functions that were not given."""
    return st.from_regex(r"other_[a-z_]{1,20}", fullmatch=True)
