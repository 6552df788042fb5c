"""Whatever becomes of a plain answer on its way, the client gives what was said, or an error that can be told."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final, Literal, TypeAlias

import httpx
import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilient_foundry.errors import ResilienceError
from resilient_foundry.foundry import AsyncFoundryClient, FoundryClient, FoundryError
from resilient_foundry.foundry.generations import Generation
from resilient_foundry.harness.evidence import Chunk, Exchange, Request, Response
from resilient_foundry.harness.mutation import Mutation, mutated
from resilient_foundry.harness.mutation import mutations as kinds
from resilient_foundry.harness.mutation.mutations import RETRY_AFTERS, Meaning
from resilient_foundry.harness.mutation.stage import URL, WAYS, Way, generation_of, model_of
from resilient_foundry.harness.oracle import DEADLINE
from resilient_foundry.harness.tapes import Tape, player
from resilient_foundry.harness.tapes.player import Reel
from resilient_foundry.testing import VirtualTime, no_leaks, on, run_on
from tests.harness.mutation.tapes import CASSETTES

VERSIONS: Final = ("1.2.4", "2.0.1", "2.2.1")
TYPED: Final = (FoundryError, ResilienceError, httpx.TransportError, httpx2.TransportError)
Client: TypeAlias = Any  # of either colour: what is asked is the same


@dataclass(frozen=True)
class Call:
    """A call of the client, the tape of its answer, and what of the result was said by the server."""

    tape: str
    ask: Callable[[Client], Any]
    told: Callable[[Any], object]

    def __str__(self) -> str:
        return self.tape.partition("/")[0]


CALLS: Final = (
    Call(
        "chat/characters_of_several_bytes_come_back_whole",
        lambda client: client.complete("Hello"),
        lambda found: (found.content, found.finish_reason, found.usage),
    ),
    Call(
        "embeddings/turns_a_text_into_a_vector",
        lambda client: client.embed("Hello", force=True),
        lambda found: (found.vectors, found.usage),
    ),
    Call("models/lists_models", lambda client: client.list_models(), lambda found: [model.id for model in found]),
)


@dataclass(frozen=True, slots=True)
class Spliced(Mutation):
    """Bytes that nobody meant, somewhere in the body."""

    at: int
    data: bytes

    @property
    def meaning(self) -> Meaning:
        """It may still be read."""
        return Meaning.CHANGED

    def changed(self, response: Response) -> Response:
        """They come with what stands around them."""
        body = response.body
        place = self.at % (len(body) + 1)
        return replace(response, chunks=(Chunk(response.at, body[:place] + self.data + body[place:]),))


PLACE: Final = st.integers(0, 4000)
HARMLESS: Final = st.one_of(
    st.builds(kinds.Rechunk, st.lists(st.integers(1, 50), min_size=1, max_size=3).map(tuple)),
    st.builds(kinds.LateHead, st.sampled_from([1.0, 20.0])),
    st.builds(kinds.Stall, PLACE, st.sampled_from([1.0, 20.0])),
    st.builds(kinds.Busy, st.sampled_from([429, 503]), st.sampled_from(tuple(RETRY_AFTERS))),
)
BROKEN: Final = st.one_of(
    st.builds(kinds.Cut, PLACE, st.sampled_from(["end", "close", "reset", "silence"])),
    st.builds(kinds.LateHead, st.just(5000.0)),
    st.builds(kinds.Stall, PLACE, st.just(5000.0)),
    st.builds(kinds.ContentType, st.sampled_from([("text/html",), ("text/event-stream",), ()])),
)
SPLICED: Final = st.builds(Spliced, PLACE, st.sampled_from([b"\xff", b"\xed\xa0\x80", b"\0", b"{", b"NaN", b"<html>"]))


class Server(Reel):
    """Answers what leads to a call, and the call by these exchanges, at last by the original."""

    def __init__(self, script: Sequence[Exchange], original: Exchange, clock: VirtualTime) -> None:
        super().__init__((), clock.pass_)
        self.asked = 0
        self._script = script
        self._original = original

    def take(self, request: Request) -> Exchange:
        """What is answered to this request."""
        if (request.method, request.path) == (self._original.request.method, self._original.request.path):
            self.asked += 1
            return self._script[self.asked - 1] if self.asked <= len(self._script) else self._original
        model = model_of(self._original)
        one = generation_of(self._original) is Generation.ONE
        known = {"id": model, "parent": model, "object": "model"}
        said: dict[str, object] = {
            "/status": {"endpoints": [URL], "modelDirPath" if one else "modelCachePath": "/models", "pipeName": None},
            "/models/loaded": [model],
            "/v1/models": {"object": "list", "data": [known]},
        }
        body = json.dumps(said[request.path]).encode()
        return Exchange(request, Response(200, (("content-type", "application/json"),), chunks=(Chunk(0.0, body),)))


@dataclass(frozen=True)
class Ran:
    """What a call came to: what was said, or an error; seconds, and how often it was asked."""

    told: object
    error: Exception | None
    seconds: float
    asked: int


def run(call: Call, script: Sequence[Exchange], original: Exchange, way: Way) -> Ran:
    clock = VirtualTime()
    server = Server(script, original, clock)
    wire = player(server, module=httpx if way.library == "httpx" else httpx2, clock=clock)
    arguments: dict[str, Any] = {"model": model_of(original), "library": way.library, "transport": wire}
    error, told = None, None

    async def ask() -> Any:
        async with AsyncFoundryClient(URL, **arguments) as client:
            return await call.ask(client)

    with no_leaks():
        try:
            if way.colour == "sync":
                with on(clock), FoundryClient(URL, **arguments) as client:
                    told = call.told(call.ask(client))
            else:
                told = call.told(run_on(clock, ask, backend=_backend(way)))
        except TYPED as caught:
            error = caught
    return Ran(told, error, clock.now - 1000.0, server.asked)


def _backend(way: Way) -> Literal["asyncio", "trio"]:
    return "trio" if way.colour == "trio" else "asyncio"


@cache
def answer(call: Call, version: str) -> Exchange:
    """What the real runtime said."""
    tape = Tape.load(CASSETTES / f"foundry-local-{version}" / f"{call.tape}.yaml")
    return next(each for each in tape.exchanges if each.response is not None and each.response.status == 200)


@cache
def plain(call: Call, version: str) -> Ran:
    """The call as it is where nothing is wrong."""
    original = answer(call, version)
    return run(call, [original], original, Way())


@pytest.mark.parametrize("call", CALLS, ids=str)
@pytest.mark.parametrize("version", VERSIONS)
def test_an_answer_that_nothing_is_wrong_with_is_given(call: Call, version: str) -> None:
    """Else the laws below would be about errors alone."""
    ran = plain(call, version)
    assert ran.told
    assert (ran.error, ran.asked) == (None, 1)


@pytest.mark.parametrize("call", CALLS, ids=str)
@settings(max_examples=200)
@given(
    version=st.sampled_from(VERSIONS),
    way=st.sampled_from(WAYS),
    harmless=st.lists(HARMLESS, max_size=2),
    broken=st.lists(BROKEN, max_size=1),
)
def test_an_answer_is_whole_or_an_error(
    call: Call, version: str, way: Way, harmless: list[Mutation], broken: list[Mutation]
) -> None:
    """Never half a text, a list that is too short, nor a call without an end."""
    original = answer(call, version)
    ran = run(call, mutated(original, *broken, *harmless), original, way)
    assert ran.error is not None or ran.told == plain(call, version).told
    assert ran.error is None or broken
    assert ran.seconds <= DEADLINE + 200


@pytest.mark.parametrize("call", CALLS, ids=str)
@settings(max_examples=100)
@given(version=st.sampled_from(VERSIONS), way=st.sampled_from(WAYS), spliced=SPLICED)
def test_garbage_in_an_answer_is_read_or_an_error(call: Call, version: str, way: Way, spliced: Mutation) -> None:
    """Bytes within a text may be read as they are; nothing else than a typed error comes of the others."""
    original = answer(call, version)
    ran = run(call, mutated(original, spliced), original, way)
    assert (ran.error is None) is (ran.told is not None)
