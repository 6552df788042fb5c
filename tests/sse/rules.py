"""The rules of server-sent events, each with a stream and what it must bring.

https://html.spec.whatwg.org/multipage/server-sent-events.html, sections 9.2.5 (syntax) and 9.2.6 (interpretation).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from resilient_foundry.sse import Event
from tests.sse.decoders import Peer

EVENT_STREAM: Final = "text/event-stream"
CAP: Final = 8 << 20
"""Bytes of one event that nobody ought to hold; the largest default limit among the decoders is far below."""


@dataclass(frozen=True)
class Rule:
    """One rule: a stream, cut anywhere, brings these events."""

    says: str
    stream: bytes
    events: tuple[Event, ...]
    media: str = EVENT_STREAM


@dataclass(frozen=True)
class Finding:
    """Whether a decoder keeps a rule, and in a few words what it does instead."""

    says: str
    instead: str = ""


def _rule(says: str, stream: bytes | str, *events: str | Event, media: str = EVENT_STREAM) -> Rule:
    written = stream.encode() if isinstance(stream, str) else stream
    return Rule(says, written, tuple(Event(each) if isinstance(each, str) else each for each in events), media)


RULES: Final = (
    _rule("lines end with LF", "data: a\n\ndata: b\n\n", "a", "b"),
    _rule("lines end with CRLF", "data: a\r\n\r\ndata: b\r\n\r\n", "a", "b"),
    _rule("lines end with CR", "data: a\r\rdata: b\r\r", "a", "b"),
    _rule("line ends are mixed", "data: a\r\n\ndata: b\n\r\ndata: c\r\r\n", "a", "b", "c"),
    _rule("a byte order mark is dropped", "\ufeffdata: a\n\ndata: b\n\n", "a", "b"),
    _rule("only one byte order mark is, and only at the start", "\ufeffdata: \ufeffa\n\n\ufeffdata: b\n\n", "\ufeffa"),
    _rule("comments are skipped", ": hello\ndata: a\n:\ndata:b\n: {}\n\n: alone\n\n", "a\nb"),
    _rule("one space after the colon goes, more stay", "data:a\ndata: b\ndata:  c\n\n", "a\nb\n c"),
    _rule("a tab after the colon stays", "data:\ta\n\n", "\ta"),
    _rule("a field without a colon has no value", "data\n\ndata\ndata\n\n", "", "\n"),
    _rule("data of several lines is joined by LF", "data: a\ndata:\ndata: b\n\n", "a\n\nb"),
    _rule("a colon in the value is part of it", "data: a: b\n\n", "a: b"),
    _rule("names are case-sensitive, unknown ones ignored", "Data: a\n data: b\nfoo: c\ndata: d\n\n", "d"),
    _rule("an event without data is not dispatched", "event: ping\n\ndata: a\n\n", "a"),
    _rule("nor is an id or a retry alone", "id: 7\n\nretry: 9\n\n\n\ndata: a\n\n", Event("a", id="7")),
    _rule("the type is that of its event alone", "event: x\ndata: a\n\ndata: b\n\n", Event("a", "x"), "b"),
    _rule("the last type of an event counts", "event: x\nevent: y\ndata: a\n\n", Event("a", "y")),
    _rule(
        "an id stays until another comes",
        "id: 1\ndata: a\n\ndata: b\n\nid\ndata: c\n\n",
        *(Event("a", id="1"), Event("b", id="1"), "c"),
    ),
    _rule("an id with a NUL is ignored", "id: 1\nid: 2\0\ndata: a\n\n", Event("a", id="1")),
    _rule("a NUL in data is data", "data: a\0b\n\n", "a\0b"),
    _rule("retry takes ASCII digits", "retry: 1500\ndata: a\n\n", Event("a", retry=1500)),
    _rule("and nothing else", "retry: +5\nretry: 1_0\nretry:  7\nretry: ٣\nretry: -1\nretry: 1e3\ndata: a\n\n", "a"),
    _rule("an unfinished event is dropped at the end", "data: a\n\ndata: b\n", "a"),
    _rule("so is an unfinished line", "data: a\n\ndata: b", "a"),
    _rule("one line end is not a blank line", "data: a\r\n", *()),
    _rule("invalid UTF-8 becomes U+FFFD", b"data: a\xffb\n\ndata: c\n\n", "a\ufffdb", "c"),
    _rule("so does a character cut by a line end", b"data: a\xf0\x9f\ndata: b\n\n", "a\ufffd\nb"),
    _rule("a cut character at the end breaks nothing", b"data: a\n\ndata: \xf0\x9f", "a"),
    _rule(
        "U+2028, NEL, VT, FF and FS end no line",
        "data: a\u2028b\x85c\x0bd\x0ce\x1cf\n\n",
        "a\u2028b\x85c\x0bd\x0ce\x1cf",
    ),
    _rule("it is UTF-8, whatever a charset says", "data: ö\n\n", "ö", media=f"{EVENT_STREAM}; charset=iso-8859-1"),
    _rule("a media type that is said twice is said", "data: a\n\n", "a", media=f"{EVENT_STREAM}, {EVENT_STREAM}"),
    _rule("a media type is of any case", "data: a\n\n", "a", media="Text/Event-Stream"),
)
"""The last but one is https://fetch.spec.whatwg.org/#concept-header-extract-mime-type; Foundry Local 2.x does that."""

