"""Stack: policies in order, outermost first, put over a transport."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast, overload

from resilient_foundry._transports.bind import bind
from resilient_foundry._transports.driver import WORLD
from resilient_foundry._transports.embed import cover
from resilient_foundry._transports.library import colours_of, library_of
from resilient_foundry.call import Shortcut
from resilient_foundry.errors import StackError
from resilient_foundry.faults import Judge, judge_by_status
from resilient_foundry.flow import AttemptPolicy, Flow, Particular, Placed, Policy, Proceed, Request, Response, send
from resilient_foundry.lint import lint
from resilient_foundry.policies.breaker import CircuitBreaker
from resilient_foundry.policies.budget import RetryBudget
from resilient_foundry.policies.deadline import Deadline
from resilient_foundry.policies.retry import Retry
from resilient_foundry.policies.stream_guard import StreamGuard
from resilient_foundry.policies.timeouts import AttemptTimeout
from resilient_foundry.policies.tracing import Tracing

if TYPE_CHECKING:
    import httpx
    import httpx2

P = ParamSpec("P")
C = TypeVar("C", bound="httpx.Client | httpx.AsyncClient | httpx2.Client | httpx2.AsyncClient")


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Stack:
    """Policies in the order in which a request meets them: the first is the outermost.

        stack = Stack(Tracing(), Deadline(30), Retry(attempts=3), CircuitBreaker(), AttemptTimeout(read=10))
        client = httpx.AsyncClient(transport=stack.over(httpx.AsyncHTTPTransport()))

    A stack is a policy itself: stacks nest, and grouping changes nothing, `Stack(Stack(a, b), c) == Stack(a, b, c)`.
    Policies that contradict each other are refused: `StackError` says in one sentence what is wrong.
    `Stack.unchecked` takes them all the same.
    """

    policies: tuple[Policy, ...]

    def __init__(self, *policies: Policy) -> None:
        object.__setattr__(self, "policies", tuple(_flattened(policies)))
        for complaint in self.lint():
            raise StackError(complaint)

    @classmethod
    def unchecked(cls, *policies: Policy) -> Stack:
        """A stack that is not linted when it is made."""
        stack = object.__new__(cls)
        object.__setattr__(stack, "policies", tuple(_flattened(policies)))
        return stack

    @classmethod
    def standard(cls) -> Stack:
        """What we would run ourselves before an ordinary HTTP API: 30 s a call, three attempts, 10 s for an answer.

        What all its calls repeat together stays within a `RetryBudget`.
        """
        return cls(Tracing(), Deadline(30.0), Retry(budget=RetryBudget()), CircuitBreaker(), AttemptTimeout())

    @classmethod
    def inference(
        cls,
        *,
        attempts: int = 3,
        read: float = 120.0,
        idle: float = 60.0,
        deadline: float = 600.0,
        resume: bool = False,
        probe: str | None = None,
        judge: Judge = judge_by_status,
    ) -> Stack:
        """For a local model server: long prefill, streams, and answers whose failure shows in their body.

        Seconds: `read` for the first byte of an answer, and for the first event with content of a stream; `idle`
        between chunks, and between events that bring something on; `deadline` for the call up to its first event. An
        attempt that follows one that waited in vain waits twice as long. With `resume`, a deterministic stream that
        broke is continued, see `StreamGuard`; with `probe`, a path such as "/status", a server that failed is asked
        that before a whole generation, see `CircuitBreaker`.
        """
        longest_attempt = min(read * 2.0 ** (attempts - 1), deadline)
        return cls(
            Tracing(),
            Deadline(deadline),
            Retry(attempts=attempts, budget=RetryBudget(), judge=judge),
            CircuitBreaker(
                failures=max(5, attempts + 1),
                probe=probe,
                probe_lease=max(60.0, longest_attempt),
                judge=judge,
            ),
            AttemptTimeout(
                connect=min(2.0, deadline),
                pool=None,
                write=min(30.0, deadline),
                read=min(read, deadline),
                idle=min(idle, deadline),
                growth=2.0,
            ),
            StreamGuard(first_event=min(read, deadline), progress=min(idle, deadline), resume=resume, judge=judge),
        )

    def lint(self) -> list[str]:
        """What is wrong with the order or the settings of these policies, a sentence each."""
        return lint(self.policies)

    def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
        """The request's way through all policies; what makes a stack a policy."""
        return _through(self.policies, proceed)(request)

    @overload
    def over(self, transport: httpx.MockTransport) -> httpx.MockTransport: ...
    @overload
    def over(self, transport: httpx.BaseTransport) -> httpx.BaseTransport: ...
    @overload
    def over(self, transport: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport: ...
    @overload
    def over(self, transport: httpx2.MockTransport) -> httpx2.MockTransport: ...
    @overload
    def over(self, transport: httpx2.BaseTransport) -> httpx2.BaseTransport: ...
    @overload
    def over(self, transport: httpx2.AsyncBaseTransport) -> httpx2.AsyncBaseTransport: ...
    def over(self, transport: Any) -> Any:
        """This stack over that transport: a transport of the same library and the same colour.

        The transport underneath is closed with it. Raises TypeError for what is no transport; a client of another
        library or colour gets a TypeError that names both.
        """
        for policy in self.policies:
            if isinstance(policy, Particular):
                policy.check(library_of(transport).name, colours_of(transport))
        return bind(
            transport,
            self.around_the_network(),
            self,
            WORLD.get(),
            repeats=any(map(_repeats, self.policies)),
            steps=self.shortcut(),
            holds_streams=self.holds_streams,
        )

    def shortcut(self) -> tuple[Callable[[Any], object], ...] | None:
        """What each policy does for a call to which nothing happens; None where one of them has to be asked.

        See `Shortcut`. None of a kind may be there twice: what is taken for one would be looked for by the other.
        """
        policies = _placed(self.policies)
        steps = tuple(policy.take for policy in policies if isinstance(policy, Shortcut))
        kinds = {type(policy) for policy in policies}
        return steps if len(steps) == len(policies) == len(kinds) else None

    @property
    def holds_streams(self) -> bool:
        """Whether streams of events are looked into."""
        return any(isinstance(policy, StreamGuard) for policy in self.policies)

    def client(self, kind: Callable[P, C], /, *arguments: P.args, **settings: P.kwargs) -> C:
        """A client of this kind, made with these settings, whose calls go through this stack.

            client = stack.client(httpx.AsyncClient, base_url="http://localhost:5273", http2=True)

        The library makes its transports by itself, so all its settings mean what they mean without us, and proxies of
        the environment apply; the stack is put over each of them. A `transport=` among the settings takes that from
        the client here as well. Raises what `wrap` raises.
        """
        client = kind(*arguments, **settings)
        cover(client, self, self.over)
        return client

    def around_the_network(self) -> Proceed:
        """The whole way of a call, down to the wrapped transport; what a driver runs."""
        return _through(self.policies, send)

    def __add__(self, other: Stack) -> Stack:
        return Stack(self, other)

    def __iter__(self) -> Iterator[Policy]:
        return iter(self.policies)

    def __repr__(self) -> str:
        return f"Stack({', '.join(map(_terse, self.policies))})"


def _flattened(policies: tuple[object, ...]) -> Iterator[Policy]:
    for policy in policies:
        if isinstance(policy, Stack):
            yield from policy.policies
        elif isinstance(policy, type) or not isinstance(policy, Policy):
            what = (
                f"the class {policy.__name__}; write {policy.__name__}()" if isinstance(policy, type) else repr(policy)
            )
            raise TypeError(f"a stack is made of policies, objects with a method flow(request, proceed), not of {what}")
        elif inspect.iscoroutinefunction(policy.flow):
            raise TypeError(
                f"{type(policy).__name__}.flow is async: a flow is a generator, `def`, and asks by `yield from`"
            )
        else:
            yield policy


def _repeats(policy: Policy) -> bool:
    return isinstance(policy, Retry) and policy.attempts > 1


def _only_asks(policy: Policy) -> bool:
    """Whether, as far as this policy goes, a call is one attempt: neither refused, nor repeated, nor given up."""
    return isinstance(policy, (AttemptTimeout, StreamGuard, Tracing)) or (
        isinstance(policy, Retry) and policy.attempts == 1
    )


def _terse(policy: Policy) -> str:
    """A policy as one would write it: what differs from the defaults."""
    value: object = policy
    if not is_dataclass(value) or isinstance(value, type):
        return repr(policy)
    told: list[str] = []
    for setting in fields(value):
        value = getattr(policy, setting.name)
        default = setting.default if setting.default_factory is MISSING else setting.default_factory()
        if default is MISSING and isinstance(value, tuple):  # given one by one
            told.extend(map(repr, cast("tuple[object, ...]", value)))
        elif setting.repr and value != default:
            shown = getattr(value, "__name__", None) or repr(value)
            told.append(shown if default is MISSING else f"{setting.name}={shown}")
    return f"{type(policy).__name__}({', '.join(told)})"


def _placed(policies: tuple[Policy, ...]) -> tuple[Policy, ...]:
    """The policies as they are in this company."""
    plain = all(map(_only_asks, policies))
    return tuple(policy.placed(plain=plain) if isinstance(policy, Placed) else policy for policy in policies)


def _through(policies: tuple[Policy, ...], proceed: Proceed) -> Proceed:
    """The policies around `proceed`; those that also stand next to the network stand there, around each attempt."""
    policies = _placed(policies)
    for policy in reversed(policies):
        if isinstance(policy, AttemptPolicy):
            proceed = _step(policy.attempt, proceed)
    for policy in reversed(policies):
        proceed = _step(policy.flow, proceed)
    return proceed


def _step(flow: Any, proceed: Proceed) -> Proceed:
    def step(request: Request) -> Flow[Response]:
        return flow(request, proceed)  # type: ignore[no-any-return]

    return step
