"""Whoever takes spans and metrics: those that were given, or those of the process; None where nobody does."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any
from weakref import WeakKeyDictionary

from opentelemetry import metrics, trace

from resilient_foundry.flow import URL
from resilient_foundry.origin import DEFAULT_PORTS, origin
from resilient_foundry.telemetry.instruments import Instruments
from resilient_foundry.telemetry.names import SCOPE, Names

Server = tuple[str, dict[str, str | int]]
"""An origin, and the attributes of spans that name it."""
_SERVERS = 1000
"""Origins that a provider remembers."""

OF_A_BLOCK: ContextVar[tuple[trace.TracerProvider, metrics.MeterProvider] | None] = ContextVar(
    "of_a_block", default=None
)
"""Who takes spans and metrics of the calls of a block, before those of the process, which can be set only once."""


class Provider:
    """A tracer, the instruments, and the names that both use."""

    __slots__ = ("_servers", "follows_parents", "instruments", "measures", "names", "tracer", "traces")

    def __init__(
        self, tracers: trace.TracerProvider | None, meters: metrics.MeterProvider | None, names: Names
    ) -> None:
        self.names = names
        self.traces = tracers is not None
        """Whether anybody takes spans."""
        self.tracer: trace.Tracer = (tracers or trace.NoOpTracerProvider()).get_tracer(SCOPE)
        self.follows_parents = type(getattr(self.tracer, "sampler", None)).__name__ == "ParentBased"
        """Whether nothing is recorded under what is not: the sampler that SDKs begin with, by its name in the SDK."""
        self.measures = meters is not None
        """Whether anybody takes metrics."""
        self.instruments = _instruments(meters or metrics.NoOpMeterProvider(), names)
        self._servers: dict[tuple[str, str, int | None], Server] = {}

    def server(self, url: URL) -> Server:
        """Who is asked: the origin, and its attributes; those of most calls are known already."""
        key = url.scheme, url.host, url.port
        known = self._servers.get(key)
        if known is None:
            if len(self._servers) >= _SERVERS:
                self._servers.clear()
            known = self._servers[key] = origin(url), server_of(url, self.names)
        return known


class Providers:
    """The provider of one policy: looked up with each call, made anew when somebody has set up another SDK."""

    __slots__ = ("_made", "_warned")

    def __init__(self) -> None:
        self._made: tuple[object, object, Provider] | None = None
        self._warned = False

    def may_warn(self) -> bool:
        """Whether nobody was warned yet; once is enough."""
        warned, self._warned = self._warned, True
        return not warned

    def find(
        self,
        tracers: trace.TracerProvider | None,
        meters: metrics.MeterProvider | None,
        names: Callable[[], Names],
        *,
        needed: bool = False,
    ) -> Provider | None:
        """The provider for those given, or else for those of the process; None where neither does anything.

        `names` is asked once for each. With `needed` there is one all the same, for there is somebody else who listens.
        """
        here = OF_A_BLOCK.get()
        if here is not None:
            tracers, meters = tracers or here[0], meters or here[1]
        tracers = tracers or trace.get_tracer_provider()
        meters = meters or metrics.get_meter_provider()
        made = self._made
        if made is not None and made[0] is tracers and made[1] is meters:
            return made[2]
        real_tracers = None if isinstance(tracers, NO_TRACES) else tracers
        real_meters = None if isinstance(meters, NO_METRICS) else meters
        if real_tracers is None and real_meters is None and not needed:
            return None
        provider = Provider(real_tracers, real_meters, names())
        self._made = tracers, meters, provider
        return provider


def server_of(url: URL, names: Names) -> dict[str, str | int]:
    """Who is asked."""
    port = url.port or DEFAULT_PORTS.get(url.scheme)
    return {names.server_address: url.host} | ({names.server_port: port} if port else {})


_made: WeakKeyDictionary[metrics.MeterProvider, dict[Names, Instruments]] = WeakKeyDictionary()


def _instruments(meters: metrics.MeterProvider, names: Names) -> Instruments:
    """The same for all policies that measure there: stacks may share a circuit, which is in one state.

    Nothing is locked, and so nothing is held at a fork: of two threads that come at once the first one's are kept.
    """
    of_names = _made.setdefault(meters, {})
    made = of_names.get(names)
    return made if made is not None else of_names.setdefault(names, Instruments(meters.get_meter(SCOPE), names))


NO_TRACES = (trace.ProxyTracerProvider, trace.NoOpTracerProvider)
_PROXY: Any = getattr(getattr(metrics, "_internal", None), "_ProxyMeterProvider", metrics.NoOpMeterProvider)
"""What stands there until somebody sets up an SDK, under a private name. (Who is there when this module is imported may
be an SDK already.)"""
NO_METRICS = (_PROXY, metrics.NoOpMeterProvider)
