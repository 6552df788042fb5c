"""Remedy: mend what stands in a call's way, and ask once more."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from resilient_foundry.call import CLOCK_STEP, options_of, shared_of
from resilient_foundry.events import Remedied
from resilient_foundry.flow import (
    Flow,
    Proceed,
    Request,
    Response,
    discard,
    history,
    now,
    preview,
    remember,
    retry_mode,
    tell,
    wait,
)
from resilient_foundry.policies._checks import count, number
from resilient_foundry.policies.beginning import as_far_as_it_came
from resilient_foundry.policies.repairs import Mended, Repairs, Resting, UnderWay, Yours

TRIED = "resilience.tried"
"""`response.extensions` key: a sentence on what was tried in vain against the failure that this answer is."""

_BODY_OF_A_FAILURE = 64 * 1024
"""Bytes read of an answer that may be thrown away: enough to keep its connection, and to show it after all."""


class Cure(Protocol):
    """What a `Remedy` is for. It may remember what it learned, and is shared by all calls and threads."""

    @property
    def name(self) -> str:
        """What was done, as events tell it, such as `model_loaded`."""
        ...

    @property
    def doing(self) -> str:
        """The beginning of a sentence that goes on with the name of the thing, such as `loading`."""
        ...

    @property
    def failures(self) -> tuple[type[Exception], ...]:
        """What `mend` raises where the cure does not help; anything else is a mistake, and leaves the call."""
        ...

    def prepare(self, request: Request) -> Request:
        """The request as it goes out after all that was mended so far; the one given, where nothing changes for it."""
        ...

    def noticed(self, request: Request, failure: Response | Exception) -> Flow[str | None]:
        """What is to be mended, by a name fit for logs, where this failure of the request shows it; else None.

        Only where the server did nothing with the request: it is asked once more, whatever its method. A flow, which
        asks by `yield from`; where it asks for nothing, `yield from ()` makes it one.
        """
        ...

    def mend(self, request: Request, proceed: Proceed, thing: str) -> Flow[str]:
        """Mend it, and say in a few words what was done. `proceed` is for further requests, which are attempts too.

        `call.derive` makes them, and `flow.discard` closes their answers.
        """
        ...


_OF_A_CURE = ("name", "doing", "failures", "prepare", "noticed", "mend")


@dataclass(frozen=True, slots=True)
class Remedy:
    """Mends what stands in a call's way by a `cure`, and asks once more; at most `times` in one call.

    Choose it for failures whose cause can be removed: a model that is not loaded, a service that has moved. It stands
    inside `Retry`, and further requests of the cure go through the policies further in, so that circuit, limits and
    tracing see them. Callers that meet the same thing at the same time mend it once: one does, the others wait for it.
    After a failure it is not tried again for `pause` seconds, by no call, so that an outage is not made worse.

    Each is told by an event, `Remedied`. What could not be mended fails as it did: the same answer, with a sentence on
    what was tried in its extensions (`resilient_foundry.policies.remedy.TRIED`), or the same error with a note.

    A body that can't be sent whole once more, `CallOptions(retry=False)` and `stamina.set_active(False)` forbid it. It
    ends with the deadline of its call.
    """

    cure: Cure
    times: int = field(default=1, kw_only=True)
    pause: float = field(default=30.0, kw_only=True)
    _repairs: Repairs = field(default_factory=Repairs, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        missing = [part for part in _OF_A_CURE if not hasattr(self.cure, part)]
        if missing:
            raise TypeError(f"Remedy.cure is a Cure, and {self.cure!r} has no {missing[0]}")
        count("Remedy.times", self.times)
        number("Remedy.pause", self.pause, at_least=0.0)

    def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
        """Ask, and where that shows something to be mended, mend it and ask again."""
        active, _ = yield from retry_mode()
        if not options_of(request).retry or not active:
            return (yield from proceed(self.cure.prepare(request)))
        rewind = yield from remember(request)
        while True:
            met = yield from now()
            sent = self.cure.prepare(request)
            try:
                response = yield from proceed(sent)
            except Exception as error:
                thing = yield from self.cure.noticed(sent, error)
                if thing is None or not rewind():
                    raise
                tried = yield from self._mended(sent, proceed, thing, met)
                if tried is not None:
                    if tried:
                        error.add_note(tried)
                    raise
            else:
                thing = yield from self.cure.noticed(sent, response)
                if thing is None or not rewind():
                    return response
                yield from preview(response, _BODY_OF_A_FAILURE)
                tried = yield from self._mended(sent, proceed, thing, met, response)
                if tried is not None:
                    if tried:
                        response.extensions[TRIED] = tried
                    return (yield from as_far_as_it_came(response))
                yield from discard(response)

    def _mended(
        self, request: Request, proceed: Proceed, thing: str, met: float, failure: Response | None = None
    ) -> Flow[str | None]:
        """Have it mended, by this call or another. None where it is; else what was tried, if anything is to be told.

        The failure that showed it is closed before: its place, or its connection, is for the remedy.
        """
        ledger = yield from history()
        ours = [event for _, event in ledger.events if isinstance(event, Remedied) and event.remedy == self.cure.name]
        if len(ours) >= self.times:
            return self._repairs.why(thing)
        began = yield from now()
        until = shared_of(request).until
        while True:
            moment = yield from now()
            turn = self._repairs.turn(thing, met=met, now=moment)
            match turn:
                case Yours():
                    return (yield from self._mend(request, proceed, thing, turn, failure))
                case UnderWay():
                    if failure is not None:
                        yield from discard(failure)
                    if not (yield from wait(turn.ended, until)):
                        raise TimeoutError  # the deadline, which knows what to make of it
                case Mended():
                    yield from tell(Remedied(self.cure.name, f"{thing} (by another call)", moment - began))
                    return None
                case Resting():
                    rest = f"not tried again for {turn.seconds:.1f} s"
                    yield from tell(Remedied(self.cure.name, f"{thing} ({rest})", moment - began, worked=False))
                    return f"{turn.why}; {rest}"

    def _mend(
        self, request: Request, proceed: Proceed, thing: str, turn: Yours, failure: Response | None
    ) -> Flow[str | None]:
        """Mend it, for all who wait."""
        began = yield from now()
        try:
            if failure is not None:
                yield from discard(failure)
            done = yield from self.cure.mend(request, proceed, thing)
            ended = yield from now()
            self._repairs.mended(thing, turn, now=ended)
        except self.cure.failures as trouble:
            ended, until = (yield from now()), shared_of(request).until
            if until is not None and ended >= until - CLOCK_STEP:
                raise TimeoutError from trouble  # this call had no time left for it; another one may have
            kind = type(trouble).__name__
            tried = f"{self.cure.doing} {thing} was in vain: {kind}: {trouble}"
            self._repairs.failed(thing, turn, why=tried, until=ended + self.pause)
            yield from tell(Remedied(self.cure.name, f"{thing} ({kind})", ended - began, worked=False))
            return tried
        finally:
            self._repairs.leave(thing, turn)
        yield from tell(Remedied(self.cure.name, done, ended - began))
        return None
