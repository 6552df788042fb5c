"""What runs for a request is what was written down, and nothing of it belongs to a policy that is not in the stack.

Counted are Python calls and objects for the garbage collector, which takes no clock: they are the same in every run of
one version of Python with the same packages. Elsewhere there is some room.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Generator
from functools import cache, partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks.contenders import FIVE, contenders
from benchmarks.origin import Origin, origin
from benchmarks.question import Figures
from benchmarks.work_of_a_stack import (
    BARE,
    GOAL_CALLS,
    PATHS,
    SCENES,
    TEXT,
    WAYS,
    Work,
    answer,
    of,
    ours,
    over,
    seen,
    table,
    work,
)
from resilient_foundry import Stack
from resilient_foundry.flow import Flow, Proceed, Request, Response

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
FOLDER = Path(__file__).parent
COMMAND = f"python -m benchmarks.work_of_a_stack --json tests/benchmarks/work_of_a_stack-{HERE}.json"
NEAREST = "3.11"
"""The version that others are compared with, which have nothing of their own."""
COUNTED_WITH = ("httpx", "httpx2", "stamina", "pybreaker", "anyio")
A_FEW = 2
ROOM = 1.1
"""Where Python or a package is another one than what was written down was counted with."""
POLICIES = "policies."

in_every_way = pytest.mark.parametrize(("library", "colour"), WAYS)


@cache
def written() -> tuple[Figures, bool]:
    """What was written down for this version of Python; and whether it was counted with the packages that are here."""
    own = FOLDER / f"work_of_a_stack-{HERE}.json"
    file = own if own.exists() else FOLDER / f"work_of_a_stack-{NEAREST}.json"
    found = json.loads(file.read_text(encoding="utf-8"))
    with_these = all(found["machine"][name] == version(name) for name in COUNTED_WITH)
    return found["figures"], own.exists() and with_these


@cache
def counted(library: str, colour: str, name: str, path: str = TEXT) -> Work:
    """What runs for one request."""
    return of(library, colour, name, path)


@pytest.fixture(scope="module")
def server() -> Generator[Origin]:
    """For all scenes."""
    with origin() as running:
        yield running


def added(library: str, colour: str, name: str, path: str = TEXT) -> int:
    """Python calls beyond those of the bare client."""
    return counted(library, colour, name, path).calls - counted(library, colour, BARE, path).calls


def policies_in(library: str, colour: str, name: str, path: str = TEXT) -> set[str]:
    """The modules of policies whose code was entered."""
    return {module for module in counted(library, colour, name, path).ours if module.startswith(POLICIES)}


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
@pytest.mark.parametrize("path", PATHS)
def test_a_request_runs_what_was_written_down(library: str, colour: str, path: str) -> None:
    """What is added to the way of every call shows here, whatever else the machine does; and what is saved is kept."""
    figures, exact = written()
    before = figures["calls"][path][f"{library} {colour}"]
    counts = {name: (before.get(name, 0), added(library, colour, name, path)) for name in ours(colour, path)}
    more = {name: pair for name, pair in counts.items() if pair[1] > pair[0] * (1 if exact else ROOM) + A_FEW}
    fewer = {name: pair for name, pair in counts.items() if exact and pair[1] < pair[0] - A_FEW}
    assert more == {}, f"more Python calls than before: (then, now); if they are worth it: {COMMAND}"
    assert fewer == {}, f"fewer Python calls than before: (then, now); so that it stays so: {COMMAND}"


@in_every_way
def test_a_request_leaves_no_more_to_the_garbage_collector_than_was_written_down(library: str, colour: str) -> None:
    """A cycle that each call leaves costs a pause now and then, which no call can be blamed for."""
    before = written()[0]["garbage"][f"{library} {colour}"]
    bare = counted(library, colour, BARE).garbage
    counts = {name: (before.get(name, 0.0), counted(library, colour, name).garbage - bare) for name in ours(colour)}
    more = {name: pair for name, pair in counts.items() if pair[1] > pair[0] + 1}
    assert more == {}, f"more objects than before: (then, now); if they are worth it: {COMMAND}"


@in_every_way
@pytest.mark.parametrize("scene", SCENES)
def test_a_server_is_connected_to_no_more_often_than_need_be(
    server: Origin, library: str, colour: str, scene: str
) -> None:
    """As the server counts it."""
    requests, connections = seen(server, SCENES[scene], library, colour)
    assert SCENES[scene].is_kept(requests, connections, colour), (requests, connections)


@in_every_way
def test_a_stack_runs_no_code_of_a_policy_that_is_not_in_it(library: str, colour: str) -> None:
    """Only that of the modules of its policies, and of what these import."""
    for name, make in contenders(colour).items():
        own = {type(policy).__module__.removeprefix("resilient_foundry.") for policy in make()}
        assert own <= policies_in(library, colour, name) <= set[str]().union(*map(known_to, own))


@in_every_way
def test_around_a_policy_nothing_runs_but_one_step(library: str, colour: str) -> None:
    """What one more policy costs is what it does itself; the code of this one is not ours, and not counted."""

    class Nothing:
        def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
            return (yield from proceed(request))

    one, two = (
        work(library, colour, partial(over, Stack(*(Nothing() for _ in range(number))))).ours.total()
        for number in (1, 2)
    )
    assert two - one == 1


def test_the_answer_and_the_table_name_what_is_to_be_reached() -> None:
    """Told of what was written down, in which five policies may not have reached it."""
    figures, _ = written()
    most = max(found[FIVE] for found in figures["calls"][TEXT].values())
    said = f"where {GOAL_CALLS} are to be reached: {'reached' if most <= GOAL_CALLS else 'not reached'};"
    assert said in answer(figures)
    assert table(figures).count(f"| {FIVE} |") == 2
    figures = json.loads(json.dumps(figures))
    figures["calls"][TEXT]["httpx2 async"][FIVE] = GOAL_CALLS + 1
    assert "to be reached: not reached;" in answer(figures)
