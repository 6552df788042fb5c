"""Every test here runs in all six ways, as those of the drivers do."""

from tests._transports.conftest import anyio_backend, async_way, pytest_collection_modifyitems, way

__all__ = ["anyio_backend", "async_way", "pytest_collection_modifyitems", "way"]
