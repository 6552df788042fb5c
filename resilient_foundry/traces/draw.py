"""A trace as lines of text: a span each, under it what happened to it and what it says of itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from resilient_foundry.telemetry.names import PREFIX, STABLE
from resilient_foundry.traces.story import Part, is_attempt, is_wait, parts_of, short
from resilient_foundry.traces.tree import Attributes, Span, SpanEvent, Trace, Value

Tone = Literal["good", "bad", "waiting", "changed", "plain"]
_CHANGES = {STABLE.circuit_changed, STABLE.circuit_rejected, STABLE.limit_changed, STABLE.shed, STABLE.held_back}
_BAD = {STABLE.timeout, STABLE.retry_exhausted, STABLE.retry_denied, STABLE.stream_stalled, STABLE.resume_denied}
_LEFT_OUT = frozenset({"exception.stacktrace", "exception.escaped"})
"""Many lines, and no news."""


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The characters that trees and bars are made of."""

    fork: str
    last: str
    rail: str
    work: str
    wait: str
    first: str


UNICODE = Glyphs(fork="├─ ", last="└─ ", rail="│  ", work="━", wait="┄", first="╋")
ASCII = Glyphs(fork="|- ", last="`- ", rail="|  ", work="=", wait=".", first="#")


@dataclass(frozen=True, slots=True)
class Row:
    """One line. `part` is the span or the event that it tells of; a note of a span has that span."""

    part: Part
    rails: tuple[bool, ...] | None
    """Of every level between the root and this one: whether another span follows there. None of a root."""
    follows: bool
    """Whether another span follows at its own level."""
    text: str
    became: str = ""
    tone: Tone = "plain"
    is_span: bool = False

    def prefix(self, glyphs: Glyphs) -> str:
        """The branches that lead to it."""
        if self.rails is None:
            return ""
        way = "".join(glyphs.rail if rail else "   " for rail in self.rails)
        if self.is_span:
            return way + (glyphs.fork if self.follows else glyphs.last)
        return way + (glyphs.rail if self.follows else "   ")


def rows(trace: Trace) -> Iterator[Row]:
    """The lines of a trace, from top to bottom."""
    open_: list[Row] = [_span_row(root, None, follows=False) for root in reversed(trace.roots)]
    while open_:
        row = open_.pop()
        yield row
        span = row.part
        if not isinstance(span, Span) or not row.is_span:
            continue
        parts = parts_of(trace, span)
        rails = () if row.rails is None else (*row.rails, row.follows)
        last = max((place for place, part in enumerate(parts) if isinstance(part, Span)), default=-1)
        below = [
            _span_row(part, rails, follows=place < last)
            if isinstance(part, Span)
            else Row(part, rails, place < last, words(part), tone=_tone(part))
            for place, part in enumerate(parts)
        ]
        notes = [Row(span, rails, last >= 0, note) for note in _notes(span)]
        open_.extend(reversed([*notes, *below]))


def draw(trace: Trace, *, marked: Part | None = None, glyphs: Glyphs = UNICODE) -> str:
    """The tree as text, with an arrow before what is marked."""
    lines: list[str] = []
    for row in rows(trace):
        told = [row.text]
        if row.is_span and isinstance(row.part, Span):
            told += [seconds(row.part.duration), row.became]
        arrow = "--> " if row.part is marked and (row.is_span or isinstance(row.part, SpanEvent)) else "    "
        lines.append(f"{arrow}{row.prefix(glyphs)}{'  '.join(each for each in told if each)}")
    return "\n".join(lines)


def words(event: SpanEvent) -> str:
    """What happened, for a person."""
    said = _sentence(event.name, {name: printable(value) for name, value in event.attributes.items()}, event.attributes)
    return printable(said)


def became(span: Span) -> str:
    """How a span ended, in a few words: why it failed, or what it gave."""
    told = span.attributes
    error = printable(told.get(STABLE.error_type, ""))
    status = printable(told.get(STABLE.status, ""))
    outcome = printable(told.get(STABLE.attempt_outcome if is_attempt(span) else STABLE.outcome, ""))
    parts = [status] if status else []
    if error and error != status:
        parts.append(error.rpartition(".")[2])
    if outcome and (not parts or outcome in {"cancelled", "abandoned"}):
        parts.append(outcome)
    if span.status == "error" and not parts:
        parts.append("error")
    if span.end is None:
        parts.append("never ended")
    return " ".join(parts)


def seconds(duration: float | None) -> str:
    """Seconds, as short as they can be read."""
    if duration is None:
        return ""
    if 0 < duration < 0.001:  # noqa: PLR2004 - a millisecond
        return f"{duration * 1e6:.0f} us"
    if 0 < duration < 1:
        return f"{duration * 1000:.0f} ms"
    if not duration:
        return "0 s"
    return f"{duration:.2f} s" if duration < 10 else f"{duration:.1f} s"  # noqa: PLR2004 - three digits are enough


def printable(value: Value) -> str:
    """A value as text that does nothing to a terminal: whoever sends spans chooses what is in them."""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return "".join(each if each.isprintable() else "\ufffd" for each in text)


