"""Connections: what is kept, how long a head and a body may be, and how a body may come."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Final

from hypothesis import strategies as st

from resilient_foundry.harness import MAY, MUST, SHOULD, Answer, Session, contract

CHAT: Final = "/v1/chat/completions"
JSON: Final = {"content-type": "application/json"}
HUNDRED_KILOBYTES: Final = 100_000


def body(session: Session, **fields: object) -> bytes:
    """A small chat, as bytes."""
    messages = [{"role": "user", "content": "What is resilience?"}]
    return json.dumps({"model": session.model(), "messages": messages, "max_tokens": 8, **fields}).encode()


def on_one_connection(first: Answer, second: Answer) -> None:
    """The second request did not need a new connection."""
    same = first.status(200).exchange.connection == second.status(200).exchange.connection
    second.holds(same, "it came on a new connection")


@contract(MUST, needs="chat")
def a_connection_is_kept(session: Session) -> None:
    """The next request goes over the same connection (RFC 9112 section 9.3)."""
    on_one_connection(session.get("/status"), session.get("/status"))
    on_one_connection(session.get("/v1/models"), session.post(CHAT, content=body(session), headers=JSON))


@contract(SHOULD, needs="chat")
def a_connection_is_kept_after_a_stream(session: Session) -> None:
    """A stream that was read to its end leaves the connection to the next request."""
    streamed = session.post(CHAT, content=body(session, stream=True), headers=JSON).ended()
    on_one_connection(streamed, session.get("/status"))


@contract(MUST)
def a_connection_is_closed_when_asked(session: Session) -> None:
    """With `Connection: close` the answer says that it is the last one, and the next has a new connection."""
    first = session.get("/status", headers={"connection": "close"}).status(200).ended()
    first.holds("close" in (first.header("connection") or ""), "it does not say Connection: close")
    second = session.get("/status").status(200)
    second.holds(second.exchange.connection != first.exchange.connection, "it came on the connection to be closed")


@contract(MUST)
def a_head_of_3900_bytes_is_accepted(session: Session) -> None:
    """A head of somewhat less than 4 KB is read."""
    session.get("/status", headers={"x-long": "a" * session.vary(3700, st.integers(1, 3700))}).status(200)


@contract(SHOULD)
def a_head_of_8_kilobytes_is_accepted(session: Session) -> None:
    """A head of 8 KB is read: that is what a long token and some cookies make, and what servers commonly take."""
    session.get("/status", headers={"x-long": "a" * 7800}).status(200)


@contract(SHOULD)
def a_head_that_is_too_long_is_refused_in_words(session: Session) -> None:
    """A head of 64 KB is answered with a status, such as 431, and not with a reset (RFC 6585 section 5)."""
    session.get("/status", headers={"x-long": "a" * 64_000}).status(400, 413, 414, 431)


@contract(SHOULD)
def a_path_that_is_too_long_is_refused_in_words(session: Session) -> None:
    """A path of 9 KB is answered with a status, such as 414, and not with a reset (RFC 9110 section 15.5.15)."""
    session.get("/v1/models/" + "a" * 9000).status(400, 404, 414, 431)


@contract(MUST)
def a_head_that_is_too_long_harms_nobody_else(session: Session) -> None:
    """After a head that is too long the server goes on answering."""
    session.get("/status", headers={"x-long": "a" * session.vary(64_000, st.integers(5000, 200_000))})
    session.get("/status").status(200)


@contract(MUST, needs="chat")
def a_big_body_is_read(session: Session) -> None:
    """A body of a hundred kilobytes is read whole: what is too much for the model is refused in words, or cut by it."""
    padded = b" " * HUNDRED_KILOBYTES + body(session)
    session.post(CHAT, content=padded, headers=JSON).status(200)


@contract(MUST, needs="chat")
def a_body_may_come_in_chunks(session: Session) -> None:
    """A chunked body is read (RFC 9112 section 7.1)."""

    def pieces() -> Iterator[bytes]:
        whole = body(session)
        yield whole[:20]
        yield whole[20:]

    session.post(CHAT, content=pieces(), headers=JSON).status(200).has({"object": "chat.completion"})


@contract(MAY, needs="chat")
def a_body_may_be_compressed(session: Session) -> None:
    """A body with `Content-Encoding: gzip` is read, or else refused with 415 (RFC 9110 section 15.5.16)."""
    packed = gzip.compress(body(session), mtime=0)
    session.post(CHAT, content=packed, headers={**JSON, "content-encoding": "gzip"}).status(200, 415)


@contract(SHOULD, needs="chat")
def a_client_may_wait_for_leave(session: Session) -> None:
    """`Expect: 100-continue` is answered with a proper interim answer, or none (RFC 9110 section 10.1.1)."""
    session.post(CHAT, content=body(session), headers={**JSON, "expect": "100-continue"}).status(200, 417)


@contract(SHOULD)
def a_body_of_a_get_is_no_next_request(session: Session) -> None:
    """A body that came with a GET is read away, and is not taken for the next request (RFC 9112 section 9.3)."""
    body = b"GET /no/such/route HTTP/1.1\r\nhost: runtime.invalid\r\n\r\n"
    on_one_connection(session.get("/status", content=body), session.get("/status"))


@contract(SHOULD, needs="chat")
def compressed_answers_are_not_forced(session: Session) -> None:
    """Whoever accepts no compression gets none."""
    answer = session.get("/status", headers={"accept-encoding": "identity"}).status(200)
    answer.holds(answer.header("content-encoding") in {None, "identity"}, "the answer is compressed")
