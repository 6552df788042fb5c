"""What a recording leaves out, and that it stays as it is otherwise."""

from __future__ import annotations

import json
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from resilient_foundry.harness.evidence import ABANDONED, Chunk, Ended, Exchange, Headers, Request, Response
from resilient_foundry.harness.tapes.normalise import (
    DATE,
    REQUEST_HEADERS,
    RESPONSE_HEADERS,
    normalise,
    structure,
    without_chance,
)

PIECES = [
    b"http://127.0.0.1:36243",
    b"localhost:80",
    b"127.0.0.1:36243/v1",
    b"chatcmpl-8f5d33d66b857e07",
    b"chatcmpl-0000000000000001",
    b"\\u0027resp_481b416dd7eda9b48ef46e8e970c974d\\u0027",
    b"msg_a6e4d34544f034d67d2b5a1c6fa4a55",
    b'"id":"call_D4br3aHRh"',
    b'"id": "ZJ0XlTuft"',
    b'"id":"chat.id.1"',
    b'"pid":23224',
    b'"created":1795468642',
    b'"created_at": 1767225600',
    b'"CreatedAt":"2026-11-23T21:17:23+00:00"',
    b'"at":"2026-11-23T21:17:24.123\\u002B00:00"',
    b"2026-02-31T00:00:00Z",
    b"/tmp/resilient-foundry-1lw456tj/cache",
    b"/root/.cache",
    b"/home/somebody/.cache/x",
    b"0f5d33d6-6b85-4e07-9a64-5d1e6a4a9a55",
    "東京".encode(),
]
texts = st.lists(st.sampled_from(PIECES) | st.binary(max_size=4), max_size=6).map(b" ".join)
seconds = st.floats(0, 100)


@st.composite
def answers(draw: st.DrawFn) -> Response:
    """An answer in some chunks."""
    body = draw(texts)
    edges = sorted({0, len(body), *draw(st.lists(st.integers(0, len(body)), max_size=5))})
    chunks = tuple(Chunk(draw(seconds), body[start:end]) for start, end in pairwise(edges))
    headers = (("content-length", str(len(body))), ("date", "Mon, 23 Nov 2026 21:05:18 GMT"), ("x-request-id", "abc"))
    return Response(200, headers, draw(seconds), chunks)


@st.composite
def exchanges(draw: st.DrawFn) -> tuple[Exchange, ...]:
    """A few exchanges with one server."""
    return tuple(
        Exchange(
            Request(
                "POST", "/v1/" + draw(st.sampled_from(["chat", "resp_481b416dd7eda9b48ef46e8e970c974d"])), HOST, body
            ),
            draw(st.none() | answers()),
            Ended("complete", draw(seconds), draw(texts).decode("utf-8", "replace")),
            draw(st.none() | st.integers(1, 9)),
        )
        for body in draw(st.lists(texts, max_size=4))
    )


HOST: Headers = (("host", "127.0.0.1:36243"), ("cookie", "a=b"))


def answered(*bodies: bytes, request: Request = Request("GET", "/", HOST)) -> tuple[Exchange, ...]:  # noqa: B008 - a value
    """One exchange for each body."""
    return tuple(Exchange(request, Response(200, chunks=(Chunk(0.0, body),))) for body in bodies)


def bodies(tape: tuple[Exchange, ...]) -> list[bytes]:
    """What was answered."""
    return [each.response.body for each in tape if each.response is not None]


@given(exchanges())
def test_once_is_enough(tape: tuple[Exchange, ...]) -> None:
    """What is normal stays as it is, so a tape can be held against what it ought to be."""
    assert normalise(normalise(tape)) == normalise(tape)


@given(exchanges())
def test_lengths_follow_the_bodies(tape: tuple[Exchange, ...]) -> None:
    """A length that was right is right, and no chunk is empty."""
    for each in normalise(tape):
        if each.response is not None:
            assert each.response.header("content-length") == str(len(each.response.body))
            assert all(chunk.data for chunk in each.response.chunks)


@given(exchanges())
def test_nothing_but_values_is_changed(tape: tuple[Exchange, ...]) -> None:
    """As many exchanges, in their order, with the same ends; and heads hold only what is kept of them."""
    done = normalise(tape)
    assert [each.ended.how for each in done] == [each.ended.how for each in tape]
    assert [each.response is None for each in done] == [each.response is None for each in tape]
    for each in done:
        assert {name for name, _ in each.request.headers} <= REQUEST_HEADERS
        assert (
            {name for name, _ in each.response.headers if each.response} <= RESPONSE_HEADERS if each.response else True
        )


def test_an_id_is_the_same_wherever_it_comes_back() -> None:
    """A later request names what an earlier answer gave: the contract will do so again."""
    given_id = "resp_481b416dd7eda9b48ef46e8e970c974d"
    tape = (
        *answered(json.dumps({"id": given_id}).encode()),
        *answered(b"{}", request=Request("GET", f"/v1/responses/{given_id}", HOST)),
    )
    first, second = normalise(tape)
    assert bodies((first,)) == [b'{"id": "resp_00000000000000000000000000000001"}']
    assert second.request.path == "/v1/responses/resp_00000000000000000000000000000001"


