"""Spans as OpenTelemetry's SDK keeps them in memory. The SDK itself is not imported: whoever has such spans has it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from resilient_foundry.traces.tree import KINDS, Attributes, Link, Span, SpanEvent, Status, as_value


def from_sdk(spans: Iterable[Any]) -> list[Span]:
    """The spans of an `InMemorySpanExporter`, or whatever else gives `ReadableSpan`s; they need not have ended.

    TypeError for what is none.
    """
    return [_span(each) for each in spans]


def _span(found: Any) -> Span:
    try:
        context, parent = found.context, found.parent
        name = found.kind.name.lower()
        service = found.resource.attributes.get("service.name", "")
        scope = found.instrumentation_scope
        return Span(
            trace_id=f"{context.trace_id:032x}",
            span_id=f"{context.span_id:016x}",
            parent_id=f"{parent.span_id:016x}" if parent is not None else None,
            name=found.name,
            kind=name if name in KINDS else "internal",
            start=found.start_time or 0,
            end=found.end_time,
            status=cast("Status", found.status.status_code.name.lower()),
            status_message=found.status.description or "",
            attributes=_attributes(found.attributes),
            events=tuple(SpanEvent(each.name, each.timestamp, _attributes(each.attributes)) for each in found.events),
            links=tuple(
                Link(f"{each.context.trace_id:032x}", f"{each.context.span_id:016x}", _attributes(each.attributes))
                for each in found.links
            ),
            service=str(service),
            scope=scope.name if scope is not None else "",
        )
    except AttributeError as error:
        raise TypeError(f"a span of OpenTelemetry's SDK is wanted, not {found!r}") from error


def _attributes(found: Mapping[str, object] | None) -> Attributes:
    return {name: as_value(value) for name, value in (found or {}).items()}
