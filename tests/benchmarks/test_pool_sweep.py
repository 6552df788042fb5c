"""The benchmark runs, and its arithmetic is right; how fast a pool is is not judged here."""

from __future__ import annotations

from typing import Any

from benchmarks.pool_sweep import FIVE, HTTPX, INSTANT, SHARDS, SLOW, Setting, answer, find, measured, settings, table


def test_what_is_tried_is_served() -> None:
    """Over the library's own pool, and over others; connections are the server's count."""
    chosen = [Setting(HTTPX, INSTANT, 4, 2, 2), Setting(FIVE, SLOW, 8, 4, 4), Setting(SHARDS, SLOW, 8, 16, 16)]
    found = measured(chosen, seconds=0.1, frozen=0.1)
    assert [(cell["client"], cell["errors"]) for cell in found["cells"]] == [
        (one, 0.0) for one in sorted((HTTPX, FIVE, SHARDS))
    ]
    assert all(cell["errors"] == 0.0 for cell in found["versions"] + found["models"])
    (one,) = find(found, client=HTTPX)
    assert one["opened"] == 2
    assert one["reuse"] > 0.5


def test_nothing_is_tried_twice() -> None:
    """A cell of two planes would be measured by both."""
    chosen = list(settings())
    assert len(chosen) == len(set(chosen))


def test_the_answer_names_the_best_and_the_widest() -> None:
    figures = found()
    assert answer(figures).startswith(
        "Few: 128 callers on httpx get 1000 answers a second through 8 connections and 60 through 128; "
        "with 20 of 64 kept httpx reuses 3 % of its connections;"
    )
    rows = table(figures).splitlines()
    assert any(row.startswith("| httpx, 128 callers |") and "1000 (200)" in row for row in rows)


def found() -> dict[str, Any]:
    """What a run finds, of two widths and a pool that keeps too few."""

    def cell(server: str, callers: int, connections: int, kept: int, throughput: float, reuse: float) -> dict[str, Any]:
        return {
            "client": HTTPX,
            "server": server,
            "callers": callers,
            "connections": connections,
            "kept": kept,
            "throughput": throughput,
            "p99": 0.2,
            "reuse": reuse,
            "opened": 9,
            "cpu": 1e-3,
        }

    return {
        "cells": [
            cell(INSTANT, 128, 8, 8, 1000.0, 1.0),
            cell(INSTANT, 128, 128, 128, 60.0, 1.0),
            cell(SLOW, 64, 64, 20, 700.0, 0.03),
        ],
        "loops": {"closed": {"p50": 0.002, "p99": 0.002}, "open": {"p50": 0.004, "p99": 0.295}},
        "versions": [],
        "models": [],
        "missing": ["HTTP/2", "Foundry Local"],
    }
