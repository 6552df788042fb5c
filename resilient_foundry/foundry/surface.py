"""What both clients are made of: settings put together, and nothing that waits."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Generic, TypeVar

from resilient_foundry._transports.driver import WORLD, World
from resilient_foundry._transports.embed import policies_over
from resilient_foundry.errors import ResilienceError
from resilient_foundry.foundry.asks import Operation
from resilient_foundry.foundry.connect import (
    DEFAULT_TIMEOUT,
    LibraryName,
    import_library,
    library_of,
    make_client,
    request_for,
    stack_for,
    with_remedies,
)
from resilient_foundry.foundry.errors import FoundryError, SettingsError
from resilient_foundry.foundry.locate import Inquiry, Inspection, Lookup, Service, is_here, url_of
from resilient_foundry.foundry.remedies import remedies_for
from resilient_foundry.foundry.session import Session
from resilient_foundry.foundry.settings import Settings
from resilient_foundry.foundry.telemetry import Observation, Subject
from resilient_foundry.policies.tracing import Tracing
from resilient_foundry.stack import Stack


@dataclass(frozen=True, slots=True)
class Surface:
    """One client's parts. `http` and `library` are `Any`: httpx and httpx2 share no class."""

    http: Any
    library: Any
    owned: bool
    limited: bool
    api_key: str | None
    session: Session
    tracing: Tracing | None = None
    """What traces the calls underneath, and the client's own."""
    world: World = field(default_factory=World)
    """Whose clock the client goes by."""

    @classmethod
    def make(
        cls,
        base_url: Service | None,
        *,
        model: str | None,
        timeout: float | None,
        retries: int | None,
        api_key: str | None,
        stack: Stack | None,
        http_client: object | None,
        transport: object | None,
        library: LibraryName,
        aliases: Mapping[str, str] | None,
        strict: bool,
        trust_env: bool,
        load: bool | None,
        rediscover: bool | None,
        asynchronous: bool,
    ) -> Surface:
        """Read the settings and make what is not given; bad ones raise before anything is opened."""
        endpoint = None if base_url is None else url_of(base_url)
        settings = Settings.read(model=model, timeout=timeout, retries=retries, api_key=api_key, endpoint=endpoint)
        if http_client is not None:
            if stack is not None or retries is not None or load or rediscover or transport is not None:
                raise TypeError(
                    "http_client= brings its own transport: put the stack under it, without stack=, retries=, "
                    "transport=, load=True and rediscover=True"
                )
            module = library_of(http_client, asynchronous=asynchronous)
        else:
            if stack is not None and retries is not None:
                raise TypeError("stack= says itself how often it tries: leave out retries=")
            module = import_library(library)
        if settings.log_level is not None:
            logging.getLogger("resilient_foundry").setLevel(settings.log_level)
        session = Session(
            url=settings.endpoint,
            model=settings.model,
            aliases=dict(aliases or {}),
            strict=strict,
            patience=DEFAULT_TIMEOUT if settings.timeout is None else settings.timeout,
            failures=(FoundryError, ResilienceError, module.RequestError),
        )
        http = http_client
        if http is None:
            chosen = stack_for(retries=settings.retries, timeout=settings.timeout) if stack is None else stack
            session.loads = stack is None if load is None else load
            lookup = _lookup(base_url, settings.endpoint, wanted=rediscover, ours=stack is None)
            chosen = with_remedies(chosen, remedies_for(session, lookup=lookup))
            http = make_client(library, chosen, asynchronous=asynchronous, trust_env=trust_env, wire=transport)
        owned = http_client is None
        return cls(
            http=http,
            library=module,
            owned=owned,
            limited=owned or settings.timeout is not None,
            api_key=settings.api_key,
            session=session,
            tracing=next((policy for policy in policies_over(http) if isinstance(policy, Tracing)), None),
            world=WORLD.get(),
        )

    def observe(self, subject: Subject) -> Observation:
        """A call of the client that is about to be made."""
        return Observation(self.session, self.tracing, self.world, subject)

    def request(self, operation: Operation[object], observation: Observation) -> Any:
        """The library's own request for an operation."""
        url = self.session.url or ""
        more = observation.extensions(operation)
        return request_for(self.http, url, operation, api_key=self.api_key, limited=self.limited, more=more)

    def __repr__(self) -> str:
        return f"base_url={self.session.url!r}, model={self.session.model!r}, library={self.library.__name__!r}"


