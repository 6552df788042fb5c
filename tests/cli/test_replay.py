"""`resilient-foundry replay`: a tape under the client, and what it made of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from resilient_foundry.cli.app import app
from resilient_foundry.foundry.chat_stream import ChatReader
from resilient_foundry.harness.mutation import mutated
from resilient_foundry.harness.mutation.mutations import Cut, Stall
from resilient_foundry.harness.tapes import Tape
from tests.harness.mutation.tapes import stream


def saved(folder: Path) -> str:
    path = folder / "cut.yaml"
    Tape((*mutated(stream(), Cut(1500, "end")), stream()), {"made_of": "Cut(1500, 'end')"}).save(path)
    return str(path)


def test_a_tape_is_shown_byte_by_byte_and_how_the_client_ended(tmp_path: Path) -> None:
    """A stream that was cut is an error, and so it must be."""
    shown = CliRunner().invoke(app, ["replay", saved(tmp_path), "--way", "httpx2-trio"])
    assert shown.exit_code == 0, shown.output
    assert "1285 B  data: {" in shown.output
    assert "handed over ' Every'" in shown.output
    assert "ended error: StreamInterruptedError" in shown.output
    assert "The client took it as it must." in shown.output


def any_end_is_an_end(_: object) -> Iterator[object]:
    """A broken client."""
    return iter(())


def test_a_client_that_takes_it_wrongly_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 1, and what is wrong."""
    monkeypatch.setattr(ChatReader, "end", any_end_is_an_end)  # a broken client: it takes any end for the end
    shown = CliRunner().invoke(app, ["replay", saved(tmp_path)])
    assert shown.exit_code == 1
    assert "wrong: it took for complete what is failed: it just ends" in shown.output


def test_a_caller_that_left_leaves_again(tmp_path: Path) -> None:
    """Else what went wrong when a task was cancelled would not be seen again."""
    exchange, path = stream(), tmp_path / "left.yaml"
    Tape((*mutated(exchange, Stall(1500, 30.0)), exchange), {"made_of": "Stall", "leave": {"seconds": 20.0}}).save(path)
    shown = CliRunner().invoke(app, ["replay", str(path), "--way", "httpx-trio"])
    assert shown.exit_code == 0, shown.output
    assert "20.000 s  ended cancelled" in shown.output


def test_programs_get_json(tmp_path: Path) -> None:
    """The same, to be read by another program."""
    shown = CliRunner().invoke(app, ["replay", saved(tmp_path), "--json"])
    assert '"ending": "error"' in shown.output
    assert '"complaints": []' in shown.output


def missing(_: str) -> None:
    """A package that is not installed."""


def test_a_way_whose_package_is_missing_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trio is nobody's extra, so the sentence says how to get it."""
    monkeypatch.setattr("resilient_foundry.cli.replay.find_spec", missing)
    shown = CliRunner().invoke(app, ["replay", saved(tmp_path), "--way", "httpx-trio"])
    assert shown.exit_code == 1
    assert "python -m pip install" in str(shown.exception)
