"""A tape: the exchanges of one contract with one runtime, in vcrpy's YAML with one key more.

vcrpy keeps an answer as a head and one body. What it has no place for stands under `wire` beside them, which it
ignores: the times of head and chunks in milliseconds, the sizes of the chunks in bytes, the number of the connection,
and how the exchange ended. An exchange without an answer can't be an interaction of vcrpy's; it stands in the metadata
of the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from resilient_foundry._extras import require
from resilient_foundry.harness.evidence import COMPLETE, Chunk, Ended, Exchange, Headers, Request, Response

WIRE: Final = "wire"
HOST: Final = "runtime.invalid"
"""Stands for the server on a tape; no such name can exist (RFC 2606 section 2)."""


class TapeError(ValueError):
    """A file is no tape; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Tape:
    """What was recorded: the exchanges, in the order in which they began, and where they come from.

    `provenance` says so in plain values: runtime, version, contract, day, and whatever the recorder adds.
    """

    exchanges: tuple[Exchange, ...]
    provenance: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @classmethod
    def load(cls, path: Path) -> Tape:
        """The tape in a file; raises `TapeError` for what is none, and `OSError` where it can't be read."""
        try:
            return cls.loads(path.read_text("utf-8"))
        except TapeError as error:
            raise TapeError(f"{path}: {error}") from error.__cause__

    @classmethod
    def loads(cls, written: str) -> Tape:
        """The tape that this text is; raises `TapeError` for what is none."""
        deserialize, yaml = _vcr("serialize").deserialize, _vcr("serializers.yamlserializer")
        try:
            requests, responses, *rest = deserialize(written, yaml)
            metadata: dict[str, Any] = dict(rest[0]) if rest else {}
            answered = [_exchange(*each) for each in zip(requests, responses, strict=True)]
            for lost in metadata.get("unanswered", ()):
                request, ended = _request_of(lost["request"]), _ended(lost["ended"])
                answered.insert(lost["place"], Exchange(request, None, ended, lost.get("connection")))
        except Exception as error:  # whatever YAML and vcrpy raise for a file that is not theirs
            raise TapeError(f"this is no tape ({type(error).__name__}: {error})") from error
        return cls(tuple(answered), metadata.get("provenance", {}))

    def save(self, path: Path) -> None:
        """Write it to a file; its folder is made where it is missing."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.dumps(), "utf-8", newline="\n")

    def dumps(self) -> str:
        """It as vcrpy's YAML."""
        answered = [each for each in self.exchanges if each.response is not None]
        unanswered = [
            {
                "place": place,
                "request": _written_request(each.request),
                "ended": _written_end(each.ended),
                "connection": each.connection,
            }
            for place, each in enumerate(self.exchanges)
            if each.response is None
        ]
        metadata = {"provenance": dict(self.provenance)} | ({"unanswered": unanswered} if unanswered else {})
        cassette = {
            "requests": [_vcr_request(each.request) for each in answered],
            "responses": [_written_response(each, each.response) for each in answered if each.response is not None],
            "metadata": metadata,
        }
        written: str = _vcr("serialize").serialize(cassette, _vcr("serializers.yamlserializer"))
        return written


def _vcr(module: str) -> Any:  # vcrpy has no types
    return require(f"vcr.{module}", extra="contracts")


def _vcr_request(request: Request) -> Any:
    return _vcr("request").Request(
        request.method, f"http://{HOST}{request.path}", request.body, _grouped(request.headers)
    )


def _written_request(request: Request) -> dict[str, Any]:
    return {
        "method": request.method,
        "uri": f"http://{HOST}{request.path}",
        "headers": _grouped(request.headers),
        "body": request.body.decode("utf-8", "surrogateescape"),
    }


def _request_of(written: Mapping[str, Any]) -> Request:
    body = written["body"].encode("utf-8", "surrogateescape")
    return Request(written["method"], _path(written["uri"]), _flat(written["headers"]), body)


def _written_response(exchange: Exchange, response: Response) -> dict[str, Any]:
    return {
        "status": {"code": response.status, "message": response.reason},
        "headers": _grouped(response.headers),
        "body": {"string": response.body},
        WIRE: {
            "http_version": response.http_version,
            "connection": exchange.connection,
            "head_ms": _milliseconds(response.at),
            "chunks": [[_milliseconds(chunk.at), len(chunk.data)] for chunk in response.chunks],
            "ended": _written_end(exchange.ended),
        },
    }


def _exchange(request: Any, response: Mapping[str, Any]) -> Exchange:
    body: bytes = response["body"]["string"] or b""
    asked_body = request.body or b""
    asked = Request(
        request.method,
        _path(request.uri),
        _flat({name: value if isinstance(value, list) else [value] for name, value in request.headers.items()}),
        asked_body if isinstance(asked_body, bytes) else str(asked_body).encode(),
    )
    wire: Mapping[str, Any] = response.get(WIRE) or {}  # without, it is a cassette by plain vcrpy: one chunk, no times
    answer = Response(
        response["status"]["code"],
        _flat(response["headers"]),
        wire.get("head_ms", 0.0) / 1000,
        tuple(_chunks(body, wire.get("chunks", [[0.0, len(body)]] if body else []))),
        response["status"]["message"] or "",
        wire.get("http_version", "HTTP/1.1"),
    )
    return Exchange(asked, answer, _ended(wire.get("ended", {"how": COMPLETE})), wire.get("connection"))


def _chunks(body: bytes, written: Sequence[Sequence[float]]) -> Iterator[Chunk]:
    edges = [0]
    for _, size in written:
        edges.append(edges[-1] + int(size))
    if edges[-1] != len(body):
        raise TapeError(f"its chunks make {edges[-1]} bytes, and the body has {len(body)}")
    for (at, _), (start, end) in zip(written, pairwise(edges), strict=True):
        yield Chunk(at / 1000, body[start:end])


def _written_end(ended: Ended) -> dict[str, Any]:
    says = {"says": ended.says} if ended.says else {}
    return {"how": ended.how, "ms": _milliseconds(ended.at), **says}


def _ended(written: Mapping[str, Any]) -> Ended:
    return Ended(written["how"], written.get("ms", 0.0) / 1000, written.get("says", ""))


def _grouped(headers: Headers) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for name, value in headers:
        grouped.setdefault(name, []).append(value)
    return grouped


def _flat(headers: Mapping[str, Any]) -> Headers:
    return tuple((name.lower(), value) for name, values in headers.items() for value in values)


def _path(uri: str) -> str:
    parts = urlsplit(uri)
    return parts.path + (f"?{parts.query}" if parts.query else "")


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 1)
