"""AsyncFoundryClient: Foundry Local from asyncio and trio."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import anyio
from anyio import to_thread

from resilient_foundry.foundry import conversations, health, models
from resilient_foundry.foundry.asks import (
    Ask,
    Broken,
    Enter,
    Find,
    MemoryOf,
    Now,
    Open,
    Operation,
    Read,
    Reply,
    Send,
    Story,
    StreamStory,
)
from resilient_foundry.foundry.chat_stream import Joined
from resilient_foundry.foundry.connect import AsyncHTTPClient, explain_refusal, is_stream, reply_of
from resilient_foundry.foundry.conversations import Question
from resilient_foundry.foundry.locate import Inquiry
from resilient_foundry.foundry.occupancy import Waiter
from resilient_foundry.foundry.payloads import ChatChunk, ChatResult, Embeddings, Health, LoadResult, ModelInfo
from resilient_foundry.foundry.process import resident_bytes
from resilient_foundry.foundry.rules import ChatParameters, Message, messages_of
from resilient_foundry.foundry.surface import ClientSurface, Surface
from resilient_foundry.foundry.telemetry import Observation, Subject, settle_the_lost

T = TypeVar("T")

_LOOK = 0.5
"""Seconds between two looks at whether a model is free, of which the collector could not tell from another thread."""


class AsyncFoundryClient(ClientSurface[AsyncHTTPClient]):
    """A client of Foundry Local, generations 1.x and 2.x, with retry, circuit breaker and time limits under it.

    What it takes is said at its constructor. `FoundryClient` may be used from several threads, `AsyncFoundryClient`
    under asyncio and trio; their methods are the same. Calls raise `FoundryError` for what the server said,
    `ResilienceError` for what the stack refused, and the HTTP library's own errors for what the network did.
    """

    _asynchronous = True

    async def complete(
        self, prompt: str, *, model: str | None = None, system: str | None = None, **parameters: Unpack[ChatParameters]
    ) -> ChatResult:
        """The answer to one prompt, whole.

        `parameters` are those of `ChatParameters`: max_tokens, temperature, top_p, stop, seed, tools and so on. On 2.x
        an alias is made definite by having its model loaded.
        """
        return await self.chat(messages_of(prompt, system), model=model, **parameters)

    def stream_complete(
        self, prompt: str, *, model: str | None = None, system: str | None = None, **parameters: Unpack[ChatParameters]
    ) -> AsyncChatStream:
        """The answer to one prompt, in pieces as they are made; see `stream_chat`."""
        return self.stream_chat(messages_of(prompt, system), model=model, **parameters)

    async def chat(
        self, messages: Sequence[Message], *, model: str | None = None, **parameters: Unpack[ChatParameters]
    ) -> ChatResult:
        """The answer to a conversation, whole; `parameters` are those of `ChatParameters`."""
        session, question = self._surface.session, Question.asked("chat", messages, model, parameters)
        return await self._run(conversations.chat(session, question), Subject.chat(session, question))

    def stream_chat(
        self, messages: Sequence[Message], *, model: str | None = None, **parameters: Unpack[ChatParameters]
    ) -> AsyncChatStream:
        """The answer to a conversation, in pieces as they are made.

        Nothing is sent before the first piece is asked for. Use it in a `with` block if you may leave the loop early:
        leaving it closes the connection, and the server stops. `result()` gives the whole answer afterwards.

        A stream that fails before its first event is asked again by the stack; one that fails later raises
        `StreamInterruptedError`, or what the server reported, with the text delivered so far.
        """
        return AsyncChatStream(self._surface, Question.asked("stream_chat", messages, model, parameters))

    async def embed(self, texts: str | Sequence[str], *, model: str | None = None, force: bool = False) -> Embeddings:
        """A vector for each text. On 1.x `force=True` vouches for a model whose name does not say that it embeds."""
        session = self._surface.session
        return await self._run(
            conversations.embed(session, texts, model, force=force), Subject.embeddings(session, model)
        )

    async def health_check(self) -> Health:
        """How the service does: status, loaded models, memory, latency. A service that is not there raises nothing."""
        session = self._surface.session
        return await self._run(health.check(session), Subject("health_check"))

    async def list_models(self) -> list[ModelInfo]:
        """The models of the service: every known one on 2.x, those on its disk on 1.x."""
        session = self._surface.session
        return await self._run(models.list_models(session), Subject("list_models"))

    async def loaded_models(self) -> list[str]:
        """The ids of the models in memory."""
        session = self._surface.session
        return await self._run(models.loaded_models(session), Subject("loaded_models"))

    async def load_model(self, model: str | None = None) -> LoadResult:
        """Have a model in memory, by alias or id; harmless if it is there. Takes minutes for a large one."""
        session = self._surface.session
        return await self._run(models.load_model(session, model), Subject("load_model", model=model or session.model))

    async def unload_model(self, model: str | None = None, *, wait: float = 60.0) -> LoadResult:
        """Have a model out of memory, once no answer of this client runs on it any more.

        Waits at most `wait` seconds for them and raises `ModelBusyError` then. Other processes are not waited for:
        unloading under their answers can corrupt a 2.x service.
        """
        session = self._surface.session
        return await self._run(
            models.unload_model(session, model, wait=wait), Subject("unload_model", model=model or session.model)
        )

    async def aclose(self) -> None:
        """Close the connections, unless the HTTP client was yours."""
        settle_the_lost()
        if self._surface.owned:
            await self._surface.http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _run(self, story: Story[T], subject: Subject) -> T:
        observation = self._surface.observe(subject)
        hands = _Hands(self._surface, observation)
        story = observation.watch(story)
        step = partial(next, story)
        while True:
            try:
                ask = step()
            except StopIteration as end:
                value: T = end.value
                return value
            try:
                answer = await hands.answer(ask)
            except BaseException as error:  # noqa: BLE001 - handed to the story, which knows what it means
                step = partial(story.throw, error)
            else:
                step = partial(story.send, answer)


class AsyncChatStream:
    """An answer while it is made: an iterator over its pieces, and a context manager that ends it.

    `result()` is the whole answer once the pieces are through; before, and after an early end, what there is of it.
    """

    def __init__(self, surface: Surface, question: Question) -> None:
        self._observation = surface.observe(Subject.chat(surface.session, question, stream=True))
        self._hands = _Hands(surface, self._observation)
        self._joined = Joined()
        self._story: StreamStory = self._observation.watch(
            conversations.stream(surface.session, question, self._joined), self._joined
        )
        self._answer: object = None
        self._result: ChatResult | None = None

    def result(self) -> ChatResult:
        """The pieces joined; `complete` says whether they are the whole answer."""
        return self._result or self._joined.result(complete=False)

    async def aclose(self) -> None:
        """End the answer; a server still at work on it stops."""
        self._observation.is_closing = True
        self._story.close()
        await self._close()

    def __aiter__(self) -> AsyncIterator[ChatChunk]:
        return self

    async def __anext__(self) -> ChatChunk:
        step = partial(self._story.send, None)
        try:
            while True:
                try:
                    ask = step()
                except StopIteration as end:
                    self._result = end.value or self._result
                    raise StopAsyncIteration from None
                if isinstance(ask, ChatChunk):
                    self._observation.chunk()
                    return ask
                try:
                    answer = await self._hands.answer(ask)
                except BaseException as error:  # noqa: BLE001 - handed to the story, which knows what it means
                    step = partial(self._story.throw, error)
                else:
                    step = partial(self._story.send, answer)
        except BaseException:
            await self._close()
            raise

    async def _close(self) -> None:
        try:
            await self._hands.aclose()
        finally:
            self._observation.end()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if self._hands.holds:
            warnings.warn("an AsyncChatStream was left open; use it in an `async with` block", ResourceWarning, 2)


class _Hands:
    """Answers what the stories ask, for one call; the synchronous twin stands in client.py."""

    def __init__(self, surface: Surface, observation: Observation) -> None:
        self._surface = surface
        self._observation = observation
        self._response: Any = None  # the library's own
        self._body: AsyncIterator[bytes] | None = None

    async def answer(self, ask: Ask) -> object:
        match ask:
            case Send(operation):
                return await self._send(operation)
            case Open(operation):
                return await self._open(operation)
            case Read():
                return await self._read()
            case Now():
                return self._surface.world.monotonic()
            case Enter():
                return await self._enter(ask)
            case Find():
                return await _found()
            case MemoryOf(pid, endpoints):
                return resident_bytes(pid, endpoints)

    @property
    def holds(self) -> bool:
        """Whether an answer is open."""
        return self._response is not None

    async def aclose(self) -> None:
        response, self._response = self._response, None
        body, self._body = self._body, None
        if response is None:
            return
        await response.aclose()
        if body is not None:
            # The libraries iterate by async generators inside each other, and trio wants each of them to end: with the
            # connection closed, asking on ends them all, by an end or by an error that says what we know.
            with anyio.CancelScope(shield=True), suppress(Exception):
                async for _ in body:
                    pass

    async def _send(self, operation: Operation[object]) -> Reply:
        surface = self._surface
        try:
            return reply_of(await surface.http.send(surface.request(operation, self._observation)))
        except surface.library.ConnectError as error:
            explain_refusal(error, surface.session.url or "")
            raise

    async def _open(self, operation: Operation[object]) -> Reply | Broken:
        surface = self._surface
        try:
            response = await surface.http.send(surface.request(operation, self._observation), stream=True)
        except surface.library.ConnectError as error:
            explain_refusal(error, surface.session.url or "")
            raise
        except surface.library.RemoteProtocolError as error:
            return Broken(error)
        self._response = response
        if is_stream(response):
            self._body = response.aiter_bytes()
            return reply_of(response, streams=True)
        await response.aread()
        return reply_of(response)

    async def _read(self) -> bytes | Broken | None:
        try:
            return None if self._body is None else await anext(self._body, None)
        except self._surface.library.RequestError as error:
            return Broken(error)

    async def _enter(self, ask: Enter) -> bool:
        occupancy, ended, here = self._surface.session.occupancy, anyio.Event(), threading.get_ident()

        def wake() -> None:
            if threading.get_ident() == here:  # and not the collector in some other thread, where events can't be set
                ended.set()

        waiter = Waiter(ask.use, wake)
        latest = time.perf_counter() + ask.seconds
        try:
            while not occupancy.enter(waiter):
                left = latest - time.perf_counter()
                if left <= 0:
                    return False
                with anyio.move_on_after(min(left, _LOOK)):
                    await ended.wait()
                ended = anyio.Event()
            return True
        finally:
            occupancy.forget(waiter)


async def _found() -> str:
    """What the `foundry` command tells; a call that is cancelled leaves at once, and leaves no process."""
    inquiry = Inquiry()
    try:
        return await to_thread.run_sync(inquiry.ask, abandon_on_cancel=True)
    finally:
        inquiry.end()
