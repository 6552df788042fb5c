"""The benchmark runs, and its answer says what was seen; how long an import takes is not judged here."""

from __future__ import annotations

from benchmarks.cost_of_an_import import BARE, NEEDED, OPENAI, PACKAGE, SOME, STANDARD, Program, answer, measured, table
from benchmarks.question import Figures

OTHER = "another program"


def test_each_program_runs_in_an_interpreter_of_its_own() -> None:
    """What one of them imports, the other has not; and one whose packages are missing is left out and named."""
    programs = {
        PACKAGE: Program("import resilient_foundry"),
        OTHER: Program("import sched", "ask = dict"),
        "missing": Program("import no_such_package_of_ours", needs=("no_such_package_of_ours.part",)),
    }
    found = measured(programs, rounds=1, seconds=0.0)
    assert found["left_out"] == ["missing"]
    assert found["programs"][PACKAGE]["modules"]["median"] == 2
    assert found["programs"][OTHER]["modules"]["median"] == 1
    assert found["programs"][OTHER]["first_request"]["median"] >= 0


def test_the_answer_says_whether_the_figures_were_reached() -> None:
    """That of the import, and that of building a stack, which is what it takes beyond httpx's own client."""
    assert answer(found(package=0.5, build=0.3)) == (
        "`import resilient_foundry` takes 0.5 ms beyond httpx (the figure to reach is 8: reached), and the names of a "
        "stack 40 ms when they are used first; a stack is built over a transport in 0.20 ms (to reach: 0.3: reached)."
    )
    assert "is 8: not reached" in answer(found(package=9.0, build=0.3))
    assert answer(found(package=0.5, build=0.45)).endswith("in 0.35 ms (to reach: 0.3: not reached).")


def test_the_table_has_what_was_measured_and_names_what_was_not() -> None:
    """A row for each import, and one for each client that was built."""
    lines = table(found(package=0.5, build=0.3, left_out=[OPENAI])).splitlines()
    assert "| `import resilient_foundry` | 0.5 (0.5 to 0.5) | 2 | 1.0 |" in lines
    assert "| httpx alone | 20.00 | 0.10 | 3.00 |" in lines
    assert f"| `{STANDARD}` | 20.00 | 0.30 | 3.00 |" in lines
    assert lines[-1] == "Left out, for want of their packages: import openai."


def found(*, package: float, build: float, left_out: list[str] | None = None) -> Figures:
    """What was seen of the programs that the answer is about."""
    imports = {PACKAGE: package, SOME: 40.0}
    programs = {
        name: {
            "import": exact(imports.get(name, 0.0)),
            "modules": exact(2),
            "megabytes": exact(1.0),
            "first_build": exact(20.0),
            "build": exact(0.1 if name == BARE else build),
            "first_request": exact(3.0),
        }
        for name in NEEDED
    }
    return {"left_out": left_out or [], "programs": programs}


def exact(figure: float) -> dict[str, float]:
    """A figure of which nothing strays."""
    return {"median": figure, "low": figure, "high": figure}
