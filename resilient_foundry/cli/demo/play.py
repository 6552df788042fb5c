"""Plays the scenes: asks through the stack, does to the connections what the scene says, and keeps count."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

from resilient_foundry.cli.demo.scenes import Refusing, Scene
from resilient_foundry.errors import CircuitOpenError, ResilienceError
from resilient_foundry.events import (
    AttemptEnded,
    CircuitClosed,
    CircuitHalfOpened,
    CircuitOpened,
    Event,
    Ledger,
    Listener,
    Outcome,
    RetryScheduled,
)
from resilient_foundry.flow import Flow, Proceed, Request, Response, listen
from resilient_foundry.foundry import FoundryClient, FoundryError, StreamInterruptedError, judge
from resilient_foundry.harness.faults import Fault, Pass
from resilient_foundry.harness.proxy import FaultProxy
from resilient_foundry.policies.backoff import Backoff
from resilient_foundry.policies.breaker import CircuitBreaker
from resilient_foundry.policies.deadline import Deadline
from resilient_foundry.policies.retry import Retry
from resilient_foundry.policies.stream_guard import StreamGuard
from resilient_foundry.policies.timeouts import AttemptTimeout
from resilient_foundry.policies.tracing import Tracing
from resilient_foundry.stack import Stack

PROMPT = "Why do calls fail, and what does a resilient program do about it?"
_ROUNDS = 5
"""How often the demo asks a chat again that it got no whole answer to, before it counts it as lost."""
Text = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Listening:
    """A policy of the demo's own: passes on what happens, while it happens."""

    listener: Listener

    def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
        """Listen, and proceed."""
        yield from listen(self.listener)
        return (yield from proceed(request))


def stack(listener: Listener, tracing: Tracing) -> Stack:
    """What the demo puts under its client: the limits of `Stack.inference()`, shortened so that nobody has to wait."""
    return Stack(
        tracing,
        Listening(listener),
        Deadline(15.0),
        Retry(attempts=4, backoff=Backoff(base=0.1, cap=1.0), judge=judge),
        CircuitBreaker(failures=5, open_seconds=2.0, judge=judge),
        AttemptTimeout(connect=1.0, read=1.0, idle=1.0),
        StreamGuard(judge=judge),
    )


@dataclass(slots=True)
class Played:
    """What became of one scene. Seconds."""

    scene: Scene
    answered: bool = False
    attempts: int = 0
    faults: int = 0
    rounds: int = 0
    waited: float = 0.0
    took: float = 0.0
    delivered_before_break: str = ""
    how: str = ""
    ledgers: list[Ledger] = field(default_factory=list[Ledger])


class Stage:
    """The proxy, the client and the counters of a demo."""

    def __init__(self, proxy: FaultProxy, model: str, tracing: Tracing, on_event: Callable[[Event], None]) -> None:
        self.circuit = "closed"
        self._proxy = proxy
        self._model = model
        self._on_event = on_event
        self._refusing = Refusing.NO
        self._played: Played | None = None
        self._client = FoundryClient(proxy.url, stack=stack(self._listen, tracing))

    @contextmanager
    def open(self) -> Generator[Stage]:
        """The stage for the time of the demo."""
        with self._client:
            self._client.health_check()  # learns the generation now, so that only chats are counted
            yield self

    def play(self, scene: Scene, say: Text, again: Callable[[], None]) -> Played:
        """One chat, asked until it is answered. `say` is given its text, `again` is called when it starts anew."""
        played = self._played = Played(scene)
        if scene.refusing is not Refusing.NO:
            self._refusing = scene.refusing
            self._proxy.refuse()
        began = time.perf_counter()
        for played.rounds in range(1, _ROUNDS + 1):
            try:
                self._ask(scene, say, played)
            except CircuitOpenError as error:
                played.how = "circuit open, then a probe"
                wait = (error.retry_after or 0.0) + 0.05
                played.waited += wait
                time.sleep(wait)
            except StreamInterruptedError as error:
                played.delivered_before_break = error.delivered
                played.how = f"{len(error.delivered.split())} words told, asked again"
                again()
            except (FoundryError, ResilienceError, httpx.TransportError) as error:
                played.how = type(error).__name__
                again()
            else:
                played.answered = True
                break
        played.took = time.perf_counter() - began
        self._proxy.accept()
        if played.answered and not played.how and played.attempts > 1:
            played.how = "tried again unseen"
        return played

    def _ask(self, scene: Scene, say: Text, played: Played) -> None:
        if not scene.streamed:
            result = self._client.complete(PROMPT, model=self._model)
            say(result.content)
        else:
            with self._client.stream_complete(PROMPT, model=self._model) as stream:
                for chunk in stream:
                    say(chunk.content)
                result = stream.result()
            if not result.complete:
                raise StreamInterruptedError("the stream ended without its terminator", delivered=result.content)
        if result.resilience is not None:
            played.ledgers.append(result.resilience)

    def _listen(self, event: Event) -> None:
        played = self._played
        match event:
            case AttemptEnded() if played is not None:
                played.attempts += 1
                if event.outcome is not Outcome.COMPLETE or (event.status or 0) >= 400:  # noqa: PLR2004 - RFC 9110
                    played.faults += 1
            case RetryScheduled() if played is not None:
                played.waited += event.wait
                if self._refusing is Refusing.UNTIL_A_RETRY:
                    self._accept()
            case CircuitOpened():
                self.circuit = "open"
                if self._refusing is Refusing.UNTIL_THE_CIRCUIT_OPENS:
                    self._accept()
            case CircuitHalfOpened():
                self.circuit = "half-open"
            case CircuitClosed():
                self.circuit = "closed"
            case _:
                pass
        self._on_event(event)

    def _accept(self) -> None:
        self._refusing = Refusing.NO
        self._proxy.accept()


def absorbed(played: Iterable[Played]) -> dict[str, int]:
    """How many faults of each kind did not cost their chat its answer."""
    counted: Counter[str] = Counter()
    for each in played:
        if each.answered and each.faults:
            counted[each.scene.fault] += each.faults
    return dict(counted)


class Faults:
    """The plan of the proxy: the faults of the scene that plays, one to a chat request, and then none."""

    def __init__(self) -> None:
        self._faults: Iterator[Fault] = iter(())

    def set(self, scene: Scene) -> None:
        """The next scene begins."""
        self._faults = iter(scene.faults)

    def __call__(self, _number: int, method: str, _path: str) -> Fault:
        """The fault for a request."""
        return next(self._faults, Pass()) if method == "POST" else Pass()
