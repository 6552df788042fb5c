"""FoundryClient: Foundry Local from synchronous code."""

from __future__ import annotations

import queue
import time
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from types import TracebackType
from typing import Self, TypeVar, Unpack

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
from resilient_foundry.foundry.connect import HTTPClient, explain_refusal, is_stream, reply_of
from resilient_foundry.foundry.conversations import Question
from resilient_foundry.foundry.leftovers import OpenAnswer, leftovers_of
from resilient_foundry.foundry.locate import ask_command
from resilient_foundry.foundry.occupancy import Waiter
from resilient_foundry.foundry.payloads import ChatChunk, ChatResult, Embeddings, Health, LoadResult, ModelInfo
from resilient_foundry.foundry.process import resident_bytes
from resilient_foundry.foundry.rules import ChatParameters, Message, messages_of
from resilient_foundry.foundry.surface import ClientSurface, Surface
from resilient_foundry.foundry.telemetry import Observation, Subject, settle_the_lost

T = TypeVar("T")


class FoundryClient(ClientSurface[HTTPClient]):
    """A client of Foundry Local, generations 1.x and 2.x, with retry, circuit breaker and time limits under it.

    What it takes is said at its constructor. `FoundryClient` may be used from several threads, `AsyncFoundryClient`
    under asyncio and trio; their methods are the same. Calls raise `FoundryError` for what the server said,
    `ResilienceError` for what the stack refused, and the HTTP library's own errors for what the network did.
    """

    _asynchronous = False

    def complete(
        self, prompt: str, *, model: str | None = None, system: str | None = None, **parameters: Unpack[ChatParameters]
    ) -> ChatResult:
        """The answer to one prompt, whole.

        `parameters` are those of `ChatParameters`: max_tokens, temperature, top_p, stop, seed, tools and so on. On 2.x
        an alias is made definite by having its model loaded.
        """
        return self.chat(messages_of(prompt, system), model=model, **parameters)

    def stream_complete(
        self, prompt: str, *, model: str | None = None, system: str | None = None, **parameters: Unpack[ChatParameters]
    ) -> ChatStream:
        """The answer to one prompt, in pieces as they are made; see `stream_chat`."""
        return self.stream_chat(messages_of(prompt, system), model=model, **parameters)

    def chat(
        self, messages: Sequence[Message], *, model: str | None = None, **parameters: Unpack[ChatParameters]
    ) -> ChatResult:
        """The answer to a conversation, whole; `parameters` are those of `ChatParameters`."""
        session, question = self._surface.session, Question.asked("chat", messages, model, parameters)
        return self._run(conversations.chat(session, question), Subject.chat(session, question))

    def stream_chat(
        self, messages: Sequence[Message], *, model: str | None = None, **parameters: Unpack[ChatParameters]
    ) -> ChatStream:
        """The answer to a conversation, in pieces as they are made.

        Nothing is sent before the first piece is asked for. Use it in a `with` block if you may leave the loop early:
        leaving it closes the connection, and the server stops. `result()` gives the whole answer afterwards.

        A stream that fails before its first event is asked again by the stack; one that fails later raises
        `StreamInterruptedError`, or what the server reported, with the text delivered so far.
        """
        return ChatStream(self._surface, Question.asked("stream_chat", messages, model, parameters))

    def embed(self, texts: str | Sequence[str], *, model: str | None = None, force: bool = False) -> Embeddings:
        """A vector for each text. On 1.x `force=True` vouches for a model whose name does not say that it embeds."""
        session = self._surface.session
        return self._run(conversations.embed(session, texts, model, force=force), Subject.embeddings(session, model))

    def health_check(self) -> Health:
        """How the service does: status, loaded models, memory, latency. A service that is not there raises nothing."""
        session = self._surface.session
        return self._run(health.check(session), Subject("health_check"))

    def list_models(self) -> list[ModelInfo]:
        """The models of the service: every known one on 2.x, those on its disk on 1.x."""
        session = self._surface.session
        return self._run(models.list_models(session), Subject("list_models"))

    def loaded_models(self) -> list[str]:
        """The ids of the models in memory."""
        session = self._surface.session
        return self._run(models.loaded_models(session), Subject("loaded_models"))

    def load_model(self, model: str | None = None) -> LoadResult:
        """Have a model in memory, by alias or id; harmless if it is there. Takes minutes for a large one."""
        session = self._surface.session
        return self._run(models.load_model(session, model), Subject("load_model", model=model or session.model))

    def unload_model(self, model: str | None = None, *, wait: float = 60.0) -> LoadResult:
        """Have a model out of memory, once no answer of this client runs on it any more.

        Waits at most `wait` seconds for them and raises `ModelBusyError` then. Other processes are not waited for:
        unloading under their answers can corrupt a 2.x service.
        """
        session = self._surface.session
        return self._run(
            models.unload_model(session, model, wait=wait), Subject("unload_model", model=model or session.model)
        )

    def close(self) -> None:
        """Close the connections, unless the HTTP client was yours."""
        leftovers_of(self._surface.http).close_forgotten()
        settle_the_lost()
        if self._surface.owned:
            self._surface.http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, story: Story[T], subject: Subject) -> T:
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
                answer = hands.answer(ask)
            except BaseException as error:  # noqa: BLE001 - handed to the story, which knows what it means
                step = partial(story.throw, error)
            else:
                step = partial(story.send, answer)


