"""The report for build servers: JUnit's XML, a suite for each runtime and a test case for each contract."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final
from xml.etree import ElementTree as ET

from resilient_foundry.harness.verdict import Outcome, Runtime, Verdict, Verification

_NOT_XML: Final = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What can't stand in XML, not even escaped (XML 1.0 section 2.2)."""
_SKIPPED: Final = frozenset({Verdict.NOT_EXERCISED, Verdict.OUTSIDE, Verdict.DEVIATES})


def written(verifications: Sequence[Verification]) -> str:
    """The report as text."""
    suites = ET.Element("testsuites", name="contracts")
    for verification in verifications:
        _suite(suites, verification)
    ET.indent(suites)
    return ET.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def _suite(suites: ET.Element, verification: Verification) -> None:
    outcomes = verification.outcomes
    suite = ET.SubElement(
        suites,
        "testsuite",
        name=f"{verification.runtime} ({verification.way})",
        tests=str(len(outcomes)),
        failures=str(len(verification.failures)),
        errors="0",
        skipped=str(sum(map(_is_skipped, outcomes))),
        time=f"{sum(each.seconds for each in outcomes):.6f}",
    )
    for outcome in outcomes:
        _case(suite, outcome, verification.runtime)


def _case(suite: ET.Element, outcome: Outcome, runtime: Runtime) -> None:
    contract = outcome.contract
    area, _, name = contract.name.partition(".")
    case = ET.SubElement(suite, "testcase", classname=f"contracts.{area}", name=name, time=f"{outcome.seconds:.6f}")
    properties = ET.SubElement(case, "properties")
    facts = {
        "contract": contract.name,
        "level": contract.level.value,
        "runtime": str(runtime),
        "verdict": outcome.verdict.value,
    }
    for fact, value in facts.items():
        ET.SubElement(properties, "property", name=fact, value=value)
    drawn = f" (with {', '.join(outcome.smallest)})" if outcome.smallest else ""
    reason = _NOT_XML.sub("�", outcome.reason + drawn)
    if outcome.is_failure:
        ET.SubElement(case, "failure", type=outcome.verdict.value, message=reason).text = contract.promise
    elif _is_skipped(outcome):
        ET.SubElement(case, "skipped", message=f"{outcome.verdict.value}: {reason}")


def _is_skipped(outcome: Outcome) -> bool:
    """Neither held nor a failure: JUnit has no word of its own for what is known, and what nobody relies on."""
    return outcome.verdict in _SKIPPED or (outcome.verdict is Verdict.BROKEN and not outcome.is_failure)
