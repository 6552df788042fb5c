"""Measure a server, find out what to set, and prove it against what one has without: within a budget.

A third of the time goes to how many calls at once are worth it, up to an eighth to how long the server keeps unused
connections, and the rest to the proof.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from statistics import fmean, harmonic_mean
from typing import TypeVar

from resilient_foundry.tuning.advice import SAFE_IDLE, Advice, advise, caution, keepalive_expiry
from resilient_foundry.tuning.calls import OVER, Budget, Seen, Service, Way, calling
from resilient_foundry.tuning.capacity import LIMITS, Knee, Scaling, Step, fit, is_flat, knee, little, rates
from resilient_foundry.tuning.figures import estimated_quantile, quantile
from resilient_foundry.tuning.idle import Idle, idle_limit, stale
from resilient_foundry.tuning.load import Call, Load, closed, opened
from resilient_foundry.tuning.proof import Contender, objections

T = TypeVar("T")

RECOMMENDED = "recommended"
DEFAULT = "library default"
UNLIMITED = "unlimited"
_FOR_CAPACITY = 0.35
_FOR_IDLE = 0.12
_PASSES = 3
_ROUNDS = 3
"""As many as fit are made; so many are meant to."""
_MOST_ROUNDS = 9
_MEASURED = 0.65
"""The share of a turn that is measured; the rest goes by connecting, and waiting for the last answers."""
_PIECES = 5
_OPEN_SHARE = 0.8
_IN_LINE = 2
"""Callers beyond the places of a limit, so that whoever leaves finds somebody waiting."""
_AT_A_TIME = 8
"""A measurement lasts at least so many answers one after the other."""
_AROUND = (0.9, 0.92, 0.94, 0.96, 0.98, 1.0, 1.02, 1.04, 1.06, 1.1)
"""Pauses that try the recommended expiry, as shares of it."""
_TOO_LATE = 4
"""Calls under way at fixed moments, times callers, above which one is not sent at all."""

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What may be spent, and for how many callers it is. Seconds."""

    requests: int = 30_000
    seconds: float = 120.0
    callers: int = 32
    p95: float | None = None
    """Answers are to take no longer, 95 of 100, without the wait for a place."""
    is_model: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """What was measured, and what follows."""

    library: str
    steps: tuple[Step, ...]
    knee: Knee
    scaling: Scaling | None
    little: float
    idle: Idle
    tried: Advice
    """The settings that were to be proved."""
    contenders: tuple[Contender, ...]
    objections: tuple[str, ...]
    cautions: tuple[str, ...]
    requests: int
    seconds: float

    @property
    def advice(self) -> Advice | None:
        """The settings that were proved; None where no clear winner was found."""
        return None if self.objections else self.tried


async def tune(service: Service, allowed: Limits, *, progress: Progress = lambda _: None, seed: int = 1) -> Tuning:
    """Measure, and judge.

    Raises `TooManyErrorsError` where the server fails more than 2 % of the calls, and what the library raises where
    the first of them is not answered.
    """
    run = _Run(service, allowed, progress, random.Random(seed))  # noqa: S311 - the same order each time
    return await run.whole()


