"""`resilient-foundry serve`: the real runtime, until Ctrl-C."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Generator

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from resilient_foundry.cli.output import console, errors, print_json
from resilient_foundry.foundry.runtime import LocalRuntime


def run(*, model: str | None, port: int, as_json: bool) -> None:
    """Start the runtime, say where it is, and wait. SIGTERM ends it as Ctrl-C does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with _serving(model, port) as runtime, contextlib.suppress(KeyboardInterrupt):
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
        threading.Event().wait()


@contextlib.contextmanager
def _serving(model: str | None, port: int) -> Generator[LocalRuntime]:
    if model is None:
        with LocalRuntime(port=port) as runtime:
            yield runtime
        return
    columns = (TextColumn("downloading {task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    progress = Progress(*columns, console=errors)
    task = progress.add_task(model, total=100.0)
    runtime = LocalRuntime(model=model, port=port, on_progress=lambda percent: progress.update(task, completed=percent))
    try:
        with progress:
            runtime.start()
        yield runtime
    finally:
        runtime.close()
