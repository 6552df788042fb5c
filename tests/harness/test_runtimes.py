"""An interpreter for each version that is measured."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

import pytest

from resilient_foundry.harness.runtimes import RECIPES, RuntimeNotInstalledError, interpreter


def test_this_interpreter_is_taken_where_it_has_the_version() -> None:
    """Nothing is fetched for the runtime that is installed anyway."""
    assert interpreter(metadata.version("foundry-local-sdk")) == Path(sys.executable)


def test_an_unknown_version_names_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"'2\.2\.0' .* the nearest is 2\.2\.1"):
        interpreter("2.2.0")


def test_an_environment_that_was_made_is_taken_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("RESILIENT_FOUNDRY_PYTHON_1X", raising=False)
    home = tmp_path / "resilient-foundry" / "runtimes" / "foundry-local-1.2.4"
    home.mkdir(parents=True)
    assert interpreter("1.2.4") == home / "bin" / "python"


def test_without_an_index_one_sentence_says_so_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next try begins anew."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.delenv("RESILIENT_FOUNDRY_PYTHON_1X", raising=False)
    told: list[str] = []
    with pytest.raises(RuntimeNotInstalledError, match=r"1\.2\.4 could not be installed: ") as raised:
        interpreter("1.2.4", on_progress=told.append)
    assert "\n" not in str(raised.value)
    assert told[0] == "making an environment for Foundry Local 1.2.4"
    assert list((tmp_path / "resilient-foundry" / "runtimes").iterdir()) == []


@pytest.mark.parametrize("version", RECIPES)
def test_every_package_is_pinned(version: str) -> None:
    """The same environment tomorrow."""
    recipe = RECIPES[version]
    assert all("==" in each for each in (*recipe.packages, *recipe.alone))
