"""Generated servers, calls and stacks: what the laws are held against."""

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st

from resilient_foundry import (
    AdaptiveLimit,
    AttemptTimeout,
    Backoff,
    CallOptions,
    Chaos,
    CircuitBreaker,
    ConcurrencyLimit,
    Deadline,
    Fallback,
    Hedge,
    RateLimit,
    Remedy,
    Retry,
    RetryBudget,
    Stack,
    StreamGuard,
    Target,
    Tracing,
)
from resilient_foundry.flow import Policy
from resilient_foundry.testing import Answer, Failure, Said
from tests.cures import Opening

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "QUERY"})
UNSENT = frozenset({"ConnectError", "ConnectTimeout", "PoolTimeout"})
BUSY = frozenset({425, 429, 503})

SECONDS = [*[0.0] * 8, 0.1, 1.0, 4.0, 9.0, 11.0, 31.0, 130.0, 700.0]
PAUSES = [*[0.0] * 9, 0.5, 11.0, 70.0]
STATUSES = [200, 200, 200, 204, 302, 400, 401, 404, 408, 423, 425, 429, 429, 500, 500, 501, 502, 503, 503, 503, 504]
BREAKS = [None, None, None, None, "ReadError", "ReadTimeout", "RemoteProtocolError"]
ASKED = [
    *({} for _ in range(5)),
    *({"retry-after": value} for value in ("0", "1", "2.5", "7", "29", "3600", "soon", "-1", "NaN")),
    {"retry-after": "Sun, 06 Nov 1994 08:50:07 GMT", "date": "Sun, 06 Nov 1994 08:49:37 GMT"},
    {"retry-after-ms": "250", "retry-after": "9"},
    {"x-should-retry": "true"},
    {"x-should-retry": "false", "retry-after": "1"},
]
TINY = [
    {},
    {},
    {},
    {"retry-after": "0"},
    {"retry-after": "0.001"},
    {"x-should-retry": "true"},
    {"x-should-retry": "false"},
]

STREAM = {"content-type": "text/event-stream"}
WORD = f"data: {json.dumps({'choices': [{'delta': {'content': 'Hello'}}]})}\n\n".encode()
ROLE = f"data: {json.dumps({'choices': [{'delta': {'role': 'assistant'}}]})}\n\n".encode()
LAST = f"data: {json.dumps({'choices': [{'delta': {}, 'finish_reason': 'stop'}]})}\n\n".encode()
DONE = b"data: [DONE]\n\n"
COMMENT = b": keep-alive\n\n"
IN_BAND = f"data: {json.dumps({'error': {'type': 'server_error'}})}\n\n".encode()
CONTENT = frozenset({WORD, LAST, DONE})

FAILURES = [
    "ConnectError",
    "ConnectTimeout",
    "PoolTimeout",
    "ReadError",
    "ReadTimeout",
    "WriteError",
    "WriteTimeout",
    "RemoteProtocolError",
    "LocalProtocolError",
]


def answers(*, headers: list[dict[str, str]], seconds: list[float], pauses: list[float]) -> st.SearchStrategy[Said]:
    """What a server may say, or fail to say."""
    plain = st.builds(
        Answer,
        status=st.sampled_from(STATUSES),
        headers=st.sampled_from(headers),
        chunks=st.lists(st.sampled_from([b"", b"a", b"bc", b"failed", b"x" * 70_000]), max_size=3).map(tuple),
        after=st.sampled_from(seconds),
        pause=st.sampled_from(pauses),
        breaks=st.sampled_from(BREAKS),
    )
    stream = st.builds(
        Answer,
        status=st.sampled_from([200, 200, 200, 200, 503, 500]),
        headers=st.just(STREAM),
        chunks=st.lists(st.sampled_from([WORD, WORD, ROLE, LAST, DONE, DONE, COMMENT, IN_BAND]), max_size=5).map(tuple),
        after=st.sampled_from(seconds),
        pause=st.sampled_from(pauses),
        breaks=st.sampled_from(BREAKS),
    )
    failure = st.builds(Failure, error=st.sampled_from(FAILURES), after=st.sampled_from(seconds))
    return st.one_of(plain, plain, stream, failure)


