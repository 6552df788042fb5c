"""Deadline: how long a call may take, all attempts, waits and queueing together."""

from __future__ import annotations

from dataclasses import dataclass, field

from resilient_foundry.call import CLOCK_STEP, MORE_LEGS, Passage, options_of, passage_of, shared_of
from resilient_foundry.errors import DeadlineExceededError
from resilient_foundry.events import TimedOut
from resilient_foundry.faults import Fault, fault_of
from resilient_foundry.flow import Flow, Proceed, Request, Response, now, tell, within
from resilient_foundry.policies._checks import number


@dataclass(frozen=True, slots=True)
class Deadline:
    """Ends a call after so many seconds, whatever it is doing: queueing, connecting, waiting to try again, reading.

    The deadline is one moment on the monotonic clock. It is written on the request, so redirects, legs of an
    authentication and nested stacks share it; an earlier one that is already there stays. A Request object that is sent
    twice at the same time counts as one call; what begins a second after the moment has passed is no leg but a new one.

    It covers the call to the end of its answer; of a stream of events (`text/event-stream`) up to its head, or to its
    first event where a `StreamGuard` stands further in, for a stream takes as long as it takes. With `body=False` that
    holds for every answer: choose it for downloads.

    It is kept by shortening the library's own time limits, and only after that by cancelling, because cancelling a
    request that waits for a connection costs httpx 0.28 a place in its pool for good. Synchronous code can't be
    interrupted inside a socket read: there a call ends when the read that is under way does, which is at the deadline
    at the latest, unless the server sends its head in drips, or its head and then nothing: the wait for the first
    event of such a stream ends with the limit of a chunk, the longer of `AttemptTimeout.read` and `idle`.

    Raises `DeadlineExceededError`, which is also the library's `TimeoutException`.
    `CallOptions(deadline=...)` replaces `seconds` for one call.
    """

    seconds: float
    body: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        number("Deadline.seconds", self.seconds, above=0.0)

    def take(self, call: Passage) -> None:
        """The moment is written down; the driver keeps it."""
        given, shared = call.options.deadline or self.seconds, call.shared
        shared.until = moment = call.began + given
        shared.limit = given, moment
        shared.with_body = self.body

    def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
        """Write the moment on the request, and keep it."""
        given = options_of(request).deadline or self.seconds
        shared = shared_of(request)
        earlier, with_body = shared.until, shared.with_body
        passage = passage_of(request)
        started = (yield from now()) if passage is None else passage.began
        moment = started + given if earlier is None else min(earlier, started + given)
        shared.until = moment
        shared.limit = given, moment
        shared.with_body = self.body or (with_body and earlier is not None)
        try:
            if moment <= started:
                raise TimeoutError
            response = yield from within(moment, proceed(request))
            if response.status_code in MORE_LEGS:
                shared.carried = moment
            return response
        except Exception as error:
            ended = yield from now()
            late = ended >= moment - CLOCK_STEP
            if isinstance(error, DeadlineExceededError) or not (late and _ran_out_of_time(error)):
                raise
            yield from tell(TimedOut(phase="deadline", limit=given))
            raise DeadlineExceededError(
                f"no answer from {request.url.host} within the deadline of {given:g} s; "
                "give the call more time; error.resilience.explain() tells what took it",
                seconds=given,
            ) from (None if type(error) is TimeoutError else error)
        finally:
            shared.until, shared.with_body = earlier, with_body


def _ran_out_of_time(error: Exception) -> bool:
    """A time limit, ours or the library's. Its classes are called so in every httpx-shaped library."""
    if type(error) is TimeoutError:
        return True
    return fault_of(error) is not Fault.OURS and any(
        kind.__name__ == "TimeoutException" for kind in type(error).__mro__
    )
