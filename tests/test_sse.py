"""The event decoder, against the WHATWG text and against a slow and literal reading of it."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from resilient_foundry.sse import Decoder, Event, SSEError


def events_of(*chunks: bytes, max_bytes: int = 1 << 20) -> list[Event]:
    """What these chunks bring."""
    decoder = Decoder(max_bytes=max_bytes)
    events = [event for chunk in chunks for event in decoder.feed(chunk)]
    decoder.end()
    return events


def literal(stream: bytes) -> list[Event]:
    """Section 9.2.6, sentence by sentence, on the whole stream at once."""
    text = stream.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    lines = text.split("\n")[:-1]
    found: list[Event] = []
    data, event_type, last_id = "", "", ""
    retry: int | None = None
    for line in lines:
        if line == "":
            if data != "":
                found.append(Event(data.removesuffix("\n"), event_type or "message", last_id, retry))
            data, event_type, retry = "", "", None
            continue
        if line.startswith(":"):
            continue
        name, colon, value = line.partition(":")
        if colon and value.startswith(" "):
            value = value[1:]
        if name == "event":
            event_type = value
        elif name == "data":
            data += value + "\n"
        elif name == "id" and "\0" not in value:
            last_id = value
        elif name == "retry" and value and all(digit in "0123456789" for digit in value):
            retry = int(value[:18])
    return found


PIECES = st.sampled_from(
    [
        *(b"data", b"event", b"id", b"retry", b":", b" ", b"\n", b"\r", b"\r\n", b"\n\n", b"x", b"{}", b"42", b"\0"),
        *(b"\xef\xbb\xbf", "é".encode(), "🦊".encode(), b"\xff", b"\xf0\x9f", b"data: a\n\n", b"data:", b"[DONE]"),
    ]
)
STREAMS = st.lists(PIECES, max_size=30).map(b"".join)


@settings(deadline=None)
@given(STREAMS)
@example(b"\xef\xbb\xbfdata: a\r\n\r\n")
@example(b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\n")
def test_reads_what_a_literal_reading_of_the_text_reads(stream: bytes) -> None:
    """The fast decoder and the slow one agree on every stream."""
    assert events_of(stream) == literal(stream)


@settings(deadline=None)
@given(STREAMS, st.data())
def test_chunk_boundaries_make_no_difference(stream: bytes, data: st.DataObject) -> None:
    """A network cuts where it likes: in a character, between CR and LF, in the byte order mark."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    chunks = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert events_of(*chunks) == events_of(stream)


@settings(deadline=None)
@given(STREAMS, st.integers(1, 12), st.data())
def test_the_bound_strikes_at_the_same_event_however_the_stream_is_cut(
    stream: bytes, max_bytes: int, data: st.DataObject
) -> None:
    """What came before a too large event is handed over, and the error comes after it."""

    def outcome(chunks: list[bytes]) -> tuple[list[Event], bool]:
        decoder, seen = Decoder(max_bytes=max_bytes), list[Event]()
        try:
            for chunk in chunks:
                seen += decoder.feed(chunk)
            decoder.end()
        except SSEError:
            return seen, True
        return seen, False

    cut = data.draw(st.integers(0, len(stream)))
    assert outcome([stream[:cut], stream[cut:]]) == outcome([stream])


def test_a_byte_at_a_time_is_enough() -> None:
    """The worst cut of all."""
    stream = "\ufeffid: 7\r\ndata: größe\r\ndata: 🦊\r\n\r\n".encode()
    assert events_of(*(bytes([byte]) for byte in stream)) == [Event("größe\n🦊", id="7")]


def test_an_event_that_ends_in_cr_is_not_held_back() -> None:
    """A server that writes CR alone would otherwise be one event late for ever."""
    decoder = Decoder()
    assert decoder.feed(b"data: now\r\r") == [Event("now")]
    assert decoder.feed(b"\ndata: next\r\r") == [Event("next")]


def test_an_event_without_data_is_dropped() -> None:
    """The text says so, also when it has a type."""
    assert events_of(b"event: ping\n\n: keep-alive\n\ndata: a\n\n") == [Event("a")]


def test_an_empty_data_line_is_an_event() -> None:
    """`data:` alone appends an empty line, and an empty line is data."""
    assert events_of(b"data:\n\n") == [Event("")]


def test_an_unterminated_event_is_dropped() -> None:
    """A stream that was cut must not look like one that ended."""
    assert events_of(b"data: whole\n\ndata: half\n") == [Event("whole")]


def test_type_id_and_retry_are_read() -> None:
    """The id stays for later events; type and retry belong to one."""
    assert events_of(b"event: add\nid: 1\nretry: 10\ndata: a\n\ndata: b\n\n") == [
        Event("a", "add", "1", 10),
        Event("b", "message", "1", None),
    ]


def test_a_retry_that_is_no_number_is_ignored() -> None:
    """ASCII digits and nothing else."""
    assert events_of("retry: 1e3\nretry: ٣\ndata: a\n\n".encode()) == [Event("a")]


def test_invalid_utf_8_is_replaced() -> None:
    """One broken character does not end the stream."""
    assert events_of(b"data: a\xffb\n\n") == [Event("a\ufffdb")]


def test_an_event_beyond_the_bound_is_an_error() -> None:
    """A server that never ends its line can't fill the memory."""
    decoder = Decoder(max_bytes=100)
    with pytest.raises(SSEError, match="larger than 100 bytes"):
        decoder.feed(b"data: " + b"x" * 200)


def test_many_small_lines_of_one_event_are_bounded_too() -> None:
    """The bound is for the event, not for the line."""
    decoder = Decoder(max_bytes=100)
    decoder.feed(b"data: x\n" * 10)
    with pytest.raises(SSEError):
        decoder.feed(b"data: x\n" * 10)


def test_events_before_the_bound_are_handed_over_first() -> None:
    """The error waits for the next call."""
    decoder = Decoder(max_bytes=20)
    assert decoder.feed(b"data: a\n\ndata: " + b"x" * 50) == [Event("a")]
    with pytest.raises(SSEError):
        decoder.feed(b"")


def test_an_error_that_still_waits_comes_at_the_end() -> None:
    """It is not lost when no further chunk arrives."""
    decoder = Decoder(max_bytes=20)
    decoder.feed(b"data: a\n\ndata: " + b"x" * 50)
    with pytest.raises(SSEError):
        decoder.end()


def test_a_bound_below_one_is_refused() -> None:
    """A decoder that holds nothing decodes nothing."""
    with pytest.raises(ValueError, match="at least 1"):
        Decoder(max_bytes=0)
