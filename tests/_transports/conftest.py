from collections.abc import Iterator

import pytest

from tests.ways import NAMES, Way, way_named

ASYNC_NAMES = tuple(name for name in NAMES if not name.endswith("-sync"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Trio warns of generators that httpx and httpcore leave to the collector, with a transport of ours or without."""
    for item in items:
        if "trio" in item.nodeid:
            item.add_marker(pytest.mark.filterwarnings("ignore:Async generator 'http:ResourceWarning"))


@pytest.fixture(params=NAMES)
def way(request: pytest.FixtureRequest) -> Iterator[Way]:
    """Each of the six ways in turn. At the end, no request is under way and no connection is held."""
    way = way_named(request.param)
    try:
        yield way
    finally:
        way.close()


@pytest.fixture(params=ASYNC_NAMES)
def async_way(request: pytest.FixtureRequest) -> str:
    """The name of each async way, for tests that are tasks themselves."""
    name: str = request.param
    return name


@pytest.fixture
def anyio_backend(async_way: str) -> str:
    """The event loop of that way."""
    return async_way.partition("-")[2]
