"""What an answer says, read slowly and whole, by rules that share no line with the client: what it is measured by."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, cast

from resilient_foundry.harness.evidence import COMPLETE, Exchange, Response
from resilient_foundry.harness.mutation.mutations import PATIENCE

CAP: Final = 1 << 20
"""Bytes of an event that the client holds."""
IMPATIENCE: Final = 500.0
"""Seconds of silence that our client waits out nowhere."""
_LINE_END = re.compile(rb"\r\n|\r|\n")


class End(Enum):
    """How an answer ends, as somebody sees it who reads to its end."""

    WHOLE = "whole"
    """With [DONE]."""
    FINISHED = "finished"
    """With a reason to finish, and no [DONE]."""
    FAILED = "failed"
    """Neither, or by an error before either."""


class Blame(Enum):
    """Whose failure it is."""

    NETWORK = "network"
    SERVER = "server"
    FORM = "form"
    """It can't be read."""
    CALLER = "caller"


@dataclass(frozen=True, slots=True)
class Reading:
    """What was said. `pieces` are the texts, in order, and `whole_at` the byte behind which each of them was whole."""

    end: End
    pieces: tuple[str, ...] = ()
    whole_at: tuple[int, ...] = ()
    begun: bool = False
    """Whether there was content, or an end, before the failure."""
    finish_reason: str | None = None
    blame: Blame | None = None
    why: str = ""
    too_large_at: int | None = None
    """The byte from which on an event is larger than is held."""
    may_time_out: bool = False
    """Whether there was a silence which one client waits out and another does not."""

    @property
    def may_be_mended(self) -> bool:
        """Whether the failure was before any content, and not the caller's: it is asked again unseen."""
        return self.end is End.FAILED and not self.begun and self.blame in {Blame.NETWORK, Blame.SERVER}


@dataclass(frozen=True, slots=True)
class _Said:
    at: int
    """The byte behind which the event is whole."""
    data: str
    kind: str = "message"


def read(exchange: Exchange) -> Reading:
    """What the answer says."""
    response = exchange.response
    if response is None:
        return Reading(End.FAILED, blame=Blame.NETWORK, why=exchange.ended.how)
    if response.at > IMPATIENCE:
        return Reading(End.FAILED, blame=Blame.NETWORK, why="a late head")
    if response.status != 200:  # noqa: PLR2004 - RFC 9110 section 15.3.1
        busy = response.status in {429, 503}
        return Reading(End.FAILED, blame=Blame.SERVER if busy else Blame.CALLER, why=str(response.status))
    if "text/event-stream" not in (response.header("content-type") or "").lower():
        heard, unsure = _heard(exchange, response)
        whole = heard == len(response.body) and exchange.ended.how == COMPLETE and not _falls_silent(exchange, response)
        blame = Blame.FORM if whole else Blame.NETWORK
        why = "no stream of events is announced"
        return Reading(End.FAILED, begun=True, blame=blame, why=why, may_time_out=unsure)
    return _follow(exchange, response)


def _follow(exchange: Exchange, response: Response) -> Reading:
    pieces: list[str] = []
    whole_at: list[int] = []
    begun, reason = False, None
    limit, unsure = _heard(exchange, response)
    events, too_large_at = _events(response.body[:limit])
    end, blame, why = End.FAILED, None, ""
    for event in events:
        if event.data.strip() == "[DONE]":
            end, begun = End.WHOLE, True
            break
        try:
            said: object = json.loads(event.data)
        except (ValueError, RecursionError):
            said = None
        if not isinstance(said, dict):
            blame = Blame.SERVER if event.kind == "error" else Blame.FORM
            begun, why = begun or blame is Blame.FORM, "an event is no JSON object"
            break
        fields = cast("dict[str, Any]", said)
        if event.kind == "error" or fields.get("error") is not None:
            blame, why = _blame_of(fields.get("error")), "an error in the stream"
            break
        text, finish = _text(fields)
        if text:
            pieces.append(text)
            whole_at.append(event.at)
        reason = finish or reason
        begun = begun or bool(text or finish or _brings(fields))
    else:
        if too_large_at is not None:
            begun, blame, why = True, Blame.FORM, "an event is too large"
        elif limit < len(response.body) or exchange.ended.how != COMPLETE or _falls_silent(exchange, response):
            blame, why = Blame.NETWORK, exchange.ended.how
        elif reason is not None:
            end = End.FINISHED
        else:
            blame, why = Blame.SERVER, "it just ends"
    return Reading(
        end,
        tuple(pieces),
        tuple(whole_at),
        begun=begun,
        finish_reason=reason,
        blame=blame,
        why=why,
        too_large_at=too_large_at if why == "an event is too large" else None,
        may_time_out=unsure,
    )


