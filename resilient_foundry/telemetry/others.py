"""Those who trace HTTP as well: what they would make of an attempt that has its span already is left out."""

from __future__ import annotations

import os
from typing import Any

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context

_KEY: str | None = getattr(contexts, "_SUPPRESS_HTTP_INSTRUMENTATION_KEY", None)
"""What OpenTelemetry's instrumentations of HTTP look for, under a private name; without it they count as well."""


_HTTPX = "opentelemetry.instrumentation.httpx"


def stands_around() -> bool:
    """Whether OpenTelemetry's instrumentation of httpx has made the current span, of the call that begins now.

    It does so where it was switched on for a client (`instrument_client`) into which our transport was put before.
    """
    scope: Any = getattr(trace.get_current_span(), "instrumentation_scope", None)  # spans of the SDK have one
    if scope is None or not str(scope.name).startswith(_HTTPX):
        return False
    return _KEY is None or not contexts.get_value(_KEY)


def measures_as_we_do() -> bool:
    """Whether it was told to use the stable names of metrics, which are ours."""
    opted = os.environ.get("OTEL_SEMCONV_STABILITY_OPT_IN", "").split(",")
    return not {"http", "http/dup"}.isdisjoint(map(str.strip, opted))


def hide_from_others(context: Context) -> Context:
    """The context, in which no instrumentation of HTTP makes a span or a measurement of its own."""
    return context if _KEY is None else contexts.set_value(_KEY, value=True, context=context)
