"""`pytest --foundry-url URL`, in a folder that holds nothing."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from resilient_foundry import signal
from resilient_foundry.foundry.deviations import deviations
from resilient_foundry.harness.tapes import Tape
from tests.harness.subjects import SENT, STATUS, exchange, pages
from tests.servers import Server, closed_port
from tests.test_imports import modules_after

pytest_plugins = ["pytester"]

# pytester forgets whatever a run imports first, and neither onnx, nor libyaml, nor our classes can be had twice.
for module in ("onnx", "vcr.serializers.yamlserializer", "vcr.serialize", "resilient_foundry.harness.items"):
    importlib.import_module(module)

OWN = '''
from resilient_foundry.harness import MAY, MUST, OWN, SHOULD, contract

@contract(MUST)
def answers(session):
    """It answers."""
    session.get("/status").status(200)

@contract(MUST)
def brews(session):
    """It brews coffee (RFC 2324)."""
    session.post("/coffee", json={"milk": True}).status(418)

@contract(SHOULD)
def brews_tea(session):
    """It brews tea."""
    session.get("/tea").status(418)

@contract(MUST, needs=OWN)
def is_ours(session):
    """It is ours."""

@contract(MUST, versions="<1")
def is_old(session):
    """It is old."""
'''


@pytest.fixture
def server() -> Iterator[Server]:
    """Looks like 2.x."""
    with Server(pages(status=STATUS, models_loaded=["resilience:1"])) as server:
        yield server


@pytest.fixture
def own(pytester: pytest.Pytester) -> Path:
    """Contracts of somebody's own, beside the empty folder that pytest runs in."""
    folder = pytester.path.parent / f"{pytester.path.name}-own" / "own"
    folder.mkdir(parents=True)
    (folder / "mine.py").write_text(OWN)
    return folder


def ran(pytester: pytest.Pytester, *arguments: str | Path) -> pytest.RunResult:
    """A run of pytest, with the plugin as its entry point loads it."""
    return pytester.runpytest("-p", "pytest_resilient_foundry", "-p", "no:randomly", *map(str, arguments))


def test_without_its_options_it_imports_nothing_of_the_package(pytester: pytest.Pytester) -> None:
    """Every run of pytest in the environment pays for it, and coverage misses what was imported before it began."""
    pytester.makepyfile(
        "import sys\ndef test_it():\n"
        "    assert 'pytest_resilient_foundry' in sys.modules\n"
        "    assert 'resilient_foundry' not in sys.modules\n"
        "    import resilient_foundry.signal"
    )
    (pytester.path / ".coveragerc").write_text("[report]\ninclude = */resilient_foundry/signal.py\n")
    arguments = ("--cov=resilient_foundry", "--cov-branch", "--cov-report=json", "-p", "no:randomly")
    pytester.runpytest_subprocess("-p", "pytest_resilient_foundry", *arguments).assert_outcomes(passed=1)
    (found,) = json.loads((pytester.path / "coverage.json").read_text())["files"].values()
    heads = [n for n, line in enumerate(Path(str(signal.__file__)).read_text().splitlines(), 1) if "def " in line]
    assert set(heads) & set(found["missing_lines"]) == set()


def test_it_imports_nothing_at_all() -> None:
    assert modules_after("import pytest_resilient_foundry") - modules_after("import __future__") == {
        "pytest_resilient_foundry"
    }


def test_contracts_are_items_and_their_verdicts_are_outcomes(
    pytester: pytest.Pytester, server: Server, own: Path
) -> None:
    result = ran(pytester, "--foundry-url", server.url, f"--foundry-contracts={own}", "-rA")
    result.assert_outcomes(passed=1, failed=1, xfailed=1, skipped=2)
    result.stdout.fnmatch_lines(
        [
            "collected 5 items",
            "own/mine.py .Fxss*",
            "MUST mine.brews, asked of foundry-local 2.2.1 (live)",
            "    It brews coffee (RFC 2324).",
            "broken: POST /coffee: the status is 404, not 418: with an empty body",
            "POST /coffee",
            '    { "milk": true }',
            "404 Whatever",
            "PASSED own/mine.py::answers",
            "XFAIL own/mine.py::brews_tea - broken: GET /tea: the status is 404, not 418*",
            "FAILED own/mine.py::brews*",
        ]
    )
    result.stdout.fnmatch_lines(["SKIPPED*not exercised: it needs 'own', which is not here"])
    result.stdout.fnmatch_lines(["SKIPPED*outside: it is about versions <1, and this is 2.2.1"])


def test_the_contracts_that_come_with_the_package_are_collected(pytester: pytest.Pytester, server: Server) -> None:
    result = ran(pytester, "--foundry-url", server.url, "--collect-only", "-q")
    result.stdout.fnmatch_lines(["contracts/chat.py::answers_in_one_object"])


@pytest.mark.parametrize("argument", ["own/mine.py::answers", "own/mine.py", "own", "own/"])
def test_an_item_is_run_again_by_the_name_that_was_printed(
    pytester: pytest.Pytester, server: Server, own: Path, argument: str
) -> None:
    """Also where no such file is: contracts are installed somewhere else."""
    result = ran(pytester, "--foundry-url", server.url, f"--foundry-contracts={own}", "-k", "answers", argument)
    result.assert_outcomes(passed=1, deselected=0 if "::" in argument else 4)


