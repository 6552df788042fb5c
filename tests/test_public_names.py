"""Public is a promise: what is exported, in order, and explained."""

import dataclasses
import inspect
from types import ModuleType
from typing import Any

import pytest

import resilient_foundry
import resilient_foundry.testing

PUBLIC = [resilient_foundry, resilient_foundry.testing]


def named(module: ModuleType) -> str:
    return module.__name__


@pytest.mark.parametrize("module", PUBLIC, ids=named)
def test_all_is_sorted_and_holds_nothing_twice(module: ModuleType) -> None:
    names: list[str] = module.__all__
    assert names == sorted(set(names))


def test_what_is_imported_into_the_package_is_what_all_names() -> None:
    """A reader of `dir()` and a reader of `__all__` see the same promise."""
    there = {
        name
        for name, value in vars(resilient_foundry).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert there == set(resilient_foundry.__all__)


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
