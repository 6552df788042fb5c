"""A real Redis, and processes that share circuits through it."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.redis.server import BINARY, RedisServer
from tests.servers import Conversation, Server


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """One that is started, and ended with the test."""
    if BINARY is None:
        pytest.skip("no redis-server: RESILIENT_FOUNDRY_REDIS names none, and there is none on PATH; see .ci/redis")
    with RedisServer(tmp_path) as server:
        yield server


class Process:
    """Another process, that calls when it is told to."""

    def __init__(self, redis: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("process.py")), redis],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._logged: list[str] = []
        self._listening = threading.Thread(target=self._listen)
        self._listening.start()
        assert self._line() == "ready"

    def get(self, url: str) -> str:
        """The status of the answer, or `refused`."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{url}\n")
        self._process.stdin.flush()
        return self._line()

    def logged(self, word: str) -> list[str]:
        """The lines with this word that it has logged so far, at WARNING and above."""
        return [line for line in self._logged if word in line]

    def end(self) -> None:
        """Let it come to its end by itself."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        assert self._process.wait(timeout=20) == 0
        self._listening.join(timeout=20)
        self._process.stdout.close()

    def _listen(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as lines:
            for line in lines:
                self._logged.append(line.strip())

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@pytest.fixture
def process(redis_server: RedisServer) -> Iterator[Callable[[], Process]]:
    """Makes processes that share one Redis, all ended with the test."""
    made: list[Process] = []

    def make() -> Process:
        made.append(Process(redis_server.url))
        return made[-1]

    yield make
    for one in made:
        one.end()


@pytest.fixture
def site() -> Iterator[Server]:
    """An origin that fails when it is asked to."""
    with Server(answer) as server:
        yield server


def answer(talk: Conversation) -> None:
    """500 under /bad, and 200 elsewhere."""
    talk.reply(500 if talk.asked.path == "/bad" else 200)
