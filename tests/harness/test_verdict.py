"""What counts as a failure."""

from __future__ import annotations

import pytest

from resilient_foundry.harness import MAY, MUST, SHOULD, Level
from resilient_foundry.harness.verdict import Runtime, Verdict
from tests.harness.subjects import outcome, verification


@pytest.mark.parametrize(
    ("verdict", "level", "fails"),
    [
        (Verdict.HELD, MUST, False),
        (Verdict.BROKEN, MUST, True),
        (Verdict.BROKEN, SHOULD, False),
        (Verdict.BROKEN, MAY, False),
        (Verdict.DEVIATES, MUST, False),
        (Verdict.FIXED, MAY, True),
        (Verdict.NOT_RECORDED, MAY, True),
        (Verdict.NOT_EXERCISED, MUST, False),
        (Verdict.OUTSIDE, MUST, False),
    ],
)
def test_somebody_must_look_at_broken_musts_and_at_what_is_out_of_date(
    verdict: Verdict, level: Level, fails: bool
) -> None:
    """A ledger or a tape that nobody keeps true is worth less than none, whatever the level."""
    assert outcome(verdict, level=level).is_failure is fails


def test_a_verification_gives_its_outcomes_by_verdict() -> None:
    held, broken = outcome(), outcome(Verdict.BROKEN)
    verified = verification(held, broken, outcome(Verdict.BROKEN, level=MAY))
    assert verified.failures == (broken,)
    assert verified.of(Verdict.HELD) == (held,)


def test_a_runtime_is_named_for_people_and_for_files() -> None:
    runtime = Runtime("foundry-local", "2.2.1", "http://127.0.0.1:1")
    assert (str(runtime), runtime.slug) == ("foundry-local 2.2.1", "foundry-local-2.2.1")
