"""Fixtures for your tests: `pytest_plugins = ["resilient_foundry.pytest_plugin"]` in a conftest.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from resilient_foundry import leaks


@pytest.fixture
def no_leaks() -> Iterator[None]:
    """Fail the test that leaves an answer unclosed, a permit not given back, or a connection busy."""
    with leaks.no_leaks():
        yield
