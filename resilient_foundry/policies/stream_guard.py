"""StreamGuard: the outcome of a streamed answer, read off its events while the bytes pass through untouched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from resilient_foundry import sse
from resilient_foundry.call import IDLE, NO_SHORTCUT, Passage, attempt_of, derive, options_of, shared_of
from resilient_foundry.events import BodyEnd, Ledger, Outcome
from resilient_foundry.faults import Judge, judge_by_status
from resilient_foundry.flow import Flow, Proceed, Request, Response, discard, history, pace, peek, watch
from resilient_foundry.policies._checks import count, seconds, switch, text
from resilient_foundry.policies.resume import RESUMABLE, is_deterministic
from resilient_foundry.policies.timeouts import GROWTH
from resilient_foundry.policies.transcript import Transcript
from resilient_foundry.sse import Decoder, Event, SSEError

_SERVER_ERROR = 500
_GOOD = range(200, 300)
_NO_CONTENT = 204
"""RFC 9110 section 6.4.1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamGuard:
    """Holds a stream of server-sent events until its first event with content, and says at its end how it went.

    A server that sends `200 text/event-stream` before it works reports failure inside the stream, or by ending it.
    With this guard the policies around it learn of that: an event that is an error (`{"error": ...}`, `event: error`,
    `response.failed`), a clean end that comes too early, a connection that broke or fell silent. What fails before
    the first event with content fails before the caller has seen anything, so `Retry` may ask again unseen. A role, a
    `ping` and a comment are no content.

    The ends of chats and completions (`[DONE]`, or a reason to finish for every choice), of responses
    (`response.completed`) and of messages (`message_stop`) are known: a stream of these that ends without is truncated,
    and one that the caller closes after it is complete. A stream of other events has ended well wherever it ends,
    unless `done` says what the data of its last event are. A stream without a single event is truncated.

    `first_event` (seconds) limits the wait for the first event with content, from the head of the answer on;
    `progress` (seconds) the wait for each later event that brings something on. Bytes that bring nothing on, such as
    `: keep-alive`, count for neither, and the time that the caller takes between two reads is not counted. What is
    raised is the library's ReadTimeout. The wait for the head is limited by `AttemptTimeout.read`, whose `growth` also
    makes `first_event` longer. A socket read can't be interrupted in synchronous code: there a wait ends when the next
    chunk comes, or after a silence of the longer of the two limits, where both are set.

    With `resume`, a chat or completion whose stream broke in its middle is asked again by the `Retry` further out, and
    goes on behind the part that the caller already has, if the new answer begins with that very part, however it is cut
    into events. Only a deterministic request is (`temperature` 0, or a `seed`). That such a one may be asked twice,
    also before its first event, is what you say by `resume`, unless `CallOptions(repeatable=False)` says otherwise.
    Where it can't go on, the error is raised, a truncated stream as RemoteProtocolError, with a note on how many
    characters were delivered; an error that stood in the stream is handed over as it came. The ledger says why
    (`ResumeDenied`). Tool calls are never put together from two answers. As long as a stream can be resumed, an event
    is handed over when it is whole.

    `judge` says whom an event blames that is an error. It is shown a status of 500, the headers of the stream, and the
    data of the event; what it blames the caller for is not repeated, and not held against the server.

    Events larger than `max_event` bytes end the judging, not the stream; a stream that has sent as much without an
    event with content is held no longer. Answers that are no event streams pass through, and so do compressed ones,
    whose events can't be seen from here.
    """

    done: str | None = None
    first_event: float | None = None
    progress: float | None = None
    resume: bool = False
    max_event: int = 1024 * 1024
    judge: Judge = judge_by_status

    def __post_init__(self) -> None:
        text("StreamGuard.done", self.done)
        seconds("StreamGuard.first_event", self.first_event)
        seconds("StreamGuard.progress", self.progress)
        switch("StreamGuard.resume", self.resume)
        count("StreamGuard.max_event", self.max_event)

    def take(self, call: Passage) -> object:
        """Nothing: streams of events don't take the shortcut. Other bodies have the limits of `AttemptTimeout`."""
        has_limits = self.first_event is not None and self.progress is not None
        return NO_SHORTCUT if has_limits and call.idle is None else None

    def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
        """Hold the answer until its first event."""
        limits = _Limits(request, self.first_event, self.progress)
        deterministic = self.resume and is_deterministic(request)
        if deterministic and options_of(request).repeatable is not False:
            shared_of(request).harmless = True
        response = yield from proceed(limits.written_on(request))
        if _has_events(request, response):
            stream = _Stream(self, response, limits, (yield from history()))
            yield from watch(response, stream)
            if limits.are_set:
                yield from pace(response, limits.moment, longest=limits.longest)
            try:
                yield from peek(response, stream.has_begun)
            except Exception:
                yield from discard(response)  # its connection must be free when the call is tried again
                raise
            if stream.failure is not None:
                yield from discard(response)  # nothing follows an error; what was held can still be read
            elif self.resume:
                stream.deterministic = deterministic
                response.extensions[RESUMABLE] = stream
        return response


