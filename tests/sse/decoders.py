"""The decoders that are compared, all as one kind of function: chunks in, events out as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import Final

import httpx
import httpx2
import httpx_sse
from openai._streaming import SSEDecoder as OpenAIDecoder  # foreign and private: a Stream gives parsed chunks alone

from resilient_foundry.sse import Decoder, Event, announced_by

Decode = Callable[[Iterable[bytes], str], Iterator[Event]]
"""From the chunks of an answer and its Content-Type to its events, each handed over as soon as it is known."""


@dataclass(frozen=True)
class Peer:
    """A decoder by its name, and the package whose version counts."""

    name: str
    package: str
    decode: Decode

    @property
    def version(self) -> str:
        """What is installed."""
        return metadata.version(self.package)


def _ours(chunks: Iterable[bytes], media: str) -> Iterator[Event]:
    if not announced_by({"content-type": media}):
        raise ValueError(f"{media} announces no events")
    decoder = Decoder()
    for chunk in chunks:
        yield from decoder.feed(chunk)
    decoder.end()


def _httpx_sse(chunks: Iterable[bytes], media: str) -> Iterator[Event]:
    response = httpx.Response(200, headers={"content-type": media}, content=iter(chunks))
    for found in httpx_sse.EventSource(response).iter_sse():
        yield _event(found.data, found.event, found.id, found.retry)


def _httpx2(chunks: Iterable[bytes], media: str) -> Iterator[Event]:
    request = httpx2.Request("GET", "http://stream.invalid/")
    response = httpx2.Response(200, headers={"content-type": media}, content=iter(chunks), request=request)
    for found in httpx2.EventSource(response):
        yield _event(found.data, found.event, found.id, found.retry)


def _openai(chunks: Iterable[bytes], media: str) -> Iterator[Event]:
    del media  # it looks at bytes alone
    for found in OpenAIDecoder().iter_bytes(iter(chunks)):
        yield _event(found.data, found.event, found.id, found.retry)


def _naive(chunks: Iterable[bytes], media: str) -> Iterator[Event]:
    """What stands in many a program: lines that begin with "data: " are events."""
    response = httpx.Response(200, headers={"content-type": media}, content=iter(chunks))
    for line in response.iter_lines():
        if line.startswith("data: "):
            yield Event(line.removeprefix("data: "))


def _event(data: str, kind: str | None, last_id: str | None, retry: int | None) -> Event:
    """An event of theirs as one of ours; what says no type is a message (section 9.2.6)."""
    return Event(data, kind or "message", last_id or "", retry)


OURS: Final = Peer("ours", "resilient-foundry", _ours)
PEERS: Final = (
    OURS,
    Peer("httpx-sse", "httpx-sse", _httpx_sse),
    Peer("httpx2", "httpx2", _httpx2),
    Peer("openai", "openai", _openai),
    Peer("`iter_lines()` of httpx", "httpx", _naive),
)
