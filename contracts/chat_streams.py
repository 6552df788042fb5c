"""Chats answered piece by piece: POST /v1/chat/completions with `stream`."""

from hypothesis import strategies as st

from resilient_foundry.harness import CHAT, MAY, MUST, SHOULD, Session, contract
from resilient_foundry.harness.conversations import (
    CHOICE_FIELDS,
    COMPLETION_FIELDS,
    MESSAGE_FIELDS,
    SPLIT_TEXT,
    Json,
    chat,
    choices,
    chunks,
    deltas,
    endings,
    failures,
    few_tokens,
    heard,
    holds_only,
    is_done,
    question,
    said,
    streamed,
)
from resilient_foundry.harness.grammar import chat_kind
from resilient_foundry.sse import Decoder

_AT_ONCE = 0.05  # seconds; the model "slow" takes about as long for each of its seventeen words
_BROKEN_TEXT = "Everything goes well until it does not, and here it"


@contract(MUST, needs="chat")
def is_a_stream_of_events(session: Session) -> None:
    """A chat with `stream` is answered with server-sent events, and comes to a proper end."""
    answer = streamed(session, messages=question(session), max_tokens=session.vary(8, few_tokens))
    answer.status(200).media("text/event-stream").ended()
    answer.holds(answer.events, "the stream has no events")


@contract(MUST, needs="chat")
def comes_in_order(session: Session) -> None:
    """First perhaps the role, then the text, then the reason for its end, perhaps its usage, and the last word."""
    answer = streamed(session, messages=question(session), max_tokens=session.vary(8, few_tokens))
    answer.status(200).order(CHAT)


@contract(MUST, needs="chat")
def ends_with_done(session: Session) -> None:
    """The last word of a stream that is complete is [DONE]; nothing comes after it."""
    answer = streamed(session, messages=question(session), max_tokens=session.vary(8, few_tokens)).status(200)
    words = [event.data.strip() for event in answer.events]
    answer.holds(words.count("[DONE]") == 1 and words[-1] == "[DONE]", f"the last word is {words[-1:]}, not [DONE]")
    answer.ended()


@contract(MUST, needs="chat")
def each_event_is_one_json_object(session: Session) -> None:
    """Every event but the last is a whole chunk of a completion, whatever pieces the network makes of it."""
    answer = streamed(session, messages=question(session), max_tokens=session.vary(8, few_tokens))
    for place, chunk in enumerate(chunks(answer)):
        answer.value(chunk, {"object": "chat.completion.chunk", "choices": list, "created": int}, f"$[{place}]")


@contract(MUST, needs="chat")
def every_chunk_has_the_same_id_and_model(session: Session) -> None:
    """All chunks of an answer have one id and name the model that was asked, so that answers can't be mixed up."""
    answer = streamed(session, messages=question(session), max_tokens=8)
    found = chunks(answer)
    ids = {chunk.get("id") for chunk in found}
    answer.holds(len(ids) == 1 and all(ids), f"the chunks have the ids {sorted(map(str, ids))}")
    models = {str(chunk.get("model")) for chunk in found}
    answer.holds(models == {session.model()}, f"the chunks name the models {sorted(models)}")


@contract(SHOULD, needs="chat")
def has_an_id_of_its_own(session: Session) -> None:
    """No two streams have the same id."""
    first, second = (chunks(streamed(session, max_tokens=1))[0].get("id") for _ in range(2))
    session.expect(first != second, f"both streams have the id {first!r}")


@contract(SHOULD, needs="chat")
def holds_only_documented_fields(session: Session) -> None:
    """Chunks have the fields of OpenAI's reference and no others, so that strict readers can read them."""
    answer = streamed(session, max_tokens=2)
    for place, chunk in enumerate(chunks(answer)):
        holds_only(answer, chunk, COMPLETION_FIELDS, f"$[{place}]")
    for place, choice in enumerate(choices(answer)):
        holds_only(answer, choice, CHOICE_FIELDS | {"delta"}, f"$[{place}].choices[0]")
        holds_only(answer, choice.get("delta"), MESSAGE_FIELDS, f"$[{place}].choices[0].delta")


