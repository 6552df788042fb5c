"""A trace: its spans, and who stands under whom. Times are nanoseconds since 1970, durations are seconds."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args

Scalar = str | bool | int | float
Value = Scalar | tuple[Scalar, ...]
"""What an attribute can be. Readers turn what is none of these into text."""
Attributes = Mapping[str, Value]
Kind = Literal["internal", "client", "server", "producer", "consumer"]
Status = Literal["unset", "ok", "error"]

KINDS: tuple[Kind, ...] = get_args(Kind)
STATUSES: tuple[Status, ...] = get_args(Status)
NANOSECONDS = 1e9
_TRACE_ID = re.compile(r"[0-9a-f]{32}")
_SPAN_ID = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class SpanEvent:
    """What happened at one moment of a span."""

    name: str
    at: int
    attributes: Attributes = field(default_factory=dict[str, Value], hash=False)


@dataclass(frozen=True, slots=True)
class Link:
    """Another span that has to do with this one: a hedge names the attempt that it stands beside."""

    trace_id: str
    span_id: str
    attributes: Attributes = field(default_factory=dict[str, Value], hash=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One span, as whoever made it told it.

    `parent_id` may name a span that nobody has; `end` is None where the span never ended, and may lie before `start`
    where a clock was set meanwhile. ValueError for an id that is none, and for an unknown kind or status.
    """

    trace_id: str
    """32 hexadecimal digits."""
    span_id: str
    """16 hexadecimal digits."""
    parent_id: str | None = None
    name: str = ""
    kind: Kind = "internal"
    start: int = 0
    end: int | None = None
    status: Status = "unset"
    status_message: str = ""
    attributes: Attributes = field(default_factory=dict[str, Value], hash=False)
    events: tuple[SpanEvent, ...] = ()
    links: tuple[Link, ...] = ()
    service: str = ""
    """`service.name` of the program that made it."""
    scope: str = ""
    """The library that made it."""

    def __post_init__(self) -> None:
        """Refuse what no span can be."""
        if not _TRACE_ID.fullmatch(self.trace_id):
            raise ValueError(f"trace_id is 32 lower-case hexadecimal digits, not {self.trace_id!r}")
        for name, each in (("span_id", self.span_id), ("parent_id", self.parent_id)):
            if each is not None and not _SPAN_ID.fullmatch(each):
                raise ValueError(f"{name} is 16 lower-case hexadecimal digits, not {each!r}")
        if self.kind not in KINDS:
            raise ValueError(f"kind is one of {', '.join(KINDS)}, not {self.kind!r}")
        if self.status not in STATUSES:
            raise ValueError(f"status is one of {', '.join(STATUSES)}, not {self.status!r}")

    @property
    def duration(self) -> float | None:
        """Seconds; None where it never ended."""
        return None if self.end is None else max(0, self.end - self.start) / NANOSECONDS


class Trace:
    """The spans of one trace, by start. ValueError for none, and for spans of several traces (see `traces_of`).

    Whose parent is not there is a root. Where parents go round in a circle, the first of them is one. Of spans with the
    same id the first counts, since whatever sends spans may send them again.
    """

    def __init__(self, spans: Iterable[Span]) -> None:
        known: dict[tuple[str, str], Span] = {}
        for each in spans:
            known.setdefault((each.trace_id, each.span_id), each)
        if not known:
            raise ValueError("a trace has at least one span")
        ids = {trace_id for trace_id, _ in known}
        if len(ids) > 1:
            raise ValueError(f"these spans are of {len(ids)} traces: {', '.join(sorted(ids))}")
        self.spans: tuple[Span, ...] = tuple(sorted(known.values(), key=_moment))
        self.trace_id: str = self.spans[0].trace_id
        self._children: dict[str | None, list[Span]] = {}
        parents = _parents(self.spans)
        for each in self.spans:
            self._children.setdefault(parents[each.span_id], []).append(each)

    @property
    def roots(self) -> tuple[Span, ...]:
        """The spans that stand under none."""
        return tuple(self._children[None])

    def children_of(self, span: Span) -> tuple[Span, ...]:
        """The spans right under this one, by start."""
        return tuple(self._children.get(span.span_id, ()))

    def walk(self) -> Iterator[tuple[int, Span]]:
        """Every span with how deep it stands, as a tree is read: a root, what is under it, the next root."""
        open_: list[tuple[int, Span]] = [(0, root) for root in reversed(self.roots)]
        while open_:
            depth, span = open_.pop()
            yield depth, span
            open_.extend((depth + 1, child) for child in reversed(self.children_of(span)))

    @property
    def start(self) -> int:
        """When the first span began."""
        return self.spans[0].start

    @property
    def end(self) -> int:
        """The last moment that anything is known of."""
        moments = [self.start]
        for each in self.spans:
            moments += [each.start if each.end is None else each.end, *(event.at for event in each.events)]
        return max(moments)

    @property
    def duration(self) -> float:
        """Seconds from the first to the last moment."""
        return (self.end - self.start) / NANOSECONDS

    def __eq__(self, other: object) -> bool:
        """The same spans."""
        return self.spans == other.spans if isinstance(other, Trace) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.spans)

    def __repr__(self) -> str:
        return f"<Trace {self.trace_id}: {len(self.spans)} spans, {self.duration:.3f} s>"


def traces_of(spans: Iterable[Span]) -> list[Trace]:
    """The traces that these spans make, by start."""
    of: dict[str, list[Span]] = {}
    for each in spans:
        of.setdefault(each.trace_id, []).append(each)
    return sorted(map(Trace, of.values()), key=lambda trace: trace.start)


def as_value(found: object) -> Value:
    """What an attribute holds, as it is where it is plain, and else as text: JSON of what has parts."""
    if isinstance(found, (str, bool, int, float)):
        return found
    if isinstance(found, (list, tuple)):
        parts = map(as_value, cast("Iterable[object]", found))
        return tuple(_as_text(part) if isinstance(part, tuple) else part for part in parts)
    return _as_text(found)


def _as_text(found: object) -> str:
    """Nothing is the empty text."""
    return "" if found is None else json.dumps(found, ensure_ascii=False, default=_plainer)


def _plainer(found: object) -> Any:  # JSON: anything
    return dict(cast("Mapping[str, object]", found)) if isinstance(found, Mapping) else str(found)


def _moment(span: Span) -> tuple[int, float]:
    """What begins first comes first, and of those that begin together the one that ends first."""
    return span.start, float("inf") if span.end is None else span.end


def _parents(spans: tuple[Span, ...]) -> dict[str, str | None]:
    """Under which span each stands, None for a root; circles are cut before the earliest in them."""
    order = {each.span_id: place for place, each in enumerate(spans)}
    parents = {each.span_id: each.parent_id if each.parent_id in order else None for each in spans}
    known: set[str] = set()
    for each in spans:
        way: dict[str, None] = {}
        at: str | None = each.span_id
        while at is not None and at not in known and at not in way:
            way[at] = None
            at = parents[at]
        if at is not None and at in way:
            passed = list(way)
            parents[min(passed[passed.index(at) :], key=order.__getitem__)] = None
        known.update(way)
    return parents
