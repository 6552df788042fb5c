"""`resilient-foundry verify`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from resilient_foundry.foundry.runtime import RESILIENCE, LocalRuntime
from resilient_foundry.harness.tapes import Tape
from tests.cli.command import Ran
from tests.cli.conftest import Command
from tests.harness.subjects import SENT, exchange
from tests.servers import Server, closed_port, replies

OWN = '''
from resilient_foundry.harness import MAY, MUST, OWN, SHOULD, contract

@contract(MUST)
def answers(session):
    """It answers."""
    session.get("/status").status(200)

@contract({level})
def brews(session):
    """It brews coffee (RFC 2324)."""
    session.get("/coffee").status(418)

@contract(MUST, needs=OWN)
def is_ours(session):
    """It is ours."""
    session.get("/models/unload/" + session.alias())
'''


def folder_of(tmp_path: Path, level: str) -> Path:
    """A folder with contracts of somebody's own, of which one is broken everywhere."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "mine.py").write_text(OWN.format(level=level))
    return folder


def unsaid(ran: Ran) -> str:
    """The one line of a command that could not ask anybody: its exit code is 2."""
    assert (ran.code, ran.out) == (2, ""), ran
    assert ran.err.startswith("resilient-foundry: "), ran
    assert ran.err.count("\n") == 1, ran
    return ran.err.removeprefix("resilient-foundry: ").rstrip("\n")


def test_where_every_must_is_kept_it_says_so_and_exits_0(
    command: Command, runtime: LocalRuntime, tmp_path: Path
) -> None:
    """What a SHOULD is broken by is told all the same."""
    ran = command("verify", runtime.url, "--contracts", str(folder_of(tmp_path, "SHOULD")))
    assert (ran.code, ran.err) == (0, "")
    assert [line.split() for line in ran.out.splitlines()[2:5]] == [
        ["area", "held", "broken", "not", "exercised"],
        ["mine", "1", "1", "1"],
        ["all", "1", "1", "1"],
    ]
    assert ran.out.startswith("broken SHOULD mine.brews: GET /coffee: the status is 404, not 418")
    assert ran.out.endswith(
        "foundry-local 2.2.1 (live) keeps every contract that it must. 1 of 3 were not exercised.\n\n"
    )


def test_where_a_must_is_broken_it_exits_1(command: Command, runtime: LocalRuntime, tmp_path: Path) -> None:
    ran = command("verify", runtime.url, "--contracts", str(folder_of(tmp_path, "MUST")))
    assert ran.code == 1
    assert "Of 3 contracts foundry-local 2.2.1 (live) breaks 1 that it must keep." in ran.out


def test_a_server_that_is_not_ours_is_changed_only_where_that_is_said(
    command: Command, runtime: LocalRuntime, tmp_path: Path
) -> None:
    folder = folder_of(tmp_path, "MAY")
    (folder / "mine.py").write_text((folder / "mine.py").read_text().replace("unload", "load"))
    arguments = ("verify", runtime.url, "--contracts", str(folder), "--only", "mine.is_ours", "--json")
    assert command(*arguments).json["verifications"][0]["counts"]["not exercised"] == 1
    assert command(*arguments, "--may-change").json["verifications"][0]["counts"]["held"] == 1


def test_the_contracts_that_come_with_the_package_are_asked_of_the_service_that_is_found(
    command: Command, runtime: LocalRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOUNDRY_LOCAL_ENDPOINT", runtime.url + "/v1")
    ran = command("verify", "--only", "chat.answers_in_one_object", "--model", f"chat={RESILIENCE.id}")
    assert (ran.code, ran.out.splitlines()[1].split()) == (0, ["chat", "1"])


def test_json_is_the_report(command: Command, runtime: LocalRuntime, tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "MUST")
    ran = command("verify", runtime.url, "--contracts", str(folder), "--runtime-version", "2.0.1", "--json")
    (verified,) = ran.json["verifications"]
    assert (ran.code, verified["holds"], verified["runtime"]["version"]) == (1, False, "2.0.1")
    assert [each["verdict"] for each in verified["outcomes"]] == ["held", "broken", "not exercised"]


def test_reports_are_written_where_they_are_wanted(command: Command, runtime: LocalRuntime, tmp_path: Path) -> None:
    folder, to = folder_of(tmp_path, "MAY"), tmp_path / "out"
    ran = command(
        "verify", runtime.url, "--contracts", str(folder), "--report", "html,junit,json,md", "--report-to", str(to)
    )
    assert sorted(each.name for each in to.iterdir()) == [
        "contracts.html",
        "contracts.json",
        "contracts.md",
        "contracts.xml",
    ]
    assert ran.out.endswith(f"wrote {to / 'contracts.md'}\n")
    assert json.loads((to / "contracts.json").read_text())["verifications"][0]["counts"]["broken"] == 1


def test_the_real_runtime_is_started_for_it(command: Command) -> None:
    """And contracts are asked that change or end a server."""
    ran = command(
        "verify", "--runtime", "2.2.1", "--only", "shutdown.serves_no_more", "--only", "status.answers", "--json"
    )
    (verified,) = ran.json["verifications"]
    assert verified["holds"] is (ran.code == 0)
    assert {each["verdict"] for each in verified["outcomes"]} & {"not exercised", "not recorded"} == set()
    assert "alone" in {need for each in verified["outcomes"] for need in each["needs"]}


def test_tapes_of_a_folder_are_asked_runtime_by_runtime(command: Command, tmp_path: Path) -> None:
    for version in ("1.2.4", "2.2.1"):
        Tape((exchange(sent=SENT),)).save(tmp_path / "tapes" / f"foundry-local-{version}" / "mine" / "asks.yaml")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "mine.py").write_text(
        "from resilient_foundry.harness import MUST, contract\n\n@contract(MUST)\ndef asks(session):\n"
        "    'It answers.'\n    session.post('/v1/chat/completions', json={'model': 'm'}).status(200)\n"
    )
    ran = command("verify", "--tapes", str(tmp_path / "tapes"), "--contracts", str(tmp_path / "own"))
    assert (ran.code, ran.err) == (0, "")
    assert [line for line in ran.out.splitlines() if line.endswith("(tapes)")] == [
        "foundry-local 1.2.4 (tapes)",
        "foundry-local 2.2.1 (tapes)",
    ]
    assert command("verify", str(tmp_path / "tapes" / "foundry-local-1.2.4"), "--tapes", "--only", "chat.a").code == 1


