"""What can be done to a request, and plans that choose it: plain values, which a `FaultProxy` acts out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, TypeAlias

LONGEST: Final = 60.0  # seconds that a fault may last, so that a test which forgets its client still ends


@dataclass(frozen=True, slots=True)
class Pass:
    """No fault: request and answer are forwarded as they are."""


@dataclass(frozen=True, slots=True)
class Delay:
    """The request is forwarded `seconds` late."""

    seconds: float

    def __post_init__(self) -> None:
        _check_seconds(self.seconds)


@dataclass(frozen=True, slots=True)
class Reset:
    """The connection is reset (RST) when the request has arrived; the server never sees it."""


@dataclass(frozen=True, slots=True)
class CloseSilently:
    """The connection is closed (FIN) without an answer when the request has arrived; the server never sees it."""


@dataclass(frozen=True, slots=True)
class Stall:
    """The request is taken and never answered; after `seconds` the connection is closed. The server never sees it."""

    seconds: float = LONGEST

    def __post_init__(self) -> None:
        _check_seconds(self.seconds)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the proxy's own; the server never sees the request. `Content-Length` is added."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""

    def __post_init__(self) -> None:
        if not 200 <= self.status <= 599:  # noqa: PLR2004 - the range of final answers
            raise ValueError(f"status is {self.status}; it takes that of a final answer, 200 to 599")
        object.__setattr__(self, "headers", MappingProxyType(dict(self.headers)))


@dataclass(frozen=True, slots=True)
class CutBeforeFirstEvent:
    """The head of the answer arrives, and then the connection is closed before any byte of its body."""


@dataclass(frozen=True, slots=True)
class CutAfterEvents:
    """The connection is closed when `events` events of a stream have arrived whole, with no proper end.

    Events are those with fields, `[DONE]` among them; comments pass and do not count. When the stream has fewer, it is
    cut after its last. So with every fault that counts events; an answer that is no stream of events passes.
    """

    events: int

    def __post_init__(self) -> None:
        _check_events(self.events)


@dataclass(frozen=True, slots=True)
class ResetAfterEvents:
    """The connection is reset when `events` events of a stream have been sent whole.

    A reset overtakes what the client has not read yet: it may see fewer.
    """

    events: int

    def __post_init__(self) -> None:
        _check_events(self.events)


@dataclass(frozen=True, slots=True)
class StallAfterEvents:
    """Silence when `events` events of a stream have arrived whole; after `seconds` the connection is closed."""

    events: int
    seconds: float = LONGEST

    def __post_init__(self) -> None:
        _check_events(self.events)
        _check_seconds(self.seconds)


@dataclass(frozen=True, slots=True)
class Truncate:
    """The stream ends after `events` events as if that were all: a proper end of the body, and no `[DONE]`."""

    events: int

    def __post_init__(self) -> None:
        _check_events(self.events)


@dataclass(frozen=True, slots=True)
class InBandError:
    """The stream reports an error after `events` events and ends properly without `[DONE]`, as Foundry Local 2 does."""

    events: int = 0
    message: str = "token generation failed"

    def __post_init__(self) -> None:
        _check_events(self.events)


@dataclass(frozen=True, slots=True)
class Drip:
    """The body of the answer arrives in pieces of `size` bytes, `seconds` apart."""

    size: int = 1
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size is {self.size}; it takes bytes, one or more")
        _check_seconds(self.seconds)


@dataclass(frozen=True, slots=True)
class Comments:
    """Between head and body of a stream, `count` comments (`: keep-alive`), each after `seconds` of silence."""

    count: int
    seconds: float

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError(f"count is {self.count}; it takes a number of comments, none or more")
        _check_seconds(self.count * self.seconds)


Fault: TypeAlias = (
    Pass
    | Delay
    | Reset
    | CloseSilently
    | Stall
    | Answer
    | CutBeforeFirstEvent
    | CutAfterEvents
    | ResetAfterEvents
    | StallAfterEvents
    | Truncate
    | InBandError
    | Drip
    | Comments
)

Plan: TypeAlias = Callable[[int, str, str], Fault]
"""Chooses the fault for a request by its number (1 for the first), its method and its path."""


def each(*faults: Fault) -> Plan:
    """The plan that gives the first requests these faults, one each in order of arrival, and lets the others pass."""
    remaining = iter(faults)
    return lambda _number, _method, _path: next(remaining, Pass())


def each_post(*faults: Fault) -> Plan:
    """The plan that does so for POST requests only: questions to the management of a server pass."""
    remaining = iter(faults)
    return lambda _number, method, _path: next(remaining, Pass()) if method == "POST" else Pass()


def always(fault: Fault) -> Plan:
    """The plan that gives every POST request the same fault, and lets the others pass."""
    return lambda _number, method, _path: fault if method == "POST" else Pass()


def _check_seconds(seconds: float) -> None:
    if not 0 <= seconds <= LONGEST:
        raise ValueError(f"seconds is {seconds:g}; a fault lasts from 0 to {LONGEST:g} seconds")


def _check_events(events: int) -> None:
    if events < 0:
        raise ValueError(f"events is {events}; it takes a number of events, none or more")
