"""Clients that leave: the server goes on serving, and stops the work that nobody waits for."""

from __future__ import annotations

from typing import Final

from hypothesis import strategies as st

from resilient_foundry.harness import ALONE, MUST, SHOULD, Answer, Session, contract

CHAT: Final = "/v1/chat/completions"
JSON: Final = {"content-type": "application/json"}
LONG: Final = 60_000
"""Tokens: some seconds of work."""
LOOKS: Final = 10
PAUSE: Final = 0.1
"""Seconds between two looks."""


def long_chat(session: Session, **fields: object) -> dict[str, object]:
    """A chat that takes seconds."""
    messages = [{"role": "user", "content": "Go on and on."}]
    return {"model": session.model("endless"), "messages": messages, "max_tokens": LONG, **fields}


def leave(session: Session, after: int) -> None:
    """Begin a stream, read some events of it, and go."""
    with session.stream("POST", CHAT, json=long_chat(session, stream=True)) as stream:
        events = stream.events(after)
        stream.answer.holds(len(events) == after, f"the stream ended after {len(events)} events")


def unloaded(session: Session) -> Answer:
    """What the server says to unloading the model, once it can, or after a second."""
    session.pause(PAUSE)
    answer = session.get(f"/models/unload/{session.alias('endless')}")
    for _ in range(LOOKS):
        if answer.code == 200:
            break
        session.pause(PAUSE)
        answer = session.get(f"/models/unload/{session.alias('endless')}")
    return answer


@contract(MUST, needs=("chat", "endless"))
def a_client_that_leaves_a_stream_harms_nobody(session: Session) -> None:
    """After a client left in the middle of a stream, others are answered as before."""
    leave(session, session.vary(3, st.integers(1, 30)))
    session.get("/status").status(200)
    messages = [{"role": "user", "content": "Hello"}]
    session.post(CHAT, json={"model": session.model(), "messages": messages, "max_tokens": 4}).status(200)


@contract(SHOULD, needs=("endless", ALONE))
def a_stream_that_nobody_reads_is_stopped(session: Session) -> None:
    """A model whose reader left in mid-stream is free within a second: it can be unloaded."""
    leave(session, 3)
    unloaded(session).status(200)


@contract(SHOULD, needs=("endless", ALONE))
def a_chat_that_nobody_waits_for_is_stopped(session: Session) -> None:
    """A model whose client gave up waiting for a whole answer is free within a second: it can be unloaded."""
    session.post(CHAT, json=long_chat(session), read=0.3).ended("ReadTimeout")
    unloaded(session).status(200)


@contract(MUST, needs="chat")
def half_a_request_harms_nobody(session: Session) -> None:
    """A client that leaves before its request is whole costs nobody anything."""
    length = str(session.vary(1000, st.integers(30, 100_000)))
    half = session.post(CHAT, content=b'{"model": "none:1", ', headers={**JSON, "content-length": length})
    half.ended("LocalProtocolError")
    session.get("/status").status(200)


@contract(MUST, needs="endless")
def leaving_again_and_again_is_survived(session: Session) -> None:
    """Ten clients that leave one after the other in mid-stream leave a server that answers."""
    for after in range(1, 11):
        leave(session, after)
    session.get("/status").status(200)
