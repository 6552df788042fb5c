"""What the short reports say: how many contracts stand how, and which of them are worth a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from resilient_foundry.harness.verdict import Outcome, Verdict, Verification

TOLD: Final = (Verdict.BROKEN, Verdict.NOT_RECORDED, Verdict.FIXED, Verdict.DEVIATES)
"""The verdicts that are told one by one, in this order."""


def counts(verification: Verification) -> tuple[tuple[Verdict, ...], Sequence[tuple[str, Sequence[int]]]]:
    """The verdicts that occur, and for each area, and at last for all, how often each of them does."""
    outcomes = verification.outcomes
    verdicts = tuple(verdict for verdict in Verdict if verification.of(verdict))
    areas = dict.fromkeys(each.contract.area for each in outcomes)
    rows = [(area, _numbers(verdicts, [each for each in outcomes if each.contract.area == area])) for area in areas]
    return verdicts, [*rows, ("all", _numbers(verdicts, outcomes))]


def worth_saying(verification: Verification) -> tuple[Outcome, ...]:
    """The outcomes that are told one by one, failures first."""
    told = [each for verdict in TOLD for each in verification.of(verdict)]
    return tuple(sorted(told, key=lambda each: not each.is_failure))


def conclusion(verification: Verification) -> str:
    """A sentence for all of it, and one for what could not be asked: nobody knows whether that is kept."""
    failures, outcomes = verification.failures, verification.outcomes
    asked = f"{verification.runtime} ({verification.way})"
    musts = sum(each.verdict is Verdict.BROKEN for each in failures)
    others = len(failures) - musts
    unknown = len(verification.of(Verdict.NOT_EXERCISED))
    if unknown + len(verification.of(Verdict.OUTSIDE)) == len(outcomes):
        return f"{asked} was asked for none of {len(outcomes)} contracts."
    said = [f"breaks {musts} that it must keep"] if musts else []
    said += [f"has {others} out of date, on tape or in the ledger"] if others else []
    kept = f"Of {len(outcomes)} contracts {asked} {' and '.join(said)}."
    if not failures:
        kept = f"{asked} keeps every contract that it must."
    return f"{kept} {unknown} of {len(outcomes)} were not exercised." if unknown else kept


def _numbers(verdicts: Sequence[Verdict], outcomes: Sequence[Outcome]) -> list[int]:
    return [sum(each.verdict is verdict for each in outcomes) for verdict in verdicts]
