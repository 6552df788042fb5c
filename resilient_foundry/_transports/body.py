"""The body of an answer: counted, watched, held back where a policy asks for it, and closed exactly once."""

from __future__ import annotations

import contextlib
import warnings
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import anyio

from resilient_foundry import sse
from resilient_foundry._transports.watch import Watch, watch
from resilient_foundry.call import CLOCK_STEP, Taken
from resilient_foundry.effects import Watcher
from resilient_foundry.errors import DeadlineExceededError, ResilienceError
from resilient_foundry.events import NEVER_CLOSED, Attempt, AttemptEnded, BodyEnd, Ledger, Outcome, TimedOut
from resilient_foundry.faults import Verdict

if TYPE_CHECKING:
    from resilient_foundry._transports.library import Library
    from resilient_foundry._transports.limits import LiveLimits

_SECONDS_TO_CLOSE = 5.0
"""How long a connection may take to say goodbye when its caller was cancelled."""


openings: list[Callable[[Body], None]] = []
"""Who is told of each body that is opened: those who look for leaks."""


class Body:
    """What is known of one body, in either colour: watchers, the chunks held, and how it ended."""

    def __init__(
        self, library: Library, ledger: Ledger, attempt: Attempt, began: float, clock: Callable[[], float]
    ) -> None:
        self.library = library
        self.ledger = ledger
        self.attempt = attempt
        self.began = began
        self.clock = clock
        self.held: Sequence[bytes] = ()
        self.end: BodyEnd | None = None
        self.error: Exception | None = None
        self.closed = False
        self.until: float | None = None
        """The moment by which the body must be through, where a deadline covers it."""
        self.live: LiveLimits | None = None
        """The library's own limits, which it reads when the body is begun."""
        self.raw_outcome: Outcome | None = None
        """How the body ended by itself, before anybody judged it."""
        self.watchers: Sequence[Watcher] = ()
        self.taken: Sequence[Taken] | None = None
        """What policies took for a call that went by its shortcut; nobody watches its body. None for other calls."""
        self.response: Any = None
        """The answer of such a call, until its end."""
        self.asked: float | None = None
        """Since when the server is waited for, while it is."""
        self.last: float | None = None
        """When the last chunk came."""
        self.waited = 0.0
        """Seconds spent waiting for the server; the rest of the time the caller took."""
        self.pace: Callable[[float], float | None] | None = None
        self.paced: float | None = None
        """The moment until which the chunk that was asked for last is waited for, by the pace."""
        self._whole = b""
        for opening in openings:
            opening(self)

    def hold(self, chunk: bytes) -> None:
        """Keep a chunk that came for whoever reads the body later."""
        if not isinstance(self.held, deque):
            self.held = deque()
        self.held.append(chunk)

    def next_held(self) -> bytes:
        """The first of the chunks that are held, of which there is one."""
        held = self.held
        assert isinstance(held, deque)  # noqa: S101 - only `hold` puts anything there
        chunk: bytes = held.popleft()
        return chunk

    def watch(self, watcher: Watcher) -> None:
        """Add a watcher, further out than those before it; one that comes too late is told the end at once."""
        if self.end is None:
            self.watchers = [*self.watchers, watcher]
        else:
            at = self.clock()
            if self._whole:
                watcher.chunk(self._whole, at)
            self._set_end(watcher.ended(self.end, at))

    def keep_pace(self, moment: Callable[[float], float | None], longest: float | None) -> None:
        """Wait for a chunk no longer than to a moment that is asked for each time."""
        self.pace = moment
        if self.live is not None and longest is not None:
            self.live.shorten_the_body(longest)

    def arrived(self, chunk: bytes) -> None:
        """A chunk came off the wire."""
        at = self.clock()
        asked, attempt = self.asked, self.attempt
        if asked is not None:
            self.waited += at - asked
            self.asked = None
        attempt.bytes += len(chunk)
        attempt.chunks += 1
        self.last = at
        for watcher in self.watchers:
            watcher.chunk(chunk, at)

    def finish(
        self, outcome: Outcome, error: BaseException | None = None, verdict: Verdict | None = None, detail: str = ""
    ) -> None:
        """The body ended; only the first end counts."""
        if self.end is not None:
            return
        at = self.clock()
        self.raw_outcome = outcome
        if self.taken is not None:
            if outcome is Outcome.COMPLETE:
                self._settle(self.taken, at)
                return
            self._is_watched_after_all(self.taken)
        self.end = end = BodyEnd(outcome, error, verdict, detail)
        problem: Exception | None = None
        before = len(self.ledger.events)
        watchers, self.watchers = self.watchers, ()  # they may hold the response, which holds us
        for watcher in watchers:
            try:
                end = watcher.ended(end, at)
            except Exception as raised:  # noqa: BLE001 - what a user wrote may fail; the others must be told all the same
                problem = problem or raised
        self._set_end(end)
        attempt = self.attempt
        attempt.ended_after = at - self.began
        if error is not None:
            attempt.error = type(error).__name__
        if attempt.number:  # 0: an answer that a policy gave itself, and no attempt at all
            detail = end.detail or attempt.error or ""
            told, place = self.ledger.events, len(self.ledger.events)
            self.ledger.tell(
                AttemptEnded(attempt.number, attempt.status, end.outcome, attempt.ended_after, attempt.bytes, detail),
                at,
            )
            told.insert(before, told.pop(place))  # a reader wants the cause before what the watchers made of it
        if problem is not None:
            raise problem

    def _is_watched_after_all(self, taken: Sequence[Taken]) -> None:
        """The body of a call that went by its shortcut ends otherwise than well: who would have watched it is told."""
        self.ledger.write()
        self.watchers = [one.watcher(self.response, self.ledger) for one in taken]
        self.taken = self.response = None
        if self.last is not None:
            for watcher in self.watchers:
                watcher.chunk(b"", self.last)  # when, and not what: nobody takes a shortcut who wants to know that

    def _settle(self, taken: Sequence[Taken], at: float) -> None:
        """End a body that came by the shortcut, and whole."""
        response, ledger, attempt = self.response, self.ledger, self.attempt
        self.taken = self.response = None
        self.end, self.live = _COMPLETE, None
        attempt.outcome, attempt.ended_after = Outcome.COMPLETE, at - self.began
        if not ledger.is_unwritten:
            ledger.tell(
                AttemptEnded(attempt.number, attempt.status, attempt.outcome, attempt.ended_after, attempt.bytes), at
            )
        problem: Exception | None = None
        for one in taken:
            try:
                one.completed(response, ledger, at)
            except Exception as raised:  # noqa: BLE001 - as above
                problem = problem or raised
        if problem is not None:
            raise problem

    def came_whole(self, content: bytes) -> None:
        """The response was made with its content, as test doubles do: nothing is left to read."""
        self._whole = content
        self.attempt.bytes = len(content)
        self.finish(Outcome.COMPLETE)

    def wants(self, limit: int) -> bool:
        """Whether more can be read and held before the limit is reached."""
        return self.end is None and sum(map(len, self.held)) < limit

    def shown(self, limit: int) -> bytes:
        """What is held, up to a limit."""
        return (self._whole or b"".join(self.held))[:limit]

    def _set_end(self, end: BodyEnd) -> None:
        self.end = end
        self.attempt.outcome, self.attempt.verdict, self.attempt.detail = end.outcome, end.verdict, end.detail

    def is_over(self) -> bool:
        """Whether nothing more comes; raises the library's StreamClosed where it was closed before its end."""
        if self.end is not None and self.end.outcome is Outcome.ABANDONED:
            raise self.library.StreamClosed
        return self.end is not None

    def left(self) -> float | None:
        """Seconds until the deadline, or until the pace is broken; raises once that has passed. None for no limit."""
        until = self.until
        if until is None and self.pace is None:
            return None
        now = self.clock()
        if until is not None and self.response is not None and sse.announced_by(self.response.headers):
            until = self.until = None  # of a stream the deadline covers the beginning
        self.paced = pace = self.pace(now) if self.pace is not None else None
        if pace is not None and (until is None or pace < until):
            until = pace
        if until is None:
            return None
        left = until - now
        if left <= 0:
            which = "no progress in time" if until is pace else "the deadline passed"
            raise self.broke(self.library.ReadTimeout(which))
        return left

    def broke(self, error: BaseException) -> BaseException:
        """Reading failed, or was interrupted; gives what the caller is to see of that."""
        if self.taken is not None:
            self._is_watched_after_all(self.taken)
        if not isinstance(error, Exception):
            with contextlib.suppress(Exception):  # a watcher that fails must not stand in for a cancellation
                self.finish(Outcome.CANCELLED, error)
            return error
        now = self.clock()
        if self.asked is not None:
            self.waited += now - self.asked
            self.asked = None
        stalled = self.library.is_timeout(error)
        late = stalled and self.until is not None and now >= self.until - CLOCK_STEP
        if late:
            error = self._deadline_exceeded(error)
        elif isinstance(error, ResilienceError):  # what a story met
            error = self.library.dress(error)
        told = getattr(error, "resilience", None) is self.ledger  # by the body that a story pulled from
        error.resilience = self.ledger  # type: ignore[attr-defined]  # every error carries its ledger
        self.error = error
        if stalled and not told:
            phase = "deadline" if late else self._which_limit(now)
            self.ledger.tell(TimedOut(phase=phase, limit=None), now)
        blame = Verdict.CALLER if late and self._the_caller_was_slow(now) else None
        self.finish(Outcome.STALLED if stalled else Outcome.BROKEN, error, blame)
        return error

    def _which_limit(self, now: float) -> str:
        if self.paced is not None and now >= self.paced - CLOCK_STEP:
            return "progress"
        return "idle" if self.attempt.chunks else "read"

    def _the_caller_was_slow(self, now: float) -> bool:
        """Whether most of the time since the head went by between reads."""
        since = now - self.began - (self.attempt.answered_after or 0.0)
        return self.waited < since / 2

    def _deadline_exceeded(self, cause: Exception) -> Exception:
        seconds = (self.until or 0.0) - self.ledger.started
        error = self.library.dress(
            DeadlineExceededError(
                f"the answer was not through within the deadline of {seconds:.3g} s, after {self.attempt.bytes} bytes; "
                "give the call more time, or its head only: Deadline(..., body=False)",
                seconds=seconds,
            )
        )
        error.__cause__ = cause
        return error


