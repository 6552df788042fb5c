"""`resilient-foundry bench`: questions are listed, asked, and those that can't be answered are named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.command import run

ASKED = "work_of_a_stack"
"""The one that looks at no clock."""
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_every_benchmark_is_listed_with_what_it_asks() -> None:
    """Whoever adds a file with a question need not write it down elsewhere."""
    files = {path.stem for path in BENCHMARKS.glob("*.py") if "\nQUESTION = " in path.read_text(encoding="utf-8")}
    told = run("bench", "--list", "--json").json["benchmarks"]
    assert ASKED in files
    assert {each["name"] for each in told} == files
    assert all(each["asked"].endswith("?") for each in told)
    assert run("bench", "--list", ASKED).out == f"{ASKED}  How much runs for a request?\n"


def test_an_answer_is_a_sentence_and_its_figures_are_kept(tmp_path: Path) -> None:
    """With pictures, where a folder is named."""
    ran = run("bench", ASKED, "--quick", "--out", str(tmp_path))
    assert (ran.code, ran.err) == (0, "")
    kept = json.loads((tmp_path / f"{ASKED}.json").read_text(encoding="utf-8"))
    asked, answered, summary = ran.out.splitlines()
    assert asked == f"{ASKED}: How much runs for a request?"
    assert answered == f"  {kept['answer']}"
    assert summary.startswith("1 of 1 questions answered in ")
    assert summary.endswith(" They were measured quickly, and mean little.")
    assert {path.name for path in tmp_path.glob("*.svg")} == {f"{ASKED}-light.svg", f"{ASKED}-dark.svg"}


def test_a_benchmark_that_fails_is_named_and_ends_in_1(tmp_path: Path) -> None:
    """The others go on."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nif 'benchmarks.work_of_a_stack' in sys.orig_argv:\n    raise SystemExit('no room left here')\n"
    )
    ran = run("bench", ASKED, "--json", first=f"import os; os.environ['PYTHONPATH'] = {str(tmp_path)!r}")
    assert (ran.code, ran.json) == (1, {"benchmarks": []})
    assert ran.err.startswith(f"resilient-foundry: {ASKED} could not be answered: ")
    assert ran.err.endswith("no room left here\n")


@pytest.mark.parametrize(
    ("asked", "first", "said"),
    [
        (["nothing_like_it"], "", "there is no benchmark 'nothing_like_it'; there are "),
        ([ASKED], "import sys; sys.modules['matplotlib'] = None", "'resilient-foundry[bench]'"),
    ],
)
def test_what_can_not_be_asked_is_one_sentence(asked: list[str], first: str, said: str) -> None:
    """Before anything is measured."""
    assert said in run("bench", *asked, first=first).complaint
