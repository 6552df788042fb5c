"""Chats, streams and embeddings: one story each, for both generations."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from resilient_foundry.foundry import models, operations, rules
from resilient_foundry.foundry.asks import (
    Ask,
    Broken,
    Operation,
    Reply,
    Story,
    StreamStory,
    enter,
    now,
    open_stream,
    read,
    send,
)
from resilient_foundry.foundry.chat_stream import ChatReader, Joined
from resilient_foundry.foundry.deviations import Tolerance, tolerates
from resilient_foundry.foundry.errors import FoundryError, ModelBusyError, ModelNotLoadedError, StreamInterruptedError
from resilient_foundry.foundry.generations import Generation
from resilient_foundry.foundry.models import Chosen
from resilient_foundry.foundry.occupancy import Use
from resilient_foundry.foundry.payloads import ChatChunk, ChatResult, Embeddings
from resilient_foundry.foundry.rules import ChatParameters, Message
from resilient_foundry.foundry.session import Session, generation_of

_LONGEST_GOODBYE = 64 * 1024
"""Bytes after the terminator of a stream that are read for the sake of its connection."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be answered by a chat."""

    messages: Sequence[Message]
    model: str | None
    parameters: ChatParameters

    @classmethod
    def asked(cls, call: str, messages: Sequence[Message], model: str | None, parameters: ChatParameters) -> Question:
        """The question that this call asks; TypeError for a keyword that it does not take."""
        rules.check_names(parameters, call)
        return cls(messages, model, parameters)


def chat(session: Session, question: Question) -> Story[ChatResult]:
    """Ask, and wait for the whole answer."""
    generation = yield from generation_of(session)
    _check(session, generation, question)
    chosen = yield from models.choose(session, question.model)
    operation = _operation(session, generation, chosen, question, stream=False)
    return (yield from _answered(session, chosen, operation))


def embed(session: Session, texts: str | Sequence[str], model: str | None, *, force: bool) -> Story[Embeddings]:
    """A vector for each text."""
    inputs = rules.embedding_inputs(texts)
    generation = yield from generation_of(session)
    chosen = yield from models.choose(session, model)
    rules.check_embedding_model(generation, chosen.key, force=force)
    operation = operations.embeddings(generation, chosen.key, inputs, patience=session.patience)
    use = yield from _occupied(session, chosen)
    started = yield from now()
    try:
        found = yield from send(operation)
    finally:
        session.occupancy.leave(use)
    return replace(found, elapsed=(yield from now()) - started)


def stream(session: Session, question: Question, joined: Joined) -> StreamStory:
    """Ask, and hand over the answer while it is made; what was handed over is in `joined` at any time."""
    generation = yield from generation_of(session)
    _check(session, generation, question)
    chosen = yield from models.choose(session, question.model)
    if question.parameters.get("tools") and tolerates(generation, Tolerance.ASK_CALLS_WHOLE):
        operation = _operation(session, generation, chosen, question, stream=False)
        result = yield from _answered(session, chosen, operation)
        chunk = _as_chunk(result)
        joined.add(chunk)
        yield chunk
        return result
    operation = _operation(session, generation, chosen, question, stream=True)
    if tolerates(generation, Tolerance.LOOK_BEFORE_STREAMING):
        yield from _see_loaded(session, chosen)
    use = yield from _occupied(session, chosen)
    started = yield from now()
    try:
        reader = ChatReader(generation, joined, capped=question.parameters.get("max_tokens") is None)
        reply = yield from _opened(session, chosen, operation, reader)
        if reply.streams:
            result = yield from _read_stream(session, chosen, reader, reply)
        else:  # an error, or a whole answer: `read` knows
            result = operation.read(reply)
            chunk = _as_chunk(result)
            joined.add(chunk)
            yield chunk
    finally:
        session.occupancy.leave(use)
    return replace(result, elapsed=(yield from now()) - started, resilience=reply.resilience)


def _opened(session: Session, chosen: Chosen, operation: Operation[ChatResult], reader: ChatReader) -> Story[Reply]:
    """The answer begun. A model that is gone, where that only cuts the stream, is loaded again and asked once more."""
    reply = yield from open_stream(operation)
    if not isinstance(reply, Broken):
        return reply
    if not _cuts(session):
        raise reply.error
    told = yield from _explained(session, chosen, _broken_off(reader, reply))
    if isinstance(told, ModelNotLoadedError) and session.may_load(chosen.key):
        yield from _see_loaded(session, chosen)
        reply = yield from open_stream(operation)
        if not isinstance(reply, Broken):
            return reply
        told = yield from _explained(session, chosen, _broken_off(reader, reply))
    told.resilience = getattr(reply.error, "resilience", None)
    raise told from reply.error


