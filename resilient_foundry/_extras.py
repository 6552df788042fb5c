"""Optional parts: import them when they are used, and say how to install them when they are missing."""

import importlib
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
