"""A tape under the real client, on a virtual clock: what it was sent, what it handed over, and how it ended."""

from __future__ import annotations

import json
import logging
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Final, Literal

import anyio

from resilient_foundry._extras import MissingExtraError, require
from resilient_foundry.errors import ResilienceError
from resilient_foundry.events import Ledger
from resilient_foundry.foundry import AsyncFoundryClient, ChatResult, FoundryClient, FoundryError
from resilient_foundry.foundry.connect import import_library, stack_for
from resilient_foundry.foundry.generations import Generation
from resilient_foundry.harness.evidence import Chunk, Exchange, Request, Response
from resilient_foundry.harness.tapes.player import Reel, UnansweredError, player
from resilient_foundry.harness.tapes.tape import HOST
from resilient_foundry.leaks import LeakError, no_leaks
from resilient_foundry.policies.breaker import CircuitBreaker
from resilient_foundry.policies.budget import RetryBudget
from resilient_foundry.policies.retry import Retry
from resilient_foundry.policies.tracing import Tracing
from resilient_foundry.stack import Stack
from resilient_foundry.testing import VirtualTime, on, run_on

URL: Final = f"http://{HOST}"
_ENOUGH: Final = 10
"""Times that a client may ask the same."""
_STATUS: Final = {
    Generation.ONE: {"endpoints": [URL], "modelDirPath": "/models", "pipeName": None},
    Generation.TWO: {"endpoints": [URL], "modelCachePath": "/models", "pid": 1},
}


@dataclass(frozen=True, slots=True)
class Way:
    """A library and a colour in which a client reads."""

    library: Literal["httpx", "httpx2"] = "httpx"
    colour: Literal["sync", "asyncio", "trio"] = "sync"

    def __str__(self) -> str:
        return f"{self.library}-{self.colour}"


WAYS: Final = tuple(Way(library, colour) for library in ("httpx", "httpx2") for colour in ("sync", "asyncio", "trio"))


@dataclass(frozen=True, slots=True)
class Leave:
    """When the caller goes: closes the stream after so many `pieces`, or its task is cancelled after so many `seconds`.

    Synchronous code can't be cancelled.
    """

    pieces: int | None = None
    seconds: float | None = None


class Ending(Enum):
    """How a call of the client ended; there is no other way."""

    COMPLETE = "complete"
    ERROR = "error"
    CANCELLED = "cancelled"


@dataclass(slots=True)
class Served:
    """An answer as far as the client took it."""

    exchange: Exchange
    pieces_before: int
    """How many pieces had been handed over when it was asked for."""
    at: float
    """When it was asked for."""
    asked_for: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """For each chunk, how many bytes came before it, and how many pieces had been handed over by then."""
    bytes: int = 0
    closed: int = 0


@dataclass(slots=True)
class Run:
    """What happened when a client met a tape. Times are virtual seconds."""

    way: Way
    generation: Generation
    leave: Leave
    served: list[Served] = field(default_factory=list[Served])
    pieces: list[str] = field(default_factory=list[str])
    moments: list[float] = field(default_factory=list[float])
    """When each piece was handed over."""
    ending: Ending | None = None
    error: BaseException | None = None
    result: ChatResult | None = None
    elapsed: float = 0.0
    leaks: str = ""
    spans: tuple[Any, ...] | None = None
    """Those that ended, of OpenTelemetry's SDK; None where that is not installed."""
    spans_begun: int = 0
    span_complaints: list[str] = field(default_factory=list[str])
    circuit_failures: int = 0
    repetitions: int = 0
    """What the retry budget counted."""

    @property
    def ledger(self) -> Ledger | None:
        """That of the call."""
        carrier: Any = self.error if self.error is not None else self.result
        found: object = getattr(carrier, "resilience", None)
        return found if isinstance(found, Ledger) else None


