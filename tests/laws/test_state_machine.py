"""Retry, circuit, attempt limits and concurrency limit together, against a model of them that a reader can check.

hypothesis makes up what the server does, lets time pass, keeps answers open and ends them in every way. After each step
the stack and the model agree: on what was sent, what the caller got, how long it took, and what is remembered.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import httpx
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from resilient_foundry import (
    AttemptTimeout,
    Backoff,
    CallOptions,
    CircuitBreaker,
    CircuitOpenError,
    ConcurrencyLimit,
    ConcurrencyLimitError,
    Retry,
    Stack,
)
from resilient_foundry.events import Ledger
from resilient_foundry.testing import Answer, Failure, Said, VirtualTime, on, scripted

ATTEMPTS: Final = 3
WAITS: Final = (1.0, 2.0)
"""Seconds of backoff after the first and the second attempt."""
FAILURES: Final = 4
OPEN_SECONDS: Final = 10.0
LONGEST_OPEN: Final = 60.0
PLACES: Final = 2
READ_SECONDS: Final = 5.0
URL: Final = "http://server.invalid/thing"


@dataclass(frozen=True)
class Reply:
    """What the server does with one attempt: a status, or the name of an error; `after` seconds, asking for a rest."""

    result: int | str
    after: float = 0.0
    rest: float | None = None
    body: str = ""

    def said(self) -> Said:
        if isinstance(self.result, str):
            return Failure(error=self.result, after=self.after)
        headers = {} if self.rest is None else {"retry-after": f"{self.rest:g}"}
        return Answer(status=self.result, headers=headers, chunks=(self.body.encode(),), after=self.after)


REPLIES: Final = st.one_of(
    st.sampled_from([Reply(200), Reply(404), Reply(429), Reply(503), Reply("ConnectError"), Reply("ReadError")]),
    st.builds(Reply, st.just(500), body=st.sampled_from(["one way", "another"])),
    st.builds(Reply, st.sampled_from([429, 503]), rest=st.sampled_from([3.0, 10.0, 25.0, 90.0])),
    st.builds(Reply, st.just(503), rest=st.sampled_from([25.0, 90.0])),
    st.builds(Reply, st.sampled_from([200, 500]), after=st.sampled_from([1.0, READ_SECONDS + 2]), body=st.just("late")),
)


@dataclass
class Circuit:
    """The circuit, as its documentation has it."""

    state: str = "closed"
    failures: int = 0
    opened: float = 0.0
    open_for: float = OPEN_SECONDS
    asked_until: float = 0.0
    epoch: int = 0
    probing: bool = False

    def admits(self, now: float) -> bool:
        if self.state == "open":
            if now < self.opened + self.open_for:
                return False
            self.move("half-open")
        if self.state == "half-open":
            if self.probing:
                return False
            self.probing = True
        return True

    def settle(self, worked: bool | None, epoch: int, now: float, rest: float | None = None) -> None:
        """The outcome of a call admitted in that epoch; None where nothing was learnt. Late ones count as nothing."""
        if epoch != self.epoch:
            return
        self.probing = False if self.state == "half-open" else self.probing
        if worked is None:
            return
        if worked:
            self.asked_until, self.failures = 0.0, 0
            if self.state == "half-open":
                self.move("closed")
            return
        self.asked_until = max(self.asked_until, now + (rest or 0.0))
        self.failures += 1
        if self.state == "half-open" or self.failures >= FAILURES:
            asked, self.opened = min(self.asked_until - now, LONGEST_OPEN), now
            self.open_for = max(OPEN_SECONDS, asked)
            self.move("open")

    def move(self, state: str) -> None:
        self.state, self.probing, self.asked_until = state, False, 0.0
        self.epoch += 1


@dataclass
class Model:
    """The whole stack."""

    now: float
    circuit: Circuit = field(default_factory=Circuit)
    in_use: int = 0
    sent: int = 0

    def call(self, replies: list[Reply], *, attempts: int) -> tuple[int | str, float]:
        """What the caller gets, a status or the name of an error, and the seconds spent waiting between attempts."""
        seen: str | None = None
        waited = 0.0
        for number, reply in enumerate(replies, 1):
            refusal, epoch = self.begin()
            if refusal:
                return refusal, waited
            result = reply.result
            if reply.after > READ_SECONDS:
                result = "ReadTimeout"
            self.now += min(reply.after, READ_SECONDS)
            self.circuit.settle(_worked(result), epoch, self.now, reply.rest if result == 503 else None)
            if result in {200, 404} or number == attempts:
                return result, waited
            told = reply.body if result == 500 else None
            if told is not None and told == seen:
                return result, waited
            seen = told
            wait = reply.rest if isinstance(result, int) and reply.rest else WAITS[number - 1]
            opened = self.circuit.state == "open" and self.circuit.epoch != epoch
            if opened and wait < self.circuit.open_for:
                return result, waited
            self.now += wait
            waited += wait
        raise AssertionError("there are more attempts than replies")

    def begin(self) -> tuple[str | None, int]:
        """One attempt sets out, or why it does not; and the epoch that it belongs to."""
        if not self.circuit.admits(self.now):
            return "CircuitOpenError", 0
        epoch = self.circuit.epoch
        if self.in_use == PLACES:
            self.circuit.settle(None, epoch, self.now)
            return "ConcurrencyLimitError", 0
        self.sent += 1
        return None, epoch


def _worked(result: int | str) -> bool | None:
    if result == 429:
        return None
    return isinstance(result, int) and result < 500


@dataclass(frozen=True)
class Held:
    """An answer that its caller has not finished with."""

    response: httpx.Response
    epoch: int
    breaks: bool


class StackAgainstModel(RuleBasedStateMachine):
    """Steps of a caller, a server and a clock."""

    held: Bundle[Held | None] = Bundle("held")

    @initialize()
    def begin(self) -> None:
        self.clock = VirtualTime()
        self.model = Model(self.clock.now)
        self.breaker = CircuitBreaker(
            failures=FAILURES, open_seconds=OPEN_SECONDS, growth=1.0, longest_open=LONGEST_OPEN, probe_lease=1e9
        )
        self.limit = ConcurrencyLimit(PLACES, queue=0)
        retry = Retry(attempts=ATTEMPTS, backoff=Backoff(base=2 * WAITS[0]))
        stack = Stack(retry, self.breaker, self.limit, AttemptTimeout(read=READ_SECONDS))
        self.network: Any = scripted(clock=self.clock)
        self.kept: list[Held] = []
        with on(self.clock):
            over: Any = stack.over  # its overloads tell the libraries apart
            self.client = httpx.Client(transport=over(self.network), timeout=60.0)

    def teardown(self) -> None:
        for held in self.kept:
            held.response.close()
        self.client.close()
        assert self.limit.snapshot(URL, self.clock.now).in_use == 0

    def says(self, *replies: Said) -> None:
        """What the server does from here on; what it was to do and was not asked for is forgotten."""
        script = self.network.script
        script.answers[len(script.requests) :] = replies

    @rule(replies=st.lists(REPLIES, min_size=ATTEMPTS, max_size=ATTEMPTS), once=st.booleans())
    def call(self, replies: list[Reply], once: bool) -> None:
        """A call whose answer is read at once, and one that is not to be repeated."""
        self.says(*[reply.said() for reply in replies])
        expected, waited = self.model.call(replies, attempts=1 if once else ATTEMPTS)
        ledger: Ledger
        try:
            response = self.client.get(URL, extensions={"resilience": CallOptions(retry=not once)})
        except httpx.TransportError as error:
            got: int | str = _name(error)
            ledger = vars(error)["resilience"]
        else:
            got, ledger = response.status_code, response.extensions["resilience"]
        assert got == expected
        assert sum(ledger.waits) == waited

    @rule(reply=REPLIES)
    def outage(self, reply: Reply) -> None:
        """So many calls in a row that a failure opens the circuit: what chance alone would seldom bring about."""
        for _ in range(FAILURES):
            self.call([reply] * ATTEMPTS, once=True)

    @rule(target=held, breaks=st.booleans())
    def open(self, breaks: bool) -> Held | None:
        """A call whose answer is kept open."""
        self.says(Answer(chunks=(b"a", b"b"), breaks="ReadError" if breaks else None))
        refusal, epoch = self.model.begin()
        response, got = None, None
        try:
            response = self.client.send(self.client.build_request("GET", URL), stream=True)
        except (CircuitOpenError, ConcurrencyLimitError) as error:
            got = _name(error)
        assert got == refusal
        if response is None:
            return None
        self.model.in_use += 1
        self.kept.append(Held(response, epoch, breaks))
        return self.kept[-1]

    @rule(held=consumes(held), read=st.booleans())
    def end(self, held: Held | None, read: bool) -> None:
        """The caller reads to the end, good or bad, or closes an answer unread, which tells nothing of the server."""
        if held is None:
            return
        worked = not held.breaks if read else None
        try:
            if read:
                held.response.read()
        except httpx.ReadError:
            assert held.breaks
        finally:
            held.response.close()
        self.model.in_use -= 1
        self.model.circuit.settle(worked, held.epoch, self.model.now)

    @rule(seconds=st.sampled_from([0.5, 4.0, OPEN_SECONDS, 15.0, 30.0]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.clock.pass_(seconds)
        self.model.now += seconds

    @invariant()
    def agree(self) -> None:
        """Clock, requests, circuit and places are what the model says."""
        circuit = self.breaker.circuit(URL).snapshot(self.clock.now)
        places = self.limit.snapshot(URL, self.clock.now)
        assert self.clock.now == self.model.now
        assert len(self.network.script.requests) == self.model.sent
        assert circuit.state == self.model.circuit.state
        assert circuit.state != "closed" or circuit.failures == self.model.circuit.failures
        assert places.in_use == self.model.in_use


def _name(error: Exception) -> str:
    """What leaves a stack wears the library's class as well; the name of ours is the first of the two."""
    ours = (CircuitOpenError, ConcurrencyLimitError)
    return next((kind.__name__ for kind in ours if isinstance(error, kind)), type(error).__name__)


TestStackAgainstModel = StackAgainstModel.TestCase
TestStackAgainstModel.settings = settings(max_examples=150, stateful_step_count=30)
