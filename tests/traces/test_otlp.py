"""OTLP/JSON."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict  # type: ignore[import-untyped]  # it has no types
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.trace import SpanKind, Status, StatusCode

from resilient_foundry.traces.otlp import from_otlp_json, spans_of_otlp, to_otlp_json
from resilient_foundry.traces.sdk import from_sdk
from resilient_foundry.traces.tree import Span
from tests.traces.spans import finished, spans, told_to_an_sdk

SPAN = {"traceId": "5B8EFFF798038103D269B633813FC60C", "spanId": "EEE19B7EC3C1B174", "name": "mine"}


def document(**changes: object) -> dict[str, Any]:
    return {"resourceSpans": [{"scopeSpans": [{"spans": [{**SPAN, **changes}]}]}]}


def read(**changes: object) -> Span:
    [span] = spans_of_otlp(document(**changes))
    return span


@given(st.lists(spans, max_size=3))
def test_what_is_written_is_read_as_it_was(given: list[Span]) -> None:
    """Every field, in the order of the spans."""
    assert from_otlp_json(to_otlp_json(given)) == given


def test_what_opentelemetry_s_own_exporter_makes_of_spans_is_what_they_are() -> None:
    """Its encoder knows protobuf alone, whose JSON differs from OTLP's by its ids and its enums."""
    provider, exporter = told_to_an_sdk()
    tracer = provider.get_tracer("a.library")
    with tracer.start_as_current_span("call") as call:
        call.add_event("waited", {"delay": 1.5, "attempt": 1})
        with tracer.start_as_current_span("POST", kind=SpanKind.CLIENT, attributes={"list": ["a", "b"]}) as attempt:
            attempt.set_status(Status(StatusCode.ERROR, "said"))
    found = finished(exporter)
    told = MessageToDict(encode_spans(found), use_integers_for_enums=True)
    for each in told["resourceSpans"][0]["scopeSpans"][0]["spans"]:
        each |= {name: base64.b64decode(each[name]).hex() for name in each if name.endswith("Id")}
    assert from_otlp_json(json.dumps(told)) == from_sdk(found)


def test_the_example_of_the_specification_is_read() -> None:
    """opentelemetry-proto, examples/trace.json: its ids are upper case, its times are numbers."""
    span = read(
        parentSpanId="EEE19B7EC3C1B173",
        startTimeUnixNano=1544712660000000000,
        endTimeUnixNano="1544712661000000000",
        kind=2,
        attributes=[{"key": "my.span.attr", "value": {"stringValue": "some value"}}],
        somethingNew={"of": "a later version"},
    )
    assert (span.trace_id, span.span_id) == ("5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174")
    assert (span.kind, span.duration, span.parent_id) == ("server", 1.0, "eee19b7ec3c1b173")
    assert span.attributes == {"my.span.attr": "some value"}


@pytest.mark.parametrize(
    ("value", "read_as"),
    [
        ({"intValue": "-7"}, -7),
        ({"intValue": 7}, 7),
        ({"boolValue": False}, False),
        ({"doubleValue": "Infinity"}, float("inf")),
        ({"doubleValue": 1}, 1.0),
        ({"arrayValue": {}}, ()),
        (
            {"arrayValue": {"values": [{"intValue": "1"}, {"arrayValue": {"values": [{"stringValue": "a"}]}}]}},
            (1, '["a"]'),
        ),
        ({"kvlistValue": {"values": [{"key": "a", "value": {"boolValue": True}}]}}, '{"a": true}'),
        ({"bytesValue": "AAE="}, "AAE="),
        ({}, ""),
        (None, ""),
    ],
)
def test_every_kind_of_value_is_read(value: object, read_as: object) -> None:
    """What has parts becomes text, for an attribute here is plain."""
    found = read(attributes=[{"key": "it", "value": value}]).attributes["it"]
    assert (found, type(found)) == (read_as, type(read_as))


@pytest.mark.parametrize(
    ("changes", "kind", "status"),
    [
        ({"kind": 0}, "internal", "unset"),
        ({"kind": "SPAN_KIND_CLIENT", "status": {"code": "STATUS_CODE_ERROR"}}, "client", "error"),
        ({"kind": 99, "status": {"code": 99}}, "internal", "unset"),
        ({"kind": None, "status": {}}, "internal", "unset"),
        ({"kind": 3, "status": None}, "client", "unset"),
    ],
)
def test_kinds_and_statuses_are_numbers_and_older_files_name_them(
    changes: dict[str, Any], kind: str, status: str
) -> None:
    span = read(**changes)
    assert (span.kind, span.status) == (kind, status)


