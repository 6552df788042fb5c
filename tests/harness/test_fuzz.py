import json
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet

from resilient_foundry.foundry.deviations import Deviation
from resilient_foundry.foundry.wire import MAX_DEPTH, items, mapping
from resilient_foundry.harness import ALONE, MUST, Contract, Session, requests
from resilient_foundry.harness.contract import collect, provided
from resilient_foundry.harness.fuzz import fuzz
from resilient_foundry.harness.subject import Opened, Started, Taped
from resilient_foundry.harness.verdict import Runtime, Verdict
from tests.servers import Conversation, Server, replies

KNOWN = Deviation(contract="test.counts", versions=SpecifierSet(), reason="It can't count.", link="none")


class Loopback:
    """A server of a test as `fuzz` sees it; `opened` counts how often it was asked for a way."""

    way = "live"
    offers = frozenset[str]()
    runtime = Runtime("loopback", "1.0")

    def __init__(self, url: str) -> None:
        self.url = url
        self.opened = 0

    @contextmanager
    def open(self, contract: Contract) -> Generator[Opened]:
        del contract
        self.opened += 1
        with httpx.HTTPTransport(verify=False) as transport:
            yield Opened(transport, self.url, time.monotonic, {})


def promise(check: Callable[[Session], None]) -> Contract:
    return Contract("test.counts", MUST, "It counts.", check)


@promise
def counts(session: Session) -> None:
    number = session.vary(1, st.integers(0, 100_000))
    session.post("/count", json=number, read=0.3).status(200)


@promise
def asks_once(session: Session) -> None:
    session.get("/status").status(200)


def fails_above(most: int) -> Callable[[Conversation], None]:
    def handler(talk: Conversation) -> None:
        talk.reply(500 if json.loads(talk.asked.body) > most else 200, b"{}")

    return handler


def hangs_above(most: int) -> Callable[[Conversation], None]:
    def handler(talk: Conversation) -> None:
        if json.loads(talk.asked.body) > most:
            talk.wait_for_the_client_to_leave()
        else:
            talk.reply(200, b"{}")

    return handler


def drawn(server: Server) -> list[bytes]:
    return [asked.body for asked in server.asked]


def test_a_server_that_keeps_its_promise_is_asked_as_often_as_told() -> None:
    with Server(handler=replies(200, b"{}")) as server:
        outcome = fuzz(counts, Loopback(server.url), examples=12)
    assert outcome.verdict is Verdict.HELD
    assert outcome.examples == len(server.asked) == 12


def test_a_server_that_misbehaves_is_found_with_the_smallest_value_that_shows_it() -> None:
    with Server(handler=fails_above(1000)) as server:
        outcome = fuzz(counts, Loopback(server.url), ledger=())
    assert outcome.verdict is Verdict.BROKEN
    assert outcome.smallest == ("1001",)
    assert "the status is 500" in outcome.reason


def test_the_evidence_is_that_of_the_smallest_run_alone() -> None:
    with Server(handler=fails_above(1000)) as server:
        outcome = fuzz(counts, Loopback(server.url), ledger=())
    assert [exchange.request.body for exchange in outcome.exchanges] == [b"1001"]
    assert outcome.culprit == outcome.exchanges[0]


def test_a_hang_is_a_verdict_and_the_search_for_a_smaller_one_ends() -> None:
    """Each further step costs the whole limit, so that the time for them is bounded."""
    with Server(handler=hangs_above(10)) as server:
        began = time.monotonic()
        outcome = fuzz(counts, Loopback(server.url), ledger=(), shrinking=1.0)
    assert outcome.verdict is Verdict.BROKEN
    assert "ReadTimeout" in outcome.reason
    assert time.monotonic() - began < 5


def test_the_same_values_are_drawn_each_time() -> None:
    """What failed yesterday fails today."""
    with Server(handler=replies(200, b"{}")) as first, Server(handler=replies(200, b"{}")) as second:
        for server in (first, second):
            fuzz(counts, Loopback(server.url), examples=8)
    assert drawn(first) == drawn(second)


def test_a_server_is_opened_once_where_nothing_breaks() -> None:
    """A contract that endangers the server has a process of its own, and examples would cost a process each."""
    with Server(handler=replies(200, b"{}")) as server:
        subject = Loopback(server.url)
        fuzz(counts, subject, examples=10)
    assert subject.opened == 1


