"""The driver that answers by blocking. It decides nothing."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from resilient_foundry._transports.body import Body, SyncBody, settle_the_lost
from resilient_foundry._transports.driver import ASKED_MOST, Driver, came_whole, loop, wrap
from resilient_foundry._transports.shortcut import Steps
from resilient_foundry._transports.story import SyncStory
from resilient_foundry.call import Shared
from resilient_foundry.effects import (
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
    Wait,
    Within,
    Work,
)
from resilient_foundry.events import AttemptAnswered

T = TypeVar("T")


class SyncDriver(Driver):
    """Answers by blocking."""

    opened: list[SyncBody]

    def call(
        self, request: Any, flow: Callable[[Any], Flow[Any]], steps: Steps | None = None, *, holds_streams: bool = False
    ) -> Any:
        """Make a whole call; every answer but the one that is returned is closed when it ends."""
        self.opened = []
        self.ledger.request = request
        response = kept = None
        if steps is not None and self.set_out(request, steps):
            response = self.pass_by(request, holds_streams=holds_streams)
            if response is not None:
                return response
            leg: Shared | None = self.shared
        else:
            leg = self.enter(request)
        self.owner.look_above(request)
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

    def pass_by(self, request: Any, *, holds_streams: bool) -> Any:
        """Send the call on its shortcut; its answer, if it is a good one, or None where the flows are to be asked."""
        outgoing = self.outgoing(request)
        traced = self.traced
        if traced is not None:
            traced.enter()
        try:
            response = self.inner.handle_request(outgoing)
        except BaseException as error:  # noqa: BLE001 - the flows raise it again
            self.ledger.write()
            self.failed(self.attempt, self.began, error)
            self.tell_the_flows(None, error)
            return None
        finally:
            if traced is not None:
                traced.leave()
        body = self.good(response, holds_streams=holds_streams)
        if body is None:
            self.ledger.write()
            body = self.answered(outgoing, response, self.attempt, self.live, self.began)
            self.keep(response, body)
            self.tell_the_flows(response, None)
            return None
        stream = self.library.streams.sync(body, response.stream)
        if not self.ledger.is_unwritten:
            after = body.attempt.answered_after or 0.0
            try:
                self.ledger.tell(AttemptAnswered(1, response.status_code, after), self.began + after)
            except BaseException:  # a listener's
                stream.close()
                raise
        if response.is_stream_consumed:  # it was made with its content
            wrap(response, stream)
        else:
            response.stream = stream
        return response

    def keep(self, response: Any, body: Body) -> None:
        """Our stream under an answer that came off the wire."""
        stream = self.library.streams.sync(body, response.stream)
        self.opened.append(stream)  # before anybody is told, who might fail
        attempt = body.attempt
        self.tell(AttemptAnswered(attempt.number, response.status_code, attempt.answered_after or 0.0))
        wrap(response, stream)

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
        if type(effect) in ASKED_MOST:
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
        if self.told is not None:
            return self.recall()
        request, attempt, live, began = self.begin(request)
        try:
            response = self.inner.handle_request(request)
        except BaseException as error:
            self.failed(attempt, began, error)
            raise
        self.keep(response, self.answered(request, response, attempt, live, began))
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
        if not came_whole(effect.response):
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
            stream.body.hold(chunk)

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
                stream.body.hold(chunk)
        return stream.body.shown(effect.limit)
