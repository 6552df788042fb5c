"""`resilient-foundry serve`: the real runtime, until Ctrl-C."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from resilient_foundry.cli.output import console, errors, print_json
from resilient_foundry.foundry.runtime import LocalRuntime


def run(*, model: str | None, port: int, as_json: bool) -> None:
    """Start the runtime, say where it is, and wait."""
    stop = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    with _runtime(model, port) as runtime:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, end)
        if as_json:
            print_json({"url": runtime.url, "pid": runtime.pid, "models": runtime.models})
            sys.stdout.flush()
        else:
            console.print(f"Foundry Local serves on [bold]{runtime.url}[/bold] (process {runtime.pid}, loopback only)")
            for served in runtime.models:
                console.print(f"  model {served.alias} ({served.id})")
            console.print("Try, in another terminal:")
            console.print(f"  resilient-foundry chat --url {runtime.url} 'What is resilience?'")
            console.print("Ctrl-C ends it.")
        stop.wait()


def _runtime(model: str | None, port: int) -> LocalRuntime:
    if model is None:
        return LocalRuntime(port=port).start()
    columns = (TextColumn("downloading {task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors) as progress:
        task = progress.add_task(model, total=100.0)
        return LocalRuntime(
            model=model, port=port, on_progress=lambda percent: progress.update(task, completed=percent)
        ).start()
