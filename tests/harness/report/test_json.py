"""The report for programs."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from resilient_foundry.harness.evidence import Ended, Exchange, Request
from resilient_foundry.harness.report.json import FORMAT, VERSION, written
from resilient_foundry.harness.verdict import Verdict
from tests.harness.subjects import exchange, outcome, verification


def report(*outcomes: Any) -> Any:
    """The one verification of a report, read back."""
    whole = json.loads(written([verification(*outcomes)]))
    assert (whole["format"], whole["version"]) == (FORMAT, VERSION)
    return whole["verifications"][0]


def test_everything_that_is_known_stands_in_it() -> None:
    found = report(outcome(Verdict.BROKEN, why="It is otherwise."), outcome(Verdict.DEVIATES, name="area.other"))
    assert found["runtime"] == {"product": "foundry-local", "version": "2.2.1", "where": ""}
    assert (found["way"], found["holds"]) == ("live", False)
    assert found["counts"]["broken"] == 1
    assert set(found["counts"]) == {verdict.value for verdict in Verdict}
    broken, deviating = found["outcomes"]
    assert broken | {"exchanges": []} == {
        "contract": "area.holds",
        "level": "MUST",
        "promise": "It is promised.",
        "needs": [],
        "versions": "",
        "verdict": "broken",
        "failure": True,
        "reason": "It is otherwise.",
        "deviation": None,
        "seconds": 0.03,
        "examples": 0,
        "smallest": [],
        "culprit": 0,
        "exchanges": [],
    }
    assert deviating["deviation"] == {"versions": ">=2", "reason": "It does not.", "link": "https://example.org/1"}


def test_the_evidence_is_whole() -> None:
    (found,) = report(outcome())["outcomes"]
    assert found["exchanges"] == [
        {
            "request": {
                "method": "POST",
                "path": "/v1/chat/completions",
                "headers": [["content-type", "application/json"]],
                "body": '{"model":"m"}',
            },
            "response": {
                "status": 200,
                "reason": "OK",
                "http_version": "HTTP/1.1",
                "headers": [["content-type", "application/json"]],
                "at": 0.01,
                "chunks": [{"at": 0.02, "data": '{"a":1}'}],
            },
            "ended": {"how": "complete", "at": 0.03, "says": ""},
            "connection": 1,
        }
    ]


def test_bytes_that_are_no_text_are_kept() -> None:
    """Where a chunk ends within a character, too."""
    (found,) = report(replace(outcome(), exchanges=(exchange(b"\xc3"),)))["outcomes"]
    assert found["exchanges"][0]["response"]["chunks"][0]["data"] == {"base64": "ww=="}


def test_where_there_was_no_answer_there_is_none() -> None:
    nobody = Exchange(Request("GET", "/status"), None, Ended("ConnectError", 0.0, "refused"))
    (found,) = report(replace(outcome(Verdict.BROKEN), exchanges=(nobody,), culprit=nobody))["outcomes"]
    assert found["exchanges"][0]["response"] is None
    assert found["culprit"] == 0


def test_the_culprit_is_found_also_where_it_went_on_after_it_was_looked_at() -> None:
    seen = exchange()
    earlier = replace(seen, ended=Ended("abandoned", 0.015))
    (found,) = report(replace(outcome(Verdict.BROKEN), exchanges=(seen, seen), culprit=earlier))["outcomes"]
    assert found["culprit"] == 1
