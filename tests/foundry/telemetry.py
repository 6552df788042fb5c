"""Clients of Foundry Local on a virtual clock, in each colour and library, and what they tell OpenTelemetry."""

from __future__ import annotations

import importlib
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, cast

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler

from resilient_foundry import Backoff, Retry, Stack, StreamGuard, Tracing
from resilient_foundry.flow import Policy
from resilient_foundry.foundry import AsyncFoundryClient, FoundryClient
from resilient_foundry.testing import Answer, Said, VirtualTime, events, ok, on, run_on, scripted

MODEL = "m:1"
CHAT = f"chat {MODEL}"
STATUS = ok(json.dumps({"modelCachePath": "/c", "pid": 1}).encode(), after=0.25)
SAID = ("To ", "be")


def answer(content: str = "To be", *, after: float = 1.0, **message: object) -> Answer:
    """A whole answer of 2.x."""
    said = {
        "id": "chatcmpl-1",
        "model": "m-cpu:1",
        "choices": [{"message": {"content": content, **message}, "finish_reason": "stop", "index": 0}],
        "usage": {
            "prompt_tokens": 7,
            "completion_tokens": 2,
            "prompt_tokens_details": {"cached_tokens": 3},
            "completion_tokens_details": {"reasoning_tokens": 1},
        },
    }
    return ok(json.dumps(said).encode(), after=after)


def piece(content: str, finish_reason: str | None = None) -> str:
    """A chunk of 2.x, as the data of an event."""
    choice = {"delta": {"content": content}, "finish_reason": finish_reason, "index": 0}
    return json.dumps({"id": "chatcmpl-1", "model": "m-cpu:1", "choices": [choice]})


def stream(*texts: str, ends: bool = True, pause: float = 0.5, breaks: str | None = None, last: str = "") -> Answer:
    """A streamed answer: a chunk after each pause, the last of them with the reason to end."""
    pieces = [piece(text, "stop" if ends and place == len(texts) else None) for place, text in enumerate(texts, 1)]
    return events(*pieces, *([last] if last else []), *(["[DONE]"] if ends else []), pause=pause, breaks=breaks)


@dataclass
class Told:
    """What OpenTelemetry was told."""

    exporter: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)
    reader: InMemoryMetricReader = field(default_factory=InMemoryMetricReader)
    sampler: Sampler = ALWAYS_ON

    def __post_init__(self) -> None:
        self.provider = TracerProvider(sampler=self.sampler, shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)

    def tracing(self, **settings: Any) -> Tracing:
        """The policy that tells it here."""
        return Tracing(tracer_provider=self.provider, meter_provider=self.meters, **settings)

    @property
    def spans(self) -> list[ReadableSpan]:
        """In the order in which they began, and those that began at once in the order in which they ended."""
        finished = self.exporter.get_finished_spans()
        return sorted(finished, key=lambda span: (span.start_time or 0, span.end_time or 0))

    @property
    def call(self) -> ReadableSpan:
        """The one span that stands under none."""
        (call,) = [span for span in self.spans if span.parent is None]
        return call

    @property
    def about(self) -> dict[str, Any]:
        """The attributes of the call."""
        return dict(self.call.attributes or {})

    @property
    def attempts(self) -> list[ReadableSpan]:
        """The requests right under the call."""
        return [span for span in self.under(self.call) if "http.request.method" in (span.attributes or {})]

    def under(self, span: ReadableSpan) -> list[ReadableSpan]:
        """The spans right under this one."""
        assert span.context is not None
        return [each for each in self.spans if each.parent and each.parent.span_id == span.context.span_id]

    def tree(self, span: ReadableSpan | None = None) -> Any:
        """Names: a text, and for a span that has some under it a text and what they are."""
        span = span or self.call
        under = [self.tree(each) for each in self.under(span)]
        return (span.name, under) if under else span.name

    def seconds(self, span: ReadableSpan) -> tuple[float, float]:
        """From when to when, since the call began."""
        zero = self.call.start_time or 0
        return round(((span.start_time or 0) - zero) / 1e9, 3), round(((span.end_time or 0) - zero) / 1e9, 3)

    def measured(self, name: str) -> list[tuple[dict[str, Any], int, float]]:
        """The attributes, the number and the sum of what was measured under this name."""
        data = self.reader.get_metrics_data()
        points = [
            point
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]
        return [
            (dict(point.attributes or {}), point.count, round(point.sum, 3))
            for point in points
            if isinstance(point, HistogramDataPoint)
        ]


