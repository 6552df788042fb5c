"""`resilient-foundry record`."""

from __future__ import annotations

from pathlib import Path

from resilient_foundry.foundry.runtime import LocalRuntime
from tests.cli.conftest import Command


def test_records_a_server_and_says_what_it_wrote(command: Command, runtime: LocalRuntime, tmp_path: Path) -> None:
    ran = command("record", "status.answers", "--url", runtime.url, "--into", str(tmp_path), "--json")
    assert ran.code == 0, ran
    assert {"tape": "foundry-local-2.2.1/status/answers.yaml", "fate": "new", "reason": ""} in ran.json
    assert (tmp_path / "foundry-local-2.2.1" / "status" / "answers.yaml").exists()


def test_says_what_is_missing(command: Command) -> None:
    assert "--runtime 2.2.1" in command("record").complaint
    assert "name none with it" in command("record", "chat", "--runtime", "2.2.1", "--prune").complaint
