from __future__ import annotations

from dataclasses import replace

from resilient_foundry.tuning.figures import Estimate, estimated_quantile
from resilient_foundry.tuning.proof import Contender, objections


def around(middle: float) -> Estimate:
    """A p99 that is known to a twentieth."""
    return Estimate(middle, 0.95 * middle, 1.05 * middle)


MINE = Contender(
    name="recommended",
    limit=6,
    rates=(192.0, 190.0, 191.0),
    p50=0.15,
    p99=around(0.2),
    open_p99=around(0.05),
    answers=1000,
    connects=2,
    errors={},
)
OTHER = replace(MINE, name="library default", limit=None)


def test_nothing_speaks_against_what_is_as_good_as_the_others() -> None:
    assert objections(MINE, [OTHER]) == []


def test_throughput_is_compared_round_by_round() -> None:
    """The machine was slow in one round, for both."""
    assert objections(replace(MINE, rates=(100.0, 190.0, 20.0)), [replace(OTHER, rates=(101.0, 195.0, 21.0))]) == []


def test_more_than_five_percent_more_throughput_is_a_winner() -> None:
    against = objections(MINE, [replace(OTHER, rates=(210.0, 210.0, 210.0))])
    assert against == ["library default has more throughput: 210 a second against 191"]


def test_a_p99_of_more_than_a_tenth_more_speaks_against_it() -> None:
    """In either loop."""
    assert objections(MINE, [replace(OTHER, p99=around(0.19))]) == []
    (closed,) = objections(MINE, [replace(OTHER, p99=around(0.1))])
    assert closed == "library default has a better p99 for callers that ask again at once: 100 ms against 200 ms"
    (fixed,) = objections(MINE, [replace(OTHER, open_p99=around(0.01))])
    assert fixed.startswith("library default has a better p99 for calls at fixed moments")


def test_a_p99_that_is_hardly_known_does_not_speak_against_it() -> None:
    """A third less is within what the same calls might have taken in another minute."""
    assert objections(replace(MINE, p99=Estimate(0.2, 0.12, 0.5)), [replace(OTHER, p99=around(0.13))]) == []


def test_the_p99_of_who_gets_less_done_says_nothing() -> None:
    assert objections(MINE, [replace(OTHER, p99=around(0.01), rates=(90.0, 90.0, 90.0))]) == []


def test_connections_that_are_not_kept_speak_against_it() -> None:
    assert objections(replace(MINE, connects=11), []) == ["connections are not kept: 11 were opened for 1000 answers"]
    assert objections(replace(MINE, connects=10), []) == []


def test_a_single_error_speaks_against_it() -> None:
    assert objections(replace(MINE, errors={"PoolTimeout": 1, "ReadError": 2}), []) == [
        "calls failed: 1 PoolTimeout, 2 ReadError"
    ]


def test_of_few_answers_nothing_is_said() -> None:
    (against,) = objections(replace(MINE, answers=299, connects=0), [])
    assert against.startswith("299 answers are too few")


def test_who_got_nothing_done_is_not_recommended() -> None:
    silent = replace(MINE, rates=(), answers=0, p99=estimated_quantile([], 0.99), open_p99=estimated_quantile([], 0.99))
    (against,) = objections(silent, [OTHER])
    assert against.startswith("there was no time left to prove anything")
