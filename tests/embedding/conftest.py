from collections.abc import Iterator

import pytest

from resilient_foundry.foundry.runtime import RESILIENCE, LocalRuntime

_LEFT = "ignore:Async generator '(anthropic|groq|hishel|http|ollama|openai):ResourceWarning"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Trio warns of generators that libraries leave to the collector, with a transport of ours or without."""
    for item in items:
        if "embedding" in item.nodeid and "trio" in item.nodeid:
            item.add_marker(pytest.mark.filterwarnings(_LEFT))


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction] - pytest finds it
    """Clients that their library makes go by the environment; a proxy of this machine is no part of a test."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="session")
def runtime() -> Iterator[LocalRuntime]:
    """The real Foundry Local, started once."""
    with LocalRuntime(RESILIENCE) as runtime:
        yield runtime
