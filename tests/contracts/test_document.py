"""docs/contracts.md says what is so."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from resilient_foundry.foundry.runtime import RESILIENCE, LocalRuntime
from resilient_foundry.harness import Answer, Level, Session, Stream
from resilient_foundry.harness.contract import collect
from resilient_foundry.harness.report.json import document
from resilient_foundry.harness.subject import Live
from resilient_foundry.harness.verdict import Verdict
from resilient_foundry.harness.verify import verify
from tests.documents import tables
from tests.harness.subjects import outcome, verification

PAGE = Path(__file__).parent.parent.parent / "docs" / "contracts.md"


def block_with(words: str) -> str:
    """The one Python block of the page that holds these words."""
    blocks: list[str] = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    (found,) = (each for each in blocks if words in each)
    return found


@pytest.fixture
def runtime() -> Iterator[LocalRuntime]:
    """Somebody to ask."""
    with LocalRuntime(RESILIENCE) as runtime:
        yield runtime


def test_the_contracts_of_the_page_hold(runtime: LocalRuntime, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(block_with("@contract(MUST)"))
    outcomes = verify(collect(tmp_path), Live(runtime.url), ledger=()).outcomes
    assert [(each.contract.name, each.verdict.value, each.reason) for each in outcomes] == [
        ("mine.lists_models", "held", ""),
        ("mine.answers_briefly", "held", ""),
    ]


def test_the_client_on_a_tape_runs_as_the_page_has_it() -> None:
    """Pasted, and nothing else."""
    names: dict[str, Any] = {}
    exec(block_with("def test_streams"), names)  # noqa: S102 - our own page
    names["test_streams"]()


@pytest.mark.parametrize("kind", [Session, Answer, Stream])
def test_all_that_a_contract_talks_with_is_in_a_table(kind: type) -> None:
    """Nothing more either."""
    firsts = " ".join(row[0] for row in tables("contracts.md"))
    named = re.findall(rf"`{kind.__name__.lower()}\.(\w+)`", firsts)
    kept = {"Session": {"version"}, "Answer": {"exchange"}}.get(kind.__name__, set())  # made with each one
    assert sorted(named) == sorted({name for name in vars(kind) if not name.startswith("_")} | kept)


def test_levels_and_verdicts_are_all_explained() -> None:
    firsts = [row[0] for row in tables("contracts.md")]
    assert {each.value for each in Level} | {each.value for each in Verdict} <= set(firsts)
    fails = {row[0]: row[2] for row in tables("contracts.md") if len(row) == 3}
    for verdict in set(Verdict) - {Verdict.BROKEN}:
        assert (fails[verdict.value] == "yes") is outcome(verdict).is_failure


def test_each_member_of_the_report_is_explained() -> None:
    (verified,) = document([verification(outcome())])["verifications"]
    page = PAGE.read_text("utf-8")
    assert [name for name in verified if f"`.{name}" not in page] == []
    assert [name for name in verified["outcomes"][0] if f"`..{name}" not in page] == []
