"""What the client asks of a server is what a contract has promised."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import httpx
import pytest

from resilient_foundry import FoundryClient
from resilient_foundry.foundry.deviations import MEASURED, deviations
from resilient_foundry.foundry.runtime import EMBEDDING, RESILIENCE, LocalRuntime
from resilient_foundry.harness import MUST
from resilient_foundry.harness.contract import collect, provided
from resilient_foundry.harness.subject import Taped
from resilient_foundry.harness.tapes import Recorder, Tape

USES: dict[str, Callable[[FoundryClient], object]] = {
    "chat": lambda client: client.chat([{"role": "user", "content": "Why?"}], model=RESILIENCE.id, max_tokens=2),
    "complete": lambda client: client.complete("Why?", model=RESILIENCE.id, max_tokens=2),
    "embed": lambda client: client.embed("Why?", model=EMBEDDING.id),
    "health_check": lambda client: client.health_check(),
    "list_models": lambda client: client.list_models(),
    "load_model": lambda client: client.load_model(EMBEDDING.alias),
    "loaded_models": lambda client: client.loaded_models(),
    "stream_chat": lambda client: list(
        client.stream_chat([{"role": "user", "content": "Why?"}], model=RESILIENCE.id, max_tokens=2)
    ),
    "stream_complete": lambda client: list(client.stream_complete("Why?", model=RESILIENCE.id, max_tokens=2)),
    "unload_model": lambda client: client.unload_model(EMBEDDING.alias),
}
"""A use of each method that asks the server for something."""


def route(method: str, path: str, body: bytes) -> str:
    """What was asked for, whichever model it was asked of; a stream is another thing than an answer."""
    pattern = re.sub(r"^(/models/load|/models/unload|/v1/models)/.+", r"\1/*", path.partition("?")[0])
    streamed = re.search(rb'"stream": ?true', body) is not None
    return f"{method} {pattern}{' streamed' if streamed else ''}"


@pytest.fixture(scope="module")
def promised() -> set[str]:
    """What is asked for by a contract that must be kept, as its tape of 2.2.1 shows."""
    tapes = Taped(provided("cassettes") / "foundry-local-2.2.1")
    musts = [each for each in collect(provided("contracts")) if each.level is MUST]
    requests = [
        each.request for must in musts if (path := tapes.path(must)).exists() for each in Tape.load(path).exchanges
    ]
    return {route(each.method, each.path, each.body) for each in requests}


@pytest.fixture(scope="module")
def runtime() -> Iterator[LocalRuntime]:
    """A model for each use."""
    with LocalRuntime(RESILIENCE, EMBEDDING) as runtime:
        yield runtime


def test_each_method_of_the_client_has_a_use_here() -> None:
    methods = {name for name, value in vars(FoundryClient).items() if callable(value) and not name.startswith("_")}
    assert methods - {"close"} == set(USES)


@pytest.mark.parametrize("method", USES)
def test_what_a_method_asks_for_is_promised(method: str, runtime: LocalRuntime, promised: set[str]) -> None:
    """By a contract that a server must keep, with a tape to show for it."""
    with httpx.HTTPTransport() as transport:
        recorder = Recorder(transport)
        with FoundryClient(runtime.url, http_client=httpx.Client(transport=recorder)) as client:
            USES[method](client)
            if method == "unload_model":
                client.load_model(EMBEDDING.alias)
    asked = {route(each.request.method, each.request.path, each.request.body) for each in recorder.exchanges}
    assert asked
    assert asked - promised == set()


def test_what_a_runtime_breaks_is_no_must_unless_the_client_does_something_about_it() -> None:
    """A client can't work without what must be kept, and ours works with every runtime that was measured."""
    musts = {each.name for each in collect(provided("contracts")) if each.level is MUST}
    measured = [version for versions in MEASURED.values() for version in versions]
    lines = [line for line in deviations() if line.contract in musts and line.tolerance is None]
    broken = {line.contract for line in lines if any(line.covers(line.contract, version) for version in measured)}
    assert broken == set()
