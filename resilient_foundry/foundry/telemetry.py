"""What a call of the client tells OpenTelemetry: one span from the question to the end of the answer.

Names follow the conventions for generative AI (https://github.com/open-telemetry/semantic-conventions-genai): the span
is the logical operation with all its attempts. What is asked and answered is told only where
OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT wants it; see `content`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

from opentelemetry.trace import INVALID_SPAN, Span, SpanKind

from resilient_foundry._transports.driver import World
from resilient_foundry.foundry.asks import Operation
from resilient_foundry.foundry.chat_stream import Joined
from resilient_foundry.foundry.content import answered, asked, legible, wanted
from resilient_foundry.foundry.conversations import Question
from resilient_foundry.foundry.errors import FoundryError, ProtocolError, StreamInterruptedError
from resilient_foundry.foundry.payloads import ChatResult, Embeddings, Health, Usage
from resilient_foundry.foundry.rules import ChatParameters
from resilient_foundry.foundry.session import Session
from resilient_foundry.foundry.wire import mapping
from resilient_foundry.origin import DEFAULT_PORTS
from resilient_foundry.policies.tracing import Tracing
from resilient_foundry.telemetry.account import STREAM_ERROR, STREAM_TRUNCATED
from resilient_foundry.telemetry.names import PROVIDER, Names
from resilient_foundry.telemetry.provider import Provider
from resilient_foundry.telemetry.spans import CALL, FAILURE, PARENT, CallSpan, Timeline, class_of, is_refusal

T = TypeVar("T")
A = TypeVar("A")

_NUMBERS = {
    "max_tokens": "request_max_tokens",
    "temperature": "request_temperature",
    "top_p": "request_top_p",
    "seed": "request_seed",
    "presence_penalty": "request_presence_penalty",
    "frequency_penalty": "request_frequency_penalty",
}
"""Parameters of a chat that are numbers, and their names in the table."""
_STOPS = 4
"""Texts to stop at that a server takes."""
_LONGEST_NAME = 256
"""Characters of a name, of a model or an answer; the servers' own are shorter."""
_LONGEST_NUMBER = 10
_INT64 = 2**63
"""What OTLP has no room for: one such number, or half a character, would cost everything that is exported with it."""


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
        if self.question is not None:
            told |= _asked_for(self.question.parameters, names)
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
        self._pipeline = ""
        self._is_shown = True
        self._began = 0.0
        self._first: float | None = None
        self._last = 0.0
        self._tells_content = False
        self._joined: Joined | None = None
        self._attributes: dict[str, str | int] = {}
        self._met: _Met | None = None

    def watch(self, story: Generator[A, Any, T], joined: Joined | None = None) -> Generator[A, Any, T]:
        """The story, from whose first question the span reaches to `end`; `joined` is what there is of its answer."""
        self._joined = joined
        if self._tracing is None or not self._begin(self._tracing):
            return (yield from story)
        try:
            result = yield from story
        except GeneratorExit:
            self._left()
            raise
        except Exception as error:
            self._met = _Met(error=error)
            raise
        except BaseException:
            self._met = _Met("cancelled")
            raise
        else:
            self._met = _Met(error=result.error) if isinstance(result, Health) and result.error else _Met(result=result)
            return result
        finally:
            if not self._subject.stream:
                self.end()

    def extensions(self, operation: Operation[object]) -> dict[str, object]:
        """What a request of this call carries: the span that its attempts stand under, or that it is a part of."""
        call = self._call
        if call is None or not self._is_shown:
            return {}
        own = operation.options.name == self._subject.name(call.names) or self._is_the_answer(operation)
        return {CALL: call} if own else {PARENT: call}

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

    def end(self) -> None:
        """The call is over, and what it had open is closed; before that, and after the first time, nothing happens."""
        met = self._met
        if met is not None:
            self._met = None
            self._end(met, self._world.monotonic())

    def settle(self) -> None:
        """End what was dropped, at the moment of its last piece."""
        self._end(_Met("abandoned"), self._last or self._began)

    def _is_the_answer(self, operation: Operation[object]) -> bool:
        return self._subject.generates and operation.options.kind == "client"

    def _begin(self, tracing: Tracing) -> bool:
        settle_the_lost()
        provider = tracing.provider()
        if provider is None:
            return False
        self._provider, names, subject = provider, provider.names, self._subject
        self._pipeline = tracing.name
        self._is_shown = tracing.calls != "never"
        self._began = self._world.monotonic()
        timeline = Timeline(self._world.wall(), self._began)
        span: Span = INVALID_SPAN
        if self._is_shown:
            span = provider.tracer.start_span(
                subject.name(names),
                kind=SpanKind.CLIENT if subject.generates else SpanKind.INTERNAL,
                attributes={**subject.attributes(names), **_server(self._session.url, names)},
                start_time=timeline.at(self._began),
            )
        self._call = CallSpan(span, names, timeline)
        if subject.question is not None and span.is_recording() and wanted():
            self._tells_content = True
            self._call.set(asked(subject.question.messages, subject.question.parameters.get("tools"), names))
        return True

    def _left(self) -> None:
        """The caller wants no more of it, or nobody holds it any more: then nothing is done but taking note."""
        if self.is_closing:
            self._met = _Met("abandoned")
        else:
            if self._call is not None:
                self._call.is_dropped = True
            _lost.append(self)

    def _end(self, met: _Met, ended: float) -> None:
        call, provider, subject = self._call, self._provider, self._subject
        if call is None or provider is None or call.ended:
            return
        names, result = call.names, met.result
        partial = self._joined.result(complete=False) if self._joined is not None and result is None else None
        if isinstance(result, ChatResult | Embeddings):
            self._count(result.usage, call, provider)
        told = result if result is not None else partial
        self._note(told, call)
        if self._tells_content and isinstance(told, ChatResult):
            call.set(answered(told, names))
        error_type = None if met.error is None else self._kind_of(met.error, call)
        if error_type is not None:
            call.fail(error_type)
        outcome = met.outcome or self._outcome_of(met.error, call)
        call.set({names.outcome: outcome, names.pipeline: self._pipeline, **_server(self._session.url, names)})
        if subject.stream:
            call.set({names.stream_completed: isinstance(result, ChatResult) and result.complete})
        if subject.generates:
            self._measure(provider, call, ended, error_type)
        call.end(call.timeline.at(ended))

    def _note(self, told: object, call: CallSpan) -> None:
        """What the server said of its answer, or of the half of it that came."""
        names = call.names
        if isinstance(told, ChatResult):
            reason = _name(told.finish_reason)
            call.set(
                {
                    names.response_id: _name(told.id),
                    names.response_model: _name(told.model),
                    names.finish_reasons: None if reason is None else (reason,),
                }
            )
        elif isinstance(told, Embeddings):
            call.set({names.response_model: _name(told.model)})

    def _count(self, usage: Usage | None, call: CallSpan, provider: Provider) -> None:
        """The tokens of a whole answer, where the server has counted them."""
        if usage is None:
            return
        names, attributes = call.names, self._measured(call.names)
        spent = {"input": _counted(usage.prompt_tokens), "output": _counted(usage.completion_tokens)}
        call.set(
            {
                names.input_tokens: spent["input"],
                names.output_tokens: spent["output"],
                names.reasoning_tokens: _counted(usage.reasoning_tokens),
                names.cache_read_tokens: _counted(usage.cached_tokens),
            }
        )
        for kind, count in spent.items():
            if count is not None:
                provider.instruments.tokens(count, kind, attributes, call.context)

    def _measured(self, names: Names) -> Mapping[str, str | int]:
        """The attributes of a measurement."""
        if not self._attributes:
            told: dict[str, str | int] = {names.operation: self._subject.operation, names.provider: PROVIDER}
            if self._subject.model is not None:
                told[names.request_model] = self._subject.model
            self._attributes = told | _server(self._session.url, names)
        return self._attributes

    def _measure(self, provider: Provider, call: CallSpan, ended: float, error_type: str | None) -> None:
        names, instruments = call.names, provider.instruments
        attributes = self._measured(names)
        if self._first is not None and self._subject.stream:
            first = self._first - self._began
            call.set({names.time_to_first_chunk: first})
            instruments.first_chunk(first, attributes, call.context)
        failure = {} if error_type is None else {names.error_type: error_type}
        instruments.operation_ended(ended - self._began, {**attributes, **failure}, call.context)

    def _kind_of(self, error: Exception, call: CallSpan) -> str:
        """The `error.type` of a failed call: what the stream said, what status came, or else the class of the error."""
        if call.failure is not None:
            return call.failure
        if isinstance(error, FoundryError) and error.status is not None and error.status >= FAILURE:
            return str(error.status)
        if self._is_about_the_stream(error, call):
            return STREAM_TRUNCATED if isinstance(error, StreamInterruptedError) else STREAM_ERROR
        return class_of(error)

    def _is_about_the_stream(self, error: Exception, call: CallSpan) -> bool:
        """Whether it was said, or shown, by a stream of a good status, into which nobody further in has looked."""
        if not isinstance(error, FoundryError) or isinstance(error, ProtocolError):
            return False
        return self._subject.stream and error.status is None and error.resilience is not None and bool(call.sent)

    def _outcome_of(self, error: Exception | None, call: CallSpan) -> str:
        if error is None:
            return "recovered" if call.sent > 1 else "success"
        return "rejected" if is_refusal(error) and not call.sent else "failed"