def test_files_of_the_collector_are_read_line_by_line() -> None:
    """Each line is a document, metrics may stand between them, and an end of line may be that of Windows."""
    lines = [json.dumps(document(name="a")), '{"resourceMetrics": []}', json.dumps(document(name="b")), ""]
    assert [span.name for span in from_otlp_json("\r\n".join(lines))] == ["a", "b"]
    assert [span.name for span in from_otlp_json(f"\ufeff[{lines[0]},{lines[2]}]\n".encode())] == ["a", "b"]
    assert [span.name for span in from_otlp_json(json.dumps(document(name="a"), indent=2) * 2)] == ["a", "a"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it is empty"),
        (" \n ", "it is empty"),
        ("Hello", "it is no JSON: line 1, column 1: Expecting value"),
        ('{"resourceSpans": []}\n{"resourceSpa', "it is no JSON: line 2, column 2: Unterminated string starting at"),
        ("7", "it is no OTLP JSON: a document must be an object, and is 7"),
        ("{}", "it is no OTLP JSON: a document has no resourceSpans"),
        ('{"resourceSpans": []} {"data": []}', "it is no OTLP JSON: document 2 has no resourceSpans"),
        ('{"resourceSpans": {}}', "it is no OTLP JSON: resourceSpans must be a list, and is {}"),
        ('[{"resourceSpans": [[]]}]', "it is no OTLP JSON: [0].resourceSpans[0] must be an object, and is []"),
        ('{"resourceSpans": ' + "[" * 100_000, "it is no OTLP JSON: it is nested too deeply"),
        ('{"resourceSpans": ' + "9" * 10_000, "it is no OTLP JSON: it holds a number of thousands of digits"),
        (b"\x1f\x8b\x08", "it is no OTLP JSON: no text in UTF-8 (a compressed file must be unpacked)"),
    ],
)
def test_what_is_no_otlp_json_is_told_in_one_sentence(text: str | bytes, said: str) -> None:
    with pytest.raises(ValueError, match="it is") as raised:
        from_otlp_json(text)
    assert str(raised.value) == said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"traceId": "W47/95gDgQPSabYzgT/GDA=="}, "traceId must be 32 hexadecimal digits, and is "),
        ({"spanId": None}, "spanId must be 16 hexadecimal digits, and is null"),
        ({"parentSpanId": "1"}, 'parentSpanId must be 16 hexadecimal digits, and is "1"'),
        ({"name": 7}, "name must be a text, and is 7"),
        ({"startTimeUnixNano": "soon"}, 'startTimeUnixNano must be an integer, and is "soon"'),
        ({"startTimeUnixNano": -1}, "startTimeUnixNano must be nanoseconds since 1970, and is -1"),
        ({"endTimeUnixNano": 1.5}, "endTimeUnixNano must be an integer, and is 1.5"),
        ({"events": [{"timeUnixNano": True}]}, "events[0].timeUnixNano must be an integer, and is true"),
        ({"links": [{"traceId": "1" * 32}]}, "links[0].spanId must be 16 hexadecimal digits, and is null"),
        ({"status": 2}, "status must be an object, and is 2"),
        (
            {"attributes": [{"key": "a", "value": {"boolValue": "x" * 50}}]},
            'attributes[0].value.boolValue must be true or false, and is "' + "x" * 39 + "...",
        ),
        ({"attributes": [{"value": {"doubleValue": "much"}}]}, 'doubleValue must be a number, and is "much"'),
    ],
)
def test_what_is_wrong_in_a_span_is_named_with_its_place(changes: dict[str, Any], said: str) -> None:
    """For whoever wrote the exporter."""
    with pytest.raises(ValueError, match="it is no OTLP JSON: ") as raised:
        read(**changes)
    assert said in str(raised.value)
    assert "resourceSpans[0].scopeSpans[0].spans[0]" in str(raised.value)


_nonsense = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=3),
    lambda of: (
        st.lists(of)
        | of.map(lambda each: document(attributes=each))
        | st.dictionaries(st.sampled_from(["resourceSpans", "scopeSpans", "spans", "value", "key"]), of)
    ),
    max_leaves=5,
)


@given(_nonsense)
def test_nothing_but_a_sentence_comes_of_nonsense(nonsense: object) -> None:
    """No KeyError, no AttributeError."""
    said = ""
    try:
        from_otlp_json(json.dumps(nonsense))
    except ValueError as error:
        said = str(error)
    assert said.startswith("it is") or not said
