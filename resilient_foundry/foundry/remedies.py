"""What a Foundry Local needs now and then in the middle of a call: a model loaded, or its new address looked up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any, TypeVar

from resilient_foundry.call import ASIDE, CIRCUIT, OPTIONS, attempt_of, derive
from resilient_foundry.errors import CircuitOpenError
from resilient_foundry.faults import Fault, fault_of, legible
from resilient_foundry.flow import Flow, Proceed, Request, Response, discard, now, preview, pull, work
from resilient_foundry.foundry import models, operations
from resilient_foundry.foundry.answers import error_of
from resilient_foundry.foundry.asks import NEEDS, Enter, Now, Operation, Reply, Send, Story
from resilient_foundry.foundry.errors import ModelNotLoadedError, ServiceNotFoundError
from resilient_foundry.foundry.locate import Lookup, is_here
from resilient_foundry.foundry.occupancy import Waiter
from resilient_foundry.foundry.session import Session
from resilient_foundry.origin import origin
from resilient_foundry.policies.remedy import Remedy
from resilient_foundry.telemetry.names import STABLE

T = TypeVar("T")

_BODY_OF_A_REFUSAL = 8 * 1024
_REST_OF_A_LOAD = 30.0
"""Seconds until a model that could not be loaded is tried again."""
_REST_OF_A_SEARCH = 2.0
"""Seconds until a service that was not found is looked for again; a restart takes about as long."""
_LOAD, _FIND = (STABLE.management.format(operation=name) for name in ("load_model", "find_service"))
"""What is done, as traces call it."""
_NOTHING_SECRET = frozenset({"user-agent"})
"""The headers that go to an address before it is known who listens there."""


def remedies_for(session: Session, *, lookup: Callable[[], Lookup] | None) -> Iterator[Remedy]:
    """What mends the calls of this client: loading if the session `loads`, and finding if there is where to look."""
    if session.loads:
        yield Remedy(Loading(session), pause=_REST_OF_A_LOAD)
    if lookup is not None:
        yield Remedy(Finding(session, lookup), pause=_REST_OF_A_SEARCH)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Loading:
    """Loads the model that a call needs and that is not in memory; from the service's disk, never from elsewhere."""

    session: Session
    name = "model_loaded"
    doing = "loading"

    @property
    def failures(self) -> tuple[type[Exception], ...]:
        """What the service says, and what does not reach it."""
        return self.session.failures

    def prepare(self, request: Request) -> Request:
        """A loaded model changes nothing about the request."""
        return request

    def noticed(self, request: Request, failure: Response | Exception) -> Flow[str | None]:
        """The model that is missing: a 400 with these words is sent before anything is done (2.2.1 and 1.2.4)."""
        needed: str | None = request.extensions.get(NEEDS)
        if needed is None or isinstance(failure, Exception) or not self.session.may_load(needed):
            return None
        if not _is_for(self.session, request) or request.extensions.get(CIRCUIT, needed) != needed:
            return None  # another target of the caller's own stack, or another model
        if request.method == "GET":
            return needed  # of which it is known that it is not loaded: see `operations.wanted`
        if failure.status_code != HTTPStatus.BAD_REQUEST:
            return None
        body = legible(failure.headers, (yield from preview(failure, _BODY_OF_A_REFUSAL)))
        means = error_of(failure.status_code, failure.headers, body, self.session.generation)
        return needed if isinstance(means, ModelNotLoadedError) else None

    def mend(self, request: Request, proceed: Proceed, thing: str) -> Flow[str]:
        """Load it, as `load_model` does."""
        story = models.load_needed(self.session, thing)
        result = yield from _played(self.session, story, request, proceed, aside=_LOAD)
        return result.id or thing


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Finding:
    """Finds the service again after its address changed, as it does at every restart; all later calls go there.

    Nothing but a question without any secret goes to the new address before a Foundry Local has answered there, and
    nothing at all to another machine.
    """

    session: Session
    lookup: Callable[[], Lookup]
    name = "service_found"
    doing = "looking for the service that was at"

    @property
    def failures(self) -> tuple[type[Exception], ...]:
        """What the service says, and what does not reach it."""
        return self.session.failures

    def prepare(self, request: Request) -> Request:
        """The request to the present address."""
        url: Any = request.url  # the library's own
        for base in self.session.former:
            rest = _rest_of(url, base)
            if rest is not None:
                return derive(request, url=type(url)(f"{self.session.url}{rest}"))
        return request

    def noticed(self, request: Request, failure: Response | Exception) -> Flow[str | None]:
        """The address that refuses connections; also where a circuit is open because it did."""
        yield from ()  # asks for nothing
        there = origin(request.url)
        if not _is_for(self.session, request):
            return None  # another target of the caller's own stack
        was_lost = self.session.lost == there
        if isinstance(failure, CircuitOpenError):
            return there if was_lost else None
        if not isinstance(failure, Exception):
            if was_lost:  # it came back where it was
                self.session.lost = None
            return None
        refused = fault_of(failure) is Fault.UNSENT and any(
            kind.__name__ == "ConnectError" for kind in type(failure).__mro__
        )
        return there if refused else None

    def mend(self, request: Request, proceed: Proceed, thing: str) -> Flow[str]:
        """Look it up, see that a Foundry Local answers there, and go there from now on."""
        self.session.lost = thing
        lookup = self.lookup()
        try:
            url = yield from work(lookup.ask)
        finally:
            lookup.end()
        if not is_here(url):
            raise ServiceNotFoundError(f"it is said to be at {url}, which is not this machine: pass that as base_url=")
        if origin(url) == thing:
            raise ServiceNotFoundError("it is said to be there still, and nothing answers")
        secret = frozenset(request.headers) - _NOTHING_SECRET
        asked = operations.status(patience=self.session.patience)
        status = asked.read((yield from _exchanged(asked, url, request, proceed, aside=_FIND, without=secret)))
        restarted = status.pid is not None and self.session.pid not in {None, status.pid}
        self.session.found_at(url, status)
        self.session.lost = None
        return f"{url} (restarted)" if restarted else url