@contract(SHOULD, needs="chat")
def names_the_role_at_its_beginning(session: Session) -> None:
    """The first delta says that the assistant speaks, and those after it don't repeat it."""
    answer = streamed(session, messages=question(session), max_tokens=8)
    found = [delta.get("role") for delta in deltas(answer)]
    answer.holds(found[:1] == ["assistant"], f"the first delta has the role {found[:1]}")
    again = sum(role is not None for role in found[1:])
    answer.holds(not again, f"{again} later deltas name the role again")


@contract(MUST, needs="chat")
def says_once_why_it_ended(session: Session) -> None:
    """One chunk gives a reason for the end, and no chunk with a choice comes after it: agents wait for that one."""
    answer = streamed(session, messages=question(session), max_tokens=session.vary(8, few_tokens))
    found = endings(answer)
    answer.holds(len(found) == 1, f"the reasons for the end are {found}, not one")
    answer.holds(choices(answer)[-1].get("finish_reason") == found[0], "the reason for the end is not in the last one")


@contract(SHOULD, needs="chat")
def the_reason_is_null_until_the_end(session: Session) -> None:
    """Every choice of a chunk has a `finish_reason`, null for as long as there is more to come."""
    answer = streamed(session, max_tokens=8)
    lacking = sum("finish_reason" not in choice for choice in choices(answer))
    answer.holds(not lacking, f"{lacking} chunks have no finish_reason, not even null")


@contract(MAY, needs="endless")
def the_reason_comes_in_a_chunk_of_its_own(session: Session) -> None:
    """The chunk with the reason for the end brings no more text."""
    answer = streamed(session, "endless", max_tokens=session.vary(4, few_tokens))
    last = deltas(answer)[-1].get("content")
    answer.holds(not last, f"the last chunk brings {last!r} beside the reason for the end")


@contract(MUST, needs="endless")
def says_length_where_max_tokens_ended_it(session: Session) -> None:
    """A stream that was cut off at `max_tokens` has the finish_reason `length`."""
    answer = streamed(session, "endless", messages=question(session), max_tokens=session.vary(8, few_tokens))
    answer.holds(endings(answer) == ["length"], f"the reasons for the end are {endings(answer)}, not 'length'")


@contract(MUST, needs="chat")
def makes_the_text_of_the_plain_answer(session: Session) -> None:
    """With temperature 0 the deltas, joined, are the text that the same request is answered with in one piece."""
    settings: dict[str, Json] = {
        "messages": question(session),
        "max_tokens": session.vary(16, few_tokens),
        "temperature": 0,
    }
    plain = said(chat(session, **settings))
    answer = streamed(session, **settings)
    answer.holds(heard(answer) == plain, f"the stream says {heard(answer)!r}, the plain answer {plain!r}")


@contract(MUST, needs="split-utf8")
def characters_of_several_bytes_come_whole(session: Session) -> None:
    """No character is cut in two by the border of an event, also where a token ends within it."""
    answer = streamed(session, "split-utf8", messages=question(session))
    answer.holds(heard(answer) == SPLIT_TEXT, f"the text is {heard(answer)!r}, not {SPLIT_TEXT!r}")


@contract(SHOULD, needs="split-utf8")
def every_chunk_but_the_first_and_last_brings_something(session: Session) -> None:
    """A token that does not yet make a character is waited for: no chunk in the middle is without text."""
    answer = streamed(session, "split-utf8")
    empty = sum(not delta.get("content") for delta in deltas(answer)[1:-1])
    answer.holds(not empty, f"{empty} chunks in the middle bring nothing")


@contract(MUST, needs="empty")
def may_be_empty(session: Session) -> None:
    """A model that has nothing to say is streamed as no text, the reason `stop`, and the last word."""
    answer = streamed(session, "empty", messages=question(session))
    answer.holds(heard(answer) == "", f"the text is {heard(answer)!r}, though nothing was generated")
    answer.holds(endings(answer) == ["stop"], f"the reasons for the end are {endings(answer)}, not 'stop'")
    answer.order(CHAT).ended()


