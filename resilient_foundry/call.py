"""What a call carries with its request: what the caller says of it, and what its legs have in common."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Protocol, TypeGuard, TypeVar, cast, runtime_checkable

from resilient_foundry.events import Attempt, Ledger
from resilient_foundry.flow import Request, Response, Watcher

R = TypeVar("R", bound=Request)

OPTIONS = "resilience"
"""`request.extensions` key: what the caller says about one call, a `CallOptions` or a mapping of its fields."""
SHARED = "resilience.shared"
"""`request.extensions` key: what redirects, legs of an authentication and nested stacks share, a `Shared`."""
IDLE = "resilience.idle"
"""`request.extensions` key: seconds allowed between two chunks of the answer's body."""
CIRCUIT = "resilience.circuit"
"""`request.extensions` key: what tells the circuit of this request from others of its origin, such as a model."""
HEDGE = "resilience.hedge"
"""`request.extensions` key: whether this request runs beside one of the same call that is under way."""
ASIDE = "resilience.aside"
"""`request.extensions` key: whether this request is a question beside the call, and none of its attempts. A text names
what such questions are asked for: in traces they stand under a span of that name."""
TARGET = "resilience.target"
"""`response.extensions` key: which target of a `Fallback` gave this answer, where it was not who was asked first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """What the caller knows about one call: `client.post(url, extensions={"resilience": CallOptions(...)})`.

    `repeatable` says that doing the call twice does no harm (True), or that it does (False); None goes by the method.
    `retry=False` lets this call go out once. `elastic` says that `AttemptTimeout(growth=...)` may outgrow the limits
    which the request itself carries. `deadline` (seconds) replaces the one of the stack. `name` and
    `attributes` describe the call in traces; keep prompts and secrets out of them. `template` is the path with names in
    the place of what varies, as `/users/{id}`. `kind` is the kind of the logical span, `internal` or `client`. Of the
    calls that wait for a place of a limiter, the highest `priority` goes first.
    """

    repeatable: bool | None = None
    retry: bool = True
    elastic: bool = False
    deadline: float | None = None
    name: str | None = None
    template: str | None = None
    kind: str = "internal"
    priority: int = 0
    attributes: Mapping[str, str | int | float | bool] = field(default_factory=dict[str, str | int | float | bool])

    def __post_init__(self) -> None:
        deadline: object = self.deadline
        if deadline is not None and not (_is_a_number(deadline) and deadline > 0):
            raise ValueError(f"CallOptions.deadline is a positive number of seconds or None, not {deadline!r}")
        for name in ("repeatable", "retry", "elastic"):
            said: object = getattr(self, name)
            if not isinstance(said, bool) and not (said is None and name == "repeatable"):
                raise ValueError(f"CallOptions.{name} is True or False, not {said!r}")
        priority: object = self.priority
        if type(priority) is not int:
            raise ValueError(f"CallOptions.priority is a whole number, not {priority!r}")
        if self.kind not in {"internal", "client"}:
            raise ValueError(f"CallOptions.kind is 'internal' or 'client', not {self.kind!r}")


CLOCK_STEP = 0.005
"""Seconds. Timers of operating systems may fire a few milliseconds before the deadline that they were set to."""


class Shared:
    """What all legs of one call hold in common. httpx copies extensions to the next leg; this object stays the same."""

    until: float | None = None
    """The monotonic moment by which the call must be answered, while one of its legs is under way."""
    carried: float | None = None
    """That moment, between two legs."""
    with_body = False
    """Whether it also covers the body of an answer that is no stream of events."""
    answered: int | None = None
    """A hash of what the request of the last leg looked like, where the client may send another leg after its answer.
    The very same request once more is no leg but another call."""
    retries = 0
    """How many attempts of this call were not the first one, over all its legs and nested stacks."""
    counted: object = None
    """The budget that has counted this call already."""
    harmless = False
    """Whether a policy further in knows that doing the call twice does no harm."""
    moment = math.inf
    """When the innermost part under a limit must be over, for synchronous code, which looks at it between reads."""
    scopes: list[tuple[Any, float]] | None = None
    """The cancel scopes of the parts under a limit, and when they must be over, on the event loop's clock."""
    passage: Passage | None = None
    """The shortcut that the leg under way has left, until its first attempt has been told to the flows."""
    limit: tuple[float, float] | None = None
    """The seconds of the last deadline that was set for it, and its moment."""
    under_way = False
    """Whether a leg is under way; a stack over a stack takes part in it."""


