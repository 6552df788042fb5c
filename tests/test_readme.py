"""The README is run: every Python block of it, in order, against the real runtime."""

import re
from pathlib import Path
from typing import Any

import pytest

from resilient_foundry.foundry.runtime import LocalRuntime

README = Path(__file__).parent.parent / "README.md"


def blocks(language: str) -> list[str]:
    """The fenced blocks of one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_begins_with_the_demo_and_the_tests_a_line_each() -> None:
    """Both lines install what they need, so that they can be pasted into a machine that has nothing."""
    demo, tests = (block.strip() for block in blocks("sh")[:2])
    assert demo.endswith("resilient-foundry demo")
    assert tests.endswith("pytest")
    for line in (demo, tests):
        assert "\n" not in line
        assert line.startswith("python3 -m venv .venv && .venv/bin/pip install -e ")


def test_python_blocks_run(capsys: pytest.CaptureFixture[str]) -> None:
    """What a reader copies works as it stands; names of one block are known to the next."""
    with LocalRuntime() as runtime:
        names: dict[str, Any] = {"SERVICE": runtime.url, "MODEL": runtime.models[0].id}
        for block in blocks("python"):
            exec(compile(block, str(README), "exec"), names)  # noqa: S102 - our own README
    shown = capsys.readouterr().out
    assert "attempt 1: 200" in shown
    assert "healthy" in shown
