"""Verify: ask a runtime, or its tapes, to keep contracts, and say how each of them stands."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from resilient_foundry.foundry.deviations import Deviation, deviations
from resilient_foundry.harness.answer import BrokenError
from resilient_foundry.harness.contract import Contract
from resilient_foundry.harness.evidence import Exchange
from resilient_foundry.harness.session import Session
from resilient_foundry.harness.subject import NotRecordedError, Opened, Subject
from resilient_foundry.harness.tapes import Recorder, UnansweredError
from resilient_foundry.harness.verdict import Outcome, Verdict, Verification

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

Draw = Callable[["SearchStrategy[Any]"], Any]


class Judge(Protocol):
    """How one contract stands with a subject, in the light of the deviations that are known."""

    def __call__(self, contract: Contract, subject: Subject, *, ledger: Iterable[Deviation]) -> Outcome:
        """Ask for it."""
        ...


def verify(
    contracts: Iterable[Contract],
    subject: Subject,
    *,
    ledger: Iterable[Deviation] | None = None,
    asked_by: Judge | None = None,
    way: str | None = None,
    on_outcome: Callable[[Outcome], None] = lambda _: None,
) -> Verification:
    """How each contract stands with this subject.

    `ledger` holds the deviations that are known, those that ship with this package unless others are given; it is kept
    strictly, so a deviation that is gone is a failure too. `asked_by` asks for one contract, and once unless another is
    given, which may say what `way` it goes. `on_outcome` is told each as it is known.
    """
    known = tuple(deviations() if ledger is None else ledger)
    ask = asked_by or judge
    outcomes: list[Outcome] = []
    for contract in contracts:
        outcome = ask(contract, subject, ledger=known)
        on_outcome(outcome)
        outcomes.append(outcome)
    return Verification(subject.runtime, tuple(outcomes), way or subject.way)


def judge(contract: Contract, subject: Subject, ledger: Iterable[Deviation] = ()) -> Outcome:
    """How one contract stands with this subject, in the light of the deviations that are known."""
    outside = outside_of(contract, subject)
    return outside if outside is not None else in_the_light_of(ledger, run(contract, subject), subject)


def outside_of(contract: Contract, subject: Subject) -> Outcome | None:
    """The outcome of a contract that this subject is not asked about; None for one that it is."""
    version = subject.runtime.version
    if not contract.versions.contains(version, prereleases=True):
        return Outcome(contract, Verdict.OUTSIDE, f"it is about versions {contract.versions}, and this is {version}")
    lacking = sorted(contract.needs - subject.offers)
    if lacking:
        return Outcome(contract, Verdict.NOT_EXERCISED, f"it needs {', '.join(map(repr, lacking))}, which is not here")
    return None


def run(contract: Contract, subject: Subject, draw: Draw | None = None) -> Outcome:
    """Run a contract once. Deviations are not looked at."""
    recorder: Recorder | None = None
    try:
        with subject.open(contract) as opened:
            recorder = Recorder(opened.transport, opened.clock)
            began = opened.clock()
            reason, culprit = _broken_by(contract, opened, recorder, subject.runtime.version, draw)
            seconds = opened.clock() - began
            unused = opened.unused() if reason is None else ()
    except NotRecordedError as error:
        return Outcome(contract, Verdict.NOT_RECORDED, str(error))
    except UnansweredError as error:
        return Outcome(contract, Verdict.NOT_RECORDED, str(error), recorder.exchanges if recorder else ())
    if unused:
        asked = ", ".join(str(each.request) for each in unused)
        reason = f"the tape holds what this contract does not ask for: {asked}"
        return Outcome(contract, Verdict.NOT_RECORDED, reason, recorder.exchanges, unused[0])
    verdict = Verdict.HELD if reason is None else Verdict.BROKEN
    return Outcome(contract, verdict, reason or "", recorder.exchanges, culprit, seconds=seconds)


def in_the_light_of(ledger: Iterable[Deviation], outcome: Outcome, subject: Subject) -> Outcome:
    """The outcome, with what the ledger says about it."""
    known = next((each for each in ledger if each.covers(outcome.contract.name, subject.runtime.version)), None)
    if known is None or outcome.verdict is Verdict.NOT_RECORDED:
        return outcome
    if outcome.verdict is Verdict.BROKEN:
        verdict, reason = Verdict.DEVIATES, f"{known.reason} ({outcome.reason})"
    else:
        verdict, reason = Verdict.FIXED, f"it holds, and the ledger says that it does not: {known.reason}"
    return replace(outcome, verdict=verdict, reason=reason, deviation=known)


def _broken_by(
    contract: Contract, opened: Opened, recorder: Recorder, version: str, draw: Draw | None
) -> tuple[str | None, Exchange | None]:
    """What broke it and in which exchange; None where it held."""
    session = Session(recorder, opened.models, base_url=opened.base_url, version=version, draw=draw, sleep=opened.sleep)
    try:
        contract.check(session)
    except BrokenError as error:
        return str(error), error.exchange
    except UnansweredError:
        raise
    except Exception as error:
        if type(error).__module__.startswith("hypothesis"):  # how it takes a drawn value back, and no verdict
            raise
        return _stumbled(contract, error), recorder.exchanges[-1] if recorder.exchanges else None
    finally:
        session.close()
    return None, None


def _stumbled(contract: Contract, error: Exception) -> str:
    """What an error says that no check raised, and the line of the contract's file that it came through last."""
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    file = inspect.getfile(contract.check)
    lines = [frame.line for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f"{said} at `{lines[-1]}`" if lines else said
