"""Whatever becomes of a stream on its way, the client ends in a way that can be told, and tells no lie."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilient_foundry.harness.evidence import Exchange
from resilient_foundry.harness.mutation import End, Mutation, mutated, read
from resilient_foundry.harness.mutation.check import check
from resilient_foundry.harness.mutation.mutations import Rechunk
from resilient_foundry.harness.mutation.stage import WAYS, Way, play
from resilient_foundry.harness.mutation.strategies import leaves, mutations, ways
from resilient_foundry.sse import Decoder
from tests.harness.mutation.tapes import seeds, stream

NAMES = tuple(seeds())
SIZES = st.lists(st.integers(1, 400), min_size=1, max_size=5).map(tuple)


@pytest.mark.parametrize("name", ["comes_in_order", "characters_of_several_bytes_come_whole", "may_be_empty"])
@settings(max_examples=200)
@given(data=st.data())
def test_the_client_takes_every_mutated_tape_as_it_must(
    name: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """One to three mutations of a real stream, in any library and colour: the oracle has nothing to complain of."""
    exchange = data.draw(st.sampled_from(seeds().get(name) or seeds()["comes_in_order"]))
    drawn = data.draw(st.lists(mutations(), min_size=1, max_size=3))
    folder = tmp_path_factory.getbasetemp() / name
    check(exchange, drawn, way=data.draw(ways()), leave=data.draw(leaves()), folder=folder)


@settings(max_examples=100)
@given(name=st.sampled_from(NAMES), data=st.data())
def test_every_stream_of_every_runtime_survives_a_mutation(
    name: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Not only the plain ones: long and slow ones too."""
    exchange, folder = data.draw(st.sampled_from(seeds()[name])), tmp_path_factory.getbasetemp() / "every"
    check(exchange, [data.draw(mutations())], way=data.draw(ways()), folder=folder)


@settings(max_examples=50)
@given(sizes=SIZES, way=ways())
def test_chunk_invariance(sizes: tuple[int, ...], way: Way) -> None:
    """However the bytes are cut, the client hands over the same pieces, and the same result."""
    exchange = stream("2.2.1", "characters_of_several_bytes_come_whole")
    plain, cut = play([exchange], way=way), play(mutated(exchange, Rechunk(sizes)), way=way)
    assert cut.pieces == plain.pieces
    assert cut.result == plain.result or (cut.result is not None and plain.result is not None)
    assert cut.result is not None
    assert plain.result is not None
    assert cut.result.content == plain.result.content


@settings(max_examples=50)
@given(drawn=st.lists(mutations(), max_size=2))
def test_promptness(drawn: list[Mutation]) -> None:
    """After the byte that makes an event whole, the event is out: nobody waits for one more byte to see it."""
    response = mutated(stream(), *drawn)[-1].response
    assert response is not None
    body = response.body[:20_000]
    decoder = Decoder()
    fed = [len(decoder.feed(body[place : place + 1])) for place in range(len(body))]
    whole = Decoder().feed(body)
    assert sum(fed) == len(whole)
    for place in (place for place, count in enumerate(fed) if count):
        assert len(Decoder().feed(body[: place + 1])) == sum(fed[: place + 1])
        assert len(Decoder().feed(body[:place])) == sum(fed[:place])


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_each_stream_takes_the_time_that_it_took(way: Way) -> None:
    """On the virtual clock a tape is played to the millisecond, in every library and colour."""
    exchange: Exchange = stream("2.2.1", "comes_while_it_is_made")
    assert exchange.response is not None
    run = play([exchange], way=way)
    assert read(exchange).end is End.WHOLE
    assert run.elapsed == pytest.approx(exchange.ended.at)
    assert run.moments[-1] <= exchange.response.chunks[-1].at + 1e-6


def any_end_is_an_end(_: object) -> Iterator[object]:
    """A broken client."""
    return iter(())


def test_what_is_wrong_is_told_with_a_tape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the command that shows the smallest tape with which it can be seen."""
    from resilient_foundry.foundry.chat_stream import ChatReader  # noqa: PLC0415 - what is broken here
    from resilient_foundry.harness.mutation.check import MistakenError  # noqa: PLC0415 - beside it
    from resilient_foundry.harness.mutation.mutations import Comments, Cut  # noqa: PLC0415 - beside it
    from resilient_foundry.harness.tapes import Tape  # noqa: PLC0415 - beside it

    monkeypatch.setattr(ChatReader, "end", any_end_is_an_end)
    with pytest.raises(MistakenError, match="took for complete") as caught:
        check(stream(), [Comments(1, 3), Cut(2000, "end")], folder=tmp_path)
    assert f"resilient-foundry replay {tmp_path / 'mutated.yaml'} --way httpx-sync" in str(caught.value)
    tape = Tape.load(tmp_path / "mutated.yaml")
    smallest = tape.exchanges[0].response
    assert smallest is not None
    assert len(smallest.chunks) <= 1