@contract(MUST, needs="slow")
def comes_while_it_is_made(session: Session) -> None:
    """The first text arrives when it has been generated, and does not wait for the rest."""
    answer = streamed(session, "slow").status(200)
    response = answer.exchange.response
    decoder = Decoder()
    moments = [
        chunk.at
        for chunk in (response.chunks if response else ())
        for event in decoder.feed(chunk.data)
        if chat_kind(event) == "content"
    ]
    answer.holds(moments, "no text arrived")
    lasted = moments[-1] - moments[0]
    answer.holds(lasted > _AT_ONCE, f"all of the text came within {lasted:.3f} s, though it takes longer to make")


@contract(MUST, needs="breaking")
def a_failure_midway_never_looks_complete(session: Session) -> None:
    """Where generation fails midway, neither a reason for the end nor [DONE] is sent."""
    answer = streamed(session, "breaking", messages=question(session)).status(200)
    answer.holds(not endings(answer), f"the stream gives the reason {endings(answer)}, though it failed")
    answer.holds(not is_done(answer), "the stream says [DONE], though it failed")


@contract(SHOULD, needs="breaking")
def a_failure_midway_is_told(session: Session) -> None:
    """Where generation fails midway, the last event says so in the envelope of errors, and the answer ends well."""
    answer = streamed(session, "breaking", messages=question(session)).status(200).ended()
    answer.holds(len(failures(answer)) == 1, f"{len(failures(answer))} events report an error, not one")
    answer.value(failures(answer)[0], {"message": str, "type": "server_error"}, "$.error")
    answer.holds(chat_kind(answer.events[-1]) == "error", "the error is not the last event")


@contract(MUST, needs="breaking")
def what_came_before_a_failure_arrives(session: Session) -> None:
    """The text that was generated before a failure has been sent."""
    answer = streamed(session, "breaking", messages=question(session)).status(200)
    answer.holds(heard(answer) == _BROKEN_TEXT, f"the text is {heard(answer)!r}, not {_BROKEN_TEXT!r}")


@contract(MUST, needs=("chat", "not-downloaded"))
def a_model_that_is_not_loaded_is_refused_before_it_begins(session: Session) -> None:
    """A model that is not in memory is an error with a status of its own, 400, and no stream."""
    streamed(session, "not-downloaded").refused(400)


@contract(SHOULD, needs="chat")
def a_chat_without_messages_is_refused_before_it_begins(session: Session) -> None:
    """Nothing to answer is an error with a status of its own, 400 or 422, and no stream."""
    streamed(session, messages=[]).refused(400, 422)


@contract(SHOULD, needs="chat")
def more_tokens_than_there_is_room_for_are_refused_before_it_begins(session: Session) -> None:
    """A prompt and an answer that can't fit into the context are refused with 400, as they are without `stream`."""
    streamed(session, max_tokens=2_000_000).refused(400)


@contract(SHOULD, needs="chat")
def more_tokens_than_there_is_room_for_are_refused_in_words(session: Session) -> None:
    """What can't be generated is refused, by a status or within the stream, and not by silence."""
    answer = streamed(session, max_tokens=2_000_000)
    if answer.code == 400:
        answer.refused(400)
        return
    answer.ended().holds(failures(answer), "the stream has no event with an error")
    answer.holds(not is_done(answer), "the stream says [DONE], though it failed")


@contract(SHOULD, needs="chat")
def a_mistake_is_told_from_a_failure(session: Session) -> None:
    """An error within a stream says whose it is: `invalid_request_error` for what the client must not ask again."""
    answer = streamed(session, max_tokens=2_000_000)
    if answer.code == 400:
        answer.refused(400)
        return
    found = failures(answer)
    answer.holds(found, "the stream has no event with an error")
    answer.value(found[0], {"message": str, "type": "invalid_request_error"}, "$.error")


@contract(MUST, needs="chat")
def comes_only_where_it_is_asked_for(session: Session) -> None:
    """Without `stream`, or with false, the answer is one object."""
    form: dict[str, Json] = session.vary({"stream": False}, _not_streamed)
    chat(session, max_tokens=1, **form).status(200).media("application/json")


def _not_streamed() -> st.SearchStrategy[dict[str, Json]]:
    """The ways to ask for an answer in one piece."""
    return st.sampled_from([{}, {"stream": False}, {"stream": None}])
