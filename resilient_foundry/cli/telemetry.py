"""Spans of a command: kept while it runs, and sent at its end where OTEL_EXPORTER_OTLP_ENDPOINT says.

A command lives for seconds, so nothing is sent in between; and it never fails because nobody takes its spans.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from opentelemetry import trace

from resilient_foundry._extras import MissingExtraError, require
from resilient_foundry.cli.output import warn

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_SECONDS = 2.0
"""The longest that the end of a command waits for somebody to take its spans."""


class Telemetry:
    """A tracer provider, and the spans that have ended under it."""

    def __init__(self) -> None:
        """Raises `MissingExtraError` without the extra `telemetry`."""
        sdk = require("opentelemetry.sdk.trace", extra="telemetry")
        export = require("opentelemetry.sdk.trace.export", extra="telemetry")
        memory = require("opentelemetry.sdk.trace.export.in_memory_span_exporter", extra="telemetry")
        resources = require("opentelemetry.sdk.resources", extra="telemetry")
        self._kept: Any = memory.InMemorySpanExporter()
        # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES come before a name of ours.
        named = resources.OTELResourceDetector().detect().attributes
        name = {} if named.get("service.name") else {"service.name": "resilient-foundry"}
        self.provider: TracerProvider = sdk.TracerProvider(resource=resources.Resource.create(name))
        self.provider.add_span_processor(export.SimpleSpanProcessor(self._kept))

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        """Those that have ended."""
        spans: tuple[ReadableSpan, ...] = self._kept.get_finished_spans()
        return spans


@contextmanager
def collected() -> Generator[Telemetry | None]:
    """Spans for the time of the block, sent at its end where the environment asks for it.

    None without the extra `telemetry`.
    """
    endpoint = next((os.environ[name] for name in ENDPOINTS if os.environ.get(name)), None)
    try:
        telemetry = Telemetry()
    except MissingExtraError as error:
        if endpoint:
            warn(f"no spans are sent to {endpoint}: {error}")
        yield None
        return
    try:
        yield telemetry
    finally:
        if endpoint:
            _send(telemetry.spans, endpoint)
        telemetry.provider.shutdown()


@contextmanager
def traced() -> Generator[None]:
    """Spans of everything in the block, where the environment asks for them and nobody else has set up tracing."""
    asked = any(os.environ.get(name) for name in ENDPOINTS)
    if not asked or not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        yield
        return
    with collected() as telemetry:
        if telemetry is not None:
            trace.set_tracer_provider(telemetry.provider)
        yield


def _send(spans: tuple[ReadableSpan, ...], endpoint: str) -> None:
    """Send them in one piece, or say that they did not get there."""
    delivered = threading.Event()
    why: list[str] = []

    def send() -> None:
        try:
            exporting = require("opentelemetry.exporter.otlp.proto.http.trace_exporter", extra="telemetry")
            exporter = exporting.OTLPSpanExporter(timeout=_SECONDS)
            try:
                result = exporter.export(spans)
            finally:
                exporter.shutdown()
            if result.name == "SUCCESS":
                delivered.set()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is not the command's failure
            why.append(str(error))

    # What the exporter logs is said below in one sentence. A thread, because looking up a name obeys no time limit.
    logging.getLogger("opentelemetry.exporter").addHandler(logging.NullHandler())
    thread = threading.Thread(target=send, name="send-spans", daemon=True)
    thread.start()
    thread.join(_SECONDS + 1)
    if not delivered.is_set():
        warn("; ".join([f"nobody took the {len(spans)} spans at {endpoint}", *why]))