def test_two_ids_stay_two() -> None:
    """Whether ids differ is what some contracts are about."""
    tape = answered(b'"chatcmpl-8f5d33d66b857e07"', b'"chatcmpl-4dbc015d73541980"', b'"chatcmpl-8f5d33d66b857e07"')
    first, second, third = bodies(normalise(tape))
    assert first == third != second


def test_what_a_request_brought_along_stays() -> None:
    """The contract wrote it, and will write it again."""
    asked = Request("GET", "/v1/responses/resp_doesnotexist", HOST)
    body = b"The response 'resp_doesnotexist' does not exist."
    (done,) = normalise(answered(body, request=asked))
    assert done.request.path == asked.path
    assert bodies((done,)) == [body]


def test_a_constant_id_stays() -> None:
    """That 1.x gives every answer the same id is a fact about it."""
    assert bodies(normalise(answered(b'{"id":"chat.id.1"}'))) == [b'{"id":"chat.id.1"}']


def test_addresses_processes_folders_and_dates_are_plain() -> None:
    """They are those of one machine at one time."""
    body = (
        b'{"endpoints":["http://127.0.0.1:36243"],"modelCachePath":"/tmp/resilient-foundry-1lw456tj/cache","pid":23224,'
        b'"created":1795468642,"CreatedAt":"2026-11-23T21:17:23+00:00"}'
    )
    (plain,) = bodies(normalise(answered(body)))
    assert json.loads(plain) == {
        "endpoints": ["http://runtime.invalid"],
        "modelCachePath": "/runtime/cache",
        "pid": 1001,
        "created": 1767225600,
        "CreatedAt": "2026-01-01T00:00:00+00:00",
    }


def test_moments_keep_their_order() -> None:
    """Those of one recording are one moment, for how long it takes is chance; years are not."""
    (plain,) = bodies(normalise(answered(b'[{"created":1795468642},{"created":1795468640},{"created":1700000000}]')))
    now, also_now, long_ago = (each["created"] for each in json.loads(plain))
    assert now == also_now > long_ago


def test_a_chunk_ends_where_it_ended() -> None:
    """Edges move with the text; within a replaced value they stay as far in as there is room."""
    chunks = (Chunk(0.001, b'{"pid":23'), Chunk(0.002, b'224,"x":1'), Chunk(0.003, b"}"))
    (done,) = normalise((Exchange(Request("GET", "/", HOST), Response(200, chunks=chunks)),))
    assert done.response is not None
    assert [chunk.data for chunk in done.response.chunks] == [b'{"pid":10', b'01,"x":1', b"}"]


def test_heads_hold_what_is_kept_of_them() -> None:
    """Lists of what stays, not of what goes: nobody can name every header that a token travels in."""
    asked = Request("GET", "/", (("host", "10.0.0.7:5273"), ("authorization", "Bearer abc"), ("traceparent", "00-1")))
    answer = Response(200, (("date", "Mon, 23 Nov 2026 21:05:18 GMT"), ("set-cookie", "a=b"), ("server", "Kestrel")))
    (done,) = normalise((Exchange(asked, answer),))
    assert done.request.headers == (("host", "runtime.invalid"),)
    assert done.response is not None
    assert done.response.headers == (("date", DATE), ("server", "Kestrel"))


def test_connections_are_numbered_by_their_first_use() -> None:
    """Which of them are the same is all that matters."""
    tape = tuple(Exchange(Request("GET", "/"), connection=number) for number in (7, 3, 7, None))
    assert [each.connection for each in normalise(tape)] == [1, 2, 1, None]


def test_two_recordings_have_their_structure_in_common() -> None:
    """Times, edges of chunks, and how much had come when a client left are chance."""
    one = Response(200, at=0.1, chunks=(Chunk(0.1, b"ab"), Chunk(0.2, b"c")))
    other = Response(200, at=0.3, chunks=(Chunk(0.3, b"abc"),))
    asked = Request("GET", "/")
    assert structure([Exchange(asked, one, Ended(at=0.2))]) == structure([Exchange(asked, other, Ended(at=0.4))])
    left = [Exchange(asked, Response(200, chunks=(Chunk(0.0, data),)), Ended(ABANDONED)) for data in (b"a", b"ab")]
    assert structure(left[:1]) == structure(left[1:])
    assert structure([Exchange(asked, one)]) != structure([Exchange(asked, Response(200, chunks=(Chunk(0.0, b"x"),)))])


def test_two_sentences_of_a_kind_are_equal() -> None:
    """The reason why a contract is broken holds an id live, and another one on the tape."""
    live = "POST /v1/chat: the id is '4Lka4Py5L' after 12.5 ms at http://127.0.0.1:38783"
    played = "POST /v1/chat: the id is '000000002' after 3 ms at http://runtime.invalid"
    assert without_chance(live) == without_chance(played)
    assert without_chance("$ has no 'usage'") != without_chance("$ has no 'tools'")
