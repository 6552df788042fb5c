"""What mutated tapes have found in the client, by name."""

from dataclasses import replace

import pytest

from resilient_foundry.harness.evidence import Chunk
from resilient_foundry.harness.mutation import mutated
from resilient_foundry.harness.mutation.mutations import Garbage
from resilient_foundry.harness.mutation.stage import WAYS, Ending, Way, play
from resilient_foundry.harness.oracle import complaints
from tests.harness.mutation.tapes import stream


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_an_event_that_is_too_large_behind_the_end_spoils_nothing(way: Way) -> None:
    """The answer is whole with [DONE], and what follows can't make it unreadable."""
    run = play(mutated(stream(), Garbage(b"data: " + b"x" * (3 << 20))), way=way)
    assert run.ending is Ending.COMPLETE
    assert complaints(run) == ()


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_stream_that_never_stops_behind_its_end_is_left(way: Way) -> None:
    """The rest is read for the sake of the connection, and only if it is short."""
    exchange = stream()
    assert exchange.response is not None
    more = tuple(Chunk(100.0 * k, b": keep-alive\n\n" * 1000) for k in range(1, 1000))
    endless = replace(
        exchange, response=replace(exchange.response, chunks=(*exchange.response.chunks, *more[:1], *more))
    )
    run = play([endless], way=way)
    assert run.ending is Ending.COMPLETE
    assert run.served[0].bytes < len(exchange.response.body) + 128 * 1024
    assert run.leaks == ""
