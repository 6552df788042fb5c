"""A stream that broke in its middle, continued behind the part that the caller has already."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, cast

from resilient_foundry.call import attempt_of
from resilient_foundry.errors import CircuitOpenError, ResilienceError
from resilient_foundry.events import BodyEnd, Outcome, ResumeDenied, RetriesExhausted, RetryDenied, StreamResumed
from resilient_foundry.faults import Fault, Verdict, fault_of
from resilient_foundry.flow import (
    Flow,
    Request,
    Response,
    Source,
    discard,
    fail,
    give,
    history,
    pour,
    pull,
    tell,
    watch,
)
from resilient_foundry.policies.splice import Blocks, DeniedError, Splice
from resilient_foundry.policies.transcript import Said, Transcript, mapping
from resilient_foundry.sse import SSEError

RESUMABLE = "resilience.resumable"
"""`response.extensions` key: the `Guarded` stream of an answer that is to be continued where it breaks."""


class Guarded(Protocol):
    """What a guard that looks at the stream knows of it."""

    deterministic: bool
    max_event: int
    transcript: Transcript
    failure: BodyEnd | None

    @property
    def missing(self) -> str | None:
        """What the stream lacks if it ends here; None where it may."""
        ...


Again = Callable[[Exception, str], Flow["Response | None"]]
"""Asks again after this failure, for this reason; gives a good answer, or None where there is to be none, or raises."""


def is_deterministic(request: Request) -> bool:
    """Whether the request asks a model for a stream that is the same each time, as far as the caller can say so."""
    try:
        content: bytes = cast("Any", request).content  # policies see no content but here
        asked: object = json.loads(content)
    except (AttributeError, RuntimeError, ValueError, RecursionError):  # not in memory, or no JSON
        return False
    said = mapping(asked)
    temperature, seed = said.get("temperature"), said.get("seed")
    coldest = type(temperature) in {int, float} and temperature == 0
    return said.get("stream") is True and (coldest or type(seed) is int)


def continued(response: Response, again: Again) -> Flow[Response]:
    """The answer with a body that goes on after it broke, where a guard asks for that."""
    guarded: Guarded | None = response.extensions.get(RESUMABLE)
    if guarded is not None:
        story = _Story(guarded, again)
        yield from pour(response, story.tell)
        yield from watch(response, story)
    return response


class _Break(Exception):  # noqa: N818 - a message to Retry, never seen by a caller; stamina's hooks see its text
    """A stream is not whole, and no error says so."""


@dataclass(frozen=True, slots=True)
class _Broken:
    """How an answer ended before it was whole."""

    reason: str
    error: Exception | None = None
    """What broke it, if it did not just end."""
    said: bytes = b""
    """The event in which the server reported a failure, and what followed it."""
    end: BodyEnd | None = None
    """How the stream ended by its own word."""


class _Story:
    """The body of one answer, told from several."""

    def __init__(self, guarded: Guarded, again: Again) -> None:
        self._guarded = guarded
        self._again = again
        self._splice = Splice()
        if not guarded.deterministic:
            self._splice.why_not = "not_deterministic"
        self._broken: _Broken | None = None
        """What the answer that is read now is to make good."""
        self._attempt: int | None = None
        """The number of that answer's attempt, until it has said something new."""
        self._delivered = 0
        """How many characters had been handed over when that attempt began."""
        self._end: BodyEnd | None = None

    def chunk(self, data: bytes, at: float) -> None:
        """Nothing to do."""

    def ended(self, end: BodyEnd, at: float) -> BodyEnd:
        """What this body is told from may have ended otherwise than the telling."""
        del at
        if end.outcome is Outcome.COMPLETE and self._end is not None:
            return self._end
        if end.outcome is Outcome.ABANDONED and self._guarded.transcript.is_whole:
            return BodyEnd(Outcome.COMPLETE)
        return end

    def tell(self, first: Source) -> Flow[None]:
        """Tell the answer, and go on with another one where it breaks."""
        source: Source | Response | None = first
        while source is not None:
            why = None
            try:
                broken = yield from self._read(source)
            except DeniedError as denied:
                broken, why = self._broken, denied.why
            if broken is None:
                return
            yield from discard(source)  # its connection must be free when the call is made again
            source, why = (None, why) if why is not None else (yield from self._ask_again(broken))
            if why is not None:
                yield from self._give_up(broken, why)

    def _read(self, source: Source | Response) -> Flow[_Broken | None]:
        """Hand over what is new of this answer; gives how it broke, None where it is whole."""
        blocks = Blocks(self._guarded.max_event)
        while True:
            try:
                chunk = yield from pull(source)
            except Exception as error:
                if self._guarded.transcript.is_whole and self._splice.fits:
                    return None  # nothing is missing
                if fault_of(error) is Fault.OURS:
                    raise
                return _Broken(type(error).__name__, error)
            untouched = self._splice.why_not is not None
            if chunk is None:
                new, stop = self._at_the_end(blocks)
            else:
                new, stop = self._new_of(chunk, blocks)
            if untouched:
                new = chunk or b""
            if new:
                yield from self._announce()
                yield from give(new)
            if isinstance(stop, DeniedError):
                raise stop
            if chunk is None or stop is not None:
                return stop

    def _new_of(self, chunk: bytes, blocks: Blocks) -> tuple[bytes, _Broken | DeniedError | None]:
        """What of a chunk the caller does not have, and what ends the answer in it."""
        splice, guarded = self._splice, self._guarded
        new = bytearray()
        try:
            for piece, event in blocks.feed(chunk):
                said = guarded.transcript.read(event) if event is not None else Said()
                if said.error is not None and guarded.failure is not None and splice.why_not is None:
                    if guarded.failure.verdict is not Verdict.CALLER:
                        failure = guarded.failure
                        return bytes(new), _Broken(failure.outcome.value, said=piece + blocks.rest, end=failure)
                    splice.refuse("caller")
                new += splice.take(piece, event, said)
            if splice.why_not is not None:
                new += blocks.rest
        except DeniedError as denied:
            return bytes(new), denied
        except SSEError:
            if self._broken is not None:
                return bytes(new), DeniedError("unknown_events")
            splice.refuse("unknown_events")
            new += blocks.rest
            blocks.stop()
        return bytes(new), None

    def _at_the_end(self, blocks: Blocks) -> tuple[bytes, _Broken | DeniedError | None]:
        """What is left of an answer that ended by itself, and whether it may end so."""
        guarded = self._guarded
        if guarded.failure is not None:
            return b"", _Broken(guarded.failure.outcome.value, end=guarded.failure)
        if guarded.missing is not None:
            return b"", _Broken(Outcome.TRUNCATED.value)
        return (bytes(blocks.rest), None) if self._splice.fits else (b"", DeniedError("another_answer"))

    def _announce(self) -> Flow[None]:
        """Say that the answer goes on, when it does."""
        if self._attempt is not None:
            yield from tell(StreamResumed(self._attempt, self._delivered))
            self._attempt = None

    def _ask_again(self, broken: _Broken) -> Flow[tuple[Response | None, str | None]]:
        """Another answer, or why there is none."""
        if self._splice.why_not is not None:
            return None, self._splice.why_not
        ledger = yield from history()
        told_before = len(ledger.events)
        answer = None
        why = "attempts"
        try:
            answer = yield from self._again(broken.error or _Break(broken.reason), broken.reason)
        except ResilienceError as error:
            why = "circuit_open" if isinstance(error, CircuitOpenError) else "refused"
        except Exception as error:
            if fault_of(error) is Fault.OURS:
                raise
        guarded: Guarded | None = answer.extensions.get(RESUMABLE) if answer is not None else None
        if answer is not None and guarded is not None:
            attempt = attempt_of(answer)
            self._broken, self._guarded = broken, guarded
            self._attempt = attempt.number if attempt is not None else 0
            self._delivered = self._splice.characters
            self._splice.begin_again()
            return answer, None
        if answer is not None:
            why = "another_answer"
        for _, event in ledger.events[told_before:]:
            if isinstance(event, RetryDenied):
                why = event.why
            elif isinstance(event, RetriesExhausted):
                why = "attempts"
        return None, why

    def _give_up(self, broken: _Broken, why: str) -> Flow[None]:
        """Hand over what broke the stream, and say how much was delivered."""
        characters = self._splice.characters
        yield from tell(ResumeDenied(why, characters))
        if broken.end is not None:
            self._end = broken.end
            if broken.said:
                yield from give(broken.said)
            return
        told = f"{characters} characters were delivered, and it is not continued: {why.replace('_', ' ')}"
        if broken.error is None:
            yield from fail("RemoteProtocolError", f"the stream ended too early, with {self._guarded.missing}; {told}")
        else:
            broken.error.add_note(f"of the stream, {told}")
            raise broken.error
