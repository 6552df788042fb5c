"""The benchmark runs, and its arithmetic is right; how much threads get done is not judged here."""

from __future__ import annotations

from benchmarks.contenders import FIVE, STANDARD
from benchmarks.threads import (
    BARE,
    BY_CALL,
    CONTENDERS,
    OF,
    SERVERS,
    SLOW,
    answer,
    measured,
    ratio,
    table,
)


def test_every_contender_answers_its_threads() -> None:
    found = measured(rounds=1, seconds=0.05, counts=(2,))
    assert set(found["rates"]) == set(SERVERS)
    for by_count in found["rates"].values():
        assert set(by_count["2"]) == set(CONTENDERS)
        assert all(rate > 0 for rates in by_count["2"].values() for rate in rates)


def test_each_round_is_compared_with_its_own_baseline() -> None:
    """So what else the machine does falls on both."""
    figures = found([0.5, 1.0, 1.5])
    assert ratio(figures, SLOW, OF, FIVE) == 1.0
    assert answer(figures).startswith(
        f"{OF} threads on one client do 1.000 of bare httpx's calls through five policies, and 0.03"
    )
    assert answer(figures).endswith("reached.")
    assert answer(found([0.5, 0.9, 1.5])).endswith("not reached.")
    assert "| five policies | 1.000 x |" in table(figures).splitlines()


def found(ratios: list[float]) -> dict[str, object]:
    """Rounds of 100, 200 and 300 answers a second, and these shares of them."""
    bare = [100.0, 200.0, 300.0]
    ours = [one * share for one, share in zip(bare, ratios, strict=True)]
    of = {BARE: bare, FIVE: ours, STANDARD: ours, BY_CALL: [one * 0.03 for one in bare]}
    return {"rates": {SLOW: {str(OF): of}}}
