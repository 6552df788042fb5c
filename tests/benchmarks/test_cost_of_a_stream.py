"""The benchmark runs, and its arithmetic is right; what an event costs is not judged here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.cost_of_a_stream import BULK, BYTES, CONTENDERS, GUARDED, OPENAI, TYPED, answer, contender, table

ROOT = Path(__file__).parents[2]
MEASURE = """
import json, logging
from benchmarks.cost_of_a_stream import BULK, measured
print(json.dumps(measured(rounds=1, seconds=0.0, events=20, pieces=(BULK,), lengths=(50, 100), firsts=2)))
"""


def test_every_contender_is_measured() -> None:
    """In a process of its own each; a round is enough to see it."""
    ran = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True, cwd=ROOT)
    found = json.loads(ran.stdout)
    assert list(found["costs"][BULK]["events"]) == [name for name in CONTENDERS if name not in found["missing"]]
    assert set(found["peaks"]) == {BYTES, GUARDED, TYPED}
    assert all(seconds > 0 for seconds in found["firsts"].values())


@pytest.mark.parametrize("name", [GUARDED, TYPED])
def test_a_turn_reads_the_whole_stream(name: str) -> None:
    """What reads nothing costs nothing; a turn says so."""
    with contender(30, 4, name) as turn:
        assert turn().cpu > 0


def test_the_answer_says_what_was_reached() -> None:
    said = answer(found(typed=3.5))
    assert said.startswith(
        "An event, guarded and typed, costs 3.5 µs more than as bytes (to reach 4: reached); openai's SDK adds 60;"
    )
    assert "(to reach 4: not reached)" in answer(found(typed=4.5))
    assert "| AsyncFoundryClient, as chunks | +3.5 |" in table(found(typed=3.5)).splitlines()


def found(*, typed: float) -> dict[str, Any]:
    """What a run finds, in which a chunk costs so many microseconds."""

    def cost(microseconds: float) -> dict[str, Any]:
        of = {"median": microseconds / 1e6, "low": 0.0, "high": 0.0}
        return {"figure": of, "added": of}

    events = {BYTES: cost(1.5), GUARDED: cost(2.0), TYPED: cost(typed), OPENAI: cost(60.0)}
    return {
        "costs": {BULK: {"trusted": True, "events": events}},
        "lengths": [10_000, 50_000],
        "peaks": {name: [100_000.0, 101_000.0] for name in (BYTES, GUARDED, TYPED)},
        "firsts": {BYTES: 0.001, GUARDED: 0.0011},
        "missing": [],
    }
