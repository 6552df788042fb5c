"""vcrpy underneath: it records each attempt as an interaction of its own, and plays them back without a network."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from resilient_foundry import Backoff, Retry, Stack
from tests.servers import Handler, Server, replies, script
from tests.ways import LIBRARIES, ledger_of

STACK: Any = Stack(Retry(attempts=3, backoff=Backoff(base=0.0)))  # over either library
vcr: Any = importlib.import_module("vcr")  # it has no types


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> Any:
    """Each library in turn."""
    return LIBRARIES[request.param]


def cassette(folder: Path, record_mode: str) -> Any:
    """A cassette in the folder of a test."""
    return vcr.use_cassette(str(folder / "cassette.json"), serializer="json", record_mode=record_mode)


def busy_once() -> Handler:
    """One 503, then 200."""
    return script(replies(503, b"busy"), replies(200, b"here"))


def test_each_attempt_is_an_interaction(library: Any, tmp_path: Path) -> None:
    """Recorded against a server that is busy once; played back when that server is gone."""
    with Server(busy_once()) as server, cassette(tmp_path, "once"), STACK.client(library.Client) as client:
        assert client.get(server.url).content == b"here"
    recorded = json.loads((tmp_path / "cassette.json").read_text())["interactions"]
    assert [each["response"]["status"]["code"] for each in recorded] == [503, 200]

    with cassette(tmp_path, "none"), STACK.client(library.Client) as client:
        response = client.get(server.url)
    assert response.content == b"here"
    assert [attempt.status for attempt in ledger_of(response).attempts] == [503, 200]


@pytest.mark.anyio
async def test_each_attempt_is_an_interaction_of_async_clients(library: Any, tmp_path: Path) -> None:
    """The same with `AsyncClient`, on asyncio and on trio."""
    with Server(busy_once()) as server, cassette(tmp_path, "once"):
        async with STACK.client(library.AsyncClient) as client:
            assert (await client.get(server.url)).content == b"here"
    with cassette(tmp_path, "none"):
        async with STACK.client(library.AsyncClient) as client:
            response = await client.get(server.url)
    assert [attempt.status for attempt in ledger_of(response).attempts] == [503, 200]
