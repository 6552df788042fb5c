"""The shape of JSON, learnt from examples: which members, how often, of which types, and the words of small fields."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, cast

from resilient_foundry.harness.drift.finding import Grade

NOTHING: Final = "nothing"
"""The type of a body without bytes."""
TEXT: Final = "text that is no JSON"

_NULL: Final = frozenset({"null"})
_NUMBER: Final = frozenset({"number"})
_ITEMS: Final = "[]"
_WORDS: Final = frozenset({"code", "finish_reason", "object", "reason", "role", "status", "type"})
"""The members whose values are words of the protocol; of all others the values are never looked at."""
_FREE: Final = frozenset({"metadata", "parameters", "schema"})
"""The members that hold what the client sent: their members are values."""
_WORD: Final = re.compile(r"[A-Za-z][A-Za-z_.]{0,40}")

Path = tuple[str, ...]


class Lattice:
    """What was seen in each place of some JSON values. Values leave no trace but the words of small fields."""

    def __init__(self) -> None:
        self._types: dict[Path, Counter[str]] = defaultdict(Counter)
        self._words: dict[Path, set[str]] = defaultdict(set)

    def add(self, value: object, path: Path = ()) -> None:
        """Learn from one value."""
        self._types[path][_type(value)] += 1
        if path and path[-1] in _FREE:
            return
        if isinstance(value, Mapping):
            for name, item in cast("Mapping[str, object]", value).items():
                self.add(item, (*path, name))
        elif isinstance(value, list):
            for item in cast("list[object]", value):
                self.add(item, (*path, _ITEMS))
        elif isinstance(value, str) and path and path[-1] in _WORDS and _WORD.fullmatch(value):
            self._words[path].add(value)

    def add_type(self, name: str) -> None:
        """Learn of a body that is no JSON."""
        self._types[()][name] += 1

    @property
    def paths(self) -> Iterable[Path]:
        """All places, each after that which holds it."""
        return sorted(self._types)

    def __contains__(self, path: Path) -> bool:
        return path in self._types

    def types(self, path: Path) -> frozenset[str]:
        """The types seen in a place."""
        return frozenset(self._types[path]) if path in self._types else frozenset()

    def words(self, path: Path) -> frozenset[str]:
        """The words seen in a small field."""
        return frozenset(self._words[path]) if path in self._words else frozenset()

    def share(self, path: Path) -> float:
        """In how many of the objects that could hold it a member was: 1 where it was always there."""
        holders = self._types[path[:-1]]["object"] if path[:-1] in self._types else 0
        return self._types[path].total() / holders if holders and path in self._types else 0.0


def differences(before: Lattice, after: Lattice) -> Iterator[tuple[Grade, str]]:
    """What is otherwise, a sentence each, and how bad that is for who was built on the first."""
    for path in before.paths:
        if path not in after:
            if not path or path[:-1] in after:  # else its holder is gone, which is said already
                yield from _lost(before, path, after)
            continue
        yield from _rarer(before, after, path)
        yield from _retyped(before, after, path)
        new = after.words(path) - before.words(path)
        if before.words(path) and new:
            yield Grade.SUSPICIOUS, f"{_shown(path)} may be {_listed(map(repr, sorted(new)))}, which it never was"
    for path in after.paths:
        if path and path not in before and path[-1] != _ITEMS and "object" in before.types(path[:-1]):
            yield Grade.COMPATIBLE, f"{_shown(path)} is new"


def _lost(before: Lattice, path: Path, after: Lattice) -> Iterator[tuple[Grade, str]]:
    kind = "array" if path[-1:] == (_ITEMS,) else "object"
    if kind not in after.types(path[:-1]):
        return  # what held it is of another type now, which is said already
    if kind == "array":
        yield Grade.SUSPICIOUS, f"{_shown(path[:-1])} is always empty, and held items before"
    elif before.share(path) == 1:
        yield Grade.BREAKING, f"{_shown(path)} is gone"
    else:
        yield Grade.SUSPICIOUS, f"{_shown(path)} is gone, which was there at times"


def _rarer(before: Lattice, after: Lattice, path: Path) -> Iterator[tuple[Grade, str]]:
    if path and path[-1] != _ITEMS and before.share(path) == 1 and 0 < after.share(path) < 1:
        yield Grade.BREAKING, f"{_shown(path)} is there at times only, and always was before"


def _retyped(before: Lattice, after: Lattice, path: Path) -> Iterator[tuple[Grade, str]]:
    was, now = before.types(path), after.types(path)
    new = now - was - ({"integer"} if "number" in was else set())
    if now == _NULL < was:
        yield Grade.SUSPICIOUS, f"{_shown(path)} is always null, and held {_listed(sorted(was - now))} before"
    elif not new:
        return
    elif new == _NUMBER and "integer" in was:
        yield Grade.SUSPICIOUS, f"{_shown(path)} may have a fraction, and was always an integer"
    elif was == _NULL:
        yield Grade.COMPATIBLE, f"{_shown(path)} is {_listed(sorted(new))}, and was always null before"
    elif was - now:
        yield Grade.BREAKING, f"{_shown(path)} is {_listed(sorted(now))}, not {_listed(sorted(was))}"
    else:
        yield Grade.BREAKING, f"{_shown(path)} may be {_listed(sorted(new))} too, and was always {_listed(sorted(was))}"


def _type(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"  # a typed client refuses a fraction there
        case float():
            return "integer" if value.is_integer() else "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def _shown(path: Path) -> str:
    return "".join(each if each == _ITEMS else f".{each}" for each in path).removeprefix(".") or "the body"


def _listed(words: Iterable[str]) -> str:
    return " or ".join(words)