WORLD = answers(headers=ASKED, seconds=SECONDS, pauses=PAUSES)
INSTANT_WORLD = answers(headers=TINY, seconds=[0.0, 0.0, 0.0, 1000.0], pauses=[0.0, 0.0, 0.0, 1000.0])


class Pipe(io.BytesIO):
    """A file that cannot be rewound."""

    def seekable(self) -> bool:
        return False


def pieces(whole: bytes) -> Iterator[bytes]:
    yield whole[:1]
    yield whole[1:]


@dataclass(frozen=True)
class Call:
    """One call of a caller; `content` makes its body anew."""

    method: str
    body: bytes
    kind: str
    options: CallOptions

    def content(self) -> Any:
        match self.kind:
            case "bytes":
                return self.body
            case "file":
                return io.BytesIO(self.body)
            case "pipe":
                return Pipe(self.body)
            case _:
                return pieces(self.body)

    @property
    def repeatable(self) -> bool:
        said = self.options.repeatable
        return self.method in IDEMPOTENT if said is None else said


COLD = b'{"stream": true, "temperature": 0}'
"""Asks for a stream that is the same each time."""

CALLS = st.builds(
    Call,
    method=st.sampled_from(["GET", "POST", "PUT", "POST", "DELETE", "PATCH", "HEAD"]),
    body=st.sampled_from([b"", b"asked", b"\0" * 3, COLD]),
    kind=st.sampled_from(["bytes", "bytes", "bytes", "bytes", "file", "file", "pipe", "generator"]),
    options=st.builds(
        CallOptions,
        repeatable=st.sampled_from([None, None, True, True, False]),
        retry=st.sampled_from([True, True, True, True, False]),
        deadline=st.sampled_from([*[None] * 6, 1.0, 12.0, 300.0]),
    ),
)