@dataclass(frozen=True, slots=True)
class _Met:
    """How a call ended: with a result, by an error, or by somebody's will."""

    outcome: str | None = None
    """`cancelled` or `abandoned`; else what is found to be so."""
    error: Exception | None = None
    result: object = None


_lost: deque[Observation] = deque()


def settle_the_lost() -> None:
    """End the spans of answers that were dropped half-way: here, and not in the collector."""
    while _lost:
        try:
            lost = _lost.popleft()
        except IndexError:  # another thread was faster
            return
        lost.settle()


def _asked_for(parameters: ChatParameters, names: Names) -> dict[str, Any]:
    """The parameters of a chat, of which nobody has yet said that they are right."""
    told: dict[str, Any] = {
        getattr(names, name): value
        for parameter, name in _NUMBERS.items()
        if (value := _number(parameters.get(parameter))) is not None
    }
    count = _number(parameters.get("n"))
    if count is not None and count != 1:
        told[names.request_choices] = count
    top_k: object = (mapping(parameters.get("metadata")) or {}).get("top_k")
    if isinstance(top_k, str) and top_k.isascii() and top_k.isdigit() and len(top_k) < _LONGEST_NUMBER:
        told[names.request_top_k] = float(top_k)
    wanted_type = (mapping(parameters.get("response_format")) or {}).get("type")
    if isinstance(wanted_type, str):
        told[names.output_type] = "json" if wanted_type.startswith("json") else "text"
    stop: object = parameters.get("stop")
    stops: object = (stop,) if isinstance(stop, str) else stop
    if isinstance(stops, list | tuple):
        texts = [_name(one) for one in cast("Sequence[object]", stops)[:_STOPS]]
        told[names.request_stop] = tuple(one for one in texts if one is not None)
    return told


def _model(session: Session, named: object) -> str | None:
    return _name(session.model if named is None else named)


def _name(value: object) -> str | None:
    """A text as it can be told; None for what is none."""
    return legible(value[:_LONGEST_NAME]) if isinstance(value, str) and value else None


def _number(value: object) -> int | float | None:
    if isinstance(value, float):
        return value
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < _INT64 else None


def _counted(value: int | None) -> int | None:
    return value if value is not None and 0 <= value < _INT64 else None


def _server(url: str | None, names: Names) -> dict[str, str | int]:
    """Who is asked, as far as it is known."""
    if url is None:
        return {}
    parts = urlsplit(url)
    port = parts.port or DEFAULT_PORTS.get(parts.scheme)
    told: dict[str, str | int] = {names.server_address: parts.hostname} if parts.hostname else {}
    return told | ({names.server_port: port} if port else {})
