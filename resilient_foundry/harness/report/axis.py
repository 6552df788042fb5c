"""A stream on a time axis: when its head came, its chunks, its events, and how it ended."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from resilient_foundry.harness.evidence import ABANDONED, COMPLETE, Exchange, Response
from resilient_foundry.harness.grammar import chat_kind
from resilient_foundry.harness.report.text import Text, bounded, seconds
from resilient_foundry.sse import Decoder, Event, SSEError, announced_by

_FIRST, _LAST = 10, 6  # of a long stream these events are shown
_LONGEST: Final = 400  # characters of an event
_BUCKETS: Final = 110  # marks side by side before they touch, on a wide screen
_ROWS: Final = 4  # marks on top of each other; more of them stand beside
_ASIDE: Final = 9  # pixels
_RIGHT: Final = 0.85  # of the width, from where on they stand to the left
_FINEST: Final = 1000  # places for chunks
_LONG: Final = 0.35  # of the whole: a time without anything that is drawn short
_SHORT: Final = 0.14  # of the width
_EDGE: Final = 0.97  # of the width: what comes last stands a little before the end
_APART: Final = 0.13  # of the width, between the names of ticks
_MOST_GAPS: Final = 3
_MOST_TICKS: Final = 100_000

_MARKS: Final = {
    "role": "start",
    "content": "text",
    "reasoning": "text",
    "call": "call",
    "finish": "finish",
    "usage": "usage",
    "done": "done",
    "error": "error",
    "garbage": "error",
}


@dataclass(frozen=True, slots=True)
class Moment:
    """An event of the stream: its number from 1, when it came, its kind in a word, and the mark that stands for it."""

    number: int
    at: str
    kind: str
    mark: str
    data: Text
    x: str
    row: int
    aside: int
    """Pixels from its time, where more events came at once than fit on top of each other."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A place on the axis, and the time there."""

    x: str
    label: str


@dataclass(frozen=True, slots=True)
class Gap:
    """A long time without anything, drawn short: its place, and how long it was."""

    x: str
    width: str
    middle: str
    label: str


@dataclass(frozen=True, slots=True)
class Axis:
    """A stream as it is drawn. Places are percentages of the width."""

    moments: tuple[Moment, ...]
    left_out: int
    head: Tick
    end: Tick
    how: str
    """How it ended: "complete", "left" or "cut"."""
    chunks: str
    """The path that draws the chunks, on a grid a thousand wide."""
    ticks: tuple[Tick, ...]
    gaps: tuple[Gap, ...]
    order: str
    """The kinds of the events, repetitions counted."""
    summary: str
    trouble: str = ""
    """Why not every event could be read."""


def is_stream(response: Response) -> bool:
    """Whether it is a stream of events."""
    return announced_by({"content-type": response.header("content-type") or ""})


def events_of(response: Response) -> tuple[list[tuple[float, Event]], str]:
    """The events with the moments of the chunks that completed them, and why there are no more."""
    decoder = Decoder()
    found: list[tuple[float, Event]] = []
    try:
        for chunk in response.chunks:
            found += [(chunk.at, event) for event in decoder.feed(chunk.data)]
        decoder.end()
    except SSEError as error:
        return found, str(error)
    return found, ""


def kind_of(event: Event) -> str:
    """What an event brings, in a word; where events have types, that is its type."""
    return chat_kind(event) if event.event in {"message", "error"} else event.event


def order_of(kinds: list[str]) -> str:
    """The kinds with repetitions counted: "role · content x7 · finish"."""
    runs: list[tuple[str, int]] = []
    for kind in kinds:
        if runs and runs[-1][0] == kind:
            runs[-1] = (kind, runs[-1][1] + 1)
        else:
            runs.append((kind, 1))
    return " · ".join(kind if count == 1 else f"{kind} ×{count}" for kind, count in runs) or "no events"  # noqa: RUF001 - the sign for times


