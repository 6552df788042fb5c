"""AttemptTimeout: how long each phase of one attempt may take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from resilient_foundry.call import IDLE, Passage, options_of, with_extensions
from resilient_foundry.events import Attempt
from resilient_foundry.flow import Flow, Proceed, Request, Response, history
from resilient_foundry.policies._checks import number, seconds

_UNSAID = dict.fromkeys(("connect", "read", "write", "pool"), 5.0)
"""The default of httpx.Client and httpx2.Client."""
GROWTH = "resilience.growth"
"""`request.extensions` key: how many times longer than usual this attempt waits for its answer to begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptTimeout:
    """Limits the phases of one attempt, in seconds each; None leaves a phase without a limit of its own.

    `connect` is for the connection and its TLS handshake, `pool` for a free place in the connection pool, `write` for
    each piece of the request, `read` for the first byte of the answer: its head, and after the head the first chunk of
    its body; `idle` for each later chunk (None: as `read`).

    A smaller limit that the client or the request carries is kept; the 5 s for every phase that httpx puts on a
    request when nobody said anything is not taken for a wish. These are the library's own phases, set through
    `request.extensions["timeout"]`, so what is raised is its own ConnectTimeout, PoolTimeout, WriteTimeout or
    ReadTimeout. None of them limits the attempt as a whole; `Deadline` does. In synchronous code the chunks of a body
    share one limit, the longer of `read` and `idle`, because a socket read can't be interrupted.

    With `growth` above 1, an attempt that follows one that waited in vain waits that many times longer (`read`, `idle`,
    and the `first_event` of a `StreamGuard`): a local model whose caller gave up in mid-prefill starts again from
    nothing, and would be given up on again. In vain is a wait for the first byte, and that for the first event with
    content of a stream, whatever comments came meanwhile. A limit that the request itself carries is outgrown only with
    `CallOptions(elastic=True)`.
    """

    connect: float | None = 5.0
    pool: float | None = 5.0
    write: float | None = 10.0
    read: float | None = 10.0
    idle: float | None = None
    growth: float = 1.0

    def __post_init__(self) -> None:
        for name in ("connect", "pool", "write", "read", "idle"):
            seconds(f"AttemptTimeout.{name}", getattr(self, name))
        number("AttemptTimeout.growth", self.growth, at_least=1.0)

    def take(self, call: Passage) -> None:
        """The limits of the first attempt, which has nothing to outgrow."""
        asked = call.request.extensions.get("timeout")
        if not asked or asked == _UNSAID:
            call.limits = {"connect": self.connect, "pool": self.pool, "write": self.write, "read": self.read}
            call.idle = self.idle if self.idle is not None else self.read
        else:
            call.limits, call.idle = self._limits(asked, 1.0, elastic=False)

    def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
        """Send the attempt on with its limits written on it."""
        asked: Mapping[str, float | None] = request.extensions.get("timeout") or {}
        if asked == _UNSAID:
            asked = {}
        growth = 1.0
        if self.growth > 1:
            ledger = yield from history()
            growth = self.growth ** sum(map(_waited_in_vain, ledger.attempts))
        limits, idle = self._limits(asked, growth, elastic=options_of(request).elastic)
        more = {**request.extensions, "timeout": limits, IDLE: idle, GROWTH: growth}
        return (yield from proceed(with_extensions(request, more)))

    def _limits(
        self, asked: Mapping[str, float | None], growth: float, *, elastic: bool
    ) -> tuple[dict[str, float | None], float | None]:
        """The limits of an attempt by phase, and that between two chunks."""
        limits = {"connect": self.connect, "pool": self.pool, "write": self.write, "read": _grown(self.read, growth)}
        own_idle = _grown(self.idle if self.idle is not None else self.read, growth)
        asked_read = asked.get("read")
        if elastic:
            asked_read = _grown(asked_read, growth)
        for phase, limit in {**asked, "read": asked_read}.items():
            limits[phase] = _shorter(limits.get(phase), limit)
        return limits, _shorter(own_idle, asked_read)


def _waited_in_vain(attempt: Attempt) -> bool:
    """Whether the answer did not begin in time; so is that error called in every library."""
    return attempt.error == "ReadTimeout" and attempt.first_event_after is None


def _grown(limit: float | None, growth: float) -> float | None:
    return None if limit is None else limit * growth


def _shorter(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)
