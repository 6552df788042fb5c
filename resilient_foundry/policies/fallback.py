"""Fallback: whom to ask instead, or for which other model, when what was asked first fails."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from resilient_foundry import sse
from resilient_foundry.call import TARGET, attempt_of, may_be_repeated, options_of, shared_of
from resilient_foundry.errors import ResilienceError
from resilient_foundry.events import Attempt, FallbackDenied, FellBack
from resilient_foundry.faults import Fault, Judge, Verdict, fault_named, fault_of, judge_by_status, legible
from resilient_foundry.flow import (
    Flow,
    Proceed,
    Request,
    Response,
    Rewind,
    discard,
    fail,
    history,
    now,
    preview,
    remember,
    tell,
)
from resilient_foundry.origin import origin
from resilient_foundry.policies.beginning import as_far_as_it_came
from resilient_foundry.policies.resume import RESUMABLE
from resilient_foundry.policies.target import Target, aimed_at

_BODY_OF_A_FAILURE = 64 * 1024
"""Bytes read of an answer that may have to be shown after all, when its connection is long in other hands."""
_FAILURES = 400
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NOT_DONE_HERE = frozenset({307, 308})
"""After these the same request is to be made elsewhere; the others may follow what was done (RFC 9110 section 15.4)."""


@dataclass(frozen=True, slots=True, init=False)
class Fallback:
    """Asks other targets, one after the other, when what was asked first fails.

        Fallback("http://127.0.0.1:5274", Target(model="phi-4-mini"), Target("https://models.example", headers=...))

    A failure is a call that got no answer, was refused by a circuit or a limiter, an answer that blames the server
    (5xx, 408, 429, and what `judge` makes of one of 400 or more), and a stream that failed before its first event (see
    `StreamGuard`). Answers that blame the caller are no failures: they would be the same elsewhere. Standing outside
    `Retry`, it sees what is left after all attempts, and every target gets its own; the deadline stays one for all.

    Asking another target is repeating the call, and obeys the rules of `Retry`: what may have been acted on goes to
    nobody else unless the method is idempotent, an `Idempotency-Key` is sent, or `CallOptions(repeatable=True)` says
    so; what was not sent, or not processed (425, 429, 503), may. `CallOptions(retry=False)` lets the call go out once,
    to whomever. A body that can't be sent again whole goes nowhere.

    The first good answer is taken, and says in `response.extensions["resilience.target"]` whose it is. A target that
    refuses (4xx), or sends the client elsewhere, is passed over: it may lack the model, or the key. One that sends it
    elsewhere by 301, 302 or 303 may have acted first. When all fail, the caller gets the first failure, that of what it
    asked for; an answer is as readable as after `Retry`, an error has a note on the others. (Envoy gives the last
    failure, Polly and failsafe-go that of the fallback: an answer to a question that the caller did not ask.)

    Every origin has its own circuit and rate by itself; another model of the same origin has its own circuit.
    """

    targets: tuple[Target, ...]
    judge: Judge = judge_by_status

    def __init__(self, *targets: Target | str, judge: Judge = judge_by_status) -> None:
        if not targets:
            raise ValueError("Fallback has at least one target, not none")
        object.__setattr__(self, "targets", tuple(map(_target, targets)))
        object.__setattr__(self, "judge", judge)

    def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
        """Ask as the caller wishes, and where that fails, the targets in their order."""
        call = _Call(self, request, proceed, (yield from remember(request)))
        first = yield from call.ask(request)
        if not isinstance(first, _Failure):
            return first
        try:
            response = yield from call.ask_the_others(first)
            if response is not None:
                return response
            if first.response is not None:
                if call.others and RESUMABLE in first.response.extensions:  # its body was one that tells of its end
                    yield from fail("RemoteProtocolError", f"the stream ended before its first event{call.others}")
                return (yield from as_far_as_it_came(first.response))
            raise call.noted(first.error)
        finally:
            del first  # its error holds this frame


@dataclass(frozen=True, slots=True)
class _Failure:
    """What one target made of the call: `reason` in a word or two, and either an answer or an error."""

    reason: str
    fault: Fault
    response: Response | None = None
    error: BaseException = field(default_factory=Exception)


class _Call:
    """One call on its way to somebody who answers it."""

    def __init__(self, policy: Fallback, request: Request, proceed: Proceed, rewind: Rewind) -> None:
        self.policy = policy
        self.request = request
        self.proceed = proceed
        self.rewind = rewind
        self.shared = shared_of(request)
        self.retries = self.shared.retries
        self._went_out = False
        self._in_vain: list[str] = []

    def noted(self, error: BaseException) -> BaseException:
        """The error that the caller gets, with a note on those that were asked as well."""
        if self.others:
            error.add_note(self.others.removeprefix("; "))
        return error

    @property
    def others(self) -> str:
        """Who was asked as well, in the words of an error; empty where nobody was."""
        return f"; asked in vain as well: {', '.join(self._in_vain)}" if self._in_vain else ""

    def ask(self, request: Request, target: Target | None = None) -> Flow[Response | _Failure]:
        """One target's answer, or its failure. What only this side is to blame for is raised."""
        ledger = yield from history()
        before = len(ledger.attempts)
        try:
            response = yield from self.proceed(request)
        except Exception as error:
            attempts = ledger.attempts[before:]
            fault = _fault(error, attempts)
            if fault is Fault.OURS:
                if target is None or not _is_of_the_transport(error):
                    raise
                fault = Fault.UNKNOWN
            self._went_out = self._went_out or bool(attempts)
            return _Failure(type(error).__name__, fault, error=error)
        self._went_out = True
        reason, verdict = yield from self._judged(response)
        if verdict is Verdict.GOOD and not _leads_astray(response, request, self.request):
            return response
        if verdict is Verdict.CALLER and target is None:
            return response
        acted = verdict is Verdict.SERVER or (verdict is Verdict.GOOD and response.status_code not in _NOT_DONE_HERE)
        return _Failure(reason, Fault.UNKNOWN if acted else Fault.UNSENT, response)

    def _judged(self, response: Response) -> Flow[tuple[str, Verdict]]:
        status, headers = response.status_code, response.headers
        attempt = attempt_of(response)
        if attempt is not None and attempt.failed_in_its_body and attempt.outcome is not None:
            return attempt.outcome.value, attempt.verdict or Verdict.SERVER
        if status < _FAILURES:
            return str(status), Verdict.GOOD
        body = b""
        if not sse.announced_by(headers):  # which may never end, whatever its status
            body = yield from preview(response, _BODY_OF_A_FAILURE)
        return str(status), self.policy.judge(status, headers, legible(headers, body))

    def ask_the_others(self, failure: _Failure) -> Flow[Response | None]:
        """The first good answer of the other targets, or None."""
        for target in self.policy.targets:
            why = yield from self._why_nobody_else(failure)
            if why is not None:
                yield from tell(FallbackDenied(str(target), failure.reason, why))
                return None
            aimed = aimed_at(target, self.request)
            if aimed is None:
                yield from tell(FallbackDenied(str(target), failure.reason, "no_model"))
                continue
            if aimed is self.request:
                continue
            if failure.response is not None:
                yield from discard(failure.response)
            yield from tell(FellBack(str(target), failure.reason))
            self.shared.retries = self.retries
            answer = yield from self.ask(aimed, target)
            if not isinstance(answer, _Failure):
                answer.extensions[TARGET] = str(target)
                return answer
            failure = answer
            self._in_vain.append(f"{target} ({failure.reason})")
        return None

    def _why_nobody_else(self, failure: _Failure) -> Flow[str | None]:
        """What forbids to ask anybody else, if anything does."""
        if failure.fault is Fault.UNKNOWN and not may_be_repeated(self.request):
            return "not_repeatable"
        if self._went_out and not options_of(self.request).retry:
            return "told_not_to"
        if self.shared.until is not None and (yield from now()) >= self.shared.until:
            return "deadline"
        return None if self.rewind() else "body_sent"


