"""Every test here runs in all six ways, as those of the drivers do."""

from tests._transports.conftest import pytest_collection_modifyitems, way

__all__ = ["pytest_collection_modifyitems", "way"]
