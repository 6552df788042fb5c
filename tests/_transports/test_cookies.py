"""Cookies of answers that the caller never sees."""

from __future__ import annotations

from resilient_foundry import Backoff, Retry, Stack
from resilient_foundry.call import derive
from resilient_foundry.flow import Flow, Proceed, Request, Response, discard
from tests.servers import Server, replies, script
from tests.ways import Way

AT_ONCE = Stack(Retry(backoff=Backoff(base=0.0)))


def test_a_cookie_of_an_answer_that_was_swallowed_is_kept(way: Way) -> None:
    """A load balancer that sets its sticky session on a 503 must see it again."""
    busy = replies(503, headers={"set-cookie": "node=a; Path=/"})
    with Server(script(busy, replies(200, b"here"))) as server:
        client = way.client(AT_ONCE)
        assert client.get(server.url).content == b"here"
        assert dict(client.wrapped.cookies) == {"node": "a"}
        client.get(server.url)
        assert server.asked[2].headers["cookie"] == "node=a"


def test_the_last_word_on_a_cookie_counts(way: Way) -> None:
    """And every cookie is kept, also of several lines of one answer."""
    busy = replies(503, headers={"set-cookie": "node=a\r\nset-cookie: seen=yes"})
    with Server(script(busy, replies(200, headers={"set-cookie": "node=b"}))) as server:
        client = way.client(AT_ONCE)
        answer = client.get(server.url)
        assert dict(client.wrapped.cookies) == {"node": "b", "seen": "yes"}
        assert answer.headers.get_list("set-cookie") == ["node=a", "seen=yes", "node=b"]


def test_an_answer_that_came_first_is_left_as_it_is(way: Way) -> None:
    with Server(replies(200, b"here", {"set-cookie": "node=a", "X-Case": "Kept"})) as server:
        answer = way.client(AT_ONCE).get(server.url)
        assert (b"X-Case", b"Kept") in answer.headers.raw
        assert answer.headers.get_list("set-cookie") == ["node=a"]


class Elsewhere:
    """Asks another host after the first one."""

    def __init__(self, host: str) -> None:
        self.host = host

    def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
        """Discard the first answer, give the other."""
        yield from discard((yield from proceed(request)))
        return (yield from proceed(derive(request, url=request.url.copy_with(host=self.host))))


def test_no_host_sets_a_cookie_for_another(way: Way) -> None:
    """The client would take what another host says for the word of the one that it asked."""
    with Server(
        script(
            replies(503, headers={"set-cookie": "mine=1"}),
            replies(200, b"here", {"set-cookie": "theirs=1", "x-a": "b"}),
        )
    ) as server:
        client = way.client(Stack(Elsewhere("localhost")))
        answer = client.get(server.url)
        assert (answer.content, answer.headers["x-a"]) == (b"here", "b")
        assert server.asked[1].headers["host"].startswith("localhost:")
        assert dict(client.wrapped.cookies) == {"mine": "1"}
