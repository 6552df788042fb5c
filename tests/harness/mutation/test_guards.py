"""Each fault that the mutator knows is caught when the client's guard against it is taken away.

Here our own functions are replaced, which no other test may do: a guard that nobody would miss is none.
"""

# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportPrivateUsage=false
# what stands in for a guard is a lambda, and takes whatever the guard took

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import pytest

from resilient_foundry import sse
from resilient_foundry.call import derive
from resilient_foundry.foundry import chat_stream
from resilient_foundry.foundry.chat_stream import ChatReader, Joined
from resilient_foundry.foundry.errors import ProtocolError
from resilient_foundry.foundry.payloads import ChatChunk, read_chunk
from resilient_foundry.foundry.wire import decode
from resilient_foundry.harness.mutation import MUTATIONS, Mutation, mutated
from resilient_foundry.harness.mutation import mutations as kinds
from resilient_foundry.harness.mutation.stage import play
from resilient_foundry.harness.oracle import complaints
from resilient_foundry.policies import retry, stream_guard
from resilient_foundry.policies.deadline import Deadline
from resilient_foundry.policies.stream_guard import StreamGuard
from resilient_foundry.policies.timeouts import AttemptTimeout
from resilient_foundry.sse import Decoder
from tests.harness.mutation.tapes import stream

Patch = pytest.MonkeyPatch
feed = Decoder.feed
dispatch = Decoder._dispatch
read = ChatReader.read
add = Joined.add
result = ChatReader.result


def no_memory_between_chunks(patch: Patch) -> None:
    patch.setattr(Decoder, "feed", lambda _, chunk: feed(Decoder(), chunk))


def chunks_decoded_by_themselves(patch: Patch) -> None:
    patch.setattr(Decoder, "feed", lambda self, chunk: feed(self, chunk.decode("utf-8", "replace").encode()))


def strict_utf8(patch: Patch) -> None:
    patch.setattr(Decoder, "feed", lambda self, chunk: feed(self, chunk.decode().encode()))


def no_carriage_return(patch: Patch) -> None:
    patch.setattr(sse, "_LINE_END", re.compile(rb"\r\n|\n"))


def no_byte_order_mark(patch: Patch) -> None:
    patch.setattr(sse, "_BOM", b"\0")


def comments_are_data(patch: Patch) -> None:
    patch.setattr(Decoder, "feed", lambda self, chunk: feed(self, chunk.replace(b": keep", b"data: keep")))


def one_line_of_data(patch: Patch) -> None:
    def last(self: Any) -> object:
        self._data[:] = self._data[-1:]
        return dispatch(self)

    patch.setattr(Decoder, "_dispatch", last)


def no_cap(patch: Patch) -> None:
    patch.setattr(Decoder, "_check", lambda _: None)


def only_known_fields(patch: Patch) -> None:
    def strictly(raw: Any) -> ChatChunk:
        if "x_future" in raw:
            raise ProtocolError("a field that nobody knows")
        return read_chunk(raw)

    patch.setattr(chat_stream, "read_chunk", strictly)


def null_is_a_value(patch: Patch) -> None:
    chunk = ChatReader._chunk

    def strictly(self: ChatReader, event: sse.Event) -> ChatChunk:
        if '"error"' in event.data:
            raise ProtocolError("an error")
        return chunk(self, event)

    patch.setattr(ChatReader, "_chunk", strictly)


def what_follows_the_end_counts(patch: Patch) -> None:
    def on(self: ChatReader, data: bytes) -> Any:
        self.done = False
        yield from read(self, data)

    patch.setattr(ChatReader, "read", on)


def no_limits(patch: Patch) -> None:
    def flow(_: object, request: Any, proceed: Any) -> Any:
        return (yield from proceed(derive(request, extensions={"timeout": {}})))

    patch.setattr(AttemptTimeout, "flow", flow)
    patch.setattr(Deadline, "flow", lambda _, request, proceed: proceed(request))
    patch.setattr(stream_guard, "_Limits", _NoLimits)


class _NoLimits(stream_guard._Limits):
    def __init__(self, *_: object) -> None:
        super().__init__(httpx.Request("GET", "http://foundry.invalid"), None, None)


def any_end_is_an_end(patch: Patch) -> None:
    patch.setattr(ChatReader, "end", lambda _: iter(()))


def a_stream_is_not_held(patch: Patch) -> None:
    patch.setattr(StreamGuard, "flow", lambda _, request, proceed: proceed(request))


def nothing_is_repeated(patch: Patch) -> None:
    patch.setattr(retry, "_WORTH_IT", frozenset[int]())


def an_error_is_a_chunk(patch: Patch) -> None:
    def chunk(self: Any, event: sse.Event) -> ChatChunk:
        return read_chunk(self._object(event))

    patch.setattr(ChatReader, "_chunk", chunk)


