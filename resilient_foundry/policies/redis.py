"""Circuits that several processes share, through Redis."""

from __future__ import annotations

from collections.abc import Callable

import pybreaker

from resilient_foundry._extras import require


def redis_storage(
    url: str, *, namespace: str = "resilient-foundry"
) -> Callable[[str], pybreaker.CircuitBreakerStorage]:
    """Storage for `CircuitBreaker(storage=redis_storage("redis://127.0.0.1/0"))`: one state an origin, in one Redis.

    Every admission asks Redis, in the calling thread: fit for synchronous programs, and a short block of an event loop.
    Needs the extra `redis`; raises `MissingExtraError` without it, and redis's own errors while Redis can't be reached.
    """
    redis = require("redis", extra="redis")
    client = redis.Redis.from_url(url)

    def storage(name: str) -> pybreaker.CircuitBreakerStorage:
        return pybreaker.CircuitRedisStorage(pybreaker.STATE_CLOSED, client, namespace=f"{namespace}:{name}")

    return storage
