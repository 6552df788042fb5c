"""Clients of both libraries over servers in memory, without waits."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from resilient_foundry.foundry import AsyncFoundryClient, FoundryClient
from resilient_foundry.foundry.settings import API_KEY, ENDPOINT, LOG_LEVEL, MODEL, RETRIES, TIMEOUT
from tests.foundry.servers import Server

Connect = Callable[..., FoundryClient]
AsyncConnect = Callable[..., AsyncFoundryClient]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the machine that the tests run on."""
    for name in (API_KEY, ENDPOINT, LOG_LEVEL, MODEL, RETRIES, TIMEOUT):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(params=["httpx", "httpx2"])
def library(request: pytest.FixtureRequest) -> ModuleType:
    """Both HTTP libraries."""
    return importlib.import_module(request.param)


@pytest.fixture
def connect(library: ModuleType) -> Iterator[Connect]:
    """A client of a server in memory; `connect(server, model=..., strict=...)`."""
    module: Any = library
    opened: list[Any] = []

    def make(server: Server, **settings: Any) -> FoundryClient:
        http = module.Client(transport=module.MockTransport(server.handler(library)))
        opened.append(http)
        return FoundryClient("http://127.0.0.1:5273", http_client=http, **settings)

    yield make
    for http in opened:
        http.close()


@pytest.fixture
def connect_async(library: ModuleType) -> AsyncConnect:
    """The same, asynchronous."""
    module: Any = library

    def make(server: Server, **settings: Any) -> AsyncFoundryClient:
        http = module.AsyncClient(transport=module.MockTransport(server.handler(library)))
        return AsyncFoundryClient("http://127.0.0.1:5273", http_client=http, **settings)

    return make


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Both event loops."""
    return str(request.param)
