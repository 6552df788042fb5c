"""What a call of the client tells OpenTelemetry: one span from the question to the end of the answer.

Names follow the conventions for generative AI (https://github.com/open-telemetry/semantic-conventions-genai): the span
is the logical operation with all its attempts. What is asked and answered is told only where
OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT wants it; see `content`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

from opentelemetry.trace import SpanKind

from resilient_foundry._transports.driver import World
from resilient_foundry.foundry.asks import Operation
from resilient_foundry.foundry.content import Content, wanted
from resilient_foundry.foundry.conversations import Question
from resilient_foundry.foundry.errors import FoundryError
from resilient_foundry.foundry.payloads import ChatResult, Embeddings, Health, Usage
from resilient_foundry.foundry.session import Session
from resilient_foundry.origin import DEFAULT_PORTS
from resilient_foundry.policies.tracing import Tracing
from resilient_foundry.telemetry.names import PROVIDER, Names
from resilient_foundry.telemetry.provider import Provider
from resilient_foundry.telemetry.spans import CALL, FAILURE, PARENT, CallSpan, Timeline, class_of

T = TypeVar("T")
A = TypeVar("A")

_PARAMETERS = {
    "max_tokens": "request_max_tokens",
    "temperature": "request_temperature",
    "top_p": "request_top_p",
    "seed": "request_seed",
}
"""Parameters of a chat, and their names in the table."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What a call is: an operation of generative AI (`generates`), or the care of models."""

    operation: str
    generates: bool = False
    model: str | None = None
    stream: bool = False
    question: Question | None = field(default=None, repr=False)

    @classmethod
    def chat(cls, session: Session, question: Question, *, stream: bool = False) -> Subject:
        """A chat."""
        return cls("chat", generates=True, model=_model(session, question.model), stream=stream, question=question)

    @classmethod
    def embeddings(cls, session: Session, model: str | None) -> Subject:
        """Vectors of texts."""
        return cls("embeddings", generates=True, model=_model(session, model))

    def name(self, names: Names) -> str:
        """The name of its span."""
        if not self.generates:
            return names.management.format(operation=self.operation)
        return self.operation if self.model is None else f"{self.operation} {self.model}"

    def attributes(self, names: Names) -> dict[str, Any]:
        """What is known before anything is sent."""
        told: dict[str, Any] = {names.provider: PROVIDER}
        if self.generates:
            told[names.operation] = self.operation
        if self.model is not None:
            told[names.request_model] = self.model
        if self.stream:
            told[names.request_stream] = True
        parameters: Mapping[str, Any] = self.question.parameters if self.question is not None else {}
        for parameter, name in _PARAMETERS.items():
            value = parameters.get(parameter)
            if isinstance(value, int | float) and not isinstance(value, bool):
                told[getattr(names, name)] = value
        stop = parameters.get("stop")
        if stop:
            told[names.request_stop] = (stop,) if isinstance(stop, str) else tuple(map(str, stop))
        return told