class ChatStream:
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

    def close(self) -> None:
        """End the answer; a server still at work on it stops."""
        self._observation.is_closing = True
        self._story.close()
        self._close()

    def __iter__(self) -> Iterator[ChatChunk]:
        return self

    def __next__(self) -> ChatChunk:
        step = partial(self._story.send, None)
        try:
            while True:
                try:
                    ask = step()
                except StopIteration as end:
                    self._result = end.value or self._result
                    raise
                if isinstance(ask, ChatChunk):
                    self._observation.chunk()
                    return ask
                try:
                    answer = self._hands.answer(ask)
                except BaseException as error:  # noqa: BLE001 - handed to the story, which knows what it means
                    step = partial(self._story.throw, error)
                else:
                    step = partial(self._story.send, answer)
        except BaseException:
            self._close()
            raise

    def _close(self) -> None:
        try:
            self._hands.close()
        finally:
            self._observation.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if self._hands.holds:
            self._hands.forget()  # the collector calls this in the middle of anything: no closing here
            warnings.warn("a ChatStream was left open; use it in a `with` block", ResourceWarning, 2)


class _Hands:
    """Answers what the stories ask, for one call; the asynchronous twin stands in async_client.py."""

    def __init__(self, surface: Surface, observation: Observation) -> None:
        self._surface = surface
        self._observation = observation
        self._leftovers = leftovers_of(surface.http)
        self._open_answer: OpenAnswer | None = None

    def answer(self, ask: Ask) -> object:
        match ask:
            case Send(operation):
                return self._send(operation)
            case Open(operation):
                return self._open(operation)
            case Read():
                return self._read()
            case Now():
                return self._surface.world.monotonic()
            case Enter():
                return self._enter(ask)
            case Find():
                return ask_command()
            case MemoryOf(pid, endpoints):
                return resident_bytes(pid, endpoints)

    @property
    def holds(self) -> bool:
        """Whether an answer is open."""
        return self._open_answer is not None

    def close(self) -> None:
        answer, self._open_answer = self._open_answer, None
        if answer is not None:
            self._leftovers.close(answer)

    def forget(self) -> None:
        """Leave the open answer for a later call to close."""
        answer, self._open_answer = self._open_answer, None
        if answer is not None:
            self._leftovers.forget(answer)

    def _send(self, operation: Operation[object]) -> Reply:
        surface = self._surface
        self._leftovers.close_forgotten()
        try:
            return reply_of(surface.http.send(surface.request(operation, self._observation)))
        except surface.library.ConnectError as error:
            explain_refusal(error, surface.session.url or "")
            raise

    def _open(self, operation: Operation[object]) -> Reply | Broken:
        surface = self._surface
        self._leftovers.close_forgotten()
        try:
            response = surface.http.send(surface.request(operation, self._observation), stream=True)
        except surface.library.ConnectError as error:
            explain_refusal(error, surface.session.url or "")
            raise
        except surface.library.RemoteProtocolError as error:
            return Broken(error)
        streams = is_stream(response)
        self._open_answer = OpenAnswer(response, response.iter_bytes() if streams else iter(()))
        self._leftovers.hold(self._open_answer)
        if streams:
            return reply_of(response, streams=True)
        response.read()
        return reply_of(response)

    def _read(self) -> bytes | Broken | None:
        try:
            return None if self._open_answer is None else next(self._open_answer.body, None)
        except self._surface.library.RequestError as error:
            return Broken(error)

    def _enter(self, ask: Enter) -> bool:
        occupancy = self._surface.session.occupancy
        ended: queue.SimpleQueue[None] = queue.SimpleQueue()  # may be put to by finalisers, unlike an Event
        waiter = Waiter(ask.use, partial(ended.put, None))
        latest = time.perf_counter() + ask.seconds
        try:
            while not occupancy.enter(waiter):
                try:
                    ended.get(timeout=max(0.0, latest - time.perf_counter()))
                except queue.Empty:
                    return False
            return True
        finally:
            occupancy.forget(waiter)
