"""Fuzz: ask a server to keep a contract with values that hypothesis draws, and say the smallest that it can't."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Never, Self

from resilient_foundry._extras import require
from resilient_foundry.foundry.deviations import Deviation, deviations
from resilient_foundry.harness.contract import Contract
from resilient_foundry.harness.shapes import shown
from resilient_foundry.harness.subject import Opened, Subject
from resilient_foundry.harness.verdict import Outcome, Runtime, Verdict
from resilient_foundry.harness.verify import in_the_light_of, outside_of, run

if TYPE_CHECKING:
    from hypothesis.strategies import DataObject, SearchStrategy

EXAMPLES: Final = 25
SHRINKING_SECONDS: Final = 10.0
"""How long a smaller run is looked for; a hang costs its whole limit each time."""
_LONGEST: Final = 2000
"""Letters of a drawn value that are kept."""


def fuzz(
    contract: Contract,
    subject: Subject,
    *,
    examples: int = EXAMPLES,
    ledger: Iterable[Deviation] | None = None,
    shrinking: float = SHRINKING_SECONDS,
) -> Outcome:
    """How a contract stands with this subject when its values are drawn, up to so many times; the same ones each time.

    Where it breaks, `smallest` are the values of the smallest run that was found within `shrinking` seconds, and the
    evidence is that of this run alone. A contract of the ledger may break and may hold, since it is not known for which
    values the line speaks. The server is opened once, and anew after each run that broke the contract.

    Raises `ValueError` for tapes, which answer only what was recorded, and `MissingExtraError` without hypothesis.
    """
    if subject.way == "tapes":
        raise ValueError("tapes answer only what was recorded; fuzz a server that runs")
    if examples < 1:
        raise ValueError(f"examples is {examples}; it takes 1 or more")
    outside = outside_of(contract, subject)
    if outside is not None:
        return outside
    known = tuple(deviations() if ledger is None else ledger)
    covered = any(each.covers(contract.name, subject.runtime.version) for each in known)
    search = _Search(contract, subject, 0.0 if covered else shrinking)
    outcome = search.outcome(examples)
    return outcome if outcome.verdict is Verdict.HELD else in_the_light_of(known, outcome, subject)


class _EnoughError(BaseException):
    """The time for shrinking is over. No `Exception`, so that hypothesis lets it pass."""


class _Search:
    """Runs of one contract, and what is known of them so far."""

    def __init__(self, contract: Contract, subject: Subject, shrinking: float) -> None:
        self._contract = contract
        self._kept = _KeptOpen(subject)
        self._shrinking = shrinking
        self._examples = 0
        self._last: Outcome | None = None
        self._broken: Outcome | None = None
        self._until: float | None = None
        self._exit: SystemExit | None = None

    def outcome(self, examples: int) -> Outcome:
        """Search, and say what was found."""
        hypothesis = require("hypothesis", extra="contracts")
        strategies = require("hypothesis.strategies", extra="contracts")
        settings = hypothesis.settings(
            max_examples=examples,
            derandomize=True,
            deadline=None,
            database=None,
            phases=(hypothesis.Phase.generate, hypothesis.Phase.shrink),
            suppress_health_check=list(hypothesis.HealthCheck),
            verbosity=hypothesis.Verbosity.quiet,
            report_multiple_bugs=False,
            print_blob=False,
        )
        began = time.monotonic()
        with self._kept:
            try:
                settings(hypothesis.given(strategies.data())(self._try))()
            except _EnoughError:
                if self._exit is not None:
                    raise self._exit from None
            except Exception:
                if self._broken is None:
                    raise  # hypothesis has something to say about a strategy
        found = self._broken or self._last
        if found is None:
            raise ValueError(f"{self._contract.name} draws nothing that it could be tried with")
        return replace(found, seconds=time.monotonic() - began, examples=self._examples)

    def _try(self, data: DataObject) -> None:
        """One run; raises where the contract broke."""
        if self._until is not None and time.monotonic() > self._until:
            raise _EnoughError
        drawn: list[str] = []

        def draw(strategy: SearchStrategy[Any]) -> Any:  # whatever the strategy gives
            value = data.draw(strategy)
            drawn.append(shown(value, _LONGEST))
            return value

        try:
            outcome = run(self._contract, self._kept, draw)
        except SystemExit as error:  # by a signal; hypothesis would take it for a failure and run it again
            self._exit = error
            raise _EnoughError from error
        if self._until is None:
            self._examples += 1
        self._last = outcome
        if outcome.verdict is Verdict.BROKEN:
            self._breaks(replace(outcome, smallest=tuple(drawn)))

    def _breaks(self, outcome: Outcome) -> Never:
        """Keep it if it is the smallest so far, and tell hypothesis."""
        if self._broken is None or _size(outcome) <= _size(self._broken):
            self._broken = outcome
        if self._until is None:
            self._until = time.monotonic() + self._shrinking
        self._kept.renew()
        if not self._shrinking:
            raise _EnoughError
        raise AssertionError(outcome.reason)


def _size(outcome: Outcome) -> int:
    return sum(map(len, outcome.smallest))


class _KeptOpen:
    """A subject that stays open from run to run: a server that costs a process to open is opened once."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._stack = ExitStack()
        self._opened: Opened | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.renew()

    @property
    def runtime(self) -> Runtime:
        """What it is."""
        return self._subject.runtime

    @property
    def way(self) -> str:
        """How it is asked."""
        return self._subject.way

    @property
    def offers(self) -> frozenset[str]:
        """What it can do."""
        return self._subject.offers

    @contextmanager
    def open(self, contract: Contract) -> Generator[Opened]:
        """The way that is open already, or else a new one."""
        if self._opened is None:
            self._opened = self._stack.enter_context(self._subject.open(contract))
        yield self._opened

    def renew(self) -> None:
        """Close it; the next run opens it again."""
        self._opened = None
        self._stack.close()
