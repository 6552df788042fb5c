"""What runs for a request is bounded, and nothing of it belongs to a policy that is not in the stack.

Counted are functions of ours that are entered, which takes no clock: the numbers are the same in every run, and one
less in some places on Python 3.12 and later, where comprehensions are no functions.
"""

from __future__ import annotations

import ast
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks.contenders import ALL, EMPTY, FOR_STREAMS, INFERENCE, PARTS, STANDARD, contenders, parts
from benchmarks.work_of_a_stack import PATHS, STREAM, TEXT, WAYS, calls
from resilient_foundry import Stack
from resilient_foundry.flow import Flow, Proceed, Request, Response

MEASURED = {
    EMPTY: (45, 47),
    "Tracing()": (52, 54),
    "Deadline(30)": (70, 72),
    "Fallback(url)": (71, 73),
    "Retry()": (87, 89),
    "Retry(budget)": (100, 102),
    "Remedy(cure)": (69, 71),
    "Hedge(1)": (0, 131),
    "RateLimit()": (88, 90),
    "RateLimit(rate)": (88, 90),
    "CircuitBreaker()": (99, 101),
    "CircuitBreaker(rate)": (102, 104),
    "ConcurrencyLimit(4)": (76, 78),
    "ConcurrencyLimit(..)": (106, 108),
    "AttemptTimeout()": (59, 61),
    "StreamGuard()": (52, 54),
    "Chaos()": (48, 50),
    STANDARD: (200, 202),
    INFERENCE: (216, 218),
    ALL: (399, 479),
}
"""Functions entered for a GET that is answered from memory, sync and async, in the library that needs more of them.

Written down anew where a change is worth it, by `python -m benchmarks.work_of_a_stack`.
"""
MEASURED_OF_A_STREAM = {
    EMPTY: (150, 154),
    "StreamGuard()": (475, 479),
    STANDARD: (325, 329),
    INFERENCE: (692, 708),
    ALL: (868, 944),
}
"""The same for a stream of 12 events, each in a chunk of its own."""
ROOM = 1.04
POLICIES = "policies."

in_every_way = pytest.mark.parametrize(("library", "colour"), WAYS)


@cache
def entered(library: str, colour: str, name: str, path: str = TEXT) -> dict[str, int]:
    """How often code of each of our modules was entered."""
    return dict(calls(library, colour, contenders(colour)[name], path))


def total(library: str, colour: str, name: str, path: str = TEXT) -> int:
    """How often code of ours was entered."""
    return sum(entered(library, colour, name, path).values())


def policies_in(library: str, colour: str, name: str, path: str = TEXT) -> set[str]:
    """The modules of policies whose code was entered."""
    return {module for module in entered(library, colour, name, path) if module.startswith(POLICIES)}


def known_to(module: str) -> set[str]:
    """A module, and all modules of policies that it imports, and these, and so on."""
    known, to_read = set[str](), {module}
    while to_read:
        known.add(reading := to_read.pop())
        found = find_spec(f"resilient_foundry.{reading}")
        assert found is not None
        assert found.origin is not None
        for node in ast.walk(ast.parse(Path(found.origin).read_text(encoding="utf-8"))):
            imported = (isinstance(node, ast.ImportFrom) and node.module) or ""
            if imported.startswith(f"resilient_foundry.{POLICIES}"):
                to_read |= {imported.removeprefix("resilient_foundry.")} - known
    return known


@in_every_way
def test_a_request_runs_no_more_code_of_ours_than_was_measured(library: str, colour: str) -> None:
    """What is added to the way of every call shows here, whatever else the machine does."""
    counts = {name: total(library, colour, name) for name in contenders(colour)}
    too_many = {name: count for name, count in counts.items() if count > ROOM * MEASURED[name][colour == "async"]}
    assert too_many == {}


@in_every_way
def test_a_stream_runs_no_more_code_of_ours_than_was_measured(library: str, colour: str) -> None:
    """What is done for each chunk and each event counts most where a model speaks a word at a time."""
    counts = {name: total(library, colour, name, STREAM) for name in FOR_STREAMS}
    measured = {name: MEASURED_OF_A_STREAM[name][colour == "async"] for name in FOR_STREAMS}
    assert {name: count for name, count in counts.items() if count > ROOM * measured[name]} == {}


@in_every_way
@pytest.mark.parametrize("path", PATHS)
def test_an_empty_stack_runs_no_code_of_any_policy(library: str, colour: str, path: str) -> None:
    """Not a line: drivers don't look for policies that are not there."""
    assert policies_in(library, colour, EMPTY, path) == set()


@in_every_way
def test_a_policy_alone_runs_no_code_of_another(library: str, colour: str) -> None:
    """Only that of its own module, and of what this imports."""
    for name, make in contenders(colour).items():
        own = {type(policy).__module__.removeprefix("resilient_foundry.") for policy in make()}
        if len(own) == 1:
            assert own <= policies_in(library, colour, name) <= known_to(*own)


@in_every_way
@pytest.mark.parametrize("name", PARTS)
def test_a_stack_runs_the_code_of_its_parts_and_no_other(library: str, colour: str, name: str) -> None:
    """The same modules as all parts by themselves."""
    by_themselves = set[str]().union(*(policies_in(library, colour, part) for part in parts(name, colour)))
    assert policies_in(library, colour, name) == by_themselves


@in_every_way
@pytest.mark.parametrize("name", PARTS)
def test_a_stack_costs_what_its_parts_cost(library: str, colour: str, name: str) -> None:
    """No policy makes another one dearer: what each adds to the empty stack adds up, within a tenth."""
    empty = total(library, colour, EMPTY)
    expected = empty + sum(total(library, colour, part) - empty for part in parts(name, colour))
    assert total(library, colour, name) == pytest.approx(expected, rel=0.1)


@in_every_way
def test_around_a_policy_nothing_runs_but_one_step(library: str, colour: str) -> None:
    """What a policy costs is what it does itself; the code of this one is not ours, and not counted."""

    class Nothing:
        def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
            return (yield from proceed(request))

    idle = calls(library, colour, lambda: Stack(Nothing()))
    assert idle.total() - total(library, colour, EMPTY) == 1
