"""What is wrong with a stack, in one sentence each.

The order that is looked for, outermost first: tracing, deadline, fallback, retry, remedy, hedge, rate
limit, circuit breaker, concurrency limit, attempt timeout, stream guard, chaos.
Policies that are not known here may stand anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from resilient_foundry.flow import Policy
from resilient_foundry.policies.breaker import CircuitBreaker
from resilient_foundry.policies.chaos import Chaos
from resilient_foundry.policies.deadline import Deadline
from resilient_foundry.policies.fallback import Fallback
from resilient_foundry.policies.hedge import Hedge
from resilient_foundry.policies.limit import ConcurrencyLimit
from resilient_foundry.policies.rate_limit import RateLimit
from resilient_foundry.policies.remedy import Remedy
from resilient_foundry.policies.retry import Retry
from resilient_foundry.policies.stream_guard import StreamGuard
from resilient_foundry.policies.timeouts import AttemptTimeout
from resilient_foundry.policies.tracing import Tracing

_ORDER: tuple[type[Policy], ...] = (
    Tracing,
    Deadline,
    Fallback,
    Retry,
    Remedy,
    Hedge,
    RateLimit,
    CircuitBreaker,
    ConcurrencyLimit,
    AttemptTimeout,
    StreamGuard,
    Chaos,
)
_WHY: dict[tuple[type[Policy], type[Policy]], str] = {
    (Tracing, Deadline): "the span must still be open when the deadline passes",
    (Deadline, Retry): "else every attempt gets the whole deadline anew, and the waits between them are free",
    (Retry, CircuitBreaker): "else the circuit sees one call where the server saw several, and can't stop the attempts",
    (Deadline, Remedy): "a remedy may take long, and its call has only so much time",
    (Fallback, Remedy): "what can be mended needs no other target",
    (Retry, Remedy): "else attempts are spent on what could have been mended after the first",
    (Remedy, Hedge): "else each of the requests side by side would have remedies of its own",
    (Remedy, CircuitBreaker): "the circuit must see the requests that a remedy sends, and can stop them",
    (Remedy, RateLimit): "the requests that a remedy sends have turns of their own",
    (Remedy, ConcurrencyLimit): "else a place is held while the remedy works, and its requests have none",
    (Remedy, StreamGuard): "it is the guard that says of a stream that it failed, before it can be mended",
    (Remedy, AttemptTimeout): "else the limits of one attempt would hold for the remedy as well",
    (Deadline, Hedge): "one deadline holds for all requests that run side by side",
    (Retry, Hedge): "else each of the requests side by side would be tried again by itself",
    (Hedge, CircuitBreaker): "else the circuit sees one call where the server saw two, and refuses neither",
    (Hedge, AttemptTimeout): "else its limits are those of the first request, and a later one has what is left",
    (Hedge, StreamGuard): "it is the guard that tells Hedge whose first event came first",
    (Deadline, Fallback): "else every target gets the whole deadline anew",
    (Fallback, Retry): "else every attempt would go through all targets, and none has attempts of its own",
    (Fallback, Hedge): "else each of the requests side by side would go through all targets",
    (Fallback, RateLimit): "every target has turns of its own",
    (Fallback, CircuitBreaker): "every target has a circuit of its own, and an open one is what Fallback is for",
    (Fallback, AttemptTimeout): "else its limits would hold for all targets as if they were one",
    (Fallback, StreamGuard): "it is the guard that tells Fallback of a stream that failed before its first event",
    (Deadline, RateLimit): "else the wait for a turn is free",
    (Hedge, RateLimit): "every request that goes out has a turn of its own",
    (Retry, RateLimit): "it is attempts that a server counts, and a wait for a turn is none of theirs",
    (RateLimit, CircuitBreaker): "else a circuit that opens can't stop those that wait for their turn",
    (RateLimit, AttemptTimeout): "a wait for a turn is no part of an attempt",
    (Retry, AttemptTimeout): "else its limits would hold for all attempts as if they were one",
    (CircuitBreaker, AttemptTimeout): "an attempt that timed out is a failure that the circuit must see",
    (Retry, StreamGuard): "it is the guard that tells Retry of a stream that failed before its first event",
    (Deadline, ConcurrencyLimit): "else waiting for a place costs the call nothing",
    (Retry, ConcurrencyLimit): "else a place is held through the waits between the attempts",
    (Hedge, ConcurrencyLimit): "else two requests share a place that is meant for one",
    (CircuitBreaker, ConcurrencyLimit): "else calls queue for a server that the circuit would refuse them anyway",
    (ConcurrencyLimit, AttemptTimeout): "an attempt that timed out tells an adaptive limit that the server is slow",
    (ConcurrencyLimit, StreamGuard): "it is the guard that tells an adaptive limit when the first event came",
    (CircuitBreaker, StreamGuard): "it is the guard that tells the circuit how a stream ended",
    **{(kind, Chaos): "else it is not put to the test" for kind in _ORDER if kind is not Chaos},
}
_ONE_OF_EACH: dict[type[Policy], str] = {
    Tracing: "every call would get two spans",
    Retry: "their attempts multiply",
    Fallback: "every target of the outer one would be followed by all of the inner one's",
    Hedge: "their requests multiply",
    CircuitBreaker: "the outer one counts what the inner one refuses",
    ConcurrencyLimit: "calls that hold a place of the outer one would wait for one of the inner",
    StreamGuard: "the inner one has held the stream already",
}


_UNSET = AttemptTimeout()
"""A limit that is still the default was not asked for: that a shorter deadline comes first needs no complaint."""


def lint(policies: Sequence[Policy]) -> list[str]:
    """Every complaint about these policies, outermost policy first."""
    return [
        *_twice(policies),
        *_order(policies),
        *_times(policies),
        *_leases(policies),
        *_rates(policies),
        *_counts(policies),
        *_resumes(policies),
    ]


def _twice(policies: Sequence[Policy]) -> Iterator[str]:
    for kind, why in _ONE_OF_EACH.items():
        found = [policy for policy in policies if isinstance(policy, kind)]
        if len(found) > 1:
            yield f"two {kind.__name__} policies in one stack: {why}; keep one"


def _order(policies: Sequence[Policy]) -> Iterator[str]:
    for index, outer in enumerate(policies):
        for inner in policies[index + 1 :]:
            this, that = type(inner), type(outer)
            if this in _ORDER and that in _ORDER and _ORDER.index(this) < _ORDER.index(that):
                why = _WHY.get((this, that), "each sees what the ones further in report")
                yield f"{this.__name__} stands inside {that.__name__} and belongs outside it: {why}"


def _times(policies: Sequence[Policy]) -> Iterator[str]:
    deadlines = [policy.seconds for policy in policies if isinstance(policy, Deadline)]
    if not deadlines:
        return
    deadline = min(deadlines)
    for policy in policies:
        if isinstance(policy, AttemptTimeout):
            for phase in ("connect", "pool", "write", "read"):
                limit = getattr(policy, phase)
                if limit is not None and limit > deadline and limit != getattr(_UNSET, phase):
                    yield (
                        f"AttemptTimeout.{phase} ({limit:g} s) is longer than the deadline ({deadline:g} s), "
                        f"so it would never be reached: shorten it, or give the call more time"
                    )
        if isinstance(policy, Retry) and policy.longest_wait is not None and policy.longest_wait > deadline:
            yield (
                f"Retry.longest_wait ({policy.longest_wait:g} s) is longer than the deadline ({deadline:g} s), "
                f"so no such wait would be begun: shorten it, or leave it out"
            )
        waits = policy.longest_wait if isinstance(policy, ConcurrencyLimit) else None
        if waits is not None and waits > deadline:
            yield (
                f"ConcurrencyLimit.longest_wait ({waits:g} s) is longer than the deadline ({deadline:g} s), "
                f"so it would never be reached: shorten it, or leave it out"
            )


def _leases(policies: Sequence[Policy]) -> Iterator[str]:
    leases = [policy.probe_lease for policy in policies if isinstance(policy, CircuitBreaker)]
    reads = [policy.read for policy in policies if isinstance(policy, AttemptTimeout) and policy.read is not None]
    deadlines = [policy.seconds for policy in policies if isinstance(policy, Deadline)]
    for lease in leases:
        for read in reads:
            if lease < min([read, *deadlines]):
                yield (
                    f"CircuitBreaker.probe_lease ({lease:g} s) is shorter than AttemptTimeout.read ({read:g} s), "
                    f"so a second probe would go out while the first may still be answered: make it {read:g} or longer"
                )


def _rates(policies: Sequence[Policy]) -> Iterator[str]:
    breakers = [policy for policy in policies if isinstance(policy, CircuitBreaker)]
    reads = [policy.read for policy in policies if isinstance(policy, AttemptTimeout) and policy.read is not None]
    for breaker in breakers:
        counts_rates = breaker.failure_rate is not None or breaker.slow_seconds is not None
        for read in reads:
            if counts_rates and breaker.window < 2 * read:
                yield (
                    f"CircuitBreaker.window ({breaker.window:g} s) is shorter than two AttemptTimeout.read "
                    f"({read:g} s), so of calls that time out too few fall into it together: "
                    f"make it {2 * read:g} or longer"
                )
            if breaker.slow_seconds is not None and breaker.slow_seconds >= read:
                yield (
                    f"CircuitBreaker.slow_seconds ({breaker.slow_seconds:g} s) is not below AttemptTimeout.read "
                    f"({read:g} s), so what would be slow has timed out before: make it shorter than {read:g}"
                )


def _counts(policies: Sequence[Policy]) -> Iterator[str]:
    retries = [policy.attempts for policy in policies if isinstance(policy, Retry)]
    breakers = [policy.failures for policy in policies if isinstance(policy, CircuitBreaker)]
    for attempts in retries:
        for failures in breakers:
            if failures is not None and 1 < attempts >= failures:
                yield (
                    f"CircuitBreaker.failures ({failures}) is not above Retry.attempts ({attempts}), "
                    f"so one bad call opens the circuit by itself: raise it above {attempts}"
                )


def _resumes(policies: Sequence[Policy]) -> Iterator[str]:
    retried = False
    for policy in policies:
        retried = retried or isinstance(policy, Retry)
        if isinstance(policy, StreamGuard) and policy.resume and not retried:
            yield (
                "StreamGuard.resume is set and no Retry stands outside of the guard, which is what asks again: "
                "put one there, or leave it out"
            )