def axis(exchange: Exchange, response: Response) -> Axis:
    """The time axis of a stream."""
    found, trouble = events_of(response)
    last = max([exchange.ended.at, response.at, *(chunk.at for chunk in response.chunks)])
    scale = _Scale.of([0.0, response.at, *(chunk.at for chunk in response.chunks), exchange.ended.at], last)
    kinds = [kind_of(event) for _, event in found]
    kept = [*range(min(_FIRST, len(found))), *range(max(_FIRST, len(found) - _LAST), len(found))]
    rows: Counter[int] = Counter()
    moments: list[Moment] = []
    for place in kept:
        at, event = found[place]
        place_of = scale.place(at)
        bucket = int(place_of * _BUCKETS)
        column, row = divmod(rows[bucket], _ROWS)
        aside = column * _ASIDE * (-1 if place_of > _RIGHT + 0.01 else 1)
        data = bounded(event.data, _LONGEST)
        mark = _mark(kinds[place])
        moments.append(Moment(place + 1, seconds(at), kinds[place], mark, data, scale.x(at), row, aside))
        rows[bucket] += 1
    order = order_of(kinds)
    how = {COMPLETE: "complete", ABANDONED: "left"}.get(exchange.ended.how, "cut")
    said = {"complete": "complete", "left": "left by the client", "cut": f"cut: {exchange.ended.how}"}[how]
    return Axis(
        moments=tuple(moments),
        left_out=len(found) - len(kept),
        head=Tick(scale.x(response.at), seconds(response.at)),
        end=Tick(scale.x(exchange.ended.at), seconds(exchange.ended.at)),
        how=how,
        chunks="".join(f"M{x} 0v1" for x in sorted({int(scale.place(each.at) * _FINEST) for each in response.chunks})),
        ticks=tuple(scale.ticks()),
        gaps=tuple(scale.gaps()),
        order=order,
        summary=(
            f"head after {seconds(response.at)}, {len(found)} events in {len(response.chunks)} chunks, "
            f"{said} after {seconds(exchange.ended.at)}"
        ),
        trouble=trouble,
    )


def _mark(kind: str) -> str:
    if kind in _MARKS:
        return _MARKS[kind]
    match kind.rpartition(".")[2]:
        case "delta":
            return "text"
        case "completed" | "incomplete":
            return "finish"
        case "failed" | "error":
            return "error"
        case _:
            return "other"


@dataclass(frozen=True, slots=True)
class _Scale:
    """Where times stand, from 0 to 1: in proportion, but that a long time without anything is drawn short."""

    knots: tuple[tuple[float, float], ...]
    """Times with their places; in between it is in proportion."""
    empty: tuple[tuple[float, float], ...]
    """The times that are drawn short."""
    short: float
    """How wide, each of them."""

    @classmethod
    def of(cls, times: list[float], last: float) -> _Scale:
        whole = max(last, 1e-4)
        known = sorted({*times, whole})
        spans, full, empty = list(pairwise(known)), whole, tuple[tuple[float, float], ...]()
        while len(empty) < _MOST_GAPS and spans:
            longest = max(spans, key=lambda span: span[1] - span[0])
            if longest[1] - longest[0] <= _LONG * full:
                break
            spans.remove(longest)
            full -= longest[1] - longest[0]
            empty = (*empty, longest)
        short = _SHORT if spans else _RIGHT / len(empty)
        room = _EDGE - short * len(empty)
        knots = [(0.0, 0.0)]
        for a, b in pairwise(known):
            width = short if (a, b) in empty else (b - a) / full * room
            knots.append((b, knots[-1][1] + width))
        return cls(tuple(knots), empty, short)

    def place(self, at: float) -> float:
        for (a, left), (b, right) in pairwise(self.knots):
            if at <= b:
                return left + (right - left) * (at - a) / (b - a)
        return self.knots[-1][1]

    def x(self, at: float) -> str:
        return f"{self.place(at) * 100:.2f}%"

    def gaps(self) -> Iterator[Gap]:
        for a, b in self.empty:
            width = f"{self.short * 100:.2f}%"
            middle = f"{(self.place(a) + self.short / 2) * 100:.2f}%"
            yield Gap(self.x(a), width, middle, seconds(b - a))

    def ticks(self) -> Iterator[Tick]:
        """Round times where it is in proportion, apart from each other."""
        whole = self.knots[-1][0]
        full = max(whole - sum(b - a for a, b in self.empty), whole / 1000)
        power = 10.0 ** math.floor(math.log10(full / 3))
        step = next(power * each for each in (1, 2, 5, 10) if full / (power * each) <= 5)  # noqa: PLR2004 - ticks that fit
        taken = [self.place(a) + self.short / 2 for a, _ in self.empty]
        for number in range(int(whole / step) + 1) if whole / step < _MOST_TICKS else ():
            at = number * step
            place = self.place(at)
            is_empty = any(a < at < b for a, b in self.empty)
            if not is_empty and all(abs(place - each) >= _APART for each in taken):
                taken.append(place)
                yield Tick(self.x(at), f"{at:.4g} s" if whole >= 1 else f"{at * 1000:.4g} ms")
