"""The benchmark runs, and its arithmetic is right; which pool is better is not judged here."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from benchmarks.crowd import HTTPX, HTTPX2, Pool
from benchmarks.pool_sweep import AT_ONCE, CLOSED, OPEN, SLOTS, SLOW, Cell, answer, cells, knee, table
from benchmarks.question import Figures

ROOT = Path(__file__).parents[2]
MEASURE = """
import json
from benchmarks.crowd import Pool
from benchmarks.pool_sweep import AT_ONCE, Cell, measured
limited = Cell("plane", "httpx2", 4, Pool.of(2), AT_ONCE, limited=True)
unkept = Cell("around", "httpx2", 2, Pool(2, 0), AT_ONCE)
print(json.dumps(measured([limited, unkept], least=0.1, frozen_for=0.1)))
"""


def test_a_cell_says_what_the_server_counted() -> None:
    """Two connections that are kept are open once it has warmed up; where none may be kept, each request opens one."""
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", MEASURE], capture_output=True, text=True, check=True, cwd=ROOT
    )
    limited, unkept = json.loads(ran.stdout)["cells"]
    assert (limited["connections"], limited["reuse"]) == (0, 1.0)
    assert unkept["connections"] == unkept["asked"]
    assert limited["errors"] == unkept["errors"] == {}
    assert limited["wait_p50"] <= limited["p50"]


def test_the_knee_has_the_fewest_connections_that_are_as_good_as_any() -> None:
    """Within five of a hundred; a few more answers are not worth twice the connections."""
    found = [cell(HTTPX, connections, rate) for connections, rate in ((4, 50.0), (8, 96.0), (16, 100.0), (32, 60.0))]
    best = knee(found)
    assert best is not None
    assert best["pool"]["connections"] == 8


def test_nothing_has_no_knee() -> None:
    """A part may not have been measured."""
    assert knee([]) is None


@pytest.mark.parametrize(
    ("callers", "connections", "service", "seconds"),
    [(8, 8, AT_ONCE, 0.8), (128, 128, SLOW, 0.8), (128, 16, SLOW, 1.2), (128, 1, SLOW, 3.0), (32, 16, SLOTS, 0.8)],
)
def test_a_cell_lasts_some_turns_of_everybody(callers: int, connections: int, service: str, seconds: float) -> None:
    """Else the p99 would be that of those who came first; and none lasts for ever."""
    assert Cell("plane", HTTPX, callers, Pool.of(connections), service).seconds(0.8) == pytest.approx(seconds)


def test_no_cell_is_measured_twice() -> None:
    """What it came to is kept by what it is."""
    planned = cells()
    assert len(set(planned)) == len(planned)


def test_the_answer_is_one_sentence_with_numbers() -> None:
    """A reader who stops after the first line knows it."""
    assert answer(found()) == (
        "The fewest connections that are as good as any for 128 callers and a server of 50 ms: "
        "httpx 8 (150/s, p99 850 ms); httpx2 32 (600/s, p99 850 ms)."
    )


def test_the_table_has_a_part_for_each_that_was_measured_and_says_what_is_missing() -> None:
    """A part that was not measured leaves no heading behind."""
    text = table(found())
    assert "| connections, a server that answers after 50 ms | httpx, 128 callers | httpx2, 128 callers |" in text
    assert "| 8 | 150/s, 850 ms |  |" in text
    assert f"| {OPEN} | 9 | 1 | 295 | 300 |" in text
    assert "hypercorn" not in text
    assert text.endswith("Left out, since they are not installed: HTTP/2.")


def cell(kind: str, connections: int, rate: float) -> Figures:
    """One of the plane, and what came of it."""
    told: dict[str, Any] = {"rate": rate, "p50": 0.8, "p95": 0.84, "p99": 0.85, "p99.9": 0.9, "cpu": 5e-4, "asked": 9}
    counted: dict[str, Any] = {"errors": {}, "connections": 0, "reuse": 1.0, "wait_p50": 0.7, "wait_p99": 0.8}
    return {**asdict(Cell("plane", kind, 128, Pool.of(connections), SLOW)), **told, **counted}


def found() -> Figures:
    """A small sweep."""
    seen = {"p50": 0.001, "p99": 0.295, "p99.9": 0.3, "asked": 9}
    return {
        "cells": [cell(HTTPX, 8, 150.0), cell(HTTPX, 32, 150.0), cell(HTTPX2, 16, 300.0), cell(HTTPX2, 32, 600.0)],
        "omission": {CLOSED: seen, OPEN: seen},
        "left_out": ["HTTP/2"],
    }
