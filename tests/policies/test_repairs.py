"""One mends, the others wait: the machine behind `Remedy`, by hand."""

from __future__ import annotations

import os
import threading

import pytest

from resilient_foundry.policies.repairs import Mended, Repairs, Resting, Turn, UnderWay, Yours


def taken(turn: Turn) -> Yours:
    """The turn of the caller who mends."""
    assert isinstance(turn, Yours)
    return turn


def test_the_first_who_meets_a_thing_mends_it_and_the_others_wait() -> None:
    """Until that has ended."""
    repairs = Repairs()
    first = taken(repairs.turn("door", met=0, now=1))
    second = repairs.turn("door", met=0, now=2)
    assert second == UnderWay(first.ended)
    assert not first.ended.is_given
    repairs.mended("door", first, now=3)
    repairs.leave("door", first)
    assert first.ended.is_given


def test_who_met_it_before_it_was_mended_need_not_mend_it() -> None:
    """Also one who notices late: what it met is gone."""
    repairs = Repairs()
    turn = taken(repairs.turn("door", met=0, now=1))
    repairs.mended("door", turn, now=3)
    repairs.leave("door", turn)
    assert repairs.turn("door", met=3, now=9) == Mended()
    assert isinstance(repairs.turn("door", met=3.1, now=9), Yours)


def test_what_could_not_be_mended_rests() -> None:
    """For all callers, with the reason, until its moment; then it is tried again."""
    repairs = Repairs()
    turn = taken(repairs.turn("door", met=0, now=1))
    repairs.failed("door", turn, why="no key", until=10)
    repairs.leave("door", turn)
    assert repairs.turn("door", met=2, now=4) == Resting(6, "no key")
    assert repairs.why("door") == "no key"
    assert isinstance(repairs.turn("door", met=2, now=10), Yours)


def test_a_repair_that_was_left_is_the_next_callers() -> None:
    """Its caller was cancelled: that says nothing about the door."""
    repairs = Repairs()
    repairs.leave("door", taken(repairs.turn("door", met=0, now=1)))
    assert isinstance(repairs.turn("door", met=0, now=1), Yours)


def test_who_comes_back_late_does_not_end_the_repair_of_another() -> None:
    """A turn that was left is over."""
    repairs = Repairs()
    late = taken(repairs.turn("door", met=0, now=1))
    repairs.leave("door", late)
    other = taken(repairs.turn("door", met=0, now=1))
    repairs.mended("door", late, now=2)
    assert repairs.turn("door", met=0, now=3) == UnderWay(other.ended)


def test_things_are_mended_side_by_side() -> None:
    """Each has its own turn."""
    repairs = Repairs()
    assert isinstance(repairs.turn("door", met=0, now=1), Yours)
    assert isinstance(repairs.turn("window", met=0, now=1), Yours)


def test_only_so_many_things_are_remembered() -> None:
    """But none is forgotten while it is being mended."""
    repairs = Repairs(limit=3)
    door = taken(repairs.turn("door", met=0, now=1))
    for number in range(100):
        turn = taken(repairs.turn(f"window {number}", met=0, now=1))
        repairs.mended(f"window {number}", turn, now=1)
    assert repairs.turn("door", met=0, now=2) == UnderWay(door.ended)
    assert repairs.turn("window 99", met=0, now=2) == Mended()
    assert isinstance(repairs.turn("window 0", met=0, now=2), Yours)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_a_fork_leaves_the_repairs_of_other_threads_behind() -> None:
    """The child would wait for a thread that it does not have."""
    repairs = Repairs()
    taken(repairs.turn("door", met=0, now=1))
    child = os.fork()
    if child == 0:
        os._exit(0 if isinstance(repairs.turn("door", met=0, now=1), Yours) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_many_threads_get_one_turn() -> None:
    """Under a short lock."""
    repairs, turns = Repairs(), list[Turn]()
    together = threading.Barrier(16)

    def take() -> None:
        together.wait(10)
        turns.append(repairs.turn("door", met=0, now=1))

    threads = [threading.Thread(target=take) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(type(turn).__name__ for turn in turns) == ["UnderWay"] * 15 + ["Yours"]