_COMPLETE = BodyEnd(Outcome.COMPLETE)
lost: deque[Body] = deque()
"""Bodies that nobody closed before they were collected."""


def settle_the_lost() -> None:
    """End what nobody closed before it was collected: its permits are given back here, and not in the collector."""
    while lost:
        with contextlib.suppress(Exception):  # another thread was faster; or a watcher failed, of another call
            lost.popleft().finish(Outcome.ABANDONED, detail=NEVER_CLOSED)


class _Stream:
    """A body under a response of a library."""

    body: Body

    def __del__(self) -> None:
        """Nothing is done here but taking note: a collector may run anywhere, also under a lock of ours."""
        body: Body | None = getattr(self, "body", None)
        if body is not None and body.end is None:
            lost.append(body)
            if not body.attempt.number:
                return  # what it was told from has a connection, and is found as well
            warnings.warn(
                f"the answer to attempt {body.attempt.number} ({body.attempt.status}) was never closed, and its "
                f"connection is lost to the pool: read it to its end, or close it",
                ResourceWarning,
                source=self,
                stacklevel=2,
            )


class SyncBody(_Stream):
    """The stream that a sync client reads. Wears the library's SyncByteStream; see `bind`."""

    def __init__(self, body: Body, inner: Any) -> None:  # inner: the stream of the library's response
        self.body = body
        self._inner = inner
        self._chunks: Iterator[bytes] | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def next(self) -> bytes | None:
        """The next chunk, held or from the wire; None at the end."""
        return next(self, None)

    def pull(self) -> bytes | None:
        """The next chunk from the wire, None at the end; raises what broke the body, as often as it is asked."""
        body = self.body
        held, body.held = body.held, ()
        try:
            return next(self, None)
        finally:
            body.held = held

    def __next__(self) -> bytes:
        body = self.body
        if body.held:
            return body.next_held()
        if body.error is not None:
            raise body.error
        if body.end is not None and body.is_over():
            raise StopIteration
        body.asked = now = body.clock()
        if body.pace is not None or (body.until is not None and now >= body.until):
            body.left()
        try:
            if self._chunks is None:
                self._chunks = iter(self._inner)
            chunk: bytes | None = next(self._chunks, None)
        except BaseException as error:
            seen = body.broke(error)
            if seen is error:
                raise
            raise seen from error
        if chunk is not None:
            body.arrived(chunk)
            return chunk
        self._chunks = None
        if body.end is not None:
            body.is_over()  # raises where it was closed meanwhile, from elsewhere
        else:
            try:
                if not body.closed:  # who is given the place of this call finds its connection free
                    body.closed = True
                    self._inner.close()
            finally:
                body.finish(Outcome.COMPLETE)
        raise StopIteration

    def close(self) -> None:
        """Close the library's stream, once."""
        body = self.body
        try:
            if body.end is None:
                body.finish(Outcome.ABANDONED)
        finally:  # a watcher may run what a user wrote, and that may fail
            if not body.closed:
                body.closed = True
                self._inner.close()


