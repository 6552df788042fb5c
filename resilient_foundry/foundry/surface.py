"""What both clients are made of: settings put together, and nothing that waits."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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
)
from resilient_foundry.foundry.errors import FoundryError
from resilient_foundry.foundry.locate import Service, url_of
from resilient_foundry.foundry.session import Session
from resilient_foundry.foundry.settings import Settings
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
        library: LibraryName,
        aliases: Mapping[str, str] | None,
        strict: bool,
        trust_env: bool,
        asynchronous: bool,
    ) -> Surface:
        """Read the settings and make what is not given; bad ones raise before anything is opened."""
        endpoint = None if base_url is None else url_of(base_url)
        settings = Settings.read(model=model, timeout=timeout, retries=retries, api_key=api_key, endpoint=endpoint)
        if http_client is not None:
            if stack is not None or retries is not None:
                raise TypeError(
                    "http_client= brings its own transport: put the stack under it, without stack= and retries="
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
            http = make_client(library, chosen, asynchronous=asynchronous, trust_env=trust_env)
        owned = http_client is None
        return cls(
            http=http,
            library=module,
            owned=owned,
            limited=owned or settings.timeout is not None,
            api_key=settings.api_key,
            session=session,
        )

    def request(self, operation: Operation[object]) -> Any:
        """The library's own request for an operation."""
        url = self.session.url or ""
        return request_for(self.http, url, operation, api_key=self.api_key, limited=self.limited)

    def __repr__(self) -> str:
        return f"base_url={self.session.url!r}, model={self.session.model!r}, library={self.library.__name__!r}"
