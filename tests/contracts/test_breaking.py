"""Every contract can be broken: a promise that holds whatever a server says promises nothing."""

from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

import pytest

from resilient_foundry.foundry.runtime import BUILTIN_MODELS, RESILIENCE, ServedModel
from resilient_foundry.harness.contract import Contract, collect, provided
from resilient_foundry.harness.evidence import Chunk, Ended, Exchange, Response
from resilient_foundry.harness.subject import CHAT, Opened, Taped
from resilient_foundry.harness.tapes import Tape, player
from resilient_foundry.harness.tapes.tape import HOST
from resilient_foundry.harness.verdict import Verdict
from resilient_foundry.harness.verify import run
from resilient_foundry.testing import VirtualTime

TAPES: Final = Taped(provided("cassettes") / "foundry-local-2.2.1")
CONTRACTS: Final = {each.name: each for each in collect(provided("contracts")) if TAPES.path(each).exists()}
MODELS: Final = {
    CHAT if each is RESILIENCE else each.alias: ServedModel(each.alias, each.id) for each in BUILTIN_MODELS
}

Lie = Callable[[Exchange], Exchange]


def answered(status: int, body: bytes, **headers: str) -> Lie:
    """Every answer is this one."""
    named = {"content_type": "application/json"} | headers
    head = tuple((name.replace("_", "-"), value) for name, value in named.items())
    response = Response(status, head, chunks=(Chunk(0.0, body),))
    return lambda exchange: replace(exchange, response=response, ended=Ended())


LIES: Final = (
    answered(200, b"{}"),
    answered(404, b'{"error":{"message":"no","type":"invalid_request_error"}}'),
    answered(500, b'{"error":{"message":"chat.cc:12 no","type":"server_error"}}'),
    answered(502, b"<h1>Bad Gateway</h1>", content_type="text/html", access_control_allow_origin="*"),
)


class Liar:
    """The tape of a contract, with other answers on it."""

    runtime = TAPES.runtime
    way = "tapes"
    offers = TAPES.offers

    def __init__(self, exchanges: Iterable[Exchange], lie: Lie) -> None:
        self.exchanges = [lie(each) for each in exchanges]

    @contextmanager
    def open(self, contract: Contract) -> Generator[Opened]:
        del contract
        clock = VirtualTime()
        transport = player(self.exchanges, clock=clock)
        yield Opened(transport, f"http://{HOST}", clock, MODELS, sleep=clock.pass_)


@pytest.mark.parametrize("name", CONTRACTS)
def test_a_server_that_says_the_same_to_everything_breaks(name: str) -> None:
    """At least one of four servers, each of which has one answer for everything, does not keep this contract."""
    contract = CONTRACTS[name]
    exchanges = Tape.load(TAPES.path(contract)).exchanges
    verdicts = [run(contract, Liar(exchanges, lie)).verdict for lie in LIES]
    assert Verdict.BROKEN in verdicts