@dataclass(slots=True)
class _Run:
    service: Service
    allowed: Limits
    progress: Progress
    chance: random.Random
    budget: Budget = field(init=False)
    connecting: list[float] = field(default_factory=list[float])

    def __post_init__(self) -> None:
        self.budget = Budget(requests=self.allowed.requests, seconds=self.allowed.seconds)

    async def whole(self) -> Tuning:
        allowed, service = self.allowed, self.service
        self.progress("asking once")
        alone = await self.first()
        steps = await self.capacity(alone)
        found = knee(steps, p95=allowed.p95)
        chosen = next(each for each in steps if each.limit == found.limit)
        self.progress("waiting for the server to close an unused connection")
        idle = await idle_limit(service, self.budget, seconds=min(_FOR_IDLE * allowed.seconds, self.budget.time_left))
        connect = quantile(self.connecting, 0.99)
        advice = advise(
            limit=found.limit,
            rate=chosen.rate,
            p99=chosen.took(0.99),
            connect=connect,
            callers=allowed.callers,
            expiry=keepalive_expiry(closed_after=idle.closed_after, watched=idle.watched, rtt=connect),
            is_model=allowed.is_model,
        )
        against, cautions = await self.paused(advice.keepalive_expiry)
        contenders = await self.proof(advice, chosen.rate)
        self.budget.check()
        mine, *others = contenders
        against = [*objections(mine, others), *against]
        if not found.in_time:
            against.append("95 of 100 answers take longer than --p95 allows, even one at a time")
        if advice.keepalive_expiry <= 0:
            against.append("the server closes connections at once when they are not used")
        if idle.closed_after is None:
            cautions.append(
                f"the server closed no unused connection in {idle.watched:.3g} s: keepalive_expiry stays at "
                f"{advice.keepalive_expiry:g} s, which suits the {SAFE_IDLE / 0.8:g} s of uvicorn and Node; "
                "with more --seconds more can be seen"
            )
        about = caution(found.limit, service.library)
        return Tuning(
            library=service.library,
            steps=tuple(steps),
            knee=found,
            scaling=fit([(each.limit, each.rate) for each in steps]),
            little=little(steps),
            idle=idle,
            tried=advice,
            contenders=tuple(contenders),
            objections=tuple(against),
            cautions=(*cautions, *([about] if about else [])),
            requests=self.budget.sent,
            seconds=time.monotonic() - self.budget.began,
        )

    async def first(self) -> float:
        """The seconds of an answer to one caller; what goes wrong is raised as it is."""
        async with calling(self.service, Way("first"), self.budget) as (call, seen):
            for _ in range(3):
                await call()
            self.connecting += seen.connecting
            return min(seen.services)

    async def capacity(self, alone: float) -> list[Step]:
        """What each limit came to: up and up, until two steps bring nothing more; then the same ones again."""
        callers = self.allowed.callers
        limits = [each for each in LIMITS if each < callers] + [callers]
        until = time.monotonic() + _FOR_CAPACITY * self.allowed.seconds
        requests = int(_FOR_CAPACITY * self.allowed.requests)
        measured: dict[int, tuple[list[float], list[float]]] = {}

        async def step(limit: int, seconds: float, calls: int) -> None:
            self.progress(f"{limit} at once")
            each, latencies = await self.step(limit, seconds, calls)
            kept = measured.setdefault(limit, ([], []))
            kept[0].extend(each)
            kept[1].extend(latencies)
            self.budget.check()

        cells = _PASSES * len(limits)
        seconds = max(_FOR_CAPACITY * self.allowed.seconds / cells / 2, _AT_A_TIME * alone)
        for limit in limits:
            await step(limit, seconds, requests // cells)
            is_late = len(measured) > 1 and time.monotonic() + seconds > until
            if is_late or is_flat([harmonic_mean(each) for each, _ in measured.values() if each]):
                break
        turns = (_PASSES - 1) * len(measured)
        seconds = max(seconds, _MEASURED * (until - time.monotonic()) / turns)
        calls = max(1, requests - self.budget.sent) // turns
        for _ in self.rounds(until, most=_MOST_ROUNDS):
            for limit in self.shuffled(list(measured)):
                await step(limit, seconds, calls)
        return [Step(limit, tuple(each), tuple(took)) for limit, (each, took) in sorted(measured.items()) if each]

    async def step(self, limit: int, seconds: float, calls: int) -> tuple[list[float], list[float]]:
        """Answers a second in each piece of the time, and the seconds of each answer, of a limit of ours."""
        callers = limit + _IN_LINE
        way = Way(str(limit), Advice(limit=limit, keepalive_expiry=SAFE_IDLE, connect=5, read=30, deadline=120))
        async with calling(self.service, way, self.budget) as (call, seen):
            await self.warm(call, limit)
            seen.services.clear()
            load = await self.closed(call, seen, callers=callers, seconds=seconds, calls=calls)
            self.connecting += seen.connecting
            ended = [moment for moment in load.ended if moment <= seconds]
            return rates(ended, at_once=limit, pieces=_PIECES), list(seen.services)

    async def warm(self, call: Call, limit: int) -> None:
        """Open the connections."""
        at_once = min(limit, self.allowed.callers)
        await closed(call, callers=at_once, seconds=10, calls=at_once, enough=self._is_enough)

    async def closed(self, call: Call, seen: Seen, *, callers: int, seconds: float, calls: int) -> Load:
        """Callers that ask again at once; who has no place when the time is over is sent home, and not counted."""
        seen.until = time.monotonic() + seconds
        load = await closed(call, callers=callers, seconds=seconds, calls=max(calls, 1), enough=self._is_enough)
        seen.until = float("inf")
        del load.errors[OVER]
        return load

    async def opened(self, call: Call, seen: Seen, *, rate: float, seconds: float) -> Load:
        """Calls at fixed moments; one that was not sent in twice the time took at least so long."""
        seen.until = time.monotonic() + 2 * seconds
        most = _TOO_LATE * self.allowed.callers
        load = await opened(call, rate=rate, seconds=seconds, most=most, enough=self._is_enough)
        seen.until = float("inf")
        late = load.errors.pop(OVER, 0) + load.errors.pop("TooManyUnderWay", 0)
        load.latencies.extend([2 * seconds] * late)
        return load

    def shuffled(self, names: list[T]) -> list[T]:
        """In an order drawn anew."""
        return self.chance.sample(names, len(names))

    def rounds(self, until: float, *, most: int) -> Generator[int]:
        """Rounds, the first in any case, each other if one as long as the longest is over by then."""
        longest = 0.0
        for number in range(1, most + 1):
            began = time.monotonic()
            if number > 1 and (began + longest > until or self.budget.is_spent):
                return
            yield number
            longest = max(longest, time.monotonic() - began)

    def _is_enough(self) -> bool:
        return self.budget.is_spent

    async def paused(self, expiry: float) -> tuple[list[str], list[str]]:
        """What speaks against the expiry, and what is to be known of it."""
        if expiry * max(_AROUND) > 2 * _FOR_IDLE * self.allowed.seconds:
            return [], ["the pauses around keepalive_expiry were not tried, for want of time"]
        self.progress("pausing for as long as connections are kept")
        pauses = [share * expiry for share in _AROUND]
        met = await stale(self.service, self.budget, expiry=expiry, pauses=pauses)
        return [f"after a pause, a connection was gone: {name}" for name in met], []

    async def proof(self, advice: Advice, rate: float) -> list[Contender]:
        """All of them in turns; the recommended one comes first in what is given."""
        ways = ways_around(advice)
        seen_of: dict[str, list[_Turn]] = {way.name: [] for way in ways}
        rate *= _OPEN_SHARE
        until = time.monotonic() + 0.97 * self.budget.time_left
        turns = _ROUNDS * len(ways)
        seconds = _MEASURED * self.budget.time_left / turns / 2
        calls = max(1, self.budget.requests_left // turns // 2)
        for number in self.rounds(until, most=_MOST_ROUNDS):
            for way in self.shuffled(ways):
                self.progress(f"in turns, round {number}: {way.name}")
                seen_of[way.name].append(await self.turn(way, seconds, calls, rate))
                self.budget.check()
        names = [way.name for way in sorted(ways, key=lambda way: way.name != RECOMMENDED)]
        limits = {way.name: way.limit for way in ways}
        return [_contender(name, limits[name], seen_of[name]) for name in names]

    async def turn(self, way: Way, seconds: float, calls: int, rate: float) -> _Turn:
        """One contender in one round: callers that ask again at once, then calls at fixed moments."""
        callers = self.allowed.callers
        async with calling(self.service, way, self.budget) as (call, seen):
            await self.warm(call, way.limit or callers)
            warm = seen.connects
            again = await self.closed(call, seen, callers=callers, seconds=seconds, calls=calls)
            fixed = await self.opened(call, seen, rate=rate, seconds=min(seconds, calls / rate))
            under_way = min(way.limit or callers, callers)
            ended = [moment for moment in again.ended if moment <= seconds]
            return _Turn(again, fixed, fmean(rates(ended, at_once=under_way) or [0.0]), seen.connects - warm)


@dataclass(frozen=True, slots=True)
class _Turn:
    again: Load
    fixed: Load
    rate: float
    connects: int


def ways_around(advice: Advice) -> list[Way]:
    """The recommendation, what one has without it, and what is on both sides of it."""
    ways = [Way(RECOMMENDED, advice), Way(DEFAULT), Way(UNLIMITED, unlimited=True)]
    for limit in dict.fromkeys((advice.limit // 2, 2 * advice.limit)):
        if limit:
            told = {
                name: getattr(advice, name) for name in ("keepalive_expiry", "connect", "read", "deadline", "queue")
            }
            ways.append(Way(f"limit of {limit}", Advice(limit=limit, **told)))
    return ways


def _contender(name: str, limit: int | None, turns: Sequence[_Turn]) -> Contender:
    errors: dict[str, int] = {}
    for turn in turns:
        for load in (turn.again, turn.fixed):
            for met, count in load.errors.items():
                errors[met] = errors.get(met, 0) + count
    latencies = [took for turn in turns for took in turn.again.latencies]
    return Contender(
        name=name,
        limit=limit,
        rates=tuple(turn.rate for turn in turns),
        p50=quantile(latencies, 0.5),
        p99=estimated_quantile(latencies, 0.99),
        open_p99=estimated_quantile([took for turn in turns for took in turn.fixed.latencies], 0.99),
        answers=len(latencies) + sum(len(turn.fixed.latencies) for turn in turns),
        connects=sum(turn.connects for turn in turns),
        errors=errors,
    )


def run(service: Service, allowed: Limits, *, progress: Progress = lambda _: None) -> Tuning:
    """`tune`, for those who don't await."""
    return asyncio.run(tune(service, allowed, progress=progress))
