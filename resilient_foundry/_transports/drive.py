"""The two drivers: they answer what a flow asks, one by blocking, one by awaiting. They decide nothing.

A driver lives for one call. What is the same in both colours stands in `_Driver`; the pairs of methods below it differ
by `await`, and by what a colour can't do.
"""

from __future__ import annotations

import contextlib
import copy
import math
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self, TypeVar

import anyio
import stamina
from anyio.abc import TaskGroup

from resilient_foundry import sse
from resilient_foundry._transports.body import AsyncBody, Body, SyncBody, settle_the_lost
from resilient_foundry._transports.cookies import Cookies
from resilient_foundry._transports.library import Library, described
from resilient_foundry._transports.limits import LiveLimits
from resilient_foundry._transports.logs import log
from resilient_foundry._transports.rewind import rewind_of
from resilient_foundry._transports.story import AsyncStory, SyncStory
from resilient_foundry._transports.wake import waker
from resilient_foundry.call import CLOCK_STEP, IDLE, MORE_LEGS, Shared, belongs_to, derive, shared_of
from resilient_foundry.effects import (
    Begin,
    Branch,
    Discard,
    Draw,
    Effect,
    Fail,
    Flow,
    Give,
    History,
    Listen,
    Now,
    Pace,
    Peek,
    Pour,
    Preview,
    Pull,
    Remember,
    Repeat,
    Respond,
    RetryMode,
    Send,
    Sleep,
    Tell,
    Today,
    Together,
    Wait,
    Watch,
    Within,
    Work,
)
from resilient_foundry.errors import ResilienceError
from resilient_foundry.events import (
    Attempt,
    AttemptAnswered,
    AttemptEnded,
    AttemptStarted,
    Event,
    Ledger,
    Outcome,
    TimedOut,
)

T = TypeVar("T")

_GRACE = 2.0
"""Seconds that the library's own limits are given to end a call that has no answer yet before it is cancelled, which
costs httpx 0.28 a connection of its pool. With the head of an answer that danger is over, and so is the grace."""
_BETWEEN_LEGS = 1.0
"""Seconds after a deadline from which on what looks like a leg is another call: clients send legs one after the other,
and whoever goes on by hand later means something new."""
_PHASES = {
    "ConnectTimeout": "connect",
    "PoolTimeout": "pool",
    "WriteTimeout": "write",
    "ReadTimeout": "read",
}


_ASKED_MOST = frozenset({Now, Tell, Watch, History, RetryMode, Remember, Draw, Today, Listen, Pace})
"""What is answered at once. A call asks for some ten of these: they are not to be looked for among all others first."""


@dataclass(frozen=True, slots=True)
class World:
    """Time and chance, as they are; tests hand in others."""

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    draw: Callable[[], float] = random.random  # jitter needs no secrecy


