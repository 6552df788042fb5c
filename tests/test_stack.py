"""Policies in order, over a transport."""

import copy
import pickle
from types import ModuleType
from typing import Any

import httpx
import httpx2
import pytest

import resilient_foundry
from resilient_foundry import (
    AttemptTimeout,
    Backoff,
    CircuitBreaker,
    Deadline,
    Retry,
    Stack,
    StackError,
    StreamGuard,
    Tracing,
)
from resilient_foundry.faults import Verdict
from resilient_foundry.flow import Flow, Proceed, Request, Response
from resilient_foundry.testing import busy, failed, ok, rehearse, scripted
from tests.over import over

LIBRARIES = [httpx, httpx2]


def test_reads_from_the_outermost_to_the_innermost() -> None:
    stack = Stack(Tracing(), Deadline(30), Retry(attempts=4), CircuitBreaker(), AttemptTimeout(read=5))
    assert repr(stack) == (
        "Stack(Tracing(), Deadline(30), Retry(attempts=4), CircuitBreaker(), AttemptTimeout(read=5))"
    )
    assert [type(policy) for policy in stack] == [Tracing, Deadline, Retry, CircuitBreaker, AttemptTimeout]


@pytest.mark.parametrize(
    "stack",
    [
        Stack(),
        Stack.standard(),
        Stack.inference(),
        Stack(Deadline(1.5), Retry(backoff=Backoff(base=1.0)), CircuitBreaker(open_seconds=2), StreamGuard(done=None)),
    ],
    ids=repr,
)
def test_what_it_prints_evaluates_back(stack: Stack) -> None:
    public = {name: getattr(resilient_foundry, name) for name in resilient_foundry.__all__}
    assert eval(repr(stack), public) == stack  # noqa: S307 - what we printed ourselves


def lenient(status: int, headers: object, body: bytes) -> Verdict:
    del status, headers, body
    return Verdict.GOOD


def test_functions_are_printed_by_their_names() -> None:
    assert repr(Stack(Retry(judge=lenient))) == "Stack(Retry(judge=lenient))"


def test_stacks_nest_and_grouping_changes_nothing() -> None:
    a, b, c = Deadline(30), Retry(), CircuitBreaker()
    assert Stack(Stack(a, b), c) == Stack(a, Stack(b, c)) == Stack(a, b, c) == Stack(a) + Stack(b) + Stack(c)
    assert hash(Stack(a, b)) == hash(Stack(Stack(a), Stack(b)))
    assert Stack(Stack(), a, Stack()) == Stack(a)


def test_equal_settings_make_equal_stacks_and_other_settings_do_not() -> None:
    assert Stack.standard() == Stack.standard()
    assert Stack(Retry(attempts=2)) != Stack(Retry(attempts=3))
    assert Stack(Retry(), CircuitBreaker()) != Stack.unchecked(CircuitBreaker(), Retry())


def test_adding_stacks_that_contradict_each_other_is_refused() -> None:
    with pytest.raises(StackError, match="Retry stands inside CircuitBreaker"):
        _ = Stack(CircuitBreaker()) + Stack(Retry())


def test_a_class_in_place_of_a_policy_is_pointed_out() -> None:
    """The commonest slip: parentheses forgotten."""
    wrong: Any = Retry
    with pytest.raises(TypeError, match=r"not of the class Retry; write Retry\(\)"):
        Stack(wrong)


def test_what_is_no_policy_is_refused() -> None:
    wrong: Any = 3
    with pytest.raises(TypeError, match=r"a stack is made of policies, objects with a method flow.*, not of 3"):
        Stack(wrong)


def test_an_empty_stack_is_transparent() -> None:
    history = rehearse(Stack(), busy(retry_after=7), method="POST", content=b"asked")
    assert (history.status, history.content, history.sent) == (503, b"busy", 1)
    assert history.script.bodies == [b"asked"]
    assert history.script.closed == {1: 1}


def test_a_nested_stack_is_run_like_its_policies() -> None:
    """`Stack.flow` makes it a policy, also for those who compose by hand."""

    class Wrapped:
        """Hides the stack, so that it is not flattened."""

        stack = Stack(Retry(attempts=2), StreamGuard())

        def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
            return (yield from self.stack.flow(request, proceed))

    assert rehearse(Wrapped(), failed(503), ok()).ledger == rehearse(Wrapped.stack, failed(503), ok()).ledger


