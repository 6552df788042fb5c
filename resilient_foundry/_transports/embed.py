"""A client of any httpx-shaped library, and the transports that it made: found, and covered where they stand.

httpx has no public way to them, and `transport=` costs a client its proxies, mounts, `verify`, `cert`, `http2` and
`limits`. So this module, and no other, knows the two private names under which httpx keeps them; where a release has
them no more, nothing is covered and the caller is told so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from resilient_foundry._transports.bind import Surface
from resilient_foundry._transports.library import described
from resilient_foundry.errors import StackError

_DEFAULT, _MOUNTS = "_transport", "_mounts"


def cover(client: Any, stack: object, over: Callable[[Any], Any]) -> None:
    """Put what `over` makes of it in the place of each transport of the client: of all, or of none.

    Raises TypeError for what is no client, StackError where this stack is over it already, and RuntimeError where the
    library has changed.
    """
    default, mounts = _transports_of(client)
    distinct = {id(transport): transport for transport in (default, *mounts.values()) if transport is not None}
    for transport in distinct.values():
        if _has(transport, stack):
            raise StackError(f"this stack is over this {described(client)} already: put it over a client once")
    covered = {key: over(transport) for key, transport in distinct.items()}
    setattr(client, _DEFAULT, covered[id(default)])
    setattr(client, _MOUNTS, {where: covered.get(id(transport)) for where, transport in mounts.items()})


def _transports_of(client: Any) -> tuple[Any, dict[Any, Any]]:
    if isinstance(client, type):
        raise TypeError(
            f"a stack is put over a client, not over a class: write stack.client({client.__name__}, ...), "
            f"or wrap({client.__name__}(...), stack)"
        )
    if not (callable(getattr(client, "send", None)) and callable(getattr(client, "build_request", None))):
        raise TypeError(
            f"a stack is put over a client, such as httpx.Client() or httpx2.AsyncClient(), not over "
            f"{described(client)}; an SDK is given one, mostly as http_client="
        )
    default: Any = getattr(client, _DEFAULT, None)
    mounts: Any = getattr(client, _MOUNTS, None)
    if default is None or mounts is None:
        raise RuntimeError(
            f"{described(client)} keeps its transports elsewhere than httpx 0.28 and httpx2 2.16 do, and nothing was "
            f"put over them: make it with transport=stack.over(...) instead"
        )
    return default, mounts


def policies_over(client: Any) -> Iterator[object]:
    """The policies that this client's calls go through, outermost first; none where it has no transport of ours."""
    transport: Any = getattr(client, _DEFAULT, None)
    while isinstance(transport, Surface):
        stack: Any = transport.stack  # a Stack, which stands further up
        yield from stack
        transport = transport.wrapped


def _has(transport: Any, stack: object) -> bool:
    while isinstance(transport, Surface):
        if transport.stack == stack:
            return True
        transport = transport.wrapped
    return False
