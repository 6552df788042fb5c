"""What a client does above a transport: redirects, digest authentication, cookies, extensions, hooks."""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest

from resilient_foundry import Backoff, CircuitBreaker, CircuitOpenError, Deadline, Retry, Stack
from resilient_foundry.flow import Flow, Proceed, Request, Response, discard
from tests.servers import Conversation, Server, replies, script
from tests.ways import Way, ledger_of

AT_ONCE = Backoff(base=0.0)
RETRYING = Stack(Deadline(20), Retry(attempts=3, backoff=AT_ONCE))
CHALLENGE = {"www-authenticate": 'Digest realm="here", nonce="n%d", qop="auth", algorithm=MD5'}


class Digest:
    """A server that wants digest authentication and takes each answer to a challenge once, as RFC 7616 lets it."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.nonces = 0
        self.used: list[str] = []
        """The nonce and the count of each answer, in order of arrival."""

    def __call__(self, talk: Conversation) -> None:
        """The next status for an answer that is new, another challenge for all else."""
        said = talk.asked.headers.get("authorization", "")
        told = re.search(r'nonce="(n\d+)".*nc=(\d+)', said)
        answer = " ".join(told.groups()) if told else None
        fresh = answer is not None and answer not in self.used
        if answer is not None:
            self.used.append(answer)
        if fresh:
            talk.reply(self.statuses.pop(0) if self.statuses else 200, b"here")
        else:
            self.nonces += 1
            talk.reply(401, b"who", {"www-authenticate": f'Digest realm="r", nonce="n{self.nonces}", qop="auth"'})


def test_a_redirect_to_another_server_is_retried_there(way: Way) -> None:
    """Each hop is a call of its own to its own circuit; the one that fails is tried again, and not the whole way."""
    with (
        Server(script(replies(503), replies(200, b"here"))) as there,
        Server(replies(307, b"", {"location": f"{there.url}/end"})) as here,
    ):
        client = way.client(RETRYING, follow_redirects=True)
        response = client.post(here.url, content=b"words", headers={"idempotency-key": "1"})
        assert (response.content, len(response.history)) == (b"here", 1)
        assert len(here.asked) == 1
        assert [asked.body for asked in there.asked] == [b"words", b"words"]
        assert [attempt.status for attempt in ledger_of(response).attempts][-2:] == [503, 200]


def test_the_legs_of_a_call_share_its_attempts(way: Way) -> None:
    """Three in all means two repetitions in all: one went on the first leg, so the second leg has one as well."""
    with (
        Server(replies(503, b"busy")) as there,
        Server(script(replies(503), replies(307, b"", {"location": there.url}))) as here,
    ):
        response = way.client(RETRYING, follow_redirects=True).get(here.url)
        assert (response.status_code, response.content) == (503, b"busy")
        assert (len(here.asked), len(there.asked)) == (2, 2)


def test_a_circle_of_redirects_is_the_librarys_own_error(way: Way) -> None:
    """Every hop was a good answer: nothing is retried and nothing is counted."""
    breaker = CircuitBreaker(failures=1)
    with Server(replies(302, b"", {"location": "/"})) as server:
        client = way.client(Stack.unchecked(Retry(), breaker), follow_redirects=True, max_redirects=3)
        with pytest.raises(way.library.TooManyRedirects):
            client.get(server.url)
        assert (len(server.asked), breaker.circuit(server.url).state) == (4, "closed")


def test_a_challenge_is_answered_by_the_client_and_a_refusal_never_retried_by_us(way: Way) -> None:
    """401 is the caller's business, also the one that follows an answer."""
    digest = Digest(401)
    with Server(digest) as server:
        client = way.client(RETRYING, auth=way.library.DigestAuth("user", "secret"))
        assert client.get(server.url).status_code == 401
        assert (len(server.asked), digest.used) == (2, ["n1 00000001"])


def test_an_answer_to_a_challenge_is_repeated_to_the_letter(way: Way) -> None:
    """Only the client can compute another; a server that takes no answer twice says 401, which is handed over.

    From its second call on the client makes that good by itself.
    """
    digest = Digest(503, 200, 503, 200)
    with Server(digest) as server:
        client = way.client(RETRYING, auth=way.library.DigestAuth("user", "secret"))
        assert [client.get(server.url).status_code for _ in range(3)] == [401, 200, 200]
        assert digest.used == ["n1 00000001"] * 2 + ["n1 00000002"] + ["n1 00000003"] * 2 + ["n3 00000001"]


