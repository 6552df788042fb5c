"""Circuits that several processes share, through Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resilient_foundry.policies.shared_storage import SharedStorage


def redis_storage(url: str, *, namespace: str = "resilient-foundry") -> SharedStorage:
    """Storage for `CircuitBreaker(storage=redis_storage("redis://127.0.0.1/0"))`: one state an origin, in one Redis.

    Nobody waits for Redis. Every decision is made on a copy in memory, which a thread keeps in step with Redis within
    some 0.2 s while circuits are in use; so the first call of a process goes by what the process knows itself. What is
    shared: that a circuit opened or closed, also by hand, and failures in a row. Rates, that a hand holds it there, and
    how long it stays open are each process's own, and so are probes: every process sends one in its own time.

    While Redis can't be reached, each process decides by itself; that is logged once, at WARNING, by the logger
    `resilient_foundry`. When it is back, an open circuit that anybody saw is still open, and no failure is forgotten.
    `storage.synchronise()` tells and takes over everything now, and blocks meanwhile.

    It is pybreaker's own format, under `namespace`: four keys an origin, which nobody deletes. No error, log line or
    repr of ours tells the password of the URL. Needs the extra `redis`; raises `MissingExtraError` without it, and
    ValueError for a URL that can't be read.
    """
    # pybreaker imports redis wherever that is installed; see policies/breaker.py
    from resilient_foundry.policies.shared_storage import SharedStorage  # noqa: PLC0415

    return SharedStorage(url, namespace=namespace)
