"""A replay is what the recording was: the same chunks, the same ends, at the same times of a virtual clock."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import httpx
import httpx2
import pytest

from resilient_foundry.harness.evidence import ABANDONED, Chunk, Ended, Exchange, Request, Response
from resilient_foundry.harness.tapes import UnansweredError, player
from resilient_foundry.testing import VirtualTime, run_on

ASKED = Request("POST", "/v1/chat?a=1&b=2", (), b'{"model":"m","n":1}')
CHUNKS = (Chunk(0.25, b"data: a"), Chunk(0.5, b"\n\ndata: b\n\n"))
BROKEN = Exchange(ASKED, Response(200, (), 0.125, CHUNKS, "Fine"), Ended("RemoteProtocolError", 1.0, "peer left"), 3)
WHOLE = Exchange(ASKED, Response(200, (), 0.125, CHUNKS, "Fine"), Ended(at=1.0))

libraries = pytest.mark.parametrize("library", [httpx, httpx2])


def asked(library: Any, **timeout: float) -> Any:
    """The request of the tape, by that library, its parts in another order."""
    return library.Request(
        "POST",
        "http://anywhere:1/v1/chat?b=2&a=1",
        content=b'{"n": 1, "model": "m"}',
        extensions={"timeout": timeout},
    )


@libraries
def test_chunks_come_at_their_times_and_the_end_as_it_was(library: ModuleType) -> None:
    clock = VirtualTime(now=0.0)
    answer = player([BROKEN], module=library, clock=clock).handle_request(asked(library))
    assert (answer.status_code, answer.reason_phrase, clock()) == (200, "Fine", 0.125)
    came: list[tuple[float, bytes]] = []
    with pytest.raises(library.RemoteProtocolError, match="peer left"):
        came.extend((clock(), data) for data in answer.iter_raw())
    assert [*came, clock()] == [*((each.at, each.data) for each in CHUNKS), 1.0]


@libraries
def test_an_asynchronous_client_sees_the_same(library: Any) -> None:
    clock = VirtualTime(now=0.0)

    async def ask() -> list[tuple[float, bytes]]:
        answer = await player([WHOLE], module=library, clock=clock).handle_async_request(asked(library))
        return [(clock(), data) async for data in answer.aiter_raw()]

    assert run_on(clock, ask) == [(each.at, each.data) for each in CHUNKS]
    assert clock() == 1.0


def test_a_silence_longer_than_allowed_is_a_timeout() -> None:
    """The limits of a client are its own, whatever those of the recording were."""
    clock = VirtualTime(now=0.0)
    with pytest.raises(httpx.ReadTimeout, match=r"nothing came for 0\.1 s"):
        player([WHOLE], clock=clock).handle_request(asked(httpx, read=0.1))
    assert clock() == pytest.approx(0.1)


def test_no_answer_is_the_error_that_it_was() -> None:
    lost = Exchange(ASKED, None, Ended("ConnectError", 0.5, "refused"))
    clock = VirtualTime(now=0.0)
    with pytest.raises(httpx.ConnectError, match="refused"):
        player([lost], clock=clock).handle_request(asked(httpx))
    assert clock() == 0.5


def test_a_request_that_is_not_there_names_the_nearest_and_the_difference() -> None:
    """Whoever changed a contract reads what has to be recorded again."""
    playing = player([WHOLE])
    with pytest.raises(UnansweredError, match=r"the nearest is POST /v1/chat.*body\.n is 2, not 1"):
        playing.handle_request(httpx.Request("POST", "http://a/v1/chat?a=1&b=2", content=b'{"model":"m","n":2}'))
    assert playing.reel.unused == (WHOLE,)


def difference(sent: Request, taped: Request) -> str:
    """What is said of a request that is not on the tape, behind the name of the nearest."""
    headers = {name for name, _ in (*sent.headers, *taped.headers)}
    request = httpx.Request(sent.method, f"http://a{sent.path}", headers=list(sent.headers), content=sent.body)
    with pytest.raises(UnansweredError) as raised:
        player([Exchange(taped, Response(200))], headers=headers).handle_request(request)
    return str(raised.value).partition(f"the nearest is {taped}: ")[2]


@pytest.mark.parametrize(
    ("sent", "taped", "said"),
    [
        (b'{"a":1,"seed":7}', b'{"a":1}', "body.seed is 7, and on the tape it is not there"),
        (b'{"a":1}', b'{"a":1,"seed":7}', "body.seed is not there, and on the tape it is 7"),
        (b'{"a":[{"b":1}]}', b'{"a":[{"b":true}]}', "body.a[0].b is 1, not true"),
        (b'{"a":1,"b":1,"c":1,"d":1}', b'{"a":2,"b":2,"c":2,"d":2}', "body.a is 1, not 2; body.b is 1, not 2; "),
        (b'"' + b"a" * 500 + b'"', b'""', f'body is "{"a" * 79}…, not ""'),
        (b"{nope", b"{none", "the body goes on with b'pe' at byte 3, not with b'ne'"),
    ],
)
def test_each_kind_of_difference_is_said(sent: bytes, taped: bytes, said: str) -> None:
    """In either direction, and never that the nearest is the same."""
    assert difference(Request("POST", "/", (), sent), Request("POST", "/", (), taped)).startswith(said)


def test_a_difference_in_the_head_is_said() -> None:
    """Whoever asks for nothing but another header sees which."""
    sent, taped = Request("GET", "/", (("origin", "http://a.example"),)), Request("GET", "/", (("accept", "*/*"),))
    assert "header accept is not there, and on the tape it is */*" in difference(sent, taped)
    assert "header origin is http://a.example, and on the tape it is not there" in difference(sent, taped)


def test_a_length_is_no_difference_of_its_own() -> None:
    """It follows from the body."""
    sent, taped = (Request("POST", "/", (("content-length", f"{len(body)}"),), body) for body in (b"[1]", b"[10]"))
    assert difference(sent, taped) == "body[0] is 1, not 10"


def test_an_exchange_is_played_once() -> None:
    playing = player([WHOLE])
    playing.handle_request(asked(httpx)).read()
    assert playing.reel.unused == ()
    with pytest.raises(UnansweredError, match="on the tape, but not once more"):
        playing.handle_request(asked(httpx))


def test_what_a_client_left_is_not_made_up() -> None:
    """Nobody knows what would have come."""
    left = Exchange(ASKED, Response(200, (), 0.0, CHUNKS), Ended(ABANDONED, 0.5))
    with pytest.raises(UnansweredError, match="was left by the client after 18 bytes"):
        player([left]).handle_request(asked(httpx)).read()


def test_bodies_nested_too_deep_to_be_read_are_compared_as_bytes() -> None:
    deep = b"[" * 100_000
    exchange = Exchange(Request("POST", "/", (), deep), Response(200))
    request = httpx.Request("POST", "http://a/", content=deep)
    assert player([exchange]).handle_request(request).status_code == 200
