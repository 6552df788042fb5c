"""The calls that are measured: through our own stack, counted, and no more of them than were allowed."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

from resilient_foundry._extras import require
from resilient_foundry.call import NO_SHORTCUT, Passage, passage_of
from resilient_foundry.events import BodyEnd, Ledger
from resilient_foundry.flow import Flow, Proceed, Request, Response, now
from resilient_foundry.policies.deadline import Deadline
from resilient_foundry.policies.limit import ConcurrencyLimit
from resilient_foundry.policies.timeouts import AttemptTimeout
from resilient_foundry.stack import Stack
from resilient_foundry.tuning.advice import Advice
from resilient_foundry.tuning.load import Call

ERRORS = 0.02
"""The share of calls that may fail; above it nothing more is sent."""
_LEAST = 50
"""Calls before a share of errors means anything."""
_BAD = 400
_LONGEST = 30.0
OVER = "WindowClosedError"
"""What a call is told that would begin after its time: it was not sent, and is no error of the server's."""


class WindowClosedError(Exception):
    """The time for this call is over, or the budget spent; nothing was sent."""


class BadStatusError(Exception):
    """The server answered, and not well."""


class TooManyErrorsError(Exception):
    """More calls failed than may; nothing more is sent."""


class Budget:
    """How many calls may be sent, and until when; it stops everything where too many of them fail."""

    def __init__(self, *, requests: int, seconds: float) -> None:
        self.requests = requests
        self.seconds = seconds
        self.began = time.monotonic()
        self.sent = 0
        self.failures: Counter[str] = Counter()

    @property
    def time_left(self) -> float:
        """Seconds."""
        return max(0.0, self.began + self.seconds - time.monotonic())

    @property
    def requests_left(self) -> int:
        """Calls."""
        return self.requests - self.sent

    @property
    def is_spent(self) -> bool:
        """Whether no more may be sent."""
        return self.sent >= self.requests or not self.time_left or self.has_too_many_errors

    @property
    def has_too_many_errors(self) -> bool:
        """Whether the server is in trouble already."""
        failed = self.failures.total()
        return self.sent >= _LEAST and failed > ERRORS * self.sent

    def take(self) -> bool:
        """Whether one more may be sent, which then counts as sent."""
        if self.is_spent:
            return False
        self.sent += 1
        return True

    def check(self) -> None:
        """Raises `TooManyErrorsError`, which says what was met."""
        if self.has_too_many_errors:
            met = ", ".join(f"{count} {name}" for name, count in self.failures.most_common(3))
            raise TooManyErrorsError(
                f"{self.failures.total()} of {self.sent} calls failed ({met}), so nothing more was sent; "
                "try it with fewer --callers, or see what ails the server"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What is asked: one small request, the same each time. What is in its headers and body is shown nowhere."""

    url: str
    """Scheme, host and port as they were named."""
    ip: str
    """The address that stands for the host."""
    path: str = "/"
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    content: object = field(default=None, repr=False)
    """JSON, or None."""
    library: str = "httpx"

    @property
    def module(self) -> Any:
        """The library; raises `MissingExtraError`."""
        return require(self.library, extra="httpx2")


@dataclass(slots=True)
class Seen:
    """What was seen of the calls of one client."""

    until: float = float("inf")
    """On `time.monotonic`: what has no place by then is not sent."""
    services: list[float] = field(default_factory=list[float])
    """Seconds from a place to the head of the answer."""
    connects: int = 0
    connecting: list[float] = field(default_factory=list[float])
    _since: dict[object, float] = field(default_factory=dict[object, float])

    async def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Httpcore's extension `trace`."""
        del info
        if event == "connection.connect_tcp.started":
            self.connects += 1
            self._since[asyncio.current_task()] = time.perf_counter()
        elif event == "connection.connect_tcp.complete":
            self.connecting.append(time.perf_counter() - self._since.pop(asyncio.current_task()))


@dataclass(frozen=True, slots=True)
class Counted:
    """A policy just above the network: refuses what is too late or too much, and times the rest."""

    budget: Budget
    seen: Seen

    def take(self, call: Passage) -> object:
        """Count the call, which goes out at once."""
        del call
        if time.monotonic() > self.seen.until or not self.budget.take():
            return NO_SHORTCUT
        return _Timed(self)

    def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
        """Count, and send."""
        is_counted = passage_of(request) is not None
        if not is_counted and (time.monotonic() > self.seen.until or not self.budget.take()):
            raise WindowClosedError
        began = yield from now()
        response = yield from proceed(request)
        self.seen.services.append((yield from now()) - began)
        return response


class _Timed:
    """A call that was counted, and whose answer came well."""

    def __init__(self, policy: Counted) -> None:
        self.policy = policy

    def put_back(self) -> None:
        """It is counted all the same: the budget is an upper bound."""

    def completed(self, response: Response, ledger: Ledger, at: float) -> None:
        """How long its head took."""
        del response, at
        self.policy.seen.services.append(ledger.attempts[0].answered_after or 0.0)

    def watcher(self, response: Response, ledger: Ledger) -> Self:
        """Nobody needs to know how else it ended."""
        del response, ledger
        return self

    def chunk(self, data: bytes, at: float) -> None:
        """Nothing to do."""

    def ended(self, end: BodyEnd, at: float) -> BodyEnd:
        """As it was."""
        del at
        return end


@dataclass(frozen=True, slots=True)
class Way:
    """A way of calling: with settings of ours, or the pool of the library alone."""

    name: str
    advice: Advice | None = None
    """None is the library alone."""
    unlimited: bool = False
    """The library alone, with as many connections as it likes."""

    @property
    def limit(self) -> int | None:
        """Calls at once."""
        return self.advice.limit if self.advice else None


@asynccontextmanager
async def calling(service: Service, way: Way, budget: Budget) -> AsyncGenerator[tuple[Call, Seen]]:
    """A call to the service in this way, and what is seen of it; the client is closed at the end."""
    library, seen = service.module, Seen()
    counted, advice = Counted(budget, seen), way.advice
    limits = library.Limits(max_connections=None) if way.unlimited else None
    policies: list[Any] = [counted]
    if advice is not None:
        limits = library.Limits(
            max_connections=advice.limit,
            max_keepalive_connections=advice.limit,
            keepalive_expiry=advice.keepalive_expiry,
        )
        policies = [
            Deadline(advice.deadline),
            ConcurrencyLimit(advice.limit, queue=100_000),
            AttemptTimeout(connect=advice.connect, pool=advice.connect, read=advice.read),
            counted,
        ]
    request = prepared(service)
    # No proxy of the environment, and no redirect, leads the load elsewhere.
    settings = {} if limits is None else {"limits": limits}
    client: Any = Stack(*policies).client(
        library.AsyncClient,
        trust_env=False,
        follow_redirects=False,
        verify=service.url.startswith("https:"),
        timeout=library.Timeout(min(_LONGEST, budget.seconds), pool=5.0),
        **settings,
    )
    extensions = {**request.pop("extensions"), "trace": seen.trace}

    async def call() -> None:
        try:
            response = await client.request(**request, extensions=extensions)
            if response.status_code >= _BAD:
                raise BadStatusError(response.status_code)
        except WindowClosedError:
            raise
        except Exception as error:
            name = f"status {error.args[0]}" if isinstance(error, BadStatusError) else type(error).__name__
            budget.failures[name] += 1
            raise

    async with client:
        yield call, seen


def prepared(service: Service) -> dict[str, Any]:
    """The arguments of `client.request`: to the address that was judged, in the name of the host."""
    scheme, _, named = service.url.partition("://")
    host, port = _split(named)
    ip = f"[{service.ip}]" if ":" in service.ip else service.ip
    asked: dict[str, Any] = {
        "method": service.method,
        "url": f"{scheme}://{ip}{port}{service.path}",
        "headers": {"Host": named, **service.headers},
        "extensions": {"sni_hostname": host} if scheme == "https" else {},
    }
    if service.content is not None:
        asked["json"] = service.content
    return asked


def _split(named: str) -> tuple[str, str]:
    """A host and, with its colon, a port."""
    if named.endswith("]") or ":" not in named:
        return named.strip("[]"), ""
    host, _, port = named.rpartition(":")
    return host.strip("[]"), f":{port}"
