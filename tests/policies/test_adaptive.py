"""The limit that a server bears, found by trying: simulated against servers with so many slots, on a virtual clock."""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from resilient_foundry.policies.adaptive import AdaptiveLimit, Search

SLOTS = (1, 2, 3, 4, 12, 16, 64)


@dataclass
class Model:
    """A server that works on `slots` calls at once, first come first served, `seconds` each and by chance more or less.

    Both may change with the number of calls answered. More than `refuses_above` at once are refused. Callers, at most
    `callers` of them, send as many as the limit allows, all the time.
    """

    slots: Callable[[int], int]
    seconds: Callable[[int], float] = lambda _: 1.0
    noise: float = 0.2
    seed: int = 1
    callers: int = 1000
    refuses_above: int = 1000
    kinds: tuple[float, ...] = (1.0,)
    settings: AdaptiveLimit = field(default_factory=lambda: AdaptiveLimit(highest=256))

    def __post_init__(self) -> None:
        self.search = Search(self.settings)
        self.chance = random.Random(self.seed)  # noqa: S311 - no secret
        self.now = 0.0
        self.answered = self.refused = 0
        self.found: list[int] = []
        """The limit found after each call."""
        self.limits: list[int] = []
        """The limit in force when each call was answered: a trial's, or the one found."""
        self.latencies: list[float] = []
        self.ends: list[float] = []
        self._sent = 0
        self._queue: deque[tuple[float, int, int, int]] = deque()
        self._working: list[tuple[float, int, tuple[float, int, int, int]]] = []
        self._number = 0

    def run(self, calls: int) -> Model:
        """Let so many calls be answered."""
        goal = self.answered + calls
        while self.answered < goal:
            self._send()
            self.now, _, (sent, load, epoch, kind) = heapq.heappop(self._working)
            self._sent -= 1
            self.answered += 1
            self.search.answered(self.now - sent, kind=kind, load=load, epoch=epoch)
            self.found.append(self.search.found)
            self.limits.append(self.search.limit)
            self.latencies.append(self.now - sent)
            self.ends.append(self.now)
        return self

    def _send(self) -> None:
        while self._sent < min(self.search.limit, self.callers):
            if self._sent >= self.refuses_above:
                self.refused += 1
                self.search.dropped(epoch=self.search.epoch)
                continue
            self._sent += 1
            self._queue.append((self.now, self._sent, self.search.epoch, self.chance.randrange(len(self.kinds))))
        while self._queue and len(self._working) < self.slots(self.answered):
            call = self._queue.popleft()
            spread = self.chance.lognormvariate(-self.noise * self.noise / 2, self.noise)
            took = self.seconds(self.answered) * self.kinds[call[3]] * spread
            self._number += 1
            heapq.heappush(self._working, (self.now + took, self._number, call))

    def throughput(self, since: int) -> float:
        """Calls a second since so many calls were answered."""
        return (self.answered - since - 1) / (self.ends[-1] - self.ends[since])

    def median_latency(self, since: int) -> float:
        """Of the calls since then."""
        latencies = sorted(self.latencies[since:])
        return latencies[len(latencies) // 2]


def found_within(model: Model, low: float, high: float) -> int:
    """After how many calls the limit found lay within these bounds, and stayed."""
    outside = [number for number, found in enumerate(model.found) if not low <= found <= high]
    return outside[-1] + 1 if outside else 0


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("slots", SLOTS)
def test_finds_as_many_as_the_server_has_slots(slots: int, noise: float, seed: int) -> None:
    """And stays there: with no throughput lost, and no waiting inside the server."""
    calls = 3000 if slots < 64 else 8000
    model = Model(lambda _: slots, noise=noise, seed=seed).run(calls)
    slack = max(1, slots // 6)
    soon = 400 + 20 * slots
    assert found_within(model, slots - slack, slots + slack + 1) <= (soon if noise < 0.3 else 3 * soon)
    half = calls // 2
    assert model.throughput(half) >= 0.85 * slots
    assert model.median_latency(half) <= 1.2


@pytest.mark.parametrize("seed", range(5))
def test_a_server_that_works_on_one_call_at_a_time_is_left_in_peace(seed: int) -> None:
    """What was refuted is tried ever more rarely: in the end one call in twenty may meet another."""
    model = Model(lambda _: 1, noise=0.3, seed=seed).run(6000)
    assert set(model.found) == {1}
    shares = [sum(limit > 1 for limit in model.limits[begin : begin + 2000]) / 2000 for begin in (0, 4000)]
    assert shares[1] <= 0.05
    gaps = [number for number in range(1, 6000) if model.limits[number] > model.limits[number - 1]]
    waits = [later - earlier for earlier, later in pairwise(gaps)]
    assert waits[:3] != sorted(waits)[-3:]
    assert max(waits) > 10 * waits[0]


def test_starts_low() -> None:
    """Nothing is known yet: the first calls go out one by one, or as many at once as was said."""
    assert Search(AdaptiveLimit()).limit == 1
    assert Search(AdaptiveLimit(start=4)).limit == 4


def test_doubles_while_that_brings_throughput() -> None:
    """Sixty-four slots are found within a few calls more than they can take at once."""
    model = Model(lambda _: 64, noise=0.05).run(1000)
    assert [limit for limit in (1, 2, 4, 8, 16, 32, 64) if limit in model.found] == [1, 2, 4, 8, 16, 32, 64]
    assert found_within(model, 60, 68) < 500


@pytest.mark.parametrize(("before", "after"), [(16, 4), (2, 1), (64, 16), (4, 16), (1, 8)])
@pytest.mark.parametrize("seed", range(3))
def test_follows_a_server_whose_capacity_changes(before: int, after: int, seed: int) -> None:
    """Down soon, because calls take longer at once; up with one of the trials, which are rare by then."""
    calls = 3000
    model = Model(lambda answered: before if answered < calls else after, seed=seed).run(calls + 5000)
    slack = max(1, after // 4)
    assert abs(model.found[calls - 1] - before) <= max(1, before // 8)
    reached = next(number for number, found in enumerate(model.found[calls:]) if abs(found - after) <= slack)
    assert reached <= (40 * max(before, 16) if after < before else 4000)
    assert abs(model.found[-1] - after) <= slack


@pytest.mark.parametrize("factor", [3.0, 1 / 3])
@pytest.mark.parametrize("seed", range(3))
def test_a_server_that_gets_slower_or_faster_has_as_many_slots_as_before(factor: float, seed: int) -> None:
    """A baseline of better days would be taken for a queue, and the limit be lowered for nothing."""
    model = Model(lambda _: 8, seconds=lambda answered: 1.0 if answered < 3000 else factor, seed=seed).run(9000)
    assert abs(model.found[2999] - 8) <= 1
    assert abs(model.found[-1] - 8) <= 2
    assert model.throughput(6000) >= 0.85 * 8 / factor


@pytest.mark.parametrize("seed", range(3))
def test_a_server_that_slowly_drifts_keeps_its_limit(seed: int) -> None:
    """Four times slower in the end."""
    model = Model(lambda _: 8, seconds=lambda answered: 1.0 + 3.0 * answered / 6000, seed=seed).run(6000)
    assert found_within(model, 7, 10) <= 600


@pytest.mark.parametrize("seed", range(3))
def test_cheap_and_dear_calls_may_be_mixed(seed: int) -> None:
    """Each is compared with its like: a call of a thousandth of the time is no sign that the others queue."""
    model = Model(lambda _: 4, kinds=(0.001, 1.0), seed=seed).run(6000)
    assert found_within(model, 3, 6) <= 3000
    assert 3 <= model.found[-1] <= 6


def found_where_calls_share(cores: int, *, cost: float = 0.0, seed: int = 1, calls: int = 3000) -> int:
    """The limit found at a server that works on all calls at once, on so many cores that they share.

    Each further call costs all of them this share of their time, as caches and schedulers do.
    """
    search, chance, now = Search(AdaptiveLimit(highest=64)), random.Random(seed), 0.0  # noqa: S311 - no secret
    under_way: list[tuple[float, float, int, int]] = []
    for _ in range(calls):
        while len(under_way) < search.limit:
            under_way.append((chance.lognormvariate(-0.02, 0.2), now, len(under_way) + 1, search.epoch))
        speed = min(1.0, cores / len(under_way)) / (1 + cost * (len(under_way) - 1))
        first = min(under_way)
        now += first[0] / speed
        under_way.remove(first)
        under_way = [(left - first[0], sent, load, epoch) for left, sent, load, epoch in under_way]
        search.answered(now - first[1], kind="", load=first[2], epoch=first[3])
    return search.found


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("cores", [1, 2, 4, 16])
def test_finds_the_cores_of_a_server_that_works_on_all_calls_at_once(cores: int, seed: int) -> None:
    """A thread for each connection, and no queue: what is sent above the cores slows all the others down."""
    assert abs(found_where_calls_share(cores, seed=seed) - cores) <= 1


@pytest.mark.parametrize("seed", range(3))
def test_a_server_that_calls_at_once_only_slow_down_gets_one_at_a_time(seed: int) -> None:
    """As Foundry Local 2.2.1: eight answers at once take 1.7 times as long as one after the other."""
    assert found_where_calls_share(1, cost=0.1, seed=seed) == 1


def test_of_many_kinds_of_calls_the_latest_are_compared() -> None:
    """More than it can tell apart cost no memory, and break nothing."""
    model = Model(lambda _: 4, kinds=tuple(1.0 for _ in range(100))).run(3000)
    assert model.found[-1] <= 8


def test_does_not_grow_while_the_limit_is_not_used() -> None:
    """Three callers say nothing of what thirty would meet."""
    model = Model(lambda _: 64, callers=3).run(5000)
    assert max(model.found) <= 4
    assert max(model.limits) <= 5


@pytest.mark.parametrize(("slots", "callers"), [(2, 3), (4, 6), (4, 7), (16, 24), (16, 31)])
@pytest.mark.parametrize("seed", range(3))
def test_a_larger_limit_that_nobody_uses_is_not_left_in_force(slots: int, callers: int, seed: int) -> None:
    """Too few callers to fill it, and too many for the server: the trial of twice as many would never have an end."""
    model = Model(lambda _: slots, callers=callers, seed=seed).run(4000)
    assert model.search.found in range(slots - 1, slots + 2)
    assert max(model.limits[2000:]) <= slots + max(1, slots // 4)
    assert model.median_latency(2000) <= 1.1


def test_a_trial_that_is_filled_now_and_then_goes_on() -> None:
    """Calls come as they like, and not always as many at once as would be let out."""
    search = Search(AdaptiveLimit())
    while search.limit == 1:
        search.answered(1.0, kind="", load=1, epoch=search.epoch)
    epoch = search.epoch
    for load in [*[1] * 11, 2] * 4:
        search.answered(1.0, kind="", load=load, epoch=epoch)
    assert search.epoch == epoch
    for _ in range(12):
        search.answered(1.0, kind="", load=1, epoch=epoch)
    assert search.limit == 1


@pytest.mark.parametrize("seed", range(3))
def test_a_server_that_refuses_is_not_sent_more_than_it_takes(seed: int) -> None:
    """A trial that meets a refusal ends at once; each costs one refused call."""
    model = Model(lambda _: 64, refuses_above=10, seed=seed).run(6000)
    assert 7 <= model.found[-1] <= 10
    assert model.refused <= 60


def test_a_refusal_lowers_the_limit_by_a_quarter_at_once() -> None:
    search = Search(AdaptiveLimit(start=16))
    assert search.dropped(epoch=0)
    assert (search.limit, search.found) == (12, 12)


def test_a_refusal_in_a_trial_ends_it_and_costs_no_more() -> None:
    """What was found before was borne, and is borne again."""
    model = Model(lambda _: 64, settings=AdaptiveLimit(start=8, highest=16))
    while model.search.limit == model.search.found:
        model.run(1)
    assert (model.search.found, model.search.limit) == (8, 16)
    assert not model.search.dropped(epoch=model.search.epoch)
    assert (model.search.found, model.search.limit) == (8, 8)


def test_refusals_of_calls_that_went_out_before_count_once() -> None:
    """Sixteen calls that fail together are one piece of news."""
    search = Search(AdaptiveLimit(start=16))
    for _ in range(16):
        search.dropped(epoch=0)
    assert search.limit == 12


def test_an_outage_lowers_it_to_the_lowest_and_its_end_raises_it_again() -> None:
    """Nobody is refused any more, and calls take as long as they did."""
    model = Model(lambda _: 16).run(1000)
    while model.search.limit > 1:
        assert model.search.dropped(epoch=model.search.epoch) in {True, False}
    assert not model.search.dropped(epoch=model.search.epoch)
    model.run(1500)
    assert abs(model.found[-1] - 16) <= 2


def test_stays_within_its_bounds() -> None:
    """Whatever the server bears."""
    model = Model(lambda _: 64, settings=AdaptiveLimit(start=3, lowest=2, highest=8)).run(2000)
    assert {min(model.limits), max(model.limits)} <= set(range(2, 9))
    assert model.found[-1] == 8
    for _ in range(20):
        model.search.dropped(epoch=model.search.epoch)
    assert model.search.limit == 2


def test_a_call_that_began_before_the_limit_changed_says_nothing_of_the_new_one() -> None:
    """Nor one that went out while fewer than the limit were under way."""
    search = Search(AdaptiveLimit(start=4))
    for _ in range(1000):
        assert not search.answered(1.0, kind="a", load=3, epoch=0)
        assert not search.answered(1.0, kind="a", load=4, epoch=7)
    assert (search.limit, search.epoch) == (4, 0)


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"start": 0}, r"AdaptiveLimit\.start is at least 1"),
        ({"lowest": 0}, r"AdaptiveLimit\.lowest is at least 1"),
        ({"start": 2, "lowest": 3}, r"AdaptiveLimit\.start is at least 3"),
        ({"start": 50}, r"AdaptiveLimit\.highest is at least 50"),
        ({"highest": 2.5}, r"AdaptiveLimit\.highest is a whole number"),
    ],
)
def test_a_wrong_setting_is_refused_with_what_it_accepts(wrong: dict[str, int], complaint: str) -> None:
    with pytest.raises((ValueError, TypeError), match=complaint):
        AdaptiveLimit(**wrong)
