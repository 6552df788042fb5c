"""The command as people run it: in a process of its own, or, where that makes no difference, in this one."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

SECONDS = 50.0
"""Until a command that does not end fails its test."""
# A process that a shell started in the background ignores Ctrl-C, and so would ours.
_AS_FROM_A_TERMINAL = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
_MAIN = "from resilient_foundry.cli import main; main()"


@dataclass(frozen=True)
class Ran:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as the JSON document that it is."""
        return json.loads(self.out)

    @property
    def complaint(self) -> str:
        """The one line on standard error of a command that fails: no traceback, no dangling half of a sentence."""
        assert self.code == 1, self
        assert self.out == "", self
        assert self.err.startswith("resilient-foundry: "), self
        assert self.err.count("\n") == 1, self
        assert not re.search(r"Traceback|base_url|=$", self.err), self
        return self.err.removeprefix("resilient-foundry: ").rstrip("\n")


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The variables of this process without those that the command reads."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FOUNDRY_", "OTEL_"))}
    mine = {"XDG_STATE_HOME": os.devnull}  # where nothing can be kept: the last trace of a person stays what it was
    return kept | mine | {"PYTHONPATH": os.getcwd(), "NO_COLOR": "1"} | dict(extra or {})  # noqa: PTH109 - as a text


def run(*arguments: str, given: str = "", first: str = "", **variables: str) -> Ran:
    """Run the command to its end, `given` on standard input; `first` is Python that runs before it."""
    done = subprocess.run(
        [sys.executable, "-c", f"{_AS_FROM_A_TERMINAL}\n{first}\n{_MAIN}", *arguments],
        input=given,
        capture_output=True,
        encoding="utf-8",
        timeout=SECONDS,
        check=False,
        env=environment(variables),
    )
    return Ran(done.returncode, done.stdout, done.stderr)


class Running:
    """A command that runs."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.pid = process.pid
        self.out = ""
        self._process = process

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def read_until(self, pattern: str) -> re.Match[str]:
        """Read what it prints, as it prints it, until this is there."""
        assert self._process.stdout is not None
        while not (found := re.search(pattern, self.out)):
            piece = os.read(self._process.stdout.fileno(), 4096)
            assert piece, f"it ended before it printed {pattern!r}: {self.out}"
            self.out += piece.decode()
        return found

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def end(self) -> Ran:
        """Wait until it has ended."""
        rest, said = self._process.communicate(timeout=SECONDS)
        self.out += rest.decode()
        return Ran(self._process.returncode, self.out, said.decode())


@contextmanager
def started(*arguments: str, **variables: str) -> Generator[Running]:
    """The command while it runs; it ends with the block."""
    with subprocess.Popen(
        [sys.executable, "-c", f"{_AS_FROM_A_TERMINAL}\n{_MAIN}", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(variables),
    ) as process:
        try:
            yield Running(process)
        finally:
            process.kill()
