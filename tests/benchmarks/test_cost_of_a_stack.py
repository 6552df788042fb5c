"""The benchmark runs, and tells what it measured; what a request costs is not judged here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.cost_of_a_stack import BARE, CONTENDERS, REQUESTS, WAYS


def benchmark(*arguments: str) -> str:
    """What the benchmark prints."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "benchmarks.cost_of_a_stack", "--rounds", "2", *arguments],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    ).stdout


def test_every_contender_is_measured_in_every_way(tmp_path: Path) -> None:
    """Both libraries, both colours, both transports; and a picture, where one is asked for."""
    picture = tmp_path / "cost.svg"
    told = json.loads(benchmark("--json", "--plot", str(picture)))
    cells = {
        (cell["transport"], cell["library"], cell["colour"], cell["contender"]): cell["ratio"] for cell in told["cells"]
    }
    assert told["rounds"] == 2
    assert set(cells) == {(transport, *way, name) for transport in REQUESTS for way in WAYS for name in CONTENDERS}
    assert {ratio for (*_, name), ratio in cells.items() if name == BARE} == {1.0}
    assert "<svg" in picture.read_text(encoding="utf-8")


def test_the_answer_is_one_sentence_before_the_table() -> None:
    """A reader who stops after the first line knows it."""
    first, empty, *_ = benchmark("--seconds", "0").splitlines()
    assert first.startswith("The standard stack adds ")
    assert first.endswith(" % of one over loopback.")
    assert not empty
