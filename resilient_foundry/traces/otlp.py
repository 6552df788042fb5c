"""OTLP/JSON, as exporters and the collector's file exporter write it, read and written.

https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding: names in lowerCamelCase, ids in hexadecimal, integers
of 64 bits as text or as numbers, enums as numbers, and what is not known is passed over.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any, cast

from resilient_foundry.traces.tree import (
    STATUSES,
    Attributes,
    Kind,
    Link,
    Span,
    SpanEvent,
    Status,
    Value,
    as_value,
)

_KINDS = (None, "internal", "server", "client", "producer", "consumer")
_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
_SPACE = re.compile(r"\s*")
_SIGNALS = ("resourceSpans", "resourceMetrics", "resourceLogs", "resourceProfiles")
_LATEST = 2**63 - 1
"""Nanoseconds: the year 2262."""


def from_otlp_json(text: str | bytes) -> list[Span]:
    """The spans in one document or in several, one after the other, each of which may be a list of documents.

    What a file of the collector holds besides, such as metrics, is passed over. ValueError says in one sentence what is
    not as it must be, and where.
    """
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise ValueError("it is no OTLP JSON: no text in UTF-8 (a compressed file must be unpacked)") from None
    try:
        return [span for place in _documents(text) for span in _spans(place)]
    except RecursionError:
        raise ValueError("it is no OTLP JSON: it is nested too deeply") from None


def spans_of_otlp(document: object) -> list[Span]:
    """The spans of one parsed document; ValueError as `from_otlp_json`."""
    try:
        return list(_spans(_Place(document, "")))
    except RecursionError:
        raise ValueError("it is no OTLP JSON: it is nested too deeply") from None


def to_otlp_json(spans: Iterable[Span]) -> str:
    """One document with these spans in their order. `from_otlp_json` reads the same spans."""
    resources: list[dict[str, Any]] = []
    for service, of_service in groupby(spans, key=lambda span: span.service):
        scopes = [
            {"scope": {"name": scope}, "spans": [_written(span) for span in of_scope]}
            for scope, of_scope in groupby(of_service, key=lambda span: span.scope)
        ]
        resources.append({"resource": {"attributes": _pairs({"service.name": service})}, "scopeSpans": scopes})
    return json.dumps({"resourceSpans": resources}, separators=(",", ":"))


class _Place:
    """Something in a JSON document, and where it stands. What is null is not there."""

    __slots__ = ("found", "where")

    def __init__(self, found: object, where: str) -> None:
        self.found = found
        self.where = where

    def wrong(self, wanted: str) -> ValueError:
        """What to raise where this is not what must stand here."""
        said = json.dumps(self.found)
        shown = said if len(said) <= 40 else f"{said[:40]}..."  # noqa: PLR2004 - of a line that somebody reads
        return ValueError(f"it is no OTLP JSON: {self.where or 'a document'} must be {wanted}, and is {shown}")

    def at(self, name: str) -> _Place:
        """What has this name in here."""
        where = f"{self.where}.{name}" if self.where else name
        found = self.found
        if not isinstance(found, dict):
            raise self.wrong("an object")
        return _Place(cast("dict[str, object]", found).get(name), where)

    def items(self) -> Iterator[_Place]:
        """What stands in this list; nothing where there is none."""
        found = self.found
        if found is None:
            return
        if not isinstance(found, list):
            raise self.wrong("a list")
        for number, each in enumerate(cast("list[object]", found)):
            yield _Place(each, f"{self.where}[{number}]")

    def text(self) -> str:
        """This text; the empty one where there is none."""
        if self.found is None:
            return ""
        if not isinstance(self.found, str):
            raise self.wrong("a text")
        return self.found

    def integer(self) -> int:
        """This integer, or the one that this text is; 0 where there is none."""
        if self.found is None:
            return 0
        if isinstance(self.found, bool) or not isinstance(self.found, (int, str)):
            raise self.wrong("an integer")
        try:
            return int(self.found)
        except ValueError:
            raise self.wrong("an integer") from None

    def number(self) -> float:
        """This number, or the one that this text is, such as `NaN`."""
        try:
            if isinstance(self.found, (int, float, str)) and not isinstance(self.found, bool):
                return float(self.found)
        except (OverflowError, ValueError):
            pass
        raise self.wrong("a number")

    def moment(self) -> int:
        """Nanoseconds since 1970."""
        found = self.integer()
        if not 0 <= found <= _LATEST:
            raise self.wrong("nanoseconds since 1970")
        return found

    def id(self, digits: int) -> str:
        """This many hexadecimal digits."""
        found = self.text().lower()
        if len(found) != digits or set(found) - set("0123456789abcdef"):
            raise self.wrong(f"{digits} hexadecimal digits")
        return found

    def one_of(self, names: tuple[str | None, ...], prefix: str) -> str | None:
        """The name that this number stands for, or that this is with its prefix; None for another one."""
        if isinstance(self.found, str):
            name = self.found.removeprefix(prefix).lower()
            return name if name in names else None
        number = self.integer()
        return names[number] if 0 <= number < len(names) else None


def _documents(text: str) -> Iterator[_Place]:
    decoder = json.JSONDecoder()
    at, number = _behind_the_space(text, 0), 0
    if at == len(text):
        raise ValueError("it is empty")
    while at < len(text):
        try:
            found, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise ValueError(f"it is no JSON: line {error.lineno}, column {error.colno}: {error.msg}") from None
        except ValueError:  # of an integer with thousands of digits
            raise ValueError("it is no OTLP JSON: it holds a number of thousands of digits") from None
        at = _behind_the_space(text, at)
        number += 1
        place = _Place(found, f"document {number}" if number > 1 else "")
        yield from place.items() if isinstance(found, list) else (place,)


def _behind_the_space(text: str, at: int) -> int:
    """Where the next thing begins."""
    return cast("re.Match[str]", _SPACE.match(text, at)).end()


def _spans(place: _Place) -> Iterator[Span]:
    if not any(place.at(name).found is not None for name in _SIGNALS):
        raise ValueError(f"it is no OTLP JSON: {place.where or 'a document'} has no resourceSpans")
    for resource in place.at("resourceSpans").items():
        service = str(_attributes(resource.at("resource")).get("service.name", ""))
        for scope in resource.at("scopeSpans").items():
            library = scope.at("scope")
            name = library.at("name").text() if library.found is not None else ""
            for each in scope.at("spans").items():
                yield _span(each, service, name)


def _span(place: _Place, service: str, scope: str) -> Span:
    parent, status = place.at("parentSpanId"), place.at("status")
    said = status.found is not None
    return Span(
        trace_id=place.at("traceId").id(32),
        span_id=place.at("spanId").id(16),
        parent_id=parent.id(16) if parent.text() else None,
        name=place.at("name").text(),
        # The first kind is SPAN_KIND_UNSPECIFIED, of which the specification says that it may be taken for INTERNAL.
        kind=cast("Kind", place.at("kind").one_of(_KINDS, "SPAN_KIND_") or "internal"),
        start=place.at("startTimeUnixNano").moment(),
        end=place.at("endTimeUnixNano").moment() or None,
        status=cast("Status", (status.at("code").one_of(STATUSES, "STATUS_CODE_") if said else None) or "unset"),
        status_message=status.at("message").text() if said else "",
        attributes=_attributes(place),
        events=tuple(
            SpanEvent(each.at("name").text(), each.at("timeUnixNano").moment(), _attributes(each))
            for each in place.at("events").items()
        ),
        links=tuple(
            Link(each.at("traceId").id(32), each.at("spanId").id(16), _attributes(each))
            for each in place.at("links").items()
        ),
        service=service,
        scope=scope,
    )


def _attributes(place: _Place) -> Attributes:
    if place.found is None:
        return {}
    return {each.at("key").text(): as_value(_value(each.at("value"))) for each in place.at("attributes").items()}


def _value(place: _Place) -> Any:  # JSON: anything
    """What an AnyValue holds."""
    if place.found is None:
        return None
    for name, read in _VALUES.items():
        held = place.at(name)
        if held.found is not None:
            return read(held)
    return None


def _boolean(place: _Place) -> bool:
    if not isinstance(place.found, bool):
        raise place.wrong("true or false")
    return place.found


def _list(place: _Place) -> list[Any]:
    return [_value(each) for each in place.at("values").items()]


def _mapping(place: _Place) -> dict[str, Any]:
    return {each.at("key").text(): _value(each.at("value")) for each in place.at("values").items()}


_VALUES: Mapping[str, Callable[[_Place], Any]] = {
    "stringValue": _Place.text,
    "boolValue": _boolean,
    "intValue": _Place.integer,
    "doubleValue": _Place.number,
    "arrayValue": _list,
    "kvlistValue": _mapping,
    "bytesValue": _Place.text,  # base64, and stays so
}


def _written(span: Span) -> dict[str, Any]:
    """What is empty is left out, as protobuf leaves it out."""
    told: dict[str, Any] = {
        "traceId": span.trace_id,
        "spanId": span.span_id,
        "parentSpanId": span.parent_id,
        "name": span.name,
        "kind": _KINDS.index(span.kind),
        "startTimeUnixNano": str(span.start),
        "endTimeUnixNano": str(span.end) if span.end is not None else None,
        "attributes": _pairs(span.attributes),
        "events": [
            {"timeUnixNano": str(each.at), "name": each.name, "attributes": _pairs(each.attributes)}
            for each in span.events
        ],
        "links": [
            {"traceId": each.trace_id, "spanId": each.span_id, "attributes": _pairs(each.attributes)}
            for each in span.links
        ],
        "status": {"code": STATUSES.index(span.status), "message": span.status_message},
    }
    return {name: value for name, value in told.items() if value not in (None, [])}


def _pairs(attributes: Attributes) -> list[dict[str, Any]]:
    return [{"key": name, "value": _any_value(value)} for name, value in attributes.items()]


def _any_value(value: Value) -> dict[str, Any]:
    match value:
        case tuple():
            return {"arrayValue": {"values": [_any_value(each) for each in value]}}
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            # JSON has no such numbers; protobuf writes them as text.
            return {"doubleValue": value if math.isfinite(value) else _NOT_FINITE[str(value)]}
        case _:
            return {"stringValue": value}
