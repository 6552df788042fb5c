"""Who may use a model beside whom."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from resilient_foundry.foundry.occupancy import Occupancy, Use, Waiter

ANSWER, OTHER, UNLOAD = Use(frozenset({"a", "a:1"})), Use(frozenset({"b:1"})), Use(frozenset({"a"}), alone=True)


def waiter(use: Use, woken: list[Use]) -> Waiter:
    """One that writes down when it is woken."""
    return Waiter(use, lambda: woken.append(use))


def test_answers_go_on_together_and_an_unload_alone() -> None:
    """By any of the model's names."""
    occupancy, woken = Occupancy(), list[Use]()
    assert occupancy.enter(waiter(ANSWER, woken))
    assert occupancy.enter(waiter(ANSWER, woken))
    unload = waiter(UNLOAD, woken)
    assert not occupancy.enter(unload)
    occupancy.leave(ANSWER)
    assert not occupancy.enter(unload)
    occupancy.leave(ANSWER)
    assert woken == [UNLOAD, UNLOAD]
    assert occupancy.enter(unload)
    assert not occupancy.enter(waiter(ANSWER, woken))
    assert occupancy.enter(waiter(OTHER, woken))


def test_no_answer_begins_while_an_unload_waits() -> None:
    """Or a busy client would never come to unload."""
    occupancy, woken = Occupancy(), list[Use]()
    assert occupancy.enter(waiter(ANSWER, woken))
    unload, late = waiter(UNLOAD, woken), waiter(ANSWER, woken)
    assert not occupancy.enter(unload)
    assert not occupancy.enter(late)
    occupancy.leave(ANSWER)
    assert occupancy.enter(unload)
    occupancy.leave(UNLOAD)
    assert occupancy.enter(late)


def test_an_unload_that_gives_up_lets_the_others_go_on() -> None:
    """It wakes those who waited behind it."""
    occupancy, woken = Occupancy(), list[Use]()
    assert occupancy.enter(waiter(ANSWER, woken))
    unload, late = waiter(UNLOAD, woken), waiter(ANSWER, woken)
    assert not occupancy.enter(unload)
    assert not occupancy.enter(late)
    occupancy.forget(unload)
    assert woken == [ANSWER]
    assert occupancy.enter(late)


def test_a_use_that_ends_while_another_begins_ends_all_the_same() -> None:
    """The collector finds a forgotten stream wherever it likes, also in the middle of `enter`, on the same thread."""
    occupancy = Occupancy()

    class Forgotten(frozenset[str]):
        """A name whose comparison is where the collector strikes."""

        def isdisjoint(self, other: Iterable[object], /) -> bool:
            occupancy.leave(ANSWER)
            return super().isdisjoint(other)

    assert occupancy.enter(waiter(ANSWER, []))

    def unload() -> None:
        refused.append(occupancy.enter(waiter(Use(Forgotten({"a"}), alone=True), woken)))

    refused, woken = list[bool](), list[Use]()
    thread = threading.Thread(target=unload, daemon=True)
    thread.start()
    thread.join(5)
    assert (refused, len(woken)) == ([False], 1)
    assert occupancy.enter(waiter(UNLOAD, woken))
