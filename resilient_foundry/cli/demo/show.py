"""What the demo shows: a live view of the chat that plays, a line for each that has played, a table at the end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from resilient_foundry.cli.demo.play import Played, Stage
from resilient_foundry.cli.demo.scenes import Scene
from resilient_foundry.cli.output import console, say
from resilient_foundry.events import (
    AttemptAnswered,
    AttemptEnded,
    AttemptStarted,
    CallRejected,
    CircuitClosed,
    CircuitHalfOpened,
    CircuitOpened,
    Event,
    RetryScheduled,
    TimedOut,
)

_LINES = 7
"""Lines of what happens that the live view keeps."""
_LINE = "{:<5} {:<28} {:>8} {:>7}  {}"
"""80 columns, as long as how it went on is told in 27."""
_CIRCUITS = {"closed": "green", "open": "red", "half-open": "yellow"}


class Screen:
    """Standard output of a demo: alive on a terminal, plain lines elsewhere, nothing for programs."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._live: Live | None = None
        self._happened: list[Text] = []
        self._text = ""
        self._title = ""
        self._stage: Stage | None = None

    def open(self, *sentences: str) -> None:
        """What plays, and the head of the lines that follow."""
        if self._quiet:
            return
        for sentence in sentences:
            say(sentence)
        console.print()
        say(_LINE.format("", "what went wrong", "attempts", "waited", "how it went on").rstrip(), style="bold")

    def live(self) -> AbstractContextManager[object]:
        """The live view."""
        if self._quiet or not console.is_terminal:
            return nullcontext()
        self._live = Live(console=console, refresh_per_second=12, transient=True, get_renderable=self._render)
        return self._live

    def begin(self, which: str, scene: Scene, stage: Stage) -> None:
        """A chat begins."""
        self._stage = stage
        kind = "streamed" if scene.streamed else "plain"
        self._title = f"{which}, {kind}; goes wrong: {scene.fault}"
        self._text = ""
        self._happened.clear()
        if self._live is not None:
            self._live.refresh()

    def answer(self, text: str) -> None:
        """A piece of the answer."""
        self._text += text
        if self._live is not None:
            time.sleep(0.004)  # the built-in model speaks faster than anybody reads

    def again(self) -> None:
        """The chat is asked anew."""
        self._text = ""

    def happened(self, event: Event) -> None:
        """An event of the stack."""
        line = _line(event)
        if line is not None:
            self._happened.append(line)
            del self._happened[:-_LINES]

    def end(self, played: Played) -> None:
        """A chat has ended: one line that stays."""
        if self._quiet:
            return
        mark = "ok" if played.answered else "lost"
        waited = f"{played.waited:.2f} s" if played.waited else ""
        line = _LINE.format(mark, played.scene.fault, played.attempts, waited, played.how).rstrip()
        console.print(
            Text.assemble((line[: len(mark)], "green" if played.answered else "red"), line[len(mark) :]),
            soft_wrap=not console.is_terminal,
        )

    def close(self, told: dict[str, Any], played: Sequence[Played]) -> None:
        """What came of it."""
        table = Table(box=None, pad_edge=False)
        table.add_column("fault absorbed")
        for column in ("times", "waited"):
            table.add_column(column, justify="right")
        for fault, count in told["faults"].items():
            waited = sum(each.waited for each in played if each.scene.fault == fault)
            table.add_row(fault, str(count), f"{waited:.2f} s" if waited else "")
        console.print()
        console.print(table)
        console.print()
        say(
            f"asked {told['asked']}, answered {told['answered']}, lost {told['lost']}; "
            f"{sum(told['faults'].values())} faults of {told['fault_kinds']} kinds absorbed; "
            f"{told['seconds_waited']:.1f} s of {told['seconds']:.1f} s spent waiting",
            style="bold green" if not told["lost"] else "bold red",
        )
        if told["spans"] is not None:
            say(f"traced: {told['spans']['calls']} calls with {told['spans']['attempts']} attempts under them")
        ledgers = [ledger for each in played for ledger in each.ledgers]
        if ledgers:
            console.print()
            say('Every answer tells its story, response.extensions["resilience"].explain():')
            say(max(ledgers, key=lambda ledger: len(ledger.attempts)).explain())

    def _render(self) -> Group:
        circuit = self._stage.circuit if self._stage else "closed"
        state = Text.assemble("circuit ", (circuit, _CIRCUITS[circuit]))
        return Group(
            Panel(Text(self._text), title=Text(self._title), title_align="left", height=8),
            *self._happened,
            state,
        )


def _line(event: Event) -> Text | None:
    match event:
        case AttemptStarted():
            return Text(f"attempt {event.number}", style="bold")
        case AttemptAnswered():
            return Text(f"  answered {event.status} after {event.after * 1000:.0f} ms")
        case AttemptEnded():
            detail = f" ({event.detail})" if event.detail else ""
            return Text(f"  {event.outcome.value}{detail}, {event.bytes} bytes after {event.after * 1000:.0f} ms")
        case RetryScheduled():
            word = ", as the server asks" if event.source == "retry_after" else ""
            return Text(f"  waits {event.wait:.2f} s{word}: {event.reason}", style="yellow")
        case CallRejected():
            return Text("  refused: the circuit is open", style="red")
        case CircuitOpened():
            return Text(f"  circuit opened for {event.retry_after or 0.0:g} s", style="red")
        case CircuitHalfOpened():
            return Text("  circuit admits a probe", style="yellow")
        case CircuitClosed():
            return Text("  circuit closed", style="green")
        case TimedOut():
            return Text(f"  {event.phase} limit passed", style="yellow")
        case _:
            return None
