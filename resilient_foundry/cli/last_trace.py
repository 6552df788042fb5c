"""The last trace of a command on this machine, for `resilient-foundry trace --last`.

It holds names, times, statuses and URLs without query, and never what was asked or answered: even where somebody has
spans carry the messages of chats, they are not written here. Only the user may read the file.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from resilient_foundry.telemetry.names import STABLE
from resilient_foundry.traces.otlp import from_otlp_json, to_otlp_json
from resilient_foundry.traces.tree import Span, Trace, traces_of

LARGEST = 4_000_000
"""Bytes of the file: some thousand spans. Of a larger trace the earliest spans are kept."""
_CONTENT = frozenset({STABLE.input_messages, STABLE.output_messages})


def place() -> Path:
    """The file, below XDG_STATE_HOME or ~/.local/state."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "resilient-foundry" / "last-trace.json"


def keep(spans: Iterable[Span]) -> Path | None:
    """Write the trace that began last in the place of the one before; gives its file.

    None without spans, and where nothing can be written: a command does not fail for that.
    """
    traces = traces_of(map(_without_content, spans))
    if not traces:
        return None
    kept = traces[-1].spans
    text = to_otlp_json(kept)
    while len(text) > LARGEST:
        kept = kept[: len(kept) // 2]
        text = to_otlp_json(kept)
    with suppress(OSError, RuntimeError):  # the latter where there is no home
        return _write(place(), text)
    return None


def read() -> Trace:
    """The last trace; ValueError where there is none."""
    try:
        return traces_of(from_otlp_json(place().read_bytes()))[-1]
    except FileNotFoundError:
        raise ValueError(f"no command has left a trace in {place()}: name a file or a trace id") from None
    except (IndexError, ValueError) as error:
        raise ValueError(f"{place()} can't be read ({error}): the next command that is traced writes it anew") from None


def _write(path: Path, text: str) -> Path:
    """Beside its place first, and there when it is whole; `mkstemp` makes files that their owner alone reads."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, beside = tempfile.mkstemp(prefix=".last-trace-", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(text)
        return Path(beside).replace(path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise


def _without_content(span: Span) -> Span:
    events = tuple(
        replace(each, attributes={name: value for name, value in each.attributes.items() if name not in _CONTENT})
        for each in span.events
    )
    kept = {name: value for name, value in span.attributes.items() if name not in _CONTENT}
    return replace(span, attributes=kept, events=events)
