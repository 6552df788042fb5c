"""A real Jaeger. It is up in a fifth of a second and takes 55 MB, so every worker that needs one has its own."""

from collections.abc import Iterator

import pytest

from resilient_foundry.traces.jaeger import Jaeger
from tests.jaeger.server import BINARY, JaegerServer


@pytest.fixture(scope="session")
def jaeger_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JaegerServer]:
    """One that is started for the first test that asks for it, and ended with the last. Tests share what is in it."""
    if BINARY is None:
        pytest.skip("no jaeger: RESILIENT_FOUNDRY_JAEGER names none, and there is none on PATH; see .ci/jaeger")
    with JaegerServer(tmp_path_factory.mktemp("jaeger")) as server:
        yield server


@pytest.fixture
def jaeger(jaeger_server: JaegerServer) -> Iterator[Jaeger]:
    """What asks it."""
    with Jaeger(jaeger_server.url) as jaeger:
        yield jaeger
