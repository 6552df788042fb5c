"""Streams that real runtimes sent, as seeds of what goes wrong."""

from functools import cache
from pathlib import Path

from resilient_foundry.harness.evidence import Exchange
from resilient_foundry.harness.mutation import End, read
from resilient_foundry.harness.tapes import Tape

CASSETTES = Path(__file__).parents[3] / "cassettes"
AREA = "chat_streams"


def streams_of(path: Path) -> list[Exchange]:
    """The streams of chats on a tape that are whole and say something."""
    return [
        exchange
        for exchange in Tape.load(path).exchanges
        if exchange.request.method == "POST" and read(exchange).end is End.WHOLE and read(exchange).pieces
    ]


@cache
def stream(version: str = "1.2.4", name: str = "comes_in_order") -> Exchange:
    """The stream of one tape."""
    return streams_of(CASSETTES / f"foundry-local-{version}" / AREA / f"{name}.yaml")[0]


@cache
def seeds() -> dict[str, list[Exchange]]:
    """All streams of chats there are, by the contract that they were recorded for."""
    found: dict[str, list[Exchange]] = {}
    for path in sorted(CASSETTES.glob(f"*/{AREA}/*.yaml")):
        found.setdefault(path.stem, []).extend(streams_of(path))
    return {name: streams for name, streams in found.items() if streams}
