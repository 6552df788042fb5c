from collections.abc import Iterator

import pytest

from resilient_foundry.foundry.runtime import RESILIENCE, LocalRuntime


@pytest.fixture(scope="session")
def runtime() -> Iterator[LocalRuntime]:
    """The real Foundry Local, started once."""
    with LocalRuntime(RESILIENCE) as runtime:
        yield runtime
