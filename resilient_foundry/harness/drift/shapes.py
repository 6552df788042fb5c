"""Layer 2: members and types of the JSON in answers and in the events of streams."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from resilient_foundry.harness.drift import lattice
from resilient_foundry.harness.drift.finding import Area, Finding
from resilient_foundry.harness.drift.lattice import Lattice
from resilient_foundry.harness.drift.pairs import Pair, events_of, is_stream, kind_of
from resilient_foundry.harness.evidence import Response

_NO_JSON = frozenset({"done", "garbage"})


def shapes(pairs: Iterable[Pair]) -> Iterator[Finding]:
    """What is otherwise in the JSON of answers of one status, and of events of one kind."""
    befores: dict[str, Lattice] = defaultdict(Lattice)
    afters: dict[str, Lattice] = defaultdict(Lattice)
    shown: dict[str, Pair] = {}
    for pair in pairs:
        heads = pair.alike
        if heads is None or is_stream(heads[0]) is not is_stream(heads[1]):
            continue  # what differs there is said by others
        for response, learnt in zip(heads, (befores, afters), strict=True):
            for where in _learn(response, pair.endpoint, learnt):
                shown.setdefault(where, pair)
    for where in befores.keys() & afters.keys():
        for grade, says in lattice.differences(befores[where], afters[where]):
            yield Finding(Area.SHAPES, grade, where, says, shown[where].before, shown[where].after)


def _learn(response: Response, endpoint: str, learnt: Mapping[str, Lattice]) -> Iterator[str]:
    """Learn from an answer; the names of what was learnt about."""
    if not is_stream(response):
        where = f"{endpoint} {response.status}"
        _learn_body(response.body, learnt[where])
        yield where
        return
    for event in events_of(response):
        kind = kind_of(event, endpoint)
        if kind not in _NO_JSON:
            where = f"{endpoint}, {kind} events"
            _learn_body(event.data.encode("utf-8", "replace"), learnt[where])
            yield where


def _learn_body(body: bytes, learnt: Lattice) -> None:
    if not body:
        learnt.add_type(lattice.NOTHING)
        return
    try:
        learnt.add(json.loads(body))
    except (ValueError, RecursionError):
        learnt.add_type(lattice.TEXT)
