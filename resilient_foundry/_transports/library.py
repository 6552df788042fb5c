"""Any httpx-shaped library, found through the transport that it was given; none is imported here."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import Any

from resilient_foundry import faults
from resilient_foundry._transports.body import AsyncBody, SyncBody
from resilient_foundry.errors import ResilienceError


@dataclass(frozen=True, slots=True)
class Streams:
    """Our bodies as the library's own SyncByteStream and AsyncByteStream: its clients accept no other."""

    sync: type[Any]
    asynchronous: type[Any]


@dataclass(frozen=True, eq=False)
class Library:
    """The classes of one library that a transport must speak in. They are `Any`: no two libraries share one."""

    name: str
    module: ModuleType
    streams: Streams
    request: type[Any]
    byte_stream: type[Any]
    timeout: type[Exception]
    """Three of its classes that every call asks for."""
    dressed: dict[type[ResilienceError], type[ResilienceError]] = field(default_factory=dict[Any, Any])

    def __getattr__(self, name: str) -> Any:  # the library's public namespace
        return getattr(self.module, name)

    def dress(self, error: ResilienceError) -> ResilienceError:
        """The same error as a class that is also the library's TransportError, or TimeoutException."""
        kind = type(error)
        foreign: type[Exception] = self.module.TransportError
        if issubclass(kind, foreign):
            return error
        worn = self.dressed.get(kind)
        if worn is None:
            base = self.module.TimeoutException if kind.kind == "timeout" else self.module.TransportError
            about = {"__module__": kind.__module__, "__doc__": kind.__doc__, "plain": kind}
            worn = self.dressed[kind] = type(kind.__name__, (kind, base), about)
        facts = dict(error.__dict__)
        fresh = worn(str(error))
        fresh.__dict__.update(facts)
        fresh.__cause__ = error.__cause__
        fresh.__suppress_context__ = True
        dressed: ResilienceError = fresh.with_traceback(error.__traceback__)
        return dressed

    def is_timeout(self, error: BaseException) -> bool:
        """Whether a time limit of the library passed."""
        return isinstance(error, self.timeout)


@cache
def library(name: str) -> Library:
    """The library of this name, which has been imported by whoever made the transport."""
    module = sys.modules[name]
    faults.learn(vars(module))
    return Library(
        name,
        module,
        Streams(
            sync=type("SyncBody", (SyncBody, module.SyncByteStream), {}),
            asynchronous=type("AsyncBody", (AsyncBody, module.AsyncByteStream), {}),
        ),
        module.Request,
        module.ByteStream,
        module.TimeoutException,
    )


_METHODS = {"BaseTransport": "handle_request", "AsyncBaseTransport": "handle_async_request"}


def library_of(transport: object) -> Library:
    """The library whose BaseTransport or AsyncBaseTransport this is; TypeError says what it was instead."""
    for kind in type(transport).__mro__:
        method = vars(kind).get(_METHODS.get(kind.__name__, ""))
        if method is not None:
            # Of the method, for openai 3 writes its own name on the class: `httpx2.BaseTransport.__module__ = "openai"`
            return library(method.__module__.partition(".")[0])
    if isinstance(transport, type):
        raise TypeError(f"a stack stands over a transport, not over a class: write {transport.__name__}()")
    raise TypeError(
        f"a stack stands over a transport, such as httpx.HTTPTransport() or httpx2.AsyncHTTPTransport(), "
        f"not over {described(transport)}; a transport of your own derives from the library's BaseTransport"
    )


def described(thing: object) -> str:
    """A class by its public name: `httpx.HTTPTransport`."""
    kind = type(thing)
    return f"{kind.__module__.partition('.')[0]}.{kind.__qualname__}"


def colours_of(transport: object) -> frozenset[str]:
    """`sync`, `async` or both."""
    return frozenset(_colours(type(transport).__mro__))


def _colours(kinds: Iterable[type]) -> Iterable[str]:
    for kind in kinds:
        if kind.__name__ == "BaseTransport":
            yield "sync"
        elif kind.__name__ == "AsyncBaseTransport":
            yield "async"
