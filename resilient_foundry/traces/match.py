"""Trace contracts: what a trace must look like, and the first place where one does not.

    call("chat *") > [attempt(503), wait(at_least=1.0, by="retry_after"), attempt(200)]

Attempts and waits are all named, in their order; other spans and events may be there, and must be if they are named.
`...` stands for any number of attempts and waits, and `exactly(...)` allows nothing that is not named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from types import EllipsisType
from typing import Any, NoReturn, cast

from resilient_foundry.telemetry.names import STABLE
from resilient_foundry.traces.draw import about, draw
from resilient_foundry.traces.files import from_json
from resilient_foundry.traces.sdk import from_sdk
from resilient_foundry.traces.story import Part, is_attempt, is_wait, parts_of, short
from resilient_foundry.traces.tree import Span, SpanEvent, Trace, Value, traces_of

Wanted = Value | list[Any] | Callable[[Any], object] | None
"""Of a value: the value itself, a pattern such as `phi-*`, a function that says whether it will do; None for none."""
_ATTRIBUTES = {each.name: str(getattr(STABLE, each.name)) for each in fields(STABLE)}


class _Expected:
    """What is expected is compared with a trace, and is true or false of none by itself."""

    __slots__ = ()

    def __bool__(self) -> NoReturn:
        raise TypeError(
            "an expectation is neither true nor false: give it to verify_trace or trace_matches, and write "
            "a > [b > [c]] where there are several levels"
        )


@dataclass(frozen=True, slots=True)
class ExpectedEvent(_Expected):
    """An event of a span; made by `event` and `wait`."""

    shown: str
    name: str
    values: Mapping[str, Wanted]

    def __repr__(self) -> str:
        return self.shown


@dataclass(frozen=True, slots=True)
class ExpectedSpan(_Expected):
    """A span, and with `>` what stands under it; made by `call` and `attempt`."""

    shown: str
    name: str
    values: Mapping[str, Wanted]
    is_attempt: bool
    failed: bool | None = None
    under: Exactly | tuple[Item, ...] | None = None
    """None where nothing is said of it."""

    def __gt__(self, under: Exactly | Sequence[Item] | Item) -> ExpectedSpan:
        if self.under is not None:
            raise TypeError(f"what stands under it is said already: {self!r}")
        if isinstance(under, Exactly):
            return replace(self, under=under)
        items = tuple(under) if isinstance(under, Sequence) else (under,)
        return replace(self, under=_checked(items))

    def __repr__(self) -> str:
        if self.under is None:
            return self.shown
        under = self.under
        return f"{self.shown} > {under!r}" if isinstance(under, Exactly) else f"{self.shown} > [{_list(under)}]"


Item = ExpectedSpan | ExpectedEvent | EllipsisType
"""What can be expected under a span; `...` is any number of attempts and waits."""


@dataclass(frozen=True, slots=True)
class Exactly(_Expected):
    """What stands under a span, and nothing else; made by `exactly`."""

    items: tuple[Item, ...]

    def __repr__(self) -> str:
        return f"exactly({_list(self.items)})"


def call(
    name: str = "*", attributes: Mapping[str, Wanted] | None = None, /, *, failed: bool | None = None, **named: Wanted
) -> ExpectedSpan:
    """A logical call, or any other span that is no attempt, by a pattern of its name, such as `chat *`.

    `failed` says whether the span is marked as an error. Attributes go by the names of this package's table, as in
    `call(outcome="recovered", attempts=3, output_tokens=lambda count: count > 0)`; others are given as a mapping.
    """
    shown = _shown("call", [repr(name)] if name != "*" else [], attributes, _marked(failed) | named)
    values = {**(attributes or {}), **_named(named, ("",))}
    return ExpectedSpan(shown, name, values, is_attempt=False, failed=failed)


def attempt(
    answer: Wanted | EllipsisType = ...,
    attributes: Mapping[str, Wanted] | None = None,
    /,
    *,
    failed: bool | None = None,
    **named: Wanted,
) -> ExpectedSpan:
    """One request over HTTP. `answer` is the status that it was answered with, or what `error.type` is.

    `attempt(503)`, `attempt(lambda status: status >= 500)`, `attempt("httpx.ConnectError")`, `attempt("*Timeout")`,
    `attempt()` for any. `failed` says whether the span is marked as an error. Attributes go by the names of this
    package's table, `outcome`, `number`, `completed`, `chunks` and `bytes` being those of attempts and their streams;
    others are given as a mapping.
    """
    about: dict[str, Wanted] = {}
    if not isinstance(answer, EllipsisType):
        about[STABLE.error_type if isinstance(answer, str) else STABLE.status] = answer
    shown = _shown("attempt", [_name_of(each) for each in about.values()], attributes, _marked(failed) | named)
    values = {**about, **(attributes or {}), **_named(named, ("attempt_", "stream_", ""))}
    return ExpectedSpan(shown, "*", values, is_attempt=True, failed=failed)


def wait(
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    by: Wanted | EllipsisType = ...,
    reason: Wanted | EllipsisType = ...,
) -> ExpectedEvent:
    """A wait between two attempts, as it was scheduled: `at_least` and `at_most` so many seconds.

    `by` is `backoff`, or `retry_after` where the server asked for it; `reason` is what went wrong, such as `503`.
    """
    limits = {name: value for name, value in {"at_least": at_least, "at_most": at_most}.items() if value is not None}
    asked = {name: value for name, value in {"by": by, "reason": reason}.items() if not isinstance(value, EllipsisType)}
    values: dict[str, Wanted] = {"delay_source" if name == "by" else name: value for name, value in asked.items()}
    if limits:
        values["delay"] = _Between(at_least, at_most)
    return ExpectedEvent(_shown("wait", [], None, {**limits, **asked}), STABLE.retry_scheduled, values)


def event(name: str, values: Mapping[str, Wanted] | None = None, /, **named: Wanted) -> ExpectedEvent:
    """An event by a pattern of its name, with or without the prefix of this package, and by its values.

    `event("timeout", kind="first_byte")`, `event("circuit_breaker.state_change", to="open")`; values whose names have
    dots are given as a mapping.
    """
    return ExpectedEvent(_shown("event", [repr(name)], values, named), name, {**(values or {}), **named})


def exactly(*items: Item) -> Exactly:
    """What stands under a span, and nothing besides.

    `call("chat *") > exactly(attempt(200))`: not even an event that is not named.
    """
    return Exactly(_checked(items))


def trace_matches(expected: ExpectedSpan, source: object) -> bool:
    """Whether a span anywhere in these traces is as expected; `source` as for `verify_trace`."""
    return any(_compare(expected, trace, span) is None for trace in traces_in(source) for span in trace.spans)


def verify_trace(expected: ExpectedSpan, source: object) -> None:
    """AssertionError unless a span anywhere in these traces is as expected, with the tree that is nearest to it.

    `source` is an `InMemorySpanExporter` or the spans of one, OTLP JSON, a `Trace`, as read from a Jaeger, or several.
    """
    traces = traces_in(source)
    nearest: tuple[_Difference, Trace] | None = None
    for trace in traces:
        for span in trace.spans:
            difference = _compare(expected, trace, span)
            if difference is None:
                return
            if nearest is None or difference.far > nearest[0].far:
                nearest = difference, trace
    if nearest is None:
        raise AssertionError(f"there are no spans; expected: {expected!r}")
    difference, trace = nearest
    if not any(difference.far):
        difference = _Difference(f"{expected.shown} was expected, and nothing like it is there", None)
    raise AssertionError(f"{difference.said}\n\nexpected: {expected!r}\n\n{draw(trace, marked=difference.at)}")


def traces_in(source: object) -> list[Trace]:
    """The traces in whatever has spans; TypeError for what has none."""
    if isinstance(source, Trace):
        return [source]
    if isinstance(source, (str, bytes)):
        return traces_of(from_json(source))
    finished: Any = getattr(source, "get_finished_spans", None)
    found = finished() if finished is not None else source
    if not isinstance(found, Iterable):
        raise TypeError(f"traces are read from spans, an exporter in memory, OTLP JSON or a Trace, not from {source!r}")
    several = list(cast("Iterable[object]", found))
    if several and all(isinstance(each, Trace) for each in several):
        return cast("list[Trace]", several)
    spans = [each for each in several if isinstance(each, Span)]
    return traces_of(spans if spans and len(spans) == len(several) else from_sdk(several))


@dataclass(frozen=True, slots=True)
class _Between:
    at_least: float | None
    at_most: float | None

    def __call__(self, value: float) -> bool:
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)

    def __repr__(self) -> str:
        told = {"at least": self.at_least, "at most": self.at_most}
        return " and ".join(f"{word} {value:g}" for word, value in told.items() if value is not None)


@dataclass(frozen=True, slots=True)
class _Difference:
    """Where a trace is first otherwise than expected."""

    said: str
    at: Part | None
    far: tuple[int, ...] = (0,)
    """How much was as expected before it: the greater, the nearer."""


def _compare(expected: ExpectedSpan, trace: Trace, span: Span) -> _Difference | None:
    if not _is_called_so(expected, span):
        return _Difference(f"{expected.shown} was expected, and {about(span)} is there", span)
    why = _why_not(expected, span)
    if why is not None:
        return _Difference(f"{expected.shown} was expected, and {about(span)} is there: {why}", span, (1,))
    if expected.under is None:
        return None
    under = expected.under
    items = under.items if isinstance(under, Exactly) else under
    parts = parts_of(trace, span)
    difference = _compare_parts(items, parts, trace, span, exact=isinstance(under, Exactly))
    return None if difference is None else replace(difference, far=(2, *difference.far))


def _compare_parts(
    items: tuple[Item, ...], parts: list[Part], trace: Trace, parent: Span, *, exact: bool
) -> _Difference | None:
    """Lay the items along the parts in every way: (item, part) is reached when all before both are in order."""
    reached = {(0, 0)}
    for item in range(len(items) + 1):
        wanted = items[item] if item < len(items) else None
        for part in range(len(parts) + 1):
            if (item, part) not in reached:
                continue
            if isinstance(wanted, EllipsisType):
                reached.add((item + 1, part))
            if part == len(parts):
                continue
            found = parts[part]
            if isinstance(wanted, EllipsisType) or not (exact or _must_be_named(found)):
                reached.add((item, part + 1))
            if wanted is not None and not isinstance(wanted, EllipsisType) and _is(wanted, found, trace):
                reached.add((item + 1, part + 1))
    furthest = max(reached)
    return None if furthest == (len(items), len(parts)) else _difference(items, parts, trace, parent, furthest)


def _difference(
    items: tuple[Item, ...], parts: list[Part], trace: Trace, parent: Span, furthest: tuple[int, int]
) -> _Difference:
    """What stands in the way of getting further."""
    item, part = furthest
    found = parts[part] if part < len(parts) else None
    wanted = items[item] if item < len(items) else None
    if wanted is None or isinstance(wanted, EllipsisType):  # the latter never stands in the way
        unnamed = found or parent
        return _Difference(f"{about(unnamed)} is there, and was not expected", unnamed, furthest)
    passed_over = [each for each in parts[:part] if not _must_be_named(each)]
    for near in [*([found] if found is not None else []), *passed_over]:
        if _is_called_so(wanted, near) and not _is(wanted, near, trace):
            return _near(wanted, near, trace, furthest)
    if found is not None:
        return _Difference(f"{wanted.shown} was expected, and {about(found)} is there", found, furthest)
    behind = f"behind {about(parts[-1])}" if parts else f"under {about(parent)}"
    return _Difference(
        f"{wanted.shown} was expected {behind}, and is not there", parts[-1] if parts else parent, furthest
    )


def _near(wanted: ExpectedSpan | ExpectedEvent, found: Part, trace: Trace, furthest: tuple[int, int]) -> _Difference:
    """Why this is not the one that was expected."""
    if isinstance(wanted, ExpectedSpan) and isinstance(found, Span):
        deeper = _compare(wanted, trace, found)
        if deeper is not None:
            return replace(deeper, far=(*furthest, *deeper.far))
    said = f"{wanted.shown} was expected, and {about(found)} is there: {_why_not(wanted, found)}"
    return _Difference(said, found, furthest)


def _must_be_named(part: Part) -> bool:
    return is_wait(part) or (isinstance(part, Span) and is_attempt(part))


def _is(wanted: ExpectedSpan | ExpectedEvent, found: Part, trace: Trace) -> bool:
    if isinstance(wanted, ExpectedSpan):
        return isinstance(found, Span) and _compare(wanted, trace, found) is None
    return _is_called_so(wanted, found) and _why_not(wanted, found) is None


def _is_called_so(wanted: ExpectedSpan | ExpectedEvent, found: Part) -> bool:
    """Whether it is the same sort of thing, with the same name."""
    if isinstance(wanted, ExpectedSpan):
        return (
            isinstance(found, Span) and is_attempt(found) is wanted.is_attempt and fnmatchcase(found.name, wanted.name)
        )
    if not isinstance(found, SpanEvent):
        return False
    return fnmatchcase(found.name, wanted.name) or fnmatchcase(short(found.name), wanted.name)


def _why_not(wanted: ExpectedSpan | ExpectedEvent, found: Part) -> str | None:
    """The first value that is another one; None where all are as expected."""
    if (
        isinstance(wanted, ExpectedSpan)
        and isinstance(found, Span)
        and wanted.failed not in (None, found.status == "error")
    ):
        return f"its status is {found.status}, and {'error' if wanted.failed else 'no error'} was expected"
    for name, value in wanted.values.items():
        there = found.attributes.get(name)
        if not _fits(value, there):
            is_ = "is not there" if there is None else f"is {there!r}"
            expected = "it was not expected" if value is None else f"{_name_of(value)} was expected"
            return f"{name} {is_}, and {expected}"
    return None


def _fits(wanted: Wanted, there: Value | None) -> bool:
    if wanted is None or there is None:
        return wanted is there
    if callable(wanted):
        return bool(wanted(there))
    if isinstance(wanted, str) and isinstance(there, str):
        return wanted == there or fnmatchcase(there, wanted)
    if isinstance(wanted, list):
        return tuple(cast("list[object]", wanted)) == there
    return wanted == there and isinstance(wanted, bool) is isinstance(there, bool)


def _named(given: Mapping[str, Wanted], prefixes: tuple[str, ...]) -> dict[str, Wanted]:
    """The attributes under the names that they have on spans."""
    found: dict[str, Wanted] = {}
    for name, value in given.items():
        known = [_ATTRIBUTES[prefix + name] for prefix in prefixes if prefix + name in _ATTRIBUTES]
        if not known:
            close = get_close_matches(name, _ATTRIBUTES, n=1)
            meant = f" (is {close[0]} meant?)" if close else ""
            raise TypeError(f"no attribute is called {name}{meant}; others are given as a mapping")
        found[known[0]] = value
    return found


def _marked(failed: bool | None) -> dict[str, Wanted]:
    return {} if failed is None else {"failed": failed}


def _checked(items: tuple[object, ...]) -> tuple[Item, ...]:
    for each in items:
        if not isinstance(each, (ExpectedSpan, ExpectedEvent, EllipsisType)):
            raise TypeError(f"under a span stand call, attempt, wait, event and ..., not {each!r}")
    return cast("tuple[Item, ...]", items)


def _shown(kind: str, places: list[str], others: Mapping[str, Wanted] | None, named: Mapping[str, Wanted]) -> str:
    """As it was written."""
    mapping = ", ".join(f"{name!r}: {_name_of(value)}" for name, value in (others or {}).items())
    if mapping and not places:
        places = ["'*'" if kind == "call" else "..."]
    listed = [*places, *([f"{{{mapping}}}"] if mapping else [])]
    return f"{kind}({', '.join([*listed, *(f'{name}={_name_of(value)}' for name, value in named.items())])})"


def _name_of(value: Wanted) -> str:
    return str(getattr(value, "__name__", None) or repr(value)) if callable(value) else repr(value)


def _list(items: Iterable[Item]) -> str:
    return ", ".join("..." if isinstance(each, EllipsisType) else repr(each) for each in items)