class AsyncBody(_Stream):
    """The stream that an async client reads. Wears the library's AsyncByteStream; see `bind`."""

    def __init__(
        self, body: Body, inner: Any, *, first: float | None, idle: float | None, native: float | None
    ) -> None:
        self.body = body
        self._inner = inner
        self._chunks: AsyncIterator[bytes] | None = None
        self.first = first
        self.idle = idle
        self._native = native

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def next(self) -> bytes | None:
        """The next chunk, held or from the wire; None at the end."""
        return await anext(self, None)

    async def pull(self) -> bytes | None:
        """The next chunk from the wire, None at the end; raises what broke the body, as often as it is asked."""
        body = self.body
        held, body.held = body.held, ()
        try:
            return await anext(self, None)
        finally:
            body.held = held

    async def __anext__(self) -> bytes:
        body = self.body
        if body.held:
            return body.next_held()
        if body.error is not None:
            raise body.error
        if body.end is not None and body.is_over():
            raise StopAsyncIteration
        limit = self.idle if body.attempt.chunks else self.first
        body.asked = now = body.clock()
        if body.pace is not None:
            left = body.left()
        elif body.until is None:
            left = None
        else:
            left = body.until - now
            if left <= 0 or self._native is None or left < self._native:
                left = body.left()
        if left is not None and (self._native is None or left < self._native):
            limit = left if limit is None else min(limit, left)
        try:
            if self._chunks is None:
                self._chunks = aiter(self._inner)
            if limit is None or limit == self._native:  # the library keeps this limit itself, at no cost
                chunk: bytes | None = await anext(self._chunks, None)
            else:
                chunk = await self._pull_within(limit, self._chunks)
        except BaseException as error:
            seen = body.broke(error)
            if seen is error:
                raise
            raise seen from error
        if chunk is not None:
            body.arrived(chunk)
            return chunk
        self._chunks = None
        if body.end is not None:
            body.is_over()  # raises where it was closed meanwhile, from elsewhere
        else:
            try:
                if not body.closed:  # who is given the place of this call finds its connection free
                    body.closed = True
                    await self._inner.aclose()
            finally:
                body.finish(Outcome.COMPLETE)
        raise StopAsyncIteration

    async def _pull_within(self, limit: float, chunks: AsyncIterator[bytes]) -> bytes | None:
        with watch(limit, 0.0) or anyio.move_on_after(limit) as scope:
            return await anext(chunks, None)
        if scope.fired if isinstance(scope, Watch) else scope.cancelled_caught:
            which = "further" if self.body.attempt.chunks else "first"
            raise self.body.library.ReadTimeout(f"no {which} chunk of the answer's body within {limit:g} s")
        return None  # pragma: no cover - a scope that was not cancelled has returned above

    async def aclose(self) -> None:
        """Close the library's stream, once, also while the caller is being cancelled."""
        body = self.body
        try:
            if body.end is None:
                body.finish(Outcome.ABANDONED)
        finally:  # a watcher may run what a user wrote, and that may fail
            if not body.closed:
                body.closed = True
                if body.raw_outcome is Outcome.COMPLETE:  # read to its end: nothing is left to wait for
                    await self._inner.aclose()
                else:
                    await self._close()

    async def _close(self) -> None:
        with anyio.move_on_after(_SECONDS_TO_CLOSE, shield=True):
            # httpx iterates by an async generator: one that is left half-way is closed here, not by the collector.
            # One in which another task is reading ends by the error that this read gets.
            chunks: Any = self._chunks  # an async generator, or any iterator of a transport of somebody's own
            if hasattr(chunks, "aclose") and not getattr(chunks, "ag_running", False):
                await chunks.aclose()
            await self._inner.aclose()
