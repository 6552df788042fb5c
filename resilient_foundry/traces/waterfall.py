"""Where in time a span stands, as a bar in as many columns as there are: work, waits, the first event."""

from __future__ import annotations

from resilient_foundry.telemetry.names import STABLE
from resilient_foundry.traces.draw import Glyphs
from resilient_foundry.traces.story import is_attempt, is_wait, parts_of
from resilient_foundry.traces.tree import NANOSECONDS, Span, Trace


def bar(trace: Trace, span: Span, columns: int, glyphs: Glyphs) -> str:
    """The bar of a span on the time of its trace. At least one column of it is at work, however short it is."""
    began, length = trace.start, trace.end - trace.start

    def column(moment: int) -> int:
        return columns * (moment - began) // length if length else 0

    end = trace.end if span.end is None else max(span.end, span.start)
    first = min(column(span.start), columns - 1)
    last = min(max(column(end - 1), first), columns - 1)
    cells = [" "] * first + [glyphs.work] * (last - first + 1) + [" "] * (columns - last - 1)
    for since, until in _waits(trace, span, end):
        # A column is a wait's where the wait fills it.
        for each in range(max(column(since - 1) + 1, first), min(column(until), last + 1)):
            cells[each] = glyphs.wait
    spoke = _first_event(span)
    if spoke is not None and spoke <= end:
        cells[min(max(column(spoke), first), last)] = glyphs.first
    return "".join(cells)


def _waits(trace: Trace, span: Span, end: int) -> list[tuple[int, int]]:
    """From when to when a call waited: until its next attempt began, or as long as was planned."""
    waits: list[tuple[int, int]] = []
    parts = parts_of(trace, span)
    for place, part in enumerate(parts):
        if isinstance(part, Span) or not is_wait(part):
            continue
        delay = part.attributes.get("delay")
        planned = part.at + int(delay * NANOSECONDS) if isinstance(delay, (int, float)) else end
        following = (each.start for each in parts[place:] if isinstance(each, Span) and is_attempt(each))
        waits.append((part.at, min(next(following, planned), end)))
    return waits


def _first_event(span: Span) -> int | None:
    """When the first piece of an answer was there."""
    after = span.attributes.get(STABLE.time_to_first_event if is_attempt(span) else STABLE.time_to_first_chunk)
    return span.start + int(after * NANOSECONDS) if isinstance(after, (int, float)) else None
