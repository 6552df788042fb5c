"""StreamGuard: the outcome of a streamed answer, read off its events while the bytes pass through untouched."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Any, cast

from resilient_foundry import sse
from resilient_foundry.events import BodyEnd, Outcome
from resilient_foundry.faults import Judge, judge_by_status
from resilient_foundry.flow import Flow, Proceed, Request, Response, discard, peek, watch
from resilient_foundry.policies._checks import count
from resilient_foundry.sse import Decoder, Event, SSEError

_FINISHED = re.compile(r'"finish_reason"\s*:\s*"')
_SERVER_ERROR = 500
_NO_CONTENT = frozenset({204, 304})
"""RFC 9110 section 6.4.1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamGuard:
    """Holds a stream of server-sent events until its first event, and says at its end how it went.

    A server that sends `200 text/event-stream` before it works reports failure inside the stream, or by ending it.
    With this guard the policies around it learn of that: an event that is an error (`data: {"error": ...}`, `event:
    error`), a clean end without `done` or a finish reason, a connection that broke. What fails before the first event
    with content fails before the caller has seen anything, so `Retry` may ask again unseen; what fails later is never
    repeated.

    `done` is the data of the event that ends a stream (None: any clean end will do), as of the OpenAI API. Events
    larger than `max_event` bytes end the judging, not the stream; a stream that has sent as much without an event with
    content is held no longer. Answers that are no event streams pass through, and
    so do compressed ones, whose events can't be seen from here.
    """

    done: str | None = "[DONE]"
    max_event: int = 1024 * 1024
    judge: Judge = judge_by_status

    def __post_init__(self) -> None:
        count("StreamGuard.max_event", self.max_event)

    def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
        """Hold the answer until its first event."""
        response = yield from proceed(request)
        if _has_events(request, response):
            stream = _Stream(self, response)
            yield from watch(response, stream)
            try:
                yield from peek(response, stream.has_begun)
            except Exception:
                yield from discard(response)  # its connection must be free when the call is tried again
                raise
            if stream.failed:
                yield from discard(response)  # nothing follows an error; what was held can still be read
        return response


def _has_events(request: Request, response: Response) -> bool:
    """Whether the body is a stream of events that can be read as it comes: there is one, and it is not compressed."""
    return (
        sse.announced_by(response.headers)
        and response.headers.get("content-encoding", "identity") == "identity"
        and response.status_code < _SERVER_ERROR
        and response.status_code not in _NO_CONTENT
        and request.method != "HEAD"
    )


class _Stream:
    """What the events of one answer have said so far."""

    def __init__(self, guard: StreamGuard, response: Response) -> None:
        self._guard = guard
        self._response = response
        self._decoder: Decoder | None = Decoder(max_bytes=guard.max_event)
        self._begun = False
        self._held = 0
        self._done = guard.done is None
        self._failed: BodyEnd | None = None

    def has_begun(self) -> bool:
        """Whether an event with content has arrived, or nothing more can be learnt by waiting."""
        full = self._held >= self._guard.max_event
        return self._begun or full or self._failed is not None or self._decoder is None

    @property
    def failed(self) -> bool:
        """Whether the stream reported an error before its first event with content."""
        return self._failed is not None

    def chunk(self, data: bytes, at: float) -> None:
        """Look at the events that this chunk completes."""
        del at
        self._held += len(data)
        if self._decoder is None:
            return
        try:
            for event in self._decoder.feed(data):
                self._look_at(event)
        except SSEError:
            self._decoder = None

    def ended(self, end: BodyEnd, at: float) -> BodyEnd:
        """A clean end may still be a failure; a broken one stays what it is."""
        del at
        if end.outcome in {Outcome.COMPLETE, Outcome.ABANDONED} and self._failed is not None:
            return self._failed
        if end.outcome is Outcome.COMPLETE and not self._done and self._decoder is not None:
            return replace(end, outcome=Outcome.TRUNCATED, detail=f"no {self._guard.done} at the end")
        return end

    def _look_at(self, event: Event) -> None:
        if event.data == self._guard.done:
            self._begun = self._done = True
        elif event.event == "error" or '"error"' in event.data:
            self._look_for_an_error(event)
        elif _FINISHED.search(event.data):
            self._begun = self._done = True
        elif not _is_preamble(event.data):
            self._begun = True

    def _look_for_an_error(self, event: Event) -> None:
        said = _json(event.data)
        error = said.get("error")
        if event.event != "error" and not error:
            self._begun = self._begun or not _is_preamble(event.data)
            self._done = self._done or bool(_FINISHED.search(event.data))
            return
        verdict = self._guard.judge(_SERVER_ERROR, self._response.headers, event.data.encode())
        self._failed = BodyEnd(Outcome.IN_BAND_ERROR, verdict=verdict, detail=_kind(error))


def _is_preamble(data: str) -> bool:
    """A chat chunk that only names the role: sent before anything was generated."""
    if '"role"' not in data:
        return False
    choices = _json(data).get("choices")
    if not isinstance(choices, list) or not choices:
        return False
    return all(map(_says_nothing, choices))  # pyright: ignore[reportUnknownArgumentType] - foreign JSON


def _says_nothing(choice: Any) -> bool:  # foreign JSON
    delta = _mapping(_mapping(choice).get("delta"))
    return bool(delta) and not any(value for name, value in delta.items() if name != "role")


def _kind(error: Any) -> str:  # foreign JSON
    """The type of an in-band error, which is a word of the protocol; its message may quote the prompt."""
    kind = _mapping(error).get("type")
    return kind if isinstance(kind, str) and len(kind) < 64 else "error"  # noqa: PLR2004 - a word, not a text


def _json(data: str) -> dict[str, Any]:
    try:
        return _mapping(json.loads(data))
    except (ValueError, RecursionError):
        return {}


def _mapping(value: Any) -> dict[str, Any]:  # foreign JSON
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
