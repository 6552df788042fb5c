"""What the demo shows: a live view of the chat that plays, a line for each that has played, a table at the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from resilient_foundry._extras import MissingExtraError, require
from resilient_foundry.cli.demo.play import Faults, Played, Stage
from resilient_foundry.cli.demo.scenes import SCENES, Scene
from resilient_foundry.cli.output import console, errors, print_json
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
from resilient_foundry.foundry.runtime import LocalRuntime
from resilient_foundry.harness.proxy import FaultProxy
from resilient_foundry.policies.tracing import Tracing

_LINES = 7
"""Lines of what happens that the live view keeps."""
_CIRCUITS = {"closed": "green", "open": "red", "half-open": "yellow"}


def run(*, as_json: bool) -> int:
    """Play all scenes; 0 when every chat was answered."""
    began = time.perf_counter()
    tracing, spans = _tracing()
    faults = Faults()
    screen = Screen(quiet=as_json)
    with LocalRuntime() as runtime, FaultProxy(runtime.url, faults) as proxy:
        served = runtime.models[0]
        screen.say(
            f"The real Foundry Local runs on {runtime.url} (process {runtime.pid}), model {served.alias}.\n"
            f"Between it and the client stands {proxy.url}, which breaks connections on purpose."
        )
        with Stage(proxy, served.id, tracing, screen.happened).open() as stage:
            played: list[Played] = []
            with screen.live():
                for number, scene in enumerate(SCENES, 1):
                    faults.set(scene)
                    screen.begin(number, scene, stage)
                    result = stage.play(scene, screen.answer, screen.again)
                    screen.end(result)
                    played.append(result)
            counted = dict(stage.faults)
    lost = sum(not each.answered for each in played)
    told = {
        "asked": len(played),
        "answered": len(played) - lost,
        "lost": lost,
        "attempts": sum(each.attempts for each in played),
        "faults": counted,
        "fault_kinds": len(counted),
        "seconds_waited": round(sum(each.waited for each in played), 3),
        "seconds": round(time.perf_counter() - began, 3),
        "spans": spans() if spans else None,
        "chats": [
            {
                "fault": each.scene.fault,
                "streamed": each.scene.streamed,
                "answered": each.answered,
                "attempts": each.attempts,
                "asked_again": each.rounds - 1,
                "seconds_waited": round(each.waited, 3),
                "delivered_before_break": each.delivered_before_break,
            }
            for each in played
        ],
    }
    if as_json:
        print_json(told)
    else:
        screen.close(told, played)
    return 1 if lost else 0


class Screen:
    """Standard output of a demo: alive on a terminal, plain lines elsewhere, nothing for programs."""

    def __init__(self, *, quiet: bool) -> None:
        self._console = errors if quiet else console
        self._quiet = quiet
        self._live: Live | None = None
        self._happened: list[Text] = []
        self._text = ""
        self._title = ""
        self._stage: Stage | None = None

    def say(self, text: str) -> None:
        """A paragraph."""
        if not self._quiet:
            self._console.print(text, soft_wrap=True)
            self._console.print()

    def live(self) -> Any:  # rich's context manager, or nothing
        """The live view."""
        self._live = Live(
            console=self._console, refresh_per_second=12, transient=True, get_renderable=self._render, screen=False
        )
        if self._quiet or not self._console.is_terminal:
            self._live = None
            return _Nothing()
        return self._live

    def begin(self, number: int, scene: Scene, stage: Stage) -> None:
        """A chat begins."""
        self._stage = stage
        kind = "streamed" if scene.streamed else "plain"
        self._title = f"chat {number} of {len(SCENES)}, {kind}; goes wrong: {scene.fault}"
        self._text = ""
        self._happened.clear()

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
        mark = "[green]answered[/]" if played.answered else "[red]lost[/]    "
        how = f"  {played.how}" if played.how else ""
        waited = f", {played.waited:.2f} s waiting" if played.waited else ""
        attempts = f"{played.attempts} attempt{'s' if played.attempts != 1 else ''}"
        self._console.print(f"{mark}  {played.scene.fault:<29} {attempts}{waited}{how}", soft_wrap=True)

    def close(self, told: dict[str, Any], played: list[Played]) -> None:
        """The closing table."""
        table = Table(title="What the chats went through", title_justify="left", box=None, pad_edge=False)
        table.add_column("fault")
        for column in ("absorbed", "attempts", "waited"):
            table.add_column(column, justify="right")
        for each in played:
            count = told["faults"].get(each.scene.fault, 0)
            if count:
                table.add_row(each.scene.fault, str(count), str(each.attempts), f"{each.waited:.2f} s")
        self._console.print()
        self._console.print(table)
        self._console.print()
        self._console.print(
            f"asked {told['asked']}, answered {told['answered']}, lost {told['lost']}; "
            f"{sum(told['faults'].values())} faults of {told['fault_kinds']} kinds absorbed; "
            f"{told['seconds_waited']:.1f} s of {told['seconds']:.1f} s spent waiting",
            style="bold green" if not told["lost"] else "bold red",
            soft_wrap=True,
        )
        if told["spans"] is not None:
            calls, attempts = told["spans"]
            self._console.print(f"traced: {calls} calls with {attempts} attempts under them")
        longest = max((ledger for each in played for ledger in each.ledgers), key=lambda ledger: len(ledger.attempts))
        self._console.print('\nEvery answer tells its story, response.extensions\\["resilience"].explain():')
        self._console.print(Text(longest.explain()))

    def _render(self) -> Group:
        circuit = self._stage.circuit if self._stage else "closed"
        state = Text.assemble("circuit ", (circuit, _CIRCUITS[circuit]))
        return Group(
            Panel(Text(self._text), title=Text(self._title), title_align="left", height=8),
            *self._happened,
            state,
        )


class _Nothing:
    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


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
            return Text(f"  circuit opened for {event.retry_after:g} s", style="red")
        case CircuitHalfOpened():
            return Text("  circuit admits a probe", style="yellow")
        case CircuitClosed():
            return Text("  circuit closed", style="green")
        case TimedOut():
            return Text(f"  {event.phase} limit passed", style="yellow")
        case _:
            return None


def _tracing() -> tuple[Tracing, Callable[[], tuple[int, int]] | None]:
    """Tracing into memory where the SDK is installed: the demo counts its spans."""
    try:
        sdk = require("opentelemetry.sdk.trace", extra="telemetry")
        export = require("opentelemetry.sdk.trace.export", extra="telemetry")
        memory = require("opentelemetry.sdk.trace.export.in_memory_span_exporter", extra="telemetry")
    except MissingExtraError:
        return Tracing(), None
    exporter = memory.InMemorySpanExporter()
    provider = sdk.TracerProvider()
    provider.add_span_processor(export.SimpleSpanProcessor(exporter))

    def spans() -> tuple[int, int]:
        finished = exporter.get_finished_spans()
        attempts = sum(span.parent is not None for span in finished)
        return len(finished) - attempts, attempts

    return Tracing(tracer_provider=provider), spans
