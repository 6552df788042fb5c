"""Retry: whether to try again, when, and what the caller gets when trying ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from resilient_foundry import sse
from resilient_foundry.call import (
    CLOCK_STEP,
    Passage,
    attempt_of,
    may_be_repeated,
    options_of,
    passage_of,
    shared_of,
)
from resilient_foundry.errors import ResilienceError
from resilient_foundry.events import (
    CallRejected,
    CircuitClosed,
    CircuitOpened,
    RetriesExhausted,
    RetryDenied,
    RetryScheduled,
)
from resilient_foundry.faults import Fault, Judge, Verdict, fault_of, judge_by_status, legible
from resilient_foundry.flow import (
    Flow,
    Proceed,
    Request,
    Response,
    Rewind,
    discard,
    draw,
    history,
    now,
    preview,
    remember,
    repeat,
    retry_mode,
    tell,
    today,
)
from resilient_foundry.origin import origin
from resilient_foundry.policies._checks import count, kind, seconds
from resilient_foundry.policies.backoff import Backoff
from resilient_foundry.policies.budget import RetryBudget
from resilient_foundry.policies.resume import continued
from resilient_foundry.policies.retry_after import retry_after

_WORTH_IT = frozenset({408, 425, 429, 500, 502, 503, 504})
_BODY_OF_A_FAILURE = 64 * 1024
"""Bytes read of an answer that is about to be thrown away: enough to keep its connection, and to show it after all."""
_REFUSALS = 400
"""RFC 9110 section 15."""
_LONGEST_ASKED_FOR = 120.0
"""Seconds of Retry-After obeyed where no deadline bounds the call."""


class _AnotherAnswerWanted(Exception):  # noqa: N818 - a message between part and loop, never seen by a caller
    """The answer is a failure that is worth another attempt. stamina's hooks see its text."""

    def __init__(self, response: Response, reason: str) -> None:
        self.response = response
        super().__init__(reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Tries again what may be tried again, at most `attempts` times in all (the first included).

    Repeated, whatever the method: calls of which nothing was sent (connect errors, no free connection), and answers
    that say "not processed" (425, 429, 503). Repeated when the method is idempotent (RFC 9110 section 9.2.2), an
    `Idempotency-Key` is sent, or `CallOptions(repeatable=True)` says so: failures before the answer, failures of a
    streamed answer before its first event (see `StreamGuard`), and 408, 500, 502, 504. Never repeated: a body that
    can't be sent whole a second time, a 500 that came twice to the letter, an answer with `x-should-retry: false`,
    and what a circuit would refuse after the wait: an open one ends the attempts at once.

    Between attempts it waits as long as the server asks (`Retry-After`), or by `backoff`. A wait that is longer than
    `longest_wait` seconds, or than the time left to the deadline, is not begun: the caller gets the answer at once,
    with its headers. Redirects, legs of an authentication and nested stacks share the attempts of one call; `budget`
    bounds what all calls together repeat. When attempts end, the caller gets the last response as it came, or the last
    error as itself with a note.

    It runs on stamina: `stamina.set_active(False)` makes it transparent, `stamina.set_testing(True)` takes the waits
    out, stamina's instrumentation sees every retry. `judge` says what an answer means, from status, headers and the
    first kilobytes of its body.
    """

    attempts: int = 3
    backoff: Backoff = field(default_factory=Backoff)
    longest_wait: float | None = None
    budget: RetryBudget | None = None
    judge: Judge = judge_by_status

    def __post_init__(self) -> None:
        count("Retry.attempts", self.attempts)
        seconds("Retry.longest_wait", self.longest_wait)
        kind("Retry.backoff", self.backoff, Backoff, "Backoff(base=2)")
        if self.budget is not None:
            kind("Retry.budget", self.budget, RetryBudget, "RetryBudget(share=0.2)")

    def take(self, call: Passage) -> None:
        """Nothing is repeated yet; the budget counts the call."""
        call.budget = call.shared.counted = self.budget

    def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
        """Take the request through as many attempts as it needs and may have."""
        options = options_of(request)
        active, testing = yield from retry_mode()
        if self.budget is not None and passage_of(request) is None:
            self.budget.called(origin(request.url), (yield from now()))
            shared_of(request).counted = self.budget
        if self.attempts == 1 or not options.retry or not active:
            return (yield from proceed(request))
        rewind = yield from remember(request)
        call = _Call(self, request, proceed, rewind, repeatable=may_be_repeated(request), testing=testing)
        try:
            response = yield from repeat(call.attempt, wait_for=call.wait_for, attempts=self.attempts, name=call.name)
        except _AnotherAnswerWanted as wanted:
            return wanted.response
        except Exception as error:
            if call.number > 1:
                error.add_note(call.summary())
            raise
        return (yield from continued(response, call.again))


class _Call:
    """One call on its way through its attempts: the only state of a retry, and nobody else's."""

    def __init__(
        self, policy: Retry, request: Request, proceed: Proceed, rewind: Rewind, *, repeatable: bool, testing: bool
    ) -> None:
        self.policy = policy
        self.request = request
        self.proceed = proceed
        self.rewind = rewind
        self.repeatable = repeatable
        self.testing = testing
        self.number = 0
        self.name = f"{request.method} {origin(request.url)}"
        self.shared = shared_of(request)
        self.waited = 0.0
        self._reasons: list[str] = []
        self._failure: BaseException | None = None
        self._wait = 0.0
        self._fingerprint: object = None
        self._body: bytes | None = None

    def summary(self) -> str:
        """What is noted on the error that the caller gets: which attempts failed, and how."""
        count = f"{len(self._reasons)} attempt" + ("s" if len(self._reasons) > 1 else "")
        return f"after {count} ({', '.join(self._reasons)}), {self.waited:.3f} s of them waiting"

    def wait_for(self, error: BaseException) -> float | bool:
        """What stamina asks: the seconds to wait after this error, or False. Asking twice changes nothing."""
        return self._wait if error is self._failure else False

    def attempt(self, number: int) -> Flow[Response]:
        """One attempt, and the decision about the next one; raises what ends it as itself."""
        self.number = number
        if isinstance(self._failure, _AnotherAnswerWanted):
            yield from discard(self._failure.response)
        self._failure = None
        self._ledger = yield from history()
        self._told_before = len(self._ledger.events)
        try:
            response = yield from self.proceed(self.request)
        except Exception as error:
            fault = fault_of(error)
            reason = type(error).__name__
            if not isinstance(error, ResilienceError):
                self._reasons.append(reason)
            if fault is Fault.OURS or not (yield from self._may_repeat(fault, reason)):
                raise
            yield from self._schedule(error, reason, headers={}, fingerprint=None)
            raise
        problem = yield from self._why_not_good(response)
        if problem is None:
            return response
        self._reasons.append(problem)
        failure = _AnotherAnswerWanted(response, problem)
        if (yield from self._schedule(failure, problem, headers=response.headers, fingerprint=self._print(response))):
            raise failure
        return response

    def again(self, failure: Exception, reason: str) -> Flow[Response | None]:
        """A further answer after one that broke while it was read; None where there is to be none."""
        if not (yield from self._may_repeat(Fault.UNKNOWN, reason)):
            return None
        if not (yield from self._schedule(failure, reason, headers={}, fingerprint=None)):
            return None
        made = self.number

        def part(number: int) -> Flow[Response]:
            if number == 1:
                raise failure
            return (yield from self.attempt(made + number - 1))

        try:
            left = self.policy.attempts - made + 1
            return (yield from repeat(part, wait_for=self.wait_for, attempts=left, name=self.name))
        except _AnotherAnswerWanted as wanted:
            return wanted.response
        except Exception as error:
            if error is failure:  # stamina is testing, and allows no further attempt
                return None
            raise

    def _why_not_good(self, response: Response) -> Flow[str | None]:
        """Why this answer is worth another attempt, in a word or two, or None where it is not."""
        status, headers = response.status_code, response.headers
        last = attempt_of(response)
        if last is not None and last.failed_in_its_body and last.verdict is not Verdict.CALLER and last.outcome:
            reason = last.outcome.value
            return reason if (yield from self._may_repeat(Fault.UNKNOWN, reason)) else None
        if status < _REFUSALS:
            return None
        told = headers.get("x-should-retry", "").strip().lower()
        if status not in _WORTH_IT and told != "true":
            return None
        reason = str(status)
        if told == "false":
            yield from tell(RetryDenied(self.number, reason, "told_not_to"))
            return None
        if sse.announced_by(headers):
            self._body = None  # it may never end, whatever its status
        else:
            self._body = yield from preview(response, _BODY_OF_A_FAILURE)
        verdict = self.policy.judge(status, headers, legible(headers, self._body or b""))
        if verdict in {Verdict.CALLER, Verdict.GOOD} and told != "true":
            yield from tell(RetryDenied(self.number, reason, "caller"))
            return None
        fault = Fault.UNSENT if verdict is Verdict.BUSY else Fault.UNKNOWN
        return reason if (yield from self._may_repeat(fault, reason)) else None

    def _may_repeat(self, fault: Fault, reason: str) -> Flow[bool]:
        """Whether doing the call again does no harm, and its body can be sent whole once more."""
        if fault is Fault.UNKNOWN and not (self.repeatable or self.shared.harmless):
            yield from tell(RetryDenied(self.number, reason, "not_repeatable"))
            return False
        if not self.rewind():
            yield from tell(RetryDenied(self.number, reason, "body_sent"))
            return False
        return True

    def _print(self, response: Response) -> object:
        """What makes two failures the same failure: a 500 that repeats itself to the letter is no accident."""
        return self._body if response.status_code == 500 else None  # noqa: PLR2004 - others speak of load, of gateways

    def _schedule(
        self, failure: Exception, reason: str, *, headers: Mapping[str, str], fingerprint: object
    ) -> Flow[bool]:
        """Decide the wait, or that there is no further attempt."""
        spent = self.shared.retries >= self.policy.attempts - 1  # those of earlier legs count
        if (self.number >= self.policy.attempts or spent) and not self.testing:
            yield from tell(RetriesExhausted(self.number, reason))
            return False
        if fingerprint is not None and fingerprint == self._fingerprint:
            yield from tell(RetryDenied(self.number, reason, "same_failure_twice"))
            return False
        self._fingerprint = fingerprint
        asked = retry_after(headers, (yield from today())) if headers else None
        backoff = self.policy.backoff.wait(self.number, (yield from draw()))
        wait = asked or backoff
        if self.testing:
            wait = 0.0
        else:
            why = (yield from self._why_too_long(wait)) or (yield from self._why_refused(wait))
            if why is not None:
                yield from tell(RetryDenied(self.number, reason, why))
                return False
        yield from self._free(failure)
        yield from tell(RetryScheduled(self.number, wait, reason, "retry_after" if asked else "backoff"))
        self.waited += wait
        self.shared.retries += 1
        self._failure, self._wait = failure, wait
        return True

    def _free(self, failure: Exception) -> Flow[None]:
        """Give the connection back before waiting. Stamina's testing may end here: then the answer must stay whole."""
        if isinstance(failure, _AnotherAnswerWanted):
            last = attempt_of(failure.response)
            whole = last is not None and last.outcome is not None
            if whole or not self.testing:
                yield from discard(failure.response)

    def _why_too_long(self, wait: float) -> Flow[str | None]:
        """What forbids this wait, if anything does."""
        until, longest = self.shared.until, self.policy.longest_wait
        if until is not None and (yield from now()) + wait >= until:
            return "deadline"
        if longest is None:
            longest = _LONGEST_ASKED_FOR if until is None else wait
        return "wait_too_long" if wait > longest else None

    def _why_refused(self, wait: float) -> Flow[str | None]:
        """Who would refuse the next attempt, if anybody would: to wait for that helps nobody."""
        opened: CircuitOpened | CallRejected | CircuitClosed | None = None
        for _, event in self._ledger.events[self._told_before :]:
            if isinstance(event, (CircuitOpened, CircuitClosed)) or (
                isinstance(event, CallRejected) and not event.watched_only
            ):
                opened = event
        if isinstance(opened, CircuitOpened) and (opened.retry_after is None or wait < opened.retry_after - CLOCK_STEP):
            return "circuit_open"
        budget = self.policy.budget
        if budget is not None and not budget.spend(origin(self.request.url), (yield from now())):
            return "budget"
        return None
