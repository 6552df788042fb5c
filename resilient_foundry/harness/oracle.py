"""The oracle: whether a client took what it was sent as it must, whatever that was."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from opentelemetry.trace import SpanKind, StatusCode

from resilient_foundry.foundry.connect import DEFAULT_RETRIES, DEFAULT_TIMEOUT
from resilient_foundry.foundry.operations import LOAD_SECONDS
from resilient_foundry.harness.mutation.mutations import RETRY_AFTERS
from resilient_foundry.harness.mutation.reading import Blame, End, Reading, read
from resilient_foundry.harness.mutation.stage import Ending, Run, Served

DEADLINE: Final = max(LOAD_SECONDS, (DEFAULT_RETRIES + 1) * DEFAULT_TIMEOUT)
"""Seconds that a call of the client may take up to its first event."""
_SILENCE: Final = 125.0
"""Seconds that the client waits for what comes next, at most, and a little."""
_EXACTLY: Final = 1e-3
"""Seconds by which a wait may differ from what was asked for."""
_SLACK: Final = 5.0
"""Seconds by which a deadline may be missed, for what cleans up."""


def complaints(run: Run) -> tuple[str, ...]:
    """What the client did wrong, a sentence each; empty where there is nothing to complain of.

    It ends in exactly one of complete, a typed error, and cancelled. What is cut off is never complete. What it hands
    over is the beginning of what was sent, at once, and in full. Nothing is asked again after the first piece, and what
    failed before it is. Each attempt is counted once, each span ended once, each answer closed, and no more is held
    than is allowed, nor waited, and as long as the server asks it to.
    """
    if run.ending is None:
        return (f"it ended in none of the ways that there are, but by {run.error!r}",)
    if not run.served:
        before = () if run.ending is Ending.CANCELLED else (f"it asked for no chat: {run.error!r}",)
        return (*before, *_within_time(run, []), *_spans_ended(run), *_cleaned_up(run, []))
    said = [read(served.exchange) for served in run.served]
    return tuple(complaint for rule in _RULES for complaint in rule(run, said))


def _repeated(run: Run, said: list[Reading]) -> Iterator[str]:
    """What was asked again, and what was not."""
    for number, (reading, following) in enumerate(zip(said[:-1], run.served[1:], strict=True), 1):
        if following.pieces_before:
            yield f"it asked again after {following.pieces_before} pieces were handed over"
        elif not (reading.may_be_mended or reading.may_time_out):
            yield f"it asked again after answer {number}, which is {_told(reading)}"
    last = said[-1]
    if last.may_be_mended and run.ending is Ending.ERROR and len(run.served) <= DEFAULT_RETRIES:
        yield f"it gave up after {len(run.served)} attempts, though nothing had begun: {_told(last)}"


def _obeyed(run: Run, said: list[Reading]) -> Iterator[str]:
    """It comes back when the server asked it to."""
    del said
    for earlier, later in pairwise(run.served):
        refusal = earlier.exchange.response
        asked = None if refusal is None or refusal.status not in {429, 503} else RETRY_AFTERS.get(refusal.headers)
        waited = later.at - earlier.at
        if asked is not None and abs(waited - asked) > _EXACTLY:
            yield f"it came back after {waited:g} s, and was asked to after {asked:g} s"


def _handed_over(run: Run, said: list[Reading]) -> Iterator[str]:
    """The pieces are the beginning of what was sent, and all of it but where the caller left."""
    sent = said[-1].pieces
    if tuple(run.pieces) != sent[: len(run.pieces)]:
        place = next(
            (k for k, (one, other) in enumerate(zip(run.pieces, sent, strict=False)) if one != other), len(sent)
        )
        yield f"piece {place} is {_at(run.pieces, place)!r}, and what was sent is {_at(sent, place)!r}"
    elif len(run.pieces) < len(sent) and run.ending is not Ending.CANCELLED and not said[-1].may_time_out:
        yield f"it handed over {len(run.pieces)} of the {len(sent)} pieces that came"


def _ended(run: Run, said: list[Reading]) -> Iterator[str]:
    last = said[-1]
    match run.ending:
        case Ending.COMPLETE if last.end is End.FAILED and not last.may_time_out:
            yield f"it took for complete what is {_told(last)}"
        case Ending.COMPLETE if run.result is not None:
            if run.result.complete is not (last.end is End.WHOLE):
                yield f"its result says complete={run.result.complete}, and the answer is {_told(last)}"
            if run.result.content != "".join(last.pieces):
                yield "its result is another than what it handed over"
            if run.result.finish_reason != last.finish_reason:
                yield f"its result ended by {run.result.finish_reason!r}, and the answer by {last.finish_reason!r}"
        case Ending.ERROR if last.end is not End.FAILED and not last.may_time_out:
            yield f"it failed with {run.error!r}, and the answer is {_told(last)}"
        case _:
            pass


def _promptly(run: Run, said: list[Reading]) -> Iterator[str]:
    """What is whole is handed over before more is asked for."""
    last, served = said[-1], run.served[-1]
    for fed, pieces in served.asked_for:
        whole = bisect_right(last.whole_at, fed)
        if pieces < min(whole, len(run.pieces)):
            yield f"it asked for more after {fed} bytes, when {whole} pieces were whole, and {pieces} handed over"
            return


def _within_time(run: Run, said: list[Reading]) -> Iterator[str]:
    del said
    limit = DEADLINE + _SLACK
    if run.ending is Ending.CANCELLED and run.leave.seconds is not None:
        limit = run.leave.seconds + _SLACK
    elif run.served:
        limit = _latest(run, run.served[-1])
    if run.elapsed > limit:
        yield f"it took {run.elapsed:.0f} s, and may take {limit:.0f} s"


def _latest(run: Run, last: Served) -> float:
    """When a call must have ended that nobody cancelled."""
    limit = DEADLINE + _SLACK
    if last.asked_for:
        response = last.exchange.response
        came = response.chunks[len(last.asked_for) - 1].at if response is not None else 0.0
        limit += min(came, DEADLINE) + _SILENCE
    if run.moments:
        limit = min(limit, run.moments[-1] + 2 * _SILENCE)
    return limit


def _bounded(run: Run, said: list[Reading]) -> Iterator[str]:
    last, served = said[-1], run.served[-1]
    if last.too_large_at is None or served.exchange.response is None:
        return
    longest = max(len(chunk.data) for chunk in served.exchange.response.chunks)
    if served.bytes > last.too_large_at + 2 * longest:
        yield f"it read {served.bytes} bytes of an event that was too large after {last.too_large_at}"


def _counted(run: Run, said: list[Reading]) -> Iterator[str]:
    """By ledger, budget and circuit."""
    sent, cancelled = len(run.served), run.ending is Ending.CANCELLED
    if run.ledger is not None and len(run.ledger.attempts) != sent:
        yield f"the ledger counts {len(run.ledger.attempts)} attempts, and {sent} were made"
    if run.ledger is None and not cancelled:
        yield "it carries no ledger"
    if run.repetitions != sent - 1 and not (cancelled and run.repetitions == sent):  # it may have been about to
        yield f"the budget counts {run.repetitions} repetitions, and {sent - 1} were made"
    if any(reading.may_time_out for reading in said):
        return
    failed = _failures_in_a_row(said)
    known = {failed}
    if cancelled:  # the last answer may not have ended, and one that was left after it spoke is a sign of life
        known |= {0} if run.pieces else {_failures_in_a_row(said[:-1])}
    if run.circuit_failures not in known:
        yield f"the circuit counts {run.circuit_failures} failures in a row, and {failed} there were"


def _failures_in_a_row(said: list[Reading]) -> int:
    failed = 0
    for reading in said:
        failed = failed + 1 if _is_held_against(reading) else failed if _is_no_word(reading) else 0
    return failed


def _is_held_against(reading: Reading) -> bool:
    return reading.end is End.FAILED and reading.blame in {Blame.NETWORK, Blame.SERVER} and not _is_no_word(reading)


def _is_no_word(reading: Reading) -> bool:
    return reading.why == "429"


def _spans_ended(run: Run) -> Iterator[str]:
    yield from run.span_complaints
    if run.spans is not None and len(run.spans) != run.spans_begun:
        yield f"{run.spans_begun} spans were begun, and {len(run.spans)} ended"


def _traced(run: Run, said: list[Reading]) -> Iterator[str]:
    yield from _spans_ended(run)
    if run.spans is None:
        return
    attempts = [span for span in run.spans if span.attributes.get("http.request.method") == "POST"]
    if len(attempts) != len(run.served):
        yield f"{len(attempts)} attempts have a span, and {len(run.served)} were made"
    calls = [span for span in run.spans if span.kind is SpanKind.CLIENT and span.name.startswith("chat ")]
    if len(calls) != 1:
        yield f"{len(calls)} spans stand for the call"
        return
    marked = calls[0].status.status_code is StatusCode.ERROR
    if run.ending is Ending.COMPLETE and marked:
        yield f"the span of a call that is complete is marked {calls[0].attributes.get('error.type')}"
    last = said[-1]
    if run.ending is Ending.ERROR and last.end is End.FAILED and last.blame is not Blame.FORM and not marked:
        yield f"the span of a call that failed is not marked, and the answer is {_told(last)}"


def _cleaned_up(run: Run, said: list[Reading]) -> Iterator[str]:
    del said
    if run.leaks:
        yield run.leaks
    for number, served in enumerate(run.served, 1):
        if _was_answered(served) and served.closed == 0:
            yield f"answer {number} was never closed"


_RULES: Final = (
    *(_repeated, _obeyed, _handed_over, _ended, _promptly),
    *(_within_time, _bounded, _counted, _traced, _cleaned_up),
)


def _was_answered(served: Served) -> bool:
    response = served.exchange.response
    return response is not None and bool(served.asked_for)


def _told(reading: Reading) -> str:
    return f"{reading.end.value}: {reading.why}" if reading.why else reading.end.value


def _at(pieces: list[str] | tuple[str, ...], place: int) -> str | None:
    return pieces[place] if place < len(pieces) else None
