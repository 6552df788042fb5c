"""The first look at an answer: its status, and how it ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from resilient_foundry.harness.drift.finding import Area, Finding, Grade
from resilient_foundry.harness.drift.pairs import Pair, is_stream, kinds_of
from resilient_foundry.harness.evidence import COMPLETE, Exchange, Response

_REDIRECTION = 3


def answers(pairs: Iterable[Pair]) -> Iterator[Finding]:
    """What is otherwise in statuses and ends."""
    for pair in pairs:
        for grade, says in _differences(pair):
            yield Finding(Area.ANSWERS, grade, pair.endpoint, says, pair.before, pair.after)


def _differences(pair: Pair) -> Iterator[tuple[Grade, str]]:
    heads = pair.heads
    if heads is not None and heads[0].status != heads[1].status:
        yield _status(heads[0].status, heads[1].status)
        return
    if pair.was_left:
        return
    broke_before, broke_after = pair.before.ended.how != COMPLETE, pair.after.ended.how != COMPLETE
    if broke_after and not broke_before:
        yield Grade.BREAKING, f"the answer does not come to its end ({pair.after.ended.how})"
    elif broke_before and not broke_after:
        yield _ends_now(pair.before, pair.after.response, pair.endpoint)
    elif broke_before and (pair.before.response is None) is not (pair.after.response is None):
        side = "after its head" if pair.after.response is not None else "before its head"
        yield Grade.SUSPICIOUS, f"the answer breaks off {side} now"


def _status(before: int, after: int) -> tuple[Grade, str]:
    says = f"the status is {after}, not {before}"
    if before // 100 == after // 100:
        return Grade.SUSPICIOUS, says
    if after // 100 < _REDIRECTION <= before // 100:
        return Grade.SUSPICIOUS, f"{says}: what was refused is accepted"
    return Grade.BREAKING, says


def _ends_now(before: Exchange, after: Response | None, where: str) -> tuple[Grade, str]:
    """The answer broke off and ends properly now, perhaps with the failure inside it."""
    if after is not None and is_stream(after) and "error" in kinds_of(after, where):
        cut = f"cut the connection before ({before.ended.how})"
        return Grade.BREAKING, f"a failure is an event within a stream that ends properly, and {cut}"
    return Grade.COMPATIBLE, f"the answer comes to its end, and broke off before ({before.ended.how})"
