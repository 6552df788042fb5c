"""Robustness: whatever a caller sends, it is answered, and the server serves the next one."""

from __future__ import annotations

import json
from typing import Any, Final

from resilient_foundry.harness import ALONE, MUST, SHOULD, Answer, Session, contract, requests

CHAT: Final = "/v1/chat/completions"
JSON: Final = {"content-type": "application/json"}
SECONDS: Final = 20.0
"""The longest silence before an answer counts as none."""
TOO_DEEP: Final = 80_000


def odd_chat() -> dict[str, Any]:
    """A chat of which nothing is as it ought to be."""
    return {"model": 5, "messages": {"role": ["user", None]}, "max_tokens": "many", "tools": -1}


def send(session: Session, path: str, content: bytes) -> Answer:
    """Whatever it is, sent as JSON."""
    return session.post(path, content=content, headers=JSON, read=SECONDS)


def written(value: object) -> bytes:
    """A value as JSON."""
    return json.dumps(value, ensure_ascii=False).encode()


def answered(answer: Answer) -> Answer:
    """There is an answer, and it is whole."""
    answer.holds(answer.code, "there is no status")
    return answer.ended()


def process(session: Session) -> object:
    """The process that answers, where the server says it."""
    status = session.get("/status", read=SECONDS).status(200)
    return status.json.get("pid")


def survives(session: Session, path: str, content: bytes) -> None:
    """It is answered, and the same process answers the next one."""
    before = process(session)
    answered(send(session, path, content))
    session.expect(process(session) == before, "another process answers now")


def below_500(answer: Answer) -> None:
    """It is not said to be a fault of the server."""
    answered(answer).holds(
        answer.code < 500, f"the status is {answer.code} for what the caller did: {answer.text[:150]}"
    )


def in_the_envelope(answer: Answer) -> None:
    """If it is an error, it is in the envelope of all errors."""
    if answered(answer).code >= 400:
        answer.media("application/json").has({"error": {"message": str, "type": str}})


@contract(MUST, needs="chat")
def survives_any_chat(session: Session) -> None:
    """A chat with any JSON in any member is answered, and the server goes on."""
    survives(session, CHAT, written(session.vary(odd_chat(), lambda: requests.chats(session.model()))))


@contract(MUST, needs="chat")
def survives_any_response(session: Session) -> None:
    """A response asked for with any JSON is answered, and the server goes on."""
    fields = session.vary({"input": [None, 1]}, requests.documents)
    survives(session, "/v1/responses", written(fields))


@contract(MUST, needs="embedding")
def survives_any_embedding(session: Session) -> None:
    """An embedding of any JSON is answered, and the server goes on."""
    fields = {"model": session.model("embedding"), "input": session.vary([None, 1], requests.documents)}
    survives(session, "/v1/embeddings", written(fields))


@contract(MUST, needs="chat")
def survives_any_bytes(session: Session) -> None:
    """A body of any bytes is answered, and the server goes on."""
    survives(session, CHAT, session.vary(b'{"a": "\x80\x00', requests.bodies))


@contract(MUST)
def survives_any_path(session: Session) -> None:
    """Any method with any path is answered, and the server goes on."""
    before = process(session)
    method = session.vary("PROPFIND", requests.methods)
    answered(session.request(method, session.vary("/v1/%00/..%2f", requests.paths), read=SECONDS))
    session.expect(process(session) == before, "another process answers now")


@contract(MUST)
def survives_any_header(session: Session) -> None:
    """Headers that nobody knows change nothing, whatever they hold."""
    odd = {"x-any": "(\"odd\", 'value'); \\", "cookie": "=;=", "authorization": "?"}
    session.get("/status", headers=session.vary(odd, requests.headers), read=SECONDS).status(200).ended()


@contract(SHOULD, needs="chat")
def an_odd_chat_is_no_fault_of_the_server(session: Session) -> None:
    """A chat with any JSON in any member is answered with less than 500, so that nobody sends it again."""
    chat = session.vary(odd_chat(), lambda: requests.chats(session.model()))
    below_500(send(session, CHAT, written(chat)))


@contract(SHOULD, needs="chat")
def unreadable_text_is_no_fault_of_the_server(session: Session) -> None:
    """Text that is no JSON is answered with less than 500."""
    text = session.vary('{"model": "none:1", ', requests.unreadable)
    below_500(send(session, CHAT, text.encode()))


@contract(SHOULD, needs="chat")
def unreadable_text_in_any_script_is_no_fault_of_the_server(session: Session) -> None:
    """Text that is no JSON and not in ASCII is answered with less than 500, as any other."""
    below_500(send(session, CHAT, session.vary("¢", requests.unreadable_in_any_script).encode()))


@contract(SHOULD)
def an_odd_path_is_no_fault_of_the_server(session: Session) -> None:
    """Any path is answered with less than 500."""
    below_500(session.get(session.vary("/v1/%00/..%2f", requests.paths), read=SECONDS))


@contract(MUST, needs="chat")
def an_odd_chat_is_refused_in_the_envelope(session: Session) -> None:
    """Whatever is refused in a chat is refused in one envelope."""
    chat = session.vary(odd_chat(), lambda: requests.chats(session.model()))
    in_the_envelope(send(session, CHAT, written(chat)))


@contract(MUST, needs="chat")
def unreadable_text_is_refused_in_the_envelope(session: Session) -> None:
    """Text that is no JSON is refused in the envelope of all errors, by chats, responses and embeddings."""
    text = session.vary('{"model": "none:1", ', requests.unreadable)
    for path in (CHAT, "/v1/responses", "/v1/embeddings"):
        in_the_envelope(send(session, path, text.encode()))


@contract(SHOULD, needs="chat")
def unreadable_bytes_are_refused_in_the_envelope(session: Session) -> None:
    """Bytes that are no text are refused in the envelope of all errors."""
    in_the_envelope(send(session, CHAT, session.vary(b'{"model": "\xff"}', requests.bodies)))


@contract(SHOULD, needs=("chat", ALONE))
def survives_deep_nesting(session: Session) -> None:
    """A chat with arrays nested eighty thousand levels deep is answered, and the server goes on."""
    survives(session, CHAT, b"[" * TOO_DEEP + b"]" * TOO_DEEP)


@contract(SHOULD, needs=("chat", ALONE))
def survives_a_top_k_beyond_the_vocabulary(session: Session) -> None:
    """A `top_k` that is larger than the vocabulary is answered, and the server goes on."""
    messages = [{"role": "user", "content": "Hello"}]
    chat = {"model": session.model(), "messages": messages, "metadata": {"top_k": "999999"}, "max_tokens": 4}
    survives(session, CHAT, written(chat))


@contract(SHOULD, needs=("json-text", ALONE))
def survives_a_temperature_below_zero(session: Session) -> None:
    """A temperature below 0 is answered, and the server goes on."""
    messages = [{"role": "user", "content": "Hello"}]
    chat = {"model": session.model("json-text"), "messages": messages, "temperature": -1, "max_tokens": 64}
    survives(session, CHAT, written(chat))
