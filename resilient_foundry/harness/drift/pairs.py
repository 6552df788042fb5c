"""The same request on both sides: which exchange of one verification belongs to which of the other."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Final, cast

from resilient_foundry.harness.evidence import ABANDONED, COMPLETE, Exchange, Request, Response
from resilient_foundry.harness.grammar import chat_kind, named_kind
from resilient_foundry.harness.verdict import Outcome
from resilient_foundry.sse import Decoder, Event, announced_by

_ROUTES: Final = frozenset(
    {
        *("v1", "openai", "foundry", "status", "shutdown"),
        *("models", "list", "loaded", "loadedmodels", "load", "unload", "unloadall", "download"),
        *("chat", "completions", "tokenizer", "encode", "count", "embeddings", "responses", "input_items"),
        *("audio", "transcriptions", "getgpudevice", "setgpudevice"),
    }
)
"""What stands in paths of Foundry Local by itself; every other part is somebody's name."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One request of one contract, and what became of it on both sides."""

    contract: str
    before: Exchange
    after: Exchange

    @property
    def endpoint(self) -> str:
        """Method and path, with {} for ids and other names."""
        return endpoint(self.before.request)

    @property
    def heads(self) -> tuple[Response, Response] | None:
        """Both answers, where both gave one."""
        if self.before.response is None or self.after.response is None:
            return None
        return self.before.response, self.after.response

    @property
    def alike(self) -> tuple[Response, Response] | None:
        """Both answers, where they are of one status and ended in one way, so that more of them can be compared."""
        heads = self.heads
        if heads is None or heads[0].status != heads[1].status or self.was_left or not self.both_complete:
            return None
        return heads

    @property
    def was_left(self) -> bool:
        """Whether the client left one of them before its end: how it would have ended nobody knows."""
        return ABANDONED in {self.before.ended.how, self.after.ended.how}

    @property
    def both_complete(self) -> bool:
        """Whether both came to their proper end."""
        return self.before.ended.how == self.after.ended.how == COMPLETE

    @property
    def both_streams(self) -> bool:
        """Whether both are answered with a stream of events."""
        heads = self.heads
        return heads is not None and is_stream(heads[0]) and is_stream(heads[1])


def pairs(before: Outcome, after: Outcome) -> Iterator[Pair]:
    """The exchanges of one contract that ask the same: other ids count as the same, and so does another order.

    Where both break it by the same line of the ledger, only what came before the exchange that broke it: how a known
    flaw shows from there on can be chance, such as whether bytes left unread are taken for the next request.
    """
    same_flaw = before.deviation is not None and before.deviation == after.deviation
    firsts, seconds = (_sound(each) if same_flaw else each.exchanges for each in (before, after))
    waiting: dict[Hashable, list[Exchange]] = defaultdict(list)
    for exchange in seconds:
        waiting[_key(exchange.request)].append(exchange)
    for exchange in firsts:
        same = waiting[_key(exchange.request)]
        if same:
            yield Pair(before.contract.name, exchange, same.pop(0))


def endpoint(request: Request) -> str:
    """Method and path, with {} for ids and other names."""
    path = request.path.partition("?")[0]
    parts = [part if part in _ROUTES else "{}" for part in path.split("/")[1:]]
    return f"{request.method} /{'/'.join(parts)}"


def is_stream(response: Response) -> bool:
    """Whether it announces events."""
    return announced_by({"content-type": response.header("content-type") or ""})


def events_of(response: Response) -> list[Event]:
    """The events of a stream, as far as it can be read."""
    return Decoder(max_bytes=1 << 24).feed(response.body)


def kind_of(event: Event, where: str) -> str:
    """The kind of an event, as a stream of this endpoint names its kinds."""
    return named_kind(event) if "/responses" in where and event.event != "message" else chat_kind(event)


def kinds_of(response: Response, where: str) -> list[str]:
    """The kinds of the events of a stream, repetitions as one: how often something comes depends on texts."""
    return [kind for kind, _ in groupby(kind_of(event, where) for event in events_of(response))]


def _sound(outcome: Outcome) -> tuple[Exchange, ...]:
    """What came before the exchange that broke it; all where it was kept."""
    if outcome.culprit is None:
        return outcome.exchanges
    place = next((place for place, each in enumerate(outcome.exchanges) if each is outcome.culprit), 0)
    return outcome.exchanges[:place]


def _key(request: Request) -> Hashable:
    try:
        body: object = json.dumps(_without_ids(json.loads(request.body)), sort_keys=True)
    except (ValueError, RecursionError):
        body = request.body
    return endpoint(request), request.path.partition("?")[2], body


def _without_ids(value: object) -> object:
    if isinstance(value, Mapping):
        known = cast("Mapping[str, object]", value)
        return {name: None if _names_something(name) else _without_ids(item) for name, item in known.items()}
    if isinstance(value, list):
        return [_without_ids(item) for item in cast("Iterable[object]", value)]
    return value


def _names_something(member: str) -> bool:
    """A member whose value is another one on each server."""
    return member in {"model", "filename"} or member.endswith("id")