class Observation:
    """One call of the client while it is made. Without a provider it does nothing."""

    def __init__(self, session: Session, tracing: Tracing | None, world: World, subject: Subject) -> None:
        self.is_closing = False
        """Whether the caller ends the answer itself; otherwise a collector does, in the middle of anything."""
        self._session = session
        self._tracing = tracing
        self._world = world
        self._subject = subject
        self._provider: Provider | None = None
        self._call: CallSpan | None = None
        self._timeline: Timeline
        self._began = 0.0
        self._first: float | None = None
        self._last = 0.0
        self._content: Content | None = None
        self._attributes: dict[str, Any] = {}

    def watch(self, story: Generator[A, Any, T]) -> Generator[A, Any, T]:
        """The story, from whose first question to whose end the span reaches."""
        if self._tracing is None or not self._begin(self._tracing):
            return (yield from story)
        try:
            result = yield from story
        except GeneratorExit:
            self._left()
            raise
        except Exception as error:
            self._end("failed", error_type=self._kind_of(error))
            raise
        except BaseException:
            self._end("cancelled")
            raise
        self._finished(result)
        return result

    def extensions(self, operation: Operation[object]) -> dict[str, object]:
        """What a request of this call carries: the span that its attempts stand under, or that it is a part of."""
        call = self._call
        if call is None:
            return {}
        own = operation.options.name == self._subject.name(call.names) or self._is_the_answer(operation)
        return {CALL: call} if own else {PARENT: call.context}

    def chunk(self) -> None:
        """A piece of the answer is handed over."""
        call, provider = self._call, self._provider
        if call is None or provider is None:
            return
        now = self._world.monotonic()
        if self._first is None:
            self._first = now
        elif self._subject.stream:
            provider.instruments.per_chunk(now - self._last, self._measured(call.names), call.context)
        self._last = now

    def _is_the_answer(self, operation: Operation[object]) -> bool:
        return self._subject.generates and operation.options.kind == "client"

    def _begin(self, tracing: Tracing) -> bool:
        settle_the_lost()
        provider = tracing.provider()
        if provider is None or tracing.calls == "never":
            return False
        self._provider, names, subject = provider, provider.names, self._subject
        self._began = self._world.monotonic()
        self._timeline = Timeline(self._world.wall(), self._began)
        span = provider.tracer.start_span(
            subject.name(names),
            kind=SpanKind.CLIENT if subject.generates else SpanKind.INTERNAL,
            attributes={**subject.attributes(names), **_server(self._session.url, names)},
            start_time=self._timeline.at(self._began),
        )
        self._call = CallSpan(span, names)
        if subject.question is not None and span.is_recording() and wanted():
            self._content = Content(subject.question.messages)
        return True

    def _finished(self, result: object) -> None:
        if isinstance(result, ChatResult):
            self._note(result.id, result.model, result.finish_reason, result.usage)
            if self._content is not None:
                self._content.answer = result
        elif isinstance(result, Embeddings):
            self._note(None, result.model, None, result.usage)
        if isinstance(result, Health) and result.error is not None:
            self._end("failed", error_type=self._kind_of(result.error))
            return
        call = self._call
        self._end("recovered" if call is not None and call.sent > 1 else "success")

    def _left(self) -> None:
        """The caller wants no more of it, or nobody holds it any more."""
        if self.is_closing:
            self._end("abandoned")
        else:
            _lost.append(self)

    def settle(self) -> None:
        """End what was dropped, at the moment of its last piece."""
        self._end("abandoned", at=self._last or self._began)

    def _note(self, identity: str | None, model: str | None, finish_reason: str | None, usage: Usage | None) -> None:
        call, provider = self._call, self._provider
        if call is None or provider is None:
            return
        names = call.names
        told: dict[str, Any] = {
            names.response_id: identity,
            names.response_model: model,
            names.finish_reasons: None if finish_reason is None else (finish_reason,),
        }
        if usage is not None:
            told |= {
                names.input_tokens: usage.prompt_tokens,
                names.output_tokens: usage.completion_tokens,
                names.reasoning_tokens: usage.reasoning_tokens,
            }
            attributes = self._measured(names)
            for kind, count in (("input", usage.prompt_tokens), ("output", usage.completion_tokens)):
                if count is not None:
                    provider.instruments.tokens(count, kind, attributes, call.context)
        call.set(told)

    def _measured(self, names: Names) -> dict[str, Any]:
        """The attributes of a measurement."""
        if self._attributes:
            return dict(self._attributes)
        told: dict[str, Any] = {names.operation: self._subject.operation, names.provider: PROVIDER}
        if self._subject.model is not None:
            told[names.request_model] = self._subject.model
        self._attributes = told | _server(self._session.url, names)
        return dict(self._attributes)

    def _end(self, outcome: str, *, error_type: str | None = None, at: float | None = None) -> None:
        call, provider = self._call, self._provider
        if call is None or provider is None or call.ended:
            return
        names, ended = call.names, self._world.monotonic() if at is None else at
        if error_type is not None:
            call.fail(error_type)
        call.set({names.outcome: outcome, **_server(self._session.url, names)})
        if self._content is not None:
            call.set(self._content.attributes(names))
        if self._subject.generates:
            self._measure(provider, call, ended, error_type)
        call.end(self._timeline.at(ended))

    def _measure(self, provider: Provider, call: CallSpan, ended: float, error_type: str | None) -> None:
        names, instruments = call.names, provider.instruments
        attributes = self._measured(names)
        if self._first is not None and self._subject.stream:
            first = self._first - self._began
            call.set({names.time_to_first_chunk: first})
            instruments.first_chunk(first, attributes, call.context)
        if error_type is not None:
            attributes[names.error_type] = error_type
        instruments.operation_ended(ended - self._began, attributes, call.context)

    def _kind_of(self, error: Exception) -> str:
        """The `error.type` of a failed call: what the stream said, what status came, or else the class of the error."""
        call = self._call
        if call is not None and call.failure is not None:
            return call.failure
        if isinstance(error, FoundryError) and error.status is not None and error.status >= FAILURE:
            return str(error.status)
        return class_of(error)


_lost: deque[Observation] = deque()


def settle_the_lost() -> None:
    """End the spans of answers that were dropped half-way: here, and not in the collector."""
    while _lost:
        _lost.popleft().settle()


def _model(session: Session, named: object) -> str | None:
    name = session.model if named is None else named
    return name if isinstance(name, str) and name else None


def _server(url: str | None, names: Names) -> dict[str, str | int]:
    """Who is asked, as far as it is known."""
    if url is None:
        return {}
    parts = urlsplit(url)
    port = parts.port or DEFAULT_PORTS.get(parts.scheme)
    told: dict[str, str | int] = {names.server_address: parts.hostname} if parts.hostname else {}
    return told | ({names.server_port: port} if port else {})
