"""One answer out of several, text by text."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_foundry.policies.splice import Blocks, DeniedError, Splice
from resilient_foundry.policies.transcript import Said, read
from resilient_foundry.sse import Decoder, Event, SSEError

lines = st.sampled_from([b"data: a", b"data: b\xc3\xa4", b": comment", b"event: x", b"", b"", b"\xef\xbb\xbfdata: c"])
ends = st.sampled_from([b"\n", b"\r", b"\r\n"])
streams = st.lists(st.tuples(lines, ends), max_size=12).map(lambda told: b"".join(map(b"".join, told)))


def chunks_of(whole: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(whole), *(place % (len(whole) + 1) for place in places)})
    return [whole[start:stop] for start, stop in pairwise(edges)]


@given(whole=streams, places=st.lists(st.integers(0, 200), max_size=12))
def test_what_is_cut_adds_up_to_what_came_and_has_the_same_events(whole: bytes, places: list[int]) -> None:
    """However it is chunked, whatever its line ends."""
    blocks = Blocks(1000)
    pieces = [piece for chunk in chunks_of(whole, places) for piece in blocks.feed(chunk)]
    assert b"".join(piece for piece, _ in pieces) + blocks.rest == whole
    assert [event for _, event in pieces if event is not None] == Decoder().feed(whole)


def test_an_event_that_is_too_large_is_refused_and_still_there() -> None:
    for large in (b"data: " + b"x" * 99, b"data: " + b"x" * 99 + b"\n\n"):
        blocks = Blocks(50)
        seen: list[bytes] = []
        with pytest.raises(SSEError):
            seen.extend(piece for piece, _ in blocks.feed(b"data: a\n\n" + large))
        assert seen == [b"data: a\n\n"]
        assert bytes(blocks.rest) == large
        blocks.stop()
        assert list(blocks.feed(b"data: b\n\n")) == []
        assert not blocks.rest


def taken(splice: Splice, data: object, kind: str = "message") -> bytes:
    event = Event(data if isinstance(data, str) else json.dumps(data), kind)
    return splice.take(f"data: {event.data}\n\n".encode(), event, read(event))


def word(text: str, index: int = 0, **more: object) -> dict[str, object]:
    return {"choices": [{"index": index, "delta": {"content": text}, **more}]}


def test_what_is_new_is_passed_on_as_it_came() -> None:
    splice = Splice()
    piece = taken(splice, word("To be"))
    assert piece == f"data: {json.dumps(word('To be'))}\n\n".encode()
    splice.begin_again()
    assert taken(splice, word("To")) == b""
    assert json.loads(taken(splice, word(" be or"))[6:]) == word(" or")
    assert splice.fits
    assert taken(splice, word(" not")) == f"data: {json.dumps(word(' not'))}\n\n".encode()
    assert splice.characters == 12


def test_what_the_caller_has_grows_from_answer_to_answer() -> None:
    splice = Splice()
    taken(splice, word("a"))
    for told in ("ab", "abc", "abcd"):
        splice.begin_again()
        assert json.loads(taken(splice, word(told))[6:]) == word(told[-1])


def test_an_event_of_another_name_keeps_it() -> None:
    splice = Splice()
    taken(splice, word("a"), "chunk")
    splice.begin_again()
    assert taken(splice, word("ab"), "chunk").startswith(b"event: chunk\ndata: {")


def test_half_a_character_is_written_as_it_came() -> None:
    """JSON may escape one half of a surrogate pair in one event, and the other one in the next."""
    splice = Splice()
    taken(splice, word("a"))
    splice.begin_again()
    assert b'"\\ud83d"' in taken(splice, '{"choices": [{"index": 0, "delta": {"content": "a\\ud83d"}}]}')


def test_a_byte_order_mark_stands_at_the_beginning_alone() -> None:
    """In the middle of a stream it would be taken for a part of a field's name."""
    splice = Splice()
    splice.begin_again()
    event = Event(json.dumps(word("a")))
    assert splice.take(b"\xef\xbb\xbfdata: a\n\n", event, read(event)) == b"data: a\n\n"


def test_before_the_seam_nothing_is_passed_on() -> None:
    splice = Splice()
    taken(splice, word("ab"))
    splice.begin_again()
    assert taken(splice, {"choices": [], "prompt_filter_results": []}) == b""
    assert splice.take(b": comment\n\n", None, Said()) == b""
    assert taken(splice, {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}) == b""
    assert taken(splice, {}, "ping") == b""
    assert taken(splice, word("ab")) == b""
    assert splice.take(b": comment\n\n", None, Said()) == b": comment\n\n"


def test_a_choice_that_the_caller_does_not_know_waits_for_the_others() -> None:
    splice = Splice()
    taken(splice, word("a"))
    splice.begin_again()
    with pytest.raises(DeniedError, match="another_answer"):
        taken(splice, word("x", index=1))
    splice.begin_again()
    taken(splice, word("a"))
    assert taken(splice, word("x", index=1))


def test_what_can_not_be_put_together_is_refused_at_once_the_second_time() -> None:
    splice = Splice()
    splice.refuse("unknown_events")
    splice.refuse("tool_call")
    assert splice.why_not == "unknown_events"
    splice.begin_again()
    with pytest.raises(DeniedError, match="tool_call"):
        splice.refuse("tool_call")
