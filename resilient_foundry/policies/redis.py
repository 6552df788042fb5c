"""Circuits that several processes share, through Redis."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from resilient_foundry._extras import require

if TYPE_CHECKING:
    import pybreaker


def redis_storage(
    url: str, *, namespace: str = "resilient-foundry"
) -> Callable[[str], pybreaker.CircuitBreakerStorage]:
    """Storage for `CircuitBreaker(storage=redis_storage("redis://127.0.0.1/0"))`: one state an origin, in one Redis.

    Every admission asks Redis, in the calling thread: fit for synchronous programs, and a short block of an event loop.
    Needs the extra `redis`; raises `MissingExtraError` without it.

    While Redis can't be reached, a circuit counts as closed, so calls go out, and pybreaker logs each error. Only the
    first call to an origin, which makes its circuit, raises redis's own ConnectionError, before anything is sent.
    """
    import pybreaker  # noqa: PLC0415 - it imports redis wherever that is installed; see policies/breaker.py

    redis = require("redis", extra="redis")
    client = redis.Redis.from_url(url)

    def storage(name: str) -> pybreaker.CircuitBreakerStorage:
        return pybreaker.CircuitRedisStorage(pybreaker.STATE_CLOSED, client, namespace=f"{namespace}:{name}")

    return storage
