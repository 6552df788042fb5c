"""Contenders in processes of their own: none warms the interpreter for another, or spoils it.

CPython specialises the bytecode of a call site for what it has seen there last, and caches are as the last one left
them. A program has one stack, and so has each of these processes; they wait for their turns.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

T = TypeVar("T")

Make = Callable[[str], AbstractContextManager[Callable[[], T]]]
"""Sets a contender up in its process, by its name; gives what it does in its turn. To be pickled."""

_USED_BY_MANY = ("httpx", "httpcore", "httpx2", "httpcore2", "anyio", "opentelemetry.instrumentation.httpx", __name__)
"""Imported once, before the processes are forked, where they are forked, and where these are installed."""


class Taken(NamedTuple):
    """Seconds that something took: on the wall, and of the processor (of all threads of the process)."""

    wall: float
    cpu: float


class Watch:
    """Adds up what some stretches of code take."""

    def __init__(self) -> None:
        self._taken = self._began = Taken(0.0, 0.0)

    def __enter__(self) -> None:
        self._began = Taken(time.perf_counter(), time.process_time())

    def __exit__(self, *_: object) -> None:
        cpu, wall = time.process_time(), time.perf_counter()
        self._taken = Taken(self._taken.wall + wall - self._began.wall, self._taken.cpu + cpu - self._began.cpu)

    def divided(self, count: int) -> Taken:
        """Of one of so many."""
        return Taken(self._taken.wall / count, self._taken.cpu / count)


@contextmanager
def isolated(make: Make[T], names: Iterable[str]) -> Generator[dict[str, Callable[[], T]]]:
    """Each contender in a process of its own, for the time of the block; calling one lets it have its turn.

    Raises RuntimeError where one of them failed; what it met is on standard error.
    """
    methods = multiprocessing.get_all_start_methods()
    context: Any = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    if "forkserver" in methods:
        context.set_forkserver_preload([getattr(make, "func", make).__module__, *_USED_BY_MANY])
    with ExitStack() as opened:
        booths: list[_Booth[T]] = [opened.enter_context(_booth(context, make, name)) for name in names]
        for booth in booths:
            booth.answer()  # it is set up
        yield {booth.name: booth.turn for booth in booths}


@dataclass(frozen=True, slots=True)
class _Booth(Generic[T]):
    name: str
    pipe: Any  # a Connection of either kind

    def turn(self) -> T:
        """Let it have its turn."""
        self.pipe.send(None)
        came: T = self.answer()
        return came

    def answer(self) -> Any:
        """What it says next."""
        try:
            return self.pipe.recv()
        except EOFError:
            raise RuntimeError(f"{self.name} failed in its process; what it met is told above") from None


@contextmanager
def _booth(context: Any, make: Make[T], name: str) -> Generator[_Booth[T]]:
    ours, theirs = multiprocessing.Pipe()
    process = context.Process(target=_serve, args=(make, name, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        yield _Booth(name, ours)
    finally:
        ours.close()  # which it takes as its end
        process.join(timeout=10)
        if process.is_alive():
            process.kill()
            process.join()
        process.close()


def _serve(make: Make[Any], name: str, pipe: Any) -> None:
    with make(name) as turn:
        gc.freeze()  # what there is by now is not looked at again; what calls leave behind is, as in real life
        with contextlib.suppress(EOFError, BrokenPipeError):  # nobody wants any more
            pipe.send(None)
            while True:
                pipe.recv()
                pipe.send(turn())
