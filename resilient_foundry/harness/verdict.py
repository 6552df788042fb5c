"""What became of a contract on a runtime."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from resilient_foundry.foundry.deviations import Deviation
from resilient_foundry.harness.contract import Contract, Level
from resilient_foundry.harness.evidence import Exchange


class Verdict(Enum):
    """How a contract stands."""

    HELD = "held"
    """The server did what it promised."""
    BROKEN = "broken"
    """It did not."""
    DEVIATES = "deviates"
    """It did not, and the ledger of deviations says so."""
    FIXED = "fixed"
    """It did, and the ledger of deviations says that it does not: the line is out of date."""
    NOT_EXERCISED = "not exercised"
    """Nobody could ask: there is no such model, or the server is not ours to change."""
    NOT_RECORDED = "not recorded"
    """There is no tape of it, or one of something else."""
    OUTSIDE = "outside"
    """The contract is about other versions."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The verdict on one contract, in one sentence, with the evidence.

    `seconds` is how long it took by the clock of the runtime, that of the tape in replay. `examples` counts the runs
    with drawn values; `smallest` are the values, in order, of the smallest run that broke it.
    """

    contract: Contract
    verdict: Verdict
    reason: str = ""
    exchanges: tuple[Exchange, ...] = ()
    culprit: Exchange | None = None
    """The exchange that broke it."""
    deviation: Deviation | None = None
    seconds: float = 0.0
    examples: int = 0
    smallest: tuple[str, ...] = ()

    @property
    def is_failure(self) -> bool:
        """Whether somebody must look: a MUST is broken, or a tape or the ledger is out of date."""
        if self.verdict is Verdict.BROKEN:
            return self.contract.level is Level.MUST
        return self.verdict in {Verdict.FIXED, Verdict.NOT_RECORDED}


@dataclass(frozen=True, slots=True)
class Runtime:
    """What is verified: product and version, such as "foundry-local" and "2.2.1"; `where` is its URL or its folder."""

    product: str
    version: str
    where: str = ""

    def __str__(self) -> str:
        return f"{self.product} {self.version}"

    @property
    def slug(self) -> str:
        """The name of its folder of tapes."""
        return f"{self.product}-{self.version}"


@dataclass(frozen=True, slots=True)
class Verification:
    """All verdicts on one runtime. `way` says how: "tapes", "live" or "fuzz"."""

    runtime: Runtime
    outcomes: tuple[Outcome, ...]
    way: str

    @property
    def failures(self) -> tuple[Outcome, ...]:
        """What somebody must look at."""
        return tuple(each for each in self.outcomes if each.is_failure)

    def of(self, verdict: Verdict) -> tuple[Outcome, ...]:
        """The outcomes with this verdict."""
        return tuple(each for each in self.outcomes if each.verdict is verdict)