def _has_events(request: Request, response: Response) -> bool:
    """Whether the body is a stream of events that can be read as it comes: there is one, and it is not compressed."""
    return (
        sse.announced_by(response.headers)
        and response.headers.get("content-encoding", "").strip().lower() in {"", "identity"}
        and response.status_code in _GOOD
        and response.status_code != _NO_CONTENT
        and request.method != "HEAD"
    )


class _Limits:
    """How long the server may be waited for until it brings something on. Moments are monotonic seconds."""

    def __init__(self, request: Request, first_event: float | None, progress: float | None) -> None:
        grown: float = request.extensions.get(GROWTH, 1.0)
        self._first = None if first_event is None else first_event * grown
        self._progress = progress
        self.are_set = first_event is not None or progress is not None
        self.longest = max(self._first, progress) if self._first is not None and progress is not None else None
        self._left = self._first
        self._asked: float | None = None

    def written_on(self, request: Request) -> Request:
        """The request, so that its body gets a limit of its own where it has none yet: that is what `longest` cuts."""
        if self.longest is None or request.extensions.get(IDLE) is not None:
            return request
        limits: Mapping[str, float | None] = request.extensions.get("timeout") or {}
        read = limits.get("read")
        return derive(request, extensions={IDLE: self.longest if read is None else read})

    def moment(self, at: float) -> float | None:
        """Until when the chunk may be waited for that is asked for now."""
        self._asked = at
        return None if self._left is None else at + self._left

    def waited(self, at: float, *, progress: bool) -> None:
        """A chunk came; the caller's own time between two of them is not held against the server."""
        if progress:
            self._left = self._progress
        elif self._left is not None and self._asked is not None:
            self._left -= at - self._asked
        self._asked = None


class _Stream:
    """One answer: what its events have said so far."""

    def __init__(self, guard: StreamGuard, response: Response, limits: _Limits, ledger: Ledger) -> None:
        self.failure: BodyEnd | None = None
        """How the stream ended by its own word, where it reported an error."""
        self.deterministic = False
        """Whether the same request makes the same stream once more."""
        self.max_event = guard.max_event
        self.transcript = Transcript(guard.done)
        self._judge = guard.judge
        self._response = response
        self._limits = limits
        self._decoder: Decoder | None = Decoder(max_bytes=guard.max_event)
        self._held = 0
        self._attempt = attempt_of(response)
        self._began = ledger.started + (self._attempt.started if self._attempt is not None else 0.0)

    def has_begun(self) -> bool:
        """Whether an event with content has arrived, or nothing more can be learnt by waiting."""
        full = self._held >= self.max_event
        return self.transcript.begun or full or self.failure is not None or self._decoder is None

    @property
    def missing(self) -> str | None:
        """What the stream lacks if it ends here; None where it may, or where it could not be read."""
        return self.transcript.missing if self._decoder is not None else None

    def chunk(self, data: bytes, at: float) -> None:
        """Look at the events that this chunk completes."""
        self._held += len(data)
        begun = self.transcript.begun
        progress = self._decoder is None  # what can't be read is taken for something
        if self._decoder is not None:
            try:
                for event in self._decoder.feed(data):
                    progress = self._look_at(event) or progress
            except SSEError:
                self._decoder, progress = None, True
        self._limits.waited(at, progress=progress)
        if self._attempt is not None and self.transcript.begun and not begun:
            self._attempt.first_event_after = at - self._began

    def ended(self, end: BodyEnd, at: float) -> BodyEnd:
        """A clean end may still be a failure, and an early one a success; a broken one stays what it is."""
        del at
        if self.failure is not None and end.outcome is not Outcome.CANCELLED:
            return replace(self.failure, error=end.error)
        if end.outcome not in {Outcome.COMPLETE, Outcome.ABANDONED}:
            return end
        if end.outcome is Outcome.ABANDONED:
            return replace(end, outcome=Outcome.COMPLETE) if self.transcript.is_whole else end
        missing = self.missing
        return end if missing is None else replace(end, outcome=Outcome.TRUNCATED, detail=missing)

    def _look_at(self, event: Event) -> bool:
        """Whether the event brings something on."""
        said = self.transcript.add(event)
        if self.transcript.error is not None and self.failure is None:
            verdict = self._judge(_SERVER_ERROR, self._response.headers, event.data.encode(errors="replace"))
            self.failure = BodyEnd(Outcome.IN_BAND_ERROR, verdict=verdict, detail=self.transcript.error)
        return said.brings
