"""Chats answered whole: POST /v1/chat/completions."""

from hypothesis import strategies as st

from resilient_foundry.harness import MUST, SHOULD, Session, contract, one_of
from resilient_foundry.harness.conversations import (
    CHOICE_FIELDS,
    COMPLETION_FIELDS,
    MESSAGE_FIELDS,
    SPLIT_TEXT,
    USAGE_FIELDS,
    Json,
    chat,
    few_tokens,
    finish,
    holds_only,
    message,
    parts,
    question,
    said,
    texts,
    user,
)

_PICTURE = "data:image/png;base64,iVBORw0KGgo="


@contract(MUST, needs="chat")
def answers_in_one_object(session: Session) -> None:
    """A chat is answered with one JSON object: one choice, a message of the assistant, and why it ended."""
    answer = chat(session, messages=question(session), max_tokens=session.vary(8, few_tokens))
    answer.status(200).media("application/json").ended().has(
        {
            "object": "chat.completion",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": str},
                    "finish_reason": one_of("stop", "length"),
                }
            ],
        }
    )


@contract(SHOULD, needs="chat")
def names_the_model_that_was_asked(session: Session) -> None:
    """The answer names the model as the request did, so that it can be told whose answer it is."""
    chat(session, messages=question(session), max_tokens=1).status(200).has({"model": session.model()})


@contract(SHOULD, needs="chat")
def has_an_id(session: Session) -> None:
    """Every answer has an id, a text that is not empty, by which a log can speak of it."""
    answer = chat(session, messages=question(session), max_tokens=1).status(200).has({"id": str})
    answer.holds(answer.json["id"], "$.id is empty")


@contract(SHOULD, needs="chat")
def has_an_id_of_its_own(session: Session) -> None:
    """No two answers have the same id."""
    first = chat(session, max_tokens=1).status(200).has({"id": str})
    second = chat(session, max_tokens=1).status(200).has({"id": str})
    second.holds(first.json["id"] != second.json["id"], f"$.id is {second.json['id']!r}, as that of the answer before")


@contract(SHOULD, needs="chat")
def says_when_it_was_made(session: Session) -> None:
    """`created` is a whole number of seconds since 1970."""
    chat(session, max_tokens=1).status(200).has({"created": int})


@contract(SHOULD, needs="chat")
def holds_only_documented_fields(session: Session) -> None:
    """An answer has the fields of OpenAI's reference and no others, so that strict readers can read it."""
    answer = chat(session, max_tokens=8).status(200)
    found = message(answer)
    holds_only(answer, answer.json, COMPLETION_FIELDS, "$")
    holds_only(answer, answer.json["choices"][0], CHOICE_FIELDS | {"message"}, "$.choices[0]")
    holds_only(answer, found, MESSAGE_FIELDS, "$.choices[0].message")
    holds_only(answer, answer.json.get("usage"), USAGE_FIELDS, "$.usage")


@contract(MUST, needs="chat")
def accepts_any_text(session: Session) -> None:
    """Whatever is text may be said to a model: every script, emoji, control characters."""
    text = session.vary("naïve café, 東京, 👋🏽, \u202eright to left, \ttab, \x00 and \x1b", texts)
    message(chat(session, messages=[user(text)], max_tokens=1))


@contract(MUST, needs="chat")
def accepts_a_conversation(session: Session) -> None:
    """Earlier turns may be sent along: user and assistant, in turn."""
    earlier = [user("What is two and two?"), {"role": "assistant", "content": session.vary("Four.", texts)}]
    message(chat(session, messages=[*earlier, user("And three more?")], max_tokens=1))


@contract(MUST, needs="chat")
def accepts_instructions(session: Session) -> None:
    """The first message may tell the model how to behave; its role is "system", or "developer" with newer clients."""
    role = session.vary("developer", st.sampled_from(["system", "developer"]))
    instruction = {"role": role, "content": session.vary("Be brief.", texts)}
    message(chat(session, messages=[instruction, user("Hello")], max_tokens=1))


@contract(SHOULD, needs="chat")
def accepts_content_in_parts(session: Session) -> None:
    """The content of a message may be a list of parts of text."""
    content = session.vary([{"type": "text", "text": "What is"}, {"type": "text", "text": " resilience?"}], parts)
    message(chat(session, messages=[user(content)], max_tokens=1))


@contract(SHOULD, needs="chat")
def accepts_the_name_of_a_speaker(session: Session) -> None:
    """A message may name who says it."""
    name = session.vary("ada", st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True))
    message(chat(session, messages=[{**user("Hello"), "name": name}], max_tokens=1))


