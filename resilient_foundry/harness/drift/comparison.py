"""Drift of one server against another: the same contracts on both, and what came of them, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from resilient_foundry.harness.contract import Contract, Level
from resilient_foundry.harness.drift.answers import answers
from resilient_foundry.harness.drift.finding import Area, Drift, Finding, Grade
from resilient_foundry.harness.drift.framing import framing
from resilient_foundry.harness.drift.pairs import pairs
from resilient_foundry.harness.drift.shapes import shapes
from resilient_foundry.harness.drift.streams import streams
from resilient_foundry.harness.drift.timing import times
from resilient_foundry.harness.evidence import Exchange
from resilient_foundry.harness.subject import Subject
from resilient_foundry.harness.verdict import Outcome, Verdict, Verification
from resilient_foundry.harness.verify import verify

_KEPT: Final = frozenset({Verdict.HELD, Verdict.FIXED})
_BROKEN: Final = frozenset({Verdict.BROKEN, Verdict.DEVIATES})
_GRADES: Final = {Level.MUST: Grade.BREAKING, Level.SHOULD: Grade.SUSPICIOUS, Level.MAY: Grade.COMPATIBLE}


def drift(
    before: Subject,
    after: Subject,
    contracts: Iterable[Contract],
    *,
    on_outcome: Callable[[Outcome], None] = lambda _: None,
) -> Drift:
    """What is otherwise in `after` than in `before`, on which a client was built.

    Each is asked to keep the contracts, or its tapes are. Values are never compared: no texts, ids and numbers, only
    verdicts, statuses, shapes, the order of events, framing and headers. Raises what `verify` does.
    """
    asked = tuple(contracts)
    return compare(verify(asked, before, on_outcome=on_outcome), verify(asked, after, on_outcome=on_outcome))


def compare(before: Verification, after: Verification) -> Drift:
    """What is otherwise in the second of two verifications of the same contracts."""
    others = {each.contract.name: each for each in after.outcomes}
    both = [
        (each, others[each.contract.name])
        for each in before.outcomes
        if each.contract.name in others and _was_asked(each) and _was_asked(others[each.contract.name])
    ]
    paired = [pair for one, other in both for pair in pairs(one, other)]
    found = [*_verdicts(both), *answers(paired), *shapes(paired), *streams(paired), *framing(paired)]
    asked = {each.contract.name for each in before.outcomes} | others.keys()
    return Drift(
        before.runtime, after.runtime, _ordered(found), times(paired), len(both), left_out=len(asked) - len(both)
    )


def _was_asked(outcome: Outcome) -> bool:
    return outcome.verdict in _KEPT | _BROKEN


def _verdicts(both: Iterable[tuple[Outcome, Outcome]]) -> Iterator[Finding]:
    """Layer 1: contracts that one keeps and the other does not."""
    for before, after in both:
        shown = _last(before), _last(after)
        name = before.contract.name
        if before.verdict in _KEPT and after.verdict in _BROKEN:
            promise = before.contract.promise.partition("\n")[0]
            says = f"no longer kept ({before.contract.level.value}): {promise}"
            yield Finding(Area.VERDICTS, _GRADES[before.contract.level], name, says, *shown)
        elif before.verdict in _BROKEN and after.verdict in _KEPT:
            yield Finding(Area.VERDICTS, Grade.COMPATIBLE, name, "kept, and was not before", *shown)


def _last(outcome: Outcome) -> Exchange | None:
    """The exchange that decided."""
    return outcome.culprit or (outcome.exchanges[-1] if outcome.exchanges else None)


def _ordered(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The worst first, then by area and place; what says the same of the same place is said once."""
    once = {(each.area, each.grade, each.where, each.says): each for each in reversed([*findings])}
    areas = list(Area)
    return tuple(sorted(once.values(), key=lambda each: (-each.grade, areas.index(each.area), each.where, each.says)))
