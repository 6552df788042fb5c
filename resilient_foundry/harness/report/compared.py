"""The same contract on two runtimes, exchange by exchange: what is there on one side only, and what is otherwise."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, cast

from resilient_foundry.harness.evidence import COMPLETE, Exchange, Response
from resilient_foundry.harness.report.axis import events_of, is_stream, kind_of, order_of
from resilient_foundry.harness.report.text import bounded

_MOST_ROWS: Final = 32  # of one exchange, and a third of that of mere values
_LONGEST: Final = 120  # characters of a value
_MOST_EVENTS: Final = 2000  # of a stream that are compared
_DEEPEST: Final = 24


class Kind(Enum):
    """How two sides differ in one place."""

    FIRST = "only in the first"
    SECOND = "only in the second"
    OTHERWISE = "otherwise"
    """Another status, type, order, number of times: what a client may stumble over."""
    VALUE = "value"
    """The same shape with another value, such as an id or a time."""


@dataclass(frozen=True, slots=True)
class Row:
    """A place in which two sides differ, and what is there on each."""

    place: str
    kind: Kind
    first: str
    second: str


@dataclass(frozen=True, slots=True)
class Step:
    """One exchange on both sides. `rows` are what a client may stumble over, `values` what is merely another value."""

    title: str
    rows: tuple[Row, ...]
    values: tuple[Row, ...]
    left_out: int


@dataclass(frozen=True, slots=True)
class _Seen:
    """What stands in one place of a body: in how many events, of which types, and the values."""

    events: int
    types: frozenset[str]
    values: tuple[str, ...]


def compared(first: Sequence[Exchange], second: Sequence[Exchange]) -> tuple[Step, ...]:
    """The exchanges of two runs of a contract side by side, in their order."""
    steps: list[Step] = []
    for place in range(max(len(first), len(second))):
        one = first[place] if place < len(first) else None
        other = second[place] if place < len(second) else None
        there = one or other
        title = "" if there is None else str(there.request)
        rows = sorted(_rows(one, other), key=lambda row: row.kind is Kind.VALUE)
        otherwise = tuple(row for row in rows if row.kind is not Kind.VALUE)
        values = tuple(row for row in rows if row.kind is Kind.VALUE)
        left_out = max(0, len(otherwise) - _MOST_ROWS) + max(0, len(values) - _MOST_ROWS // 3)
        steps.append(Step(title, otherwise[:_MOST_ROWS], values[: _MOST_ROWS // 3], left_out))
    return tuple(steps)


def _rows(one: Exchange | None, other: Exchange | None) -> Iterator[Row]:
    if one is None or other is None:
        there = one or other
        happened = "" if there is None else _in_short(there)
        kind = Kind.FIRST if other is None else Kind.SECOND
        yield Row("the exchange", kind, happened if one else "not asked", happened if other else "not asked")
        return
    if str(one.request) != str(other.request):
        yield Row("request", Kind.VALUE, str(one.request), str(other.request))
    yield from _bodies([one.request.body], [other.request.body], "request")
    if one.response is None or other.response is None:
        if one.response is not other.response or one.ended.how != other.ended.how:
            yield Row("answer", Kind.OTHERWISE, _in_short(one), _in_short(other))
        return
    yield from _heads(one.response, other.response)
    if one.ended.how != other.ended.how:
        yield Row("end", Kind.OTHERWISE, _ending(one), _ending(other))
    if is_stream(one.response) and is_stream(other.response):
        yield from _streams(one.response, other.response)
    else:
        yield from _bodies([one.response.body], [other.response.body], "$")


def _heads(one: Response, other: Response) -> Iterator[Row]:
    if one.status != other.status:
        yield Row("status", Kind.OTHERWISE, f"{one.status} {one.reason}", f"{other.status} {other.reason}")
    if one.http_version != other.http_version:
        yield Row("version", Kind.OTHERWISE, one.http_version, other.http_version)
    first, second = _headers(one), _headers(other)
    for name in _union(first, second):
        yield from _row(f"header {name}", first.get(name), second.get(name))


def _headers(response: Response) -> dict[str, _Seen]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for name, value in response.headers:
        found[name].append(value)
    return {name: _Seen(1, frozenset({f"{len(values)} times"}), tuple(values)) for name, values in found.items()}


def _streams(one: Response, other: Response) -> Iterator[Row]:
    first, second = [[event for _, event in events_of(each)[0]][:_MOST_EVENTS] for each in (one, other)]
    orders = [order_of([kind_of(event) for event in each]) for each in (first, second)]
    if orders[0] != orders[1]:
        yield Row("order of events", Kind.OTHERWISE, *orders)
    yield from _bodies([each.data.encode() for each in first], [each.data.encode() for each in second], "event")


def _bodies(first: Sequence[bytes], second: Sequence[bytes], root: str) -> Iterator[Row]:
    if list(first) == list(second):
        return
    one, other = ([each for each in map(_json, side) if each is not None] for side in (first, second))
    if not one and not other:
        if root != "event":
            yield Row("body", Kind.OTHERWISE, _text(first), _text(second))
        return
    if not one or not other:
        yield Row("body", Kind.OTHERWISE, "JSON" if one else _text(first), "JSON" if other else _text(second))
        return
    in_first, in_second = _places([each.value for each in one], root), _places([each.value for each in other], root)
    for place in _union(in_first, in_second):
        parent = _parent(place)
        above = in_first.get(parent), in_second.get(parent)
        if (above[0] is None) is not (above[1] is None):
            continue  # what it stands in is there on one side only, and that has been said
        of = len(one), len(other)
        within = above[0].events if above[0] else of[0], above[1].events if above[1] else of[1]
        yield from _row(place, in_first.get(place), in_second.get(place), of, within)


def _parent(place: str) -> str:
    return place.removesuffix("[]") if place.endswith("[]") else place.rpartition(".")[0]


def _row(
    place: str,
    one: _Seen | None,
    other: _Seen | None,
    of: tuple[int, int] = (1, 1),
    within: tuple[int, int] | None = None,
) -> Iterator[Row]:
    """The difference in one place: of so many events, so many of which hold what it stands in."""
    among = within or of
    if one is None or other is None:
        missing = "missing"
        kind = Kind.FIRST if other is None else Kind.SECOND
        yield Row(place, kind, _shown(one, of[0]) if one else missing, _shown(other, of[1]) if other else missing)
    elif one.types != other.types or _share(one, among[0]) != _share(other, among[1]):
        yield Row(place, Kind.OTHERWISE, _shown(one, of[0]), _shown(other, of[1]))
    elif one.values != other.values:
        yield Row(place, Kind.VALUE, _shown(one, of[0]), _shown(other, of[1]))


def _share(seen: _Seen, of: int) -> object:
    """Whether in every event that could have it, and if not, whether in one or in several."""
    return "every" if seen.events >= of else "one" if seen.events == 1 else "some"


def _shown(seen: _Seen, of: int) -> str:
    values = list(dict.fromkeys(seen.values))
    words = " or ".join(sorted(seen.types)) if not values else values[0]
    if len(values) > 1:
        words = f"{words}, …" if of > 1 else " and ".join(values)
    often = ""
    if of > 1:
        often = f" in each of {of} events" if seen.events >= of else f" in {seen.events} of {of} events"
    elif len(seen.values) > 1 and len(values) == 1:
        often = f" · {len(seen.values)} times"
    return bounded(words, _LONGEST).shown + ("…" if len(words) > _LONGEST else "") + often


@dataclass(frozen=True, slots=True)
class _Json:
    value: object


def _json(body: bytes) -> _Json | None:
    try:
        return _Json(json.loads(body))
    except (ValueError, RecursionError):
        return None


def _places(documents: Sequence[object], root: str) -> Mapping[str, _Seen]:
    """What stands where: items of arrays are one place, so that two arrays of other lengths can be compared."""
    found: defaultdict[str, tuple[set[int], set[str], list[str]]] = defaultdict(lambda: (set(), set(), []))
    for number, document in enumerate(documents):
        for place, kind, value in _walk(document, root, 0):
            events, types, values = found[place]
            events.add(number)
            types.add(kind)
            if value is not None:
                values.append(value)
    return {place: _Seen(len(found[place][0]), frozenset(found[place][1]), tuple(found[place][2])) for place in found}


def _walk(value: object, place: str, depth: int) -> Iterator[tuple[str, str, str | None]]:
    if depth > _DEEPEST:
        yield place, "nested deeper", None
    elif isinstance(value, dict):
        yield place, "object", None
        for name, member in cast("dict[str, object]", value).items():
            yield from _walk(member, f"{place}.{name}", depth + 1)
    elif isinstance(value, list):
        known = cast("list[object]", value)
        yield place, "array", None if known else "[]"
        for item in known:
            yield from _walk(item, f"{place}[]", depth + 1)
    else:
        kind = {"NoneType": "null", "bool": "boolean", "str": "string"}.get(type(value).__name__, "number")
        yield place, kind, json.dumps(value, ensure_ascii=False)


def _union(first: Iterable[str], second: Iterable[str]) -> Iterable[str]:
    return dict.fromkeys([*first, *second])


def _text(bodies: Sequence[bytes]) -> str:
    body = b"".join(bodies)
    shown = bounded(body.decode("utf-8", "replace"), _LONGEST)
    return (shown.shown + ("…" if shown.left_out else "")) or "empty"


def _in_short(exchange: Exchange) -> str:
    response = exchange.response
    return _ending(exchange) if response is None else f"{response.status} {response.reason}, {_ending(exchange)}"


def _ending(exchange: Exchange) -> str:
    says = f" ({exchange.ended.says})" if exchange.ended.says else ""
    return exchange.ended.how if exchange.ended.how == COMPLETE else exchange.ended.how + says
