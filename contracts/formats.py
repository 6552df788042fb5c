"""The form of an answer: `response_format`."""

import json

from hypothesis import strategies as st

from resilient_foundry.harness import MAY, MUST, SHOULD, Answer, Session, contract
from resilient_foundry.harness.conversations import chat, heard, message, question, said, streamed

_SCHEMA = {
    "type": "object",
    "properties": {"colour": {"type": "string"}},
    "required": ["colour"],
    "additionalProperties": False,
}
_OBJECT = {"type": "json_object"}
_AS_OPENAI = {"type": "json_schema", "json_schema": {"name": "paint", "strict": True, "schema": _SCHEMA}}
_AS_FOUNDRY = {"type": "json_schema", "json_schema": _SCHEMA}


@contract(MUST, needs="chat")
def takes_text(session: Session) -> None:
    """`text`, which is what there is without a format, may be asked for."""
    message(chat(session, messages=question(session), max_tokens=4, response_format={"type": "text"}))


@contract(MUST, needs="json-text")
def an_object_comes_back_whole(session: Session) -> None:
    """With `json_object` the text of an answer that was finished is one JSON object."""
    answer = chat(session, "json-text", messages=question(session), response_format=_OBJECT)
    _is_an_object(answer, said(answer))


@contract(MUST, needs="json-text")
def an_object_comes_back_whole_from_a_stream(session: Session) -> None:
    """With `json_object` the deltas of a stream, joined, are one JSON object."""
    answer = streamed(session, "json-text", messages=question(session), response_format=_OBJECT)
    _is_an_object(answer, heard(answer))


@contract(SHOULD, needs="endless")
def an_object_is_enforced(session: Session) -> None:
    """With `json_object` a model that would write prose is made to begin an object."""
    answer = chat(session, "endless", max_tokens=8, response_format=_OBJECT)
    _begins_an_object(answer, said(answer))


@contract(SHOULD, needs="endless")
def an_object_is_enforced_in_a_stream(session: Session) -> None:
    """With `json_object` a model that would write prose is made to begin an object, streamed as well."""
    answer = streamed(session, "endless", max_tokens=8, response_format=_OBJECT)
    _begins_an_object(answer, heard(answer))


@contract(SHOULD, needs="endless")
def a_schema_is_enforced(session: Session) -> None:
    """With `json_schema`, written as OpenAI's reference has it, a model is made to begin what the schema asks for."""
    answer = chat(session, "endless", max_tokens=8, response_format=_AS_OPENAI)
    _begins_an_object(answer, said(answer))


@contract(MAY, needs="endless", versions=">=2")
def a_bare_schema_is_enforced(session: Session) -> None:
    """With `json_schema`, written as 2.x reads it, without a wrapper, a model is made to begin its object."""
    answer = chat(session, "endless", max_tokens=8, response_format=_AS_FOUNDRY)
    _begins_an_object(answer, said(answer))


@contract(SHOULD, needs="chat")
def refuses_a_schema_that_is_missing(session: Session) -> None:
    """`json_schema` without a schema is a mistake, and not a wish for text."""
    chat(session, max_tokens=4, response_format={"type": "json_schema"}).refused(400, 422)


@contract(SHOULD, needs="chat")
def refuses_a_format_that_there_is_not(session: Session) -> None:
    """A format of another name is a mistake: the client would wait for what never comes."""
    name = session.vary("yaml", st.from_regex(r"x-[a-z]{1,20}", fullmatch=True))
    chat(session, max_tokens=4, response_format={"type": name}).refused(400, 422)


def _is_an_object(answer: Answer, text: str) -> None:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    answer.holds(isinstance(value, dict), f"the text is {text[:80]!r}, which is no JSON object")


def _begins_an_object(answer: Answer, text: str) -> None:
    answer.holds(text.lstrip().startswith("{"), f"the text is {text[:80]!r}, which begins no JSON object")
