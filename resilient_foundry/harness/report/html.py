"""A report for people: contracts against runtimes on one page of HTML, each verdict with its evidence behind it."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import resources
from itertools import accumulate
from typing import Any, Final

from resilient_foundry._extras import require
from resilient_foundry.harness.contract import Contract, Level
from resilient_foundry.harness.evidence import ABANDONED, COMPLETE, Exchange, Headers, Request, Response
from resilient_foundry.harness.report.axis import Axis, axis, is_stream
from resilient_foundry.harness.report.compared import Step, compared
from resilient_foundry.harness.report.sentences import Missed, missed
from resilient_foundry.harness.report.text import Text, bounded, of_body, seconds, size, visible
from resilient_foundry.harness.verdict import Outcome, Verdict, Verification

_MOST_EXCHANGES: Final = 24  # of one contract that are shown
_MOST_HEADERS: Final = 40
_LONGEST_HEADER: Final = 400
_LEAST: Final = 2.0  # percent of a bar
_WORTH: Final = 120  # characters that are worth not to be written again
_ORDER: Final = (
    Verdict.HELD,
    Verdict.FIXED,
    Verdict.DEVIATES,
    Verdict.BROKEN,
    Verdict.NOT_RECORDED,
    Verdict.NOT_EXERCISED,
    Verdict.OUTSIDE,
)
_MEANS: Final = {
    Verdict.HELD: "the server did what is promised",
    Verdict.FIXED: "it holds, though the ledger of deviations says otherwise: its line is out of date",
    Verdict.DEVIATES: "it does not hold, and the ledger of deviations says why",
    Verdict.BROKEN: "it does not hold, and nobody knew",
    Verdict.NOT_RECORDED: "there is no tape of it, or one of something else",
    Verdict.NOT_EXERCISED: "it could not be asked here",
    Verdict.OUTSIDE: "the contract is about other versions",
}
_ASKED: Final = frozenset({Verdict.HELD, Verdict.FIXED, Verdict.DEVIATES, Verdict.BROKEN})


def page(verifications: Sequence[Verification]) -> str:
    """The page: a summary, the matrix, and the evidence of every cell. It is one file that asks for nothing else.

    It reads without scripts as well. Bodies, events and exchanges are bounded, and the page says where. Raises
    `MissingExtraError` without jinja2, and `ValueError` without a verification.
    """
    if not verifications:
        raise ValueError("a report is of at least one verification")
    columns = tuple(_columns(verifications))
    rows = tuple(_rows(verifications, columns))
    style, script = _beside("page.css"), _beside("page.js")
    written: str = _template().render(
        columns=columns,
        areas=tuple(_areas(rows)),
        rows=rows,
        verdicts=[_verdict(each) for each in _ORDER if any(each in row.verdicts for row in rows)],
        differing=sum(row.differs for row in rows),
        headline=_headline(columns, rows),
        style=style,
        script=script,
        policy=f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; img-src data:; "
        "base-uri 'none'; form-action 'none'",
    )
    return written


@dataclass(frozen=True, slots=True)
class Named:
    """A verdict: its name for the style, its word, and what it means."""

    slug: str
    word: str
    means: str


@dataclass(frozen=True, slots=True)
class Tally:
    """How the contracts of one level stand on a runtime: each verdict that occurs with its count, and how many held."""

    level: str
    counts: tuple[tuple[Named, int], ...]
    held: int
    asked: int

    @property
    def bar(self) -> tuple[tuple[str, float, float], ...]:
        """The parts of a bar that is 100 wide: verdict, place and width, of which the least can still be seen."""
        every = sum(count for _, count in self.counts)
        widths = [max(count / every * 100, _LEAST) for _, count in self.counts]
        edges = accumulate(widths, initial=0.0)
        scale = 100 / sum(widths)
        return tuple(
            (verdict.slug, round(at * scale, 2), round(width * scale, 2))
            for (verdict, _), at, width in zip(self.counts, edges, widths, strict=False)
        )


@dataclass(frozen=True, slots=True)
class Column:
    """A runtime: what it is, how it was asked, and how it stands in one sentence, whose tone is a verdict's name."""

    key: str
    product: str
    version: str
    label: str
    way: str
    where: str
    tone: str
    says: str
    tallies: tuple[Tally, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """An exchange as it is shown."""

    number: int
    request: Request
    headers: tuple[tuple[str, Text], ...]
    body: Text | None
    size: str
    same_as: int | None
    answer: Response | None
    answer_headers: tuple[tuple[str, Text, bool], ...]
    answer_body: Text | None
    answer_size: str
    axis: Axis | None
    how: str
    ended: str
    at: str
    connection: int | None
    is_culprit: bool


@dataclass(frozen=True, slots=True)
class Cell:
    """A contract on a runtime."""

    id: str
    column: Column
    verdict: Named
    reason: str
    found: str
    link: str
    is_address: bool
    missed: tuple[Missed, ...]
    seconds: str
    examples: int
    smallest: tuple[str, ...]
    steps: tuple[Shown, ...]
    left_out: int
    is_failure: bool
    against: str
    """The comparison with a runtime on which it holds, where it does not, and the name of that runtime."""
    against_label: str


@dataclass(frozen=True, slots=True)
class Pair:
    """A contract on two runtimes."""

    id: str
    first: Column
    second: Column
    verdicts: tuple[Named, Named]
    steps: tuple[Step, ...]
    otherwise: int
    """How many differences there are in status, headers or shape."""


@dataclass(frozen=True, slots=True)
class Row:
    """A contract on all runtimes."""

    id: str
    contract: Contract
    cells: tuple[Cell | None, ...]
    pairs: tuple[Pair, ...]
    verdicts: frozenset[Verdict]
    differs: bool

    @property
    def words(self) -> str:
        """The names of its verdicts, for the filter."""
        return " ".join(sorted(_verdict(each).slug for each in self.verdicts))


def _columns(verifications: Sequence[Verification]) -> Iterator[Column]:
    alike = Counter(each.runtime.version for each in verifications)
    used: Counter[str] = Counter()
    for each in verifications:
        runtime = each.runtime
        is_alone = alike[runtime.version] == 1
        key = runtime.version if is_alone else f"{runtime.slug}-{each.way}"
        used[key] += 1
        key = key if used[key] == 1 else f"{key}-{used[key]}"
        tone, says = _stands(each)
        label = runtime.version if is_alone else f"{runtime.version} {each.way}"
        tallies = tuple(_tallies(each.outcomes))
        yield Column(key, runtime.product, runtime.version, label, each.way, runtime.where, tone, says, tallies)


def _stands(verification: Verification) -> tuple[str, str]:
    """How a runtime stands, worst first: tone and sentence."""
    must = [each for each in verification.outcomes if each.contract.level is Level.MUST]
    count = Counter(each.verdict for each in must)
    if broken := count[Verdict.BROKEN]:
        return "broken", f"{broken} MUST {'is' if broken == 1 else 'are'} broken"
    if failures := len(verification.failures):
        return "fixed", f"{failures} {'line' if failures == 1 else 'lines'} of the ledger or tapes out of date"
    if deviating := count[Verdict.DEVIATES]:
        words = "deviates" if deviating == 1 else "deviate"
        return "deviates", f"No MUST is broken; {deviating} {words}, as is known"
    if not count[Verdict.HELD]:
        return "not-exercised", "No MUST was exercised"
    return "held", "Every MUST that was exercised holds" if count[Verdict.NOT_EXERCISED] else "Every MUST holds"


def _tallies(outcomes: Iterable[Outcome]) -> Iterator[Tally]:
    every = tuple(outcomes)
    for level in Level:
        count = Counter(each.verdict for each in every if each.contract.level is level)
        if count:
            counts = tuple((_verdict(each), count[each]) for each in _ORDER if count[each])
            held = count[Verdict.HELD] + count[Verdict.FIXED]
            yield Tally(level.value, counts, held, sum(count[each] for each in _ASKED))


def _rows(verifications: Sequence[Verification], columns: Sequence[Column]) -> Iterator[Row]:
    by_name = [{each.contract.name: each for each in verification.outcomes} for verification in verifications]
    contracts = {each.contract.name: each.contract for one in verifications for each in one.outcomes}
    places = list(dict.fromkeys(each.area for each in contracts.values()))
    for contract in sorted(contracts.values(), key=lambda each: places.index(each.area)):
        outcomes = [found.get(contract.name) for found in by_name]
        pairs = tuple(_pairs(contract, outcomes, columns))
        cells = tuple(
            None if outcome is None else _cell(outcome, column, pairs)
            for outcome, column in zip(outcomes, columns, strict=True)
        )
        verdicts = frozenset(each.verdict for each in outcomes if each is not None)
        differs = len(verdicts & _ASKED) > 1
        yield Row(contract.name, contract, cells, pairs, verdicts, differs)


def _areas(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    for area in dict.fromkeys(row.contract.area for row in rows):
        yield area, [row for row in rows if row.contract.area == area]


def _pairs(contract: Contract, outcomes: Sequence[Outcome | None], columns: Sequence[Column]) -> Iterator[Pair]:
    asked = [(each, column) for each, column in zip(outcomes, columns, strict=True) if each and each.exchanges]
    for place, (one, first) in enumerate(asked):
        for other, second in asked[place + 1 :]:
            steps = compared(one.exchanges[:_MOST_EXCHANGES], other.exchanges[:_MOST_EXCHANGES])
            yield Pair(
                f"{contract.name}@{first.key}~{second.key}",
                first,
                second,
                (_verdict(one.verdict), _verdict(other.verdict)),
                steps,
                sum(len(step.rows) for step in steps),
            )


def _cell(outcome: Outcome, column: Column, pairs: Iterable[Pair]) -> Cell:
    deviation = outcome.deviation
    reason, found = outcome.reason, ""
    if deviation is not None and outcome.verdict is Verdict.DEVIATES:
        reason, found = deviation.reason, reason.removeprefix(f"{deviation.reason} (").removesuffix(")")
    link = "" if deviation is None else deviation.link
    broken = outcome.verdict in {Verdict.BROKEN, Verdict.DEVIATES}
    against, against_label = _where_it_holds(column, pairs) if broken else ("", "")
    culprit = _place_of(outcome.culprit, outcome.exchanges)
    return Cell(
        id=f"{outcome.contract.name}@{column.key}",
        column=column,
        verdict=_verdict(outcome.verdict),
        reason=reason,
        found=found,
        link=link,
        is_address=link.startswith(("https://", "http://")),
        missed=missed(found or reason) if broken else (),
        seconds=seconds(outcome.seconds) if outcome.exchanges else "",
        examples=outcome.examples,
        smallest=outcome.smallest,
        steps=tuple(_steps(outcome.exchanges, culprit)),
        left_out=max(0, len(outcome.exchanges) - _MOST_EXCHANGES),
        is_failure=outcome.is_failure,
        against=against,
        against_label=against_label,
    )


def _where_it_holds(column: Column, pairs: Iterable[Pair]) -> tuple[str, str]:
    """The comparison with the last runtime on which it holds, and the name of that; empty without one."""
    found = "", ""
    for pair in pairs:
        sides = (pair.first, pair.second, pair.verdicts[1]), (pair.second, pair.first, pair.verdicts[0])
        for mine, other, verdict in sides:
            if mine is column and verdict.slug in {"held", "fixed"}:
                found = pair.id, other.label
    return found


def _steps(exchanges: Sequence[Exchange], culprit: int | None) -> Iterator[Shown]:
    kept = list(range(min(_MOST_EXCHANGES, len(exchanges))))
    if culprit is not None and culprit not in kept:
        kept[-1] = culprit
    seen: dict[Request, int] = {}
    for place in kept:
        exchange = exchanges[place]
        request, answer, ended = exchange.request, exchange.response, exchange.ended
        how = {COMPLETE: "complete", ABANDONED: "left"}.get(ended.how, "cut")
        words = {"complete": "complete", "left": "left by the client"}.get(how, ended.how)
        drawn = axis(exchange, answer) if answer is not None and is_stream(answer) and answer.chunks else None
        body = None if answer is None or not answer.body or (drawn and drawn.moments) else of_body(answer.body)
        yield Shown(
            number=place + 1,
            request=request,
            headers=tuple((name, value) for name, value, _ in _fields(request.headers)),
            body=of_body(request.body) if request.body else None,
            size=size(len(request.body)),
            same_as=seen.get(request),
            answer=answer,
            answer_headers=() if answer is None else tuple(_fields(answer.headers)),
            answer_body=body,
            answer_size=size(len(answer.body)) if answer else "",
            axis=drawn,
            how=how,
            ended=words + (f": {ended.says}" if ended.says else ""),
            at=seconds(ended.at),
            connection=exchange.connection,
            is_culprit=place == culprit,
        )
        seen.setdefault(request, place + 1)


def _fields(headers: Headers) -> Iterator[tuple[str, Text, bool]]:
    """Name, value, and whether the name has been there before."""
    seen: set[str] = set()
    for name, value in headers[:_MOST_HEADERS]:
        yield name, bounded(value, _LONGEST_HEADER), name in seen
        seen.add(name)


def _place_of(culprit: Exchange | None, exchanges: Sequence[Exchange]) -> int | None:
    """Where the exchange stands that broke it: it may have been looked at before its end, and so have fewer chunks."""
    if culprit is None:
        return None
    for place, each in enumerate(exchanges):
        if each == culprit:
            return place
    for place, each in enumerate(exchanges):
        if each.request == culprit.request and _began_as(culprit.response, each.response):
            return place
    return None


def _began_as(one: Response | None, other: Response | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.at == other.at and other.chunks[: len(one.chunks)] == one.chunks


def _headline(columns: Sequence[Column], rows: Sequence[Row]) -> tuple[str, str]:
    """The page in one sentence, and its tone."""
    tones = [each.tone for each in columns]
    if "broken" in tones:
        broken = [each.label for each in columns if each.tone == "broken"]
        return "broken", f"A MUST is broken on {_listed(broken)}."
    if "fixed" in tones:
        return "fixed", "No MUST is broken, and the ledger or the tapes are out of date."
    if all(each == "not-exercised" for each in tones):
        return "not-exercised", "No MUST was exercised."
    known = sum(Verdict.DEVIATES in row.verdicts for row in rows)
    unknown = any(row.contract.level is Level.MUST and Verdict.NOT_EXERCISED in row.verdicts for row in rows)
    said = "Every MUST that was exercised holds" if unknown else "Every MUST holds"
    return "held", said + (", but for known deviations." if known else ".")


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _verdict(verdict: Verdict) -> Named:
    return Named(verdict.value.replace(" ", "-"), verdict.value, _MEANS[verdict])


def _hash(text: str) -> str:
    """Allows exactly this script or style (CSP level 3 section 2.3.1)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _beside(name: str) -> str:
    return resources.files("resilient_foundry.harness.report").joinpath(name).read_text("utf-8")


def _template() -> Any:  # jinja2 is optional
    jinja2 = require("jinja2", extra="contracts")
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalized,
    )
    markup = require("markupsafe", extra="contracts").Markup
    environment.filters["sentence"] = _sentence
    environment.filters["ours"] = markup
    environment.filters["content"] = _Content(markup)
    environment.globals["once"] = _Once(markup)
    return environment.from_string(_beside("page.html.j2"))


@dataclass(frozen=True, slots=True)
class _Once:
    """Keeps what is on the page already from being written again: there is a link, and the script puts it there."""

    markup: Callable[[str], str]
    written: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])

    def __call__(self, tag: str = "div", *, caller: Callable[[], str]) -> str:
        inside = str(caller()).strip()
        if len(inside) < _WORTH:
            return self.markup(f"<{tag}>{inside}</{tag}>")
        number = self.written.get((tag, inside))
        if number is None:
            number = self.written[tag, inside] = len(self.written)
            return self.markup(f'<{tag} id="_{number}">{inside}</{tag}>')
        link = f'<a href="#_{number}">The same as elsewhere</a>'
        link = f"<tr><td colspan=3>{link}</td></tr>" if tag == "tbody" else link
        return self.markup(f'<{tag} data-same="_{number}">{link}</{tag}>')


@dataclass(frozen=True, slots=True)
class _Content:
    """Text within an element, where quotes may stay as they are: most of the evidence is JSON, and full of them."""

    markup: Callable[[str], str]

    def __call__(self, text: str) -> str:
        return self.markup(visible(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))


def _finalized(value: object) -> object:
    """What is put into the page: nothing in a text hides; markup of ours is another type, and stays."""
    return visible(value) if type(value) is str else value


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]
