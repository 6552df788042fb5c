"""The demo at a terminal of 80 columns, with somebody at the keyboard."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Generator
from contextlib import contextmanager

import psutil

from tests.cli.command import SECONDS, environment
from tests.cli.test_serve import is_there

CTRL_C = b"\x03"
_DEMO = """
import fcntl, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # the terminal at which this process is started
from resilient_foundry.cli import demo
from resilient_foundry.cli.demo.scenes import SCENES
raise SystemExit(demo.run(as_json=False, scenes=[scene for scene in SCENES if scene.fault in {scenes!r}]))
"""
_COMMAND = """
import fcntl, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from resilient_foundry.cli import main
main()
"""


class Terminal:
    """What somebody sees and types."""

    def __init__(self, keyboard: int, process: subprocess.Popen[bytes]) -> None:
        self.seen = ""
        self.process = process
        self._keyboard = keyboard

    def watch_until(self, pattern: str) -> None:
        """Look until this is there."""
        while not re.search(pattern, self.seen):
            assert self._look(), f"it ended before {pattern!r} was seen: {self.seen}"

    def watch_to_the_end(self) -> int:
        """Look until the program has ended; its exit code."""
        while self._look():
            pass
        return self.process.wait(SECONDS)

    def press(self, keys: bytes) -> None:
        """Type."""
        os.write(self._keyboard, keys)

    def _look(self) -> bool:
        try:
            piece = os.read(self._keyboard, 4096)
        except OSError:  # what Linux says when the last program at a terminal has ended
            piece = b""
        self.seen += piece.decode(errors="replace")
        return bool(piece)


@contextmanager
def terminal(program: str, *arguments: str) -> Generator[Terminal]:
    """A terminal at which a program runs."""
    keyboard, screen = pty.openpty()
    fcntl.ioctl(screen, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
    with (
        os.fdopen(keyboard, "rb", buffering=0),
        subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            stdin=screen,
            stdout=screen,
            stderr=screen,
            start_new_session=True,
            env=environment({"TERM": "xterm-256color"}),
        ) as process,
    ):
        os.close(screen)
        try:
            yield Terminal(keyboard, process)
        finally:
            process.kill()


def test_a_person_sees_the_chat_that_plays_and_then_a_line_of_it() -> None:
    """The view that lives is gone at the end; the lines stay, none longer than the terminal is wide."""
    with terminal(_DEMO.format(scenes={"503 with Retry-After", "cut in mid-stream"})) as seen:
        assert seen.watch_to_the_end() == 0
    assert "chat 1 of 2, streamed; goes wrong: 503 with Retry-After" in seen.seen
    assert "chat 2 of 2, streamed; goes wrong: cut in mid-stream" in seen.seen
    assert "waits 1.00 s, as the server asks: 503" in seen.seen
    assert "circuit closed" in seen.seen
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.seen).replace("\r", "\n").splitlines()
    assert "ok    503 with Retry-After" in [line[:26] for line in shown]
    assert "ok    cut in mid-stream" in [line[:23] for line in shown]
    assert max(map(len, shown)) <= 80


def test_ctrl_c_at_the_keyboard_ends_the_demo_and_gives_the_terminal_back() -> None:
    """No traceback, no runtime, and a cursor."""
    with terminal(_COMMAND, "demo") as seen:
        seen.watch_until(r"goes wrong: connection reset")
        children = psutil.Process(seen.process.pid).children(recursive=True)
        assert children
        seen.press(CTRL_C)
        assert seen.watch_to_the_end() == 130
    assert "Traceback" not in seen.seen
    assert seen.seen.rindex("\x1b[?25h") > seen.seen.rindex("\x1b[?25l")
    assert not any(map(is_there, children))
