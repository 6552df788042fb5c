"""`resilient-foundry serve`: the real runtime, until somebody ends it."""

from __future__ import annotations

import json
import signal

import httpx
import psutil
import pytest

from resilient_foundry.foundry.runtime import RESILIENCE
from tests.cli.command import Running, run, started


def processes_of(running: Running) -> list[psutil.Process]:
    """What the command has started."""
    return psutil.Process(running.pid).children(recursive=True)


def is_there(process: psutil.Process) -> bool:
    """Whether it lives; a process that nobody has buried is dead."""
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_announces_itself_and_leaves_nothing_behind(number: signal.Signals) -> None:
    """A program starts it, reads where it is, and ends it: by the signal of a supervisor or by that of Ctrl-C."""
    with started("serve", "--json") as running:
        running.read_until(r"\n}\n")
        told = json.loads(running.out)
        assert told["models"] == [{"alias": RESILIENCE.alias, "id": RESILIENCE.id}]
        assert httpx.get(f"{told['url']}/status", trust_env=False).status_code == 200
        children = processes_of(running)
        assert told["pid"] in [child.pid for child in children]
        running.send(number)
        ended = running.end()
        assert (ended.code, ended.err) == (0, "")
        assert not any(map(is_there, children))


def test_tells_a_person_what_to_do_next() -> None:
    """Where it is, what it serves, a line to paste, and how to end it."""
    with started("serve") as running:
        running.read_until("Ctrl-C ends it.\n")
        line = running.read_until(r"resilient-foundry (chat --url (\S+) '(.+)')")
        assert run("chat", "--url", line[2], line[3]).code == 0
        running.send(signal.SIGINT)
        assert running.end().code == 0
