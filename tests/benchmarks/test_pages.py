"""Pages say what the committed figures say; nothing is measured to see it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.goals import GOALS, table
from benchmarks.pages import DOCS, figures_of, filled, question, shown

PAGES = [page for page in sorted(DOCS.glob("*.md")) if shown(page.read_text(encoding="utf-8"))]
FIGURES = sorted((DOCS / "figures").glob("*.json"))
BASELINE = Path(__file__).with_name("work_of_a_stack-3.11.json")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_says_what_was_measured(page: Path) -> None:
    """Else a reader is told of a version that is no more. If this fails: python -m benchmarks.pages."""
    text = page.read_text(encoding="utf-8")
    assert filled(text, DOCS) == text


@pytest.mark.parametrize("file", FIGURES, ids=lambda file: file.stem)
def test_what_was_measured_was_measured_in_full_and_is_drawn(file: Path) -> None:
    """Quick figures say that a benchmark works, and nothing else."""
    assert not json.loads(file.read_text(encoding="utf-8"))["quick"]
    drawn = {path.name for path in (DOCS / "pictures").glob(f"{file.stem}-*.svg")}
    expected = {f"{file.stem}-light.svg", f"{file.stem}-dark.svg"} if question(file.stem).draw else set[str]()
    assert drawn == expected


def test_a_block_has_the_question_its_answer_and_its_table(tmp_path: Path) -> None:
    """And where they come from; what stood there before is gone, and the rest of the page is left alone."""
    (tmp_path / "figures").mkdir()
    (tmp_path / "pictures").mkdir()
    (tmp_path / "figures" / BASELINE.name.replace("-3.11", "")).write_text(BASELINE.read_text(encoding="utf-8"))
    (tmp_path / "pictures" / "work_of_a_stack-light.svg").touch()
    page = "before\n\n<!-- figures: work_of_a_stack -->\nold\n\nolder\n<!-- end -->\n\nafter\n"
    first, *within, last = filled(page, tmp_path).split("\n\n")
    assert first == "before"
    assert within[0].startswith(
        "<!-- figures: work_of_a_stack -->\n**How much runs for a request?** Five policies add "
    )
    assert within[1].startswith("<picture>")
    assert any(part.startswith("| Python calls added to a request, two bytes | httpx sync |") for part in within)
    assert "*Python 3.11." in within[-1]
    assert within[-1].endswith("\n<!-- end -->")
    assert last == "after\n"
    assert filled(filled(page, tmp_path), tmp_path) == filled(page, tmp_path)


def test_what_was_not_measured_says_so_and_how_it_can_be(tmp_path: Path) -> None:
    """Nothing is left blank."""
    page = filled("<!-- figures: refusals -->\n<!-- end -->\n", tmp_path)
    assert "\nNot measured yet: `python -m benchmarks.pages --measure refusals`.\n" in page


def test_a_block_may_show_one_part(tmp_path: Path) -> None:
    """A function of the benchmark says what."""
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "work_of_a_stack.json").write_text(BASELINE.read_text(encoding="utf-8"))
    page = filled("<!-- figures: work_of_a_stack.answer -->\n<!-- end -->\n", tmp_path)
    assert page.splitlines()[1].startswith("Five policies add ")
    assert page.count("\n") == 3


def test_a_block_of_no_benchmark_is_an_error(tmp_path: Path) -> None:
    """Rather than a page with a hole in it."""
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "race.json").write_text(BASELINE.read_text(encoding="utf-8"))
    with pytest.raises(ValueError, match=r"race is no benchmark: benchmarks/race\.py has no QUESTION"):
        filled("<!-- figures: race -->\n<!-- end -->\n", tmp_path)


def test_figures_to_reach_are_compared_with_what_was_measured() -> None:
    """A row for each; those whose benchmark has not run say so."""
    figures = json.loads(BASELINE.read_text(encoding="utf-8"))["figures"]
    calls = next(goal for goal in GOALS if "Python calls" in goal.what)
    few, many = (
        {
            path: {way: {**of, "five policies": count} for way, of in ways.items()}
            for path, ways in figures["calls"].items()
        }
        for count in (60, 61)
    )
    rows = [row for row in table({"work_of_a_stack": {**figures, "calls": few}}).splitlines() if calls.what in row]
    assert rows == [f"| {calls.what} | at most 60 | 60 to 60 | yes | 261 |"]
    assert calls.seen({**figures, "calls": many}) == ("61 to 61", False)
    assert table({}).count("| not measured |") == len(GOALS)


def test_every_figure_that_a_page_shows_is_of_a_benchmark() -> None:
    """Those that were measured; a page may ask for one that is still to be."""
    assert set(figures_of(DOCS)) <= {name for page in PAGES for name in shown(page.read_text(encoding="utf-8"))}
