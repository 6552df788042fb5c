"""A streamed answer read from bytes: chunks as they come, and how it ended. No input, no output, no clock."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from resilient_foundry.foundry import markup
from resilient_foundry.foundry.answers import error_of
from resilient_foundry.foundry.deviations import Tolerance, tolerates
from resilient_foundry.foundry.errors import FoundryError, ProtocolError, StreamInterruptedError
from resilient_foundry.foundry.generations import Generation
from resilient_foundry.foundry.operations import settle
from resilient_foundry.foundry.payloads import ChatChunk, ChatResult, ToolCall, Usage, read_chunk
from resilient_foundry.foundry.wire import decode, mapping, shape, text
from resilient_foundry.sse import Decoder, Event, SSEError

DONE = "[DONE]"


class Joined:
    """The answer so far: chunks are added, and the whole can be looked at any time."""

    def __init__(self) -> None:
        self.chunks = 0
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._calls: dict[int, ToolCall] = {}
        self._finish_reason: str | None = None
        self._usage: Usage | None = None
        self._model: str | None = None
        self._id: str | None = None

    @property
    def content(self) -> str:
        """The text so far."""
        return "".join(self._content)

    @property
    def finish_reason(self) -> str | None:
        """Why the answer ended, once it has."""
        return self._finish_reason

    def add(self, chunk: ChatChunk) -> None:
        """Take in what a chunk brings."""
        self._content.append(chunk.content)
        self._reasoning.append(chunk.reasoning or "")
        self._finish_reason = chunk.finish_reason or self._finish_reason
        self._usage = chunk.usage or self._usage
        self._model = self._model or text(chunk.raw.get("model"))
        self._id = self._id or text(chunk.raw.get("id"))
        for call in chunk.tool_calls:
            place = len(self._calls) if call.index is None else call.index
            known = self._calls.get(place)
            self._calls[place] = call if known is None else _joined(known, call)

    def result(self, *, complete: bool) -> ChatResult:
        """The whole answer, or what there is of it."""
        return ChatResult(
            content=self.content,
            reasoning="".join(self._reasoning) or None,
            tool_calls=tuple(call for _, call in sorted(self._calls.items())),
            finish_reason=self._finish_reason,
            usage=self._usage,
            model=self._model,
            id=self._id,
            complete=complete,
        )


class ChatReader:
    """Reads the events of one chat, and joins them into the whole answer.

    `read` yields what a piece of the body brings and raises what the server reports in it; `end` says whether what
    arrived is an answer. Both are given everything that came before, so an error says what was delivered.
    """

    def __init__(self, generation: Generation, joined: Joined, *, capped: bool = False) -> None:
        self.done = False
        """Whether the terminator was seen."""
        self.surplus = 0
        """Bytes that came after it."""
        self.joined = joined
        self._generation = generation
        self._capped = capped
        self._decoder = Decoder()
        self._thinking = markup.Thinking() if tolerates(generation, Tolerance.PART_THOUGHTS) else None

    def read(self, data: bytes) -> Iterator[ChatChunk]:
        """The chunks that these bytes complete; raises the error that they report. Nothing counts behind the end."""
        if self.done:
            self.surplus += len(data)
            return
        try:
            events = self._decoder.feed(data)
        except SSEError as error:
            raise self._telling(ProtocolError(f"the stream can't be read: {error}")) from error
        for event in events:
            if event.data.strip() == DONE:
                yield from self._last_thought()
                self.done = True
                return
            chunk = self._chunk(event)
            self.joined.add(chunk)
            if _says_something(chunk):
                self.joined.chunks += 1
                yield chunk

    def end(self) -> Iterator[ChatChunk]:
        """The body is over: hands over what was held back; raises unless there is a finish reason or a terminator."""
        if self.done:
            return
        try:
            self._decoder.end()
        except SSEError as error:
            raise self._telling(ProtocolError(f"the stream can't be read: {error}")) from error
        if self.joined.finish_reason is None:
            raise self.interrupted("the service closed the stream before its answer was whole")
        yield from self._last_thought()

    def interrupted(self, reason: str) -> StreamInterruptedError:
        """The error for a stream that ended too early, with what had arrived."""
        chunks = self.joined.chunks
        told = f"after {chunks} chunks" if chunks else "before its first chunk"
        return StreamInterruptedError(
            f"the stream was interrupted {told}: {reason}", reason=reason, chunks=chunks, delivered=self.joined.content
        )

    def result(self) -> ChatResult:
        """The whole answer, as both generations should have given it."""
        return settle(self.joined.result(complete=self.done), self._generation, capped=self._capped)

    def _chunk(self, event: Event) -> ChatChunk:
        raw = mapping(self._object(event))
        if raw is None:
            raise self._telling(ProtocolError(f"an event of the stream is no object: {shape(event.data.encode())}"))
        if event.event == "error" or raw.get("error") is not None:
            raise self._telling(error_of(None, {}, event.data.encode(), self._generation))
        chunk = read_chunk(raw)
        if self._thinking is not None:
            said, thought = self._thinking.feed(chunk.content)
            chunk = replace(chunk, content=said, reasoning=chunk.reasoning or thought or None)
        return chunk

    def _object(self, event: Event) -> object:
        if event.event == "error" and not event.data.lstrip().startswith("{"):
            return {"error": event.data}
        try:
            return decode(event.data.encode(), "an event of the stream")
        except ProtocolError as error:
            raise self._telling(error) from error.__cause__

    def _last_thought(self) -> Iterator[ChatChunk]:
        """What was held back because it could have become a marker."""
        if self._thinking is None:
            return
        said, thought = self._thinking.end()
        if said or thought:
            chunk = ChatChunk(content=said, reasoning=thought or None)
            self.joined.add(chunk)
            self.joined.chunks += 1
            yield chunk

    def _telling(self, error: FoundryError) -> FoundryError:
        error.delivered = self.joined.content
        return error


def _says_something(chunk: ChatChunk) -> bool:
    """The role that opens a stream says nothing; printing it would be an empty line."""
    return bool(
        chunk.content
        or chunk.reasoning
        or chunk.tool_calls
        or chunk.finish_reason is not None
        or chunk.usage is not None
    )


def _joined(one: ToolCall, more: ToolCall) -> ToolCall:
    """A tool call that came in pieces, as OpenAI's streams have it."""
    return replace(one, id=one.id or more.id, name=one.name or more.name, arguments=one.arguments + more.arguments)
