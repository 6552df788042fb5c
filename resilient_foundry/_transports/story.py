"""A body that a flow tells: it pulls from other bodies, may ask for further answers, and gives chunk after chunk."""

from __future__ import annotations

from collections.abc import Callable
from types import GeneratorType
from typing import TYPE_CHECKING, Any

from resilient_foundry._transports.body import AsyncBody, SyncBody
from resilient_foundry.effects import Flow, Source

if TYPE_CHECKING:
    from resilient_foundry._transports.awaiting import AsyncDriver
    from resilient_foundry._transports.blocking import SyncDriver


class SyncStory:
    """The stream under a `SyncBody`; it closes what it pulled from."""

    def __init__(self, driver: SyncDriver, story: Callable[[Source], Flow[Any]], source: SyncBody) -> None:
        self._opened = [source]
        self._driver = driver.closing_into(self._opened)  # what is asked for here is closed here
        self._flow = story(source)
        self._is_closed = False

    def __iter__(self) -> SyncStory:
        return self

    def __next__(self) -> bytes:
        try:
            chunk: bytes | None = self._driver.run(self._flow, up_to_a_chunk=True)
        finally:
            if self._is_closed:  # meanwhile, by another thread; an answer may have come after that
                self._close_all()
        if chunk is None:
            raise StopIteration
        return chunk

    def close(self) -> None:
        """End the story, and close what it read."""
        self._is_closed = True
        try:
            self._flow.close()
        finally:
            self._close_all()

    def _close_all(self) -> None:
        for stream in self._opened:
            self._driver.throw_away(stream)


class AsyncStory:
    """The stream under an `AsyncBody`; it closes what it pulled from."""

    def __init__(self, driver: AsyncDriver, story: Callable[[Source], Flow[Any]], source: AsyncBody) -> None:
        self._opened = [source]
        self._driver = driver.closing_into(self._opened)  # what is asked for here is closed here
        self._flow = story(source)
        self._is_closed = False

    def __aiter__(self) -> AsyncStory:
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk: bytes | None = await self._driver.run(self._flow, up_to_a_chunk=True)
        finally:
            if self._is_closed:  # meanwhile, by another task; an answer may have come after that
                await self._driver.throw_all_away()
        if chunk is None:
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        """End the story, and close what it read."""
        self._is_closed = True
        try:
            if not (isinstance(self._flow, GeneratorType) and self._flow.gi_running):
                self._flow.close()  # where another task is reading, it ends by the error that its read gets
        finally:
            await self._driver.throw_all_away()
