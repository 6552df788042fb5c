from collections.abc import Iterator

import pytest

from resilient_foundry.foundry.runtime import ENDLESS, RESILIENCE, LocalRuntime


@pytest.fixture(scope="session")
def runtime() -> Iterator[LocalRuntime]:
    """The real Foundry Local, started once."""
    with LocalRuntime(RESILIENCE, ENDLESS) as runtime:
        yield runtime
