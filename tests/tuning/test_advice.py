from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks.origin import origin
from resilient_foundry.tuning.advice import Advice, advise, caution, keepalive_expiry, program

ADVICE = Advice(limit=6, keepalive_expiry=1.5, connect=1.0, read=2.0, deadline=4.0, queue=128)


def test_connections_are_given_up_a_fifth_and_a_way_before_the_server_would() -> None:
    assert keepalive_expiry(closed_after=5.0, watched=5.0, rtt=0.1) == 3.9
    assert keepalive_expiry(closed_after=0.001, watched=5.0, rtt=0.1) == 0.0


def test_what_was_not_seen_is_not_relied_on() -> None:
    """A server that closes none in nine seconds may close one after ten; the safe default is for five."""
    assert keepalive_expiry(closed_after=None, watched=9.0, rtt=0.0) == 4.0
    assert keepalive_expiry(closed_after=None, watched=2.0, rtt=0.0) == 1.6


def test_timeouts_follow_from_what_was_measured() -> None:
    advice = advise(limit=4, rate=10.0, p99=0.61, connect=0.002, callers=200, expiry=4.0)
    assert (advice.read, advice.connect, advice.queue) == (3.1, 1.0, 200)
    assert advice.deadline == 44.0, "all 200 may stand before it, twice, and then it takes as long as an attempt may"


def test_a_single_token_does_not_say_how_long_a_prompt_takes() -> None:
    assert advise(limit=1, rate=30, p99=0.1, connect=0.1, callers=4, expiry=4.0, is_model=True).read == 120.0


@pytest.mark.parametrize(
    ("limit", "library", "said"),
    [
        (32, "httpx", None),
        (40, "httpx", "httpx's pool gets slow above 32 calls at once: use httpx2, or 5 clients of 8 places each"),
        (128, "httpx2", None),
        (129, "httpx2", "httpx2's pool gets slow above 128 calls at once: use 17 clients of 8 places each"),
    ],
)
def test_too_much_for_one_pool_is_said(limit: int, library: str, said: str | None) -> None:
    assert caution(limit, library) == said


@pytest.mark.parametrize("library", ["httpx", "httpx2"])
def test_the_program_runs_as_it_is(library: str) -> None:
    """What people copy works: without a warning, and with a body that holds what Python writes otherwise than JSON."""
    content = {"model": 'a "quoted" name', "stream": False, "stop": None}
    with origin() as server:
        text = program(ADVICE, url=server.url, path="/?key=secret", method="POST", content=content, library=library)
        ran = subprocess.run([sys.executable, "-W", "error", "-c", text], capture_output=True, text=True, check=False)
        assert (ran.stdout, ran.stderr) == ("200\n", "")
        assert server.counts().requests == 1
    assert "ConcurrencyLimit(6, queue=128)" in text
    assert "secret" not in text


def test_the_program_of_a_get_is_short() -> None:
    text = program(ADVICE, url="http://127.0.0.1:1", path="/status", method="GET", content=None, library="httpx")
    assert "client.get('/status')" in text
