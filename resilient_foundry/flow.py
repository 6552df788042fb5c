"""What a policy may ask: the whole interface between thinking and doing.

A policy is a frozen value with one generator method, `flow(request, proceed)`, written the way httpx writes its own
`auth_flow`. It *asks* for everything that touches the world, with `yield from`, and gets the answer back:

    def flow(self, request, proceed):
        started = yield from now()
        response = yield from proceed(request)
        ...
        return response

Drivers answer: a sync one, an async one (asyncio and trio), and `resilient_foundry.testing.rehearse`, which plays the
world by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn, Protocol, TypeVar, runtime_checkable

from resilient_foundry.effects import (
    URL,
    Begin,
    Branch,
    Discard,
    Draw,
    Effect,
    Fail,
    Flow,
    Give,
    History,
    Listen,
    Now,
    Pace,
    Peek,
    Pour,
    Preview,
    Pull,
    Remember,
    Repeat,
    Request,
    Respond,
    Response,
    RetryMode,
    Rewind,
    Send,
    Sleep,
    Source,
    Tell,
    Today,
    Together,
    Wait,
    Watch,
    Watcher,
    Within,
    Work,
)
from resilient_foundry.events import Event, Ledger, Listener
from resilient_foundry.signal import Signal

__all__ = [
    "URL",
    "AttemptPolicy",
    "Branch",
    "Effect",
    "Flow",
    "Particular",
    "Placed",
    "Policy",
    "Proceed",
    "Request",
    "Response",
    "Rewind",
    "Source",
    "Watcher",
    "alter",
    "begin",
    "discard",
    "draw",
    "fail",
    "give",
    "history",
    "listen",
    "now",
    "pace",
    "peek",
    "pour",
    "preview",
    "pull",
    "remember",
    "repeat",
    "respond",
    "retry_mode",
    "send",
    "sleep",
    "tell",
    "today",
    "together",
    "wait",
    "wait_for_any",
    "watch",
    "within",
    "work",
]

T = TypeVar("T")

Proceed = Callable[[Request], Flow[Response]]
"""The rest of the stack, down to the network."""


@runtime_checkable
class Policy(Protocol):
    """What a stack is made of."""

    def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
        """Take the request through this policy."""
        ...


@runtime_checkable
class AttemptPolicy(Protocol):
    """A policy that also stands next to the network, around each single attempt."""

    def attempt(self, request: Request, proceed: Proceed) -> Flow[Response]:
        """Take one attempt through this policy."""
        ...


@runtime_checkable
class Placed(Protocol):
    """A policy that is another one according to what it stands around."""

    def placed(self, *, plain: bool) -> Policy:
        """The policy as it is in a stack in which every call is one attempt (`plain`), or in one that may do more.

        Asked when a stack is put over a transport.
        """
        ...


@runtime_checkable
class Particular(Protocol):
    """A policy that does not suit every transport."""

    def check(self, library: str, colours: frozenset[str]) -> None:
        """Raise TypeError, or warn, where the policy suits no transport of this library and colour (`sync`, `async`).

        Asked when a stack is put over one.
        """
        ...


def send(request: Request) -> Flow[Response]:
    """Hand the request to the wrapped transport."""
    response: Response = yield Send(request)
    return response


def discard(response: Response | Source) -> Flow[None]:
    """Close the response, and free its connection."""
    yield Discard(response)


def preview(response: Response, limit: int, *, seconds: float = 1.0) -> Flow[bytes]:
    """The first bytes of the body, at most `limit`, and what of them comes within some seconds.

    Whoever reads the response later gets them as well.
    """
    seen: bytes = yield Preview(response, limit, seconds)
    return seen


def peek(response: Response, enough: Callable[[], bool]) -> Flow[None]:
    """Read and hold the body until `enough()`, or its end."""
    yield Peek(response, enough)


def within(moment: float, part: Flow[T]) -> Flow[T]:
    """Run a part of the story; TimeoutError once the moment has passed."""
    value: T = yield Within(moment, part)
    return value


def repeat(
    part: Callable[[int], Flow[T]],
    *,
    wait_for: Callable[[BaseException], float | bool],
    attempts: int,
    name: str,
) -> Flow[T]:
    """Run `part(1)`, and again after the seconds that `wait_for` answers to its error. False ends it."""
    value: T = yield Repeat(part, wait_for, attempts, name)
    return value


def sleep(seconds: float) -> Flow[None]:
    """Let some seconds pass."""
    yield Sleep(seconds)


def wait(signal: Signal, until: float | None, *, apart: bool = False) -> Flow[bool]:
    """Wait for the signal, at most until the monotonic moment; whether it was given.

    With `apart`, who was woken together goes on one by one, where the transport underneath can't bear them all at once.
    """
    given: bool = yield Wait(signal, until, apart)
    return given


def together(part: Callable[[object], Flow[T]]) -> Flow[T]:
    """Run a part that may begin others beside it, none of which outlives it; for asynchronous calls alone."""
    value: T = yield Together(part)
    return value


def begin(group: object, part: Flow[T]) -> Flow[Branch[T]]:
    """Begin a part beside the one that asks, within the `together` that named the group."""
    branch: Branch[T] = yield Begin(group, part)
    return branch


def wait_for_any(branches: Iterable[Branch[Any]], until: float | None) -> Flow[bool]:
    """Wait until one of the branches has ended, at most until the monotonic moment; whether one has."""
    one = Signal()
    waited = list(branches)
    for branch in waited:
        branch.ended.hear(one.give)
    try:
        return (yield from wait(one, until))
    finally:
        for branch in waited:
            branch.ended.forget(one.give)


def work(function: Callable[[], T]) -> Flow[T]:
    """Call what blocks, beside the event loop where there is one."""
    value: T = yield Work(function)
    return value


def fail(error: str, message: str) -> Flow[NoReturn]:
    """Raise an error of the library, by its name."""
    yield Fail(error, message)
    raise AssertionError("a driver went on after Fail")  # pragma: no cover


def respond(status: int, headers: Mapping[str, str] | None = None, content: bytes = b"") -> Flow[Response]:
    """An answer that no server gave."""
    response: Response = yield Respond(status, headers or {}, content)
    return response


def pour(response: Response, story: Callable[[Source], Flow[None]]) -> Flow[None]:
    """Give the response another body, told by `story` while it is read."""
    yield Pour(response, story)


def alter(response: Response, story: Callable[[Source], Flow[None]]) -> Flow[None]:
    """Have the body of this attempt told otherwise; to everybody it is what came off the wire."""
    yield Pour(response, story, in_place=True)


def pull(source: Source | Response) -> Flow[bytes | None]:
    """The next chunk of a body, None after the last."""
    chunk: bytes | None = yield Pull(source)
    return chunk


def give(chunk: bytes) -> Flow[None]:
    """Hand a chunk to whoever reads the body that a story tells."""
    yield Give(chunk)


def pace(response: Response, moment: Callable[[float], float | None], *, longest: float | None = None) -> Flow[None]:
    """Limit how long each further chunk is waited for, by a moment that may move."""
    yield Pace(response, moment, longest)


def now() -> Flow[float]:
    """The monotonic time, in seconds."""
    moment: float = yield Now()
    return moment


def today() -> Flow[float]:
    """The wall clock, in seconds since 1970 UTC."""
    moment: float = yield Today()
    return moment


def draw() -> Flow[float]:
    """A random number in [0, 1)."""
    number: float = yield Draw()
    return number


def tell(event: Event) -> Flow[None]:
    """Write an event into the ledger."""
    yield Tell(event)


def listen(listener: Listener) -> Flow[None]:
    """Have every later event of this call passed on."""
    yield Listen(listener)


def watch(response: Response, watcher: Watcher) -> Flow[None]:
    """Have the body watched."""
    yield Watch(response, watcher)


def remember(request: Request) -> Flow[Rewind]:
    """Remember how the body begins, before it is sent for the first time."""
    rewind: Rewind = yield Remember(request)
    return rewind


def retry_mode() -> Flow[tuple[bool, bool]]:
    """Whether stamina is active, and whether it is testing."""
    mode: tuple[bool, bool] = yield RetryMode()
    return mode


def history() -> Flow[Ledger]:
    """The ledger of this call."""
    ledger: Ledger = yield History()
    return ledger