class _Driver:
    """What both colours share: one call, its ledger, and the bodies that it opened."""

    opened: list[Any]

    def __init__(
        self,
        library: Library,
        inner: Any,  # the wrapped transport
        world: World,
        closings: Callable[[], int] = lambda: 0,
    ) -> None:
        self._closings = closings
        self._closings_before = closings()
        self.library = library
        self.inner = inner
        self.world = world
        self.clock = world.monotonic
        self.ledger = Ledger(started=self.clock())
        self.cookies: Cookies | None = None
        self.unanswered: set[int] = set()
        """The attempts that have no answer yet; parts that run side by side may send several."""
        self.side_by_side = False
        settle_the_lost()

    def closing_into(self, opened: list[Any]) -> Self:  # SyncBody or AsyncBody
        """This driver, but for where it notes the answers that it opens."""
        other = copy.copy(self)
        other.opened = opened
        return other

    def tell(self, event: Event) -> None:
        self.ledger.tell(event, self.clock())

    def at_once(self, effect: Effect) -> Any:
        """Answer what needs no waiting."""
        match effect:
            case Now():
                return self.clock()
            case Tell():
                return self.tell(effect.event)
            case Watch():
                return self.stream_of(effect.response).body.watch(effect.watcher)
            case History():
                return self.ledger
            case RetryMode():
                return stamina.is_active(), stamina.is_testing()
            case Remember():
                return rewind_of(effect.request, self.library)
            case Draw():
                return self.world.draw()
            case Today():
                return self.world.wall()
            case Listen():
                return self.ledger.listeners.append(effect.listener)
            case Pace():
                return self.stream_of(effect.response).body.keep_pace(effect.moment, effect.longest)
            case Respond():
                return self.library.Response(effect.status, headers=dict(effect.headers), content=effect.content)
            case Fail():
                raise getattr(self.library, effect.error)(effect.message)
            case Together() | Begin():
                raise TypeError(
                    "a synchronous call does one thing at a time, and a policy such as Hedge wants several: "
                    "use an AsyncClient, or leave that policy out"
                )
            case Give():
                raise TypeError("a flow gives a chunk, which only the story of a body may do: see flow.pour")
            case _:
                raise TypeError(f"a flow asked for {effect!r}, which no driver answers")

    def enter(self, request: Any) -> Shared | None:
        """Begin a leg of the call; None where a stack further out has begun it."""
        self.shared = shared = shared_of(request)  # on the caller's own, from which the client makes the next leg
        if shared.under_way:
            return None
        shared.under_way = True
        carried = shared.carried
        late = carried is not None and carried + _BETWEEN_LEGS <= self.clock()
        if late or shared.answered is None or shared.answered == _looks(request):
            carried, shared.retries, shared.counted = None, 0, None  # no leg, but another call
        shared.until, shared.moment = carried, math.inf
        shared.carried = shared.answered = None
        return shared

    def exit(self, request: Any, leg: Shared | None, response: Any) -> None:
        """End the leg that `enter` began; `response` is None where it got no answer."""
        if leg is not None:
            leg.under_way, leg.until = False, None
            if response is not None and response.status_code in MORE_LEGS:
                leg.answered = _looks(request)

    def ended_at(self, attempt: Attempt) -> float:
        """The monotonic moment at which an attempt ended."""
        return self.ledger.started + attempt.started + (attempt.ended_after or 0.0)

    def hand_over(self, request: Any, response: Any) -> Any:
        """Our stream under the answer that the caller gets, which carries the ledger, and the cookies of the others."""
        kept = self.stream_of(response)
        response.extensions["resilience"] = self.ledger
        if self.cookies is not None:
            self.cookies.keep(request, response)
        return kept

    def begin(self, request: Any) -> tuple[Any, Attempt, LiveLimits | None, float]:
        """Write an attempt into the ledger, and the limits on the request; raises where the transport was closed."""
        if self._closings() != self._closings_before:  # a connection opened now would be closed by nobody
            raise RuntimeError("Cannot send a request, as the client has been closed.")
        attempt = Attempt(number=len(self.ledger.attempts) + 1, started=self.clock() - self.ledger.started)
        self.ledger.attempts.append(attempt)
        self.tell(AttemptStarted(attempt.number))
        extensions: Mapping[str, Any] = request.extensions
        limits: Mapping[str, float | None] = extensions.get("timeout") or {}
        until, idle = self.shared.until, extensions.get(IDLE)
        if until is None and idle is None:
            return request, attempt, None, self.clock()
        read = limits.get("read")
        live = LiveLimits(limits, until=until, body=read if idle is None else _longer(read, idle), clock=self.clock)
        return derive(request, extensions={"timeout": live}), attempt, live, self.clock()

    def failed(self, attempt: Attempt, began: float, error: BaseException) -> None:
        """No answer came."""
        attempt.ended_after = self.clock() - began
        attempt.error = type(error).__name__
        if not isinstance(error, Exception):
            attempt.outcome = Outcome.CANCELLED
        elif self.library.is_timeout(error):
            attempt.outcome = Outcome.STALLED
            self.tell(TimedOut(phase=_PHASES.get(attempt.error, "read"), limit=None))
        else:
            attempt.outcome = Outcome.BROKEN
        self.tell(AttemptEnded(attempt.number, None, attempt.outcome, attempt.ended_after, 0, attempt.error))

    def answered(self, request: Any, response: Any, attempt: Attempt, live: LiveLimits | None, began: float) -> Body:
        """The head of an answer is there."""
        if "set-cookie" in response.headers:
            self.cookies = self.cookies or Cookies()
            self.cookies.bake(request, response)
        shared = self.shared
        covered = shared.with_body and not sse.announced_by(response.headers)
        if live is not None:
            live.head_arrived(deadline_covers_the_body=covered)
        attempt.status = response.status_code
        attempt.answered_after = self.clock() - began
        belongs_to(response, attempt)
        body = Body(self.library, self.ledger, attempt, began, self.clock)
        body.until = shared.until if covered else None
        body.live = live
        return body

    def stream_of(self, response: Any) -> Any:
        """Our stream under a response, SyncBody or AsyncBody. One that a policy made itself gets one now."""
        if isinstance(response, (SyncBody, AsyncBody)):  # what a story pulls from
            return response
        stream = getattr(response, "stream", None)
        if isinstance(stream, (SyncBody, AsyncBody)):
            return stream
        if not isinstance(response, self.library.Response):
            raise TypeError(
                f"a flow ended with {described(response)}, and ends with an answer: "
                f"`return response`, a {self.library.name}.Response"
            )
        if not _came_whole(response):
            raise TypeError(
                f"a policy answered with a stream of its own; an answer that a policy makes has its content, as "
                f"{self.library.name}.Response(200, content=...)"
            )
        return self.adopt(response, self.body_of_ours(response))

    def body_of_ours(self, response: Any) -> Body:
        """What is known of a body that came off no wire."""
        attempt = Attempt(number=0, started=self.clock() - self.ledger.started, status=response.status_code)
        return Body(self.library, self.ledger, attempt, self.clock(), self.clock)

    def body_told(self, effect: Pour, source: Body) -> Body:
        """What is known of a body that a story tells."""
        if not effect.in_place:
            return self.body_of_ours(effect.response)
        attempt = source.attempt
        source.attempt = replace(attempt, number=0)  # from here on nobody looks at it
        attempt.bytes = attempt.chunks = 0
        body = Body(self.library, self.ledger, attempt, source.began, self.clock)
        body.until, body.live = source.until, source.live
        return body

    def adopt(self, response: Any, body: Body) -> Any:
        """Put our stream under a response that came from no transport."""
        raise NotImplementedError

    def leave(self, error: Exception) -> Exception:
        """What the caller gets to see of an error: the library's own class, with the ledger on it."""
        if isinstance(error, ResilienceError):
            error = self.library.dress(error)
        error.resilience = self.ledger  # type: ignore[attr-defined]  # every error carries its ledger
        return error


