"""Contracts out of files."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from resilient_foundry._extras import MissingExtraError
from resilient_foundry.harness import MAY, MUST, Session, contract
from resilient_foundry.harness.contract import PARTS, collect, provided
from resilient_foundry.harness.subject import roles

TWO = '''
from resilient_foundry.harness import MAY, MUST, OWN, Session, contract

@contract(MUST, needs={"chat", OWN}, versions=">=2,<3")
def second_in_the_alphabet(session: Session) -> None:
    """Promised.

    More words.
    """

@contract(MAY)
def first_in_the_alphabet(session: Session) -> None:
    """Also promised."""

def no_contract(session: Session) -> None:
    """Not promised."""
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two areas."""
    (tmp_path / "b.py").write_text(TWO)
    (tmp_path / "a.py").write_text(
        "from resilient_foundry.harness import *\n@contract(MUST)\ndef holds(session):\n    'It does.'\n"
    )
    return tmp_path


def test_contracts_come_file_by_file_as_they_are_written(folder: Path) -> None:
    names = [each.name for each in collect(folder)]
    assert names == ["a.holds", "b.second_in_the_alphabet", "b.first_in_the_alphabet"]


def test_a_contract_knows_what_was_written_about_it(folder: Path) -> None:
    (found,) = collect(folder, only=["b.second"])
    assert (found.area, found.title, found.level) == ("b", "second in the alphabet", MUST)
    assert found.promise == "Promised.\n\nMore words."
    assert found.needs == {"chat", "own"}
    assert str(found.versions) in {">=2,<3", "<3,>=2"}
    assert found.source.startswith("@contract(MUST")


def test_beginnings_of_names_choose(folder: Path) -> None:
    assert [each.name for each in collect(folder, only=["a", "b.first"])] == ["a.holds", "b.first_in_the_alphabet"]
    with pytest.raises(ValueError, match=r"no contract begins with 'c'; the areas are a, b$"):
        collect(folder, only=["a", "c"])


def test_a_contract_that_is_imported_from_another_file_is_not_taken_twice(folder: Path) -> None:
    (folder / "c.py").write_text("from contracts.chat import answers_in_one_object\n")
    assert "c.answers_in_one_object" not in [each.name for each in collect(folder)]


def test_a_folder_without_contracts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no contracts; a contract is a function marked with"):
        collect(tmp_path)


def test_a_file_that_can_not_be_loaded_is_named_and_leaves_nothing_behind(folder: Path) -> None:
    (folder / "broken.py").write_text("1 / 0")
    with pytest.raises(ValueError, match=r"broken.py can't be loaded: ZeroDivisionError: division by zero"):
        collect(folder)
    assert not [name for name in sys.modules if name.endswith(".broken")]


def test_without_hypothesis_the_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    (folder / "drawn.py").write_text("from hypothesis import strategies")
    with pytest.raises(MissingExtraError, match=r"resilient-foundry\[contracts\]"):
        collect(folder)


def test_a_contract_that_promises_nothing_in_words_is_refused() -> None:
    def silent(session: Session) -> None: ...

    with pytest.raises(ValueError, match="the contract silent says no promise"):
        contract(MUST)(silent)


def test_versions_that_can_not_be_read_are_refused() -> None:
    with pytest.raises(ValueError, match="versions is 'new'; it takes a range such as"):
        contract(MAY, versions="new")


def test_one_need_may_be_named_without_a_list(tmp_path: Path) -> None:
    """Else "chat" would be four needs."""
    (tmp_path / "a.py").write_text(TWO.replace('{"chat", OWN}', '"chat"'))
    assert collect(tmp_path)[0].needs == {"chat"}


def test_the_folder_that_comes_with_the_package_is_found() -> None:
    assert (provided("contracts") / "chat.py").is_file()
    with pytest.raises(FileNotFoundError, match="the folder 'nothing' did not come with this installation"):
        provided("nothing")


def test_a_need_that_nobody_can_have_is_refused(tmp_path: Path) -> None:
    """A slip of the pen would leave the contract unexercised for ever."""
    (tmp_path / "a.py").write_text(TWO.replace('{"chat", OWN}', '"chta"'))
    with pytest.raises(ValueError, match=r"needs 'chta', and what may be needed is chat, .*is 'chat' meant\?"):
        collect(tmp_path)


def test_the_parts_are_those_that_built_in_models_play() -> None:
    """They are named twice, because a contract is read without the runtime, whose import takes a while."""
    assert set(PARTS) == set(roles())