def test_the_ledger_is_kept_strictly(pytester: pytest.Pytester, server: Server, own: Path) -> None:
    """A known deviation is an expected failure; one that is gone is a failure."""
    known = iter(line.contract.split(".") for line in deviations() if line.covers(line.contract, "2.2.1"))
    for status in (418, 200):
        area, name = next(known)
        file = own / f"{area}.py"
        before = file.read_text() if file.exists() else "from resilient_foundry.harness import MUST, contract\n"
        check = f"    session.get('/status').status({status})\n"
        file.write_text(f"{before}@contract(MUST)\ndef {name}(session):\n    'It is so.'\n{check}")
    (own / "mine.py").unlink()
    result = ran(pytester, "--foundry-url", server.url, f"--foundry-contracts={own}")
    result.assert_outcomes(xfailed=1, failed=1)
    result.stdout.fnmatch_lines(["fixed: it holds, and the ledger says that it does not: *"])


def test_tests_of_the_folder_run_beside_them(pytester: pytest.Pytester, server: Server, own: Path) -> None:
    pytester.makepyfile("def test_it(): pass")
    result = ran(pytester, "--foundry-url", server.url, f"--foundry-contracts={own}", "-k", "answers or test_it")
    result.assert_outcomes(passed=2, deselected=4)


def test_it_runs_in_parallel(pytester: pytest.Pytester, server: Server, own: Path) -> None:
    result = ran(pytester, "--foundry-url", server.url, f"--foundry-contracts={own}", "-n", "1", "own/mine.py")
    result.assert_outcomes(passed=1, failed=1, xfailed=1, skipped=2)


def test_the_real_runtime_is_started_for_it(pytester: pytest.Pytester, own: Path) -> None:
    result = ran(pytester, "--foundry-runtime", "2.2.1", f"--foundry-contracts={own}", "-k", "answers or is_ours")
    result.assert_outcomes(passed=2, deselected=3)


def test_tapes_of_several_runtimes_have_names_that_differ(pytester: pytest.Pytester, own: Path) -> None:
    asks = "session.post('/v1/chat/completions', json={'model': 'm'})"
    (own / "mine.py").write_text(
        "from resilient_foundry.harness import MUST, contract\n"
        f"@contract(MUST)\ndef asks(session):\n    'It answers.'\n    {asks}\n"
    )
    for version in ("1.2.4", "2.2.1"):
        Tape((exchange(sent=SENT),)).save(own.parent / "tapes" / f"foundry-local-{version}" / "mine" / "asks.yaml")
    result = ran(pytester, f"--foundry-contracts={own}", f"--foundry-tapes={own.parent}/tapes", "-rA")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["PASSED own/mine.py::asks[[]1.2.4-tapes]", "PASSED own/mine.py::asks[[]2.2.1-tapes]"])


@pytest.mark.parametrize("arguments", [("-n", "1"), ()], ids=["in parallel", "in one process"])
def test_the_item_after_the_option_is_not_its_folder(pytester: pytest.Pytester, arguments: tuple[str, ...]) -> None:
    """As one writes it; and it is all that runs, as with any other argument."""
    pytester.makepyfile("def test_it(): pass")
    result = ran(pytester, *arguments, "--foundry-tapes", "contracts/chat.py::answers_in_one_object")
    result.assert_outcomes(passed=3)


@pytest.mark.parametrize("argument", ["test_a.py", "test_a.py::test_it"])
def test_neither_is_a_file_of_tests(pytester: pytest.Pytester, own: Path, argument: str) -> None:
    """What the contracts are is another question."""
    pytester.makepyfile(test_a="def test_it(): pass", test_b="def test_it(): pass")
    result = ran(pytester, f"--foundry-contracts={own}", "-k", "test_it", "--foundry-tapes", argument, "test_b.py")
    result.assert_outcomes(passed=2, deselected=15)


def test_junit_knows_contract_level_and_runtime(pytester: pytest.Pytester, server: Server, own: Path) -> None:
    ran(
        pytester,
        "--foundry-url",
        server.url,
        f"--foundry-contracts={own}",
        "--junit-xml=out.xml",
        "own/mine.py::answers",
    )
    properties = ET.parse(pytester.path / "out.xml").iter("property")  # noqa: S314 - our own
    assert {each.get("name"): each.get("value") for each in properties} == {
        "contract": "mine.answers",
        "level": "MUST",
        "runtime": "foundry-local 2.2.1",
    }


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--foundry-url", "nonsense"), "ERROR: --foundry-url is 'nonsense', which is no http://*"),
        (("--foundry-url", closed_port()), "ERROR: nothing usable answers at http://127.0.0.1:*"),
        (("--foundry-runtime", "9.9"), "ERROR: version '9.9' of Foundry Local is not known here*"),
        (("--foundry-tapes", "nowhere"), "ERROR: nowhere holds no tapes*"),
        (("--foundry-tapes", "--foundry-contracts", "nowhere"), "ERROR: nowhere holds no contracts*"),
    ],
    ids=["no URL", "nobody", "no version", "no tapes", "no contracts"],
)
def test_where_nobody_can_be_asked_one_sentence_says_why(
    pytester: pytest.Pytester, arguments: tuple[str, ...], sentence: str
) -> None:
    result = ran(pytester, *arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([sentence])
    assert "Traceback" not in result.stderr.str()
