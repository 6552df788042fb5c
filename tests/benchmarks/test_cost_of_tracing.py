"""The benchmark runs, and its arithmetic is right; what tracing costs in time is not judged here."""

from __future__ import annotations

import json

import pytest

from benchmarks.cost_of_tracing import BASELINE, COLOURS, CONTENDERS, SCENES, Cell, Race, answer, main, table


def test_every_contender_is_measured_in_every_scene_and_colour(capsys: pytest.CaptureFixture[str]) -> None:
    """One round is enough to see that each of them makes its calls."""
    main(["--rounds", "1", "--json"])
    told = json.loads(capsys.readouterr().out)
    cells = {(cell["scene"], cell["colour"], cell["contender"]): cell["added"] for cell in told["cells"]}
    assert told["rounds"] == 1
    assert set(cells) == {(scene, colour, name) for scene in SCENES for colour in COLOURS for name in CONTENDERS}
    assert {added for (*_, name), added in cells.items() if name == BASELINE} == {0.0}


def test_what_is_added_is_compared_round_by_round() -> None:
    """A round in which the machine was busy for all of them changes nothing."""
    taken = {
        BASELINE: iter([(1e-6, 1e-6), (9e-6, 2e-6), (2e-6, 1e-6)]),
        "on": iter([(4e-6, 3e-6), (12e-6, 4e-6), (5e-6, 3e-6)]),
    }
    race = Race("a call", "sync", {name: found.__next__ for name, found in taken.items()})
    for number in range(3):
        race.run_round(number)
    (traced,) = [cell for cell in race.cells() if cell.contender == "on"]
    assert (traced.microseconds, traced.added, traced.cpu_added) == pytest.approx((5.0, 3.0, 2.0))


def test_the_answer_is_one_sentence_with_numbers() -> None:
    """A reader who stops after the first line knows it."""
    assert answer(measured()) == (
        "Tracing adds 7.0 µs to a call of one attempt where no SDK is set up, 7 µs where it is sampled out, 7 µs where "
        "it is recorded and 7 µs with metrics; OpenTelemetry's own instrumentation adds 7, 7, 7 and 7 µs; a chunk of a "
        "stream that is recorded takes 7.00 µs more."
    )


def test_the_table_has_a_row_for_each_contender() -> None:
    """With a cell for each scene and colour."""
    rows = {row[:29].strip(): row[29:] for row in table(measured()).splitlines()}
    for name in CONTENDERS:
        assert rows[name].count("+7.0") == (0 if name == BASELINE else 2 * len(SCENES) * len(COLOURS))


def measured() -> list[Cell]:
    """Every contender adds 7 µs."""
    return [
        Cell(scene, colour, name, microseconds=90.0, added=7.0, cpu_added=7.0)
        for scene in SCENES
        for colour in COLOURS
        for name in CONTENDERS
    ]
