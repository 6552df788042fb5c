"""One mutated tape under the client: what is wrong is said with the smallest tape that shows it, and how to see it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from resilient_foundry.foundry.connect import DEFAULT_RETRIES
from resilient_foundry.harness.evidence import Exchange
from resilient_foundry.harness.mutation.mutations import Meaning, Mutation, events_of, mutated
from resilient_foundry.harness.mutation.reading import End, read
from resilient_foundry.harness.mutation.stage import Leave, Run, Way, play
from resilient_foundry.harness.oracle import complaints
from resilient_foundry.harness.tapes import Tape


class MistakenError(AssertionError):
    """The client did not take a tape as it must. `tape` is the smallest that shows it."""

    def __init__(self, message: str, tape: Tape) -> None:
        super().__init__(message)
        self.tape = tape


def check(
    exchange: Exchange,
    mutations: Sequence[Mutation],
    *,
    way: Way | None = None,
    leave: Leave | None = None,
    folder: Path,
) -> Run:
    """Play it mutated; raises `MistakenError`, with the tape saved in the folder, where the oracle complains."""
    way, leave = way or Way(), leave or Leave()
    script = mutated(exchange, *mutations)

    def wrong(script: tuple[Exchange, ...]) -> tuple[str, ...]:
        return complaints(play(script, exchange, way=way, leave=leave))

    run = play(script, exchange, way=way, leave=leave)
    found = complaints(run)
    if found:
        script = shrunk(script, lambda script: bool(wrong(script)))
    else:
        found = tuple(_of_meaning(exchange, script, mutations, run))
    if found:
        made_of = ", ".join(map(repr, mutations))
        tape = Tape((*script, exchange), {"made_of": made_of, "leave": asdict(leave)})
        path = folder / "mutated.yaml"
        tape.save(path)
        told = f"{'; '.join(found)}\nmutated by {made_of}; {leave}\nsee resilient-foundry replay {path} --way {way}"
        raise MistakenError(told, tape)
    return run


def _of_meaning(
    exchange: Exchange, script: Sequence[Exchange], mutations: Sequence[Mutation], run: Run
) -> Iterator[str]:
    """What keeps the meaning, or postpones it, gives the very result of the original."""
    original, meanings = read(exchange), {mutation.meaning for mutation in mutations}
    unsure = any(read(each).may_time_out for each in script)
    refused = len(script) - 1 + sum(read(each).end is End.FAILED for each in script[-1:])
    if run.leave != Leave() or original.end is not End.WHOLE or unsure or refused > DEFAULT_RETRIES:
        return
    if Meaning.CHANGED not in meanings and tuple(run.pieces) != original.pieces:
        yield "the mutation does not change the meaning, and the result is another"
    if meanings == {Meaning.KEPT} and len(run.served) != 1:
        yield "the mutation keeps the meaning, and was asked for again"


def shrunk(script: tuple[Exchange, ...], is_wrong: Callable[[tuple[Exchange, ...]], bool]) -> tuple[Exchange, ...]:
    """The smallest script that is still wrong: without exchanges, events and chunks that do not matter."""
    tried = 0
    while tried < _TRIES:
        for smaller in _smaller(script):
            tried += 1
            if is_wrong(smaller):
                script = smaller
                break
            if tried >= _TRIES:
                return script
        else:
            return script
    return script


_TRIES = 300


def _smaller(script: tuple[Exchange, ...]) -> Iterator[tuple[Exchange, ...]]:
    for place in range(len(script) if len(script) > 1 else 0):
        yield (*script[:place], *script[place + 1 :])
    for place, exchange in enumerate(script):
        response = exchange.response
        if response is None:
            continue

        def with_chunks(
            chunks: Sequence[object], place: int = place, exchange: Exchange = exchange
        ) -> tuple[Exchange, ...]:
            changed = replace(exchange, response=replace(exchange.response, chunks=tuple(chunks)))  # type: ignore[type-var]  # an answer has chunks
            return (*script[:place], changed, *script[place + 1 :])

        events = events_of(response)
        half = len(events) // 2
        if half:
            yield with_chunks(events[half:])
            yield with_chunks(events[:half])
        for k in range(len(events)):
            yield with_chunks([*events[:k], *events[k + 1 :]])
        if len(events) < len(response.chunks):
            yield with_chunks(events)
