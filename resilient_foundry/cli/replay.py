"""Play a tape against the client, and show byte by byte and second by second how it took it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from resilient_foundry.cli.output import print_json, say
from resilient_foundry.foundry.wire import mapping

if TYPE_CHECKING:
    from resilient_foundry.harness.mutation.stage import Leave, Run, Served, Way

_SHOWN = 72
"""Characters of a chunk that are shown."""


def run(tape: Path, *, way: str, as_json: bool) -> int:
    """Play it; exit 0 where the oracle has nothing to complain of."""
    from resilient_foundry.harness.mutation.stage import play  # noqa: PLC0415 - it needs the extra `contracts`
    from resilient_foundry.harness.oracle import complaints  # noqa: PLC0415 - as above
    from resilient_foundry.harness.tapes import Tape  # noqa: PLC0415 - as above

    loaded = Tape.load(tape)
    chats = [exchange for exchange in loaded.exchanges if _is_a_streamed_chat(exchange.request.body)]
    if not chats:
        raise ValueError(f"{tape} holds no streamed chat, and that is what the client can be played")
    script, original = (chats[:-1], chats[-1]) if "made_of" in loaded.provenance else (chats[:1], chats[0])
    played = play(script, original, way=_way(way), leave=_leave(loaded.provenance.get("leave")))
    found = complaints(played)
    if as_json:
        ending = played.ending.value if played.ending is not None else None
        print_json(
            {
                "ending": ending,
                "error": None if played.error is None else repr(played.error),
                "seconds": played.elapsed,
                "pieces": played.pieces,
                "attempts": len(played.served),
                "complaints": found,
            }
        )
        return int(bool(found))
    for number, served in enumerate(played.served, 1):
        for line in _timeline(number, served):
            say(line)
    for line in _end(played):
        say(line)
    for complaint in found:
        say(f"wrong: {complaint}", style="red")
    if not found:
        say("The client took it as it must.")
    return int(bool(found))


def _is_a_streamed_chat(body: bytes) -> bool:
    try:
        asked = mapping(json.loads(body))
    except ValueError:
        return False
    return asked is not None and asked.get("stream") is True


def _way(said: str) -> Way:
    from resilient_foundry.harness.mutation.stage import WAYS  # noqa: PLC0415 - as above

    found = next((way for way in WAYS if str(way) == said), None)
    if found is None:
        raise ValueError(f"--way is one of {', '.join(map(str, WAYS))}, not {said!r}")
    for package in {found.library, found.colour} - {"sync", "asyncio"}:
        if find_spec(package) is None:
            raise ValueError(f"--way {said} needs the package {package!r}: python -m pip install {package}")
    return found


def _leave(said: object) -> Leave:
    """When the caller left, as a tape of the mutator has it."""
    from resilient_foundry.harness.mutation.stage import Leave  # noqa: PLC0415 - as above

    known = mapping(said) or {}
    pieces, seconds = known.get("pieces"), known.get("seconds")
    return Leave(
        pieces if isinstance(pieces, int) else None, float(seconds) if isinstance(seconds, (int, float)) else None
    )


def _timeline(number: int, served: Served) -> Iterator[str]:
    """The answer as it went over the wire: moment, byte, and what came."""
    exchange, response = served.exchange, served.exchange.response
    yield f"attempt {number}: {exchange.request}"
    if response is None:
        yield f"{exchange.ended.at:>10.3f} s            {exchange.ended.how} {exchange.ended.says}".rstrip()
        return
    yield f"{response.at:>10.3f} s            {response.status} {response.header('content-type') or 'no content type'}"
    place = 0
    for fed, chunk in enumerate(response.chunks):
        data = repr(chunk.data)[2:-1]
        shown = data if len(data) <= _SHOWN else data[:_SHOWN] + "…"
        taken = "" if fed < len(served.asked_for) else "   (never asked for)"
        yield f"{chunk.at:>10.3f} s {place:>8} B  {shown}{taken}"
        place += len(chunk.data)
    yield f"{exchange.ended.at:>10.3f} s {place:>8} B  {exchange.ended.how} {exchange.ended.says}".rstrip()


def _end(played: Run) -> Iterator[str]:
    yield ""
    for moment, piece in zip(played.moments, played.pieces, strict=True):
        yield f"{moment:>10.3f} s  handed over {piece!r}"
    ending = played.ending.value if played.ending is not None else "in no way that there is"
    error = "" if played.error is None else f": {type(played.error).__name__}: {played.error}"
    yield f"{played.elapsed:>10.3f} s  ended {ending}{error}"
    result = played.result
    if result is not None:
        yield f"              complete={result.complete}, finish_reason={result.finish_reason!r}"
