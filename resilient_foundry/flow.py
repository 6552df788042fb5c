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

from collections.abc import Callable, Generator, Mapping, MutableMapping
from dataclasses import dataclass, field, fields
from typing import Any, Protocol, TypeGuard, TypeVar, cast, runtime_checkable

from resilient_foundry.events import BodyEnd, Event, Ledger, Listener

T = TypeVar("T")
R = TypeVar("R", bound="Request")


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

    response: Response


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


def send(request: Request) -> Flow[Response]:
    """Hand the request to the wrapped transport."""
    response: Response = yield Send(request)
    return response


def discard(response: Response) -> Flow[None]:
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


OPTIONS = "resilience"
"""`request.extensions` key: what the caller says about one call, a `CallOptions` or a mapping of its fields."""
SHARED = "resilience.shared"
"""`request.extensions` key: what redirects, legs of an authentication and nested stacks share, a `Shared`."""
IDLE = "resilience.idle"
"""`request.extensions` key: seconds allowed between two chunks of the answer's body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """What the caller knows about one call: `client.post(url, extensions={"resilience": CallOptions(...)})`.

    `repeatable` says that doing the call twice does no harm (True), or that it does (False); None goes by the method.
    `retry=False` lets this call go out once. `elastic` says that `AttemptTimeout(growth=...)` may outgrow the limits
    which the request itself carries. `deadline` (seconds) replaces the one of the stack. `name` and
    `attributes` describe the call in traces; keep prompts and secrets out of them. `kind` is the kind of the logical
    span, `internal` or `client`.
    """

    repeatable: bool | None = None
    retry: bool = True
    elastic: bool = False
    deadline: float | None = None
    name: str | None = None
    kind: str = "internal"
    attributes: Mapping[str, str | int | float | bool] = field(default_factory=dict[str, str | int | float | bool])

    def __post_init__(self) -> None:
        deadline: object = self.deadline
        if deadline is not None and not (_is_a_number(deadline) and deadline > 0):
            raise ValueError(f"CallOptions.deadline is a positive number of seconds or None, not {deadline!r}")
        for name in ("repeatable", "retry", "elastic"):
            said: object = getattr(self, name)
            if not isinstance(said, bool) and not (said is None and name == "repeatable"):
                raise ValueError(f"CallOptions.{name} is True or False, not {said!r}")
        if self.kind not in {"internal", "client"}:
            raise ValueError(f"CallOptions.kind is 'internal' or 'client', not {self.kind!r}")


@dataclass(slots=True)
class Shared:
    """What all legs of one call hold in common. httpx copies extensions to the next leg; this object stays the same."""

    until: float | None = None
    """The monotonic moment by which the call must be answered, while one of its legs is under way."""
    carried: float | None = None
    """That moment, between two legs."""
    with_body: bool = False
    """Whether it also covers the body of an answer that is no stream of events."""
    answered: int | None = None
    """A hash of what the request of the last leg looked like: the very same once more is no leg but another call."""
    under_way: bool = False
    """Whether a leg is under way; a stack over a stack takes part in it."""


def shared_of(request: Request) -> Shared:
    """What this request has in common with the other legs of its call."""
    shared: Shared = request.extensions.setdefault(SHARED, Shared())
    return shared


def _is_a_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


_NO_OPTIONS = CallOptions()
_OPTION_NAMES = frozenset(option.name for option in fields(CallOptions))


def options_of(request: Request) -> CallOptions:
    """What the caller said about this call; raises ValueError that names an unknown option."""
    given = request.extensions.get(OPTIONS)
    if given is None:
        return _NO_OPTIONS
    if isinstance(given, CallOptions):
        return given
    if isinstance(given, Mapping):
        said = cast("Mapping[str, Any]", given)  # whatever the caller wrote: checked by the next lines
        unknown = sorted(set(said) - _OPTION_NAMES)
        if not unknown:
            return CallOptions(**said)
        raise ValueError(f"unknown resilience option {unknown[0]!r}; known are {', '.join(sorted(_OPTION_NAMES))}")
    raise ValueError(f"extensions['resilience'] is a CallOptions or a mapping, not {type(given).__name__}")


def derive(request: R, *, headers: Mapping[str, str] | None = None, extensions: Mapping[str, Any] | None = None) -> R:
    """The same request with further headers or extensions; the one given is left as it is."""
    fresh: R = type(request)(  # every httpx-shaped library constructs its Request so
        request.method,  # type: ignore[call-arg]  # a Protocol says nothing of constructors
        request.url,
        headers=request.headers,
        stream=request.stream,  # type: ignore[attr-defined]  # the body passes through policies unseen
        extensions={**request.extensions, **(extensions or {})},
    )
    for name, value in (headers or {}).items():
        fresh.headers[name] = value
    if _is_read(request):
        fresh.read()  # type: ignore[attr-defined]  # a transport further in may look at the content
    return fresh


def _is_read(request: Request) -> bool:
    """Whether the content lies in memory. httpx raises RequestNotRead, a RuntimeError, where it does not."""
    try:
        return request.content is not None  # type: ignore[attr-defined]  # policies see no content
    except (AttributeError, RuntimeError):
        return False
