"""Layer 6: how long it takes. Told, never judged: two machines, or two days, are never alike."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from resilient_foundry.harness.drift.pairs import Pair, is_stream
from resilient_foundry.harness.evidence import Response


@dataclass(frozen=True, slots=True)
class Span:
    """Seconds: to the head, to the first bytes of a stream, and between its chunks; medians, and one in twenty."""

    head: float
    first: float | None = None
    between: float | None = None
    between_at_worst: float | None = None


@dataclass(frozen=True, slots=True)
class Times:
    """How long an endpoint takes on both sides."""

    where: str
    before: Span
    after: Span


def times(pairs: Iterable[Pair]) -> tuple[Times, ...]:
    """The times of every endpoint, in order."""
    groups: dict[str, list[tuple[Response, Response]]] = defaultdict(list)
    for pair in pairs:
        heads = pair.alike
        if heads is not None:
            form = " stream" if pair.both_streams else ""
            groups[f"{pair.endpoint} {heads[0].status}{form}"].append(heads)
    return tuple(
        Times(where, _span([before for before, _ in group]), _span([after for _, after in group]))
        for where, group in sorted(groups.items())
    )


def _span(responses: Sequence[Response]) -> Span:
    head = median(response.at for response in responses)
    told = [response for response in responses if is_stream(response) and response.chunks]
    if not told:
        return Span(head)
    first = median(response.chunks[0].at for response in told)
    gaps = sorted(two.at - one.at for response in told for one, two in pairwise(response.chunks))
    if not gaps:
        return Span(head, first)
    return Span(head, first, median(gaps), gaps[min(len(gaps) - 1, len(gaps) * 19 // 20)])