Taken = tuple[object, list[str]]
"""The result or the error, and the pieces of text that were handed over."""


@dataclass
class Runner:
    """One library in one colour, on one virtual clock."""

    library: ModuleType
    colour: str
    clock: VirtualTime = field(default_factory=VirtualTime)

    def ask(self, client: Callable[[], Any], act: Callable[[Any], Awaitable[Any]]) -> Any:
        """Do it with the client; a synchronous client's methods are called and an asynchronous one's are awaited."""

        async def main() -> Any:
            return await act(client())

        if self.colour == "sync":
            with on(self.clock):
                return _played(main())
        return run_on(self.clock, main, backend=cast("Any", self.colour))

    def client(self, stack: Stack, *answers: Said, **settings: Any) -> Callable[[], Any]:
        """What makes a client over this script, once it is on the clock."""
        kind: Any = FoundryClient if self.colour == "sync" else AsyncFoundryClient

        def make() -> Any:
            wire = scripted(*answers, module=self.library, clock=self.clock)
            settings.setdefault("model", MODEL)
            settings.setdefault("library", self.library.__name__)
            return kind("http://127.0.0.1:5273", stack=stack, transport=wire, **settings)

        return make

    def run(self, told: Told, act: Callable[[Any], Awaitable[Any]], *answers: Said, **settings: Any) -> Any:
        """Do it with a client that asks thrice, behind a status that is known after a quarter of a second."""
        stack = settings.pop("stack", None) or stack_of(told.tracing())
        return self.ask(self.client(stack, STATUS, *answers, **settings), act)


def _played(routine: Any) -> Any:
    """Run a coroutine in which nothing is waited for."""
    try:
        routine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("a synchronous client was awaited")


def runner(named: str) -> Runner:
    """By a name such as `httpx2-trio`."""
    library, _, colour = named.partition("-")
    return Runner(importlib.import_module(library), colour)


def stack_of(*outer: Policy, resume: bool = False, attempts: int = 3) -> Stack:
    """Three attempts, with a second and then two between them, and a guard of streams."""
    retry = Retry(attempts=attempts, backoff=Backoff(base=2.0))
    return Stack(*outer, retry, StreamGuard(resume=resume))


async def maybe(value: Any) -> Any:
    """The value, awaited where it can be."""
    return await value if hasattr(value, "__await__") else value


async def chat(client: Any, *, prompt: str = "to be?", **parameters: Any) -> object:
    """The result of a chat, or its error."""
    try:
        return await maybe(client.complete(prompt, **parameters))
    except Exception as error:  # noqa: BLE001 - the test looks at it
        return error


async def take(client: Any, *, pieces: int | None = None, drop: bool = False, **parameters: Any) -> Taken:
    """Read a stream, to its end or so many pieces; then close it, or drop it as it is."""
    said = client.stream_complete("to be?", **parameters)
    close, got, result = (said.aclose if hasattr(said, "aclose") else said.close), list[str](), None
    try:
        while pieces is None or len(got) < pieces:
            chunk = await anext(said) if hasattr(said, "__anext__") else next(said)
            got.append(chunk.content)
    except (StopIteration, StopAsyncIteration):
        result = said.result()
    except Exception as error:  # noqa: BLE001 - the test looks at it
        result = error
    if not drop:
        await maybe(close())
    with suppress(NameError):
        del said
    return result, got
