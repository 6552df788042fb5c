"""The HTTP client underneath, of whichever library: how it is made, and how requests look that it is given."""

from __future__ import annotations

import importlib
import os
import socket
import struct
import sys
import urllib.request
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from importlib import metadata
from types import ModuleType
from typing import Any, Literal, Protocol

from resilient_foundry import sse
from resilient_foundry._extras import require
from resilient_foundry.call import OPTIONS
from resilient_foundry.flow import Policy
from resilient_foundry.foundry.answers import judge
from resilient_foundry.foundry.asks import NEEDS, Operation, Reply
from resilient_foundry.foundry.operations import LOAD_SECONDS
from resilient_foundry.foundry.wire import check_head
from resilient_foundry.policies.deadline import Deadline
from resilient_foundry.policies.fallback import Fallback
from resilient_foundry.policies.remedy import TRIED
from resilient_foundry.policies.retry import Retry
from resilient_foundry.policies.tracing import Tracing
from resilient_foundry.stack import Stack

LibraryName = Literal["httpx", "httpx2"]

DEFAULT_TIMEOUT = 120.0
"""Seconds until the first byte of an answer: a long prompt takes a local model that long."""
DEFAULT_RETRIES = 2

_CONNECT_SECONDS, _WRITE_SECONDS = 5.0, 30.0
_CONNECTIONS = 32
_KEEPALIVE_SECONDS = 60.0
"""1.x closes idle connections after 130 s, 2.x never."""
_RESET_ON_CLOSE = (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("hh" if os.name == "nt" else "ii", 1, 0))
"""2.2.1 does not notice a polite goodbye and computes the whole answer for nobody; a reset stops it at once."""


class HTTPClient(Protocol):
    """An httpx.Client or httpx2.Client; the two share no class."""

    def send(self, request: Any, *, stream: bool = False) -> Any:
        """Send a request of the library's own."""

    def close(self) -> None:
        """Close the connections."""


class AsyncHTTPClient(Protocol):
    """An httpx.AsyncClient or httpx2.AsyncClient; the two share no class."""

    async def send(self, request: Any, *, stream: bool = False) -> Any:
        """Send a request of the library's own."""

    async def aclose(self) -> None:
        """Close the connections."""


def stack_for(*, retries: int | None, timeout: float | None) -> Stack:
    """What stands before a Foundry Local when nobody says otherwise, but for what mends it."""
    attempts = (DEFAULT_RETRIES if retries is None else retries) + 1
    patience = DEFAULT_TIMEOUT if timeout is None else timeout
    longest = max(LOAD_SECONDS, patience)  # each operation puts its own, shorter patience on its request
    return Stack.inference(
        attempts=attempts, read=longest, deadline=max(longest, attempts * patience), probe="/status", judge=judge
    )


def with_remedies(stack: Stack, remedies: Iterable[Policy]) -> Stack:
    """The stack with these just inside its retries, so that none of its attempts is spent on what can be mended."""
    outside = [
        place for place, policy in enumerate(stack, 1) if isinstance(policy, (Tracing, Deadline, Fallback, Retry))
    ]
    place = max(outside, default=0)
    policies = tuple(stack)
    return Stack.unchecked(*policies[:place], *remedies, *policies[place:])


def make_client(
    library: LibraryName, stack: Stack, *, asynchronous: bool, trust_env: bool, wire: object | None = None
) -> Any:
    """An HTTP client of the library with the stack under it; without environment proxies unless they are trusted.

    `wire` is a transport that stands in for the network.
    """
    module: Any = import_library(library)  # httpx or httpx2: the same names, and no common class
    transport_class = module.AsyncHTTPTransport if asynchronous else module.HTTPTransport
    client_class = module.AsyncClient if asynchronous else module.Client
    limits = module.Limits(
        max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS, keepalive_expiry=_KEEPALIVE_SECONDS
    )

    over: Any = stack.over  # its overloads tell the libraries apart, and here either may come

    def transport(proxy: str | None = None) -> Any:
        return over(
            transport_class(
                limits=limits, proxy=proxy, retries=0, trust_env=trust_env, socket_options=[_RESET_ON_CLOSE]
            )
        )

    mounts = {
        pattern: None if proxy is None else transport(proxy)
        for pattern, proxy in (environment_proxies() if trust_env and wire is None else {}).items()
    }
    return client_class(
        transport=transport() if wire is None else over(wire),
        mounts=mounts,
        trust_env=trust_env,
        timeout=None,
        headers={"User-Agent": f"resilient-foundry/{version()}"},
    )


