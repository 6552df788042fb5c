"""Public is a promise: what is exported, in order, and explained."""

import ast
import dataclasses
import importlib
import inspect
import pickle
from types import ModuleType
from typing import Any

import pytest

import resilient_foundry
import resilient_foundry.foundry
import resilient_foundry.testing

PUBLIC = [resilient_foundry, resilient_foundry.testing]
ON_FIRST_USE = [resilient_foundry, resilient_foundry.foundry]


def named(module: ModuleType) -> str:
    return module.__name__


@pytest.mark.parametrize("module", PUBLIC, ids=named)
def test_all_is_sorted_and_holds_nothing_twice(module: ModuleType) -> None:
    names: list[str] = module.__all__
    assert names == sorted(set(names))


@pytest.mark.parametrize("package", ON_FIRST_USE, ids=named)
def test_what_the_package_has_is_what_all_names(package: ModuleType) -> None:
    """A reader of `dir()` and a reader of `__all__` see the same promise, used or not."""
    assert dir(package) == sorted(package.__all__)


@pytest.mark.parametrize("package", ON_FIRST_USE, ids=named)
def test_type_checkers_see_each_name_where_it_is_imported_from(package: ModuleType) -> None:
    """What is imported on first use is told twice, to them and to the interpreter: neither may say something else."""
    (block,) = (
        node
        for node in ast.parse(inspect.getsource(package)).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    told = {
        name.asname or name.name: getattr(importlib.import_module(line.module or ""), name.name)
        for line in block.body
        if isinstance(line, ast.ImportFrom)
        for name in line.names
    }
    assert told == {name: getattr(package, name) for name in package.__all__}


@pytest.mark.parametrize("package", ON_FIRST_USE, ids=named)
def test_a_name_that_is_not_there_is_said_to_be_missing(package: ModuleType) -> None:
    """As of any module, so that `hasattr` and `from ... import` do what they do elsewhere."""
    with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute 'Retries'"):
        _ = package.Retries
    assert not hasattr(package, "Retries")


def test_what_is_imported_on_first_use_can_be_pickled() -> None:
    """Its class is known by the module that defines it."""
    for policy in (resilient_foundry.Retry(), resilient_foundry.Deadline(3.0)):
        assert pickle.loads(pickle.dumps(policy)) == policy  # noqa: S301 - what we wrote ourselves


@pytest.mark.parametrize("module", PUBLIC, ids=named)
def test_every_public_thing_is_there_and_has_a_docstring_of_its_own(module: ModuleType) -> None:
    """A dataclass without one gets its signature for a docstring, which explains nothing."""
    silent = [
        name
        for name in module.__all__
        if not (getattr(module, name).__doc__ or "").strip() or getattr(module, name).__doc__.startswith(f"{name}(")
    ]
    assert silent == []


@pytest.mark.parametrize("module", PUBLIC, ids=named)
def test_every_public_method_of_a_public_class_has_a_docstring(module: ModuleType) -> None:
    silent = [
        f"{name}.{member}"
        for name in module.__all__
        if inspect.isclass(kind := getattr(module, name))
        for member, value in vars(kind).items()
        if not member.startswith("_")
        and (inspect.isfunction(value) or isinstance(value, (property, classmethod)))
        and not (inspect.getdoc(getattr(kind, member)) or "").strip()
    ]
    assert silent == []


def test_policies_are_frozen_values() -> None:
    """A policy is shared by calls and threads; only a circuit behind it remembers anything."""
    policies: list[Any] = list(resilient_foundry.Stack.inference())
    for policy in policies:
        assert dataclasses.is_dataclass(policy)
        setting = dataclasses.fields(policy)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(policy, setting, None)
