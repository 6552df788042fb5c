"""What happens in the demo: each scene is a chat and what is done to its connections."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from resilient_foundry.harness.faults import (
    Answer,
    CloseSilently,
    CutAfterEvents,
    CutBeforeFirstEvent,
    Fault,
    InBandError,
    Reset,
    Stall,
    StallAfterEvents,
    Truncate,
)


class Refusing(Enum):
    """Whether connections are refused, and until when."""

    NO = "no"
    UNTIL_A_RETRY = "until a retry is scheduled"
    UNTIL_THE_CIRCUIT_OPENS = "until the circuit opens"


@dataclass(frozen=True, slots=True)
class Scene:
    """One chat: `fault` names what goes wrong, `faults` are done to its requests in order, the rest pass."""

    fault: str
    streamed: bool
    faults: tuple[Fault, ...] = ()
    refusing: Refusing = Refusing.NO


_BUSY = Answer(
    503, headers={"Retry-After": "1", "Content-Type": "application/json"}, body=b'{"error":{"message":"busy"}}'
)
_SLOW_DOWN = Answer(429, headers={"retry-after-ms": "300"})

SCENES = (
    Scene("nothing", streamed=True),
    Scene("connection refused", streamed=False, refusing=Refusing.UNTIL_A_RETRY),
    Scene("connection reset", streamed=True, faults=(Reset(), Reset())),
    Scene("503 with Retry-After", streamed=True, faults=(_BUSY,)),
    Scene("429 with Retry-After", streamed=False, faults=(_SLOW_DOWN,)),
    Scene("silence instead of an answer", streamed=False, faults=(Stall(),)),
    Scene("closed without an answer", streamed=False, faults=(CloseSilently(),)),
    Scene("cut before its first event", streamed=True, faults=(CutBeforeFirstEvent(),)),
    Scene("error inside a 200", streamed=True, faults=(InBandError(events=0),)),
    Scene("cut in mid-stream", streamed=True, faults=(CutAfterEvents(12),)),
    Scene("silence in mid-stream", streamed=True, faults=(StallAfterEvents(20),)),
    Scene("ended without a terminator", streamed=True, faults=(Truncate(30),)),
    Scene("outage", streamed=True, refusing=Refusing.UNTIL_THE_CIRCUIT_OPENS),
    Scene("nothing", streamed=False),
)
"""The chats of the demo, in order."""