def _heard(exchange: Exchange, response: Response) -> tuple[int, bool]:
    """How many bytes come before a silence that nobody waits out; and whether there is one that some wait out."""
    at, size, unsure = response.at, 0, response.at > PATIENCE
    quiet = 0.0
    for chunk in response.chunks:
        quiet += chunk.at - at
        if chunk.at - at > IMPATIENCE:
            return size, unsure
        unsure = unsure or quiet > PATIENCE
        brings = b"data:" in chunk.data or b"}" in chunk.data
        quiet = 0.0 if brings and b"\n\n" in chunk.data else quiet
        at, size = chunk.at, size + len(chunk.data)
    rest = exchange.ended.at - at
    return size, unsure or (rest <= IMPATIENCE and rest + quiet > PATIENCE)


def _falls_silent(exchange: Exchange, response: Response) -> bool:
    last = response.chunks[-1].at if response.chunks else response.at
    return exchange.ended.at - last > IMPATIENCE


def _events(body: bytes) -> tuple[list[_Said], int | None]:
    """The events by WHATWG's rules, and the byte where one outgrows what is held."""
    start = 3 if body.startswith(b"\xef\xbb\xbf") else 0
    found: list[_Said] = []
    data: list[str] = []
    kind, held, end = "", 0, start
    for line_end in _LINE_END.finditer(body, start):
        begin, end, raw = end, line_end.end(), body[end : line_end.start()]
        if held + len(raw) > CAP:
            return found, begin + CAP - held
        if not raw:
            if data:
                found.append(_Said(line_end.start() + 1, "\n".join(data), kind or "message"))
            data, kind, held = [], "", 0
            continue
        name, _, value = raw.decode("utf-8", "replace").partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            data.append(value)
            held += len(raw)
        elif name == "event":
            kind = value
            held += len(raw)
    too_large = held + len(body) - end > CAP
    return found, end + CAP - held if too_large else None


def _choices(said: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for choice in said.get("choices") or ():
        if isinstance(choice, dict):
            yield cast("dict[str, Any]", choice)


def _delta(choice: Mapping[str, Any]) -> Mapping[str, Any]:
    delta: object = choice.get("delta")
    return cast("dict[str, Any]", delta) if isinstance(delta, dict) else {}


def _text(said: Mapping[str, Any]) -> tuple[str, str | None]:
    """The text of the first choice, and why it ended."""
    for choice in _choices(said):
        return _delta(choice).get("content") or "", choice.get("finish_reason")
    return "", None


def _brings(said: Mapping[str, Any]) -> bool:
    """Anything that is content to those who hold a stream until there is some: tool calls, or usage alone."""
    if not said.get("choices"):
        return bool(said.get("usage")) or "choices" not in said
    return any(value for choice in _choices(said) for name, value in _delta(choice).items() if name != "role")


def _blame_of(error: object) -> Blame:
    said = cast("dict[str, Any]", error) if isinstance(error, dict) else {}
    theirs = said.get("type") == "invalid_request_error" or "maximum context length" in str(said.get("message"))
    return Blame.CALLER if theirs else Blame.SERVER
