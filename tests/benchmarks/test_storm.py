"""A small storm: no call is lost, nothing is left behind, and an outage is not made worse."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import httpx2
import pytest
from opentelemetry.sdk.trace import TracerProvider

from benchmarks.storm import Report, Spans, everything, plot, storm, told
from benchmarks.stormy_server import stormy
from resilient_foundry import RetryBudget
from resilient_foundry.testing import no_leaks

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # sockets that the server resets, of asyncio's own


def small(library: ModuleType) -> Report:
    """Some hundred calls in some seconds, of which a tenth may be repeated."""
    spans = Spans()
    provider = TracerProvider()
    provider.add_span_processor(spans)
    stack = everything(provider, RetryBudget(share=0.1, floor=0.0, window=60.0))
    settings: dict[str, Any] = {"contender": "small", "callers": 40, "seconds": 2.5, "every": 0.4}
    with stormy() as server, no_leaks():
        return asyncio.run(storm(server, stack, library=library, spans=spans, **settings))


@pytest.mark.parametrize("library", [httpx, httpx2], ids=lambda module: module.__name__)
def test_no_call_is_lost_and_nothing_is_left_behind(library: ModuleType, tmp_path: Path) -> None:
    """Whatever failed was given up by a rule; and no more was repeated than a tenth of the calls."""
    report = small(library)
    assert report.lost == []
    assert report.wrong == []
    assert 0 < report.whole < report.calls
    assert report.calls == report.whole + sum(report.given_up.values())
    assert (report.tasks_left, report.descriptors_left, report.spans_open) == (0, 0, 0)
    assert sum(report.requests) <= 1.1 * report.calls

    first, *rest = told([report, report]).splitlines()
    assert first.startswith(f"Of {report.calls} calls {report.whole} were answered to the last character")
    assert first.endswith(" 0 were lost.")
    assert any(line.startswith("small ") for line in rest)
    plot([report, report], tmp_path / "storm.svg")
    assert "<svg" in (tmp_path / "storm.svg").read_text(encoding="utf-8")


def test_it_is_a_command() -> None:
    """And JSON is for programs."""
    command = [sys.executable, "-W", "error", "-m", "benchmarks.storm", "--callers", "5", "--seconds", "1"]
    ran = subprocess.run(
        [*command, "--compared", "0", "--json"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert ran.returncode == 0, ran.stderr
    (report,) = json.loads(ran.stdout)
    assert report["lost"] == []
    assert report["calls"] == report["whole"] + sum(report["given_up"].values())
