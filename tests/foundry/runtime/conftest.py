from collections.abc import Iterator

import httpx
import pytest

from resilient_foundry.foundry.runtime import BUILTIN_MODELS, LocalRuntime


@pytest.fixture(scope="session")
def runtime() -> Iterator[LocalRuntime]:
    """The real Foundry Local with all built-in models, started once."""
    with LocalRuntime(*BUILTIN_MODELS) as runtime:
        yield runtime


@pytest.fixture
def client(runtime: LocalRuntime) -> Iterator[httpx.Client]:
    """A plain client of that runtime."""
    with httpx.Client(base_url=runtime.url, timeout=20, trust_env=False) as client:
        yield client
