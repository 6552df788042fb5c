"""Every contract against the tapes of every runtime, with the network blocked."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import pytest

from resilient_foundry.foundry.deviations import deviations
from resilient_foundry.harness import ALONE, OWN
from resilient_foundry.harness.contract import collect, provided
from resilient_foundry.harness.subject import Taped, taped
from resilient_foundry.harness.tapes import Tape
from resilient_foundry.harness.verdict import Outcome, Verdict
from resilient_foundry.harness.verify import verify

CONTRACTS = collect(provided("contracts"))
AREAS = {area: tuple(found) for area, found in groupby(CONTRACTS, lambda each: each.area)}
RUNTIMES = taped(provided("cassettes"))


class NetworkError(AssertionError):
    """Somebody reached for the network."""


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is connected to, looked up, or sent to."""

    def refuse(*arguments: Any, **_: Any) -> None:
        raise NetworkError(f"the network is blocked: {arguments[1:]}")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def told(outcomes: Iterator[Outcome]) -> str:
    """A line for each."""
    return "\n".join(f"{each.verdict.value} {each.contract.name}: {each.reason}" for each in outcomes)


@pytest.mark.parametrize("runtime", RUNTIMES, ids=lambda each: each.runtime.version)
@pytest.mark.parametrize("area", AREAS)
def test_a_tape_keeps_its_contract_or_the_ledger_says_that_it_does_not(runtime: Taped, area: str) -> None:
    """Whatever its level: what a real runtime does otherwise is a line, with its reason, and nothing else is."""
    verified = verify(AREAS[area], runtime)
    accepted = {Verdict.HELD, Verdict.DEVIATES, Verdict.OUTSIDE}
    assert told(each for each in verified.outcomes if each.verdict not in accepted) == ""


@pytest.mark.parametrize("runtime", RUNTIMES, ids=lambda each: each.runtime.version)
def test_a_tape_that_no_contract_uses_is_found(runtime: Taped) -> None:
    """It would be taken for a proof of something."""
    asked = {runtime.path(each) for each in CONTRACTS if each.versions.contains(runtime.runtime.version)}
    assert set(runtime.folder.glob("**/*.*")) - asked == set()


def test_each_line_of_the_ledger_is_about_a_contract_and_a_runtime_that_there_are() -> None:
    """Else nobody could ever find it out of date. Of the 0.x service there are no tapes."""
    versions = [each.runtime.version for each in RUNTIMES]
    about = {each.name: [v for v in versions if each.versions.contains(v)] for each in CONTRACTS}
    assert [line.contract for line in deviations() if line.contract not in about] == []
    idle = [
        (line.contract, str(line.versions))
        for line in deviations()
        if about[line.contract] and not any(line.covers(line.contract, version) for version in about[line.contract])
    ]
    assert idle == []


def test_no_contract_and_version_has_two_lines() -> None:
    """Only the first would ever be read."""
    lines = [(line, each.runtime.version) for line in deviations() for each in RUNTIMES]
    covered = [(line.contract, version) for line, version in lines if line.covers(line.contract, version)]
    assert sorted(set(covered)) == sorted(covered)


@pytest.mark.parametrize("runtime", RUNTIMES, ids=lambda each: each.runtime.version)
def test_a_server_that_is_not_ours_is_never_asked_to_load_to_unload_or_to_end(runtime: Taped) -> None:
    """Only contracts that say so ask for it, of which no other server is asked."""
    harmless = [each for each in CONTRACTS if not each.needs & {OWN, ALONE} and runtime.path(each).exists()]
    asked = {exchange.request.path for each in harmless for exchange in Tape.load(runtime.path(each)).exchanges}
    changing = ("/shutdown", "/models/load/", "/models/unload/", "/openai/load/", "/openai/unload", "/openai/download")
    assert "/status" in asked
    assert [path for path in asked if path.startswith(changing)] == []


def test_three_runtimes_are_on_tape() -> None:
    assert [str(each.runtime) for each in RUNTIMES] == [
        "foundry-local 1.2.4",
        "foundry-local 2.0.1",
        "foundry-local 2.2.1",
    ]


def test_the_network_is_blocked() -> None:
    """There is somebody to connect to, and no way there."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        with pytest.raises(NetworkError):
            socket.create_connection(listening.getsockname())
        with socket.socket() as other, pytest.raises(NetworkError):
            other.connect(listening.getsockname())
