"""`resilient-foundry drift`: tapes that ship, a server that runs, and what goes wrong."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from resilient_foundry.foundry.runtime import LocalRuntime
from resilient_foundry.harness.contract import collect, provided
from resilient_foundry.harness.drift import Drift, Grade, drift
from resilient_foundry.harness.evidence import Chunk
from resilient_foundry.harness.subject import Started, Taped
from resilient_foundry.harness.tapes import Tape
from tests.cli.conftest import Command
from tests.servers import closed_port

TAPES = provided("cassettes")


@pytest.fixture(scope="module")
def generations() -> Drift:
    """From 1.2.4 to 2.2.1, by their tapes."""
    before, after = Taped(TAPES / "foundry-local-1.2.4"), Taped(TAPES / "foundry-local-2.2.1")
    return drift(before, after, collect(provided("contracts")))


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("POST /v1/chat/completions", "the status is 400, not 500"),
        ("GET /models/load/{} 200", "the body is object, not nothing"),
        ("POST /v1/chat/completions, content events", "usage is gone"),
        ("POST /v1/chat/completions 200", "IsDelta is gone"),
        ("POST /v1/chat/completions 200", "choices[].delta is gone"),
        (
            "POST /v1/chat/completions",
            (
                "a failure is an event within a stream that ends properly, "
                "and cut the connection before (RemoteProtocolError)"
            ),
        ),
    ],
)
def test_the_generations_differ_in_what_is_known(generations: Drift, where: str, says: str) -> None:
    """The differences over which clients have stumbled, each with what both servers sent."""
    (found,) = [each for each in generations.of(Grade.BREAKING) if (each.where, each.says) == (where, says)]
    assert found.before is not None
    assert found.after is not None


def test_the_server_says_what_it_is(generations: Drift) -> None:
    assert "server is oatpp/1.3.0, and was Kestrel" in {each.says for each in generations.findings}


@pytest.mark.parametrize("version", ["1.2.4", "2.2.1"])
def test_a_tape_has_not_drifted_from_itself(command: Command, version: str) -> None:
    ran = command("drift", version, f"foundry-local-{version}", "--json")
    assert (ran.code, ran.json["grade"], ran.json["findings"]) == (0, "compatible", [])
    assert ran.json["compared"] > 300


def test_the_real_runtime_has_not_drifted_from_its_tapes() -> None:
    """The tapes still say what the runtime does: same verdicts, shapes, order of events and heads."""
    contracts = collect(provided("contracts"), only=("chat", "models", "usage", "formats"))
    with Started("2.2.1") as live:
        found = drift(Taped(TAPES / "foundry-local-2.2.1"), live, contracts)
    assert found.compared > 50
    told = found.of(Grade.BREAKING) + found.of(Grade.SUSPICIOUS)
    # A runtime that is kept waiting, as by a busy machine, fills its silences with comments.
    assert [each for each in told if each.says != "the stream holds comments, and held no comments"] == []


def test_a_server_that_runs_is_asked_what_it_can_be_asked(command: Command, runtime: LocalRuntime, few: Path) -> None:
    """It is not ours, and has one model: what it can't be asked is counted."""
    ran = command("drift", "2.2.1", runtime.url, "--contracts", str(few))
    assert ran.code == 0, ran
    conclusion = ran.out.splitlines()[-1]
    assert conclusion.startswith("foundry-local 2.2.1 to foundry-local 2.2.1: compatible, a client of the first ")
    assert re.search(r"\d+ contracts; \d+ could not be asked of both\)$", conclusion)


def test_what_breaks_comes_first_and_is_an_exit_code(command: Command, few: Path) -> None:
    """A build that upgrades a server can stop there."""
    ran = command("drift", "1.2.4", str(TAPES / "foundry-local-2.2.1"), "--contracts", str(few))
    lines = ran.out.splitlines()
    assert ran.code == 3, ran
    assert lines[0].startswith("breaking: ")
    assert lines[-1].startswith("foundry-local 1.2.4 to foundry-local 2.2.1: breaking, a client of the first can fail ")
    assert any(line.startswith("  IsDelta is gone — ") for line in lines)
    places = [lines.index(next(line for line in lines if line.startswith(each))) for each in ("breaking", "compatible")]
    assert places == sorted(places)


def test_only_the_areas_that_are_asked_for(command: Command, few: Path) -> None:
    """The exit code is about those alone."""
    ran = command("drift", "1.2.4", "2.2.1", "--contracts", str(few), "--only", "framing", "--json")
    assert ran.code == 0, ran
    assert {each["area"] for each in ran.json["findings"]} == {"framing"}
    assert ran.json["grade"] in {"compatible", "suspicious"}


def test_what_a_server_calls_its_members_stays_on_a_line_and_moves_no_cursor(
    command: Command, few: Path, tmp_path: Path
) -> None:
    name = "chat/answers_in_one_object.yaml"
    tape = Tape.load(TAPES / "foundry-local-2.2.1" / name)
    strange = b'{"\\u001b[2J\\n[red]":1,'
    exchanges = [
        replace(each, response=replace(each.response, chunks=(Chunk(0.0, strange + each.response.body[1:]),)))
        for each in tape.exchanges
        if each.response is not None
    ]
    replace(tape, exchanges=tuple(exchanges)).save(tmp_path / "foundry-local-2.2.1" / name)
    ran = command("drift", "2.2.1", str(tmp_path / "foundry-local-2.2.1"), "--contracts", str(few))
    assert "  \\u001b[2J [red] is new — POST /v1/chat/completions 200" in ran.out.splitlines()


def test_json_holds_the_evidence_and_no_bodies(command: Command, few: Path) -> None:
    ran = command("drift", "1.2.4", "2.2.1", "--contracts", str(few), "--json")
    worst: dict[str, Any] = ran.json["findings"][0]
    assert ran.code == 3
    assert worst["grade"] == "breaking"
    assert set(worst["before"]) == set(worst["after"]) == {"request", "status", "headers", "bytes", "ended"}


def test_a_server_that_can_not_be_reached(command: Command) -> None:
    """An exit code of its own: nothing is known about drift then."""
    ran = command("drift", "2.2.1", closed_port())
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("resilient-foundry: nothing usable answers at http://127.0.0.1:")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            ("2.2.1", "9.9"),
            "'9.9' is no URL, no folder of tapes, and no version with tapes; those are 1.2.4, 2.0.1, 2.2.1",
        ),
        (("2.2.1", "../2.2.1"), "'../2.2.1' is no URL, no folder of tapes, and no version with tapes"),
        (("2.2.1", "http://"), "URL is 'http://'"),
        (("2.2.1", "2.0.1", "--only", "times"), "--only is 'times'; it takes verdicts, answers, shapes, streams, "),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_sentence(
    command: Command, arguments: tuple[str, ...], complaint: str
) -> None:
    assert command("drift", *arguments).complaint.startswith(complaint)


def test_nothing_compared_is_not_compatible(command: Command, tmp_path: Path, few: Path) -> None:
    """A folder without tapes must not pass for a server without drift."""
    empty = tmp_path / "foundry-local-2.2.1"
    empty.mkdir()
    assert command("drift", str(empty), "2.2.1", "--contracts", str(few)).complaint.startswith(
        "nothing can be compared: "
    )


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """A folder with the contracts about chats, models and usage alone, which take a second."""
    folder = tmp_path / "few"
    folder.mkdir()
    for name in ("chat.py", "models.py", "usage.py"):
        shutil.copy(provided("contracts") / name, folder)
    return folder
