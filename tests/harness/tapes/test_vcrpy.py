"""Plain vcrpy plays the same files: they are nobody's private format."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import pytest

from resilient_foundry.harness.contract import provided
from resilient_foundry.harness.tapes import Tape

CASSETTES = provided("cassettes")
VCR: Any = import_module("vcr")  # it has no types
AREAS = sorted({path.parent for path in CASSETTES.rglob("*.yaml")})


@pytest.mark.parametrize("area", AREAS, ids=lambda area: str(area.relative_to(CASSETTES)))
def test_the_first_tape_of_an_area_plays(area: Path) -> None:
    """Status, reason and body of every answer; times, edges of chunks and ends are what it does not know."""
    path = min(area.glob("*.yaml"))
    answered = [each for each in Tape.load(path).exchanges if each.response is not None]
    matched = ("method", "path", "query")
    with (
        VCR.use_cassette(str(path), record_mode="none", match_on=matched) as cassette,
        httpx.Client(base_url="http://runtime.invalid", trust_env=False) as client,
    ):
        for each in answered:
            assert each.response is not None
            with client.stream(each.request.method, each.request.path, content=each.request.body) as answer:
                assert (answer.status_code, b"".join(answer.iter_raw())) == (each.response.status, each.response.body)
        assert cassette.play_count == len(answered)
