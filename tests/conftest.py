"""What all tests share."""

import os
from collections.abc import Iterator

import pytest
import stamina
from hypothesis import HealthCheck, settings

settings.register_profile(
    "here",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("here")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """The event loops that tests marked `anyio` run under."""
    backend: str = request.param
    return backend


@pytest.fixture(autouse=True)
def _stamina_as_it_was() -> Iterator[None]:  # pyright: ignore[reportUnusedFunction] - pytest finds it
    """No test leaves stamina's process-wide switches behind, and nobody reads its default log lines."""
    stamina.instrumentation.set_on_retry_hooks([])
    yield
    stamina.set_active(True)
    stamina.set_testing(False)
    stamina.instrumentation.set_on_retry_hooks(None)


def pytest_xdist_auto_num_workers() -> int:
    """Twice as many workers as processors: most tests that take long wait for sockets and processes."""
    return 2 * (os.cpu_count() or 1)
