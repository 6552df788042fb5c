"""A cure, where what it cures is not the point."""

from __future__ import annotations

from resilient_foundry.flow import Flow, Proceed, Request, Response


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