def test_drawn_values_are_asked_too(command: Command, runtime: LocalRuntime) -> None:
    ran = command("verify", runtime.url, "--only", "chat.answers_in_one_object", "--fuzz", "5", "--json")
    (verified,) = ran.json["verifications"]
    assert verified["way"] == "fuzz"
    assert verified["outcomes"][0]["examples"] >= 5


def test_a_port_on_which_nobody_listens(command: Command) -> None:
    url = closed_port()
    assert unsaid(command("verify", url)).startswith(f"nothing usable answers at {url} (")


def test_a_server_that_is_no_foundry(command: Command) -> None:
    with Server(replies(404)) as server:
        assert "is no Foundry Local (GET /status: 404)" in unsaid(command("verify", server.url))


def test_no_service_anywhere(command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What was tried, and what to type."""
    monkeypatch.setenv("PATH", str(tmp_path))
    complaint = unsaid(command("verify"))
    assert complaint.startswith("no Foundry Local service was found: FOUNDRY_LOCAL_ENDPOINT is not set")
    assert complaint.endswith("or name its URL: verify URL")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("nonsense",), "URL is 'nonsense', which is no http://"),
        (("--runtime", "9.9"), "version '9.9' of Foundry Local is not known here"),
        (("--runtime", "2.2.1", "http://127.0.0.1:1"), "--runtime starts a server of its own; name no URL"),
        (("--tapes", "nowhere"), "nowhere holds no tapes"),
        (("--tapes", "--may-change"), "--model, --may-change and --runtime-version are about a server at a URL"),
        (("--tapes", "--report", "md", "--report-to", __file__), f"[Errno 17] File exists: '{__file__}'"),
        (("http://127.0.0.1:1", "--runtime-version", "new"), "--runtime-version is 'new'; it takes a version such as"),
        (("http://me:secret@127.0.0.1:1",), "URL holds a user name or password; use FOUNDRY_API_KEY"),
        (("--contracts", "nowhere"), "nowhere holds no contracts"),
        (("--only", "nothing"), "no contract begins with 'nothing'; the areas are "),
        (("--report", "pdf"), "there is no report 'pdf'; it takes html, junit, json, md"),
        (
            ("http://127.0.0.1:1", "--model", "judge=x"),
            "--model is 'judge=x'; it takes PART=ID, and the parts are chat, ",
        ),
        (("http://127.0.0.1:1", "--model", "chat"), "--model is 'chat'; it takes PART=ID"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",  # pyright: ignore[reportUnknownArgumentType, reportUnknownLambdaType] - pytest's
)
def test_arguments_that_make_no_sense(command: Command, arguments: tuple[str, ...], sentence: str) -> None:
    assert unsaid(command("verify", *arguments)).startswith(sentence)


@pytest.mark.parametrize(
    ("module", "arguments"),
    [("vcr.serialize", ("--tapes",)), ("hypothesis", ("http://127.0.0.1:1",)), ("numpy", ("--runtime", "2.2.1"))],
)
def test_an_extra_that_is_not_installed(
    command: Command, monkeypatch: pytest.MonkeyPatch, module: str, arguments: tuple[str, ...]
) -> None:
    """One sentence, that ends with the command that installs it."""
    package = module.partition(".")[0]
    for each in {package, module}:
        monkeypatch.setitem(sys.modules, each, None)
    complaint = unsaid(command("verify", *arguments))
    assert complaint.startswith(f"this needs the package '{package}', which is not installed; install it with: ")
