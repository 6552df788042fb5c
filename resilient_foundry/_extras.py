"""Parts that are imported when they are used: names of this package, and packages that an extra installs."""

import importlib
import sys
from collections.abc import Callable, Mapping
from types import ModuleType


class MissingExtraError(ImportError):
    """A part of the library was used whose optional packages are not installed.

    `extra` is the name of the extra and `package` the module that could not be imported.
    """

    def __init__(self, *, extra: str, package: str) -> None:
        self.extra = extra
        self.package = package
        super().__init__(
            f"this needs the package '{package}', which is not installed; "
            f"install it with: python -m pip install 'resilient-foundry[{extra}]'",
            name=package,
        )


def require(module: str, *, extra: str) -> ModuleType:
    """The named module; raises `MissingExtraError`, which names the command that installs it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        if missing.partition(".")[0] != module.partition(".")[0]:
            raise  # the package is there and something that *it* needs is not
        raise MissingExtraError(extra=extra, package=module.partition(".")[0]) from error


def on_first_use(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """The `__getattr__` and `__dir__` of a package (PEP 562) whose names are imported when somebody asks for them.

    `homes` says in which module of the package each name is defined. A name is looked up once; then it is an attribute
    like any other. So are those modules, as they would be if the package imported them.
    """
    modules = {home.partition(".")[0] for home in homes.values()}

    def find(name: str) -> object:
        if name in modules:
            return importlib.import_module(f"{package}.{name}")
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name, obj=sys.modules[package])
        value: object = getattr(importlib.import_module(f"{package}.{homes[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted(homes)

    return find, names
