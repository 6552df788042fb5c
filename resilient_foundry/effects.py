"""What is asked and answered between a policy and its driver: each question a frozen value, and what it speaks of."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from resilient_foundry.events import BodyEnd, Event, Listener
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
    """Wait until the signal is given, or the monotonic moment `until` has come; gives whether the signal was given.

    With `apart`, who was woken together goes on one by one, where the transport underneath can't bear them all at once.
    """

    signal: Signal
    until: float | None
    apart: bool = False


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
