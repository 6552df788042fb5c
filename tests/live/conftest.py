from collections.abc import Iterator

import pytest

from resilient_foundry.foundry.runtime import BREAKING, ENDLESS, RESILIENCE, SLOW, LocalRuntime
from tests.ways import NAMES, Way, way_named

MODELS = (RESILIENCE, BREAKING, ENDLESS, SLOW)


@pytest.fixture(scope="session")
def runtime() -> Iterator[LocalRuntime]:
    """The real Foundry Local, started once."""
    with LocalRuntime(*MODELS) as runtime:
        yield runtime


@pytest.fixture(params=NAMES)
def way(request: pytest.FixtureRequest) -> Iterator[Way]:
    """Each of the six ways in turn. At the end, no request is under way and no connection is held."""
    way = way_named(request.param)
    try:
        yield way
    finally:
        way.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Trio warns of generators that httpx and httpcore leave to the collector, with a transport of ours or without."""
    for item in items:
        if "trio" in item.nodeid:
            item.add_marker(pytest.mark.filterwarnings("ignore:Async generator 'http:ResourceWarning"))
