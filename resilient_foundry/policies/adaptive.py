"""The limit that a server bears, found by trying.

A server with so many slots answers no faster when it is sent more at once: what is sent above them waits inside it. So
two limits are told apart by how long calls take under each (Little's law: calls at once = calls a second x seconds a
call). The larger one is worth having if most of the difference became throughput and not waiting.

    settled ──(a larger or smaller limit is worth a trial)──▶ trial ──▶ kept, or taken back
                                                                │
    server refuses, times out, is not there ──▶ at once less ◀──┘

* Two neighbours in time are compared, never now with long ago: a server that slowly gets slower is not taken for one
  that queues, and no memory of better days (the "minimum latency" of Vegas and its kin) has to be forgotten.
* Like is compared with like: each kind of call with itself, so that cheap and dear ones may be mixed.
* Only calls count that went out at the limit: a client that does not use its limit learns nothing about a larger one.
* A trial ends as soon as its result is beyond chance, or when there are too few calls to fill what is tried; and one
  that was refuted is repeated ever more rarely.
* What is tried doubles while it succeeds, and halves when it fails, as a search for a bound does.

It counts calls, not seconds, so it knows no clock. What is to be true of it is simulated in its tests. The three
outcomes (answered, dropped, ignored) and growing only when the limit is used are those of Netflix's concurrency-limits;
stopping by significance is Wald's sequential test, without its tables.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass

from resilient_foundry.policies._checks import count

_WORTH = 0.5
"""Of a larger limit, this share must become throughput (as logarithms). At a half, C slots are found as C."""
_BEYOND_CHANCE = 2.5
"""Standard errors. What is wrong all the same is put right by the next trial in the other direction."""
_FEWEST = 6
"""Samples of a trial, at least, however clear it is: the first ones still meet the queue of the limit before."""
_LONGEST = 32
"""Rounds of a trial, at most. It is looked at after 1, 2, 4 ... of them: who looks all the time sees what chance does.
In between as much is seen of the settled limit. A round is as many calls as the limit, or `_FEWEST`."""
_CLEAR_ENOUGH = 0.1
"""Standard error, as a share of the difference of the limits, at which what is not clear is as good as the other."""
_UNUSED = 2
"""Rounds in a row, at most, that a larger limit is on trial while fewer calls are under way than it allows."""
_LONGEST_WAIT = 512
"""Rounds without a trial, at most, where it may begin: how long it takes to notice that a server bears more."""
_PATIENCE = (2, 32)
"""How many times its own length is waited after a trial that was refuted, the first time and at most: so trials are in
the end one call in twenty."""
_MEMORY = 16
"""Rounds that the settled limit is remembered for."""
_STEADY = math.log(1.25), 4.0
"""A change of latency at the same limit that is as large, and as many standard errors, is a change of the server."""
_BLOCK = 8
"""Half of the samples, at least, that are compared with the usual."""
_SMALLEST_SPREAD = 0.02
"""Standard deviation of latencies, as a share of their mean: nothing is steadier than that."""
_SHORTEST = 1e-6
"""Seconds. Nothing is answered faster, and ratios need a number above 0."""
_FINEST = 16
"""A limit is found as exactly as to a sixteenth of itself."""
_BACKED_OFF = 0.75
"""What is left of the limit when a server refuses."""
_KINDS = 32
"""Kinds of calls that are told apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptiveLimit:
    """A limit that finds out how many calls at once a server bears: `ConcurrencyLimit(AdaptiveLimit())`.

    It begins with `start` calls at once and stays between `lowest` and `highest`. A larger limit is kept if it brings
    throughput, and taken back if calls only take longer; a server that works on one call at a time is found to be one,
    and is seldom troubled again. Latency is the time to the head of an answer, of a stream the time to its first event
    (with a `StreamGuard` further in, else to the first piece of its body), so long answers are not taken for slow ones.
    Calls are compared with calls of the same method, path and size.

    It learns from calls and not from seconds: a few dozen of them find a small limit, a few hundred a large one. That a
    server got slower shows at once; that it bears more than before shows in the next trial, which may be three thousand
    calls away. It learns only while as many calls are under way as the limit allows.

    An answer of 429, 503 or 504, a time limit that passed, and a connection that failed lower the limit at once, by a
    quarter. Cancelled calls, other failures, and what the caller did wrong count as nothing.

    The `highest` is 32 unless you say otherwise, because httpx 0.28 gets slower with more connections than that.
    """

    start: int = 1
    lowest: int = 1
    highest: int = 32

    def __post_init__(self) -> None:
        count("AdaptiveLimit.lowest", self.lowest)
        count("AdaptiveLimit.start", self.start, at_least=self.lowest)
        count("AdaptiveLimit.highest", self.highest, at_least=self.start)


