"""wrap: a stack over a client that somebody else has made."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from resilient_foundry._transports.embed import cover
from resilient_foundry.stack import Stack

if TYPE_CHECKING:
    import httpx
    import httpx2

C = TypeVar("C", bound="httpx.Client | httpx.AsyncClient | httpx2.Client | httpx2.AsyncClient")


def wrap(client: C, stack: Stack) -> C:
    """This very client, changed in place: every call of it goes through the stack from now on.

    For a client that is there already, say one that an SDK made; `stack.client(httpx.Client, ...)` makes one. The
    stack is put over each transport that the client has, those of its proxies and mounts too, so `verify`, `cert`,
    `http2`, `limits`, and what it reads from the environment stay as they are. Circuits are shared by all of them. A
    mount that is None, for "no proxy here", stays None.

    Raises TypeError for what is no client of httpx, httpx2 or a library of that shape, StackError where this stack is
    over the client already, and RuntimeError where a new release of the library keeps its transports elsewhere. In
    each case the client is left as it was.
    """
    cover(client, stack, stack.over)
    return client
