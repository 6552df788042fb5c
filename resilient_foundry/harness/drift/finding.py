"""What drifted: findings, how bad each is for a client of the first server, and all of them together."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum

from resilient_foundry.harness.drift.timing import Times
from resilient_foundry.harness.evidence import Exchange
from resilient_foundry.harness.verdict import Runtime


class Grade(IntEnum):
    """What a difference means for a client that was built on the first server; the higher, the worse."""

    COMPATIBLE = 0
    """It notices nothing, unless it looks for it."""
    SUSPICIOUS = 1
    """It works if it is tolerant; somebody had better look."""
    BREAKING = 2
    """What it relied on is gone."""


class Area(Enum):
    """Where a difference was seen."""

    VERDICTS = "verdicts"
    """Contracts that one keeps and the other breaks."""
    ANSWERS = "answers"
    """Statuses, and how answers end."""
    SHAPES = "shapes"
    """Members and types of JSON, in answers and in the events of streams."""
    STREAMS = "streams"
    """Which kinds of events there are, and what follows what."""
    FRAMING = "framing"
    """How it lies on the wire: line ends, chunks, connections, headers said twice."""
    HEADERS = "headers"
    """What the headers of an answer say."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference, in one sentence, with an exchange of each side that shows it.

    `where` is the endpoint or the contract. The sentence holds no values but names, types, statuses and short words of
    the protocol, so it can be shown to anybody.
    """

    area: Area
    grade: Grade
    where: str
    says: str
    before: Exchange | None = None
    after: Exchange | None = None


@dataclass(frozen=True, slots=True)
class Drift:
    """What is otherwise in `after` than in `before`, the worst first; times are told and never judged.

    `compared` counts the contracts that both could be asked, `left_out` the others.
    """

    before: Runtime
    after: Runtime
    findings: tuple[Finding, ...]
    times: tuple[Times, ...]
    compared: int
    left_out: int

    @property
    def grade(self) -> Grade:
        """The worst of all findings."""
        return max((each.grade for each in self.findings), default=Grade.COMPATIBLE)

    def of(self, grade: Grade) -> tuple[Finding, ...]:
        """The findings of this grade."""
        return tuple(each for each in self.findings if each.grade is grade)
