"""Another server, or another model, answers when the first one does not; over real sockets."""

from __future__ import annotations

import json
from typing import Any

import pytest

from resilient_foundry import Backoff, CircuitBreaker, Fallback, Retry, Stack, StreamGuard, Target
from resilient_foundry.call import TARGET
from resilient_foundry.events import FellBack
from tests.servers import Asked, Conversation, Server, closed_port, replies, streams
from tests.ways import Way, ledger_of

AT_ONCE = Backoff(base=0, cap=0)


def reasons(answer: Any) -> list[str]:
    """Why others were asked."""
    return [event.reason for _, event in ledger_of(answer).events if isinstance(event, FellBack)]


def host_of(server: Server) -> str:
    return server.url.removeprefix("http://")


def resets(talk: Conversation) -> None:
    """Take the request, and hang up the hard way."""
    talk.reset()


def only(server: Server) -> Asked:
    assert len(server.asked) == 1
    return server.asked[0]


def test_another_server_answers_for_one_that_is_down(way: Way) -> None:
    """It gets the whole request under its own name, but for what was meant for the other alone."""
    with Server(replies(200, b"here")) as other:
        client = way.client(Stack(Fallback(f"{other.url}/base")))
        answer = client.post(
            f"{closed_port()}/v1/chat?a=1",
            content=b"all of it",
            headers={"X-Api-Key": "secret", "Cookie": "session=secret", "X-Kept": "yes"},
            auth=("user", "secret"),
        )
        assert answer.content == b"here"
        assert answer.extensions[TARGET] == f"{other.url}/base"
        assert reasons(answer) == ["ConnectError"]
        asked = only(other)
        assert (asked.method, asked.path, asked.body) == ("POST", "/base/v1/chat?a=1", b"all of it")
        assert asked.headers["host"] == host_of(other)
        assert asked.headers["x-kept"] == "yes"
        assert not {"authorization", "cookie", "x-api-key"} & set(asked.headers)


def test_a_trusted_server_gets_the_callers_credentials(way: Way) -> None:
    with Server(replies(200)) as other:
        client = way.client(Stack(Fallback(Target(other.url, trusted=True))))
        assert client.get(closed_port(), auth=("user", "secret")).status_code == 200
        assert only(other).headers["authorization"].startswith("Basic ")


@pytest.mark.parametrize(
    "handler", [replies(503, b"busy"), replies(500, b"failed"), resets], ids=["503", "500", "reset"]
)
def test_a_failure_holds_no_connection_while_the_other_is_asked(way: Way, handler: Any) -> None:
    """In a pool of one place the other could not be asked at all."""
    with Server(handler) as main, Server(replies(200, b"here")) as other:
        transport = way.transport(limits=way.library.Limits(max_connections=1))
        client = way.client(Stack(Fallback(other.url)), transport)
        assert client.get(main.url).content == b"here"
        assert (len(main.asked), len(other.asked)) == (1, 1)


def test_the_first_answer_is_readable_when_the_other_fails_too(way: Way) -> None:
    with Server(replies(503, b"main is busy")) as main, Server(replies(404, b"other knows nothing")) as other:
        client = way.client(Stack(Fallback(other.url, closed_port())))
        answer = client.get(main.url)
        assert (answer.status_code, answer.content) == (503, b"main is busy")
        assert TARGET not in answer.extensions
        assert reasons(answer) == ["503", "404"]


def test_the_first_error_is_raised_as_itself_when_the_other_fails_too(way: Way) -> None:
    with Server(replies(500)) as other:
        client = way.client(Stack(Fallback(other.url)))
        with pytest.raises(way.library.ConnectError) as caught:
            client.get(closed_port())
        assert caught.value.__notes__ == [f"asked in vain as well: {other.url} (500)"]


def test_another_stream_begins_where_the_first_failed_before_its_first_event(way: Way) -> None:
    failing = streams('{"error": {"type": "server_error"}}', done=False)
    with Server(failing) as main, Server(streams("hello")) as other:
        client = way.client(Stack(Fallback(other.url), StreamGuard()))
        with client.stream("GET", main.url) as stream:
            assert stream.rest() == b"data: hello\n\ndata: [DONE]\n\n"
            assert stream.response.extensions[TARGET] == other.url


def test_another_model_is_asked_for_at_the_same_server(way: Way) -> None:
    def handler(talk: Conversation) -> None:
        talk.reply(200 if json.loads(talk.asked.body)["model"] == "small" else 503, b"said")

    with Server(handler) as server:
        client = way.client(Stack(Fallback(Target(model="small"))))
        answer = client.post(server.url, json={"model": "big", "messages": ["grüße"]}, headers={"X-Api-Key": "its own"})
        assert answer.status_code == 200
        assert [json.loads(asked.body) for asked in server.asked] == [
            {"model": "big", "messages": ["grüße"]},
            {"model": "small", "messages": ["grüße"]},
        ]
        assert server.asked[1].headers["x-api-key"] == "its own"


def test_a_server_that_is_known_to_be_down_is_spared_and_the_other_has_attempts_of_its_own(way: Way) -> None:
    breaker = CircuitBreaker(failures=3)
    with Server(replies(502)) as main, Server(replies(200)) as other:
        client = way.client(Stack(Fallback(other.url), Retry(attempts=2, backoff=AT_ONCE), breaker))
        for _ in range(4):
            assert client.get(main.url).status_code == 200
        assert len(main.asked) == 3
        assert len(other.asked) == 4


def test_what_the_other_server_wants_remembered_is_not_told_to_the_first(way: Way) -> None:
    """A client would keep the cookie for the host that it believes to have asked, and send it there."""
    with Server(replies(200, b"here", {"set-cookie": "session=other"})) as other:
        client = way.client(Stack(Fallback(other.url.replace("127.0.0.1", "localhost"))))
        assert client.get(closed_port()).content == b"here"
        assert not client.wrapped.cookies


def test_a_call_that_may_have_been_acted_on_is_made_of_one_server_alone(way: Way) -> None:
    with Server(resets) as main, Server(replies(200)) as other:
        client = way.client(Stack(Fallback(other.url)))
        with pytest.raises(way.library.TransportError):
            client.post(main.url, content=b"send the mail")
        assert (len(main.asked), len(other.asked)) == (1, 0)
        assert client.get(main.url).status_code == 200
