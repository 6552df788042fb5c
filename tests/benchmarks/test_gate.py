"""What is said of a ratio is right, on hand-made figures; what it is here and now is for .ci/run to see."""

from __future__ import annotations

import json
from contextlib import nullcontext

from benchmarks.gate import HERE, WRITTEN, Match, Seen, judge, matches, played
from resilient_foundry.tuning.figures import Estimate

DEARER = Estimate(1.30, 1.25, 1.35)
NEARLY = Estimate(1.30, 1.09, 1.50)
AS_BEFORE = Estimate(1.02, 0.99, 1.05)


def said(
    *plays: Estimate, strays: float = 0.01, rounds: int = 9, written: float | None = 1.0
) -> tuple[str, bool, list[int]]:
    """What is said of a ratio that is seen so, one play after the other; whether it failed; and how often each ran."""
    times: list[int] = []

    def play(_: Match, often: int) -> Seen:
        times.append(often)
        return Seen(rounds, strays, {"it": plays[len(times) - 1]})

    match = Match("a match", lambda: nullcontext({}), {"it": ("one", "other")}, rounds=9)
    (judged,) = judge(match, {} if written is None else {"it": written}, play)
    return judged.said, judged.has_failed, times


def test_what_is_as_dear_as_before_holds() -> None:
    """And is measured once."""
    assert said(AS_BEFORE) == ("holds: 1 was written down", False, [1])


def test_what_is_dearer_twice_fails() -> None:
    """The second time in twice the rounds."""
    assert said(DEARER, DEARER) == ("WORSE than 1, which was written down", True, [1, 2])


def test_what_is_dearer_once_does_not() -> None:
    """It was the machine's mood."""
    assert said(DEARER, AS_BEFORE) == ("holds: 1 was written down", False, [1, 2])
    assert said(DEARER, NEARLY) == ("holds: 1 was written down", False, [1, 2])


def test_what_may_be_no_dearer_does_not_fail() -> None:
    """The whole interval has to lie beyond."""
    assert said(NEARLY) == ("holds: 1 was written down", False, [1])


def test_nothing_is_concluded_where_the_control_strays() -> None:
    """A machine on which two equal contenders differ can't tell others apart."""
    assert said(DEARER, strays=0.07) == ("skipped: the control strays by 7.0%", False, [1])


def test_nothing_is_concluded_from_a_few_rounds() -> None:
    """A machine so busy that there was no time for more."""
    assert said(DEARER, rounds=8) == ("skipped: there was time for 8 rounds", False, [1])


def test_nothing_is_concluded_where_nothing_was_written_down() -> None:
    """Each version of Python has proportions of its own."""
    assert said(DEARER, written=None) == (f"skipped: nothing is written down for Python {HERE}", False, [1])


def test_everybody_takes_part() -> None:
    """Both matches that have a server, with one round of each; each ratio of theirs is written down."""
    written = json.loads(WRITTEN.read_text(encoding="utf-8"))["3.11"]
    for match in matches():
        assert set(match.ratios) <= set(written)
    for match in matches()[2:]:
        seen = played(Match(match.name, match.set_up, match.ratios, rounds=1), 1)
        assert all(ratio.median > 0 for ratio in seen.ratios.values())
