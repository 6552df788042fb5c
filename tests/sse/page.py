"""docs/sse-decoders.md, made from what the decoders do: `python -m tests.sse.page` writes it anew."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from tests.sse.decoders import PEERS, Peer
from tests.sse.rules import findings

PAGE: Final = Path(__file__).parents[2] / "docs" / "sse-decoders.md"
COMMAND: Final = "python -m tests.sse.page"
HELD: Final = "✓"
_HEAD: Final = f"""\
# Decoders of server-sent events, against the text

What each decoder does with a stream for every rule of the
[WHATWG's text](https://html.spec.whatwg.org/multipage/server-sent-events.html) (sections 9.2.5 and 9.2.6), and for what
the text leaves to good sense: promptness and a bound. Every stream goes through every decoder whole, cut in two at
every byte, and a byte at a time. {HELD}: as the text has it, however it is cut. Otherwise the cell says what is done
instead.

`iter_lines()` is what stands in many a program: httpx's lines, of which those that begin with `data: ` are events.
httpx2's decoder and openai's have httpx-sse as an ancestor, and share most of what they do otherwise.

`{COMMAND}` writes this page; `tests/sse/test_decoders.py` keeps it true. The streams stand in `tests/sse/rules.py`.

"""


def column(peer: Peer) -> list[str]:
    """The cells of a decoder, from the top."""
    return [each.instead or HELD for each in findings(peer)]


def heading(peer: Peer) -> str:
    """A decoder and its version."""
    return peer.name if peer is PEERS[0] else f"{peer.name} {peer.version}"


def page() -> str:
    """The page as it ought to be."""
    rows = [each.says for each in findings(PEERS[0])]
    columns = [column(peer) for peer in PEERS]
    lines = [["rule", *map(heading, PEERS)], ["---"] * (len(PEERS) + 1)]
    lines += [[says, *cells] for says, *cells in zip(rows, *columns, strict=True)]
    kept = [f"{cells.count(HELD)} of {len(rows)}" for cells in columns]
    lines.append(["**kept**", *kept])
    return _HEAD + "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8", newline="\n")
    sys.stdout.write(f"written: {PAGE}\n")
