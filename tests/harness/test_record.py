"""Tapes out of the real runtime, each proven against its contract."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from resilient_foundry.harness import Session
from resilient_foundry.harness.contract import collect, provided
from resilient_foundry.harness.record import Fate, prune, record
from resilient_foundry.harness.subject import Started, Taped
from resilient_foundry.harness.tapes import hygiene
from resilient_foundry.harness.verdict import Verdict
from resilient_foundry.harness.verify import run
from tests.harness.subjects import promise

CONTRACTS = collect(provided("contracts"), only=["chat.answers_in_one_object", "models.lists_models"])


@pytest.fixture(scope="module")
def started() -> Iterator[Started]:
    """The real 2.2.1."""
    with Started("2.2.1") as started:
        yield started


def test_a_tape_says_what_the_runtime_said_and_is_kept_while_nothing_changes(started: Started, tmp_path: Path) -> None:
    """Recording twice changes no byte, though ids, ports and times were others."""
    first = record(CONTRACTS, started, tmp_path)
    assert [each.fate for each in first] == [Fate.NEW, Fate.NEW]
    written = [each.path.read_bytes() for each in first]
    assert [list(hygiene.problems(each.path)) for each in first] == [[], []]
    taped = Taped(tmp_path / "foundry-local-2.2.1")
    assert [run(each, taped).verdict for each in CONTRACTS] == [Verdict.HELD, Verdict.HELD]
    second = record(CONTRACTS, started, tmp_path)
    assert [each.fate for each in second] == [Fate.UNCHANGED, Fate.UNCHANGED]
    assert [each.path.read_bytes() for each in second] == written


def test_a_tape_that_would_prove_something_else_is_refused(started: Started, tmp_path: Path) -> None:
    """What a contract learns elsewhere is not on the tape."""
    asked: list[str] = []

    def fickle(session: Session) -> None:
        asked.append("once more")
        session.get("/status" if len(asked) == 1 else "/models/loaded")

    (done,) = record([promise(fickle, name="status.fickle")], started, tmp_path)
    assert done.fate is Fate.REFUSED
    assert done.reason.startswith("live it is held; from the tape it is not recorded")
    assert not done.path.exists()


def test_tapes_of_contracts_that_are_gone_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "foundry-local-2.2.1"
    kept, gone = folder / "chat" / "answers_in_one_object.yaml", folder / "old" / "promise.yaml"
    for path in (kept, gone):
        path.parent.mkdir(parents=True)
        path.write_text("")
    assert [each.path for each in prune(CONTRACTS, folder)] == [gone]
    assert kept.exists()
    assert not gone.parent.exists()
