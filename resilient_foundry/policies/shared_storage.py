"""Storage of circuits that several processes share: mirrors here, and rounds that reconcile them with Redis."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import pybreaker

from resilient_foundry._extras import require
from resilient_foundry._rounds import Rounds
from resilient_foundry.policies.mirror import Held, Mirror

_SECONDS_TO_ANSWER = 0.5
"""As long as one word of Redis may take, to connect and to answer; nobody but the thread waits for it."""
_MOST_FAILURES = 1000
"""Told one by one, as pybreaker does; more of them make no difference."""


class SharedStorage:
    """Gives the storage of one circuit, from its name: pybreaker's, in memory, and in step with Redis.

    A thread does the talking, soon after somebody calls and at most five times a second, and only for the circuits that
    are in use; `synchronise()` does it at once, in the calling thread.
    """

    def __init__(self, url: str, *, namespace: str) -> None:
        redis: Any = require("redis", extra="redis")
        retry: Any = require("redis.retry", extra="redis")
        backoff: Any = require("redis.backoff", extra="redis")
        self._namespace = namespace
        where = _named(url)

        def connected() -> _Speaking:
            client = redis.Redis.from_url(
                url,
                socket_timeout=_SECONDS_TO_ANSWER,
                socket_connect_timeout=_SECONDS_TO_ANSWER,
                retry=retry.Retry(backoff.NoBackoff(), 1),  # for a connection that the server has closed meanwhile
            )
            client.get_connection_kwargs()["decode_responses"] = False  # whatever the URL says: pybreaker decodes
            return _Speaking(client, redis.RedisError)

        self._connected = connected
        self._mirrors: weakref.WeakSet[Mirror] = weakref.WeakSet()
        self._begin()
        self._rounds = Rounds(
            self._go, self._after_fork, where=where, alone="circuits are decided in this process alone meanwhile"
        )

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._redis: Any = self._connected()  # in the place of a redis.Redis
        self._talks: weakref.WeakKeyDictionary[Mirror, pybreaker.CircuitRedisStorage] = weakref.WeakKeyDictionary()

    def __call__(self, name: str) -> Mirror:
        """The storage of the circuit of this name. Asks nobody."""
        mirror = Mirror(name, self._rounds.ask)
        with self._lock:
            self._mirrors.add(mirror)
        return mirror

    def synchronise(self) -> None:
        """Tell Redis what happened here, and take over what happened elsewhere, now; blocks until that is done.

        Where Redis can't be reached that is logged, as always, and nothing is raised.
        """
        for mirror in self._all():
            mirror.is_due = True
        self._rounds.now()

    def _all(self) -> list[Mirror]:
        with self._lock:
            return list(self._mirrors)

    def _go(self) -> None:
        mirrors = self._all()
        try:
            self._visit(mirror for mirror in mirrors if mirror.is_due)
        except BaseException:
            for mirror in mirrors:
                mirror.doubt()
            raise

    def _visit(self, mirrors: Iterable[Mirror]) -> None:
        problem: Exception | None = None
        for mirror in mirrors:
            mirror.is_due = False
            try:
                self._reconcile(mirror)
            except _NoWordError:
                mirror.is_due = True
                raise
            except Exception as error:  # noqa: BLE001 - what stands there is not pybreaker's: the others go on
                problem = error
        if problem is not None:
            raise problem

    def _reconcile(self, mirror: Mirror) -> None:
        held = self._talks.get(mirror)
        if held is None:
            namespace = f"{self._namespace}:{mirror.name}"
            held = pybreaker.CircuitRedisStorage(pybreaker.STATE_CLOSED, self._redis, namespace)
            self._talks[mirror] = held
        state = held.state  # first: an opening writes its moment before its state
        news = mirror.reconcile(Held(state, held.counter, held.opened_at))
        try:
            if news.opened_at is not None:
                held.opened_at = news.opened_at
            if news.state is not None:
                held.state = news.state
            if news.reset:
                held.reset_counter()
            for _ in range(min(news.failures, _MOST_FAILURES)):
                held.increment_counter()
        except BaseException:
            mirror.failed_to_tell(news)
            raise

    def _after_fork(self) -> None:
        """Locks that another thread held at the fork are never free again, and connections stay the parent's."""
        self._begin()
        for mirror in list(self._mirrors):
            mirror.after_fork()


class _NoWordError(Exception):
    """Redis did not answer, or refused."""


class _Speaking:
    """redis's client for pybreaker, which would swallow and log each of redis's errors; so it gets another."""

    def __init__(self, client: Any, errors: type[Exception]) -> None:  # redis's annotations serve both of its colours
        self._client = client
        self._errors = errors

    def __getattr__(self, name: str) -> Any:
        ask = getattr(self._client, name)

        def speak(*words: Any) -> Any:
            try:
                return ask(*words)
            except self._errors as error:
                raise _NoWordError from error

        return speak


def _named(url: str) -> str:
    """The Redis of a URL, without its password; raises ValueError for a URL that can't be read, without it as well."""
    with suppress(ValueError):  # whose words would tell what stands where a port is expected: a password with a slash
        parts = urlsplit(url)
        if parts.scheme == "unix":
            return f"Redis at {parts.path}"
        if "@" not in parts.path + parts.fragment:
            return f"Redis at {parts.hostname or 'localhost'}:{parts.port or 6379}"
    raise ValueError("the Redis URL can't be read; in a password, write / ? # [ ] @ as %2F %3F %23 %5B %5D %40")
