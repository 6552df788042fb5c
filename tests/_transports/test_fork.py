"""A process that is forked while others are at work has a client that works."""

from __future__ import annotations

import os
import threading
import warnings
from typing import Any

import pybreaker
import pytest

from resilient_foundry import CircuitBreaker, Stack
from tests.servers import Gate, Server, replies
from tests.ways import LIBRARIES, over

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


def in_a_child(call: Any) -> int:
    """The exit code of a forked child that makes this call: 0 where it came through, 14 where it hung."""
    import signal  # noqa: PLC0415 - beside its use

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # this process has threads: that is the point
        child = os.fork()
    if child == 0:
        signal.alarm(10)
        code = 1
        try:
            code = 0 if call() == 200 else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


@pytest.mark.parametrize("library", LIBRARIES.values(), ids=LIBRARIES)
def test_a_client_made_before_the_fork_works_in_the_child(library: Any) -> None:
    """Its breaker comes along, with what it has learnt."""
    with Server(replies(200)) as server:
        transport = over(Stack.standard(), library.HTTPTransport())
        with library.Client(transport=transport) as client:
            assert in_a_child(lambda: client.get(server.url).status_code) == 0
            assert client.get(server.url).status_code == 200


@pytest.mark.parametrize("library", LIBRARIES.values(), ids=LIBRARIES)
def test_a_lock_that_was_held_at_the_fork_is_free_in_the_child(library: Any) -> None:
    """A thread in the middle of opening a circuit is not there any more in the child to finish it."""
    inside, leave = Gate(), Gate()

    class Slow(pybreaker.CircuitMemoryStorage):
        def increment_counter(self) -> None:  # under the lock
            super().increment_counter()
            if not inside.is_open:
                inside.open()
                leave.wait()

    breaker = CircuitBreaker(failures=2, open_seconds=60, storage=lambda _: Slow(pybreaker.STATE_CLOSED))
    with (
        Server(replies(500)) as failing,
        Server(replies(200)) as server,
        library.Client(transport=over(Stack(breaker), library.HTTPTransport())) as client,
    ):
        opening = threading.Thread(target=client.get, args=(failing.url,))
        opening.start()
        inside.wait()
        try:
            assert in_a_child(lambda: client.get(server.url).status_code) == 0
            assert in_a_child(lambda: client.get(failing.url).status_code - 300) == 0
        finally:
            leave.open()
            opening.join()
