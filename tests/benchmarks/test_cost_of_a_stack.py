"""The benchmark runs, and tells what it measured; what a request costs in time is not judged here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.cost_of_a_stack import BARE, PLACES, WAYS


def benchmark(*arguments: str) -> str:
    """What the benchmark prints."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "benchmarks.cost_of_a_stack", "--rounds", "1", *arguments],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    ).stdout


def test_every_contender_is_measured_in_every_way_that_it_knows(tmp_path: Path) -> None:
    """Both libraries, both colours, all places; and a picture, where one is asked for."""
    picture = tmp_path / "cost.svg"
    told = json.loads(benchmark("--json", "--plot", str(picture)))
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


def test_the_answer_is_one_sentence_before_the_table() -> None:
    """A reader who stops after the first line knows it."""
    first, empty, *_ = benchmark("--seconds", "0").splitlines()
    assert first.startswith("The standard stack adds ")
    assert first.endswith(" µs.")
    assert first.count(".") == 1
    assert not empty
