"""A thread that talks to a store for those who must not wait: what becomes of it when the program ends."""

import subprocess
import sys
import time

import pytest

PROGRAM = """
import threading, time
from resilient_foundry._rounds import Rounds

class Owner:
    def __init__(self):
        self.began = threading.Event()
        self.rounds = Rounds(self.go, self.after_fork, where="a store", alone="we go on alone")

    def go(self):
        self.began.set()
        time.sleep({seconds})
        print("told", flush=True)

    def after_fork(self):
        pass

owner = Owner()
owner.rounds.ask()
owner.began.wait()
{more}
"""


def run(*, seconds: float, more: str = "") -> tuple[list[str], float]:
    """What a program says whose store takes so long for a round, and how long it takes to its end."""
    program = [sys.executable, "-c", PROGRAM.format(seconds=seconds, more=more)]
    began = time.monotonic()
    said = subprocess.run(program, capture_output=True, text=True, check=True, timeout=60)
    assert said.stderr == ""
    return said.stdout.split(), time.monotonic() - began


def test_what_is_being_told_when_the_program_ends_is_told_to_its_end() -> None:
    assert run(seconds=0.3)[0] == ["told"]


def test_what_was_asked_for_since_is_told_as_well() -> None:
    assert run(seconds=0.3, more="owner.rounds.ask()")[0] == ["told", "told"]


@pytest.mark.parametrize("more", ["", "owner.rounds.ask()"])
def test_a_store_that_takes_for_ever_keeps_no_program_from_its_end(more: str) -> None:
    said, taken = run(seconds=3600, more=more)
    assert (said, taken < 30) == ([], True)