class _Spread:
    """Count, mean and squared deviations of numbers, one after the other (Welford)."""

    __slots__ = ("deviations", "mean", "number")

    def __init__(self) -> None:
        self.number = 0.0
        self.mean = 0.0
        self.deviations = 0.0

    def add(self, value: float) -> None:
        self.number += 1
        off = value - self.mean
        self.mean += off / self.number
        self.deviations += off * (value - self.mean)

    def take_in(self, other: _Spread) -> None:
        """Put two together (Chan, Golub and LeVeque)."""
        number = self.number + other.number
        off = other.mean - self.mean
        self.deviations += other.deviations + off * off * self.number * other.number / number
        self.mean += off * other.number / number
        self.number = number

    def fade(self) -> None:
        """Let what was count half."""
        self.number /= 2
        self.deviations /= 2


class _Sample:
    """How long calls took, in seconds, by kind."""

    def __init__(self) -> None:
        self.number = 0
        self.kinds: dict[Hashable, _Spread] = {}

    def add(self, kind: Hashable, value: float) -> None:
        self._of(kind).add(value)
        self.number += 1

    def take_in(self, other: _Sample) -> None:
        for kind, spread in other.kinds.items():
            self._of(kind).take_in(spread)
        self.number += other.number

    def _of(self, kind: Hashable) -> _Spread:
        spread = self.kinds.get(kind)
        if spread is None:
            if len(self.kinds) >= _KINDS:
                del self.kinds[next(iter(self.kinds))]
            spread = self.kinds[kind] = _Spread()
        return spread

    def fade(self) -> None:
        self.number //= 2
        for spread in self.kinds.values():
            spread.fade()

    def above(self, other: _Sample) -> tuple[float, float]:
        """By how much it lies above the other (the logarithm of a ratio), kind by kind, and the standard error of that.

        Of means, and not of medians: Little's law speaks of means.
        """
        weights = difference = deviations = freedom = 0.0
        for kind, mine in self.kinds.items():
            theirs = other.kinds.get(kind)
            if theirs is None or mine.number < 1 or theirs.number < 1:
                continue
            weight = mine.number * theirs.number / (mine.number + theirs.number)
            weights += weight
            difference += weight * math.log(mine.mean / theirs.mean)
            deviations += mine.deviations / mine.mean**2 + theirs.deviations / theirs.mean**2
            freedom += mine.number + theirs.number - 2
        if not weights:
            return 0.0, math.inf
        spread = math.sqrt(deviations / freedom) if freedom > 0 else 1.0
        return difference / weights, max(spread, _SMALLEST_SPREAD) / math.sqrt(weights)


class _Direction:
    """What is known of trials upwards, or downwards: the next step, and for how many samples it is left."""

    __slots__ = ("patience", "step", "wait")

    def __init__(self, step: int) -> None:
        self.reset(step)

    def reset(self, step: int) -> None:
        """Be curious again."""
        self.step, self.patience, self.wait = step, _PATIENCE[0], 0

    def be_patient(self, length: int, limit: int) -> None:
        """After a trial of this length, wait for some times as long, and for twice as long after the next."""
        self.wait = min(self.patience * max(_FEWEST, length), _LONGEST_WAIT * _round(limit))
        self.patience = min(2 * self.patience, _PATIENCE[1])


class _Trial:
    """Another limit on trial: what was seen of it so far, and after how many samples it is looked at."""

    def __init__(self, limit: int, direction: _Direction) -> None:
        self.limit = limit
        self.direction = direction
        self.sample = _Sample()
        self.rounds = 1
        self.unused = 0
        """How many calls in a row went out while fewer were under way than it allows."""

    @property
    def is_due(self) -> bool:
        return self.sample.number >= self.size

    @property
    def size(self) -> int:
        return self.rounds * _round(self.limit)


