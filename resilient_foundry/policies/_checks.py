"""Checks of settings: which field, what it got, what it accepts."""

from __future__ import annotations

import math


def number(name: str, value: float, *, above: float | None = None, at_least: float | None = None) -> None:
    """Raise ValueError or TypeError unless the value is a finite number within its bound."""
    if isinstance(value, bool) or not _is_a(value, (int, float)):
        raise TypeError(f"{name} is a number, not {value!r}")
    if not math.isfinite(value):
        raise ValueError(f"{name} is a finite number, not {value!r}")
    if above is not None and not value > above:
        raise ValueError(f"{name} is more than {above:g}, not {value!r}")
    if at_least is not None and not value >= at_least:
        raise ValueError(f"{name} is at least {at_least:g}, not {value!r}")


def seconds(name: str, value: float | None) -> None:
    """Raise unless the value is a positive number of seconds, or None for no limit."""
    if value is not None:
        number(name, value, above=0.0)


def count(name: str, value: int, *, at_least: int = 1) -> None:
    """Raise unless the value is a whole number that is large enough."""
    if isinstance(value, bool) or not _is_a(value, (int,)):
        raise TypeError(f"{name} is a whole number, not {value!r}")
    if value < at_least:
        raise ValueError(f"{name} is at least {at_least}, not {value!r}")


def share(name: str, value: float) -> None:
    """Raise unless the value is a share of a whole: more than 0, and 1 at most."""
    number(name, value, above=0.0)
    if value > 1:
        raise ValueError(f"{name} is at most 1, not {value!r}")


def switch(name: str, value: object) -> None:
    """Raise unless the value is True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} is True or False, not {value!r}")


def text(name: str, value: object) -> None:
    """Raise unless the value is a text that is not empty, or None."""
    if value is not None and not (isinstance(value, str) and value):
        raise TypeError(f"{name} is a text or None, not {value!r}")


def kind(name: str, value: object, wanted: type, example: str) -> None:
    """Raise TypeError unless the value is of this class."""
    if not isinstance(value, wanted):
        raise TypeError(f"{name} is a {wanted.__name__}, such as {example}, not {value!r}")


def _is_a(value: object, kinds: tuple[type, ...]) -> bool:
    """What the annotations promise, for callers without a type checker."""
    return isinstance(value, kinds)