def test_what_the_caller_wrote_on_a_request_reaches_the_network_and_stays_as_it_was(way: Way) -> None:
    """Extensions that we don't know pass through, as httpcore's `trace` does; nobody writes into the caller's own."""
    seen: list[str] = []

    def note(event: str, info: Any) -> None:
        del info
        seen.append(event)

    async def note_too(event: str, info: Any) -> None:
        note(event, info)

    timeout = {"connect": 5.0, "read": 5.0, "write": 5.0, "pool": 5.0}
    options = {"deadline": 10.0}
    mine = {
        "trace": note if way.colour == "sync" else note_too,
        "mine": object(),
        "timeout": timeout,
        "resilience": options,
    }
    before = dict(mine)
    with Server(script(replies(503), replies(200))) as server:
        client = way.client(Stack.standard())
        request = client.build("GET", server.url, extensions=mine)
        assert client.send(request).status_code == 200
        assert seen.count("http11.send_request_headers.complete") == 2
        assert mine == before
        assert (timeout, options) == ({"connect": 5.0, "read": 5.0, "write": 5.0, "pool": 5.0}, {"deadline": 10.0})
        assert request.extensions["timeout"] is timeout
        assert request.extensions["mine"] is mine["mine"]


def test_hooks_of_the_client_see_a_call_and_not_its_attempts(way: Way) -> None:
    """They stand above the transport, as they always did."""
    seen: list[object] = []

    async def note(thing: Any) -> None:
        seen.append(getattr(thing, "status_code", thing.method if hasattr(thing, "method") else None))

    def note_blocking(thing: Any) -> None:
        seen.append(getattr(thing, "status_code", thing.method if hasattr(thing, "method") else None))

    hook = note_blocking if way.colour == "sync" else note
    with Server(script(replies(503), replies(200))) as server:
        client = way.client(RETRYING, event_hooks={"request": [hook], "response": [hook]})
        client.get(server.url)
        assert seen == ["GET", 200]
        assert len(server.asked) == 2


def test_neither_logs_nor_errors_tell_what_a_url_may_hide(way: Way, caplog: pytest.LogCaptureFixture) -> None:
    """Retries, refusals and passed limits are told of by origin; user, password, query and body by nobody."""
    caplog.set_level(logging.DEBUG, logger="resilient_foundry")
    told: list[str] = []
    stack = Stack.unchecked(
        Deadline(20), Retry(attempts=2, backoff=AT_ONCE), CircuitBreaker(failures=2, open_seconds=60)
    )
    with Server(lambda talk: talk.reset()) as server:
        url = server.url.replace("http://", "http://user:hidden@") + "/hidden-path?key=hidden"
        client = way.client(stack)
        for error in (way.library.ReadError, CircuitOpenError):
            with pytest.raises(error) as caught:
                client.get(url, headers={"x-key": "hidden"})
            told += [str(caught.value), *getattr(caught.value, "__notes__", []), str(ledger_of(caught.value))]
    told += [f"{record.getMessage()} {vars(record)}" for record in caplog.records if record.name == "resilient_foundry"]
    assert len(told) > 8
    assert [line for line in told if "hidden" in line] == []


def test_a_cookie_of_an_answer_that_was_thrown_away_is_kept(way: Way) -> None:
    """A session that a server opened with its 503 goes on; what an answer given later says of it comes last."""
    first = replies(503, b"", {"set-cookie": "session=one"})
    second = replies(503, b"", {"set-cookie": "server=two"})
    third = replies(200, b"", {"set-cookie": "session=three"})
    with Server(script(first, second, third, replies(200))) as server:
        client = way.client(RETRYING)
        response = client.get(server.url)
        assert response.headers.get_list("set-cookie") == ["session=one", "server=two", "session=three"]
        client.get(server.url)
        assert server.asked[-1].headers["cookie"] == "session=three; server=two"


def test_a_cookie_of_another_server_that_was_asked_in_between_is_none_of_the_callers(way: Way) -> None:
    """Nothing but what the host said whose answer the caller gets."""
    with Server(replies(503, b"", {"set-cookie": "session=stolen"})) as there, Server(replies(200)) as here:

        class Elsewhere:
            def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
                url = there.url.replace("127.0.0.1", "localhost")
                other = way.library.Request("GET", url, extensions=dict(request.extensions))
                yield from discard((yield from proceed(other)))
                return (yield from proceed(request))

        response = way.client(Stack(Elsewhere())).get(here.url)
        assert (len(there.asked), "set-cookie" in response.headers) == (1, False)