def _looks(request: Any) -> int:
    """What the legs of one call differ in: a redirect has another URL, an authentication another header."""
    return hash((request.method, str(request.url), tuple(request.headers.raw)))


def _longer(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else max(one, other)


class SyncDriver(_Driver):
    """Answers by blocking."""

    opened: list[SyncBody]

    def call(self, request: Any, flow: Callable[[Any], Flow[Any]]) -> Any:
        """Run the flow of a whole call; every answer but the one that is returned is closed when it ends."""
        self.opened = []
        self.ledger.listeners.insert(0, partial(log, request))
        response = kept = None
        leg = self.enter(request)
        try:
            response = self.run(flow(request))
            kept = self.hand_over(request, response)
            return response
        except Exception as error:  # noqa: BLE001 - raised again
            left = self.leave(error)
            try:
                if left is error:
                    raise
                raise left from left.__cause__
            finally:
                del left  # it holds this frame
        finally:
            self.exit(request, leg, response)
            for stream in self.opened:
                if stream is not kept:
                    self.throw_away(stream)

    def run(self, flow: Flow[T], *, up_to_a_chunk: bool = False) -> T:
        """Answer every question of a flow; gives its value, or what a story gives next."""
        answer, error = None, None
        try:
            while True:
                try:
                    effect = flow.send(answer) if error is None else flow.throw(error)
                except StopIteration as end:
                    value: T = end.value
                    return value
                if up_to_a_chunk and isinstance(effect, Give):
                    return effect.chunk  # type: ignore[return-value]  # a story's value, until it ends with None
                answer, error = None, None
                try:
                    answer = self.answer(effect)
                except BaseException as raised:  # noqa: BLE001 - handed to the flow, which raises it again
                    error = raised
        finally:
            del error  # it holds this frame

    def answer(self, effect: Effect) -> Any:
        """Do what was asked."""
        if type(effect) in _ASKED_MOST:
            return self.at_once(effect)
        match effect:
            case Send():
                return self.send(effect.request)
            case Repeat():
                return self.repeat(effect)
            case Within():
                return self.within(effect)
            case Peek():
                return self.peek(effect)
            case Preview():
                return self.preview(effect)
            case Discard():
                return self.throw_away(self.stream_of(effect.response))
            case Wait():
                return self.wait(effect)
            case Sleep():
                return self.sleep(effect.seconds)
            case Pull():
                return self.stream_of(effect.source).next()
            case Pour():
                return self.pour(effect)
            case Work():
                return self.work(effect)
            case _:
                return self.at_once(effect)

    def send(self, request: Any) -> Any:
        """One attempt, up to the head of its answer."""
        request, attempt, live, began = self.begin(request)
        try:
            response = self.inner.handle_request(request)
        except BaseException as error:
            self.failed(attempt, began, error)
            raise
        body = self.answered(request, response, attempt, live, began)
        stream = self.library.streams.sync(body, response.stream)
        self.opened.append(stream)  # before anybody is told, who might fail
        self.tell(AttemptAnswered(attempt.number, response.status_code, attempt.answered_after or 0.0))
        wrap(response, stream)
        return response

    def repeat(self, effect: Repeat) -> Any:
        """Stamina's loop. The first attempt runs outside; only a failure enters, and is stamina's first attempt."""
        try:
            return self.run(effect.part(1))
        except Exception as error:
            if effect.wait_for(error) is False:
                raise
            first = error
        try:
            for attempt in loop(effect):
                with attempt:
                    if attempt.num == 1:
                        raise first
                    return self.run(effect.part(attempt.num))
        finally:
            del first  # it holds the frames that hold it
        raise AssertionError("stamina ended without an attempt")  # pragma: no cover

    def within(self, effect: Within) -> Any:
        """A blocking read ends by the limits on the request; the moment is looked at between two reads of a body."""
        shared = self.shared
        outer, shared.moment = shared.moment, min(shared.moment, effect.moment)
        try:
            value = self.run(effect.part)
        finally:
            shared.moment = outer
        if self.clock() > effect.moment:
            raise TimeoutError  # it came too late, and what came is closed
        return value

    def adopt(self, response: Any, body: Body) -> SyncBody:
        """Put our stream under a response that came from no transport."""
        stream: SyncBody = self.library.streams.sync(body, response.stream)
        self.opened.append(stream)
        wrap(response, stream)
        return stream

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        time.sleep(seconds)

    def wait(self, effect: Wait) -> bool:
        """Block until the signal is given."""
        settle_the_lost()
        given = threading.Lock()  # and no Event: a collector may call its `set` in the midst of its own `wait`
        given.acquire()
        effect.signal.hear(given.release)
        try:
            left = -1.0 if effect.until is None else max(0.0, effect.until - self.clock())
            given.acquire(timeout=min(left, threading.TIMEOUT_MAX))
        finally:
            effect.signal.forget(given.release)
        return effect.signal.is_given

    def work(self, effect: Work) -> Any:
        """Block here: nobody else is held up."""
        return effect.work()

    def pour(self, effect: Pour) -> None:
        """Put another body under a response, told while it is read."""
        source: SyncBody = self.stream_of(effect.response)
        if not _came_whole(effect.response):
            self.opened.remove(source)  # closed with the story from here on
            told = SyncStory(self, effect.story, source)
            stream: SyncBody = self.library.streams.sync(self.body_told(effect, source.body), told)
            self.opened.append(stream)
            effect.response.stream = stream  # type: ignore[attr-defined]  # the library's response

    def throw_away(self, stream: SyncBody) -> None:
        """Close an answer that nobody wants; that its connection breaks over it is nobody's loss."""
        with contextlib.suppress(
            Exception
        ):  # the connection's error, or that of a watcher: the others must be closed too
            stream.close()

    def peek(self, effect: Peek) -> None:
        """Read and hold chunks."""
        stream: SyncBody = self.stream_of(effect.response)
        while not effect.enough():
            if self.clock() >= self.shared.moment:
                raise stream.body.broke(self.library.ReadTimeout("the deadline passed"))
            chunk = stream.pull()
            if chunk is None:
                return
            stream.body.held.append(chunk)

    def preview(self, effect: Preview) -> bytes:
        """Read and hold chunks up to a size; a body that breaks is shown as far as it came."""
        stream: SyncBody = self.stream_of(effect.response)
        until = min(self.shared.moment, self.clock() + effect.seconds)
        while stream.body.wants(effect.limit) and self.clock() < until:
            try:
                chunk = stream.pull()
            except Exception:  # noqa: BLE001 - whoever reads the body meets it again
                break
            if chunk is not None:
                stream.body.held.append(chunk)
        return stream.body.shown(effect.limit)


class AsyncDriver(_Driver):
    """Answers by awaiting, on asyncio and trio."""

    opened: list[AsyncBody]

    async def call(self, request: Any, flow: Callable[[Any], Flow[Any]]) -> Any:
        """Run the flow of a whole call; every answer but the one that is returned is closed when it ends."""
        self.opened = []
        self.ledger.listeners.insert(0, partial(log, request))
        response = kept = None
        leg = self.enter(request)
        try:
            response = await self.run(flow(request))
            kept = self.hand_over(request, response)
            return response
        except Exception as error:  # noqa: BLE001 - raised again
            left = self.leave(error)
            try:
                if left is error:
                    raise
                raise left from left.__cause__
            finally:
                del left  # it holds this frame
        finally:
            self.exit(request, leg, response)
            await self.throw_all_away(kept=kept)

    async def run(self, flow: Flow[T], *, up_to_a_chunk: bool = False) -> T:
        """Answer every question of a flow; gives its value, or what a story gives next."""
        answer, error = None, None
        try:
            while True:
                try:
                    effect = flow.send(answer) if error is None else flow.throw(error)
                except StopIteration as end:
                    value: T = end.value
                    return value
                if up_to_a_chunk and isinstance(effect, Give):
                    return effect.chunk  # type: ignore[return-value]  # a story's value, until it ends with None
                answer, error = None, None
                try:
                    answer = await self.answer(effect)
                except BaseException as raised:  # noqa: BLE001 - handed to the flow, which raises it again
                    error = raised
        finally:
            del error  # it holds this frame

    async def answer(self, effect: Effect) -> Any:
        """Do what was asked."""
        if type(effect) in _ASKED_MOST:
            return self.at_once(effect)
        match effect:
            case Send():
                return await self.send(effect.request)
            case Repeat():
                return await self.repeat(effect)
            case Within():
                return await self.within(effect)
            case Peek():
                return await self.peek(effect)
            case Preview():
                return await self.preview(effect)
            case Discard():
                return await self.throw_away(self.stream_of(effect.response))
            case Wait():
                return await self.wait(effect)
            case Sleep():
                return await self.sleep(effect.seconds)
            case Together():
                return await self.together(effect)
            case Begin():
                return self.begin_beside(effect)
            case Pull():
                return await self.stream_of(effect.source).next()
            case Pour():
                return self.pour(effect)
            case Work():
                return await self.work(effect)
            case _:
                return self.at_once(effect)

    async def send(self, request: Any) -> Any:
        """One attempt, up to the head of its answer."""
        limits: Mapping[str, float | None] = request.extensions.get("timeout") or {}
        idle = request.extensions.get(IDLE)
        request, attempt, live, began = self.begin(request)
        for scope, moment in self.shared.scopes:
            if scope.deadline != moment + _GRACE:  # setting a timer anew takes some microseconds
                scope.deadline = moment + _GRACE
        self.unanswered.add(attempt.number)
        try:
            response = await self.inner.handle_async_request(request)
        except BaseException as error:
            self.failed(attempt, began, error)
            self.unanswered.discard(attempt.number)
            if self.side_by_side:  # another one may have its head, and wait for more
                self.end_the_grace()
            raise
        self.unanswered.discard(attempt.number)
        self.end_the_grace()
        body = self.answered(request, response, attempt, live, began)
        first = limits.get("read")
        stream = self.library.streams.asynchronous(
            body, response.stream, first=first, idle=idle or first, native=live.body if live else first
        )
        self.opened.append(stream)  # before anybody is told, who might fail
        self.tell(AttemptAnswered(attempt.number, response.status_code, attempt.answered_after or 0.0))
        wrap(response, stream)
        return response

    def end_the_grace(self) -> None:
        """Keep the limits to the moment, once no head is waited for."""
        if not self.unanswered:
            for scope, moment in self.shared.scopes:
                scope.deadline = moment

    async def repeat(self, effect: Repeat) -> Any:
        """Stamina's loop. The first attempt runs outside; only a failure enters, and is stamina's first attempt."""
        try:
            return await self.run(effect.part(1))
        except Exception as error:
            if effect.wait_for(error) is False:
                raise
            first = error
        try:
            async for attempt in loop(effect):
                with attempt:
                    if attempt.num == 1:
                        raise first
                    return await self.run(effect.part(attempt.num))
        finally:
            del first  # it holds the frames that hold it
        raise AssertionError("stamina ended without an attempt")  # pragma: no cover

    async def within(self, effect: Within) -> Any:
        """Cancel the part once its moment has passed, and only where the library's limits did not end it."""
        moment = anyio.current_time() + effect.moment - self.clock()
        with anyio.CancelScope(deadline=moment + _GRACE) as scope:
            ours = (scope, moment)
            self.shared.scopes.append(ours)
            try:
                value = await self.run(effect.part)
            finally:
                self.shared.scopes.remove(ours)
            if anyio.current_time() > moment:
                raise TimeoutError  # it came too late, and what came is closed
            return value
        for attempt in self.ledger.attempts:
            if attempt.outcome is Outcome.CANCELLED and self.ended_at(attempt) >= effect.moment - CLOCK_STEP:
                attempt.outcome = Outcome.STALLED  # cancelled by us, and not by the caller
        raise TimeoutError

    async def together(self, effect: Together) -> Any:
        """Run a part that others may be begun beside. No group of exceptions leaves: what the part raises does."""
        group, value, problem = _Group(anyio.create_task_group()), None, None
        self.side_by_side = True
        async with group.tasks as tasks:
            try:
                value = await self.run(effect.part(group))
            except BaseException as error:
                if isinstance(error, anyio.get_cancelled_exc_class()):
                    raise
                problem = error
            if group.running:  # cancelling takes some microseconds also where nobody is there to be cancelled
                tasks.cancel_scope.cancel()
        problem = problem or group.problem
        if problem is None:
            return value
        try:
            raise problem
        finally:
            del problem, group  # they hold this frame

    def begin_beside(self, effect: Begin) -> Branch[Any]:
        """A task that answers another flow, of the same call."""
        branch: Branch[Any] = Branch()
        group: Any = effect.group  # the one that `together` has handed out
        group.running += 1
        group.tasks.start_soon(self.run_beside, group, effect.part, branch)
        return branch

    async def run_beside(self, group: _Group, part: Flow[Any], branch: Branch[Any]) -> None:
        """Run a flow to its end, and say so."""
        try:
            branch.value, branch.error = await self.outcome_of(part)
        except BaseException as error:
            if isinstance(error, anyio.get_cancelled_exc_class()):
                raise
            group.problem = error  # an interruption ends them all
            group.tasks.cancel_scope.cancel()
        else:
            group.running -= 1
            branch.ended.give()

    async def outcome_of(self, part: Flow[Any]) -> tuple[Any, Exception | None]:
        """What a flow gives, and what it raises."""
        try:
            return await self.run(part), None
        except Exception as error:  # noqa: BLE001 - whoever began it looks at it
            return None, error

    def adopt(self, response: Any, body: Body) -> AsyncBody:
        """Put our stream under a response that came from no transport."""
        stream: AsyncBody = self.library.streams.asynchronous(body, response.stream, first=None, idle=None, native=None)
        self.opened.append(stream)
        wrap(response, stream)
        return stream

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        await anyio.sleep(seconds)

    async def wait(self, effect: Wait) -> bool:
        """Await the signal."""
        settle_the_lost()
        event = anyio.Event()
        wake = waker(event.set)
        effect.signal.hear(wake)
        try:
            left = None if effect.until is None else max(0.0, effect.until - self.clock())
            with anyio.move_on_after(left):
                await event.wait()
        finally:
            effect.signal.forget(wake)
        return effect.signal.is_given

    async def work(self, effect: Work) -> Any:
        """Block a thread of its own; a call that is cancelled does not wait for it."""
        return await anyio.to_thread.run_sync(effect.work, abandon_on_cancel=True)

    def pour(self, effect: Pour) -> None:
        """Put another body under a response, told while it is read."""
        source: AsyncBody = self.stream_of(effect.response)
        if not _came_whole(effect.response):
            self.opened.remove(source)  # closed with the story from here on
            told = AsyncStory(self, effect.story, source)
            first, idle = (source.first, source.idle) if effect.in_place else (None, None)
            body = self.body_told(effect, source.body)
            stream: AsyncBody = self.library.streams.asynchronous(body, told, first=first, idle=idle, native=None)
            self.opened.append(stream)
            effect.response.stream = stream  # type: ignore[attr-defined]  # the library's response

    async def throw_away(self, stream: AsyncBody) -> None:
        """Close an answer that nobody wants; that its connection breaks over it is nobody's loss."""
        with contextlib.suppress(
            Exception
        ):  # the connection's error, or that of a watcher: the others must be closed too
            await stream.aclose()

    async def throw_all_away(self, *, kept: AsyncBody | None = None) -> None:
        """Close all answers but one; a cancellation that closing one of them meets waits for the others."""
        cancelled: BaseException | None = None
        for stream in self.opened:
            if stream is not kept:
                try:
                    await self.throw_away(stream)
                except BaseException as error:  # noqa: BLE001 - raised below
                    cancelled = error
        if cancelled is not None:
            try:
                raise cancelled
            finally:
                del cancelled  # it holds this frame

    async def peek(self, effect: Peek) -> None:
        """Read and hold chunks."""
        stream: AsyncBody = self.stream_of(effect.response)
        while not effect.enough():
            chunk = await stream.pull()
            if chunk is None:
                return
            stream.body.held.append(chunk)

    async def preview(self, effect: Preview) -> bytes:
        """Read and hold chunks up to a size; a body that breaks is shown as far as it came."""
        stream: AsyncBody = self.stream_of(effect.response)
        until = self.clock() + effect.seconds
        while stream.body.wants(effect.limit) and self.clock() < until:
            try:
                chunk = await stream.pull()
            except Exception:  # noqa: BLE001 - whoever reads the body meets it again
                break
            if chunk is not None:
                stream.body.held.append(chunk)
        return stream.body.shown(effect.limit)


class _Group:
    """Tasks that run side by side, and the interruption that one of them met."""

    def __init__(self, tasks: TaskGroup) -> None:
        self.tasks = tasks
        self.running = 0
        self.problem: BaseException | None = None


def loop(effect: Repeat) -> Any:  # stamina's iterator class is private
    """Stamina's loop over the attempts: our waits, its instrumentation, its testing mode."""
    return stamina.retry_context(on=effect.wait_for, attempts=effect.attempts, timeout=None).with_name(
        effect.name, (), {}
    )


def _came_whole(response: Any) -> bool:
    return bool(response.is_stream_consumed and response.is_closed)


def wrap(response: Any, stream: Any) -> None:
    """Put our stream under the response. One that was made with its content has been read before it came here."""
    if _came_whole(response):
        stream.body.came_whole(response.content)
    elif response.status_code == _SWITCHING_PROTOCOLS:
        stream.body.finish(Outcome.COMPLETE)  # what follows is another protocol, and not ours to read
    response.stream = stream


_SWITCHING_PROTOCOLS = 101
