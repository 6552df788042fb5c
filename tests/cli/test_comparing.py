"""`resilient-foundry matrix`."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Command


def test_shows_contracts_against_runtimes(command: Command, tmp_path: Path) -> None:
    page, text = tmp_path / "matrix.html", tmp_path / "matrix.md"
    ran = command("matrix", "models", "--html", str(page), "--markdown", str(text))
    assert ran.code == 0, ran
    assert "1.2.4" in ran.out
    assert "contracts are kept by every runtime" in ran.out
    assert page.read_text("utf-8").startswith("<!doctype html>")
    assert text.read_text("utf-8").startswith("# Contracts and runtimes")


def test_says_what_is_missing(command: Command) -> None:
    assert "ask for them with --live" in command("matrix", "--fresh").complaint
    assert "there are 1.2.4, 2.0.1, 2.2.1" in command("matrix", "--runtimes", "9.9").complaint
