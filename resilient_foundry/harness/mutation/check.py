"""One mutated tape under the client: what is wrong is said with the smallest tape that shows it, and how to see it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from resilient_foundry.harness.evidence import Exchange
from resilient_foundry.harness.mutation.mutations import Meaning, Mutation, events_of, mutated
from resilient_foundry.harness.mutation.reading import End, read
from resilient_foundry.harness.mutation.stage import Run, Way, play
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
    leave_after: int | None = None,
    folder: Path | None = None,
) -> Run:
    """Play it mutated; raises `MistakenError`, with the tape saved in the folder, where the oracle complains."""
    way = way or Way()
    script = mutated(exchange, *mutations)

    def wrong(script: tuple[Exchange, ...]) -> tuple[str, ...]:
        return complaints(play(script, exchange, way=way, leave_after=leave_after))

    run = play(script, exchange, way=way, leave_after=leave_after)
    found = complaints(run)
    if found:
        smallest = shrunk(script, lambda script: bool(wrong(script)))
        tape = Tape((*smallest, exchange), {"made_of": ", ".join(map(repr, mutations)), "way": str(way)})
        where = "it"
        if folder is not None:
            path = folder / "mutated.yaml"
            tape.save(path)
            where = str(path)
        raise MistakenError(
            "; ".join(found) + f"\nmutated by {list(mutations)}\nsee resilient-foundry replay {where} --way {way}", tape
        )
    _means_what_it_says(exchange, script, mutations, run, leave_after)
    return run


def _means_what_it_says(
    exchange: Exchange, script: Sequence[Exchange], mutations: Sequence[Mutation], run: Run, leave_after: int | None
) -> None:
    """What keeps the meaning gives the very result of the original."""
    original = read(exchange)
    if leave_after is not None or original.end is not End.WHOLE or read(script[-1]).may_time_out:
        return
    if all(mutation.meaning is Meaning.KEPT for mutation in mutations):
        assert tuple(run.pieces) == original.pieces, "the mutation keeps the meaning, and the result is another"  # noqa: S101 - as in a test
        assert len(run.served) == 1, "the mutation keeps the meaning, and was asked for again"  # noqa: S101 - as above


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
