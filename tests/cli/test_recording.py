"""`resilient-foundry record`."""

from __future__ import annotations

from pathlib import Path

import pytest

from resilient_foundry.foundry.runtime import LocalRuntime
from tests.cli.conftest import Command
from tests.servers import closed_port


def test_records_a_server_and_says_what_it_wrote(command: Command, runtime: LocalRuntime, tmp_path: Path) -> None:
    where = ("--url", runtime.url, "--runtime", "2.2.1", "--into", str(tmp_path))
    ran = command("record", "status.answers", *where, "--json")
    assert ran.code == 0, ran
    assert {"tape": "foundry-local-2.2.1/status/answers.yaml", "fate": "new", "reason": ""} in ran.json
    assert (tmp_path / "foundry-local-2.2.1" / "status" / "answers.yaml").exists()


def test_says_what_is_missing(command: Command) -> None:
    assert "--runtime 2.2.1" in command("record").complaint
    assert "name it with one --runtime" in command("record", "--url", "http://127.0.0.1:1").complaint
    assert "name none with it" in command("record", "chat", "--runtime", "2.2.1", "--prune").complaint


def test_says_that_nobody_answers_in_one_sentence(command: Command) -> None:
    """And says nothing of a password in a URL."""
    ran = command("record", "status", "--runtime", "2.2.1", "--url", closed_port())
    assert (ran.code, ran.complaint.count("\n")) == (1, 0)
    assert "nothing usable answers at" in ran.complaint
    assert "s3cret" not in command("record", "--runtime", "2.2.1", "--url", "http://me:s3cret@127.0.0.1:1").complaint


def test_says_that_a_runtime_can_not_be_fetched_in_one_sentence(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    ran = command("record", "status", "--runtime", "2.0.1", "--into", str(tmp_path))
    assert ran.code == 1
    assert "Foundry Local 2.0.1 could not be installed" in ran.err
    assert "Traceback" not in ran.err


def test_tapes_of_others_are_not_pruned_by_contracts_of_ones_own(command: Command, tmp_path: Path) -> None:
    """None of the shipped tapes has a contract there, so all of them would go."""
    ran = command("record", "--runtime", "2.2.1", "--contracts", str(tmp_path), "--prune")
    assert ran.code == 1
    assert "wants --into" in ran.err