def shared_of(request: Request) -> Shared:
    """What this request has in common with the other legs of its call."""
    shared: Shared | None = request.extensions.get(SHARED)
    if shared is None:
        shared = request.extensions[SHARED] = Shared()
    return shared


NO_SHORTCUT = object()
"""What `Shortcut.take` gives where the flow of the policy is to be asked."""


class Taken(Protocol):
    """What a policy took for a call that is on its shortcut, such as a place: it is given back in one of three ways."""

    policy: Any

    def put_back(self) -> None:
        """Nothing was sent: be as if nothing had been taken."""
        ...

    def completed(self, response: Response, ledger: Ledger, at: float) -> None:
        """The body of a good answer was read to its end, at this moment."""
        ...

    def watcher(self, response: Response, ledger: Ledger) -> Watcher:
        """Who is to be told how a body ended that was not."""
        ...


class Traced(Protocol):
    """The spans of a call that is on its shortcut."""

    def open(self, ledger: Ledger, began: float, wall: float) -> Mapping[str, str]:
        """Begin them, as the call goes out; gives the headers that go with it. `wall` is seconds since 1970 UTC."""
        ...

    def enter(self) -> None:
        """Have whatever is done from here on stand under them."""
        ...

    def leave(self) -> None:
        """Have what is done from here on stand where it stood before."""
        ...


class Passage(Protocol):
    """A call before it goes out: what is known of it, and what its first attempt is to keep to."""

    request: Request
    options: CallOptions
    shared: Shared
    began: float
    """Monotonic seconds."""
    origin: str
    limits: Mapping[str, float | None] | None
    """Seconds for each phase of the attempt; None for those that the request carries."""
    idle: float | None
    """Seconds between two chunks of the answer's body."""
    budget: Any
    """The `RetryBudget` that is to count the call when it goes out."""
    traced: Traced | None
    """What makes spans of the call when it goes out."""

    def taken_by(self, policy: object) -> Any:
        """What this policy took, a `Taken`."""
        ...


@runtime_checkable
class Shortcut(Protocol):
    """A policy that can let a call pass without being asked question by question.

    Where all policies of a stack can, a driver lets each of them take what it needs, sends the request, and is done
    once a good answer has come: no flow runs. Where one of them would not, nothing was taken and the flows run. Where
    something else than a good answer comes, the flows run too, from the beginning: each finds what was taken for it
    (`passage_of`), and the first attempt is told to them as it was. So a flow is the whole of what a policy does, and
    a shortcut the part of it that happens where nothing happens.
    """

    def take(self, call: Passage) -> Any:
        """What the call needs of this policy, a `Taken` or None for nothing; or `NO_SHORTCUT`."""
        ...


def passage_of(request: Request) -> Passage | None:
    """The shortcut that the call has left, where its flows are asked after the first attempt has been made."""
    shared: Shared | None = request.extensions.get(SHARED)
    return None if shared is None else shared.passage


_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "QUERY"})
"""RFC 9110 section 9.2.2, and QUERY of draft-ietf-httpbis-safe-method-w-body."""


def may_be_repeated(request: Request) -> bool:
    """Whether doing the call twice does no harm: the caller's word, or else the method, or an `Idempotency-Key`."""
    said = options_of(request).repeatable
    return said if said is not None else request.method in _IDEMPOTENT or "idempotency-key" in request.headers


_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "QUERY"})
"""RFC 9110 section 9.2.1, and QUERY."""


def may_run_beside_itself(request: Request) -> bool:
    """Whether the call may be under way twice at once, of which the one that comes last may be the one that lost.

    The caller's word, or else a safe method, or an `Idempotency-Key`: a PUT or a DELETE may be done twice, but not in
    any order with others.
    """
    said = options_of(request).repeatable
    return said if said is not None else request.method in _SAFE or "idempotency-key" in request.headers


MORE_LEGS = frozenset({301, 302, 303, 307, 308, 401, 407})
"""After these the client may send another leg of the same call (RFC 9110 sections 15.4 and 11)."""

