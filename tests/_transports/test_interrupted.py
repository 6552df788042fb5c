"""Ctrl-C: an hour's wait ends at once, with KeyboardInterrupt, and the circuit has counted nothing."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from resilient_foundry import ConcurrencyLimit, RateLimit, Stack
from resilient_foundry.origin import origin
from resilient_foundry.testing import no_leaks, ok, scripted
from tests._transports.test_every_await import (
    ALL_STORY,
    ASIDE,
    TOLD,
    URL,
    Wire,
    assert_nothing_is_held,
    everything,
    let_it_probe,
)
from tests.servers import PATIENCE, Server, replies, says_nothing
from tests.ways import LIBRARIES, NAMES, over

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


ERRORS = [KeyboardInterrupt, SystemExit]


@contextmanager
def interrupted_while_it_waits(error: type[BaseException]) -> Generator[None]:
    """Raise this in the main thread, by a signal, as soon as that thread waits."""
    main = threading.main_thread().ident or 0
    frames = sys._current_frames  # pyright: ignore[reportPrivateUsage] - the only way to see where a thread is
    until = time.monotonic() + PATIENCE

    def waits() -> bool:
        frame = frames().get(main)
        at_rest, ours = frame is not None and frame.f_code.co_name == "wait", False
        while frame is not None:
            ours = ours or frame.f_code.co_filename.endswith(("driver.py", "blocking.py"))
            frame = frame.f_back
        return at_rest and ours

    def interrupt() -> None:
        looks = 0  # on its way into the wait, the lock of threading.Event itself would break
        while looks < 20 and time.monotonic() < until:
            looks = looks + 1 if waits() else 0
            time.sleep(0.002)
        signal.pthread_kill(main, signal.SIGUSR1)

    def raise_it(*_: object) -> None:
        raise error

    before = signal.signal(signal.SIGUSR1, raise_it)
    watcher = threading.Thread(target=interrupt)
    watcher.start()
    try:
        with pytest.raises(error):
            yield
    finally:
        watcher.join()
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("library", LIBRARIES.values(), ids=LIBRARIES)
@pytest.mark.parametrize("error", ERRORS)
def test_in_a_queue_for_a_place(library: Any, error: type[BaseException]) -> None:
    """The place in the queue is given up, and whoever holds one has it still."""
    limit = ConcurrencyLimit(1)
    transport = over(Stack(limit), scripted(ok(), ok(), module=library))
    with no_leaks(), library.Client(transport=transport) as client:
        with client.stream("GET", URL):
            with interrupted_while_it_waits(error):
                client.get(URL)
            assert limit.snapshot(URL) == (1, 1, 0, 0)
        assert client.get(URL).content == b"ok"


@pytest.mark.parametrize("library", LIBRARIES.values(), ids=LIBRARIES)
@pytest.mark.parametrize("error", ERRORS)
def test_in_line_for_a_turn(library: Any, error: type[BaseException]) -> None:
    """Nobody stands in line afterwards."""
    limit = RateLimit(1, per=3600.0)
    with library.Client(transport=over(Stack(limit), scripted(ok(), module=library))) as client:
        client.get(URL)
        with interrupted_while_it_waits(error):
            client.get(URL)
    assert limit.lines.of(origin(URL), 0.0).waiting == 0


@pytest.mark.parametrize("library", LIBRARIES.values(), ids=LIBRARIES)
@pytest.mark.parametrize("error", ERRORS)
def test_at_any_step_of_the_transport(library: Any, error: type[BaseException]) -> None:
    """Through a stack of every policy: what was opened is closed once, nothing is held, and it leaves as itself."""
    at, came_through = 0, False
    while not came_through:
        at += 1
        wire, stack, passed = Wire(), everything(), [0]
        let_it_probe(stack)

        def step(at: int = at, passed: list[int] = passed) -> None:
            passed[0] += 1
            if passed[0] == at:
                raise error

        asked = {"stream": True, "temperature": 0}
        with no_leaks(), library.Client(transport=over(stack, stepping(library, wire, step))) as client:
            try:
                content = client.post(URL, json=asked, extensions={"resilience": {"repeatable": True}}).content
            except error:
                content = None
        came_through = passed[0] < at
        assert content == (TOLD if came_through else None)
        assert wire.closed == dict.fromkeys(range(1, wire.opened + 1), 1)
        assert_nothing_is_held(stack)
    assert at > 10


def stepping(library: Any, wire: Wire, step: Callable[[], None]) -> Any:
    """A synchronous transport of the library that tells a story, and takes a step before everything."""
    remaining = list(ALL_STORY)

    class Body(library.SyncByteStream):  # type: ignore[misc]  # a class of a library that is a parameter
        def __init__(self, number: int, chunks: tuple[bytes, ...], breaks: str | None) -> None:
            self.number, self.chunks, self.breaks = number, chunks, breaks

        def __iter__(self) -> Iterator[bytes]:
            for chunk in self.chunks:
                step()
                yield chunk
            step()
            if self.breaks:
                raise getattr(library, self.breaks)("scripted")

        def close(self) -> None:
            wire.closed[self.number] += 1

    class Transport(library.BaseTransport):  # type: ignore[misc]  # as above
        def handle_request(self, request: Any) -> Any:
            step()
            said = ASIDE.get(request.url.path)
            status, content_type, chunks, breaks = remaining.pop(0) if said is None else said
            wire.opened += 1
            body = Body(wire.opened, chunks, breaks)
            return library.Response(status, headers={"content-type": content_type}, stream=body)

    return Transport()
