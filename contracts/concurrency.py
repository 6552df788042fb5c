"""Several at once: all are answered, each with its own answer."""

from __future__ import annotations

import json
from functools import partial
from typing import Any, Final

from hypothesis import strategies as st

from resilient_foundry.harness import CHAT as IN_ORDER
from resilient_foundry.harness import MUST, Answer, Session, contract

CHAT: Final = "/v1/chat/completions"


def ask(session: Session, role: str, **fields: object) -> Answer:
    """A chat with the model that plays this part."""
    messages = [{"role": "user", "content": f"Are you {role}?"}]
    return session.post(CHAT, json={"model": session.model(role), "messages": messages, **fields})


def said(answer: Answer) -> str:
    """What the model said."""
    text: str = answer.status(200).ended().json["choices"][0]["message"]["content"]
    return text


def decoded(data: str) -> list[dict[str, Any]]:  # JSON: anything
    """The choices of one event."""
    choices: list[dict[str, Any]] = json.loads(data).get("choices") or []
    return choices


def heard(answer: Answer) -> str:
    """What the model said in a stream."""
    answer.status(200).ended()
    deltas = [choice for event in answer.events if event.data != "[DONE]" for choice in decoded(event.data)]
    contents: list[Any] = [choice.get("delta", {}).get("content") for choice in deltas]
    return "".join(content or "" for content in contents)


@contract(MUST, needs=("chat", "json-text", "split-utf8"))
def chats_do_not_mix(session: Session) -> None:
    """Three chats at the same time with three models get each what its model says when it is asked alone."""
    roles = ("chat", "json-text", "split-utf8")
    alone = [said(ask(session, role)) for role in roles]
    together = [said(answer) for answer in session.together(*(partial(ask, session, role) for role in roles))]
    for role, before, now in zip(roles, alone, together, strict=True):
        session.expect(before == now, f"the answer of {role!r} is {now[:60]!r} among others and {before[:60]!r} alone")


@contract(MUST, needs="chat")
def chats_with_one_model_are_all_answered(session: Session) -> None:
    """Four chats at the same time with one model are all answered, with no more tokens than each asked for."""
    counts = session.vary([2, 4, 6, 8], lambda: st.lists(st.integers(1, 40), min_size=2, max_size=5, unique=True))
    asked = [partial(ask, session, "chat", max_tokens=count) for count in counts]
    for count, answer in zip(counts, session.together(*asked), strict=True):
        answer.status(200).ended().has({"usage": {"completion_tokens": int}})
        made = answer.json["usage"]["completion_tokens"]
        answer.holds(0 < made <= count, f"the answer has {made} tokens, and {count} were asked for")


@contract(MUST, needs=("chat", "json-text"))
def streams_do_not_mix(session: Session) -> None:
    """Two streams at the same time are each in order, with the words of their own model."""
    roles = ("chat", "json-text")
    alone = [said(ask(session, role)) for role in roles]
    streams = session.together(*(partial(ask, session, role, stream=True) for role in roles))
    for stream, words in zip(streams, alone, strict=True):
        stream.order(IN_ORDER)
        stream.holds(heard(stream) == words, "the stream does not say what the model says alone")


@contract(MUST, needs="slow")
def status_answers_during_inference(session: Session) -> None:
    """The health probe is answered while a model computes."""
    messages = [{"role": "user", "content": "Take your time."}]
    chat = {"model": session.model("slow"), "messages": messages, "stream": True}
    with session.stream("POST", CHAT, json=chat) as stream:
        stream.event()
        session.get("/status", read=10.0).status(200)
        stream.rest().status(200).ended()


@contract(MUST, needs="chat")
def many_connections_are_served(session: Session) -> None:
    """Thirty-two clients at the same time are all answered."""
    for answer in session.together(*(partial(session.get, "/status") for _ in range(32))):
        answer.status(200).ended()
