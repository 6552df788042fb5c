"""How a contract stands with a subject."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis.errors import UnsatisfiedAssumption
from packaging.specifiers import SpecifierSet

from resilient_foundry.foundry.deviations import Deviation
from resilient_foundry.harness import MAY, Session
from resilient_foundry.harness.contract import Contract
from resilient_foundry.harness.subject import Subject, Taped
from resilient_foundry.harness.tapes import Tape
from resilient_foundry.harness.verdict import Outcome, Runtime, Verdict
from resilient_foundry.harness.verify import judge, run, verify
from tests.harness.subjects import SENT, Asked, deviation, exchange, promise
from tests.servers import Server, replies


@pytest.fixture
def subject() -> Iterator[Asked]:
    """A server that answers everything with one object."""
    with Server(replies(200, b'{"a":1}', {"content-type": "application/json"})) as server:
        yield Asked(server.url)


def asks(session: Session) -> None:
    """Holds."""
    session.get("/a").status(200)
    session.get("/b").status(200)


def finds_fault(session: Session) -> None:
    """Does not hold."""
    session.get("/a").status(200)
    session.get("/b").status(404)


def test_a_contract_that_holds_holds_with_its_evidence(subject: Asked) -> None:
    found = judge(promise(asks), subject)
    assert (found.verdict, found.reason, found.culprit) == (Verdict.HELD, "", None)
    assert [each.request.path for each in found.exchanges] == ["/a", "/b"]
    assert found.seconds > 0


def test_a_broken_contract_names_the_exchange_that_broke_it(subject: Asked) -> None:
    found = judge(promise(finds_fault), subject)
    assert (found.verdict, found.culprit) == (Verdict.BROKEN, found.exchanges[1])
    assert found.reason == "GET /b: the status is 200, not 404: '{\"a\":1}'"


def looks_for_a_member(session: Session) -> None:
    """Finds none."""
    session.get("/").json["b"].strip()


def looks_into_a_number(session: Session) -> None:
    """It holds nothing."""
    session.get("/").json["a"]["b"].strip()


def names_a_part_that_nobody_plays(session: Session) -> None:
    """And that it does not need."""
    session.model("nobody")


@pytest.mark.parametrize(
    ("check", "reason"),
    [
        (looks_for_a_member, "KeyError: 'b' at `session.get"),
        (looks_into_a_number, "TypeError: 'int' object is not subscriptable at `session.get"),
        (names_a_part_that_nobody_plays, "KeyError: 'nobody' at `session.model"),
    ],
)
def test_a_contract_that_stumbles_over_an_answer_is_broken(
    subject: Asked, check: Callable[[Session], object], reason: str
) -> None:
    """The server sent what nobody reckoned with; the others are asked all the same."""
    outcomes = verify([promise(check), promise(asks)], subject, ledger=()).outcomes
    assert [each.verdict for each in outcomes] == [Verdict.BROKEN, Verdict.HELD]
    assert outcomes[0].reason.startswith(reason)


def test_a_plain_assert_is_a_check_too(subject: Asked) -> None:
    def asserts(session: Session) -> None:
        assert session.get("/").code == 201

    found = judge(promise(asserts), subject)
    assert found.verdict is Verdict.BROKEN
    assert found.reason.startswith("AssertionError: assert 200 == 201")
    assert found.reason.endswith('at `assert session.get("/").code == 201`')
    assert found.culprit == found.exchanges[0]


def test_what_hypothesis_says_with_an_error_reaches_it(subject: Asked) -> None:
    """As when it gives a drawn value back."""

    def gives_back(session: Session) -> None:
        session.get("/")
        raise UnsatisfiedAssumption

    with pytest.raises(UnsatisfiedAssumption):
        run(promise(gives_back), subject)


@pytest.mark.parametrize(("check", "verdict"), [(asks, Verdict.FIXED), (finds_fault, Verdict.DEVIATES)])
def test_the_ledger_is_kept_strictly(subject: Asked, check: Callable[[Session], None], verdict: Verdict) -> None:
    """What it says is so must be so, or its line has outlived its reason."""
    found = judge(promise(check), subject, [deviation("area.other"), deviation()])
    assert found.verdict is verdict
    assert "It does not." in found.reason
    assert (found.deviation, len(found.exchanges)) == (deviation(), 2)


def test_a_line_about_other_versions_says_nothing(subject: Asked) -> None:
    assert judge(promise(finds_fault), subject, [deviation(versions="<2")]).verdict is Verdict.BROKEN


def test_a_contract_about_other_versions_is_not_asked(subject: Asked) -> None:
    newer = Contract("area.newer", MAY, "Later.", finds_fault, versions=SpecifierSet(">=3"))
    found = judge(newer, subject)
    assert (found.verdict, found.exchanges) == (Verdict.OUTSIDE, ())
    assert found.reason == "it is about versions >=3, and this is 2.2.1"


def test_versions_before_a_release_count_as_that_release(subject: Asked) -> None:
    subject.runtime = Runtime("foundry-local", "3.0.0rc1")
    newer = Contract("area.newer", MAY, "Later.", asks, versions=SpecifierSet(">=3.0.0rc0"))
    assert judge(newer, subject).verdict is Verdict.HELD


def test_what_is_needed_and_not_there_is_said(subject: Asked) -> None:
    found = judge(promise(finds_fault, needs=frozenset({"own", "chat", "embedding"})), subject)
    assert (found.verdict, found.exchanges) == (Verdict.NOT_EXERCISED, ())
    assert found.reason == "it needs 'embedding', 'own', which is not here"


@pytest.fixture
def tapes(tmp_path: Path) -> Taped:
    """The tape of one contract, with two exchanges."""
    folder = tmp_path / "foundry-local-2.2.1"
    Tape((exchange(sent=SENT), exchange(sent=SENT))).save(folder / "area" / "holds.yaml")
    return Taped(folder)


def posts(times: int) -> Callable[[Session], None]:
    """Asks what is on the tape."""

    def check(session: Session) -> None:
        for _ in range(times):
            session.post("/v1/chat/completions", json={"model": "m"}).status(200)

    return check


@pytest.mark.parametrize(
    ("times", "verdict", "reason"),
    [
        (1, Verdict.NOT_RECORDED, "the tape holds what this contract does not ask for: POST /v1/chat/completions"),
        (2, Verdict.HELD, ""),
        (3, Verdict.NOT_RECORDED, "POST /v1/chat/completions is on the tape, but not once more"),
    ],
)
def test_a_tape_and_its_contract_must_match(tapes: Taped, times: int, verdict: Verdict, reason: str) -> None:
    """What nobody asks for, and what nobody answers, are both failures, whatever the ledger says of the server."""
    found = judge(promise(posts(times)), tapes, [] if verdict is Verdict.HELD else [deviation()])
    assert (found.verdict, found.reason) == (verdict, reason)


def test_a_request_with_another_head_is_another_request(tapes: Taped) -> None:
    """Else a contract about a header would be proven by whatever was once sent."""

    def asks_from_elsewhere(session: Session) -> None:
        session.post("/v1/chat/completions", json={"model": "m"}, headers={"origin": "http://a.example"})

    found = judge(promise(asks_from_elsewhere), tapes)
    assert found.verdict is Verdict.NOT_RECORDED
    assert found.reason.endswith("header origin is http://a.example, and on the tape it is not there")


def test_a_missing_tape_is_a_failure_whatever_the_ledger_says(tapes: Taped) -> None:
    found = judge(promise(name="area.other"), tapes, [deviation("area.other")])
    assert (found.verdict, found.is_failure) == (Verdict.NOT_RECORDED, True)


def test_outcomes_are_told_as_they_are_known(subject: Asked) -> None:
    told: list[Outcome] = []
    verified = verify([promise(asks), promise(finds_fault)], subject, ledger=(), on_outcome=told.append)
    assert tuple(told) == verified.outcomes
    assert (verified.runtime, verified.way) == (subject.runtime, "live")


def test_another_way_of_asking_may_be_given(subject: Asked) -> None:
    def believes(contract: Contract, subject: Subject, *, ledger: Iterable[Deviation]) -> Outcome:
        return Outcome(contract, Verdict.HELD, f"{subject.runtime} {[each.contract for each in ledger]}")

    verified = verify([promise()], subject, ledger=[deviation()], asked_by=believes, way="fuzz")
    assert (verified.way, verified.outcomes[0].reason) == ("fuzz", "foundry-local 2.2.1 ['area.holds']")


def test_the_ledger_that_ships_with_the_package_is_used_unless_another_is_given(subject: Asked) -> None:
    assert verify([promise()], subject).outcomes[0].verdict is Verdict.HELD
