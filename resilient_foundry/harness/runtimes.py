"""The versions of Foundry Local that are measured here, and an interpreter that has the one asked for.

`python -m resilient_foundry.harness.runtimes 1.2.4` prints its path.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import metadata
from pathlib import Path
from typing import Final

GENERATION_1: Final = "RESILIENT_FOUNDRY_PYTHON_1X"
"""Names an interpreter that has a runtime of generation 1.x, for machines where it can't be fetched."""

_SDK: Final = "foundry-local-sdk"
_PURE: Final = (
    "numpy==2.4.6",
    "openai==3.54.0",
    "pydantic==2.14.3",
    "requests==2.34.2",
    "typing-extensions==4.16.0",
)
_PIP: Final = ("-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check")
_REASONS: Final = ("No matching distribution", "Could not find a version")
_UNREACHABLE: Final = (
    "Failed to establish a new connection",
    "ConnectTimeoutError",
    "NewConnectionError",
    "getaddrinfo",
)


class RuntimeNotInstalledError(RuntimeError):
    """An environment with a runtime could not be made; the message says why in one sentence."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What pip has to install for a version. `alone` are packages whose own wishes are not asked."""

    packages: tuple[str, ...]
    alone: tuple[str, ...] = ()


RECIPES: Final = {
    "2.2.1": Recipe((f"{_SDK}==2.2.1", "onnxruntime==1.31.0", "onnxruntime-genai-core==0.18.0", "cffi==2.1.1", *_PURE)),
    "2.0.1": Recipe((f"{_SDK}==2.0.1", "onnxruntime==1.28.0", "onnxruntime-genai-core==0.15.2", "cffi==2.1.1", *_PURE)),
    # This SDK asks for the GPU builds of ONNX Runtime, 600 MB of them; the CPU builds do.
    "1.2.4": Recipe(
        ("onnxruntime==1.26.0", "onnxruntime-genai==0.14.1", *_PURE),
        alone=(f"{_SDK}==1.2.4", "foundry-local-core==1.2.4"),
    ),
}
"""The known versions, the newest first."""


def interpreter(version: str, *, fresh: bool = False, on_progress: Callable[[str], None] = lambda _: None) -> Path:
    """An interpreter that has this version: this one, or that of an environment of its own, made if it is not there.

    Environments are kept below XDG_CACHE_HOME; `fresh` makes one anew, and never takes this interpreter. Two processes
    may ask at once, and one that is ended leaves nothing half. `on_progress` is told what is done, as it begins. Raises
    `ValueError` for a version that is not known, `RuntimeNotInstalledError` where pip fails.
    """
    recipe = RECIPES.get(version)
    if recipe is None:
        near = get_close_matches(version, RECIPES, n=1, cutoff=0.0)[0]
        raise ValueError(
            f"version {version!r} of Foundry Local is not known here; the nearest is {near}, of {', '.join(RECIPES)}"
        )
    if not fresh:
        for known in (sys.executable, os.environ.get(GENERATION_1)):
            if known and _version_of(known) == version:
                return Path(known)
    home = _cache() / f"foundry-local-{version}"
    if fresh or not home.is_dir():
        _make(home, version, recipe, on_progress)
    return _python(home)


def _version_of(python: str) -> str | None:
    """The version of the SDK that an interpreter has; None without any."""
    if python == sys.executable:
        with contextlib.suppress(metadata.PackageNotFoundError):
            return metadata.version(_SDK)
        return None
    asked = f"from importlib.metadata import version; print(version({_SDK!r}))"
    try:
        return subprocess.run(  # noqa: S603 - the interpreter that the user named
            [python, "-c", asked], capture_output=True, encoding="utf-8", check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "resilient-foundry" / "runtimes"


def _make(home: Path, version: str, recipe: Recipe, on_progress: Callable[[str], None]) -> None:
    """Make it beside its place, and move it there when it is whole: whoever finds it there finds it ready."""
    home.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{home.name}-", dir=home.parent))
    try:
        on_progress(f"making an environment for Foundry Local {version}")
        venv.create(beside, with_pip=True)
        for packages, settings in ((recipe.packages, ()), (recipe.alone, ("--no-deps",))):
            if packages:
                on_progress(f"installing {', '.join(packages)}")
                _install(_python(beside), version, *settings, *packages)
        _put(beside, home)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _put(beside: Path, home: Path) -> None:
    """Move it to its place. What is there already is moved away first, as a folder can't be replaced by another."""
    beside.chmod(0o755)
    old = Path(tempfile.mkdtemp(prefix=f".{home.name}-", dir=home.parent))
    try:
        with contextlib.suppress(FileNotFoundError):
            home.rename(old / home.name)
        with contextlib.suppress(FileExistsError, OSError):  # somebody else was faster, with the same
            beside.rename(home)
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _install(python: Path, version: str, *arguments: str) -> None:
    done = subprocess.run(  # noqa: S603 - our own environment and our own list
        [python, *_PIP, *arguments], capture_output=True, encoding="utf-8", errors="replace", check=False
    )
    if done.returncode:
        raise RuntimeNotInstalledError(
            f"Foundry Local {version} could not be installed: {_why(done.stderr)}; it is fetched once, and then kept"
        )


def _why(said: str) -> str:
    """What pip means, in a few words."""
    if any(each in said for each in _UNREACHABLE):
        return "the package index can't be reached"
    lines = [line.removeprefix("ERROR: ") for line in said.splitlines() if line.startswith("ERROR: ")]
    return next((line for line in lines if line.startswith(_REASONS)), (lines or ["pip gave no reason"])[-1])


def _python(home: Path) -> Path:
    return home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def main() -> int:
    """Print the interpreter of the version that is named; progress and errors go to standard error."""
    if len(sys.argv) != 2:  # noqa: PLR2004 - the program and its argument
        _tell(f"name one version: {', '.join(RECIPES)}")
        return 2
    try:
        python = interpreter(sys.argv[1], on_progress=lambda doing: _tell(f"{doing} …"))
    except (ValueError, RuntimeNotInstalledError) as error:
        _tell(str(error))
        return 1
    sys.stdout.write(f"{python}\n")
    return 0


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
