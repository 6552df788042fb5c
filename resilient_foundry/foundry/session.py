"""What one client knows: its settings, and what it has learned about the service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from resilient_foundry.foundry import operations
from resilient_foundry.foundry.asks import Story, find, send
from resilient_foundry.foundry.errors import InvalidRequestError, NotFoundryError, UnsupportedError
from resilient_foundry.foundry.generations import Generation
from resilient_foundry.foundry.occupancy import Occupancy
from resilient_foundry.foundry.payloads import ServiceStatus

_REMEMBERED = 64
"""Former addresses, and models unloaded on purpose."""


@dataclass(slots=True)
class Session:
    """State of one client. What is learned is only ever replaced whole, so threads need no lock for it."""

    url: str | None
    model: str | None
    aliases: Mapping[str, str]
    strict: bool
    patience: float
    """Seconds until the first byte of an answer."""
    failures: tuple[type[Exception], ...]
    """What a service raises here that is not there, or does badly: ours, and those of the HTTP library."""
    generation: Generation | None = None
    ids: dict[str, str] = field(default_factory=dict[str, str])
    """Alias to exact id, as learned on 2.x."""
    seen: frozenset[str] = frozenset()
    """Keys of models that were seen loaded on 1.x."""
    loads: bool = False
    """Whether what can load a model that a call needs stands in the stack."""
    put_away: tuple[frozenset[str], ...] = ()
    """The names of each model that this client unloaded, and has not loaded since: it is not loaded unasked."""
    pid: int | None = None
    """The process of the service, as 2.x tells it."""
    former: tuple[str, ...] = ()
    """Where the service was before it moved, the latest first."""
    lost: str | None = None
    """The origin where the service was looked for in vain."""
    occupancy: Occupancy = field(default_factory=Occupancy)

    def chosen(self, model: str | None) -> str:
        """The model that a call names, or the client's own."""
        name = self.model if model is None else model
        if name is None:
            raise InvalidRequestError("no model was named: pass model=, or set FOUNDRY_MODEL")
        if not isinstance(name, str) or not name.strip():  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
            raise InvalidRequestError("the model's name is empty, or no text")
        return name

    def may_load(self, model: str) -> bool:
        """Whether the model may be loaded because a call needs it."""
        return self.loads and not any(model in names for names in self.put_away)

    def put_out(self, names: frozenset[str]) -> None:
        """A model with these names was unloaded on purpose."""
        self.put_away = (*self.put_away, names)[-_REMEMBERED:]

    def put_in(self, names: frozenset[str]) -> None:
        """A model with these names was loaded on purpose."""
        self.put_away = tuple(group for group in self.put_away if group.isdisjoint(names))

    def found_at(self, url: str, status: ServiceStatus) -> None:
        """The service answers at this URL, as another process perhaps, in which nothing is loaded."""
        if url != self.url:
            earlier = () if self.url is None else (self.url,)
            self.former = tuple(one for one in (*earlier, *self.former) if one != url)[:_REMEMBERED]
        self.seen = frozenset()
        if status.generation is not self.generation:
            self.ids = {}
        self.generation, self.pid, self.url = status.generation, status.pid, url


def locate(session: Session) -> Story[str]:
    """The URL of the service: as given, or found now, once."""
    if session.url is None:
        session.url = yield from find()
    return session.url


def look(session: Session) -> Story[ServiceStatus]:
    """Ask the service what it is; raises for what can't be spoken to."""
    url = yield from locate(session)
    try:
        status = yield from send(operations.status(patience=session.patience))
    except NotFoundryError as error:
        old = error.status == HTTPStatus.NOT_FOUND and (
            yield from send(operations.old_status(patience=session.patience))
        )
        if old:
            session.generation = Generation.ZERO
            raise UnsupportedError(_too_old(url)) from error
        raise NotFoundryError(
            f"{url} is no Foundry Local: GET /status answered {error.status} with something else",
            status=error.status,
            body=error.body,
        ) from error
    session.generation, session.pid = status.generation, status.pid
    return status


def generation_of(session: Session) -> Story[Generation]:
    """The generation of the service, asked once."""
    if session.generation is None:
        yield from look(session)
    if session.generation is None or session.generation is Generation.ZERO:
        raise UnsupportedError(_too_old(session.url or "there"))
    return session.generation


def _too_old(url: str) -> str:
    return (
        f"the service at {url} is Foundry Local 0.x, and this client speaks to 1.x and 2.x only: "
        "update Foundry Local, or start it with foundry-local-sdk"
    )
