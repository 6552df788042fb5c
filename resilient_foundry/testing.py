"""Play the world by hand: rehearse a policy or a stack against scripted answers, in no time and with no network.

    def test_waits_as_long_as_the_server_asks():
        history = rehearse(Retry(attempts=2), busy(retry_after=7), ok())
        assert history.waits == [7.0]

`scripted` makes a transport of any httpx-shaped library that follows the same script under a real client. `on` puts
the time of such a client on a virtual clock, and `run_on` runs an asynchronous one there.

`verify_trace` says whether a trace is as expected, be its spans in memory, in a file or in a Jaeger.

    verify_trace(call("chat *") > [attempt(503), wait(at_least=1.0, by="retry_after"), attempt(200)], exporter)
"""

from __future__ import annotations

import asyncio
import math
import selectors
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import Any, Literal, TypeVar, TypeVarTuple

import anyio
import httpx

from resilient_foundry._transports.blocking import SyncDriver
from resilient_foundry._transports.body import SyncBody
from resilient_foundry._transports.driver import WORLD, World
from resilient_foundry._transports.library import Library, library
from resilient_foundry._transports.turns import Turns
from resilient_foundry.call import OPTIONS, CallOptions
from resilient_foundry.effects import Begin, Effect, Repeat, Together, Wait
from resilient_foundry.events import Event, Ledger, Listener
from resilient_foundry.flow import Branch, Policy
from resilient_foundry.leaks import LeakError, no_leaks
from resilient_foundry.stack import Stack
from resilient_foundry.traces.match import attempt, call, event, exactly, trace_matches, verify_trace, wait

__all__ = [
    "Answer",
    "Failure",
    "History",
    "LeakError",
    "VirtualTime",
    "attempt",
    "busy",
    "call",
    "event",
    "events",
    "exactly",
    "failed",
    "lost",
    "no_leaks",
    "ok",
    "on",
    "rehearse",
    "run_on",
    "scripted",
    "trace_matches",
    "unsent",
    "verify_trace",
    "wait",
]


T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")

_EPOCH = 1.7e9
"""Seconds since 1970 at the zero of a virtual clock."""


