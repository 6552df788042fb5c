"""Cures, where what they cure is not the point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from resilient_foundry.call import derive
from resilient_foundry.flow import Flow, Proceed, Request, Response, discard


class Nothing:
    """Notices nothing, and mends nothing."""

    name = "nothing_done"
    doing = "doing nothing about"
    failures: tuple[type[Exception], ...] = ()

    def prepare(self, request: Request) -> Request:
        """As it is."""
        return request

    def noticed(self, request: Request, failure: Response | Exception) -> Flow[str | None]:
        """Whatever it is."""
        yield from ()
        del request, failure
        return None

    def mend(self, request: Request, proceed: Proceed, thing: str) -> Flow[str]:
        """Never asked."""
        yield from ()
        del request, proceed
        return thing


class StuckError(Exception):
    """The door does not open."""


@dataclass(frozen=True)
class Opening:
    """Opens the door where it is locked (423), by asking `/open`, whatever that answers but a failure."""

    name = "door_opened"
    doing = "opening"
    failures = (StuckError,)

    def prepare(self, request: Request) -> Request:
        """As it is."""
        return request

    def noticed(self, request: Request, failure: Response | Exception) -> Flow[str | None]:
        """A locked door."""
        yield from ()
        del request
        return "the door" if getattr(failure, "status_code", 0) == 423 else None

    def mend(self, request: Request, proceed: Proceed, thing: str) -> Flow[str]:
        """Ask for it."""
        url: Any = request.url
        response = yield from proceed(derive(request, method="PUT", url=url.copy_with(path="/open"), content=b"please"))
        yield from discard(response)
        if response.status_code >= 400:
            raise StuckError(f"the lock said {response.status_code}")
        return f"{thing}, with a key"
