"""What every command prints: JSON for programs, one sentence for what went wrong."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, cast

from rich.console import Console

console = Console(highlight=False)
"""Standard output, for people."""
errors = Console(stderr=True, highlight=False)
"""Standard error."""


def print_json(value: object) -> None:
    """One JSON document on standard output."""
    json.dump(plain(value), sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def plain(value: object) -> Any:  # JSON: anything
    """A value as JSON can hold it: of dataclasses every field but the server's raw answers, and errors as text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        shown = [each.name for each in dataclasses.fields(value) if each.name not in {"raw", "resilience"}]
        return {name: plain(getattr(value, name)) for name in shown}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in cast("Mapping[object, object]", value).items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in cast("Sequence[object]", value)]
    if isinstance(value, Exception):
        return sentence(value)
    return value


def sentence(error: BaseException) -> str:
    """What an error says, with what was noted on it on the way, in one line."""
    said = str(error) or type(error).__name__
    notes: list[str] = getattr(error, "__notes__", [])
    return "; ".join([said, *notes]).replace("\n", " ")


def complain(error: BaseException) -> None:
    """Tell a person what went wrong; no traceback."""
    errors.print(f"resilient-foundry: {sentence(error)}", style="red", markup=False, soft_wrap=True)


def size(count: int | None) -> str:
    """Bytes, for a person."""
    if count is None:
        return "unknown"
    amount = float(count)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:  # noqa: PLR2004 - SI
            return f"{amount:.0f} {unit}"
        amount /= 1000
    return f"{amount:.2f} GB"