@dataclass(slots=True)
class VirtualTime:
    """A clock that moves only when it is told to. Seconds."""

    now: float = 1000.0
    turns: Turns | None = field(default=None, repr=False, compare=False)
    """Whose turn it is, where parts of a call run side by side."""
    drives_a_loop: bool = field(default=False, repr=False, compare=False)
    """Whether an event loop lives on it; see `run_on`."""

    def __call__(self) -> float:
        """The time."""
        return self.now

    def pass_(self, seconds: float) -> None:
        """Let so many seconds pass."""
        if self.turns is None:
            self.now += seconds
        else:
            self.turns.pass_until(self.now + seconds)

    async def sleep(self, seconds: float) -> None:
        """Let so many seconds pass: in a loop that lives on this clock, as one of many who wait there."""
        if self.drives_a_loop:
            await anyio.sleep(seconds)
        else:
            self.pass_(seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the server of a script says: its head `after` so many seconds, then chunks with a `pause` before each.

    `breaks` names an error class of the HTTP library, raised where the body should end. Limits on the request are kept:
    a head or a chunk that comes too late is a ReadTimeout.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    chunks: tuple[bytes, ...] = (b"ok",)
    after: float = 0.0
    pause: float = 0.0
    breaks: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """No answer: an error class of the HTTP library by its name, raised `after` so many seconds."""

    error: str
    after: float = 0.0


Said = Answer | Failure


def ok(content: bytes = b"ok", *, after: float = 0.0) -> Answer:
    """A 200 with this content."""
    return Answer(chunks=(content,) if content else (), after=after)


def busy(*, retry_after: float | str | None = None, status: int = 503) -> Answer:
    """A 503, or a 429, that may say how long to wait."""
    headers = (
        {}
        if retry_after is None
        else {"retry-after": f"{retry_after:g}" if not isinstance(retry_after, str) else retry_after}
    )
    return Answer(status=status, headers=headers, chunks=(b"busy",))


def failed(status: int = 500, content: bytes = b"failed", *, after: float = 0.0) -> Answer:
    """An answer of failure."""
    return Answer(status=status, chunks=(content,), after=after)


def events(*data: str, breaks: str | None = None, pause: float = 0.0) -> Answer:
    """A stream of server-sent events, one a chunk; say `"[DONE]"` where it is to end well."""
    chunks = tuple(f"data: {event}\n\n".encode() for event in data)
    return Answer(headers={"content-type": "text/event-stream"}, chunks=chunks, breaks=breaks, pause=pause)


def unsent(*, after: float = 0.0) -> Failure:
    """The connection was refused: nothing was sent."""
    return Failure(error="ConnectError", after=after)


def lost(*, after: float = 0.0) -> Failure:
    """The connection broke after the request was sent, and before an answer came."""
    return Failure(error="ReadError", after=after)


_PHASES = {
    "ConnectError": ("connect", "ConnectTimeout"),
    "ConnectTimeout": ("connect", "ConnectTimeout"),
    "PoolTimeout": ("pool", "PoolTimeout"),
    "WriteError": ("write", "WriteTimeout"),
    "WriteTimeout": ("write", "WriteTimeout"),
}
"""The phase that a failure happens in, and what is raised when that phase lasts too long; all others fail in `read`."""


def _is_sent(said: Said) -> bool:
    """Whether the request leaves: a connection that never came about reads no body."""
    return isinstance(said, Answer) or _PHASES.get(said.error, ("read", ""))[0] not in {"connect", "pool"}


@dataclass(slots=True)
class Script:
    """What a scripted transport was asked: requests, the bodies of those sent, and how often each answer was closed."""

    answers: list[Said]
    clock: VirtualTime
    requests: list[Any] = field(default_factory=list[Any])
    bodies: list[bytes] = field(default_factory=list[bytes])
    closed: Counter[int] = field(default_factory=Counter[int])
    opened: int = 0

    def take(self, request: Any) -> Said:
        """What is said to this request; AssertionError where the script has nothing more to say."""
        if len(self.requests) >= len(self.answers):
            raise AssertionError(f"the script has {len(self.answers)} answers, and was asked once more")
        said = self.answers[len(self.requests)]
        self.requests.append(request)
        return said

    def head(self, said: Said, limits: Mapping[str, float | None], module: Any) -> tuple[Answer, int]:
        """An answer whose head has arrived, and its number; or the failure raised."""
        if isinstance(said, Failure):
            phase, late = _PHASES.get(said.error, ("read", "ReadTimeout"))
            self._wait(said.after, limits.get(phase), module, late)
            raise getattr(module, said.error)(f"scripted {said.error}")
        self._wait(said.after, limits.get("read"), module, "ReadTimeout")
        self.opened += 1
        return said, self.opened

    def body(self, said: Answer, limits: Mapping[str, float | None], module: Any) -> Iterator[bytes]:
        """The chunks of an answer, in their time."""
        limit = limits.get("read")  # httpcore reads it once a body
        for chunk in said.chunks:
            self._wait(said.pause, limit, module, "ReadTimeout")
            yield chunk
        if said.breaks:
            raise getattr(module, said.breaks)(f"scripted {said.breaks}")

    def _wait(self, seconds: float, limit: float | None, module: Any, error: str) -> None:
        if limit is not None and seconds > limit:
            self.clock.pass_(limit)
            raise getattr(module, error)(f"scripted {error}")
        self.clock.pass_(seconds)


class _ScriptedBody:
    """Wears both stream classes of the library."""

    def __init__(self, script: Script, number: int, chunks: Iterator[bytes]) -> None:
        self._script = script
        self._number = number
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk

    def close(self) -> None:
        """Count."""
        self._script.closed[self._number] += 1

    async def aclose(self) -> None:
        """Count."""
        self.close()


class _ScriptedTransport:
    """Wears both transport classes of the library."""

    def __init__(self, module: Any, body: type[Any], script: Script) -> None:
        self._module = module
        self._body = body
        self.script = script

    def handle_request(self, request: Any) -> Any:
        """Answer as the script says."""
        said = self.script.take(request)
        if _is_sent(said):
            self.script.bodies.append(b"".join(request.stream))
        return self._respond(request, said)

    async def handle_async_request(self, request: Any) -> Any:
        """Answer as the script says."""
        said = self.script.take(request)
        if _is_sent(said):
            self.script.bodies.append(b"".join([chunk async for chunk in request.stream]))
        return self._respond(request, said)

    def _respond(self, request: Any, said: Said) -> Any:
        limits: Mapping[str, float | None] = request.extensions.get("timeout") or {}
        answer, number = self.script.head(said, limits, self._module)
        body = self._body(self.script, number, self.script.body(answer, limits, self._module))
        return self._module.Response(answer.status, headers=dict(answer.headers), stream=body)


def scripted(*answers: Said, module: ModuleType = httpx, clock: VirtualTime | None = None) -> Any:
    """A transport, sync and async, of httpx or of the library given, that answers by the script; see its `.script`."""
    known: Library = library(module.__name__)
    body = type("ScriptedBody", (_ScriptedBody, known.SyncByteStream, known.AsyncByteStream), {})
    kind = type("ScriptedTransport", (_ScriptedTransport, known.BaseTransport, known.AsyncBaseTransport), {})
    return kind(module, body, Script(list(answers), clock or VirtualTime()))


@dataclass(frozen=True, slots=True)
class History:
    """What became of a rehearsed call. Times are virtual seconds."""

    response: httpx.Response | None
    error: BaseException | None
    content: bytes
    """The body as the caller read it, as far as it came."""
    ledger: Ledger
    script: Script
    elapsed: float

    @property
    def waits(self) -> list[float]:
        """The seconds waited between attempts."""
        return self.ledger.waits

    @property
    def events(self) -> list[Event]:
        """What happened, in order."""
        return [event for _, event in self.ledger.events]

    @property
    def sent(self) -> int:
        """How many requests went out."""
        return len(self.script.requests)

    @property
    def status(self) -> int | None:
        """The status that the caller got."""
        return self.response.status_code if self.response is not None else None


class _Group:
    """The parts that run beside another one."""

    def __init__(self) -> None:
        self.branches: list[Branch[Any]] = []
        self.begun: list[object] = []


class _VirtualDriver(SyncDriver):
    """The sync driver, with waits that take no time. Stamina's loop is played by hand."""

    def __init__(
        self,
        known: Library,
        inner: Any,
        world: World,
        *owner: Any,
        time: VirtualTime,
    ) -> None:
        super().__init__(known, inner, world, *owner)
        self._time = time

    def sleep(self, seconds: float) -> None:
        """Time passes at once."""
        self._time.pass_(seconds)

    def wait(self, effect: Wait) -> bool:
        """Nobody else is there who could give the signal meanwhile: it is given already, or never."""
        if effect.signal.is_given:
            return True
        if self._time.turns is not None:
            self._time.turns.wait_for(effect.signal, effect.until)
            return effect.signal.is_given
        if effect.until is None:
            raise AssertionError("the call waits for ever: nobody gives the signal that it waits for")
        self._time.pass_(max(0.0, effect.until - self.clock()))
        return effect.signal.is_given

    def repeat(self, effect: Repeat) -> Any:
        """Repeat as stamina does: ask, then stop at the last attempt, then wait."""
        number = 1
        while True:
            try:
                return self.run(effect.part(number))
            except Exception as error:
                wait = effect.wait_for(error)
                if wait is False or number >= effect.attempts:
                    raise
                self._time.pass_(float(wait))
                number += 1


class _Rehearsal(_VirtualDriver):
    """What runs side by side takes turns."""

    def answer(self, effect: Effect) -> Any:
        """What runs side by side takes turns."""
        match effect:
            case Together():
                return self.together(effect)
            case Begin():
                return self.begin_beside(effect)
            case _:
                return super().answer(effect)

    def together(self, effect: Together) -> Any:
        """Run a part, and cancel what it has begun and not waited for."""
        outer = self._time.turns
        turns = self._time.turns = outer or Turns(self._time)
        group = _Group()
        try:
            value = self.run(effect.part(group))
        finally:
            for begun in group.begun:
                turns.cancel(begun)
            self._time.turns = outer
        for branch in group.branches:
            if isinstance(branch.error, AssertionError):
                raise branch.error
        return value

    def begin_beside(self, effect: Begin) -> Branch[Any]:
        """Run a flow in turns with the one that asks."""
        turns, group = self._time.turns, effect.group
        if turns is None or not isinstance(group, _Group):
            raise AssertionError("a part is begun within `together`")
        branch: Branch[Any] = Branch()

        def part() -> None:
            try:
                branch.value = self.run(effect.part)
            except Exception as error:  # noqa: BLE001 - whoever began it looks at it
                branch.error = error
            branch.ended.give()

        group.branches.append(branch)
        group.begun.append(turns.begin(part))
        return branch


@contextmanager
def on(
    clock: VirtualTime, *, draw: Callable[[], float] = lambda: 0.5, shortcuts: bool = True
) -> Generator[VirtualTime]:
    """Put the stacks over transports, and the clients, that are made in this block, on a virtual clock.

        with on(VirtualTime()) as clock, FoundryClient(url, transport=scripted(busy(), ok(), clock=clock)) as client:
            ...

    Their limits, deadlines, waits and circuits go by that clock; the transports underneath must let time pass on the
    same one, as `scripted` does. An asynchronous client waits in its event loop, so run it by `run_on`. `draw` gives
    the random numbers. stamina's loop is played by hand in synchronous code: its instrumentation is told nothing.
    One clock is for one thread, and a thread that is started in the block is not on it. Without `shortcuts` every
    policy is asked for every call, also where nothing happens: nobody should see a difference.
    """
    world = World(
        monotonic=clock,
        wall=lambda: _EPOCH + clock.now,
        draw=draw,
        blocking=partial(_VirtualDriver, time=clock),
        has_shortcuts=shortcuts,
    )
    token = WORLD.set(world)
    try:
        yield clock
    finally:
        WORLD.reset(token)


def run_on(
    clock: VirtualTime,
    main: Callable[[*Arguments], Awaitable[T]],
    *arguments: *Arguments,
    backend: Literal["asyncio", "trio"] = "asyncio",
    draw: Callable[[], float] = lambda: 0.5,
    shortcuts: bool = True,
) -> T:
    """Run `main(*arguments)` in an event loop that lives on a virtual clock: where every task waits, time jumps on.

    What is made in there is on the clock as by `on`. Nothing real may be waited for: no socket, no thread.
    """
    options: dict[str, Any] = {"loop_factory": partial(_VirtualLoop, clock)}
    if backend == "trio":
        options = {"clock": _trio_clock(clock)}
    before, clock.drives_a_loop = clock.drives_a_loop, True
    try:
        with on(clock, draw=draw, shortcuts=shortcuts):
            return anyio.run(main, *arguments, backend=backend, backend_options=options)
    finally:
        clock.drives_a_loop = before


class _VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop of asyncio, in which waiting takes no time."""

    def __init__(self, clock: VirtualTime) -> None:
        self._virtual = clock
        super().__init__(_VirtualSelector(clock))

    def time(self) -> float:
        """The time of the clock."""
        return self._virtual.now


class _VirtualSelector(selectors.DefaultSelector):
    """Lets time pass where the loop would wait for its next timer."""

    def __init__(self, clock: VirtualTime) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready; or else it is later."""
        if timeout is None:
            return super().select(None)
        ready = super().select(0)
        if not ready and timeout > 0:
            self._clock.now += timeout
        return ready


def _trio_clock(clock: VirtualTime) -> Any:  # trio is imported only where it is used
    import trio.abc  # noqa: PLC0415 - as above

    class TrioClock(trio.abc.Clock):
        """A clock for `trio.run`, which asks how long to sleep when nobody has anything to do."""

        def start_clock(self) -> None:
            """It stands."""

        def current_time(self) -> float:
            """The time of the clock."""
            return clock.now

        def deadline_to_sleep_time(self, deadline: float) -> float:
            """No time: it is that late already. For ever, where nothing is to come."""
            if deadline == math.inf:
                return math.inf
            clock.now = max(clock.now, deadline)
            return 0.0

    return TrioClock()


def rehearse(
    policy: Policy,
    *answers: Said,
    method: str = "GET",
    url: str = "http://foundry.local:5273/v1/models",
    content: Any = None,
    options: CallOptions | None = None,
    timeout: Mapping[str, float | None] | None = None,
    draw: Callable[[], float] = lambda: 0.5,
    clock: VirtualTime | None = None,
    listener: Listener | None = None,
    read: bool = True,
    shortcuts: bool = True,
) -> History:
    """Take one call through a policy or a stack, against these answers, on a virtual clock.

    What a policy begins side by side takes turns on the clock, as it would with an asynchronous client. Every error is
    caught and shown, but for AssertionError: a script that is too short is a mistake of the test.
    `draw` gives the random numbers, a half unless said otherwise. The body is read to its end and closed, or only
    closed with `read=False`. Hand the same `clock` in to rehearse several calls one after the other. Without
    `shortcuts` the policies are asked question by question, also where nothing happens.
    """
    stack = policy if isinstance(policy, Stack) else Stack.unchecked(policy)
    for said in answers:
        _check(said)
    time = clock or VirtualTime()
    transport = scripted(*answers, clock=time)
    extensions: dict[str, Any] = {"timeout": dict(timeout or {})}
    if options is not None:
        extensions[OPTIONS] = options
    request = httpx.Request(method, url, content=content, extensions=extensions)
    driver = _Rehearsal(
        library("httpx"), transport, World(monotonic=time, wall=lambda: _EPOCH + time.now, draw=draw), time=time
    )
    if listener is not None:
        driver.ledger.listen(listener)
    began = time.now
    response: httpx.Response | None = None
    problem: BaseException | None = None
    pieces: list[bytes] = []
    try:
        response = driver.call(
            request,
            stack.around_the_network(),
            stack.shortcut() if shortcuts else None,
            holds_streams=stack.holds_streams,
        )
        if read:  # an answer that a policy made has its content, and nothing to be read
            pieces.extend([response.content] if response.is_stream_consumed else response.stream)  # type: ignore[arg-type]
    except AssertionError:
        raise
    except BaseException as error:  # noqa: BLE001 - the history shows it
        problem = error
    finally:
        if response is not None and isinstance(response.stream, SyncBody):
            response.stream.close()
    return History(response, problem, b"".join(pieces), driver.ledger, transport.script, time.now - began)


def _check(said: object) -> None:
    if not isinstance(said, (Answer, Failure)):
        raise TypeError(f"a script is made of Answer and Failure, such as ok() and unsent(), not of {said!r}")
