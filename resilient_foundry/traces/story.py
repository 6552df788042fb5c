"""What stands under a span, spans and events in one order, as whoever reads a trace wants it."""

from __future__ import annotations

from resilient_foundry.telemetry.names import PREFIX, STABLE
from resilient_foundry.traces.tree import Span, SpanEvent, Trace

Part = Span | SpanEvent


def parts_of(trace: Trace, span: Span) -> list[Part]:
    """The spans right under this one and its own events, in the order in which they happened.

    On a virtual clock much happens at once. An event that names the attempt it follows stands behind that, with the
    events before it; else what took no time stands before the events of that moment.
    """
    children = trace.children_of(span)
    parts: list[Part] = []
    placed = 0
    events = sorted(span.events, key=lambda each: each.at)
    for place, event in enumerate(events):
        follows = _attempt_before(events[place:])
        while placed < len(children) and _is_before(children[placed], event, follows):
            parts.append(children[placed])
            placed += 1
        parts.append(event)
    return [*parts, *children[placed:]]


def is_attempt(span: Span) -> bool:
    """Whether it is one request over HTTP, by whoever sent it."""
    return span.kind == "client" and STABLE.method in span.attributes


def is_wait(part: Part) -> bool:
    """Whether it is the beginning of a wait between two attempts."""
    return isinstance(part, SpanEvent) and part.name == STABLE.retry_scheduled


def short(name: str) -> str:
    """A name without the prefix of this package."""
    return name.removeprefix(f"{PREFIX}.")


def _attempt_before(events: list[SpanEvent]) -> int | None:
    """The number of the attempt that the first of these events followed, by the first that says so at its moment."""
    named = (event.attributes.get("attempt") for event in events if event.at == events[0].at)
    return next((number for number in named if isinstance(number, int)), None)


def _is_before(child: Span, event: SpanEvent, follows: int | None) -> bool:
    if child.start != event.at:
        return child.start < event.at
    number = child.attributes.get(STABLE.attempt_number)
    if isinstance(number, int) and follows is not None:
        return number <= follows
    return child.end == child.start
