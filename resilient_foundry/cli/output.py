"""What every command prints: JSON for programs, lines for people."""

from __future__ import annotations

import dataclasses
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, cast

from rich.console import Console

from resilient_foundry.cli.complaints import sentence
from resilient_foundry.foundry.runtime import RuntimeStartError

console = Console(highlight=False)
"""Standard output, for people."""
errors = Console(stderr=True, highlight=False)
"""Standard error."""


def print_json(value: object) -> None:
    """One JSON document on standard output, at once and whole."""
    sys.stdout.write(json.dumps(plain(value), indent=2, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def plain(value: object) -> Any:  # JSON: anything
    """A value as JSON can hold it: of dataclasses every field but the server's raw answers, and errors as text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        shown = [each.name for each in dataclasses.fields(value) if each.name not in {"raw", "resilience"}]
        return {name: plain(getattr(value, name)) for name in shown}
    if isinstance(value, tuple) and (names := getattr(cast("object", value), "_fields", None)):  # a NamedTuple
        return {name: plain(item) for name, item in zip(names, cast("tuple[object, ...]", value), strict=True)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in cast("Mapping[object, object]", value).items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in cast("Sequence[object]", value)]
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Exception):
        return sentence(value)
    return value


def say(text: str, *, to: Console = console, style: str | None = None) -> None:
    """A sentence or more: broken between words on a terminal, not at all where a program may read it."""
    to.print(text, style=style, markup=False, soft_wrap=not to.is_terminal)


def complain(error: BaseException) -> None:
    """Tell a person what went wrong; no traceback."""
    say(f"resilient-foundry: {sentence(error)}", to=errors, style="red")
    if isinstance(error, RuntimeStartError):
        logging.getLogger("resilient_foundry").debug(error.log)


def warn(text: str) -> None:
    """Tell a person what went wrong and does not matter to the command."""
    say(f"resilient-foundry: {text}", to=errors, style="yellow")


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