class Search:
    """The search for one server's limit. Not locked: one caller at a time.

    `limit` is the one in force, `found` the one that it settled on, and differs during a trial. `epoch` counts the
    changes of the one in force; a call reports the epoch that it went out in.
    """

    def __init__(self, settings: AdaptiveLimit) -> None:
        self._settings = settings
        self.limit = self.found = settings.start
        self.epoch = 0
        self._usual = _Sample()
        self._recent = _Sample()
        self._trial: _Trial | None = None
        self._up = _Direction(settings.start)
        self._down = _Direction(1)
        self._down.wait = _PATIENCE[0] * _round(settings.start)

    def answered(self, seconds: float, *, kind: Hashable, load: int, epoch: int) -> bool:
        """A call that went out among `load` was answered after so many seconds; whether another limit was found."""
        if epoch != self.epoch:
            return False
        trial = self._trial if self._trial is not None and self.limit == self._trial.limit else None
        if load < self.limit:
            if trial is not None and self.limit > self.found:
                self._is_unused(trial)
            return False
        value = max(seconds, _SHORTEST)
        if trial is None:
            self._settle(kind, value)
            return False
        trial.unused = 0
        trial.sample.add(kind, value)
        return trial.is_due and self._judge(trial)

    def dropped(self, *, epoch: int) -> bool:
        """The server refused a call, or did not answer it in time; whether another limit was found."""
        if epoch != self.epoch:  # it says nothing of the limit that is in force by now
            return False
        if self._trial is not None and self.limit > self.found:
            self._refuted(self._trial)
            return False
        was = self.found
        self.found = max(self._settings.lowest, min(was - 1, int(self.limit * _BACKED_OFF)))
        self._forget()
        self._up.reset(max(1, was - self.found))
        self._up.wait = self._down.wait = _PATIENCE[0] * _round(self.found)
        self._in_force(self.found)
        return self.found != was

    def _in_force(self, limit: int) -> None:
        if limit != self.limit:
            self.limit = limit
            self.epoch += 1

    def _forget(self) -> None:
        self._usual, self._recent, self._trial = _Sample(), _Sample(), None

    def _settle(self, kind: Hashable, value: float) -> None:
        """Learn how long calls take at the limit that was found, and see whether it is time for a trial."""
        self._recent.add(kind, value)
        self._up.wait -= 1
        self._down.wait -= 1
        if self._recent.number >= 2 * max(_BLOCK, self.found):
            self._compare_with_the_usual()
        known = self._usual.number + self._recent.number
        if self._trial is not None:
            if known >= self._trial.size:
                self._in_force(self._trial.limit)
        elif known >= 2 * _round(self.found):
            self._try()

    def _compare_with_the_usual(self) -> None:
        shift, error = self._recent.above(self._usual)
        if abs(shift) > max(_STEADY[0], _STEADY[1] * error):  # another server, as it were
            self._forget()  # these as well: they are of both
            (self._down if shift > 0 else self._up).reset(max(1, self.found // 2))
            return
        self._usual.take_in(self._recent)
        self._recent = _Sample()
        if self._trial is None and self._usual.number > _MEMORY * _round(self.found):
            self._usual.fade()

    def _try(self) -> None:
        """Begin a trial in the direction that is due; of both, in that of the larger step."""
        due: list[tuple[int, int, _Direction]] = []
        if self._up.wait <= 0 and self.found < self._settings.highest:
            step = max(self._finest, self._up.step)
            due.append((step, min(self._settings.highest, self.found + step), self._up))
        if self._down.wait <= 0 and self.found > self._settings.lowest:
            step = max(self._finest, self._down.step)
            due.append((step, max(self._settings.lowest, self.found - step), self._down))
        if due:
            _, limit, direction = max(due, key=_step)
            self._trial = _Trial(limit, direction)
            self._in_force(limit)

    def _judge(self, trial: _Trial) -> bool:
        """Decide a trial, if that is possible by now; whether for the other limit."""
        control = _Sample()
        control.take_in(self._usual)
        control.take_in(self._recent)
        slower, error = trial.sample.above(control)
        gain = math.log(trial.limit / self.found)
        for_the_larger = _WORTH * abs(gain) - (slower if gain > 0 else -slower)
        if abs(for_the_larger) > _BEYOND_CHANCE * error:
            if (for_the_larger > 0) == (gain > 0):
                self._kept(trial)
                return True
            self._refuted(trial)
        elif error < _CLEAR_ENOUGH * abs(gain):
            self._refuted(trial)
        elif trial.rounds >= _LONGEST:
            self._left_open(trial)
        else:  # more of both, in turn
            trial.rounds *= 2
            self._in_force(self.found)
        return False

    def _kept(self, trial: _Trial) -> None:
        this, that = (self._up, self._down) if trial.direction is self._up else (self._down, self._up)
        jump = abs(trial.limit - self.found)
        self.found = trial.limit
        self._forget()
        self._usual = trial.sample
        this.reset(min(2 * jump, self.found))
        that.reset(max(1, jump // 2))  # the best one may have been jumped over
        that.wait = that.patience * trial.sample.number

    def _is_unused(self, trial: _Trial) -> None:
        """So many calls there are not: a trial that nothing could end would leave the larger limit in force."""
        trial.unused += 1
        if trial.unused >= _UNUSED * _round(trial.limit):
            self._refuted(trial)

    def _refuted(self, trial: _Trial) -> None:
        """Try less; and of the least, more rarely."""
        this = trial.direction
        if this.step > self._finest:
            this.step = max(self._finest, this.step // 2)
            this.wait = 0
        else:
            this.be_patient(trial.sample.number, self.found)
        self._end_the_trial()

    def _left_open(self, trial: _Trial) -> None:
        """So small a step can't be told from chance here: try a larger one, another time."""
        trial.direction.step = min(2 * trial.direction.step, self.found)
        trial.direction.be_patient(trial.sample.number, self.found)
        self._end_the_trial()

    def _end_the_trial(self) -> None:
        self._trial = None
        self._in_force(self.found)

    @property
    def _finest(self) -> int:
        return max(1, self.found // _FINEST)


def _step(due: tuple[int, int, _Direction]) -> int:
    return due[0]


def _round(limit: int) -> int:
    return max(_FEWEST, limit)
