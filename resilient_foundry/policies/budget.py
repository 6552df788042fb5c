"""RetryBudget: how much of the traffic may be repetition."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from dataclasses import dataclass, field

from resilient_foundry.policies._checks import count, number

_BUCKETS = 10
"""Parts of the window: what is older than it leaves in steps of a tenth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryBudget:
    """Lets repeated requests be a `share` of the calls, so that a server in trouble is not met with a multiple.

    `Retry(budget=...)` and `Hedge(budget=...)` that hold the same object spend from the same account, one an origin. In
    each `window` (seconds) an origin may be sent `share` times as many repetitions as calls, and besides `floor` a
    second, 20 in 10 seconds by default, so that a program which calls seldom may still try again. What is refused is
    not lost: the caller gets the failure itself, and the ledger says why. The `max_origins` used last are remembered.
    (Finagle's RetryBudget; Google, "Site Reliability Engineering", chapter 21.)
    """

    share: float = 0.2
    floor: float = 2.0
    window: float = 10.0
    max_origins: int = 1000
    accounts: Accounts = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        number("RetryBudget.share", self.share, at_least=0.0)
        if self.share > 1:
            raise ValueError(f"RetryBudget.share is at most 1, as many repetitions as calls, not {self.share!r}")
        number("RetryBudget.floor", self.floor, at_least=0.0)
        number("RetryBudget.window", self.window, above=0.0)
        count("RetryBudget.max_origins", self.max_origins)
        object.__setattr__(self, "accounts", Accounts(self))

    def called(self, origin: str, now: float) -> None:
        """A call is about to be made for the first time; `now` is in monotonic seconds."""
        self.accounts.called(origin, now)

    def spend(self, origin: str, now: float) -> bool:
        """Whether a request may be repeated now; it is counted, if so."""
        return self.accounts.spend(origin, now)

    def left(self, origin: str, now: float) -> float:
        """How many requests may be repeated now."""
        return self.accounts.left(origin, now)


class Accounts:
    """What each origin was sent within the window: the only state of a budget."""

    def __init__(self, budget: RetryBudget) -> None:
        self._share = budget.share
        self._always = budget.floor * budget.window
        self._bucket = budget.window / _BUCKETS
        self._limit = budget.max_origins
        self._accounts: OrderedDict[str, _Account] = OrderedDict()
        self._lock = threading.Lock()
        self._owner = os.getpid()

    def called(self, origin: str, now: float) -> None:
        """Count a call."""
        with self.locked():
            self._of(origin, now).calls[-1] += 1

    def spend(self, origin: str, now: float) -> bool:
        """Count a repetition, if it may be."""
        with self.locked():
            account = self._of(origin, now)
            if self._left(account) < 1:
                return False
            account.repeat()
            return True

    def left(self, origin: str, now: float) -> float:
        """What is left to an origin."""
        with self.locked():
            return max(0.0, self._left(self._of(origin, now)))

    def _left(self, account: _Account) -> float:
        return self._always + self._share * sum(account.calls) - sum(account.repetitions)

    def _of(self, origin: str, now: float) -> _Account:
        account = self._accounts.get(origin)
        if account is None:
            if len(self._accounts) >= self._limit:
                self._accounts.popitem(last=False)
            account = self._accounts[origin] = _Account()
        self._accounts.move_to_end(origin)
        account.turn_to(int(now / self._bucket))
        return account

    def locked(self) -> threading.Lock:
        """The lock, renewed in the child of a fork."""
        if self._owner != os.getpid():  # another thread may have held the lock at the fork
            self._lock, self._owner = threading.Lock(), os.getpid()
        return self._lock


_NONE: list[int] = []
"""The repetitions of an origin that was never sent any, as most are not."""


class _Account:
    """Calls and repetitions, a number for each tenth of the window, the latest last."""

    __slots__ = ("bucket", "calls", "repetitions")

    def __init__(self) -> None:
        self.bucket = 0
        self.calls = [0] * _BUCKETS
        self.repetitions = _NONE

    def turn_to(self, bucket: int) -> None:
        """Forget what is too old; a clock that went back changes nothing."""
        past = min(bucket - self.bucket, _BUCKETS)
        if past > 0:
            self.bucket = bucket
            self.calls = [*self.calls[past:], *[0] * past]
            if self.repetitions is not _NONE:
                self.repetitions = [*self.repetitions[past:], *[0] * past]

    def repeat(self) -> None:
        """One more repetition."""
        if self.repetitions is _NONE:
            self.repetitions = [0] * _BUCKETS
        self.repetitions[-1] += 1
