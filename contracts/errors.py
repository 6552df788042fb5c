"""Errors: what a caller did wrong is said with a 4xx, in one envelope, in words."""

from __future__ import annotations

import re
from typing import Any, Final

from hypothesis import strategies as st

from resilient_foundry.harness import MUST, SHOULD, Answer, Session, contract

CHAT: Final = "/v1/chat/completions"
JSON: Final = {"content-type": "application/json"}
MORE_THAN_ANY: Final = 2_000_000
"""Tokens; there are models that take a million."""
SOURCE_LINE: Final = re.compile(r"\w+\.(cc|cpp|h|cs|py):?\d*\b|\w+::\w+|\b(System|Microsoft)\.[A-Z]\w+")
"""What only the authors of a server can use: a file of its source, or a name in it."""


def ask(session: Session, **fields: Any) -> dict[str, Any]:  # whatever JSON can hold
    """A small chat, with fields of it replaced or added."""
    return {
        "model": session.model(),
        "messages": [{"role": "user", "content": "What is resilience?"}],
        "max_tokens": 8,
        **fields,
    }


def in_words(message: object) -> bool:
    """Something is said."""
    return isinstance(message, str) and bool(message.strip())


def refused(answer: Answer, *codes: int) -> Answer:
    """It is the caller's fault, and says so in the envelope."""
    return answer.refused(*codes).has({"error": {"message": in_words}})


@contract(SHOULD, needs="chat")
def malformed_json_is_refused(session: Session) -> None:
    """A body that is no JSON is answered with 400: the caller wrote it, and the same again would be no better."""
    body = session.vary(
        '{"model": ', st.sampled_from(['{"model": ', "{,}", '{"a": 1,}', "{'a': 1}", "nonsense", '"', "[1 2]"])
    )
    refused(session.post(CHAT, content=body.encode(), headers=JSON), 400)


@contract(SHOULD, needs="chat")
def an_empty_body_is_refused(session: Session) -> None:
    """A chat without a body is answered with 400, and at once."""
    refused(session.post(CHAT, content=b"", headers=JSON, read=10.0), 400)


@contract(SHOULD, needs="chat")
def another_kind_of_json_is_refused(session: Session) -> None:
    """A body that is JSON and no object is answered with 400."""
    for body in (b"[]", b'"text"', b"5"):
        refused(session.post(CHAT, content=body, headers=JSON), 400)


@contract(SHOULD, needs="chat")
def a_missing_model_is_refused(session: Session) -> None:
    """A chat that names no model is answered with 400."""
    fields = ask(session)
    del fields["model"]
    refused(session.post(CHAT, json=fields), 400)


@contract(SHOULD, needs="chat")
def missing_messages_are_refused(session: Session) -> None:
    """A chat without messages, or with none in their list, is answered with 400."""
    fields = ask(session)
    del fields["messages"]
    refused(session.post(CHAT, json=fields), 400)
    refused(session.post(CHAT, json=ask(session, messages=[])), 400)


@contract(SHOULD, needs="chat")
def an_unknown_model_is_not_found(session: Session) -> None:
    """A chat with a model that nobody knows is answered with 404, so that a client can tell it from one to load."""
    name = session.vary("no-such-model:1", lambda: st.from_regex(r"no-such-[a-z]{1,20}:[1-9]", fullmatch=True))
    refused(session.post(CHAT, json=ask(session, model=name)), 404)


@contract(SHOULD, needs="chat")
def an_unknown_model_fails_a_stream_before_it_begins(session: Session) -> None:
    """A streamed chat with a model that nobody knows is answered with a status, and not with a stream that breaks."""
    refused(session.post(CHAT, json=ask(session, model="no-such-model:1", stream=True)).ended(), 400, 404)


@contract(SHOULD, needs="chat")
def a_temperature_out_of_range_is_refused(session: Session) -> None:
    """A temperature above 2 is answered with 400."""
    temperature = session.vary(2.5, lambda: st.floats(2.01, 1000.0))
    refused(session.post(CHAT, json=ask(session, temperature=temperature)), 400)


@contract(SHOULD, needs="chat")
def a_share_out_of_range_is_refused(session: Session) -> None:
    """A `top_p` above 1 is answered with 400."""
    refused(session.post(CHAT, json=ask(session, top_p=session.vary(1.5, lambda: st.floats(1.01, 1000.0)))), 400)


@contract(SHOULD, needs="chat")
def no_tokens_at_most_is_refused(session: Session) -> None:
    """A `max_tokens` below 1 is answered with 400."""
    refused(session.post(CHAT, json=ask(session, max_tokens=session.vary(0, st.integers(-1000, 0)))), 400)