def _see_loaded(session: Session, chosen: Chosen) -> Story[None]:
    """A stream that is cut for want of its model looks like a broken network and opens circuits, so look before."""
    if chosen.key in session.seen:
        return
    others = yield from models.missing(session, chosen.key)
    reply: Reply | None = None
    if others is not None and session.may_load(chosen.key):
        reply = yield from send(operations.wanted(chosen.key, patience=session.patience))
        others = yield from models.missing(session, chosen.key)
    if others is not None:
        tried = f"; {reply.tried}" if reply is not None and reply.tried else ""
        error = ModelNotLoadedError(
            f"{chosen.key!r} is not among the loaded models of the service ({others}): call load_model first{tried}"
        )
        error.resilience = reply.resilience if reply is not None else None
        raise error
    session.seen |= {chosen.key}


def _read_stream(session: Session, chosen: Chosen, reader: ChatReader, reply: Reply) -> StreamStory:
    try:
        broken = yield from _read_events(reader)
        if broken is None:
            yield from reader.end()
        elif not reader.done:
            raise _broken_off(reader, broken)
    except FoundryError as error:
        told = (yield from _explained(session, chosen, error)) if isinstance(error, StreamInterruptedError) else error
        told.resilience = reply.resilience
        if told is error:
            raise
        raise told from error
    return reader.result()


def _read_events(reader: ChatReader) -> Generator[Ask | ChatChunk, Any, Broken | None]:
    """Read to the end, also after the terminator, so that the connection can be used again; but not for ever."""
    while reader.surplus < _LONGEST_GOODBYE:
        data = yield from read()
        if data is None or isinstance(data, Broken):
            return data
        yield from reader.read(data)
    return None


def _broken_off(reader: ChatReader, broken: Broken) -> StreamInterruptedError:
    error = reader.interrupted(str(broken.error) or type(broken.error).__name__)
    error.resilience = getattr(broken.error, "resilience", None)
    error.__cause__ = broken.error
    return error


def _explained(session: Session, chosen: Chosen, error: StreamInterruptedError) -> Story[FoundryError]:
    """Where a stream that fails before it starts is cut without a word, look what the cause is."""
    if not _cuts(session) or error.chunks:
        return error
    try:
        others = yield from models.missing(session, chosen.key)
    except session.failures as unanswered:
        error.add_note(f"what is loaded could not be asked either: {unanswered!r}")
        return error
    if others is not None:
        session.seen -= {chosen.key}
        return ModelNotLoadedError(
            f"the service cut the stream before its first chunk, and {chosen.key!r} is not among its loaded models "
            f"({others}): call load_model first"
        )
    return StreamInterruptedError(
        f"{error.message}; the likely cause: prompt and max_tokens are beyond the model's room, which the same call "
        "without streaming would say",
        reason=error.reason,
    )


def _cuts(session: Session) -> bool:
    """Whether this service cuts a stream that fails, instead of saying why."""
    return session.generation is not None and tolerates(session.generation, Tolerance.LOOK_BEFORE_STREAMING)


def _check(session: Session, generation: Generation, question: Question) -> None:
    """Refuse what is wrong before a model is looked for, or loaded."""
    rules.chat_body(
        generation, session.chosen(question.model), question.messages, question.parameters, strict=session.strict
    )


def _operation(
    session: Session, generation: Generation, chosen: Chosen, question: Question, *, stream: bool
) -> Operation[ChatResult]:
    body = rules.chat_body(generation, chosen.key, question.messages, question.parameters, strict=session.strict)
    return operations.chat(generation, body, stream=stream, patience=session.patience)


def _answered(session: Session, chosen: Chosen, operation: Operation[ChatResult]) -> Story[ChatResult]:
    use = yield from _occupied(session, chosen)
    started = yield from now()
    try:
        result = yield from send(operation)
    finally:
        session.occupancy.leave(use)
    return replace(result, elapsed=(yield from now()) - started)


def _occupied(session: Session, chosen: Chosen) -> Story[Use]:
    use = Use(chosen.names)
    if not (yield from enter(use, session.patience)):
        raise ModelBusyError(f"{chosen.key!r} is being unloaded by this client; load it again first")
    return use


def _as_chunk(result: ChatResult) -> ChatChunk:
    return ChatChunk(
        content=result.content,
        reasoning=result.reasoning,
        tool_calls=result.tool_calls,
        finish_reason=result.finish_reason,
        usage=result.usage,
        raw=result.raw,
    )
