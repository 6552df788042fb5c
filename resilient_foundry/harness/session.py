"""What a contract talks with: requests to the server, values that may vary, and models by the part they play."""

from __future__ import annotations

import json as json_module
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import httpx

from resilient_foundry.foundry.runtime import ServedModel
from resilient_foundry.harness.answer import Answer, expect
from resilient_foundry.harness.evidence import Exchange
from resilient_foundry.harness.tapes.recorder import RECORDED, Recorder
from resilient_foundry.sse import Decoder, Event

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

T = TypeVar("T")

READ_SECONDS: Final = 60.0
"""The longest silence that a contract waits through: no server may hang for ever."""
_HEADERS: Final = {"user-agent": "resilient-foundry", "accept": "*/*"}


class Session:
    """One run of one contract: it sends, and what passes is kept as evidence.

    Requests never raise for what the network does: a connection that broke is an `Answer` that says so.
    """

    def __init__(
        self,
        recorder: Recorder,
        models: Mapping[str, ServedModel],
        *,
        base_url: str,
        version: str,
        draw: Callable[[SearchStrategy[Any]], Any] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._recorder = recorder
        self._models = models
        self._draw = draw
        self._sleep = sleep
        self.version = version
        """The version of the runtime."""
        timeout = httpx.Timeout(READ_SECONDS, connect=5.0)
        self._client = httpx.Client(
            transport=recorder, base_url=base_url, timeout=timeout, headers=_HEADERS, trust_env=False
        )

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """The evidence so far."""
        return self._recorder.exchanges

    def model(self, role: str = "chat") -> str:
        """The id of the model that plays this part: what a request asks for."""
        return self._models[role].id

    def alias(self, role: str = "chat") -> str:
        """The alias of the model that plays this part: what it is loaded by."""
        return self._models[role].alias

    def vary(self, example: T, strategy: Callable[[], SearchStrategy[T]] | SearchStrategy[T]) -> T:
        """The example; under fuzzing, whatever hypothesis draws from the strategy, or from what a function makes."""
        if self._draw is None:
            return example
        drawn: T = self._draw(strategy() if callable(strategy) else strategy)
        return drawn

    def get(self, path: str, **settings: Any) -> Answer:
        """GET; see `request`."""
        return self.request("GET", path, **settings)

    def post(self, path: str, **settings: Any) -> Answer:
        """POST; see `request`."""
        return self.request("POST", path, **settings)

    def delete(self, path: str, **settings: Any) -> Answer:
        """DELETE; see `request`."""
        return self.request("DELETE", path, **settings)

    def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,  # whatever JSON can hold
        content: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        read: float = READ_SECONDS,
    ) -> Answer:
        """Send `json`, or `content` as it is, and read the answer whole. `read` bounds the silence, in seconds.

        Content in pieces goes as a chunked body (RFC 9112 section 7.1).
        """
        with self.stream(method, path, json=json, content=content, headers=headers, read=read) as stream:
            return stream.rest()

    @contextmanager
    def stream(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,  # whatever JSON can hold
        content: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        read: float = READ_SECONDS,
    ) -> Generator[Stream]:
        """Send, and read the answer piece by piece; leaving the block closes it, read or not."""
        sent = dict(headers or {})
        if json is not None:
            content = json_module.dumps(json, ensure_ascii=False, separators=(",", ":")).encode()
            sent.setdefault("content-type", "application/json")
        timeout = httpx.Timeout(read, connect=5.0)
        request = self._client.build_request(method, path, content=content, headers=sent, timeout=timeout)
        try:
            response = self._client.send(request, stream=True)
        except httpx.TransportError:
            yield Stream(None, request.extensions[RECORDED])
            return
        try:
            yield Stream(response, request.extensions[RECORDED])
        finally:
            response.close()

    def together(self, *calls: Callable[[], T]) -> list[T]:
        """All of them at once, in threads; their results in this order."""
        with ThreadPoolExecutor(len(calls)) as threads:
            return [each.result() for each in [threads.submit(call) for call in calls]]

    def pause(self, seconds: float) -> None:
        """Let time pass, on the clock of the tape in replay."""
        self._sleep(seconds)

    def expect(self, condition: object, message: str) -> None:
        """Break the contract with this message unless the condition holds."""
        expect(condition, message)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


class Stream:
    """An answer while it comes."""

    def __init__(self, response: httpx.Response | None, exchange: Callable[[], Exchange]) -> None:
        self._exchange = exchange
        self._chunks = iter(()) if response is None else response.iter_raw()
        self._decoder = Decoder()
        self._events: list[Event] = []

    @property
    def answer(self) -> Answer:
        """What has come so far."""
        return Answer(self._exchange())

    def event(self) -> Event | None:
        """The next event; None where the stream ended, however it did."""
        while not self._events:
            try:
                chunk = next(self._chunks, None)
            except httpx.TransportError:
                return None
            if chunk is None:
                return None
            self._events += self._decoder.feed(chunk)
        return self._events.pop(0)

    def events(self, count: int) -> Sequence[Event]:
        """The next so many events, or as many as there are."""
        return [event for event in (self.event() for _ in range(count)) if event is not None]

    def rest(self) -> Answer:
        """Read to the end, however it ends; the whole answer."""
        try:
            for _ in self._chunks:
                pass
        except httpx.TransportError:
            pass  # the exchange says so
        return self.answer
