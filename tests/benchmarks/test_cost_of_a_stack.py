"""The benchmark runs, and tells what it measured; what a request costs in time is not judged here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.cost_of_a_stack import BARE, PLACES, WAYS, Cell, answer, table

BENCHMARK = ("-W", "error", "-m", "benchmarks.cost_of_a_stack")


def test_every_contender_is_measured_in_every_way_that_it_knows(tmp_path: Path) -> None:
    """Both libraries, both colours, all places; and a picture, where one is asked for."""
    picture = tmp_path / "cost.svg"
    ran = subprocess.run(
        [sys.executable, *BENCHMARK, "--rounds", "1", "--json", "--plot", str(picture)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    told = json.loads(ran.stdout)
    cells = {
        (cell["place"], cell["library"], cell["colour"], cell["contender"]): cell["ratio"] for cell in told["cells"]
    }
    assert told["rounds"] == 1
    assert set(cells) == {
        (place, library, colour, name)
        for place in PLACES
        for library, colour in WAYS
        for name in PLACES[place].contenders(colour)
    }
    assert {ratio for (*_, name), ratio in cells.items() if name == BARE} == {1.0}
    assert "<svg" in picture.read_text(encoding="utf-8")


def test_the_answer_is_one_sentence_with_numbers() -> None:
    """A reader who stops after the first line knows it."""
    assert answer(measured()) == (
        "The standard stack adds 50 to 50 µs to a request, 20 to 20 % of one over loopback; "
        "all policies together add 50 to 50 µs."
    )


def test_the_table_has_a_row_for_each_contender_of_each_place() -> None:
    """With a cell for each way that it knows: `Hedge` has none where code is synchronous."""
    rows = table(measured()).splitlines()
    assert len(rows) == sum(1 + len(place.contenders("async")) for place in PLACES.values()) + len(PLACES) - 1
    assert {row.split()[0]: row.count("+50 µs 1.20x") for row in rows if "µs" in row} == {
        name.split()[0]: 0 if name == BARE else 4 if name in PLACES["memory"].contenders("sync") else 2
        for name in PLACES["memory"].contenders("async")
    }


def measured() -> list[Cell]:
    """Every contender costs 50 µs."""
    return [
        Cell(place, library, colour, name, microseconds=300.0, added=0.0 if name == BARE else 50.0, ratio=1.2)
        for place in PLACES
        for library, colour in WAYS
        for name in PLACES[place].contenders(colour)
    ]
