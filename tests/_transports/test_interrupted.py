"""Ctrl-C: an hour's wait ends at once, with KeyboardInterrupt, and the circuit has counted nothing."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterable

import pytest

from tests.servers import PATIENCE, Server, replies, says_nothing
from tests.ways import NAMES

NOT_OURS = (
    *("-W", "ignore:Async generator 'http:ResourceWarning"),
    *("-W", "ignore:coroutine 'aclosing.__aexit__' was never awaited:RuntimeWarning"),
)
"""Interrupted between two lines, httpx and httpcore leave generators and coroutines of their own behind."""
PROGRAM = """
import signal, sys
import anyio, httpx, httpx2
from resilient_foundry import CircuitBreaker, Retry, Stack
from resilient_foundry.events import RetryScheduled
from resilient_foundry.flow import history, listen

signal.signal(signal.SIGINT, signal.default_int_handler)
library, colour, url = {"httpx": httpx, "httpx2": httpx2}[sys.argv[1]], sys.argv[2], sys.argv[3]
breaker = CircuitBreaker()
attempts = []

class Announce:
    def flow(self, request, proceed):
        ledger = yield from history()
        yield from listen(lambda event: said(event, ledger))
        return (yield from proceed(request))

def said(event, ledger):
    attempts[:] = ledger.attempts
    if isinstance(event, RetryScheduled):
        print(type(event).__name__, flush=True)

stack = Stack(Announce(), Retry(longest_wait=4000.0), breaker)

async def main():
    async with library.AsyncClient(transport=stack.over(library.AsyncHTTPTransport()), timeout=60) as client:
        await client.get(url)

try:
    if colour == "sync":
        with library.Client(transport=stack.over(library.HTTPTransport()), timeout=60) as client:
            client.get(url)
    elif colour == "asyncio":
        import asyncio
        asyncio.run(main())
    else:
        import trio
        trio.run(main)
except KeyboardInterrupt:
    circuit = breaker.circuit(library.URL(url))
    print("left", len(attempts), circuit.state, circuit.breaker.fail_counter, flush=True)
"""


def interrupted(name: str, url: str, moment: Callable[[Iterable[str]], None]) -> list[str]:
    """Run a program that calls the URL, send it SIGINT when the moment has come; gives what it says last."""
    library, _, colour = name.partition("-")
    with subprocess.Popen(
        [sys.executable, "-W", "error", *NOT_OURS, "-c", PROGRAM, library, colour, url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        try:
            moment(program.stdout)
            program.send_signal(signal.SIGINT)
            out, err = program.communicate(timeout=PATIENCE)
        except BaseException:
            program.kill()
            raise
    assert err.replace("stamina.retry_scheduled\n", "") == ""
    assert program.returncode == 0
    return out.split()[-4:]


def it_waits(said: Iterable[str]) -> None:
    """The program says that it will try again later."""
    assert any(line.strip() == "RetryScheduled" for line in said)


@pytest.mark.parametrize("name", NAMES)
def test_in_a_backoff(name: str) -> None:
    """One attempt was made, which failed; the interruption adds nothing to that."""
    with Server(replies(503, b"busy", {"retry-after": "3600"})) as server:
        assert interrupted(name, server.url, it_waits) == ["left", "1", "closed", "1"]
        assert len(server.asked) == 1


@pytest.mark.parametrize("name", NAMES)
def test_while_waiting_for_an_answer(name: str) -> None:
    """The server did not fail; it was not given the time."""
    with Server(says_nothing) as server:
        assert interrupted(name, server.url, lambda _: server.wait_for(1)) == ["left", "1", "closed", "0"]
