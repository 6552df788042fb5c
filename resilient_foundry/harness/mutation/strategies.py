"""Mutations as hypothesis draws them: the plainest first, so that what breaks shrinks to little."""

from __future__ import annotations

from functools import cache

from hypothesis import strategies as st

from resilient_foundry.harness.mutation import mutations as kinds
from resilient_foundry.harness.mutation.mutations import RETRY_AFTERS, Mutation
from resilient_foundry.harness.mutation.stage import WAYS, Leave, Way

_PLACE = st.integers(0, 4000)
_EVENT = st.integers(-3, 12)
_SECONDS = st.sampled_from([1.0, 30.0, 5000.0])


@cache  # hypothesis looks at a new one anew, which takes longer than to play a tape
def ways() -> st.SearchStrategy[Way]:
    """A library and a colour."""
    return st.sampled_from(WAYS)


@cache
def leaves() -> st.SearchStrategy[Leave]:
    """Never, after some pieces, or in the middle of whatever is awaited then."""
    seconds = st.floats(0.0, 0.25) | st.sampled_from([0.0, 2.0, 29.0, 100.0])
    return st.one_of(st.just(Leave()), st.builds(Leave, pieces=st.integers(1, 4)), st.builds(Leave, seconds=seconds))


@cache
def mutations() -> st.SearchStrategy[Mutation]:
    """Any one of them, anywhere."""
    return st.one_of(
        st.builds(kinds.Rechunk, st.lists(st.integers(1, 300), min_size=1, max_size=4).map(tuple)),
        st.builds(kinds.SplitCharacters),
        st.builds(kinds.LineEnds, st.sampled_from(["\n", "\r", "\r\n"])),
        st.builds(kinds.ByteOrderMark),
        st.builds(kinds.Comments, _EVENT, st.integers(1, 5), st.sampled_from([":\n", ": keep-alive\n\n", ":é\r"])),
        st.builds(kinds.ManyLines),
        st.builds(kinds.UnknownFields),
        st.builds(kinds.Nulls, st.booleans()),
        st.builds(
            kinds.Garbage, st.sampled_from([b"\n", b"\xff\x00data: {\n\n", b"data: x\n\n", b"HTTP/1.1 200 OK\r\n"])
        ),
        st.builds(kinds.Stall, _PLACE, _SECONDS),
        st.builds(kinds.LateHead, _SECONDS),
        st.builds(kinds.Cut, _PLACE, st.sampled_from(["end", "close", "reset", "silence"])),
        st.builds(kinds.DropEvent, _EVENT),
        st.builds(kinds.DoubleEvent, _EVENT),
        st.builds(kinds.SwapEvents, _EVENT),
        st.builds(kinds.InBandError, _EVENT),
        st.builds(kinds.BadJSON, _EVENT),
        st.builds(kinds.BadUTF8, st.sampled_from([b"\xff", b"\xc3", b"\xe2\x82", b"\xed\xa0\x80"])),
        st.builds(kinds.NoDone),
        st.builds(kinds.NoFinishReason),
        st.builds(
            kinds.ContentType,
            st.sampled_from(
                [
                    ("text/event-stream", "text/event-stream"),
                    ("Text/Event-Stream; charset=latin-1",),
                    ("application/json",),
                    (),
                ]
            ),
        ),
        st.builds(kinds.HugeLine, _EVENT),
        st.builds(kinds.Busy, st.sampled_from([429, 503]), st.sampled_from(tuple(RETRY_AFTERS))),
    )