class _Stage(Reel):
    """Answers what leads to a chat, and each chat by the next of these exchanges, at last by the original."""

    def __init__(self, run: Run, script: Sequence[Exchange], original: Exchange, clock: VirtualTime) -> None:
        super().__init__((), clock.pass_)
        self._run = run
        self._script = script
        self._original = original
        self._model = model_of(original)
        self._clock = clock
        self._began = clock.now

    def take(self, request: Request) -> Exchange:
        """What is answered to this request."""
        if request.method == "POST":
            return self._next()
        name = self._model.partition(":")[0]
        match request.path:
            case "/status":
                return _said(request, _STATUS[self._run.generation])
            case "/models/loaded":
                return _said(request, [self._model])
            case "/v1/models":
                known = {"id": self._model if ":" in self._model else name, "parent": name, "object": "model"}
                return _said(request, {"object": "list", "data": [known]})
            case _:
                raise UnansweredError(f"{request} is nothing that a client asks for before a chat")

    def fed(self, exchange: Exchange, chunk: Chunk) -> None:
        """Note how far the client was."""
        if exchange.request.method == "POST":
            served = self._run.served[-1]
            served.asked_for.append((served.bytes, len(self._run.pieces)))
            served.bytes += len(chunk.data)

    def left(self, exchange: Exchange) -> None:
        """Note that the answer was closed."""
        for served in reversed(self._run.served):
            if served.exchange is exchange:
                served.closed += 1
                return

    def _next(self) -> Exchange:
        served = self._run.served
        if len(served) >= _ENOUGH:
            raise UnansweredError(f"the same was asked {_ENOUGH} times")
        exchange = self._script[len(served)] if len(served) < len(self._script) else replace(self._original)
        served.append(Served(exchange, len(self._run.pieces), self._clock.now - self._began))
        return exchange


def play(
    script: Sequence[Exchange],
    original: Exchange | None = None,
    *,
    way: Way | None = None,
    leave: Leave | None = None,
) -> Run:
    """Ask a chat of the client with its own stack, and answer by these exchanges, one an attempt.

    Once they are through, `original` answers, or else the last of them. The caller stays to the end, or may `leave`.
    """
    way = way or Way()
    original = original or script[-1]
    run = Run(way, generation_of(original), leave or Leave())
    clock = VirtualTime()
    began = clock.now
    module = import_library(way.library)
    wire = player(_Stage(run, script, original, clock), module=module, clock=clock)
    budget = _CountedBudget()
    with _spans(run) as provider:
        stack = _stack(budget, provider)
        breaker = next(policy for policy in stack if isinstance(policy, CircuitBreaker))
        settings: dict[str, Any] = {
            "model": model_of(original),
            "library": way.library,
            "transport": wire,
            "stack": stack,
            "load": True,
        }
        try:
            with no_leaks():
                if way.colour == "sync":
                    with on(clock):
                        _ask(run, clock, module, settings)
                else:
                    run_on(clock, _ask_in_a_task, run, clock, module, settings, backend=way.colour)
        except LeakError as leak:
            run.leaks = str(leak)
    run.elapsed = clock.now - began
    run.moments = [moment - began for moment in run.moments]
    run.circuit_failures = breaker.circuit(URL).snapshot(clock.now).failures
    run.repetitions = budget.spent[0]
    return run


def _ask(run: Run, clock: VirtualTime, module: Any, settings: dict[str, Any]) -> None:
    with FoundryClient(URL, **settings) as client, client.stream_complete("Hello") as stream:
        try:
            for chunk in stream:
                _take(run, clock, chunk.content)
                if len(run.pieces) == run.leave.pieces:
                    run.ending = Ending.CANCELLED
                    return
        except Exception as error:  # noqa: BLE001 - looked at
            _failed(run, error, module)
        else:
            _ended(run, stream.result())


async def _ask_in_a_task(run: Run, clock: VirtualTime, module: Any, settings: dict[str, Any]) -> None:
    with anyio.move_on_after(run.leave.seconds) as task:
        await _ask_awaiting(run, clock, module, settings)
    if task.cancelled_caught:
        run.ending = Ending.CANCELLED