@contract(SHOULD, needs="chat")
def more_tokens_than_the_context_is_refused(session: Session) -> None:
    """More tokens than the model's context holds are answered with 400, and the message names the context."""
    tokens = session.vary(MORE_THAN_ANY, st.integers(MORE_THAN_ANY, 2**31 - 1))
    answer = refused(session.post(CHAT, json=ask(session, max_tokens=tokens)), 400)
    answer.holds("context length" in answer.text, "the message does not speak of the context length")


@contract(SHOULD, needs="chat")
def a_bad_range_fails_a_stream_before_it_begins(session: Session) -> None:
    """A streamed chat out of range is answered with 400 as the plain one is, and not within a stream."""
    refused(session.post(CHAT, json=ask(session, max_tokens=0, stream=True)).ended(), 400)


@contract(SHOULD, needs="chat")
def a_model_that_is_no_text_is_refused(session: Session) -> None:
    """A model that is a number is answered with 400."""
    refused(session.post(CHAT, json=ask(session, model=5)), 400)


@contract(SHOULD, needs="chat")
def messages_that_are_no_list_are_refused(session: Session) -> None:
    """Messages that are a text are answered with 400."""
    refused(session.post(CHAT, json=ask(session, messages="Hello")), 400)


@contract(SHOULD, needs="chat")
def a_number_of_tokens_that_is_text_is_refused(session: Session) -> None:
    """A `max_tokens` that is text is answered with 400: to ignore it would cost the caller 2048 tokens."""
    refused(session.post(CHAT, json=ask(session, max_tokens="eight")), 400)


@contract(SHOULD, needs="chat")
def a_stream_that_is_text_is_refused(session: Session) -> None:
    """A `stream` that is text is answered with 400: whoever sends it waits for events."""
    refused(session.post(CHAT, json=ask(session, stream="true")), 400)


@contract(SHOULD, needs="chat")
def bytes_that_are_no_text_are_refused(session: Session) -> None:
    """A body that is not UTF-8 is answered with 400 (RFC 8259 section 8.1)."""
    refused(session.post(CHAT, content=b'{"model": "\xff", "messages": []}', headers=JSON), 400)


@contract(SHOULD, needs="chat")
def half_a_character_is_refused(session: Session) -> None:
    """A text with half a surrogate pair is answered with 400."""
    refused(session.post(CHAT, content=b'{"model": "\\ud800", "messages": []}', headers=JSON), 400)


@contract(SHOULD, needs="chat")
def a_number_that_overflows_is_refused(session: Session) -> None:
    """A number beyond the range of a double is answered with 400."""
    refused(session.post(CHAT, content=b'{"model": "none:1", "messages": [], "seed": 1e400}', headers=JSON), 400)


@contract(SHOULD, needs="chat")
def a_key_that_comes_twice_is_refused(session: Session) -> None:
    """A member that comes twice is answered with 400, since nobody can know which one was meant."""
    body = f'{{"model": "none:1", "model": "{session.model()}", "messages": [{{"role": "user", "content": "Hello"}}]}}'
    refused(session.post(CHAT, content=body.encode(), headers=JSON), 400)


@contract(SHOULD, needs="chat")
def an_error_has_four_fields(session: Session) -> None:
    """An error has message, type, code and param, as OpenAI's have; the last two may be null."""
    answer = session.post(CHAT, json=ask(session, max_tokens=0))
    maybe = str | None
    answer.has({"error": {"message": str, "type": "invalid_request_error", "code": maybe, "param": maybe}})


@contract(SHOULD, needs="chat")
def a_message_leaks_no_source_line(session: Session) -> None:
    """The message of an error is for callers: it names no file, line or function of the server's source."""
    for fields in (
        {"temperature": 2.5},
        {"max_tokens": 0},
        {"max_tokens": MORE_THAN_ANY},
        {"model": 5},
        {"messages": "Hello"},
    ):
        answer = session.post(CHAT, json=ask(session, **fields))
        found = SOURCE_LINE.search(answer.text)
        answer.holds(found is None, f"the message names {found and found.group()!r} of the server's source")


@contract(MUST, needs="chat")
def an_error_keeps_the_connection(session: Session) -> None:
    """A refused request costs no connection: the next one goes over the same."""
    first = refused(session.post(CHAT, json=ask(session, model="no-such-model:1")), 400, 404)
    second = session.get("/status").status(200)
    same = first.exchange.connection == second.exchange.connection
    second.holds(same, "the connection was closed after an error")
