"""Record: run contracts against a real runtime, and keep what passed as tapes that prove the same."""

from __future__ import annotations

import platform
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Final

from resilient_foundry.harness.contract import Contract
from resilient_foundry.harness.subject import Subject, Taped
from resilient_foundry.harness.tapes import Tape, TapeError
from resilient_foundry.harness.tapes.hygiene import problems
from resilient_foundry.harness.tapes.normalise import normalise, structure, without_chance
from resilient_foundry.harness.verdict import Outcome, Runtime
from resilient_foundry.harness.verify import outside_of, run

RECORDER: Final = "resilient-foundry record 1"
"""What made a tape; the number is raised when tapes that are made anew come out otherwise."""


class Fate(Enum):
    """What became of a tape."""

    NEW = "new"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    """Nothing but times differs, so the old one stays."""
    REFUSED = "refused"
    """It would not be true; the old one stays, if there is one."""
    LEFT_OUT = "left out"
    """The contract is not about this runtime, or can't be exercised on it."""
    PRUNED = "pruned"
    """Its contract is gone."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A tape: what became of it, and why. `outcome` is that of the contract, live."""

    path: Path
    fate: Fate
    reason: str = ""
    outcome: Outcome | None = None


def record(
    contracts: Iterable[Contract],
    subject: Subject,
    into: Path,
    *,
    on_recorded: Callable[[Recorded], None] = lambda _: None,
) -> tuple[Recorded, ...]:
    """Record these contracts on this subject into the folder of its runtime below `into`.

    A tape is written only where the contract gets the same verdict for the same reason from it as it got live, and
    where nothing is on it that has no place on a tape. `on_recorded` is told of each as it is done.
    """
    recorded: list[Recorded] = []
    with tempfile.TemporaryDirectory(prefix="resilient-foundry-") as staging:
        staged = Path(staging) / subject.runtime.slug
        staged.mkdir()
        for contract in contracts:
            done = _record(contract, subject, Taped(staged), into / subject.runtime.slug)
            on_recorded(done)
            recorded.append(done)
    return tuple(recorded)


def prune(contracts: Iterable[Contract], folder: Path) -> tuple[Recorded, ...]:
    """Remove the tapes of a runtime whose contracts are gone. `contracts` are all that there are."""
    subject = Taped(folder)
    known = {subject.path(each) for each in contracts if outside_of(each, subject) is None}
    gone = [path for path in sorted(folder.rglob("*.yaml")) if path not in known]
    for path in gone:
        path.unlink()
        if not any(path.parent.iterdir()):
            path.parent.rmdir()
    return tuple(Recorded(path, Fate.PRUNED, "its contract is gone") for path in gone)


def _record(contract: Contract, subject: Subject, staged: Taped, folder: Path) -> Recorded:
    on_stage = staged.path(contract)
    path = folder / on_stage.relative_to(staged.folder)
    outside = outside_of(contract, subject)
    if outside is not None:
        return Recorded(path, Fate.LEFT_OUT, outside.reason, outside)
    live = run(contract, subject)
    tape = Tape(normalise(live.exchanges), provenance(contract, subject.runtime))
    tape.save(on_stage)
    reason = next(iter(problems(on_stage)), None) or _untrue(live, run(contract, staged))
    if reason:
        return Recorded(path, Fate.REFUSED, reason, live)
    fate = _fate(path, Tape.load(on_stage))
    if fate is not Fate.UNCHANGED:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(on_stage, path)
    return Recorded(path, fate, live.reason, live)


def provenance(contract: Contract, runtime: Runtime) -> Mapping[str, str]:
    """Where a tape comes from, as it stands on it."""
    return {
        "contract": contract.name,
        "day": datetime.now(UTC).date().isoformat(),
        "platform": f"{platform.system()} {platform.machine()}".lower(),
        "product": runtime.product,
        "recorder": RECORDER,
        "version": runtime.version,
    }


def _untrue(live: Outcome, played: Outcome) -> str:
    """What the tape says otherwise than the runtime said; nothing, where they agree."""
    if (live.verdict, without_chance(live.reason)) == (played.verdict, without_chance(played.reason)):
        return ""
    return f"live it {_said(live)}; from the tape it {_said(played)}"


def _said(outcome: Outcome) -> str:
    return f"is {outcome.verdict.value}" + (f" ({outcome.reason})" if outcome.reason else "")


def _fate(path: Path, tape: Tape) -> Fate:
    try:
        old = Tape.load(path)
    except FileNotFoundError:
        return Fate.NEW
    except TapeError:
        return Fate.CHANGED
    same = structure(old.exchanges) == structure(tape.exchanges)
    return Fate.UNCHANGED if same and _origin(old) == _origin(tape) else Fate.CHANGED


def _origin(tape: Tape) -> Mapping[str, object]:
    """Where it comes from, but for the day."""
    return {name: value for name, value in tape.provenance.items() if name != "day"}