@contract(SHOULD, needs="chat")
def accepts_fields_that_it_does_not_know(session: Session) -> None:
    """What a server has no use for, it passes over: clients are newer than servers."""
    unused: dict[str, Json] = {"user": "ada", "store": False, "service_tier": "auto", "verbosity": "low"}
    message(chat(session, max_tokens=1, **session.vary(unused, st.fixed_dictionaries({"future_field": texts()}))))


@contract(SHOULD, needs="chat")
def does_not_pass_over_a_picture(session: Session) -> None:
    """A model that can't see says so: a picture is refused, since an answer would be about something else."""
    content = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": _PICTURE}}]
    chat(session, messages=[user(content)], max_tokens=1).refused(400, 415, 422)


@contract(SHOULD, needs="chat")
def does_not_pass_over_a_part_of_an_unknown_type(session: Session) -> None:
    """A part of a message that a server can't read is refused, and not left out."""
    content = [{"type": "text", "text": "Hello"}, {"type": session.vary("smell", _unknown_words), "smell": "rain"}]
    chat(session, messages=[user(content)], max_tokens=1).refused(400, 422)


@contract(SHOULD, needs="chat")
def refuses_an_unknown_role(session: Session) -> None:
    """Whoever speaks is one of those that the reference names; another role is a mistake, and said to be one."""
    odd = {"role": session.vary("wizard", _unknown_words), "content": "Hello"}
    chat(session, messages=[odd], max_tokens=1).refused(400, 422)


@contract(SHOULD, needs="chat")
def refuses_a_message_without_a_role(session: Session) -> None:
    """Every message says who speaks."""
    chat(session, messages=[{"content": session.vary("Hello", texts)}], max_tokens=1).refused(400, 422)


@contract(SHOULD, needs="chat")
def an_empty_message_does_not_fail_the_server(session: Session) -> None:
    """A message that says nothing is answered, or refused as the client's mistake."""
    content = session.vary("", st.sampled_from(["", None]))
    chat(session, messages=[user(content)], max_tokens=1).status(200, 400, 422)


@contract(MUST, needs="split-utf8")
def characters_of_several_bytes_come_back_whole(session: Session) -> None:
    """Accents, ideographs and emoji arrive as they were generated, also where a token ends within a character."""
    answer = chat(session, "split-utf8", messages=question(session))
    answer.holds(said(answer) == SPLIT_TEXT, f"the text is {said(answer)!r}, not {SPLIT_TEXT!r}")


@contract(MUST, needs="empty")
def an_answer_may_be_empty(session: Session) -> None:
    """A model that has nothing to say is answered for with an empty text and `stop`, and not with an error."""
    answer = chat(session, "empty", messages=question(session))
    answer.holds(said(answer) == "", f"the text is {said(answer)!r}, though nothing was generated")
    answer.holds(finish(answer) == "stop", f"the finish_reason is {finish(answer)!r}, not 'stop'")


@contract(MUST, needs="split-utf8")
def says_stop_where_the_model_ended(session: Session) -> None:
    """An answer that the model brought to its end has the finish_reason `stop`."""
    answer = chat(session, "split-utf8", messages=question(session))
    answer.holds(finish(answer) == "stop", f"the finish_reason is {finish(answer)!r}, not 'stop'")


@contract(MUST, needs="endless")
def says_length_where_max_tokens_ended_it(session: Session) -> None:
    """An answer that was cut off at `max_tokens` has the finish_reason `length`."""
    answer = chat(session, "endless", messages=question(session), max_tokens=session.vary(8, few_tokens))
    answer.holds(finish(answer) == "length", f"the finish_reason is {finish(answer)!r}, not 'length'")


@contract(SHOULD, needs="endless")
def says_length_where_its_own_limit_ended_it(session: Session) -> None:
    """An answer that the server cut off without being told to has the finish_reason `length` too."""
    answer = chat(session, "endless")
    answer.holds(finish(answer) == "length", f"the finish_reason is {finish(answer)!r}, not 'length'")


@contract(MUST, needs="breaking")
def a_failure_while_generating_is_an_error(session: Session) -> None:
    """Where generation fails, the answer is an error of the server, 500, and no half of a text."""
    chat(session, "breaking", messages=question(session)).refused(500)


def _unknown_words() -> st.SearchStrategy[str]:
    """Words that no reference knows."""
    return st.from_regex(r"x-[a-z]{1,20}", fullmatch=True)
