"""Every contract against the real runtime, started for it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

import pytest

from resilient_foundry.harness.contract import collect, provided
from resilient_foundry.harness.subject import Started
from resilient_foundry.harness.verdict import Verdict
from resilient_foundry.harness.verify import verify

AREAS = {area: tuple(found) for area, found in groupby(collect(provided("contracts")), lambda each: each.area)}


@pytest.fixture(scope="module")
def runtime() -> Iterator[Started]:
    """The one that is installed here."""
    with Started("2.2.1") as runtime:
        yield runtime


@pytest.mark.timeout(120)
@pytest.mark.parametrize("area", AREAS)
def test_the_real_runtime_keeps_its_contracts_or_the_ledger_says_that_it_does_not(runtime: Started, area: str) -> None:
    """Whatever its level, and as its tapes do."""
    verified = verify(AREAS[area], runtime)
    accepted = {Verdict.HELD, Verdict.DEVIATES, Verdict.OUTSIDE}
    others = [each for each in verified.outcomes if each.verdict not in accepted]
    assert [f"{each.verdict.value} {each.contract.name}: {each.reason}" for each in others] == []
