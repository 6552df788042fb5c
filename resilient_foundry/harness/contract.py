"""A contract: one promise of a server, written once as a function that talks to it."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from resilient_foundry._extras import MissingExtraError

if TYPE_CHECKING:
    from resilient_foundry.harness.session import Session

OWN: Final = "own"
"""The need of a contract that changes which models are loaded: it runs on a server that is ours to change."""
ALONE: Final = "alone"
"""The need of a contract that ends or endangers the server: it gets a process of its own."""

PARTS: Final = (
    "chat",
    "slow",
    "tool-call",
    "two-tool-calls",
    "thinking",
    "split-utf8",
    "empty",
    "breaking",
    "endless",
    "json-text",
    "embedding",
    "not-downloaded",
)
"""The parts that models can play: "chat" is any model that talks, the others are what the built-in models are like."""

_PACKAGE: Final = "resilient_foundry_contracts"
_MARK: Final = "__contract__"
_ANY_VERSION: Final = SpecifierSet()


class Level(Enum):
    """How much depends on it, in the words of RFC 2119."""

    MUST = "MUST"
    """A client can't work without it."""
    SHOULD = "SHOULD"
    """A client copes without it, and its user notices."""
    MAY = "MAY"
    """Good to have; the client asks first."""


MUST, SHOULD, MAY = Level.MUST, Level.SHOULD, Level.MAY


@dataclass(frozen=True, slots=True)
class Contract:
    """One promise. `name` is its area and function, such as "chat.answers_in_one_object"; `promise` says it in words.

    `needs` are roles of models ("chat", "tools", ...) and abilities (`OWN`, `ALONE`) without which it is not exercised.
    `versions` are those that ought to keep it, as PEP 440 writes them; every version, if it is empty.
    """

    name: str
    level: Level
    promise: str
    check: Callable[[Session], None]
    needs: frozenset[str] = frozenset()
    versions: SpecifierSet = _ANY_VERSION
    source: str = ""

    @property
    def area(self) -> str:
        """The file that it stands in."""
        return self.name.partition(".")[0]

    @property
    def title(self) -> str:
        """Its name within its area, as words."""
        return self.name.partition(".")[2].replace("_", " ")


@dataclass(frozen=True, slots=True)
class _Mark:
    level: Level
    needs: frozenset[str]
    versions: SpecifierSet


def contract(
    level: Level, *, needs: Iterable[str] = (), versions: str = ""
) -> Callable[[Callable[[Session], None]], Callable[[Session], None]]:
    """Make a function a contract. Its docstring is the promise, its name and that of its file are the contract's name.

    Raises `ValueError` where `versions` can't be read.
    """
    try:
        specified = SpecifierSet(versions)
    except InvalidSpecifier as error:
        raise ValueError(f"versions is {versions!r}; it takes a range such as '>=2.0,<3'") from error
    mark = _Mark(level, frozenset([needs] if isinstance(needs, str) else needs), specified)

    def marked(check: Callable[[Session], None]) -> Callable[[Session], None]:
        if not (check.__doc__ or "").strip():
            raise ValueError(f"the contract {check.__name__} says no promise; its docstring is the promise")
        setattr(check, _MARK, mark)
        return check

    return marked


def collect(folder: Path, *, only: Iterable[str] = ()) -> tuple[Contract, ...]:
    """The contracts of a folder, file by file, in the order in which they are written.

    `only` are beginnings of names, such as "chat" or "chat.streams"; all without any. Raises `ValueError` where the
    folder holds no contract, or none of those named, or a file that can't be loaded, and `MissingExtraError` where a
    file needs hypothesis and it is not installed.
    """
    found = tuple(each for path in sorted(folder.glob("*.py")) for each in _contracts_of(_load(path), path.stem))
    if not found:
        raise ValueError(f"{folder} holds no contracts; a contract is a function marked with @contract(MUST)")
    wanted = tuple(only)
    for beginning in wanted:
        if not any(each.name.startswith(beginning) for each in found):
            areas = ", ".join(sorted({each.area for each in found}))
            raise ValueError(f"no contract begins with {beginning!r}; the areas are {areas}")
    return tuple(each for each in found if not wanted or each.name.startswith(wanted))


def provided(name: str) -> Path:
    """The folder `contracts` or `cassettes` that comes with this package: beside it in a checkout, within it installed.

    Raises `FileNotFoundError` where it is missing.
    """
    package = Path(__file__).resolve().parent.parent
    for folder in (package / name, package.parent / name):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"the folder {name!r} did not come with this installation; install the package again")


def _load(path: Path) -> ModuleType:
    """A file of contracts as a module. It is found by its path, so a folder of contracts need be no package."""
    name = f"{_PACKAGE}.{path.parent.name}.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        if isinstance(error, ModuleNotFoundError) and error.name == "hypothesis":
            raise MissingExtraError(extra="contracts", package="hypothesis") from error
        raise ValueError(f"{path} can't be loaded: {type(error).__name__}: {error}") from error
    return module


def _contracts_of(module: ModuleType, area: str) -> Iterator[Contract]:
    for name, value in vars(module).items():
        mark = getattr(value, _MARK, None)
        if isinstance(mark, _Mark) and value.__module__ == module.__name__:
            _check_needs(f"{area}.{name}", mark.needs)
            promise = inspect.cleandoc(value.__doc__ or "")
            yield Contract(
                name=f"{area}.{name}",
                level=mark.level,
                promise=promise,
                check=value,
                needs=mark.needs,
                versions=mark.versions,
                source=inspect.getsource(value),
            )


def _check_needs(name: str, needs: Iterable[str]) -> None:
    """A need that nobody can have would leave its contract unexercised for ever, without a word."""
    known = (*PARTS, OWN, ALONE)
    for need in sorted(set(needs) - set(known)):
        nearest = get_close_matches(need, known, n=1)
        hint = f"; is {nearest[0]!r} meant?" if nearest else ""
        raise ValueError(f"the contract {name} needs {need!r}, and what may be needed is {', '.join(known)}{hint}")
