"""`resilient-foundry trace`: a trace as a waterfall in the terminal, for whoever has no Jaeger at hand."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from resilient_foundry.cli import last_trace
from resilient_foundry.cli.output import console, print_json, say
from resilient_foundry.traces.draw import ASCII, UNICODE, Glyphs, Row, Tone, became, printable, rows, seconds
from resilient_foundry.traces.files import from_json
from resilient_foundry.traces.jaeger import URL, Jaeger
from resilient_foundry.traces.tree import NANOSECONDS, Attributes, Span, Trace, traces_of
from resilient_foundry.traces.waterfall import bar

_STYLES: dict[Tone, str] = {"good": "green", "bad": "red", "waiting": "yellow", "changed": "magenta", "plain": "dim"}
_DRAWN = 10
"""More traces than this are listed in place of drawn."""
_LARGEST = 256_000_000
"""Bytes of a file."""
_PATIENCE = 2.0
"""Seconds that a Jaeger gets for what may just have been sent."""
_NARROWEST_BAR = 10
_SECONDS = 8
_ID = re.compile(r"[0-9a-fA-F]{32}")


def run(where: str | None, *, last: bool, jaeger: str | None, wanted: str | None, as_json: bool) -> None:
    """Draw the traces asked for. ValueError says what is wrong with what was named."""
    traces = _traces(where, last=last, jaeger=jaeger)
    if wanted is not None:
        traces = _with_id(traces, wanted)
    if as_json:
        print_json({"traces": [_tree(trace) for trace in traces]})
    elif len(traces) > _DRAWN:
        say(f"{len(traces)} traces; --id draws one of them")
        for trace in traces:
            root = trace.roots[0]
            told = (trace.trace_id, f"{seconds(trace.duration):>{_SECONDS}}", printable(root.name), became(root))
            _print(Text("  ".join(told).rstrip()))
    else:
        for number, trace in enumerate(traces):
            if number:
                console.print()
            _draw(trace)


def _traces(where: str | None, *, last: bool, jaeger: str | None) -> list[Trace]:
    if last:
        if where is not None or jaeger is not None:
            raise ValueError("--last is the last trace of a command here, and takes neither a file nor a Jaeger")
        return [last_trace.read()]
    if where is None:
        raise ValueError("what is to be drawn? name a file or a trace id, or say --last")
    if where == "-":
        return _of(sys.stdin.read(), "standard input")
    path = Path(where)
    if jaeger is None and path.exists():
        if path.is_dir():
            raise ValueError(f"{where} is a folder, and a file is wanted")
        if path.stat().st_size > _LARGEST:
            raise ValueError(f"{where} has more than {_LARGEST // 1_000_000} MB: keep fewer traces in one file")
        return _of(path.read_bytes(), where)
    if not _ID.fullmatch(where):
        raise ValueError(f"{where} is neither a file here nor a trace id, which has 32 hexadecimal digits")
    with Jaeger(jaeger or URL, patience=_PATIENCE) as asked:
        return [asked.trace(where)]


def _of(text: str | bytes, where: str) -> list[Trace]:
    try:
        spans = from_json(text)
    except ValueError as error:
        raise ValueError(f"no trace in {where}: {error}") from None
    if not spans:
        raise ValueError(f"no trace in {where}: it holds no spans")
    return traces_of(spans)


def _with_id(traces: list[Trace], wanted: str) -> list[Trace]:
    found = [trace for trace in traces if trace.trace_id.startswith(wanted.lower())]
    if not found:
        raise ValueError(f"none of the {len(traces)} traces there has an id that begins with {wanted}")
    return found


def _draw(trace: Trace) -> None:
    ascii_only = console.options.ascii_only
    glyphs = ASCII if ascii_only else UNICODE
    lines = list(rows(trace))
    told = [became(row.part) for row in lines if row.is_span and isinstance(row.part, Span)]
    ends = min(max(map(cell_len, told)), 20)
    widest = max(cell_len(row.prefix(glyphs) + row.text) for row in lines if row.is_span)
    space = console.width - _SECONDS - ends - 3
    label = max(min(widest, space - _NARROWEST_BAR, max(space // 2, 30)), 12)
    columns = max(space - label, _NARROWEST_BAR)

    services = ", ".join(sorted({printable(span.service) for span in trace.spans if span.service}))
    began = datetime.fromtimestamp(trace.start // NANOSECONDS, UTC)
    _print(Text(_plain(f"trace {trace.trace_id}  {began:%Y-%m-%d %H:%M:%S}Z  {services}".rstrip(), ascii_only), "bold"))
    axis = f"0{seconds(trace.duration):>{columns - 1}}"
    _print(Text(f"{'':{label}} {axis}", "dim"))
    seen = ""
    for row in lines:
        if row.is_span and isinstance(row.part, Span):
            drawn = bar(trace, row.part, columns, glyphs)
            seen += drawn
            _print(_span_line(row, row.part, drawn, glyphs, label, ascii_only=ascii_only))
        else:
            line = row.prefix(glyphs) + row.text
            cut = _cut(line, console.width, ascii_only=ascii_only) if console.is_terminal else line
            _print(Text(_plain(cut, ascii_only), _STYLES[row.tone]))
    legend = {glyphs.work: "at work", glyphs.wait: "waits", glyphs.first: "first event"}
    _print(Text("   ".join(f"{mark} {word}" for mark, word in legend.items() if mark in seen), "dim"))


def _span_line(row: Row, span: Span, drawn: str, glyphs: Glyphs, label: int, *, ascii_only: bool) -> Text:
    style = _STYLES[row.tone]
    name = _cut(_plain(row.prefix(glyphs) + row.text, ascii_only), label, ascii_only=ascii_only)
    line = Text(set_cell_size(name, label) + " ")
    line.append(drawn, style)
    line.append(f" {seconds(span.duration):>{_SECONDS}} ")
    line.append(_plain(row.became, ascii_only), style)
    line.rstrip()
    return line


def _cut(text: str, width: int, *, ascii_only: bool) -> str:
    more = "..." if ascii_only else "\u2026"
    return text if cell_len(text) <= width else set_cell_size(text, width - len(more)) + more


def _plain(text: str, ascii_only: bool) -> str:
    return text.encode("ascii", "replace").decode("ascii") if ascii_only else text


def _print(line: Text) -> None:
    """One line, as it is."""
    console.print(line, no_wrap=True, overflow="ignore", crop=False)


def _tree(trace: Trace) -> dict[str, Any]:
    return {
        "trace_id": trace.trace_id,
        "start": trace.start,
        "duration": trace.duration,
        "roots": _under(trace, trace.roots),
    }


def _under(trace: Trace, spans: Iterable[Span]) -> list[dict[str, Any]]:
    try:
        return [_span(trace, span) for span in spans]
    except RecursionError:
        raise ValueError(f"trace {trace.trace_id} is too deep for JSON") from None


def _span(trace: Trace, span: Span) -> dict[str, Any]:
    return {
        "name": span.name,
        "span_id": span.span_id,
        "kind": span.kind,
        "service": span.service,
        "scope": span.scope,
        "start": span.start,
        "duration": span.duration,
        "status": span.status,
        "attributes": _values(span.attributes),
        "events": [{"name": each.name, "at": each.at, "attributes": _values(each.attributes)} for each in span.events],
        "links": [
            {"trace_id": each.trace_id, "span_id": each.span_id, "attributes": _values(each.attributes)}
            for each in span.links
        ],
        "children": _under(trace, trace.children_of(span)),
    }


def _values(attributes: Attributes) -> dict[str, Any]:
    """JSON knows no numbers that are none."""
    return {
        name: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in attributes.items()
    }