ATTEMPT = "resilience.attempt"
"""`response.extensions` key: the `Attempt` that the answer belongs to."""


def attempt_of(response: Response) -> Attempt | None:
    """The attempt that this answer belongs to; None for one that a policy gave itself."""
    attempt: Attempt | None = response.extensions.get(ATTEMPT)
    return attempt


def belongs_to(response: Response, attempt: Attempt) -> None:
    """Write on the answer which attempt it belongs to."""
    response.extensions[ATTEMPT] = attempt


def with_extensions(request: R, extensions: dict[str, Any], more: Mapping[str, str] | None = None) -> R:
    """The same request with these extensions, and headers of its own, `more` among them.

    As `derive`, for the common case and a fifth of the time: the rest is shared, and nobody changes it.
    """
    try:
        fresh: R = object.__new__(type(request))
        fresh.__dict__.update(request.__dict__)
    except (AttributeError, TypeError):  # of a library whose requests are made otherwise
        return derive(request, headers=more, extensions=extensions)
    headers: Any = request.headers  # the library's own Headers
    fresh.__dict__["headers"] = headers = type(headers)(headers)
    fresh.__dict__["extensions"] = extensions
    if more:
        for name, value in more.items():
            headers[name] = value
    return fresh


def _is_a_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


NO_OPTIONS = CallOptions()
_OPTION_NAMES = frozenset(option.name for option in fields(CallOptions))


def options_of(request: Request) -> CallOptions:
    """What the caller said about this call; raises ValueError that names an unknown option."""
    given = request.extensions.get(OPTIONS)
    if given is None:
        return NO_OPTIONS
    if isinstance(given, CallOptions):
        return given
    if isinstance(given, Mapping):
        said = cast("Mapping[str, Any]", given)  # whatever the caller wrote: checked by the next lines
        unknown = sorted(set(said) - _OPTION_NAMES)
        if not unknown:
            return CallOptions(**said)
        raise ValueError(f"unknown resilience option {unknown[0]!r}; known are {', '.join(sorted(_OPTION_NAMES))}")
    raise ValueError(f"extensions['resilience'] is a CallOptions or a mapping, not {type(given).__name__}")


def derive(
    request: R,
    *,
    method: str | None = None,
    url: Any = None,
    headers: Mapping[str, str] | None = None,
    without: Iterable[str] = (),
    content: bytes | None = None,
    extensions: Mapping[str, Any] | None = None,
) -> R:
    """The same request with another method, URL (a text, or of its own library), body, headers or extensions.

    The one given is left as it is. Headers named in `without` (lower case) are left out. With a URL comes its
    `Host`, with a body its length.
    """
    if isinstance(url, str):
        url = type(request.url)(url)  # type: ignore[call-arg]  # a Protocol says nothing of constructors
    left_out = {*without, *(_TELL_THE_LENGTH if content is not None else ())}
    all_headers: Any = request.headers  # the library's own Headers
    kept = all_headers if not left_out else [line for line in all_headers.multi_items() if line[0] not in left_out]
    stream: Any = request.stream  # type: ignore[attr-defined]  # the body passes through policies unseen
    body: dict[str, Any] = {"stream": stream} if content is None else {"content": content}
    fresh: R = type(request)(  # every httpx-shaped library constructs its Request so
        method or request.method,  # type: ignore[call-arg]  # a Protocol says nothing of constructors
        request.url if url is None else url,
        headers=kept,
        extensions={**request.extensions, **(extensions or {})},
        **body,
    )
    if url is not None:
        fresh.headers["Host"] = url.netloc.decode("ascii")
    for name, value in (headers or {}).items():
        fresh.headers[name] = value
    if content is None and lies_in_memory(request):
        fresh.read()  # type: ignore[attr-defined]  # a transport further in may look at the content
    return fresh


_TELL_THE_LENGTH = frozenset({"content-length", "transfer-encoding"})


def lies_in_memory(request: Request) -> bool:
    """Whether the body lies in memory, where several can read it at once.

    httpx raises RequestNotRead, a RuntimeError, where it does not.
    """
    try:
        return request.content is not None  # type: ignore[attr-defined]  # policies see no content
    except (AttributeError, RuntimeError):
        return False
