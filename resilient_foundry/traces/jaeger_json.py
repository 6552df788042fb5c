"""Jaeger's own JSON, as its UI saves a trace and its older API answers: less than was sent, and understood by all.

Times are cut to microseconds, lists have become text, links have lost their attributes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from resilient_foundry.traces.tree import KINDS, Attributes, Kind, Link, Span, SpanEvent, Status, Value, as_value

_MICROSECOND = 1000
_STATUSES: Mapping[object, Status] = {"OK": "ok", "ERROR": "error"}
_FIELDS = frozenset(
    {"span.kind", "otel.status_code", "otel.status_description", "otel.scope.name", "otel.scope.version"}
)
"""Tags that were no attributes when the span was sent."""

_Tags = list[dict[str, Any]]  # JSON: anything


def is_jaeger_json(document: object) -> bool:
    """Whether this is an object with a list of traces, or of none, under `data`."""
    if not isinstance(document, dict):
        return False
    data = cast("dict[str, object]", document).get("data")
    return isinstance(data, list) and all(
        isinstance(each, dict) and "spans" in each for each in cast("list[object]", data)
    )


def spans_of_jaeger_json(document: object) -> list[Span]:
    """The spans of every trace in it; ValueError where it is something else."""
    if not is_jaeger_json(document):
        raise ValueError("it is no trace as Jaeger saves it: there is no list of traces under data")
    traces = cast("dict[str, _Tags]", document)["data"]
    try:
        return [_span(span, trace["processes"][span["processID"]]) for trace in traces for span in trace["spans"]]
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"it is no trace as Jaeger saves it: {error!r}") from error


def _span(found: dict[str, Any], process: dict[str, Any]) -> Span:
    tags: _Tags = found["tags"]
    kinds = [tag["value"] for tag in tags if tag["key"] == "span.kind" and tag["value"] in KINDS]
    fields = {tag["key"]: tag["value"] for tag in tags if tag["key"] in _FIELDS}
    status = _STATUSES.get(fields.get("otel.status_code"), "unset")
    trace_id = _id(found["traceID"], 32)
    parent: str | None = None
    links: list[Link] = []
    for reference in cast("_Tags", found["references"]):
        link = Link(_id(reference["traceID"], 32), _id(reference["spanID"], 16))
        if parent is None and reference["refType"] == "CHILD_OF" and link.trace_id == trace_id:
            parent = link.span_id
        else:
            links.append(link)
    start = found["startTime"] * _MICROSECOND
    return Span(
        trace_id=trace_id,
        span_id=_id(found["spanID"], 16),
        parent_id=parent,
        name=found["operationName"],
        kind=cast("Kind", kinds[-1]) if kinds else "internal",
        start=start,
        end=start + found["duration"] * _MICROSECOND,
        status=status,
        status_message=fields.get("otel.status_description", ""),
        attributes=_attributes([tag for tag in tags if not _is_added(tag, status)]),
        events=tuple(map(_event, found["logs"])),
        links=tuple(links),
        service=process["serviceName"],
        scope=fields.get("otel.scope.name", ""),
    )


def _is_added(tag: dict[str, Any], status: Status) -> bool:
    """Jaeger says of what ended with an error that `error` is true; another attribute of that name is the span's."""
    return tag["key"] in _FIELDS or (tag["key"] == "error" and tag["value"] is True and status == "error")


def _event(log: dict[str, Any]) -> SpanEvent:
    """The first field `event` is its name, and the others are its attributes."""
    fields: _Tags = log["fields"]
    named = next((each for each in fields if each["key"] == "event"), None)
    attributes = _attributes([each for each in fields if each is not named])
    return SpanEvent(str(named["value"]) if named else "", log["timestamp"] * _MICROSECOND, attributes)


def _attributes(tags: _Tags) -> Attributes:
    return {tag["key"]: _value(tag) for tag in tags}


def _value(tag: dict[str, Any]) -> Value:
    """Integers beyond 2**53 have come as text, and whole numbers without their fraction."""
    match tag["type"]:
        case "int64":
            return int(tag["value"])
        case "float64":
            return float(tag["value"])
        case _:
            return as_value(tag["value"])


def _id(found: str, digits: int) -> str:
    """An older Jaeger leaves leading zeros away."""
    return found.zfill(digits)
