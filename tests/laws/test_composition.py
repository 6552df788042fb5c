"""How stacks compose: grouping does not matter, and nothing is nothing."""

from itertools import pairwise

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import resilient_foundry
from resilient_foundry import Stack
from resilient_foundry.flow import Flow, Policy, Proceed, Request, Response
from resilient_foundry.testing import Failure, History, Said, VirtualTime, rehearse, scripted
from tests.cures import Opening
from tests.laws.worlds import CALLS, STACKS, WORLD, Call, anew, policies

SCRIPTS = st.lists(WORLD, min_size=6, max_size=6)
PUBLIC = {"Opening": Opening, **{name: getattr(resilient_foundry, name) for name in resilient_foundry.__all__}}
ENOUGH = 40
"""How often a script is played: no call sends more."""


def play(stack: Stack, call: Call, script: list[Said]) -> History:
    return rehearse(
        stack, *script * ENOUGH, method=call.method, content=call.content(), options=call.options, clock=VirtualTime()
    )


def seen(history: History) -> object:
    return (
        history.status,
        history.content,
        type(history.error),
        str(history.error),
        history.elapsed,
        history.script.bodies,
        history.script.closed,
    )


@given(chosen=policies(), cuts=st.lists(st.integers(0, 12), max_size=3))
def test_grouping_makes_no_other_stack(chosen: list[Policy], cuts: list[int]) -> None:
    edges = sorted({0, len(chosen), *(cut % (len(chosen) + 1) for cut in cuts)})
    groups = [Stack.unchecked(*chosen[start:end]) for start, end in pairwise(edges)]
    flat = Stack.unchecked(*chosen)
    assert Stack.unchecked(*groups) == flat
    assert hash(Stack.unchecked(*groups)) == hash(flat)
    assert Stack.unchecked(Stack(), *groups, Stack.unchecked(Stack())) == flat


@given(stack=STACKS)
def test_what_a_stack_prints_evaluates_back(stack: Stack) -> None:
    text = repr(stack).replace("Stack(", "Stack.unchecked(", 1)
    assert eval(text, PUBLIC) == stack  # noqa: S307 - what we printed ourselves


@given(stack=STACKS)
def test_it_prints_its_policies_in_their_order(stack: Stack) -> None:
    places = [repr(stack).index(type(policy).__name__ + "(") for policy in stack]
    assert places == sorted(places)


@given(call=CALLS, script=SCRIPTS)
def test_an_empty_stack_is_transparent(call: Call, script: list[Said]) -> None:
    """The caller sees what the transport underneath would have shown."""
    history = play(Stack(), call, script)
    bare = scripted(*script)
    request = httpx.Request(call.method, "http://foundry.local:5273/v1/models", content=call.content())
    said = script[0]
    if isinstance(said, Failure):
        with pytest.raises(httpx.HTTPError) as caught:
            bare.handle_request(request)
        assert type(history.error) is caught.type
        assert history.response is None
    else:
        assert history.status == bare.handle_request(request).status_code
        assert history.content == b"".join(said.chunks)
    assert history.script.bodies == bare.script.bodies


class Nested:
    """Hides a stack from being flattened."""

    def __init__(self, *policies: Policy) -> None:
        self.stack = Stack.unchecked(*policies)

    def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
        return (yield from self.stack.flow(request, proceed))


@given(chosen=policies(), call=CALLS, script=SCRIPTS, cut=st.integers(0, 12))
@settings(max_examples=200)
def test_a_stack_inside_a_stack_is_the_stack_of_both(
    chosen: list[Policy], call: Call, script: list[Said], cut: int
) -> None:
    """Whether policies stand in one stack or in two, one in the other, the call takes the same way."""
    cut %= len(chosen) + 1
    flat = seen(play(Stack.unchecked(*chosen), call, script))
    made_anew = anew(chosen)
    nested = Stack.unchecked(*made_anew[:cut], Nested(*made_anew[cut:]))
    assert seen(play(nested, call, script)) == flat


@pytest.mark.parametrize("make", [Stack, Stack.standard, Stack.inference])
def test_adding_nothing_changes_nothing(make: type[Stack]) -> None:
    stack = make()
    assert stack + Stack() == Stack() + stack == stack