INVARIANCE: Final = "how the stream is cut makes no difference"
PROMPTNESS: Final = {
    "an event is out with its last byte": b"data: a\n\ndata: b\n\n",
    "with CRLF too": b"data: a\r\n\r\ndata: b\r\n\r\n",
    "with CR too": b"data: a\r\rdata: b\r\r",
}
CAPPED: Final = {
    "a line without an end is refused, not held": b"data: " + b"x" * 65_530,
    "an event without an end is refused, not held": (b"data: " + b"x" * 1_017 + b"\n") * 64,
}


def findings(peer: Peer) -> list[Finding]:
    """How a decoder does by every rule, in the order of the page; `instead` is empty where it keeps one."""
    return [
        *(Finding(rule.says, _instead(peer, rule)) for rule in RULES),
        Finding(INVARIANCE, _varies(peer)),
        *(Finding(says, _late(peer, stream)) for says, stream in PROMPTNESS.items()),
        *(Finding(says, _holds(peer, part)) for says, part in CAPPED.items()),
    ]


def splits(stream: bytes) -> Iterator[list[bytes]]:
    """The stream whole, cut in two at every byte, and a byte at a time."""
    yield [stream]
    for place in range(1, len(stream)):
        yield [stream[:place], stream[place:]]
    yield [stream[place : place + 1] for place in range(len(stream))]


def _instead(peer: Peer, rule: Rule) -> str:
    for chunks in splits(rule.stream):
        found = _outcome(peer, chunks, rule.media)
        if found != (list(rule.events), ""):
            return _words(*found, rule.events)
    return ""


def _varies(peer: Peer) -> str:
    """The first rule at which a cut makes a difference, whether or not the rule is kept."""
    for rule in RULES:
        whole, *cut = (_outcome(peer, chunks, rule.media) for chunks in splits(rule.stream))
        if any(each != whole for each in cut):
            return f"it does where {rule.says}"
    return ""


def _late(peer: Peer, stream: bytes) -> str:
    """Whether an event came after its last byte, fed one by one. The streams hold two events of one length."""
    fed = 0

    def bytes_one_by_one() -> Iterator[bytes]:
        nonlocal fed
        for fed in range(1, len(stream) + 1):
            yield stream[fed - 1 : fed]
        fed += 1  # only the end of the stream brought the rest

    due = [len(stream) // 2, len(stream)]
    came = [fed for _ in peer.decode(bytes_one_by_one(), EVENT_STREAM)]
    if len(came) < len(due):
        return "it does not come"
    late = [moment - wanted for moment, wanted in zip(came, due, strict=True) if moment > wanted]
    return f"{late[0]} byte late: with the next event, or the end" if late else ""


def _holds(peer: Peer, part: bytes) -> str:
    """Whether it takes more of one event than `CAP` without a word."""
    taken = 0

    def parts() -> Iterator[bytes]:
        nonlocal taken
        while taken < CAP:
            taken += len(part)
            yield part

    try:
        for _ in peer.decode(parts(), EVENT_STREAM):
            pass
    except Exception:  # noqa: BLE001 - each has an error of its own
        return ""
    return f"{CAP >> 20} MiB taken"


def _outcome(peer: Peer, chunks: Sequence[bytes], media: str) -> tuple[list[Event], str]:
    """The events, and the name of the error after them."""
    found: list[Event] = []
    try:
        for event in peer.decode(chunks, media):
            found.append(event)  # noqa: PERF402 - what came before an error counts
    except Exception as error:  # noqa: BLE001 - each has an error of its own
        return found, type(error).__name__
    return found, ""


def _words(found: Sequence[Event], error: str, wanted: Sequence[Event]) -> str:
    if error:
        return error
    if len(found) != len(wanted):
        return f"{_count(len(found))}, not {len(wanted)}"
    checks: tuple[tuple[str, Callable[[Event], object]], ...] = (
        ("data", lambda event: event.data),
        ("type", lambda event: event.event),
        ("id", lambda event: event.id),
        ("retry", lambda event: event.retry),
    )
    for name, of in checks:
        for has, ought in zip(found, wanted, strict=True):
            if of(has) != of(ought):
                return f"{name} is {of(has)!a}"
    raise AssertionError("they are alike")


def _count(events: int) -> str:
    return f"{events} event" if events == 1 else f"{events} events"