async def _ask_awaiting(run: Run, clock: VirtualTime, module: Any, settings: dict[str, Any]) -> None:
    async with AsyncFoundryClient(URL, **settings) as client, client.stream_complete("Hello") as stream:
        try:
            async for chunk in stream:
                _take(run, clock, chunk.content)
                if len(run.pieces) == run.leave.pieces:
                    run.ending = Ending.CANCELLED
                    return
        except Exception as error:  # noqa: BLE001 - looked at
            _failed(run, error, module)
        else:
            _ended(run, stream.result())


def _take(run: Run, clock: VirtualTime, content: str) -> None:
    if content:
        run.pieces.append(content)
        run.moments.append(clock.now)


def _ended(run: Run, result: ChatResult) -> None:
    run.ending, run.result = Ending.COMPLETE, result


def _failed(run: Run, error: Exception, module: Any) -> None:
    run.error = error
    if isinstance(error, (FoundryError, ResilienceError, module.TransportError)):
        run.ending = Ending.ERROR


@dataclass(frozen=True, slots=True, kw_only=True)
class _CountedBudget(RetryBudget):
    spent: list[int] = field(default_factory=lambda: [0], compare=False)

    def spend(self, origin: str, now: float) -> bool:
        """Count what it lets pass."""
        allowed = RetryBudget.spend(self, origin, now)
        self.spent[0] += allowed
        return allowed


def _stack(budget: RetryBudget, provider: Any) -> Stack:
    """The client's own, with a budget and spans that can be looked at."""
    policies = list(stack_for(retries=None, timeout=None))
    for place, policy in enumerate(policies):
        if isinstance(policy, Retry):
            policies[place] = replace(policy, budget=budget)
        elif isinstance(policy, Tracing):
            policies[place] = replace(policy, tracer_provider=provider)
    return Stack(*policies)


@contextmanager
def _spans(run: Run) -> Generator[Any]:
    """A provider of OpenTelemetry's SDK, or None where that is not installed."""
    try:
        sdk = require("opentelemetry.sdk.trace", extra="telemetry")
        resources = require("opentelemetry.sdk.resources", extra="telemetry")
    except MissingExtraError:
        yield None
        return
    begun: list[Any] = []
    ended: list[Any] = []

    def note(_: object, span: Any, parent_context: object = None) -> None:
        del parent_context
        begun.append(span)

    def keep(_: object, span: Any) -> None:
        ended.append(span)

    processor = type("Spans", (sdk.SpanProcessor,), {"on_start": note, "on_end": keep})
    provider = sdk.TracerProvider(resource=resources.Resource.get_empty(), shutdown_on_exit=False)
    provider.add_span_processor(processor())
    complaints = _Complaints(run.span_complaints)
    logger = logging.getLogger("opentelemetry.sdk.trace")
    logger.addHandler(complaints)
    try:
        yield provider
    finally:
        logger.removeHandler(complaints)
        run.spans, run.spans_begun = tuple(ended), len(begun)


class _Complaints(logging.Handler):
    def __init__(self, into: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._into = into

    def emit(self, record: logging.LogRecord) -> None:
        """Keep what the SDK complains of, such as a span that is ended twice."""
        self._into.append(record.getMessage())


def generation_of(exchange: Exchange) -> Generation:
    """The generation of the server that gave this answer."""
    server = exchange.response.header("server") if exchange.response is not None else None
    return Generation.ONE if "kestrel" in (server or "").lower() else Generation.TWO


def model_of(exchange: Exchange) -> str:
    """The model that was asked, as the question names it."""
    try:
        said: Any = json.loads(exchange.request.body)
        return str(said["model"])
    except (ValueError, KeyError, TypeError):
        return "resilience-generic-cpu:1"


def _said(request: Request, value: object) -> Exchange:
    body = json.dumps(value).encode()
    headers = (("content-type", "application/json"), ("content-length", str(len(body))))
    return Exchange(request, Response(200, headers, chunks=(Chunk(0.0, body),)))
