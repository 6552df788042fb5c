"""A stack and a transport become a transport of the same library and colour.

The classes below are the surface that a client touches; `bind` lets them wear the base classes of whichever library the
wrapped transport belongs to, once a library and colour.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

from resilient_foundry._transports.awaiting import AsyncDriver
from resilient_foundry._transports.blocking import SyncDriver
from resilient_foundry._transports.driver import World
from resilient_foundry._transports.layers import (
    repeated_above,
    warn_of_a_stack_below,
    warn_of_retries_above,
    warn_of_retries_below,
)
from resilient_foundry._transports.library import Library, colours_of, described, library_of
from resilient_foundry._transports.shortcut import Steps
from resilient_foundry.effects import Flow
from resilient_foundry.holders import all_of

CallFlow = Callable[[Any], Flow[Any]]
"""From a request of the library to the flow of the whole call."""


class Surface:
    """What both colours have."""

    def __init__(
        self,
        library: Library,
        inner: Any,
        flow: CallFlow,
        stack: object,
        world: World,
        *,
        repeats: bool,
        steps: Steps | None,
        holds_streams: bool,
    ) -> None:
        self.wrapped = inner
        """The transport underneath."""
        self.closed = 0
        """How often it was closed."""
        self.stack = stack
        """What was put over it."""
        self.repeats = repeats
        """Whether calls are tried again here."""
        self._library = library
        self._flow = flow
        self._world = world
        self._looks_above = repeats
        self.has_failed = False
        """Whether the next request may be one that somebody above sends again, because a call has failed here."""
        self._steps = steps if world.has_shortcuts else None
        self._holds_streams = holds_streams
        self._of_the_library = library.request

    def __repr__(self) -> str:
        return f"{self.stack!r}.over({self.wrapped!r})"

    def look_above(self, request: Any) -> None:
        """Warn, once, where somebody above sends a request again that may be sent again here."""
        if self._looks_above and repeated_above(request):
            self._looks_above = False
            warn_of_retries_above()

    def _checked(self, request: Any) -> Any:
        if self.has_failed:
            self.has_failed = False
            self.look_above(request)
        if not isinstance(request, self._of_the_library):
            raise TypeError(
                f"this transport is made over {described(self.wrapped)}, and the request is a {described(request)}: "
                f"give the stack a transport of the client's own library"
            )
        return request

    def _wrong_colour(self, client: str) -> TypeError:
        return TypeError(
            f"this transport is made over {described(self.wrapped)}, which an {client} can't use: "
            f"give the stack a transport of the client's own colour"
        )

    def __getstate__(self) -> object:
        raise TypeError(
            "a transport holds locks and connections and can't be copied or pickled; make it where it is used"
        )


class SyncSurface(Surface):
    """What `Client` calls."""

    def handle_request(self, request: Any) -> Any:
        """Take the request through the stack."""
        make = self._world.blocking or SyncDriver
        driver = make(self._library, self.wrapped, self._world, self)
        return driver.call(self._checked(request), self._flow, self._steps, holds_streams=self._holds_streams)

    def close(self) -> None:
        """Close the transport underneath. Calls that are under way send nothing more."""
        self.closed += 1
        self.wrapped.close()

    def __enter__(self) -> Any:
        self.wrapped.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.closed += 1
        self.wrapped.__exit__(kind, value, traceback)


class AsyncSurface(Surface):
    """What `AsyncClient` calls."""

    async def handle_async_request(self, request: Any) -> Any:
        """Take the request through the stack."""
        driver = AsyncDriver(self._library, self.wrapped, self._world, self)
        return await driver.call(self._checked(request), self._flow, self._steps, holds_streams=self._holds_streams)

    async def aclose(self) -> None:
        """Close the transport underneath. Calls that are under way send nothing more."""
        self.closed += 1
        await self.wrapped.aclose()

    async def __aenter__(self) -> Any:
        await self.wrapped.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.closed += 1
        await self.wrapped.__aexit__(kind, value, traceback)


class SyncOnlySurface(SyncSurface):
    """Says so when an async client is given it."""

    async def handle_async_request(self, request: Any) -> Any:
        """Refuse; raises TypeError."""
        raise self._wrong_colour(f"AsyncClient ({type(request).__module__.partition('.')[0]})")

    async def __aenter__(self) -> Any:
        raise self._wrong_colour("AsyncClient")

    async def aclose(self) -> None:
        """Nothing async was opened."""


class AsyncOnlySurface(AsyncSurface):
    """Says so when a sync client is given it."""

    def handle_request(self, request: Any) -> Any:
        """Refuse; raises TypeError."""
        raise self._wrong_colour(f"ordinary Client ({type(request).__module__.partition('.')[0]})")

    def __enter__(self) -> Any:
        raise self._wrong_colour("ordinary Client")

    def close(self) -> None:
        """Nothing synchronous was opened."""


class DualSurface(SyncSurface, AsyncSurface):
    """Over a transport that is both, as MockTransport is."""


_SURFACES: dict[frozenset[str], type[Surface]] = {
    frozenset({"sync"}): SyncOnlySurface,
    frozenset({"async"}): AsyncOnlySurface,
    frozenset({"sync", "async"}): DualSurface,
}
_bound: weakref.WeakSet[Surface] = weakref.WeakSet()
_worn: dict[tuple[str, frozenset[str]], type[Any]] = {}


def bind(
    transport: Any,
    flow: CallFlow,
    stack: object,
    world: World,
    *,
    repeats: bool = False,
    steps: Steps | None = None,
    holds_streams: bool = False,
) -> Any:
    """A transport of the same library and colour whose requests go through the flow; raises TypeError for others.

    `repeats` says that the flow may send a request again; whoever else does so, below or above, is warned of once.
    `steps` are those of the shortcut, where there is one; with `holds_streams` streams of events don't take it.
    """
    library = library_of(transport)
    colours = colours_of(transport)
    kind = _worn.get((library.name, colours))
    if kind is None:
        bases = [_SURFACES[colours]]
        if "sync" in colours:
            bases.append(library.BaseTransport)
        if "async" in colours:
            bases.append(library.AsyncBaseTransport)
        kind = _worn[library.name, colours] = type(
            "ResilientTransport", tuple(bases), {"__module__": "resilient_foundry"}
        )
    if repeats:
        _warn_of_others_below(transport)
    bound = kind(library, transport, flow, stack, world, repeats=repeats, steps=steps, holds_streams=holds_streams)
    _bound.add(bound)
    return bound


def busy_connections() -> Counter[str]:
    """The connections with a request on them, in the pools under all transports of ours, in a few words each."""
    return Counter(words for surface in all_of(_bound) for words in _busy(surface.wrapped))


def _busy(transport: Any) -> Iterator[str]:
    pool = getattr(transport, "_pool", None)  # httpx's own transports; those of others tell nothing
    for connection in getattr(pool, "connections", ()):
        if not (connection.is_idle() or connection.is_closed()):
            yield f"a connection is still busy: {connection!r}"


def _warn_of_others_below(transport: Any) -> None:
    while isinstance(transport, Surface):
        if transport.repeats:
            warn_of_a_stack_below(transport.stack)
            return
        transport = transport.wrapped
    warn_of_retries_below(transport)
