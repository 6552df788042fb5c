"""Routes: what is not there, what a path may look like, and which method does what."""

from __future__ import annotations

from typing import Final

from hypothesis import strategies as st

from resilient_foundry.harness import MAY, MUST, SHOULD, Session, contract

CHAT: Final = "/v1/chat/completions"


@contract(MUST)
def an_unknown_route_is_not_found(session: Session) -> None:
    """A path that nobody serves is answered with 404."""
    path = session.vary("/no/such/route", lambda: st.from_regex(r"/no-such(/[a-z0-9]{1,12}){0,4}", fullmatch=True))
    session.get(path).status(404).ended()
    session.post(path, json={}).status(404).ended()


@contract(SHOULD)
def an_unknown_route_says_so_in_the_envelope(session: Session) -> None:
    """A path that nobody serves is answered in the envelope of every other error, with its media type."""
    session.get("/no/such/route").refused(404)


@contract(MUST, versions=">=1")
def the_older_rest_is_not_served(session: Session) -> None:
    """The paths of the 0.x service are answered with 404, so that a client can tell the generations."""
    session.get("/openai/status").status(404)
    session.get("/foundry/list").status(404)


@contract(SHOULD)
def a_wrong_method_is_not_allowed(session: Session) -> None:
    """A known path with another method is answered with 405 and the methods that it takes (RFC 9110 section 15.5.6)."""
    for method, path in (("GET", CHAT), ("DELETE", "/v1/models"), ("PUT", "/status")):
        answer = session.request(method, path).status(405)
        answer.holds(answer.header("allow"), "it does not say which methods are allowed")


@contract(MUST)
def a_wrong_method_does_nothing(session: Session) -> None:
    """A known path with another method is refused: 404 or 405, and the server goes on."""
    method = session.vary("PUT", st.sampled_from(["PUT", "PATCH", "DELETE", "TRACE"]))
    for path in ("/status", "/v1/models", CHAT):
        session.request(method, path).status(404, 405)
    session.get("/status").status(200)


@contract(SHOULD)
def what_can_be_read_has_a_head(session: Session) -> None:
    """HEAD is answered as GET is, without its body (RFC 9110 section 9.3.2)."""
    session.request("HEAD", "/status").status(200)


@contract(MAY)
def options_are_told(session: Session) -> None:
    """OPTIONS is answered with the methods that a path takes (RFC 9110 section 9.3.7)."""
    answer = session.request("OPTIONS", CHAT).status(200, 204)
    answer.holds(answer.header("allow"), "it does not say which methods are allowed")


@contract(SHOULD)
def a_trailing_slash_does_not_matter(session: Session) -> None:
    """A slash at the end of a path changes nothing."""
    session.get("/status/").status(200).media("application/json")


@contract(MUST)
def a_query_is_ignored(session: Session) -> None:
    """A query that nobody asked for changes nothing."""
    query = session.vary("probe=1", lambda: st.from_regex(r"[a-z]{1,8}=[a-z0-9%.~_-]{0,30}", fullmatch=True))
    session.get(f"/status?{query.replace('%', '%25')}").status(200).media("application/json")


@contract(SHOULD)
def a_letter_may_be_percent_encoded(session: Session) -> None:
    """A letter written as %65 is the same path (RFC 3986 section 6.2.2.2)."""
    session.get("/v1/mod%65ls").status(200)


@contract(MAY)
def case_matters(session: Session) -> None:
    """A path in other letters is another path (RFC 3986 section 6.2.2.1)."""
    session.get("/v1/Models").status(404)


@contract(MUST)
def a_path_does_not_leave_its_folder(session: Session) -> None:
    """Dots and encoded slashes in the place of a name lead nowhere: the answer is that there is no such thing."""
    name = session.vary(
        "..%2f..%2fetc%2fpasswd", st.sampled_from(["..%2f..%2fetc%2fpasswd", "%2e%2e%2f%2e%2e%2fetc", "..%5cwindows"])
    )
    answer = session.get(f"/v1/models/{name}").status(400, 404)
    answer.holds("root:" not in answer.text, "the answer is a file of the machine")


@contract(SHOULD)
def a_null_in_a_path_is_refused(session: Session) -> None:
    """A NUL in the place of a name is refused with a 4xx."""
    session.get("/v1/models/no%00ne").status(400, 404)
