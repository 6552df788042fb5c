"""Headers: what an answer says about itself, and which headers of a request don't matter."""

from __future__ import annotations

from typing import Final

from hypothesis import strategies as st

from resilient_foundry.harness import MUST, SHOULD, Answer, Session, contract

CHAT: Final = "/v1/chat/completions"
STRANGER: Final = "http://stranger.invalid"


def chat(session: Session, **fields: object) -> dict[str, object]:
    """A small chat."""
    messages = [{"role": "user", "content": "What is resilience?"}]
    return {"model": session.model(), "messages": messages, "max_tokens": 8, **fields}


def once(answer: Answer, *names: str) -> None:
    """None of these headers comes twice."""
    response = answer.status(200).exchange.response
    found = [name for name, _ in response.headers] if response else []
    for name in names:
        answer.holds(found.count(name) <= 1, f"the header {name} comes {found.count(name)} times")


@contract(MUST, needs="chat")
def json_says_that_it_is_json(session: Session) -> None:
    """Whatever is JSON says so in its media type."""
    session.get("/status").status(200).media("application/json")
    session.get("/v1/models").status(200).media("application/json")
    session.get("/models/loaded").status(200).media("application/json")
    session.post(CHAT, json=chat(session)).status(200).media("application/json")


@contract(SHOULD, needs="chat")
def a_header_comes_once(session: Session) -> None:
    """Media type, length, caching and server are said once in a plain answer (RFC 9110 section 5.3)."""
    names = ("content-type", "content-length", "cache-control", "server", "connection")
    once(session.get("/status"), *names)
    once(session.post(CHAT, json=chat(session)), *names)


@contract(SHOULD, needs="chat")
def a_header_of_a_stream_comes_once(session: Session) -> None:
    """Media type, caching and connection are said once in a stream (RFC 9110 section 5.3)."""
    once(session.post(CHAT, json=chat(session, stream=True)), "content-type", "cache-control", "connection", "server")


@contract(SHOULD, needs="chat")
def a_stream_is_not_cached(session: Session) -> None:
    """A stream says that nothing between is to keep it."""
    answer = session.post(CHAT, json=chat(session, stream=True)).status(200)
    answer.holds("no-cache" in (answer.header("cache-control") or ""), "it does not say Cache-Control: no-cache")


@contract(SHOULD)
def the_server_names_itself(session: Session) -> None:
    """Every answer names the software that gave it, errors too (RFC 9110 section 10.2.4)."""
    for answer in (session.get("/status"), session.get("/no/such/route")):
        answer.holds(answer.header("server"), "there is no Server header")


@contract(MUST, needs="chat")
def a_length_is_true(session: Session) -> None:
    """Where a length is said, the body has it; else it comes in chunks (RFC 9112 section 6.3)."""
    answers = [session.get("/status"), session.get("/v1/models"), session.get("/no/such/route")]
    answers += [session.post(CHAT, json=chat(session)), session.post(CHAT, json=chat(session, max_tokens=0))]
    for answer in answers:
        answer.ended()
        said = answer.header("content-length")
        if said is None:
            answer.holds(answer.header("transfer-encoding") == "chunked", "it says neither a length nor chunks")
        else:
            answer.holds(said == str(len(answer.body)), f"it says {said} bytes and has {len(answer.body)}")


@contract(SHOULD, needs="chat")
def strangers_get_no_leave(session: Session) -> None:
    """A web page of another origin is not told that it may read an answer (the CORS protocol of WHATWG Fetch)."""
    origin = {"origin": session.vary(STRANGER, st.sampled_from([STRANGER, "https://other.invalid:8443", "null"]))}
    for answer in (session.get("/status", headers=origin), session.post(CHAT, json=chat(session), headers=origin)):
        allowed = answer.status(200).header("access-control-allow-origin")
        answer.holds(allowed is None, f"it lets pages of {allowed} read it")


@contract(SHOULD)
def strangers_get_no_leave_beforehand(session: Session) -> None:
    """A web page of another origin that asks beforehand is not told that it may send a chat."""
    asked = {
        "origin": STRANGER,
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type",
    }
    answer = session.request("OPTIONS", CHAT, headers=asked)
    allowed = answer.header("access-control-allow-origin")
    answer.holds(allowed is None, f"it lets pages of {allowed} send chats")


@contract(SHOULD)
def another_host_is_refused(session: Session) -> None:
    """A request for another host is refused, or a web page could reach the server by rebinding a name."""
    session.get("/status", headers={"host": "stranger.invalid"}).status(400, 403, 404, 421)


@contract(MUST)
def a_key_is_not_asked_for(session: Session) -> None:
    """An `Authorization` header is ignored, whatever it says: OpenAI's clients send one always."""
    key = session.vary("Bearer none", lambda: st.from_regex(r"(Bearer|Basic) [A-Za-z0-9+/=._-]{1,60}", fullmatch=True))
    session.get("/status", headers={"authorization": key}).status(200)


@contract(MUST, needs="chat")
def unknown_headers_are_ignored(session: Session) -> None:
    """The headers that OpenAI's clients add change nothing."""
    sent = {
        "x-stainless-lang": "python",
        "x-stainless-retry-count": "0",
        "openai-organization": "none",
        "accept": "application/json",
    }
    session.post(CHAT, json=chat(session), headers=sent).status(200).media("application/json")


@contract(SHOULD, needs="chat")
def the_media_type_of_a_request_may_have_a_charset(session: Session) -> None:
    """A body of `application/json; charset=utf-8` is read as JSON."""
    sent = {"content-type": "application/json; charset=utf-8"}
    session.post(CHAT, json=chat(session), headers=sent).status(200)


@contract(SHOULD, needs="chat")
def another_media_type_is_refused(session: Session) -> None:
    """A body that says that it is no JSON is refused with 400 or 415: as plain text any web page could send it."""
    session.post(CHAT, json=chat(session), headers={"content-type": "text/plain"}).refused(400, 415)
