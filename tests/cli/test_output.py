"""What every command prints."""

from __future__ import annotations

import logging

import httpx
import pytest

from resilient_foundry.cli.complaints import sentence
from resilient_foundry.cli.output import complain, plain, size
from resilient_foundry.foundry import Generation, Health, NotFoundryError
from resilient_foundry.foundry.runtime import RuntimeStartError, ServedModel


def test_values_become_json_by_their_names() -> None:
    """Fields of dataclasses and of named tuples, values of enums, sentences of errors."""
    told = plain(Health("unreachable", generation=Generation.ONE, error=NotFoundryError("it is a\nprinter")))
    assert (told["status"], told["generation"], told["error"]) == ("unreachable", "1.x", "it is a printer")
    assert plain([ServedModel("alias", "id:1")]) == [{"alias": "alias", "id": "id:1"}]


@pytest.mark.parametrize(
    ("count", "told"),
    [(None, "unknown"), (0, "0 B"), (999, "999 B"), (78_065_664, "78 MB"), (5_400_000_000, "5.40 GB")],
)
def test_sizes_are_for_people(count: int | None, told: str) -> None:
    """SI units, no more digits than anybody reads."""
    assert size(count) == told


def test_advice_for_programmers_becomes_what_can_be_typed() -> None:
    """Nobody at a terminal can call `load_model`."""
    assert sentence(NotFoundryError("call load_model first")) == "load it with `resilient-foundry models load`"


def test_an_error_of_the_network_says_whom_it_did_not_hear() -> None:
    """Without a query, which may hold what is nobody's business."""
    request = httpx.Request("GET", "http://127.0.0.1:5273/status?key=secret")
    assert sentence(httpx.ReadTimeout("timed out", request=request)) == (
        "no answer to GET http://127.0.0.1:5273/status: timed out"
    )
    assert sentence(httpx.ReadError("")) == "no answer: ReadError"


def test_what_a_runtime_wrote_before_it_died_is_for_those_who_ask(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """One sentence for everybody, which says how to see the rest."""
    with caplog.at_level(logging.DEBUG, logger="resilient_foundry"):
        complain(RuntimeStartError("its process ended with code 3", log="line one\nline two"))
    assert capsys.readouterr().err == (
        "resilient-foundry: Foundry Local did not start: its process ended with code 3; "
        "FOUNDRY_LOG_LEVEL=DEBUG shows the last lines that it wrote\n"
    )
    assert caplog.messages == ["line one\nline two"]
