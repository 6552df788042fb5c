"""Layer 3: the grammar of a stream, as the set of which kind of event follows which."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Final

from resilient_foundry.harness.drift.finding import Area, Finding, Grade
from resilient_foundry.harness.drift.pairs import Pair, kinds_of

START: Final = "the start"
END: Final = "the end"
_DONE: Final = "done"
_ERROR: Final = "error"


def streams(pairs: Iterable[Pair]) -> Iterator[Finding]:
    """What is otherwise in the order and the kinds of events."""
    groups: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        if pair.alike is not None and pair.both_streams:
            groups[pair.endpoint].append(pair)
    for where, group in groups.items():
        before = [_kinds(pair, where, 0) for pair in group]
        after = [_kinds(pair, where, 1) for pair in group]
        for grade, says, place in _differences(before, after):
            yield Finding(Area.STREAMS, grade, where, says, group[place].before, group[place].after)


def _kinds(pair: Pair, where: str, side: int) -> list[str]:
    heads = pair.alike
    return [] if heads is None else [START, *kinds_of(heads[side], where), END]


def _differences(before: list[list[str]], after: list[list[str]]) -> Iterator[tuple[Grade, str, int]]:
    """Grade, sentence, and the place of the streams that show it."""
    known = {kind for stream in before for kind in stream}
    came = {kind for stream in after for kind in stream}
    for kind in sorted(known - came):
        always = all(kind in stream for stream in before)
        grade = Grade.BREAKING if always or kind == _DONE else Grade.SUSPICIOUS
        name = "the end marker [DONE]" if kind == _DONE else f"events of kind {kind}"
        yield grade, f"{name} no longer {'comes' if kind == _DONE else 'come'}", _first(before, kind)
    for kind in sorted(came - known):
        yield Grade.SUSPICIOUS, f"there are events of kind {kind}", _first(after, kind)
    if _DONE in came:
        for place, (was, now) in enumerate(zip(before, after, strict=True)):
            if _DONE in was and _DONE not in now:
                yield Grade.BREAKING, "a stream ends without [DONE] that ended with it", place
                break
    edges = {edge for stream in before for edge in pairwise(stream)}
    told = set[tuple[str, str]]()
    for place, stream in enumerate(after):
        for edge in pairwise(stream):
            first, second = edge
            if edge in edges | told or {first, second} - known:
                continue
            told.add(edge)
            says = "an error comes" if second == _ERROR else f"{second} comes"
            yield Grade.SUSPICIOUS, f"{says} after {first}, which never was so", place


def _first(streams: list[list[str]], kind: str) -> int:
    return next(place for place, stream in enumerate(streams) if kind in stream)
