"""The ledger of what servers are known to do otherwise, as the client reads it."""

from pathlib import Path

import pytest

from resilient_foundry.foundry.deviations import Tolerance, deviations, read, refused, tolerances
from resilient_foundry.foundry.generations import Generation

LINE = """
[[deviation]]
contract = "chat.stops_where_it_is_told"
versions = "<2"
reason = "stop is ignored"
link = "https://github.com/microsoft/Foundry-Local/issues/1"
"""


def test_a_line_says_which_versions_it_is_about() -> None:
    (line,) = read(LINE)
    assert line.covers("chat.stops_where_it_is_told", "1.2.4")
    assert not line.covers("chat.stops_where_it_is_told", "2.2.1")
    assert not line.covers("chat.another", "1.2.4")
    assert line.tolerance is None


def test_a_line_concerns_a_generation_when_one_of_its_measured_versions_is_meant() -> None:
    """A server says its generation only, so the client is ready for whatever was seen of it."""
    (line,) = read(LINE.replace("<2", "==2.0.1"))
    assert line.concerns(Generation.TWO)
    assert not line.concerns(Generation.ONE)
    assert not line.concerns(Generation.ZERO)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (LINE.replace("reason", "because"), "a key 'because', which says nothing"),
        (LINE.replace('link = "https://github.com/microsoft/Foundry-Local/issues/1"', ""), "has no 'link'"),
        (LINE + 'tolerance = "shrug"', "shrug"),
        (LINE.replace("<2", "before 2"), "before 2"),
    ],
)
def test_a_line_that_says_nothing_is_refused(wrong: str, says: str) -> None:
    """A slip of the pen must not become a tolerance that nobody notices."""
    with pytest.raises(ValueError, match=says):
        read(wrong)


def test_whatever_the_client_tolerates_stands_in_the_ledger() -> None:
    """A tolerance without a line is dead code, or one that was kept for a server which has been mended."""
    assert {line.tolerance for line in deviations() if line.tolerance} == set(Tolerance)


def test_the_client_asks_the_ledger_and_not_the_generation() -> None:
    """A line that goes takes its special case with it, which only holds while no module decides by generation."""
    client = Path(__file__, "../../../resilient_foundry/foundry").resolve()
    deciding = [
        path.name
        for path in client.glob("*.py")
        if "Generation.ONE" in path.read_text("utf-8") or "Generation.TWO" in path.read_text("utf-8")
    ]
    assert sorted(deciding) == ["answers.py", "deviations.py", "generations.py"]  # two tables, and who tells them apart


def test_generations_differ_in_what_is_tolerated() -> None:
    assert Tolerance.LOAD_BY_ALIAS in tolerances(Generation.TWO) - tolerances(Generation.ONE)
    assert Tolerance.PART_THOUGHTS in tolerances(Generation.ONE) - tolerances(Generation.TWO)
    assert "stop" in refused(Generation.ONE)
    assert "stop" not in refused(Generation.TWO)
