"""A trace that somebody saved from Jaeger's UI; a real Jaeger's is read in tests/jaeger."""

from __future__ import annotations

from typing import Any

import pytest

from resilient_foundry.traces.jaeger_json import is_jaeger_json, spans_of_jaeger_json
from resilient_foundry.traces.tree import Link


def saved(**of_the_span: Any) -> dict[str, Any]:  # JSON: anything
    """A document with one span."""
    span: dict[str, Any] = {
        "traceID": "a" * 32,
        "spanID": "b" * 16,
        "operationName": "chat",
        "references": [],
        "startTime": 1,
        "duration": 2,
        "tags": [],
        "logs": [],
        "processID": "p1",
        "warnings": None,
    }
    process: dict[str, Any] = {"serviceName": "me", "tags": []}
    return {"data": [{"traceID": "a" * 32, "spans": [{**span, **of_the_span}], "processes": {"p1": process}}]}


def tag(key: str, value: object, kind: str = "string") -> dict[str, object]:
    return {"key": key, "type": kind, "value": value}


def test_ids_get_their_leading_zeros_back() -> None:
    """An older Jaeger leaves them away, and its trace ids may be half as long."""
    (span,) = spans_of_jaeger_json(saved(traceID="1", spanID="2"))
    assert (span.trace_id, span.span_id) == (f"{1:032x}", f"{2:016x}")


def test_the_parent_is_the_first_of_the_same_trace_and_the_others_are_links() -> None:
    """A span of another trace that caused this one stands under no span of this."""
    elsewhere = {"refType": "CHILD_OF", "traceID": "c" * 32, "spanID": "1" * 16}
    parent = {"refType": "CHILD_OF", "traceID": "a" * 32, "spanID": "2" * 16}
    follows = {"refType": "FOLLOWS_FROM", "traceID": "a" * 32, "spanID": "3" * 16}
    (span,) = spans_of_jaeger_json(saved(references=[follows, elsewhere, parent]))
    assert span.parent_id == "2" * 16
    assert span.links == (Link("a" * 32, "3" * 16), Link("c" * 32, "1" * 16))


def test_what_jaeger_made_tags_of_is_a_field_again() -> None:
    tags = [tag("span.kind", "client"), tag("otel.status_code", "ERROR"), tag("otel.status_description", "boom")]
    (span,) = spans_of_jaeger_json(
        saved(tags=[*tags, tag("error", value=True, kind="bool"), tag("size", "7", "int64")])
    )
    assert (span.kind, span.status, span.status_message) == ("client", "error", "boom")
    assert span.attributes == {"size": 7}


def test_an_attribute_of_the_same_name_is_no_kind_and_no_status() -> None:
    tags = [tag("span.kind", "weird"), tag("otel.status_code", "x"), tag("error", value=True, kind="bool")]
    (span,) = spans_of_jaeger_json(saved(tags=tags))
    assert (span.kind, span.status, span.attributes) == ("internal", "unset", {"error": True})


def test_a_log_without_a_name_is_an_event_without_one() -> None:
    """Clients of Jaeger's own logged fields, and no event."""
    (span,) = spans_of_jaeger_json(saved(logs=[{"timestamp": 5, "fields": [tag("message", "hello")]}]))
    (event,) = span.events
    assert (event.name, event.at, event.attributes) == ("", 5000, {"message": "hello"})


@pytest.mark.parametrize(
    "document", [None, [], {}, {"data": None}, {"data": {}}, {"data": ["me"]}, {"data": [{"traceID": "a" * 32}]}]
)
def test_what_is_no_trace_of_jaegers_is_told_from_one(document: object) -> None:
    assert not is_jaeger_json(document)
    with pytest.raises(ValueError, match="it is no trace as Jaeger saves it: there is no list of traces under data"):
        spans_of_jaeger_json(document)


@pytest.mark.parametrize(
    "wrong", [{"processID": "p2"}, {"tags": 3}, {"startTime": None}, {"traceID": 7}, {"logs": [{"timestamp": 1}]}]
)
def test_what_is_missing_is_named(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="it is no trace as Jaeger saves it: "):
        spans_of_jaeger_json(saved(**wrong))