def _is_for(session: Session, request: Request) -> bool:
    """Whether it goes to the service, where that is or was."""
    return origin(request.url) in map(origin, filter(None, (session.url, *session.former)))


def _rest_of(url: Any, base: str) -> str | None:
    """What follows the base in this URL; None where it does not begin with it."""
    there = type(url)(base)
    path, prefix = url.raw_path.decode("ascii"), there.raw_path.decode("ascii").rstrip("/")
    return path[len(prefix) :] if origin(url) == origin(there) and path.startswith(f"{prefix}/") else None


def _played(session: Session, story: Story[T], request: Request, proceed: Proceed, *, aside: str) -> Flow[T]:
    """A story of the client within a call: what it sends goes beside the request, through the policies further in."""
    step = partial(next, story)
    try:
        while True:
            try:
                ask = step()
            except StopIteration as end:
                value: T = end.value
                return value
            try:
                match ask:
                    case Send(operation):
                        url = session.url or ""
                        answer: object = yield from _exchanged(operation, url, request, proceed, aside=aside)
                    case Now():
                        answer = yield from now()
                    case Enter(use):  # at once or not at all: who unloads it waits for this very call
                        waiter = Waiter(use, lambda: None)
                        answer = session.occupancy.enter(waiter)
                        session.occupancy.forget(waiter)
                    case _:
                        raise TypeError(f"a remedy can't answer {ask!r}")
            except Exception as error:  # noqa: BLE001 - handed to the story, which knows what it means
                step = partial(story.throw, error)
            else:
                step = partial(story.send, answer)
    finally:
        story.close()


def _exchanged(
    operation: Operation[object],
    base: str,
    request: Request,
    proceed: Proceed,
    *,
    aside: str,
    without: Iterable[str] = (),
) -> Flow[Reply]:
    """Send an operation in the name of the request, and take in the whole answer."""
    kind: Any = type(request.url)  # the library's own
    limits: Any = request.extensions.get("timeout")
    more = {} if limits is None else {"timeout": {**limits, "read": operation.patience}}
    response = yield from proceed(
        derive(
            request,
            method=operation.method,
            url=kind(base + operation.path),
            headers={**operation.headers, "Accept-Encoding": "identity"},
            without={"content-type", *without},
            content=operation.body or b"",
            extensions={**more, OPTIONS: operation.options, NEEDS: None, ASIDE: aside},
        )
    )
    body = bytearray()
    while (chunk := (yield from pull(response))) is not None:
        body += chunk
    yield from discard(response)
    attempt = attempt_of(response)
    if attempt is not None:
        attempt.detail = attempt.detail or (operation.options.name or "")
    return Reply(response.status_code, response.headers, bytes(body))
