"""The benchmark runs, and its arithmetic is right."""

from __future__ import annotations

import pytest

from benchmarks.keepalive_race import LIBRARIES, RECOMMENDED, answer, measured, reached, share, table


@pytest.mark.timeout(30)
def test_nobody_meets_a_connection_that_is_being_closed_where_the_client_gives_up_first() -> None:
    """That is no matter of luck: the request goes out on a new connection."""
    found = measured(turns=1, expiries=(RECOMMENDED,))
    assert reached(found) == (0.0, 0.0, True)
    assert {cell["asked"] for cell in found["cells"]} == {20}


def test_the_answer_names_the_worst() -> None:
    """Of either library."""
    figures = found(httpx2_at_five=30)
    assert share(figures, "httpx2", 5.0, retries=False) == 0.3
    assert answer(figures).endswith(
        "with Retry the caller sees 0.0 % at any expiry; the figures to reach are 0 and 0: reached."
    )
    assert "up to 30 %" in answer(figures)
    assert answer(found(httpx2_at_five=30, retried=1)).endswith("not reached.")
    assert "| 5 | 0.0 % | 0.0 % | 30.0 % | 0.0 % |" in table(figures).splitlines()


def found(*, httpx2_at_five: int, retried: int = 0) -> dict[str, object]:
    """So many of a hundred requests failed."""
    return {
        "cells": [
            {
                "library": library,
                "expiry": expiry,
                "retries": retries,
                "asked": 100,
                "errors": {"ReadError": retried if retries else httpx2_at_five}
                if (library, expiry) == ("httpx2", 5.0)
                else {},
            }
            for library in LIBRARIES
            for expiry in (RECOMMENDED, 5.0)
            for retries in (False, True)
        ]
    }
