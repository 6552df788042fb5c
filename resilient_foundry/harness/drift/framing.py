"""Layers 4 and 5: how answers lie on the wire, and what their headers say."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from resilient_foundry.harness.drift.finding import Area, Finding, Grade
from resilient_foundry.harness.drift.pairs import Pair, is_stream
from resilient_foundry.harness.evidence import Exchange, Response
from resilient_foundry.sse import Decoder

HEADERS: Final = ("content-type", "server", "cache-control", "retry-after", "allow", "location")
"""The headers whose values are looked at, or, where a value says nothing, whether they are there."""
_WHOLE: Final = frozenset({"server", "cache-control", "allow"})


@dataclass(frozen=True, slots=True)
class _Trait:
    """Something that can be said of an answer; `of` gives it as words, or None where it can't be said."""

    area: Area
    of: Callable[[Response], str | None]
    grade: Callable[[str, str], Grade]
    says: str


def framing(pairs: Iterable[Pair]) -> Iterator[Finding]:
    """What is otherwise on the wire, for each endpoint and status: what no answer of the first server did."""
    groups: dict[str, list[tuple[Pair, Response, Response]]] = defaultdict(list)
    for pair in pairs:
        heads = pair.heads
        if heads is None or heads[0].status != heads[1].status:
            continue
        form = " stream" if is_stream(heads[0]) else ""  # a stream that is none now is compared with streams
        groups[f"{pair.endpoint} {heads[0].status}{form}"].append((pair, *heads))
    for where, group in groups.items():
        for trait in _TRAITS:
            yield from _compared(where, trait, group)


def _compared(where: str, trait: _Trait, group: list[tuple[Pair, Response, Response]]) -> Iterator[Finding]:
    was = {value for _, before, _ in group if (value := trait.of(before)) is not None}
    told = set(was)
    for pair, _, after in group:
        now = trait.of(after)
        if not was or now is None or now in told:
            continue
        told.add(now)
        known = " or ".join(sorted(was))
        says = trait.says.format(now=now, was=known)
        yield Finding(trait.area, trait.grade(known, now), where, says, _showing(group, trait), pair.after)


def _showing(group: list[tuple[Pair, Response, Response]], trait: _Trait) -> Exchange:
    """An exchange of the first server that shows how it was."""
    return next(pair.before for pair, before, _ in group if trait.of(before) is not None)


def _line_ends(response: Response) -> str | None:
    if not is_stream(response) or not response.body:
        return None
    body = response.body
    pairs = body.count(b"\r\n")
    ends = {"CRLF": pairs, "LF": body.count(b"\n") - pairs, "CR": body.count(b"\r") - pairs}
    return " and ".join(sorted(name for name, count in ends.items() if count)) or None


def _comments(response: Response) -> str | None:
    if not is_stream(response):
        return None
    lines = response.body.replace(b"\r", b"\n").split(b"\n")
    return "comments" if any(line.startswith(b":") for line in lines) else "no comments"


def _cuts(response: Response) -> str | None:
    """How chunks and events fit. A stream of one event says nothing."""
    if not is_stream(response):
        return None
    decoder = Decoder(max_bytes=1 << 24)
    each = [len(decoder.feed(chunk.data)) for chunk in response.chunks]
    if sum(each) < 2:  # noqa: PLR2004 - one event fits anyhow
        return None
    return "one event to a chunk" if set(each) == {1} else "chunks that are no events"


def _length(response: Response) -> str | None:
    if response.header("content-length") is not None:
        return "by length"
    return "in chunks" if response.header("transfer-encoding") is not None else None


def _connection(response: Response) -> str | None:
    said = (response.header("connection") or "").lower()
    return "closed" if "close" in said else "kept"


def _twice(response: Response) -> str:
    counts = Counter(name for name, _ in response.headers if name in HEADERS)
    return " and ".join(sorted(name for name, count in counts.items() if count > 1)) or "no header"


def _media(response: Response) -> str:
    said = response.header("content-type") or ""
    return " and ".join(sorted({each.partition(";")[0].strip().lower() for each in said.split(",")})) or "not said"


def _parameters(response: Response) -> str:
    said = response.header("content-type") or ""
    return " ".join(sorted({each.partition(";")[2].strip().lower() for each in said.split(",")})).strip() or "none"


def _header(name: str) -> Callable[[Response], str | None]:
    def said(response: Response) -> str:
        value = response.header(name)
        if value is None:
            return "not there"
        values = sorted({each.strip() for each in value.split(",")})
        return ", ".join(values) if name in _WHOLE else "there"

    return said


def _graded(grade: Grade) -> Callable[[str, str], Grade]:
    return lambda _was, _now: grade


def _media_grade(was: str, _now: str) -> Grade:
    return Grade.COMPATIBLE if was == "not said" else Grade.BREAKING


def _twice_grade(_was: str, now: str) -> Grade:
    return Grade.COMPATIBLE if now == "no header" else Grade.SUSPICIOUS


def _lost_grade(_was: str, now: str) -> Grade:
    return Grade.SUSPICIOUS if now == "not there" else Grade.COMPATIBLE


_TRAITS: Final = (
    _Trait(Area.FRAMING, _line_ends, _graded(Grade.SUSPICIOUS), "lines end with {now}, not {was}"),
    _Trait(Area.FRAMING, _comments, _graded(Grade.SUSPICIOUS), "the stream holds {now}, and held {was}"),
    _Trait(Area.FRAMING, _cuts, _graded(Grade.COMPATIBLE), "the stream comes in {now}, and came in {was}"),
    _Trait(Area.FRAMING, _length, _graded(Grade.COMPATIBLE), "the body is sent {now}, and was sent {was}"),
    _Trait(Area.FRAMING, _connection, _graded(Grade.COMPATIBLE), "the connection is {now} after it, and was {was}"),
    _Trait(Area.FRAMING, _twice, _twice_grade, "said twice in the head: {now}; before: {was}"),
    _Trait(Area.HEADERS, _media, _media_grade, "the media type is {now}, and was {was}"),
    _Trait(
        Area.HEADERS, _parameters, _graded(Grade.COMPATIBLE), "the parameters of the media type: {now}; before: {was}"
    ),
    *(
        _Trait(
            Area.HEADERS,
            _header(name),
            _graded(Grade.COMPATIBLE) if name in {"server", "cache-control"} else _lost_grade,
            f"{name} is {{now}}, and was {{was}}",
        )
        for name in HEADERS[1:]
    ),
)
