"""Chaos: make a share of the calls fail on purpose, to see what the policies around it make of that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from resilient_foundry import sse
from resilient_foundry.call import IDLE, shared_of
from resilient_foundry.events import ChaosInjected
from resilient_foundry.flow import (
    Flow,
    Proceed,
    Request,
    Response,
    Source,
    alter,
    discard,
    draw,
    fail,
    give,
    now,
    pull,
    respond,
    sleep,
    tell,
)
from resilient_foundry.policies._checks import count, number, switch
from resilient_foundry.policies.chance import Calls, Draws

T = TypeVar("T")

_PHASES = {
    "ConnectError": None,
    "ConnectTimeout": "connect",
    "PoolTimeout": "pool",
    "WriteError": None,
    "WriteTimeout": "write",
    "ReadError": None,
    "ReadTimeout": "read",
    "RemoteProtocolError": None,
}
"""The errors that can be made, and the limit that passes before those that are timeouts."""
_AFTER_SENDING = frozenset({"ReadError", "ReadTimeout", "RemoteProtocolError"})
_STREAM_FAULTS = ("cut", "truncated", "stalled", "error")
_NO_BODY = frozenset({101, 204, 304})
"""RFC 9110 section 6.4.1; after 101 follows another protocol."""
_ERROR_EVENT = b'data: {"error": {"message": "chaos", "type": "server_error"}}\n\n'
_LARGEST_STATUS = 599
"""RFC 9110 section 15."""
_WHOLE = 1 + 1e-9
"""Shares that are meant to be all of it may add up to a little more, as ten times 0.1 does."""


class Switch:
    """Turns chaos on and off while calls go on; in any thread."""

    __slots__ = ("_is_on",)

    def __init__(self, is_on: bool) -> None:
        self._is_on = is_on

    @property
    def is_on(self) -> bool:
        """Whether faults are made."""
        return self._is_on

    def on(self) -> None:
        """Make faults from the next request on."""
        self._is_on = True

    def off(self) -> None:
        """Make none from the next request on."""
        self._is_on = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Chaos:
    """Makes faults of four kinds, each for a share of the requests; a request meets one of them at most.

    Stands innermost, so that all others see what it does as if the network had done it. Off unless `on=True`, or until
    `chaos.switch.on()`; while it is off it costs a look. `when` says of a request whether it may be hit at all.

    `error_rate`: one of the `errors`, by the library's names. ConnectError, ConnectTimeout, PoolTimeout, WriteError and
    WriteTimeout come instead of sending; for ReadError, ReadTimeout and RemoteProtocolError the request is sent, and
    its answer lost. Timeouts come when their limit has passed.
    `status_rate`: an answer with one of the `statuses` instead of sending, with `retry_after` (seconds) if that is set.
    `latency_rate`: `latency` seconds before sending, or between two numbers of seconds; where the limit for reading or
    the deadline is shorter, a ReadTimeout.
    `stream_rate`: a body that goes wrong after `stream_after` bytes, in one of the ways of `stream_faults`: `cut`
    (ReadError), `truncated` (it ends as if it were whole), `stalled` (nothing for `stall` seconds, or up to the limit),
    `error` (an event that is an error, and the end; other bodies than streams of events are cut). An answer that has no
    body, or was made with its content as test doubles do, is left as it is.

    With a `seed` the n-th request that may be hit meets the same fault in each run, in any colour. (The names are those
    of Polly's Simmy and of Envoy's fault filter where these have one: error is their fault and abort, latency delay.)
    """

    on: bool = False
    seed: int | None = None
    error_rate: float = 0.0
    errors: tuple[str, ...] = ("ConnectError", "ReadError")
    status_rate: float = 0.0
    statuses: tuple[int, ...] = (503,)
    retry_after: float | None = None
    latency_rate: float = 0.0
    latency: float | tuple[float, float] = 1.0
    stream_rate: float = 0.0
    stream_faults: tuple[str, ...] = _STREAM_FAULTS
    stream_after: int = 100
    stall: float = 60.0
    when: Callable[[Request], bool] | None = None
    switch: Switch = field(init=False, repr=False, compare=False)
    _calls: Calls | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        switch("Chaos.on", self.on)
        if self.seed is not None:
            count("Chaos.seed", self.seed, at_least=0)
        rates = (self.error_rate, self.status_rate, self.latency_rate, self.stream_rate)
        for name, rate in zip(("error_rate", "status_rate", "latency_rate", "stream_rate"), rates, strict=True):
            number(f"Chaos.{name}", rate, at_least=0.0)
        if sum(rates) > _WHOLE:
            raise ValueError(f"the rates of Chaos add up to 1 at most, not to {sum(rates):g}")
        _some("Chaos.errors", self.errors, tuple(_PHASES))
        _some("Chaos.stream_faults", self.stream_faults, _STREAM_FAULTS)
        if not _are_several(self.statuses):
            raise ValueError(f"Chaos.statuses names at least one status, such as (503,), not {self.statuses!r}")
        for status in self.statuses:
            count("Chaos.statuses", status, at_least=200)
            if status > _LARGEST_STATUS:
                raise ValueError(f"Chaos.statuses is at most {_LARGEST_STATUS}, not {status!r}")
        if self.retry_after is not None:
            number("Chaos.retry_after", self.retry_after, at_least=0.0)
        if isinstance(self.latency, tuple) and len(self.latency) != 2:  # noqa: PLR2004 - the shortest and the longest
            raise ValueError(f"Chaos.latency is a number of seconds or two of them, not {self.latency!r}")
        shortest, longest = _span(self.latency)
        number("Chaos.latency", shortest, at_least=0.0)
        number("Chaos.latency", longest, at_least=shortest)
        count("Chaos.stream_after", self.stream_after, at_least=0)
        number("Chaos.stall", self.stall, at_least=0.0)
        object.__setattr__(self, "switch", Switch(self.on))
        object.__setattr__(self, "_calls", None if self.seed is None else Calls(self.seed))

    def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
        """Send the request, or do to it what chance says."""
        if not self.switch.is_on or (self.when is not None and not self.when(request)):
            return proceed(request)
        return self._play(request, proceed)

    def _play(self, request: Request, proceed: Proceed) -> Flow[Response]:
        draws = Draws(int((yield from draw()) * 2**53)) if self._calls is None else self._calls.next()
        chance = draws.next()
        if chance < self.error_rate:
            return (yield from self._lose(request, proceed, _one_of(self.errors, draws)))
        chance -= self.error_rate
        if chance < self.status_rate:
            return (yield from self._answer(request, _one_of(self.statuses, draws)))
        chance -= self.status_rate
        if chance < self.latency_rate:
            shortest, longest = _span(self.latency)
            seconds = shortest + (longest - shortest) * draws.next()
            yield from tell(ChaosInjected(f"latency of {seconds:.3f} s"))
            limits = _limits(request)
            yield from _wait(seconds, limits.get("read"), shared_of(request).until)
            return (yield from proceed(request))
        chance -= self.latency_rate
        response = yield from proceed(request)
        if chance < self.stream_rate and _has_a_body(request, response.status_code):
            breaking = _Breaking(self, request, response, _one_of(self.stream_faults, draws))
            yield from alter(response, breaking.story)
        return response

    def _lose(self, request: Request, proceed: Proceed, error: str) -> Flow[Response]:
        yield from tell(ChaosInjected(error))
        if error in _AFTER_SENDING:
            yield from discard((yield from proceed(request)))
        phase = _PHASES[error]
        if phase is not None:
            limit = yield from _shorter(_limits(request).get(phase), shared_of(request).until)
            yield from sleep(limit or 0.0)
        return (yield from fail(error, f"chaos: {error}"))

    def _answer(self, request: Request, status: int) -> Flow[Response]:
        yield from tell(ChaosInjected(f"status {status}"))
        headers = {} if self.retry_after is None else {"retry-after": f"{self.retry_after:g}"}
        return (yield from respond(status, headers, b"chaos" if _has_a_body(request, status) else b""))


class _Breaking:
    """A body that goes wrong."""

    def __init__(self, policy: Chaos, request: Request, response: Response, fault: str) -> None:
        has_events = sse.announced_by(response.headers)
        shared = shared_of(request)
        self._policy = policy
        self._fault = "cut" if fault == "error" and not has_events else fault
        self._until = shared.until if shared.with_body and not has_events else None
        self._limit: float | None = request.extensions.get(IDLE) or _limits(request).get("read")

    def story(self, source: Source) -> Flow[None]:
        """Give the real chunks up to some byte, and then what goes wrong."""
        left = self._policy.stream_after
        while left > 0 and (chunk := (yield from pull(source))) is not None:
            whole = self._fault in {"stalled", "error"} or len(chunk) <= left
            yield from give(chunk if whole else chunk[:left])
            left -= len(chunk)
        yield from tell(ChaosInjected(f"stream {self._fault}"))
        if self._fault == "cut":
            yield from fail("ReadError", "chaos: the body was cut")
        if self._fault == "error":
            yield from give(_ERROR_EVENT)
        if self._fault == "stalled":
            yield from _wait(self._policy.stall, self._limit, self._until)
            while (chunk := (yield from pull(source))) is not None:
                yield from give(chunk)


def _are_several(value: object) -> bool:
    """What the annotations promise, for callers without a type checker."""
    return isinstance(value, (tuple, list)) and bool(value)  # pyright: ignore[reportUnknownArgumentType]  # of what, is asked by the next lines


def _has_a_body(request: Request, status: int) -> bool:
    return request.method != "HEAD" and status not in _NO_BODY


def _wait(seconds: float, limit: float | None, until: float | None) -> Flow[None]:
    """Let so many seconds pass; where the limit or the deadline comes first, fail then, as the library would."""
    left = yield from _shorter(limit, until)
    if left is None or seconds < left:
        yield from sleep(seconds)
        return
    yield from sleep(left)
    yield from fail("ReadTimeout", "chaos: nothing came in time")


def _shorter(limit: float | None, until: float | None) -> Flow[float | None]:
    """The seconds of a limit, or those to a moment; None where there is neither."""
    if until is None:
        return limit
    left = max(0.0, until - (yield from now()))
    return left if limit is None else min(limit, left)


def _limits(request: Request) -> Mapping[str, float | None]:
    return request.extensions.get("timeout") or {}


def _one_of(choices: tuple[T, ...], draws: Draws) -> T:
    return choices[int(draws.next() * len(choices))]


def _span(latency: float | tuple[float, float]) -> tuple[float, float]:
    return latency if isinstance(latency, tuple) else (latency, latency)


def _some(name: str, chosen: tuple[str, ...], known: tuple[str, ...]) -> None:
    for one in chosen:
        if one not in known:
            raise ValueError(f"{name} are some of {', '.join(known)}, not {one!r}")
    if not chosen:
        raise ValueError(f"{name} are some of {', '.join(known)}, and not none")
