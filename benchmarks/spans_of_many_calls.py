"""Whether every span that is started ends, whatever becomes of its call, and no context is left behind.

Calls are made from threads, on asyncio and on trio, through a stack with retries, against answers from memory that fail
as servers do. Of the streams some are read, some closed half-way, some dropped without being closed, some cancelled
while they are waited for. A processor counts the spans; after each call the caller's context must be as it was before.

    python -m benchmarks.spans_of_many_calls [--calls N] [--json]
"""

from __future__ import annotations

import argparse
import gc
import json
import threading
import time
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial

import anyio
import httpx
import psutil
import stamina
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider

from resilient_foundry import Backoff, CircuitBreaker, Deadline, Retry, RetryBudget, Stack, StreamGuard, Tracing

URL = "http://127.0.0.1:5273/v1/models"
ENDS = ("read", "closed", "dropped", "cancelled")
"""What becomes of every fourth answer."""
_EVENT = b'data: {"choices": [{"index": 0, "delta": {"content": "on"}}]}\n\n'
_LAST = b"data: [DONE]\n\n"
_THREADS, _TASKS = 4, 16


class Count(SpanProcessor):
    """How many spans began and ended."""

    def __init__(self) -> None:
        self.started = 0
        self.ended = 0
        self._lock = threading.Lock()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """One more."""
        del span, parent_context
        with self._lock:
            self.started += 1

    def on_end(self, span: ReadableSpan) -> None:
        """One more."""
        del span
        with self._lock:
            self.ended += 1


@dataclass(slots=True)
class Told:
    """What came of it."""

    calls: int
    started: int = 0
    ended: int = 0
    contexts_left: int = 0
    """Calls after which another span was the current one than before."""
    became: Counter[str] = field(default_factory=Counter[str])
    megabytes: list[float] = field(default_factory=list[float])
    """Memory of the process after each quarter."""
    seconds: float = 0.0


class _Stream(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A chat of three events, in either colour; `hangs` before its last."""

    def __init__(self, *, breaks: bool, hangs: bool) -> None:
        self._breaks, self._hangs = breaks, hangs

    def __iter__(self) -> Iterator[bytes]:
        yield from (_EVENT, _EVENT)
        if self._breaks:
            raise httpx.ReadError("broken on purpose")
        yield _LAST

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield _EVENT
        await anyio.lowlevel.checkpoint()
        yield _EVENT
        if self._hangs:
            await anyio.sleep(60)
        if self._breaks:
            raise httpx.ReadError("broken on purpose")
        yield _LAST


def _answer(request: httpx.Request) -> httpx.Response:
    """By the number of the call: mostly good, at times busy, lost or broken; the second attempt is better."""
    number = int(request.headers["number"])
    again = "traceparent" in request.headers and request.extensions.get("told", [0])[0]
    if "told" in request.extensions:
        request.extensions["told"][0] += 1
    if not again and number % 7 == 0:
        return httpx.Response(503)
    if not again and number % 11 == 0:
        raise httpx.ReadError("lost on purpose")
    stream = _Stream(breaks=number % 13 == 0, hangs=ENDS[number % len(ENDS)] == "cancelled")
    return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=stream)


def measure(calls: int) -> Told:
    """Make so many calls, a third each from threads, on asyncio and on trio."""
    count, told = Count(), Told(calls)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(count)
    stack = Stack(
        Tracing(tracer_provider=provider),
        Deadline(30.0),
        Retry(attempts=3, backoff=Backoff(base=0.0), budget=RetryBudget(share=1.0, floor=1000.0)),
        CircuitBreaker(failures=1000),
        StreamGuard(),
    )
    process, began = psutil.Process(), time.monotonic()
    quarters = 4
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # of what is dropped on purpose
        for quarter in range(quarters):
            numbers = range(quarter * calls // quarters, (quarter + 1) * calls // quarters)
            _in_threads(stack, numbers[0::3], told)
            for backend, mine in (("asyncio", numbers[1::3]), ("trio", numbers[2::3])):
                anyio.run(_in_tasks, stack, mine, told, backend=backend)
            gc.collect()
            told.megabytes.append(round(process.memory_info().rss / 1e6, 1))
        _settle(stack)
    told.started, told.ended, told.seconds = count.started, count.ended, round(time.monotonic() - began, 1)
    return told


def _settle(stack: Stack) -> None:
    """What was dropped is ended with the next call."""
    gc.collect()
    with httpx.Client(transport=stack.over(httpx.MockTransport(lambda _: httpx.Response(200)))) as client:
        client.get(URL, headers={"number": "1"})


def _in_threads(stack: Stack, numbers: range, told: Told) -> None:
    with httpx.Client(transport=stack.over(httpx.MockTransport(_answer))) as client:
        threads = [
            threading.Thread(target=_calls, args=(client, numbers[place::_THREADS], told)) for place in range(_THREADS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def _calls(client: httpx.Client, numbers: range, told: Told) -> None:
    for number in numbers:
        end = ENDS[number % len(ENDS)]
        try:
            response = client.send(_request(client, number), stream=True)
            if end == "dropped":
                next(response.iter_raw())
                del response
            elif end == "read":
                response.read()
            else:
                response.close()
        except httpx.HTTPError as error:
            end = type(error).__name__
        _note(told, end)


async def _in_tasks(stack: Stack, numbers: range, told: Told) -> None:
    transport = stack.over(httpx.MockTransport(_answer))
    async with httpx.AsyncClient(transport=transport) as client, anyio.create_task_group() as group:
        for place in range(_TASKS):
            group.start_soon(partial(_calls_of_a_task, client, numbers[place::_TASKS], told))


async def _calls_of_a_task(client: httpx.AsyncClient, numbers: range, told: Told) -> None:
    for number in numbers:
        end = ENDS[number % len(ENDS)]
        try:
            if end == "cancelled":
                with anyio.CancelScope() as scope:
                    await _cancelled(client, number, scope)
            else:
                await _one(client, number, end)
        except httpx.HTTPError as error:
            end = type(error).__name__
        _note(told, end)


async def _one(client: httpx.AsyncClient, number: int, end: str) -> None:
    response = await client.send(_request(client, number), stream=True)
    if end == "read":
        await response.aread()
    elif end == "closed":
        await response.aclose()
    # else it is dropped


async def _cancelled(client: httpx.AsyncClient, number: int, scope: anyio.CancelScope) -> None:
    """While the rest of the answer is waited for."""
    response = await client.send(_request(client, number), stream=True)
    try:
        async for _ in response.aiter_raw():
            scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            await response.aclose()


def _request(client: httpx.Client | httpx.AsyncClient, number: int) -> httpx.Request:
    return client.build_request("GET", URL, headers={"number": str(number)}, extensions={"told": [0]})


def _note(told: Told, end: str) -> None:
    told.became[end] += 1
    if trace.get_current_span() is not trace.INVALID_SPAN:
        told.contexts_left += 1


def main() -> None:
    """Say it in one sentence."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=100_000, help="how many (100,000)")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    stamina.instrumentation.set_on_retry_hooks([])  # it would log each retry
    told = measure(given.calls)
    if given.json:
        print(json.dumps(asdict(told)))
        return
    became = ", ".join(f"{count} {end}" for end, count in told.became.most_common())
    print(
        f"{told.calls} calls in {told.seconds} s ({became}): {told.started} spans started, {told.ended} ended, "
        f"{told.contexts_left} contexts left behind, {', '.join(map(str, told.megabytes))} MB at the quarters"
    )


if __name__ == "__main__":
    main()
