"""The report for build servers."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree as ET

from resilient_foundry.harness import SHOULD
from resilient_foundry.harness.report.junit import written
from resilient_foundry.harness.verdict import Outcome, Verdict
from tests.harness.subjects import outcome, verification


def suite(*outcomes: Outcome) -> ET.Element:
    """The one suite of a report, read back."""
    (found,) = ET.fromstring(written([verification(*outcomes)]))  # noqa: S314 - our own
    return found


def test_a_contract_is_a_test_case_with_its_properties() -> None:
    (case,) = suite(outcome(name="chat.holds"))
    assert case.attrib == {"classname": "contracts.chat", "name": "holds", "time": "0.030000"}
    assert {each.get("name"): each.get("value") for each in case.iter("property")} == {
        "contract": "chat.holds",
        "level": "MUST",
        "runtime": "foundry-local 2.2.1",
        "verdict": "held",
    }


def test_failures_fail_and_what_is_known_or_optional_is_skipped() -> None:
    """The words of the verdict stand in the message, since JUnit has none for them."""
    outcomes = [
        outcome(),
        outcome(Verdict.BROKEN, why="It is otherwise."),
        outcome(Verdict.FIXED),
        outcome(Verdict.NOT_RECORDED),
        outcome(Verdict.BROKEN, level=SHOULD, why="It is otherwise."),
        outcome(Verdict.DEVIATES),
        outcome(Verdict.OUTSIDE),
        outcome(Verdict.NOT_EXERCISED),
    ]
    found = suite(*outcomes)
    counts = {name: found.get(name) for name in ("name", "tests", "failures", "errors", "skipped", "time")}
    assert counts == {
        "name": "foundry-local 2.2.1 (live)",
        "tests": "8",
        "failures": "3",
        "errors": "0",
        "skipped": "4",
        "time": "0.240000",
    }
    assert len(list(found.iter("failure"))) == 3
    assert [each.get("message") for each in found.iter("skipped")] == [
        "broken: It is otherwise.",
        "deviates: ",
        "outside: ",
        "not exercised: ",
    ]
    failure = found.find(".//failure")
    assert failure is not None
    assert (failure.get("type"), failure.get("message"), failure.text) == (
        "broken",
        "It is otherwise.",
        "It is promised.",
    )


def test_what_xml_can_not_hold_is_replaced() -> None:
    """XML 1.0 section 2.2: not even an escape may stand for most control characters."""
    found = suite(outcome(Verdict.BROKEN, why='a\x00b\x1bc\ud800d <&" 👋'))
    failure = found.find(".//failure")
    assert failure is not None
    assert failure.get("message") == 'a�b�c�d <&" 👋'


def test_of_drawn_values_those_of_the_smallest_failure_are_in_the_message() -> None:
    """A build server shows nothing else of the report, and this is what one needs to see it again."""
    failure = suite(replace(outcome(Verdict.BROKEN, why="It is otherwise."), smallest=("0", "''"))).find(".//failure")
    assert failure is not None
    assert failure.get("message") == "It is otherwise. (with 0, '')"
