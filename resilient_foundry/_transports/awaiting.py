"""The driver that answers by awaiting, on asyncio and trio. It decides nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import anyio
from anyio.abc import TaskGroup

from resilient_foundry._transports.body import AsyncBody, Body, settle_the_lost
from resilient_foundry._transports.driver import ASKED_MOST, Driver, came_whole, loop, wrap
from resilient_foundry._transports.shortcut import Steps
from resilient_foundry._transports.story import AsyncStory
from resilient_foundry._transports.wake import one_by_one, waker
from resilient_foundry._transports.watch import Watch, watch
from resilient_foundry.call import CLOCK_STEP, IDLE, Shared
from resilient_foundry.effects import (
    Begin,
    Branch,
    Discard,
    Effect,
    Flow,
    Give,
    Peek,
    Pour,
    Preview,
    Pull,
    Repeat,
    Send,
    Sleep,
    Together,
    Wait,
    Within,
    Work,
)
from resilient_foundry.events import AttemptAnswered, Outcome

T = TypeVar("T")

_GRACE = 2.0
"""Seconds that the library's own limits are given to end a call that has no answer yet before it is cancelled, which
costs httpx 0.28 a connection of its pool. With the head of an answer that danger is over, and so is the grace."""


_OFFERS_ONE_TO_ALL = "httpx"
"""The library whose pool gives an idle connection to all who come in one turn of the loop; httpx2 has it mended."""


class AsyncDriver(Driver):
    """Answers by awaiting, on asyncio and trio."""

    opened: list[AsyncBody]
    unanswered: set[int]
    """The attempts that have no answer yet; parts that run side by side may send several."""
    watch: Watch | None = None
    """What keeps the deadline of a call that took its shortcut."""

    async def call(
        self, request: Any, flow: Callable[[Any], Flow[Any]], steps: Steps | None = None, *, holds_streams: bool = False
    ) -> Any:
        """Make a whole call; every answer but the one that is returned is closed when it ends."""
        self.opened = []
        self.ledger.request = request
        response = kept = None
        if steps is not None and self.set_out(request, steps) and self.is_watched():
            try:
                response = await self.pass_by(request, holds_streams=holds_streams)
            except GeneratorExit:  # the task is being thrown away; the flows are told, as of any other end
                if self.told is None:
                    raise
            if response is not None:
                return response
            leg: Shared | None = self.shared
        else:
            leg = self.enter(request)
        self.owner.look_above(request)
        self.unanswered = set()
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
            if self.watch is not None:  # a flow ended before anybody came who would keep the deadline
                self.watch.end(None)
            self.exit(request, leg, response)
            await self.throw_all_away(kept=kept)

    def is_watched(self) -> bool:
        """Whether the deadline of a call on its shortcut is kept; on trio that takes a scope, and the flows."""
        until = self.shared.until
        if until is None:
            return True
        self.watch = watch(until - self.began, _GRACE)
        if self.watch is None:
            self.put_back()
            return False
        return True

    async def pass_by(self, request: Any, *, holds_streams: bool) -> Any:
        """Send the call on its shortcut; its answer, if it is a good one, or None where the flows are to be asked."""
        outgoing = self.outgoing(request)
        limits: Mapping[str, float | None] = self.limits or request.extensions.get("timeout") or {}
        traced = self.traced
        if traced is not None:
            traced.enter()
        try:
            response = await self.inner.handle_async_request(outgoing)
        except BaseException as error:  # noqa: BLE001 - the flows raise it again
            self.ledger.write()
            self.failed(self.attempt, self.began, error)
            self.tell_the_flows(None, error)
            return None
        finally:
            if traced is not None:
                traced.leave()
        body = self.good(response, holds_streams=holds_streams)
        first = limits.get("read")
        if body is None:
            self.ledger.write()
            if self.watch is not None:
                self.watch.moved(self.watch.moment)  # the head is there
            body = self.answered(outgoing, response, self.attempt, self.live, self.began)
            self.keep(response, body, first, self.idle or first)
            self.tell_the_flows(response, None)
            return None
        if self.watch is not None:
            self.watch.end(None)
        stream = self.library.streams.asynchronous(
            body, response.stream, first=first, idle=self.idle or first, native=body.live.body if body.live else first
        )
        if not self.ledger.is_unwritten:
            after = body.attempt.answered_after or 0.0
            try:
                self.ledger.tell(AttemptAnswered(1, response.status_code, after), self.began + after)
            except BaseException:  # a listener's
                await stream.aclose()
                raise
        if response.is_stream_consumed:  # it was made with its content
            wrap(response, stream)
        else:
            response.stream = stream
        return response

    def keep(self, response: Any, body: Body, first: float | None, idle: float | None) -> None:
        """Our stream under an answer that came off the wire."""
        live, attempt = body.live, body.attempt
        stream = self.library.streams.asynchronous(
            body, response.stream, first=first, idle=idle, native=live.body if live else first
        )
        self.opened.append(stream)  # before anybody is told, who might fail
        self.tell(AttemptAnswered(attempt.number, response.status_code, attempt.answered_after or 0.0))
        wrap(response, stream)

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
        if type(effect) in ASKED_MOST:
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
        if self.told is not None:
            return self.recall()
        limits: Mapping[str, float | None] = request.extensions.get("timeout") or {}
        idle = request.extensions.get(IDLE)
        request, attempt, live, began = self.begin(request)
        for scope, moment in self.shared.scopes or ():
            if scope.deadline != moment + _GRACE:  # setting a timer anew takes some microseconds
                _move(scope, moment + _GRACE)
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
        first = limits.get("read")
        self.keep(response, self.answered(request, response, attempt, live, began), first, idle or first)
        return response

    def end_the_grace(self) -> None:
        """Keep the limits to the moment, once no head is waited for."""
        if not self.unanswered:
            for scope, moment in self.shared.scopes or ():
                _move(scope, moment)

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
        shared = self.shared
        scopes = shared.scopes = [] if shared.scopes is None else shared.scopes
        left = effect.moment - self.clock()
        limit, self.watch = self.watch or watch(left, _GRACE), None
        moment = anyio.current_time() + left if limit is None else limit.moment
        is_through = False
        with limit or anyio.CancelScope(deadline=moment + _GRACE) as scope:
            ours = (scope, moment)
            scopes.append(ours)
            try:
                value = await self.run(effect.part)
            finally:
                scopes.remove(ours)
            if self.clock() > effect.moment:
                raise TimeoutError  # it came too late, and what came is closed
            is_through = True
        if is_through:
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
        if effect.apart and effect.signal.is_given and self.library.name == _OFFERS_ONE_TO_ALL:
            await one_by_one()
        return effect.signal.is_given

    async def work(self, effect: Work) -> Any:
        """Block a thread of its own; a call that is cancelled does not wait for it."""
        return await anyio.to_thread.run_sync(effect.work, abandon_on_cancel=True)

    def pour(self, effect: Pour) -> None:
        """Put another body under a response, told while it is read."""
        source: AsyncBody = self.stream_of(effect.response)
        if not came_whole(effect.response):
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
            stream.body.hold(chunk)

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
                stream.body.hold(chunk)
        return stream.body.shown(effect.limit)


def _move(scope: Any, deadline: float) -> None:  # a Watch, or anyio's CancelScope
    """Have a part under a limit end at another moment."""
    if isinstance(scope, Watch):
        scope.moved(deadline)
    else:
        scope.deadline = deadline


class _Group:
    """Tasks that run side by side, and the interruption that one of them met."""

    def __init__(self, tasks: TaskGroup) -> None:
        self.tasks = tasks
        self.running = 0
        self.problem: BaseException | None = None
