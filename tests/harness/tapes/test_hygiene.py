"""Nothing stands on a tape that has no place there; and the one tape on which everything does is caught for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from resilient_foundry.harness.contract import provided
from resilient_foundry.harness.evidence import Chunk, Exchange, Request, Response
from resilient_foundry.harness.tapes import Tape, hygiene
from resilient_foundry.harness.tapes.hygiene import Read, problems, problems_of, read_from

CASSETTES = provided("cassettes")
FOLDERS = sorted({path.parent for path in CASSETTES.rglob("*.yaml")})
BAD = read_from(Path(__file__).with_name("bad.yaml"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(CASSETTES)))
def test_the_tapes_are_clean(folder: Path) -> None:
    """They are public."""
    assert [f"{path.stem}: {wrong}" for path in sorted(folder.glob("*.yaml")) for wrong in problems(path)] == []


def test_all_tapes_together_are_small_and_nothing_else_lies_there() -> None:
    assert list(problems_of(CASSETTES)) == []


FINDS: list[tuple[Callable[[Read], Iterator[str]], str]] = [
    (hygiene.heads, "'authorization'"),
    (hygiene.heads, "'set-cookie'"),
    (hygiene.normal, "is not normalised"),
    (hygiene.secrets, "a bearer token"),
    (hygiene.secrets, "a key of OpenAI's kind"),
    (hygiene.secrets, "a token of GitHub"),
    (hygiene.secrets, "Hugging Face"),
    (hygiene.secrets, "a key of AWS"),
    (hygiene.secrets, "a key of Google"),
    (hygiene.secrets, "a JSON web token"),
    (hygiene.secrets, "a private key"),
    (hygiene.secrets, "a password in a URL"),
    (hygiene.secrets, "a named secret"),
    (hygiene.entropy, "qK7vZ2mXw9Rt"),
    (hygiene.mail, "the path of a request holds a mail address"),
    (hygiene.folders, "/home/somebo"),
    (hygiene.folders, "C:\\Users\\som"),
    (hygiene.addresses, "192.168.7.7"),
    (hygiene.addresses, "10.1.2.3"),
    (hygiene.text, "control characters"),
    (hygiene.text, "is not text"),
    (hygiene.order, "is not as it was written"),
    (hygiene.provenance, "does not say its platform, recorder"),
]


@pytest.mark.parametrize(("detect", "what"), FINDS)
def test_the_bad_tape_is_caught(detect: Callable[[Read], Iterator[str]], what: str) -> None:
    """A detector that finds nothing here would find nothing anywhere."""
    assert any(what in sentence for sentence in detect(BAD)), list(detect(BAD))


def test_the_bad_tape_is_too_long_for_a_smaller_limit() -> None:
    assert list(hygiene.size(BAD)) == []
    assert "may have 1,000" in next(hygiene.size(BAD, largest=1000))


def test_names_of_a_machine_are_found() -> None:
    """Those of the machine that the tests run on are not known to whoever wrote the bad tape."""
    assert list(hygiene.names(BAD, ["somebody"]))
    assert list(hygiene.names(BAD, ["some"])) == []


def test_every_detector_is_tried_on_the_bad_tape() -> None:
    """Whoever writes one adds to the bad tape."""
    assert {detect for detect, _ in FINDS} | {hygiene.size, hygiene.names} == set(hygiene.DETECTORS)


def test_the_bad_tape_shows_no_secret_to_whoever_reads_the_findings() -> None:
    """They stand in the log of a build server."""
    said = "\n".join(problems(BAD.path))
    assert "sk-not-a-real-key" not in said
    assert "notARealTokenAtAll" not in said


def test_a_tape_says_where_it_belongs(tmp_path: Path) -> None:
    """Else the tape of one contract could stand for another."""
    said = {"contract": "chat.answers", "day": "2026-11-23", "platform": "linux", "product": "foundry-local"}
    said |= {"recorder": "1", "version": "2.2.1"}
    right = tmp_path / "foundry-local-2.2.1" / "chat" / "answers.yaml"
    Tape((), said).save(right)
    assert list(problems(right)) == []
    wrong = right.with_name("streams.yaml")
    Tape((), said).save(wrong)
    assert [each.partition("belongs")[2] for each in problems(wrong)] == [" at foundry-local-2.2.1/chat/answers.yaml"]


def test_what_is_no_tape_is_said_to_be_none(tmp_path: Path) -> None:
    path = tmp_path / "tape.yaml"
    path.write_text("nothing: here")
    assert next(problems(path)).startswith("it can't be read")


def test_tapes_together_have_a_limit(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a" * 100)
    (tmp_path / "notes.txt").write_text("x")
    assert [each.partition(" ")[0] for each in problems_of(tmp_path, largest=99)] == ["the", "notes.txt"]


@pytest.mark.parametrize(
    "text",
    [
        "somebody@somewhere.org",
        "somebody%40somewhere.org",
        "somebody%2540somewhere.org",
        "somebody\\u0040somewhere.org",
        "c29tZWJvZHlAc29tZXdoZXJlLm9yZw==",
    ],
)
def test_what_is_hidden_in_an_encoding_is_found(text: str) -> None:
    """As it stands, percent-encoded once and twice, escaped in JSON, and as base64."""
    tape = Tape((Exchange(Request("GET", "/"), Response(200, chunks=(Chunk(0.0, text.encode()),))),))
    assert len(list(hygiene.mail(Read(Path("tape.yaml"), "", tape)))) == 1


def test_what_nobody_owns_is_no_address() -> None:
    """RFC 2606 keeps names for this."""
    body = b"http://runtime.invalid/ https://page.example a@example.org 1.2.3"
    tape = Tape((Exchange(Request("GET", "/"), Response(200, chunks=(Chunk(0.0, body),))),))
    read = Read(Path("tape.yaml"), "", tape)
    assert [*hygiene.addresses(read), *hygiene.mail(read)] == []
