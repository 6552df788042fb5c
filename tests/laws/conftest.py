"""Thousands of histories would write thousands of log lines that nobody reads."""

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="module")
def _quiet() -> Iterator[None]:  # pyright: ignore[reportUnusedFunction] - pytest finds it
    logger = logging.getLogger("resilient_foundry")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(before)
