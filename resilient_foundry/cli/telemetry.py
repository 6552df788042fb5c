"""Spans and metrics of a command: kept while it runs, sent at its end to whoever is to have them.

A command lives for seconds, so nothing is sent in between; and it never fails because nobody takes its spans.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Generator, Iterable
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from opentelemetry import trace

from resilient_foundry._extras import MissingExtraError, require
from resilient_foundry.cli import last_trace
from resilient_foundry.cli.output import errors, say, warn
from resilient_foundry.foundry.errors import SettingsError
from resilient_foundry.foundry.settings import redacted
from resilient_foundry.telemetry.names import SCOPE, STABLE
from resilient_foundry.telemetry.provider import OF_A_BLOCK
from resilient_foundry.telemetry.spans import class_of, mark
from resilient_foundry.traces.jaeger import Jaeger, jaeger_beside
from resilient_foundry.traces.sdk import from_sdk
from resilient_foundry.traces.tree import traces_of

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
OTLP = "http://127.0.0.1:4318"
"""Where collectors, and Jaeger, take OTLP over HTTP."""
_SECONDS = 2.0
"""The longest that the end of a command waits for somebody to take its spans."""
_SIGNALS = ("/v1/traces", "/v1/metrics")


class Telemetry:
    """Providers of spans and metrics, and the spans that have ended under them."""

    def __init__(self, endpoint: str | None = None) -> None:
        """Raises `MissingExtraError` without the extra `telemetry`."""
        sdk = require("opentelemetry.sdk.trace", extra="telemetry")
        export = require("opentelemetry.sdk.trace.export", extra="telemetry")
        memory = require("opentelemetry.sdk.trace.export.in_memory_span_exporter", extra="telemetry")
        resources = require("opentelemetry.sdk.resources", extra="telemetry")
        measuring = require("opentelemetry.sdk.metrics", extra="telemetry")
        reading = require("opentelemetry.sdk.metrics.export", extra="telemetry")
        self.endpoint = endpoint
        """The URL that `--otlp` names."""
        self.asked = endpoint or next((os.environ[name] for name in ENDPOINTS if os.environ.get(name)), None)
        """Whoever is to have the spans, if anybody is."""
        self._kept: Any = memory.InMemorySpanExporter()
        # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES come before a name of ours.
        named = resources.OTELResourceDetector().detect().attributes
        name = {} if named.get("service.name") else {"service.name": "resilient-foundry"}
        resource = resources.Resource.create(name)
        self.provider: TracerProvider = sdk.TracerProvider(resource=resource)
        self.provider.add_span_processor(export.SimpleSpanProcessor(self._kept))
        self.reader: Any = reading.InMemoryMetricReader()
        self.meters: MeterProvider = measuring.MeterProvider([self.reader], resource=resource)

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        """Those that have ended."""
        spans: tuple[ReadableSpan, ...] = self._kept.get_finished_spans()
        return spans

    @property
    def trace_ids(self) -> list[str]:
        """The traces so far, in the order in which they began."""
        return [each.spans[0].trace_id for each in traces_of(from_sdk(self.spans))]

    @contextmanager
    def part(self, name: str) -> Generator[trace.Span]:
        """A span around what belongs together, so that one trace shows it all. Of an error it tells the class alone."""
        tracer = self.provider.get_tracer(SCOPE)
        with tracer.start_as_current_span(name, record_exception=False, set_status_on_exception=False) as span:
            try:
                yield span
            except Exception as error:
                mark(span, STABLE, class_of(error))
                raise

    def close(self) -> None:
        """End the providers."""
        self.provider.shutdown()
        self.meters.shutdown()


def otlp_url(value: str | None) -> str | None:
    """The URL that `--otlp` names, without the path of a signal; `SettingsError` for what is none."""
    if value is None:
        return None
    url = value.strip().rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise SettingsError(f"--otlp is {redacted(value)!r}; it takes a URL such as {OTLP}", name="otlp")
    for signal in _SIGNALS:
        url = url.removesuffix(signal)
    return url


@contextmanager
def collected(otlp: str | None = None, *, root: str | None = None) -> Generator[Telemetry | None]:
    """Spans and metrics for the time of the block, sent at its end where `otlp` or the environment asks for it.

    With `root` all of it is one trace, under a span of that name. What was traced last is kept for
    `resilient-foundry trace --last`. None without the extra `telemetry`.
    """
    endpoint = otlp_url(otlp)
    try:
        telemetry = Telemetry(endpoint)
    except MissingExtraError as error:
        asked = endpoint or next((os.environ[name] for name in ENDPOINTS if os.environ.get(name)), None)
        if asked:
            warn(f"no spans are sent to {redacted(asked)}: {error}")
        yield None
        return
    try:
        with telemetry.part(root) if root is not None else nullcontext():
            yield telemetry
    finally:
        last_trace.keep(from_sdk(telemetry.spans))
        if telemetry.asked:
            _send(telemetry, telemetry.asked)
        telemetry.close()


@contextmanager
def traced(otlp: str | None = None) -> Generator[Telemetry | None]:
    """Spans and metrics of everything in the block, unless somebody else has set up tracing."""
    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        yield None
        return
    with collected(otlp) as telemetry:
        if telemetry is None:
            yield None
            return
        before = OF_A_BLOCK.set((telemetry.provider, telemetry.meters))
        try:
            yield telemetry
        finally:
            OF_A_BLOCK.reset(before)


def link_to(telemetry: Telemetry, trace_id: str) -> str | None:
    """Where a person looks at the trace, if a Jaeger takes the spans."""
    found = jaeger_beside(telemetry.asked) if telemetry.asked else None
    if found is None:
        return None
    with Jaeger(found) as jaeger:
        return jaeger.link(trace_id)


def _send(telemetry: Telemetry, asked: str) -> None:
    """Send all in one piece, and say where it is; or say that it did not get there."""
    spans, where = telemetry.spans, redacted(asked)
    if not spans:  # nothing was traced, or nothing is to be
        return
    if not _within(_SECONDS + 1, telemetry, spans):
        warn(f"nobody took the {len(spans)} spans at {where}")
        return
    if not telemetry.endpoint:
        return  # who sets variables once for all does not want a line with every command
    for trace_id in telemetry.trace_ids[-1:]:
        say(f"trace {trace_id}: {link_to(telemetry, trace_id) or where}", to=errors)


def _export_spans(telemetry: Telemetry, spans: Iterable[ReadableSpan]) -> bool:
    exporting = require("opentelemetry.exporter.otlp.proto.http.trace_exporter", extra="telemetry")
    exporter = exporting.OTLPSpanExporter(endpoint=_of(telemetry, "/v1/traces"), timeout=_SECONDS)
    try:
        return bool(exporter.export(spans).name == "SUCCESS")
    finally:
        exporter.shutdown()


def _export_metrics(telemetry: Telemetry) -> None:
    """Not every backend takes metrics, and Jaeger does not: that is no complaint."""
    data = telemetry.reader.get_metrics_data()
    if data is not None and (telemetry.endpoint or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")):
        exporting = require("opentelemetry.exporter.otlp.proto.http.metric_exporter", extra="telemetry")
        exporter = exporting.OTLPMetricExporter(endpoint=_of(telemetry, "/v1/metrics"), timeout=_SECONDS)
        try:
            exporter.export(data)
        finally:
            exporter.shutdown()


def _of(telemetry: Telemetry, signal: str) -> str | None:
    """Where a signal goes; None leaves it to the variables, as they are specified."""
    return telemetry.endpoint and telemetry.endpoint + signal


def _within(seconds: float, telemetry: Telemetry, spans: Iterable[ReadableSpan]) -> bool:
    """Whether the spans were taken in this time. Metrics go after them, in the time that is left."""
    taken = threading.Event()

    def send() -> None:
        # Whatever goes wrong is not the command's failure, and its text may quote a URL with a key in it.
        with suppress(Exception):
            if _export_spans(telemetry, spans):
                taken.set()
                _export_metrics(telemetry)

    # What the exporter logs is said in one sentence. A thread, because looking up a name obeys no time limit.
    logger = logging.getLogger("opentelemetry.exporter")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    thread = threading.Thread(target=send, name="send-spans", daemon=True)
    thread.start()
    thread.join(seconds)
    return taken.is_set()
