"""A stream on a time axis: when its head came, its chunks, its events, and how it ended."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from resilient_foundry.harness.evidence import ABANDONED, COMPLETE, Exchange, Response
from resilient_foundry.harness.grammar import chat_kind
from resilient_foundry.harness.report.text import Text, bounded, seconds
from resilient_foundry.sse import Decoder, Event, SSEError, announced_by

_FIRST, _LAST = 40, 16  # of a long stream these events are shown
_LONGEST: Final = 480  # characters of an event
_BUCKETS: Final = 110  # marks side by side before they touch, on a wide screen
_ROWS: Final = 4  # marks on top of each other
_FINEST: Final = 1000  # places for chunks

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


@dataclass(frozen=True, slots=True)
class Tick:
    """A place on the axis, and the time there."""

    x: str
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
    whole = max(last, 1e-4) * 1.02
    kinds = [kind_of(event) for _, event in found]
    kept = [*range(min(_FIRST, len(found))), *range(max(_FIRST, len(found) - _LAST), len(found))]
    rows: Counter[int] = Counter()
    moments: list[Moment] = []
    for place in kept:
        at, event = found[place]
        bucket = int(at / whole * _BUCKETS)
        data = bounded(event.data, _LONGEST)
        mark = _mark(kinds[place])
        moments.append(Moment(place + 1, seconds(at), kinds[place], mark, data, _x(at, whole), rows[bucket] % _ROWS))
        rows[bucket] += 1
    order = order_of(kinds)
    how = {COMPLETE: "complete", ABANDONED: "left"}.get(exchange.ended.how, "cut")
    said = {"complete": "complete", "left": "left by the client", "cut": f"cut: {exchange.ended.how}"}[how]
    return Axis(
        moments=tuple(moments),
        left_out=len(found) - len(kept),
        head=Tick(_x(response.at, whole), seconds(response.at)),
        end=Tick(_x(exchange.ended.at, whole), seconds(exchange.ended.at)),
        how=how,
        chunks="".join(f"M{x} 0v1" for x in sorted({int(each.at / whole * _FINEST) for each in response.chunks})),
        ticks=tuple(_ticks(whole)),
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


def _x(at: float, whole: float) -> str:
    return f"{at / whole * 100:.2f}%"


def _ticks(whole: float) -> Iterator[Tick]:
    """Round times, three to six of them."""
    power = 10.0 ** math.floor(math.log10(whole / 3))
    step = next(power * each for each in (1, 2, 5, 10) if whole / (power * each) <= 5)  # noqa: PLR2004 - ticks that fit
    for place in range(int(whole / step) + 1):
        at = place * step
        yield Tick(_x(at, whole), f"{at:g} s" if whole >= 1 else f"{at * 1000:.4g} ms")