def _lookup(
    service: Service | None, url: str | None, *, wanted: bool | None, ours: bool
) -> Callable[[], Lookup] | None:
    """Where to ask for the address of a service that moved; None where it is not to be looked for.

    What was looked up once may be looked up again. A URL that the caller wrote is what the caller wants, and is left
    only where that is wanted, for another one of this machine.
    """
    told = isinstance(service, str) or (service is None and url is not None)
    if not (wanted if wanted is not None else ours and not told):
        return None
    if service is not None and not isinstance(service, str):
        return partial(Inspection, service)
    if url is not None and not is_here(url):
        raise SettingsError(
            f"rediscover=True looks for a service on this machine, and {url} is none of its addresses",
            name="rediscover",
        )
    return Inquiry


H = TypeVar("H")


class ClientSurface(Generic[H]):
    """What both clients have in common: their constructor, and what they say of themselves."""

    _asynchronous: ClassVar[bool]

    def __init__(
        self,
        base_url: Service | None = None,
        *,
        model: str | None = None,
        timeout: float | None = None,
        retries: int | None = None,
        api_key: str | None = None,
        stack: Stack | None = None,
        http_client: H | None = None,
        transport: object | None = None,
        library: LibraryName = "httpx",
        aliases: Mapping[str, str] | None = None,
        strict: bool = True,
        trust_env: bool = False,
        load: bool | None = None,
        rediscover: bool | None = None,
    ) -> None:
        """Make a client; nothing is sent.

        `base_url` is the URL of the service, with or without /v1, or a manager of foundry-local-sdk; without it
        FOUNDRY_LOCAL_ENDPOINT counts, and then the answer of the `foundry` command, asked with the first call.
        `model` is the alias or id that calls use which name none (FOUNDRY_MODEL). `timeout` is the seconds until the
        first byte of an answer (120; FOUNDRY_TIMEOUT), `retries` how often a call is tried again (2;
        FOUNDRY_RETRIES), `api_key` is sent as a bearer token if it is given (FOUNDRY_API_KEY).

        `stack` replaces `Stack.inference()` under the client. `http_client` replaces the whole HTTP client, and is not
        closed with this one; its own time limits hold unless `timeout` is given. `transport` stands in for the network
        under the stack, as a tape or a `MockTransport` does, and is closed with the client. `library` is the
        HTTP library to use. `aliases` tells which id an alias means, where 2.x does not say. `strict=False` sends what
        this generation would ignore, instead of refusing it. `trust_env=True` uses the proxies of the environment,
        which 2.x does not understand.

        `load` has a model that a call names loaded when it turns out not to be in memory, once, and the call go on;
        from the service's disk, it is never downloaded. What `unload_model` put away stays away until `load_model`.
        `rediscover` has the service looked for again where it refuses connections, by the same manager or by the
        `foundry` command, because its port changes when it restarts; the client then stays with what it found, which is
        always on this machine. Both are on by default, `rediscover` unless a URL was given, as an argument or by
        FOUNDRY_LOCAL_ENDPOINT. With `stack` they are off unless they are True, and stand just inside its retries; with
        `http_client` they are not to be had.

        Raises `SettingsError` for a bad setting, TypeError for arguments that exclude each other.
        """
        self._surface = Surface.make(
            base_url,
            model=model,
            timeout=timeout,
            retries=retries,
            api_key=api_key,
            stack=stack,
            http_client=http_client,
            transport=transport,
            library=library,
            aliases=aliases,
            strict=strict,
            trust_env=trust_env,
            load=load,
            rediscover=rediscover,
            asynchronous=self._asynchronous,
        )

    @property
    def base_url(self) -> str | None:
        """The URL of the service; None until it was looked for."""
        return self._surface.session.url

    @property
    def model(self) -> str | None:
        """The alias or id that calls use which name none."""
        return self._surface.session.model

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._surface})"
