"""What a call carries with its request: what the caller says of it, and what its legs have in common."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeGuard, TypeVar, cast

from resilient_foundry.flow import Request

R = TypeVar("R", bound=Request)

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


CLOCK_STEP = 0.005
"""Seconds. Timers of operating systems may fire a few milliseconds before the deadline that they were set to."""


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
    moment: float = math.inf
    """When the innermost part under a limit must be over, for synchronous code, which looks at it between reads."""
    scopes: list[tuple[Any, float]] = field(default_factory=list[tuple[Any, float]], repr=False)
    """The cancel scopes of the parts under a limit, and when they must be over, on anyio's clock."""
    under_way: bool = False
    """Whether a leg is under way; a stack over a stack takes part in it."""


def shared_of(request: Request) -> Shared:
    """What this request has in common with the other legs of its call."""
    shared: Shared | None = request.extensions.get(SHARED)
    if shared is None:
        shared = request.extensions[SHARED] = Shared()
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
