"""Everybody makes their requests, and the arithmetic is right; what a request costs in time is not judged here."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from benchmarks.contenders import EMPTY, FIVE, contenders
from benchmarks.cost_of_a_stack import (
    BARE,
    FIVE_TRACED,
    GOALS,
    PLACES,
    TRACING,
    WAYS,
    answer,
    contender,
    names,
    table,
    tracing,
)
from benchmarks.isolated import isolated
from benchmarks.origin import Origin, origin
from benchmarks.peers import OTEL, PEERS, TRACED, available, missing
from benchmarks.question import Figures
from benchmarks.race import CONTROL
from benchmarks.sdk import BATCH, NO_SDK, SAMPLED_OUT, STATES

ROOT = Path(__file__).parents[2]
MEASURE = "import json; from benchmarks.cost_of_a_stack import measured; print(json.dumps(measured({})))"


@pytest.fixture(scope="module")
def server() -> Generator[Origin]:
    """For all tests of the module."""
    with origin() as server:
        yield server


@pytest.mark.parametrize(("library", "colour"), WAYS)
@pytest.mark.parametrize("place", PLACES)
def test_everybody_makes_their_requests(place: str, library: str, colour: str, server: Origin) -> None:
    """Each policy, each stack and each peer, in each way that it knows; all of them reach a server that is one."""
    server.reset()
    everybody = names(place, library, colour)
    for name in everybody:
        with contender(place, library, colour, server.url, 2, name) as turn:
            assert turn().wall > 0
    assert server.counts().requests == (2 * len(everybody) if place == "loopback" else 0)


def test_each_has_a_process_of_its_own() -> None:
    """And those that are measured are those that were asked for, with the bare client at one."""
    ran = subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-c",
            MEASURE.format('["a stream from memory"], [("httpx", "sync")], rounds=1'),
        ],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    told = json.loads(ran.stdout)
    ratios = {cell["contender"]: cell["cpu"]["ratio"]["median"] for cell in told["cells"]}
    assert list(ratios) == names("a stream from memory", "httpx", "sync")
    assert ratios[BARE] == 1.0


def test_one_that_fails_in_its_process_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    """What it met stands on standard error: figures without it would be wrong, and say nothing of it."""
    with pytest.raises(RuntimeError, match="nobody failed in its process"), isolated(contenders, ["nobody"]):  # type: ignore[arg-type]  # which makes nothing that could have a turn
        raise AssertionError("it was set up")
    assert "Error" in capfd.readouterr().err


def test_peers_whose_packages_are_missing_are_left_out() -> None:
    """Nobody needs them to measure the rest."""
    for library, colour in WAYS:
        packages = {name: PEERS[name].packages(library, colour) for name in available(library, colour)}
        assert all(set(needed).isdisjoint(missing()) for needed in packages.values())


def test_no_name_is_taken_for_that_of_a_state() -> None:
    """What stands behind a comma is the state of an SDK, so every peer is found by what stands before it."""
    everybody = {name for place in PLACES for way in WAYS for name in names(place, *way)}
    assert {name.partition(", ")[0] for name in everybody} >= {name for way in WAYS for name in available(*way)}
    assert {name.partition(", ")[2] for name in everybody} == {"", *STATES}


def test_the_answer_is_one_sentence_with_numbers() -> None:
    """A reader who stops after the first line knows it."""
    assert answer(found(added=11.0, ratio=1.06)) == (
        "In memory, over httpx, five policies add +11.0 µs to a synchronous request and +11.0 µs to an asynchronous "
        "one; over loopback, with Tracing, a request takes 1.060 x the processor time of a bare one without an SDK, "
        "1.060 x sampled out and 1.060 x recorded; 4 of 5 figures are reached."
    )


def test_a_figure_is_reached_by_the_worst_of_its_colours() -> None:
    """One that holds for synchronous code alone is not reached."""
    figures = found(added=11.0, ratio=1.04)
    *_, last = (cell for cell in figures["cells"] if cell["contender"] == f"{FIVE_TRACED}, {NO_SDK}")
    last["cpu"]["ratio"]["median"] = 1.051
    assert [goal.is_reached(figures) for goal in GOALS] == [True, True, False, True, True]


def test_what_was_not_measured_is_not_reached() -> None:
    """And is said to be missing."""
    nothing: Figures = {"cells": [], "strayed": [], "left_out": ["openai"]}
    assert {goal.is_reached(nothing) for goal in GOALS} == {None}
    assert "Left out, since they are not installed: openai." in table(nothing)


def test_the_table_has_a_row_for_each_contender_of_each_place() -> None:
    """With a cell for each way that was measured, and one row for each figure to reach."""
    rows = table(found(added=11.0, ratio=1.06)).splitlines()
    assert "| bare client | 50 | 50 |" in rows
    assert f"| {FIVE} | +11.0 (1.06 x) | +11.0 (1.06 x) |" in rows
    assert "| with Tracing, over loopback, no SDK | 1.050 x | 1.060 x | no | not measured | 1.060 x |" in rows


def test_what_tracing_adds_is_told_without_the_stack_that_it_stands_in() -> None:
    """A cell is empty where an SDK in that state was not measured."""
    figures = found(added=11.0, ratio=1.06)
    for name, added in ((EMPTY, 3.0), (TRACING, 5.0), (f"{TRACING}, {BATCH}", 40.0), (f"{OTEL}, {BATCH}", 90.0)):
        figures["cells"].append(
            {
                "place": "memory",
                "library": "httpx",
                "colour": "sync",
                "contender": name,
                "cpu": {"added": {"median": added}},
            }
        )
    figures["cells"][0]["cpu"]["added"]["median"] = 0.0  # the bare client's
    assert tracing(figures).splitlines()[2:] == [
        "| `Tracing`, the span of a call that is one attempt | 2.0 |  | 37.0 |  |",
        "| `Tracing` around five policies, the spans of a call and its attempt |  |  |  |  |",
        "| OpenTelemetry's instrumentation, one span |  |  | 90.0 |  |",
    ]


def found(*, added: float, ratio: float) -> Figures:
    """Everybody costs so many microseconds more, and so many times the bare client."""
    estimated = {
        name: {"median": figure, "low": figure, "high": figure}
        for name, figure in (("figure", 50.0), ("added", added), ("ratio", ratio))
    }
    cells = [
        {
            "place": place,
            "library": "httpx",
            "colour": colour,
            "contender": name,
            "cpu": json.loads(json.dumps(estimated)),
        }
        for place, everybody in (
            ("memory", (BARE, CONTROL, FIVE)),
            (
                "loopback",
                (BARE, *(f"{who}, {state}" for who in (FIVE_TRACED, TRACED) for state in (NO_SDK, SAMPLED_OUT, BATCH))),
            ),
        )
        for name in everybody
        for colour in ("sync", "async")
    ]
    return {"cells": cells, "strayed": [], "left_out": []}
