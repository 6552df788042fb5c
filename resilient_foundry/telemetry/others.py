"""Those who trace HTTP as well: what they would make of an attempt that has its span already is left out."""

from __future__ import annotations

from opentelemetry import context as contexts
from opentelemetry.context import Context

_KEY: str | None = getattr(contexts, "_SUPPRESS_HTTP_INSTRUMENTATION_KEY", None)
"""What OpenTelemetry's instrumentations of HTTP look for, under a private name; without it they count as well."""


def hide_from_others(context: Context) -> Context:
    """The context, in which no instrumentation of HTTP makes a span or a measurement of its own."""
    return context if _KEY is None else contexts.set_value(_KEY, value=True, context=context)
