"""A missing extra is named, with the command that installs it."""

import sys
from pathlib import Path

import pytest

from resilient_foundry._extras import MissingExtraError, require


def test_gives_the_module_that_is_there() -> None:
    assert require("json", extra="cli").__name__ == "json"


def test_names_the_package_the_extra_and_the_command() -> None:
    with pytest.raises(MissingExtraError) as caught:
        require("no_such_package_of_ours.part", extra="foundry")
    assert caught.value.extra == "foundry"
    assert caught.value.package == "no_such_package_of_ours"
    assert str(caught.value) == (
        "this needs the package 'no_such_package_of_ours', which is not installed; "
        "install it with: python -m pip install 'resilient-foundry[foundry]'"
    )


def test_is_an_import_error() -> None:
    """So that `try: ... except ImportError:` works as everywhere."""
    with pytest.raises(ImportError) as caught:
        require("no_such_package_of_ours", extra="redis")
    assert caught.value.name == "no_such_package_of_ours"


def test_a_package_that_is_there_and_broken_is_not_called_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Installing it again would not help: something that *it* needs is missing."""
    (tmp_path / "half_installed_package.py").write_text("import no_such_package_of_theirs\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(ModuleNotFoundError, match="no_such_package_of_theirs") as caught:
        require("half_installed_package", extra="redis")
    assert not isinstance(caught.value, MissingExtraError)
    sys.modules.pop("half_installed_package", None)