def test_two_transports_of_one_stack_share_its_circuits() -> None:
    stack = Stack(CircuitBreaker(failures=1))
    with httpx.Client(transport=over(stack, scripted(failed()))) as first:
        first.get("http://foundry.local/")
    with (
        httpx2.Client(transport=over(stack, scripted(ok(), module=httpx2))) as second,
        pytest.raises(resilient_foundry.CircuitOpenError),
    ):
        second.get("http://foundry.local/")


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda module: module.__name__)
def test_stands_over_a_transport_of_either_library(library: ModuleType) -> None:
    transport = over(Stack(), scripted(ok(b"hello"), module=library))
    assert isinstance(transport, library.BaseTransport)
    assert isinstance(transport, library.AsyncBaseTransport)
    with library.Client(transport=transport) as client:
        assert client.get("http://foundry.local/").text == "hello"


def test_a_client_in_place_of_a_transport_is_refused() -> None:
    wrong: Any = httpx.Client()
    with wrong, pytest.raises(TypeError, match=r"a stack stands over a transport, .* not over httpx\.Client"):
        Stack().over(wrong)


def test_a_transport_prints_what_stands_over_what() -> None:
    inner = httpx.HTTPTransport()
    assert repr(Stack(Retry()).over(inner)) == f"Stack(Retry()).over({inner!r})"
    inner.close()


def test_a_transport_is_neither_copied_nor_pickled() -> None:
    """It holds locks and connections; a copy that shared them would fail later and elsewhere."""
    transport = Stack().over(httpx.MockTransport(lambda _: httpx.Response(200)))
    with pytest.raises(TypeError, match="can't be copied or pickled"):
        copy.copy(transport)
    with pytest.raises(TypeError, match="can't be copied or pickled"):
        pickle.dumps(transport)


def test_every_answer_carries_its_ledger() -> None:
    with httpx.Client(transport=over(Stack.standard(), scripted(ok()))) as client:
        response = client.get("http://foundry.local/")
    assert [attempt.status for attempt in response.extensions["resilience"].attempts] == [200]


def test_inference_waits_longer_for_the_attempt_after_a_vain_one() -> None:
    (timeout,) = [policy for policy in Stack.inference(read=7) if isinstance(policy, AttemptTimeout)]
    assert (timeout.read, timeout.growth) == (7, 2)


def test_inference_waits_as_long_for_the_first_event_as_for_the_first_byte() -> None:
    """Comments that keep a connection alive are no answer; nothing is waited for longer than the call may take."""
    (guard,) = [policy for policy in Stack.inference(read=7, idle=3) if isinstance(policy, StreamGuard)]
    assert (guard.first_event, guard.progress, guard.resume) == (7, 3, False)
    (guard,) = [policy for policy in Stack.inference(deadline=2, resume=True) if isinstance(policy, StreamGuard)]
    assert (guard.first_event, guard.progress, guard.resume) == (2, 2, True)


def test_the_judge_of_inference_is_asked_by_retry_circuit_and_guard() -> None:
    assert repr(Stack.inference(judge=lenient)).count("judge=lenient") == 3


def test_an_async_flow_is_refused_when_the_stack_is_made() -> None:
    """It would work in no colour, and say so at the first request in words that nobody understands."""

    class Coroutine:
        async def flow(self, request: Any, proceed: Any) -> Any:
            return proceed(request)

    policy: Any = Coroutine()
    with pytest.raises(TypeError, match=r"Coroutine\.flow is async: a flow is a generator"):
        Stack(policy)


def test_inference_asks_a_server_that_failed_something_cheap_first() -> None:
    """Where it is told what; by itself it knows no path that every server has."""
    assert [policy.probe for policy in Stack.inference(probe="/status") if isinstance(policy, CircuitBreaker)] == [
        "/status"
    ]
    assert [policy.probe for policy in Stack.inference() if isinstance(policy, CircuitBreaker)] == [None]


def test_our_own_stacks_repeat_within_a_budget_of_their_own() -> None:
    """Two services that each have a stack do not spend from one account."""
    for make in (Stack.standard, Stack.inference):
        budgets = [policy.budget for stack in (make(), make()) for policy in stack if isinstance(policy, Retry)]
        assert None not in budgets
        assert budgets[0] is not budgets[1]
