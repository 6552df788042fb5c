"""The real runtime, and the command in this process."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable, Iterator

import pytest

from resilient_foundry.cli import app
from resilient_foundry.foundry.runtime import RESILIENCE, LocalRuntime
from tests.cli.command import Ran

Command = Callable[..., Ran]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the machine that the tests run on, no terminal of its own width."""
    for name in list(os.environ):
        if name.startswith(("FOUNDRY_", "OTEL_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.fixture(scope="session")
def runtime() -> Iterator[LocalRuntime]:
    """The real Foundry Local, for tests that leave it as they found it."""
    with LocalRuntime(RESILIENCE) as runtime:
        yield runtime


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """Runs the command in this process, as `resilient-foundry` does in its own."""
    before = signal.getsignal(signal.SIGTERM)

    def run(*arguments: str, given: str = "") -> Ran:
        monkeypatch.setattr(sys, "argv", ["resilient-foundry", *arguments])
        monkeypatch.setattr(sys, "stdin", io.StringIO(given))
        try:
            code = app.run()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        printed = capsys.readouterr()
        return Ran(code, printed.out, printed.err)

    yield run
    signal.signal(signal.SIGTERM, before)