def bad_json_is_skipped(patch: Patch) -> None:
    def read_object(_: ChatReader, event: sse.Event) -> object:
        try:
            return decode(event.data.encode(), "an event")
        except ProtocolError:
            return {"choices": []}

    patch.setattr(ChatReader, "_object", read_object)


def the_server_is_not_obeyed(patch: Patch) -> None:
    patch.setattr(retry, "retry_after", lambda *_: None)


def always_complete(patch: Patch) -> None:
    patch.setattr(ChatReader, "result", result_as_complete)


def result_as_complete(reader: ChatReader) -> object:
    reader.done = True
    return result(reader)


def a_reason_is_needed(patch: Patch) -> None:
    def needed(self: ChatReader) -> object:
        if self.joined.finish_reason is None:
            raise ProtocolError("no reason to finish")
        return result(self)

    patch.setattr(ChatReader, "result", needed)


def what_comes_twice_is_dropped(patch: Patch) -> None:
    def once(self: Joined, chunk: ChatChunk) -> None:
        if not chunk.content or not self.content.endswith(chunk.content):
            add(self, chunk)

    patch.setattr(Joined, "add", once)


def the_content_type_is_compared(patch: Patch) -> None:
    patch.setattr(sse, "announced_by", lambda headers: headers.get("content-type") == "text/event-stream")


def everything_is_a_stream(patch: Patch) -> None:
    patch.setattr(sse, "announced_by", lambda _: True)


@dataclass(frozen=True)
class Row:
    """A fault, and the guard without which it does harm."""

    fault: Mutation
    without: Callable[[Patch], None]
    tape: tuple[str, str] = field(default=("1.2.4", "comes_in_order"))

    def __str__(self) -> str:
        return f"{type(self.fault).__name__}-{self.without.__name__}"


UTF8: Final = ("2.2.1", "characters_of_several_bytes_come_whole")
TWO: Final = ("2.2.1", "comes_in_order")
CUTS: Final = ("close", "reset", "silence", "end")

TABLE: Final = (
    Row(kinds.BadJSON(2), bad_json_is_skipped),
    Row(kinds.BadUTF8(b"\xff"), strict_utf8),
    Row(kinds.Busy(503), nothing_is_repeated),
    Row(kinds.Busy(429), nothing_is_repeated),
    Row(kinds.Busy(503, (("retry-after", "3"),)), the_server_is_not_obeyed),
    Row(kinds.ByteOrderMark(), no_byte_order_mark),
    Row(kinds.Comments(2), comments_are_data),
    Row(kinds.ContentType(), the_content_type_is_compared),
    Row(kinds.ContentType(()), everything_is_a_stream),
    Row(kinds.Cut(1500, "end"), any_end_is_an_end),
    *(Row(kinds.Cut(0, how), a_stream_is_not_held) for how in CUTS if how != "silence"),
    Row(kinds.Cut(1500, "silence"), no_limits),
    Row(kinds.DoubleEvent(2), what_comes_twice_is_dropped),
    Row(kinds.DropEvent(-1), always_complete),
    Row(kinds.Garbage(), what_follows_the_end_counts),
    Row(kinds.HugeLine(2), no_cap),
    Row(kinds.InBandError(0), a_stream_is_not_held),
    Row(kinds.InBandError(-1), an_error_is_a_chunk, TWO),
    Row(kinds.LateHead(5000.0), no_limits),
    Row(kinds.LineEnds("\r"), no_carriage_return),
    Row(kinds.ManyLines(), one_line_of_data),
    Row(kinds.NoDone(), always_complete),
    Row(kinds.NoFinishReason(), a_reason_is_needed),
    Row(kinds.Nulls(), null_is_a_value),
    Row(kinds.Rechunk((1,)), no_memory_between_chunks),
    Row(kinds.SplitCharacters(), chunks_decoded_by_themselves, UTF8),
    Row(kinds.Stall(1500, 5000.0), no_limits),
    Row(kinds.SwapEvents(-2), what_follows_the_end_counts, TWO),
    Row(kinds.UnknownFields(), only_known_fields),
)


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_a_fault_does_harm_only_without_its_guard(row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the guard the oracle is content; without it, it says what went wrong."""
    exchange = stream(*row.tape)
    script = mutated(exchange, row.fault)
    assert complaints(play(script, exchange)) == ()
    with monkeypatch.context() as patch:
        row.without(patch)
        found = complaints(play(script, exchange))
    assert found, f"nobody misses this guard against {row.fault}"


def test_every_fault_has_its_guard() -> None:
    """A mutation that no guard is needed for would prove nothing."""
    assert {type(row.fault) for row in TABLE} == set(MUTATIONS)