def environment_proxies() -> dict[str, str | None]:
    """HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY as mounts, which httpx makes only for transports of its own."""
    found = urllib.request.getproxies()
    excepted = [host.strip() for host in found.get("no", "").split(",") if host.strip()]
    if "*" in excepted:
        return {}
    mounts: dict[str, str | None] = {
        f"{scheme}://": found[scheme] for scheme in ("http", "https", "all") if found.get(scheme)
    }
    for host in excepted if mounts else ():
        mounts[f"all://{'*' if host.startswith('.') else ''}{host}"] = None
    return mounts


def import_library(name: LibraryName) -> ModuleType:
    """The HTTP library of this name."""
    if name == "httpx2":
        return require("httpx2", extra="httpx2")
    if name != "httpx":
        raise ValueError(f"library is 'httpx' or 'httpx2', not {name!r}")
    return importlib.import_module("httpx")


def library_of(client: object, *, asynchronous: bool) -> Any:
    """The library that this HTTP client belongs to; TypeError unless it is a client of the right colour."""
    wanted = "AsyncClient" if asynchronous else "Client"
    for kind in type(client).__mro__:
        root = kind.__module__.partition(".")[0]
        if kind.__name__ == wanted and root in {"httpx", "httpx2"}:
            return sys.modules[root]
    raise TypeError(f"http_client is an httpx.{wanted} or httpx2.{wanted}, not {type(client).__qualname__}")


def version() -> str:
    """The version of this package."""
    try:
        return metadata.version("resilient-foundry")
    except metadata.PackageNotFoundError:  # run from its sources
        return "0"


def request_for(
    http: Any,
    url: str,
    operation: Operation[object],
    *,
    api_key: str | None,
    limited: bool,
    more: Mapping[str, object],
) -> Any:
    """The request of an operation, with more extensions; refuses one that the service could not take.

    Requests belong to the library.
    """
    headers = dict(operation.headers)
    if api_key is not None:
        headers["Authorization"] = f"Bearer {api_key}"
    extensions: dict[str, object] = {**more, OPTIONS: operation.options}
    if operation.needs is not None:
        extensions[NEEDS] = operation.needs
    if limited:
        extensions["timeout"] = {
            "connect": _CONNECT_SECONDS,
            "pool": None,
            "write": _WRITE_SECONDS,
            "read": operation.patience,
        }
    request = http.build_request(
        operation.method, url + operation.path, content=operation.body, headers=headers, extensions=extensions
    )
    check_head(request.method, request.url.raw_path, request.headers.raw)
    return request


def reply_of(response: Any, *, streams: bool = False) -> Reply:
    """An answer of the library as the stories take it."""
    return Reply(
        status=response.status_code,
        headers=response.headers,
        body=b"" if streams else response.content,
        streams=streams,
        resilience=response.extensions.get(OPTIONS),
        tried=response.extensions.get(TRIED),
    )


def is_stream(response: Any) -> bool:
    """Whether events follow."""
    return bool(response.status_code < HTTPStatus.MULTIPLE_CHOICES) and sse.announced_by(response.headers)


def explain_refusal(error: Exception, url: str) -> None:
    """Say to a person what a refused connection means here."""
    error.add_note(f"nothing answers at {url}: is Foundry Local running, and is that its present port?")
