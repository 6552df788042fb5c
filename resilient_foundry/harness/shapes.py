"""Whether a JSON value has the shape that is expected of it, and where it has not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Any, cast

Shape = Any
"""A JSON value in which types, checks and the marks below may stand for values. Objects may hold more than is said."""


@dataclass(frozen=True, slots=True)
class Optional:
    """A member that may be missing; where it is there, it has this shape."""

    shape: Shape


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of these values."""

    values: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Each:
    """An array whose items all have this shape, at least so many of them."""

    shape: Shape
    least: int = 0


def optional(shape: Shape) -> Optional:
    """A member that may be missing."""
    return Optional(shape)


def one_of(*values: object) -> OneOf:
    """One of these values."""
    return OneOf(values)


def each(shape: Shape, *, least: int = 0) -> Each:
    """An array, all of whose items have this shape."""
    return Each(shape, least)


def differences(value: object, shape: Shape, path: str = "$") -> Iterator[str]:
    """A sentence for each place where the value is not as the shape says.

    A type stands for its values (an `int` is no `bool`, a `float` may be whole), a function for what it accepts, an
    array for one of the same length, anything else for itself.
    """
    match shape:
        case Optional():
            yield from differences(value, shape.shape, path)
        case OneOf():
            if not any(value == known and type(value) is type(known) for known in shape.values):
                yield f"{path} is {shown(value)}, not one of {', '.join(map(shown, shape.values))}"
        case Each():
            yield from _in_each(value, shape, path)
        case Mapping():
            yield from _in_object(value, cast("Mapping[str, Shape]", shape), path)
        case list():
            yield from _in_array(value, shape, path)
        case type() | UnionType():
            if not _is(value, shape):
                yield f"{path} is {shown(value)}, not {getattr(shape, '__name__', shape)}"
        case _ if callable(shape):
            accepts = cast("Callable[[object], bool]", shape)
            if not accepts(value):
                yield f"{path} is {shown(value)}, which is not {getattr(accepts, '__name__', 'accepted')}"
        case _:
            if value != shape or isinstance(value, bool) is not isinstance(shape, bool):
                yield f"{path} is {shown(value)}, not {shown(shape)}"


def _is(value: object, kind: Any) -> bool:
    if isinstance(kind, UnionType):
        return any(_is(value, each) for each in kind.__args__)
    if kind is float:
        return isinstance(value, float | int) and not isinstance(value, bool)
    if kind is int and isinstance(value, bool):
        return False
    return isinstance(value, kind)


def _in_object(value: object, shape: Mapping[str, Shape], path: str) -> Iterator[str]:
    if not isinstance(value, Mapping):
        yield f"{path} is {shown(value)}, not an object"
        return
    known = cast("Mapping[str, object]", value)
    for name, member in shape.items():
        if name in known:
            yield from differences(known[name], member, f"{path}.{name}")
        elif not isinstance(member, Optional):
            yield f"{path} has no {name!r}"


def _in_array(value: object, shape: Any, path: str) -> Iterator[str]:  # Any: an array of shapes, which match narrows
    if not isinstance(value, list):
        yield f"{path} is {shown(value)}, not an array"
        return
    found = cast("list[object]", value)
    if len(found) != len(shape):
        yield f"{path} has {len(found)} items, not {len(shape)}"
        return
    for place, (item, wanted) in enumerate(zip(found, shape, strict=True)):
        yield from differences(item, wanted, f"{path}[{place}]")


def _in_each(value: object, shape: Each, path: str) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{path} is {shown(value)}, not an array"
        return
    found = cast("list[object]", value)
    if len(found) < shape.least:
        yield f"{path} has {len(found)} items, fewer than {shape.least}"
    for place, item in enumerate(found):
        yield from differences(item, shape.shape, f"{path}[{place}]")


def shown(value: object, longest: int = 80) -> str:
    """A value for a sentence, on one line and not too long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= longest else text[:longest] + "…"
