"""What calls left behind: answers not closed, permits and probes not given back, connections that are still busy."""

from __future__ import annotations

import os
import traceback
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from resilient_foundry._transports.bind import busy_connections
from resilient_foundry._transports.body import Body, openings, settle_the_lost
from resilient_foundry.events import Outcome
from resilient_foundry.holders import all_of, holders

_OURS = str(Path(__file__).parent) + os.sep
_NOT_THE_CALLERS = frozenset({"httpx", "httpx2", "contextlib.py"})


class LeakError(AssertionError):
    """Something was left behind. `leaks` says what, a few words each."""

    def __init__(self, leaks: list[str]) -> None:
        self.leaks = leaks
        super().__init__("; ".join(leaks))


@dataclass(frozen=True, slots=True)
class _Opened:
    """An answer, and the line of the program that asked for it."""

    body: Body
    where: str

    @property
    def is_left(self) -> bool:
        end = self.body.end
        return not self.body.closed and (end is None or end.outcome is Outcome.ABANDONED)

    def __str__(self) -> str:
        attempt = self.body.attempt
        return f"the answer to attempt {attempt.number} ({attempt.status}), asked for at {self.where}, was not closed"


@contextmanager
def no_leaks() -> Generator[None]:
    """Raise `LeakError` at the end of the block where something is left that was not there at its beginning.

    Looked for are answers that were neither read to their end nor closed (the error names the line that asked for
    them), also those that the garbage collector took; places of a limiter, and of a circuit's probe, that were not
    given back; and connections that are still busy in the pool of a transport of ours.

    As a pytest fixture: `pytest_plugins = ["resilient_foundry.pytest_plugin"]` in a conftest.py, and
    `@pytest.mark.usefixtures("no_leaks")`. What other threads have under way is found too: it is for tests that wait
    for theirs.
    """
    settle_the_lost()
    held, busy = _held(), busy_connections()
    opened: list[_Opened] = []
    looked_at = 0

    def note(body: Body) -> None:
        nonlocal looked_at
        if len(opened) >= 1.25 * looked_at + 50:  # of many answers only those that are open are remembered
            opened[:] = [answer for answer in opened if answer.is_left]
            looked_at = len(opened)
        opened.append(_Opened(body, _asked_at()))

    openings.append(note)
    try:
        yield
    finally:
        openings.remove(note)
    settle_the_lost()
    left = [str(answer) for answer in opened if answer.is_left]
    left += (_held() - held).elements()
    left += () if left else (busy_connections() - busy).elements()
    if left:
        raise LeakError(left)


def _held() -> Counter[str]:
    return Counter(words for holder in all_of(holders) for words in holder.held())


def _asked_at() -> str:
    """The innermost line that is neither ours nor the client's."""
    for frame, line in traceback.walk_stack(None):  # as far as needed, and no source is read: there are many answers
        file = frame.f_code.co_filename
        if not file.startswith(_OURS) and _NOT_THE_CALLERS.isdisjoint(file.replace("\\", "/").split("/")):
            return f"{Path(file).name}:{line}"
    return "an unknown line"