backoffs = st.builds(
    Backoff, base=st.sampled_from([0.0, 0.1, 1.0]), factor=st.sampled_from([1.0, 2.0]), cap=st.sampled_from([1.0, 8.0])
)
budgets = st.builds(RetryBudget, share=st.sampled_from([0.0, 0.2, 1.0]), floor=st.sampled_from([0.0, 0.05, 0.1, 10.0]))
TARGETS: list[Target | str] = [
    "http://second.local",
    "https://third.example/v2",
    Target(model="other"),
    Target("http://foundry.local:5273"),
]
traces = st.builds(Tracing)
deadlines = st.builds(Deadline, st.sampled_from([5.0, 30.0, 1000.0]), body=st.booleans())
retries = st.builds(
    Retry,
    attempts=st.integers(1, 5),
    backoff=backoffs,
    longest_wait=st.sampled_from([None, 2.0, 60.0]),
    budget=st.none() | budgets,
)
timeouts = st.builds(
    AttemptTimeout,
    read=st.sampled_from([None, 3.0, 10.0]),
    idle=st.sampled_from([None, 2.0, 20.0]),
    growth=st.sampled_from([1.0, 2.0]),
)
CORE: list[st.SearchStrategy[Any]] = [
    traces,
    deadlines,
    retries,
    st.builds(CircuitBreaker, failures=st.integers(1, 8), successes=st.integers(1, 2)),
    timeouts,
    st.builds(StreamGuard),
]
EVERYTHING: list[st.SearchStrategy[Any]] = [
    traces,
    deadlines,
    st.lists(st.sampled_from(TARGETS), min_size=1, max_size=2).map(lambda targets: Fallback(*targets)),
    retries,
    st.builds(Remedy, st.just(Opening()), times=st.integers(1, 2), pause=st.sampled_from([0.0, 30.0])),
    st.builds(
        Hedge,
        st.sampled_from([0.0, 0.5, 5.0]),
        quantile=st.sampled_from([None, 0.5]),
        warm_up=st.just(1),
        most=st.integers(1, 3),
        budget=st.none() | budgets,
    ),
    st.builds(
        RateLimit,
        st.sampled_from([None, 0.2, 10.0]),
        burst=st.integers(1, 3),
        longest_wait=st.sampled_from([None, None, 1.0, 60.0]),
        longest_hold=st.sampled_from([1.0, 120.0]),
    ),
    st.builds(
        CircuitBreaker,
        failures=st.integers(1, 8),
        failure_rate=st.sampled_from([None, 0.5]),
        slow_seconds=st.sampled_from([None, 2.0]),
        minimum_calls=st.integers(1, 3),
        open_seconds=st.sampled_from([0.05, 5.0]),
        successes=st.integers(1, 2),
        probe=st.sampled_from([None, "/status"]),
        watch_only=st.sampled_from([False, False, True]),
    ),
    st.builds(
        ConcurrencyLimit,
        st.sampled_from([1, 2, AdaptiveLimit()]),
        queue=st.sampled_from([0, 1, 100]),
        longest_wait=st.sampled_from([None, 1.0]),
        linger=st.sampled_from([0.0, 20.0]),
        linger_streams=st.booleans(),
    ),
    timeouts,
    st.builds(
        StreamGuard,
        resume=st.booleans(),
        first_event=st.sampled_from([None, 5.0]),
        progress=st.sampled_from([None, 3.0]),
    ),
    st.builds(
        Chaos,
        on=st.sampled_from([False, True, True]),
        seed=st.integers(0, 1000),
        error_rate=st.sampled_from([0.0, 0.2]),
        errors=st.sampled_from([("ConnectError", "ReadError"), ("PoolTimeout", "ReadTimeout", "WriteTimeout")]),
        status_rate=st.sampled_from([0.0, 0.2]),
        retry_after=st.sampled_from([None, 2.0]),
        latency_rate=st.sampled_from([0.0, 0.2]),
        latency=st.sampled_from([0.5, (0.1, 12.0)]),
        stream_rate=st.sampled_from([0.0, 0.4]),
        stream_after=st.sampled_from([0, 5, 100]),
    ),
]


@st.composite
def policies(draw: st.DrawFn, settings: list[st.SearchStrategy[Any]] = EVERYTHING) -> list[Policy]:
    """Some of the policies in their order, with settings of all kinds."""
    made: list[Any] = [draw(setting) for setting in settings if draw(st.booleans())]
    spends = [policy for policy in made if isinstance(policy, (Retry, Hedge))]
    if len(spends) > 1 and draw(st.booleans()):
        made = [replace(policy, budget=spends[0].budget) if policy is spends[1] else policy for policy in made]
    return made


def anew(policies: list[Policy]) -> list[Policy]:
    """The same policies, which remember nothing."""
    budgets: dict[int, RetryBudget] = {}
    made: list[Policy] = []
    for policy in policies:
        if isinstance(policy, (Retry, Hedge)) and policy.budget is not None:
            budget = budgets.setdefault(id(policy.budget), replace(policy.budget))
            made.append(replace(policy, budget=budget))
        elif isinstance(policy, (CircuitBreaker, ConcurrencyLimit, RateLimit, Remedy, Hedge, Chaos)):
            made.append(replace(policy))
        else:
            made.append(policy)
    return made


CORE_STACKS = policies(CORE).map(lambda chosen: Stack.unchecked(*chosen))
STACKS = policies().map(lambda chosen: Stack.unchecked(*chosen))
SHUFFLED_STACKS = policies().flatmap(st.permutations).map(lambda chosen: Stack.unchecked(*chosen))
SHUFFLED_CORE_STACKS = policies(CORE).flatmap(st.permutations).map(lambda chosen: Stack.unchecked(*chosen))
