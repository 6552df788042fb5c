"""What the thinking of the client asks of the world: the interface between the stories and the two drivers.

A story is a generator, written once; the synchronous and the asynchronous client answer its questions.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from resilient_foundry.call import CallOptions
from resilient_foundry.foundry.occupancy import Use
from resilient_foundry.foundry.payloads import ChatChunk, ChatResult

if TYPE_CHECKING:
    from resilient_foundry.events import Ledger

NEEDS = "foundry.needs"
"""`request.extensions` key: the model that the request can't do without."""

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. `streams` says that its body is still to come, with `Read`."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    streams: bool = False
    resilience: Ledger | None = None
    tried: str | None = None
    """What was tried in vain against the failure that this answer is."""


@dataclass(frozen=True, slots=True)
class Operation(Generic[T_co]):
    """One exchange as a value: what is sent, how long its first byte may take, and how its answer is read."""

    method: str
    path: str
    read: Callable[[Reply], T_co]
    options: CallOptions
    body: bytes | None = None
    patience: float = 15.0
    """Seconds until the first byte of the answer."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    needs: str | None = None
    """The model that it can't do without."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send it and take in the whole answer; gives a `Reply`."""

    operation: Operation[object]


@dataclass(frozen=True, slots=True)
class Open:
    """Send it and leave the body to `Read`, if the answer is a stream; gives a `Reply`.

    Gives `Broken` where the server cut the connection instead of answering, as 1.x does for streams that it refuses.
    """

    operation: Operation[object]


@dataclass(frozen=True, slots=True)
class Read:
    """The next bytes of the opened answer: bytes, None at the end, or `Broken`."""


@dataclass(frozen=True, slots=True)
class Broken:
    """The transport's error that ended a body."""

    error: Exception


@dataclass(frozen=True, slots=True)
class Find:
    """Look for the service; gives its URL."""


@dataclass(frozen=True, slots=True)
class Enter:
    """Wait, at most so many seconds, until the model may be used so; gives whether it may."""

    use: Use
    seconds: float


@dataclass(frozen=True, slots=True)
class Now:
    """The monotonic time, in seconds."""


@dataclass(frozen=True, slots=True)
class MemoryOf:
    """The bytes that the process with this pid holds, if it is the one that listens at these URLs; else None."""

    pid: int
    endpoints: tuple[str, ...]


Ask = Send | Open | Read | Find | Enter | Now | MemoryOf
Story = Generator[Ask, Any, T]
"""Asks, and ends with a value. Answers are Any to the checker; the helpers below give them their types."""
StreamStory = Generator[Ask | ChatChunk, Any, ChatResult]
"""The same, handing over chunks on its way."""


def send(operation: Operation[T]) -> Story[T]:
    """Send it, and give its answer as a value; raises what the answer means."""
    reply: Reply = yield Send(operation)
    return operation.read(reply)


def open_stream(operation: Operation[T]) -> Story[Reply | Broken]:
    """Send it, and leave the body to be read."""
    reply: Reply | Broken = yield Open(operation)
    return reply


def read() -> Story[bytes | Broken | None]:
    """The next bytes of the opened answer."""
    data: bytes | Broken | None = yield Read()
    return data


def find() -> Story[str]:
    """The URL of the service."""
    url: str = yield Find()
    return url


def enter(use: Use, seconds: float) -> Story[bool]:
    """Wait for the model."""
    entered: bool = yield Enter(use, seconds)
    return entered


def now() -> Story[float]:
    """The monotonic time, in seconds."""
    moment: float = yield Now()
    return moment


def memory_of(pid: int, endpoints: tuple[str, ...]) -> Story[int | None]:
    """The memory of the service's process."""
    size: int | None = yield MemoryOf(pid, endpoints)
    return size
