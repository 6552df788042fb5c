"""`resilient-foundry drift`: what is otherwise in one server than in another, for a client of the first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Final

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from resilient_foundry.cli.output import complain, errors, print_json, say
from resilient_foundry.foundry.settings import url as base_url_of
from resilient_foundry.harness.contract import collect, provided
from resilient_foundry.harness.drift import Area, Drift, Finding, Grade, drift
from resilient_foundry.harness.evidence import Exchange
from resilient_foundry.harness.report.text import visible
from resilient_foundry.harness.subject import PRODUCT, Live, Subject, Taped, UnreachableError
from resilient_foundry.harness.verdict import Outcome

FITS, UNREACHABLE, BREAKS = 0, 2, 3
"""Exit codes: nothing that breaks a client; a server can't be reached; something does."""

_STYLES: Final = {Grade.BREAKING: "red", Grade.SUSPICIOUS: "yellow", Grade.COMPATIBLE: "green"}
_MEANS: Final = {
    Grade.BREAKING: "a client of the first can fail on the second",
    Grade.SUSPICIOUS: "nothing is gone, and somebody had better look",
    Grade.COMPATIBLE: "a client of the first notices nothing",
}
_MOST_PLACES: Final = 3


def run(before: str, after: str, *, only: Sequence[str], contracts: Path | None, as_json: bool) -> int:
    """Compare, and tell; gives the exit code."""
    areas = {_area(name) for name in only} or set(Area)
    chosen = collect(contracts or provided("contracts"))
    try:
        first, second = _subject(before), _subject(after)
    except UnreachableError as error:
        complain(error)
        return UNREACHABLE
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as progress:
        task = progress.add_task("asking both", total=2 * len(chosen))

        def done(_: Outcome) -> None:
            progress.advance(task)

        found = drift(first, second, chosen, on_outcome=done)
    if not found.compared:
        raise ValueError(f"nothing can be compared: no contract was asked of both {before} and {after}")
    told = Drift(
        found.before,
        found.after,
        tuple(each for each in found.findings if each.area in areas),
        found.times,
        found.compared,
        found.left_out,
    )
    if as_json:
        print_json(_document(told))
    else:
        _show(told)
    return BREAKS if told.grade is Grade.BREAKING else FITS


def _subject(named: str) -> Subject:
    """A URL, a folder of tapes, or a version whose tapes ship."""
    if "://" in named:
        return Live(base_url_of("URL", named))
    if Path(named).is_dir():
        return Taped(Path(named).resolve())
    ship = provided("cassettes")
    folder = ship / (named if named.startswith(f"{PRODUCT}-") else f"{PRODUCT}-{named}")
    if Path(named).name != named or not folder.is_dir():
        known = ", ".join(sorted(each.name.removeprefix(f"{PRODUCT}-") for each in ship.glob(f"{PRODUCT}-*")))
        raise ValueError(f"{named!r} is no URL, no folder of tapes, and no version with tapes; those are {known}")
    return Taped(folder)


def _area(name: str) -> Area:
    try:
        return Area(name)
    except ValueError:
        raise ValueError(f"--only is {name!r}; it takes {', '.join(each.value for each in Area)}") from None


def _show(found: Drift) -> None:
    for area, findings in groupby(found.findings, key=lambda each: (each.grade, each.area)):
        grade, place = area
        say(f"{grade.name.lower()}: {place.value}", style=f"bold {_STYLES[grade]}")
        for line in _lines(findings):
            say(f"  {line}")
    if found.times:
        say("times, not judged: seconds to the head of an answer", style="bold")
        for each in found.times:
            say(f"  {each.where}: {each.before.head:.3f}, then {each.after.head:.3f}")
    counts = ", ".join(f"{len(found.of(grade))} {grade.name.lower()}" for grade in reversed(Grade))
    left = f"; {found.left_out} could not be asked of both" if found.left_out else ""
    say(
        f"{found.before} to {found.after}: {found.grade.name.lower()}, {_MEANS[found.grade]} "
        f"({counts}; {found.compared} contracts{left})",
        style=f"bold {_STYLES[found.grade]}",
    )


def _lines(findings: Iterable[Finding]) -> list[str]:
    """A line for each sentence, with the places where it is true."""
    places: dict[str, list[str]] = {}
    for each in findings:
        places.setdefault(each.says, []).append(each.where)
    return [" ".join(visible(f"{says} — {_some(where)}").split()) for says, where in places.items()]


def _some(places: Sequence[str]) -> str:
    rest = len(places) - _MOST_PLACES
    more = f"; and {rest} more" if rest > 0 else ""
    return "; ".join(places[:_MOST_PLACES]) + more


def _document(found: Drift) -> dict[str, object]:
    return {
        "before": str(found.before),
        "after": str(found.after),
        "grade": found.grade.name.lower(),
        "compared": found.compared,
        "left_out": found.left_out,
        "findings": [
            {
                "area": each.area.value,
                "grade": each.grade.name.lower(),
                "where": each.where,
                "says": each.says,
                "before": _evidence(each.before),
                "after": _evidence(each.after),
            }
            for each in found.findings
        ],
        "times": found.times,
    }


def _evidence(exchange: Exchange | None) -> dict[str, object] | None:
    """An exchange for programs: what was asked and how it ended; bodies stay on the tapes."""
    if exchange is None:
        return None
    response = exchange.response
    return {
        "request": str(exchange.request),
        "status": None if response is None else response.status,
        "headers": [] if response is None else [list(each) for each in response.headers],
        "bytes": 0 if response is None else len(response.body),
        "ended": exchange.ended.how,
    }
