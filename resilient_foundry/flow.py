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

from collections.abc import Callable, Generator, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, Protocol, TypeVar, runtime_checkable

from resilient_foundry.events import BodyEnd, Event, Ledger, Listener
from resilient_foundry.signal import Signal

T = TypeVar("T")


class URL(Protocol):
    """What a policy reads of a URL."""

    @property
    def scheme(self) -> str: ...
    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int | None: ...
    @property
    def path(self) -> str: ...
    @property
    def raw_path(self) -> bytes: ...
    def copy_with(self, **parts: Any) -> Any: ...  # another URL of the same library


class Request(Protocol):
    """What a policy reads of a request, whichever library it belongs to."""

    @property
    def method(self) -> str: ...
    @property
    def url(self) -> URL: ...
    @property
    def headers(self) -> MutableMapping[str, str]: ...
    @property
    def extensions(self) -> MutableMapping[str, Any]: ...  # the libraries' own type


class Response(Protocol):
    """What a policy reads of an answer, whichever library it belongs to."""

    @property
    def status_code(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def extensions(self) -> MutableMapping[str, Any]: ...  # the libraries' own type


class Watcher(Protocol):
    """Is told about a body as it comes off the wire, and when (`at`, monotonic seconds).

    Called in any colour, so it neither blocks nor awaits.
    """

    def chunk(self, data: bytes, at: float) -> None:
        """A piece of the body arrived."""
        ...

    def ended(self, end: BodyEnd, at: float) -> BodyEnd:
        """The body ended. What is returned is what the watchers further out are told."""
        ...


class Source(Protocol):
    """A body that a story pulls from. What it is, is the driver's matter."""

    @property
    def body(self) -> object: ...


class Branch(Generic[T]):
    """A part that runs beside the one that began it, and what became of it once `ended` is given."""

    __slots__ = ("ended", "error", "value")

    def __init__(self) -> None:
        self.ended = Signal()
        self.value: T | None = None
        self.error: Exception | None = None


class Rewind(Protocol):
    """Whether the body of a request can be sent once more."""

    def __call__(self) -> bool:
        """Make the body ready to be sent whole again; False where that cannot be done."""
        ...


@dataclass(frozen=True, slots=True)
class Send:
    """Hand the request to the wrapped transport; gives its response."""

    request: Request


@dataclass(frozen=True, slots=True)
class Discard:
    """Close the response: its connection is free, and what was read of its body can still be read."""

    response: Response | Source


@dataclass(frozen=True, slots=True)
class Preview:
    """Read the body up to `limit` bytes, and hold what was read for whoever reads the response; gives those bytes.

    No further chunk is begun after `seconds`.
    """

    response: Response
    limit: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Peek:
    """Read and hold chunks until `enough()` is true or the body ends."""

    response: Response
    enough: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Within:
    """Run a part; raise TimeoutError once the monotonic `moment` has passed, where the colour can."""

    moment: float
    part: Flow[Any]


@dataclass(frozen=True, slots=True)
class Repeat:
    """Run `part(number)`, numbers from 1, again while `wait_for(error)` gives seconds and attempts are left."""

    part: Callable[[int], Flow[Any]]
    wait_for: Callable[[BaseException], float | bool]
    attempts: int
    name: str


@dataclass(frozen=True, slots=True)
class Sleep:
    """Let some seconds pass."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait until the signal is given, or the monotonic moment `until` has come; gives whether the signal was given."""

    signal: Signal
    until: float | None


@dataclass(frozen=True, slots=True)
class Together:
    """Run a part that may begin others beside it; those that have not ended when it does are cancelled, and awaited.

    Asynchronous calls alone can do that. What the part is given names it to `Begin`.
    """

    part: Callable[[object], Flow[Any]]


@dataclass(frozen=True, slots=True)
class Begin:
    """Begin a part beside the one that asks; gives its `Branch`."""

    group: object
    part: Flow[Any]


@dataclass(frozen=True, slots=True)
class Work:
    """Call what blocks, where it blocks nobody else; gives what it returns, or raises what it raises."""

    work: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Fail:
    """Raise the error of this name of the library that the call belongs to."""

    error: str
    message: str


@dataclass(frozen=True, slots=True)
class Respond:
    """Make an answer, of the library that the call belongs to."""

    status: int
    headers: Mapping[str, str]
    content: bytes


@dataclass(frozen=True, slots=True)
class Pour:
    """Give the response another body: what `story` gives, chunk by chunk, while the caller reads.

    The story is handed the old body, from which it pulls. It may ask for everything that a flow may ask for, also for
    further answers, all of which are closed with the new body. A response that was made with its content keeps it.

    With `in_place` the new body counts as what the attempt brought, and its limits hold for it.
    """

    response: Response
    story: Callable[[Source], Flow[None]]
    in_place: bool = False


@dataclass(frozen=True, slots=True)
class Pull:
    """The next chunk of a body, None after the last; raises what breaks it."""

    source: Source | Response


@dataclass(frozen=True, slots=True)
class Give:
    """Hand a chunk to whoever reads the body; for the story of a `Pour` alone."""

    chunk: bytes


@dataclass(frozen=True, slots=True)
class Pace:
    """Raise the library's ReadTimeout where a chunk is waited for beyond the monotonic moment that `moment(at)` says.

    It is asked before each chunk, at the moment `at`; None is no limit. `longest` (seconds) is the longest silence
    between two chunks that can be within the pace, by which a blocking read is ended.
    """

    response: Response
    moment: Callable[[float], float | None]
    longest: float | None


@dataclass(frozen=True, slots=True)
class Now:
    """The monotonic time, in seconds."""


@dataclass(frozen=True, slots=True)
class Today:
    """The wall clock, in seconds since 1970 UTC; only for reading dates that a server wrote."""


@dataclass(frozen=True, slots=True)
class Draw:
    """A random number in [0, 1)."""


@dataclass(frozen=True, slots=True)
class Tell:
    """Write an event into the ledger of the call."""

    event: Event


@dataclass(frozen=True, slots=True)
class Listen:
    """Pass every later event of this call to `listener`, which neither blocks nor awaits."""

    listener: Listener


@dataclass(frozen=True, slots=True)
class Watch:
    """Have `watcher` told about the body of the response; at once, if the body has ended already."""

    response: Response
    watcher: Watcher


@dataclass(frozen=True, slots=True)
class Remember:
    """Remember how the body of the request begins; gives a `Rewind`."""

    request: Request


@dataclass(frozen=True, slots=True)
class RetryMode:
    """Whether stamina is active, and whether it is in testing mode."""


@dataclass(frozen=True, slots=True)
class History:
    """The ledger of this call."""


Effect = (
    Send
    | Discard
    | Preview
    | Peek
    | Within
    | Repeat
    | Sleep
    | Wait
    | Together
    | Begin
    | Work
    | Fail
    | Respond
    | Pour
    | Pull
    | Give
    | Pace
    | Now
    | Today
    | Draw
    | Tell
    | Listen
    | Watch
    | Remember
    | RetryMode
    | History
)
Flow = Generator[Effect, Any, T]
"""A story that asks, and ends with a value. Answers are Any to the checker; the helpers below give them their types."""
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


def wait(signal: Signal, until: float | None) -> Flow[bool]:
    """Wait for the signal, at most until the monotonic moment; whether it was given."""
    given: bool = yield Wait(signal, until)
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