def test_a_server_is_opened_again_after_a_run_that_broke_it() -> None:
    with Server(handler=fails_above(-1)) as server:
        subject = Loopback(server.url)
        outcome = fuzz(counts, subject, ledger=())
    assert outcome.smallest == ("0",)
    assert subject.opened > 1


def test_a_contract_that_draws_nothing_runs_once() -> None:
    with Server(handler=replies(200, b"{}")) as server:
        outcome = fuzz(asks_once, Loopback(server.url), examples=50)
    assert outcome.examples == len(server.asked) == 1


def test_a_signal_ends_it_at_once() -> None:
    """SIGTERM is a SystemExit, which hypothesis takes for a failure and runs again."""

    @promise
    def is_ended(session: Session) -> None:
        session.vary(1, st.integers())
        raise SystemExit(143)

    with Server(replies(200)) as server, pytest.raises(SystemExit, match="143"):
        fuzz(is_ended, Loopback(server.url))


def test_a_known_deviation_may_break_and_is_not_shrunk() -> None:
    with Server(handler=fails_above(-1)) as server:
        outcome = fuzz(counts, Loopback(server.url), ledger=[KNOWN])
    assert outcome.verdict is Verdict.DEVIATES
    assert not outcome.is_failure
    assert len(server.asked) == 1


def test_a_known_deviation_may_hold() -> None:
    """The line speaks of the example; of which drawn values it is true, nobody knows."""
    with Server(handler=replies(200, b"{}")) as server:
        outcome = fuzz(counts, Loopback(server.url), examples=5, ledger=[KNOWN])
    assert outcome.verdict is Verdict.HELD


def test_what_the_subject_can_not_do_is_not_asked() -> None:
    needy = Contract("test.counts", MUST, "It counts.", counts.check, frozenset({ALONE}))
    with Server(handler=replies(200, b"{}")) as server:
        assert fuzz(needy, Loopback(server.url)).verdict is Verdict.NOT_EXERCISED
    assert server.asked == []


def test_tapes_are_not_fuzzed(tmp_path: Path) -> None:
    """They answer what was recorded and nothing else."""
    folder = tmp_path / "foundry-local-2.2.1"
    folder.mkdir()
    with pytest.raises(ValueError, match="fuzz a server that runs"):
        fuzz(counts, Taped(folder))


def test_no_examples_are_no_fuzzing() -> None:
    with pytest.raises(ValueError, match="examples is 0; it takes 1 or more"):
        fuzz(counts, Loopback("http://127.0.0.1:1"), examples=0)


def test_what_is_left_out_is_said_by_a_contract_of_its_own() -> None:
    """Nobody forgets why something is not tried: where it can be said in a contract, it is."""
    names = {contract.name for contract in collect(provided("contracts"))}
    named = {excluded.contract for excluded in requests.EXCLUDED if excluded.contract}
    assert named
    assert named <= names


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(requests.documents(), requests.paths(), requests.headers(), requests.unreadable())
def test_what_is_known_to_be_fatal_is_not_drawn(
    document: object, path: str, headers: dict[str, str], unreadable: str
) -> None:
    assert depth(document) <= MAX_DEPTH
    assert not {"/shutdown", "/models"} & {f"/{part}" for part in path.split("/")}
    assert not {"expect", "content-length", "transfer-encoding"} & set(headers)
    assert sum(len(name) + len(value) for name, value in headers.items()) < 3000
    assert unreadable.isascii()


def depth(value: object) -> int:
    inner = items(value) or tuple((mapping(value) or {}).values())
    return 1 + max(map(depth, inner), default=0)


def test_the_real_runtime_takes_whatever_it_is_sent() -> None:
    """Any JSON, any bytes, any path, any header: the same process answers afterwards, in words."""
    wide = [each for each in collect(provided("contracts"), only=["robustness"]) if ALONE not in each.needs]
    with Started("2.2.1") as subject:
        outcomes = [fuzz(contract, subject) for contract in wide]
    assert [(each.contract.name, each.reason, each.smallest) for each in outcomes if each.is_failure] == []
    assert sum(each.examples for each in outcomes) > 200
