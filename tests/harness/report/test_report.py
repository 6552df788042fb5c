"""Reports as files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from resilient_foundry.harness.report import FORMATS, formats, write
from tests.harness.subjects import outcome, verification


def test_each_form_is_a_file(tmp_path: Path) -> None:
    files = write([verification(outcome())], formats(["html,junit", "json", " md "]), tmp_path / "new" / "folder")
    assert [each.name for each in files] == ["contracts.html", "contracts.xml", "contracts.json", "contracts.md"]
    assert [each.read_text("utf-8")[:2] for each in files] == ["<!", "<?", "{\n", "##"]
    assert json.loads(files[2].read_text("utf-8"))["verifications"][0]["holds"] is True


def test_a_form_that_is_asked_for_twice_is_written_once() -> None:
    assert formats(["md", "md,json"]) == (FORMATS["md"], FORMATS["json"])


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(ValueError, match=r"there is no report 'pdf'; it takes html, junit, json, md$"):
        formats(["html,pdf"])