def _fault(error: Exception, attempts: Iterable[Attempt]) -> Fault:
    """How far the call got; where a policy ended it, by what became of its attempts."""
    if not isinstance(error, ResilienceError):
        return fault_of(error)
    return Fault.UNSENT if all(map(_left_no_trace, attempts)) else Fault.UNKNOWN


def _left_no_trace(attempt: Attempt) -> bool:
    """Whether the server has done nothing for this attempt: it never got it, or refused it before it acted."""
    if attempt.status is None:
        return fault_named(attempt.error) is Fault.UNSENT
    return judge_by_status(attempt.status, {}, b"") is Verdict.BUSY


def _is_of_the_transport(error: Exception) -> bool:
    """A certificate that is not trusted, say, or a scheme that nobody speaks. So is the class called everywhere."""
    return any(kind.__name__ == "TransportError" for kind in type(error).__mro__)


def _leads_astray(response: Response, asked: Request, request: Request) -> bool:
    """Whether it is a redirect that the client would read as one of the origin that it believes to have asked."""
    return response.status_code in _REDIRECTS and origin(asked.url) != origin(request.url)


def _target(given: Target | str) -> Target:
    if isinstance(given, Target):
        return given
    if not _is_text(given):
        raise TypeError(f"Fallback is given a Target or the URL of an origin, not {given!r}")
    return Target(given)


def _is_text(value: object) -> bool:
    """What the annotations promise, for callers without a type checker."""
    return isinstance(value, str)