def about(part: Part) -> str:
    """What it is, in the middle of a sentence."""
    if isinstance(part, SpanEvent):
        if is_wait(part):
            told = part.attributes
            return f"a wait of {_seconds(told, 'delay')} by {printable(told.get('delay_source', 'nobody'))}"
        return f"the event {printable(short(part.name))!r}"
    if is_attempt(part):
        number = part.attributes.get(STABLE.attempt_number)
        return " ".join(
            ["attempt", *([str(number)] if number else []), *([f"({became(part)})"] if became(part) else [])]
        )
    return f"the span {printable(part.name)!r}"


def _span_row(span: Span, rails: tuple[bool, ...] | None, *, follows: bool) -> Row:
    hedge = " (hedge)" if span.attributes.get(STABLE.hedge) else ""
    tone: Tone = "bad" if span.status == "error" else "good"
    return Row(span, rails, follows, printable(span.name) + hedge, became(span), tone, is_span=True)


def _tone(event: SpanEvent) -> Tone:
    if is_wait(event):
        return "waiting"
    if event.name in _CHANGES:
        return "changed"
    return "bad" if event.name in _BAD or event.name == "exception" else "plain"


def _notes(span: Span) -> list[str]:
    """What a span says of itself, and is not told by its bar."""
    told = span.attributes
    notes: list[str] = []
    if is_attempt(span):
        size, chunks = told.get(STABLE.stream_bytes), told.get(STABLE.stream_chunks)
        if STABLE.time_to_first_event in told:
            notes.append(f"first event after {_seconds(told, STABLE.time_to_first_event)}")
            notes += [f"{chunks} chunks"] if chunks is not None else []
            notes += [f"{size} bytes"] if size is not None else []
        if told.get(STABLE.stream_completed) is False:
            notes.append("not read to its end")
        return [printable(", ".join(notes))] if notes else []
    if STABLE.time_to_first_chunk in told:
        notes.append(f"first chunk after {_seconds(told, STABLE.time_to_first_chunk)}")
    counted = {"in": told.get(STABLE.input_tokens), "out": told.get(STABLE.output_tokens)}
    tokens = [f"{count} {way}" for way, count in counted.items() if count is not None]
    notes += [f"tokens: {', '.join(tokens)}"] if tokens else []
    lines = ["; ".join(notes)] if notes else []
    if STABLE.deadline in told:
        left = f", {_seconds(told, STABLE.deadline_remaining)} of it left" if STABLE.deadline_remaining in told else ""
        lines.append(f"deadline {_seconds(told, STABLE.deadline)}{left}")
    return [printable(each) for each in lines]


def _seconds(told: Attributes, name: str) -> str:
    value = told.get(name)
    return seconds(float(value)) if isinstance(value, (int, float)) else "an unknown time"


def _sentence(name: str, told: dict[str, str], values: Attributes) -> str:
    because = f": {told['reason']}" if told.get("reason") else ""
    of = f" {told['name']}" if told.get("name") else ""
    match name:
        case STABLE.retry_scheduled:
            word = ", as the server asks" if told.get("delay_source") == "retry_after" else ""
            return f"waits {_seconds(values, 'delay')}{word}{because}"
        case STABLE.retry_exhausted:
            return f"gives up after {told.get('attempts', 'all')} attempts{because}"
        case STABLE.retry_denied:
            return f"is not tried again ({told.get('by', 'unknown').replace('_', ' ')}){because}"
        case STABLE.circuit_changed:
            why = f" ({told['trigger']})" if "trigger" in told else ""
            then = f", next probe in {_seconds(values, 'retry_in')}" if "retry_in" in told else ""
            return f"circuit{of} is {told.get('to', 'changed').replace('_', '-')}{why}{then}"
        case STABLE.circuit_rejected:
            then = f", next probe in {_seconds(values, 'retry_in')}" if "retry_in" in told else ""
            return f"refused: circuit{of} is open{then}"
        case STABLE.timeout:
            limit = f" of {_seconds(values, 'limit')}" if "limit" in told else ""
            return f"{told.get('kind', 'time').replace('_', ' ')} limit{limit} passed"
        case STABLE.stream_stalled:
            return f"stream stalled for {_seconds(values, 'gap')}"
        case STABLE.hedge_started:
            return f"asks once more beside it, after {_seconds(values, 'after')}"
        case STABLE.queued:
            return f"waited {_seconds(values, 'seconds')} for{of or ' a place'}"
        case STABLE.shed:
            return f"refused by{of or ' a limit'} ({told.get('by', 'full').replace('_', ' ')})"
        case STABLE.limit_changed:
            return f"limit{of} is {told.get('limit', 'unknown')} now"
        case STABLE.held_back:
            return f"all calls to{of or ' it'} are held back for {_seconds(values, 'seconds')}"
        case STABLE.fell_back:
            return f"falls back to {told.get('target', 'another')}{because}"
        case "exception":
            said = told.get("exception.message", "")
            return f"{told.get('exception.type', 'an error')}{': ' if said else ''}{said}"
        case _:
            listed = [f"{key}={value}" for key, value in told.items() if key not in _LEFT_OUT]
            return " ".join([name.removeprefix(f"{PREFIX}."), *listed])
