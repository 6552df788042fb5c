"""`resilient-foundry bench`: the benchmarks, each a question, one after the other in processes of their own.

They stand in the folder `benchmarks` of a checkout, and are installed within the package, in a folder that holds
nothing else, so that it can be looked in for modules.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from resilient_foundry._extras import require
from resilient_foundry.cli.output import errors, print_json, say, warn

_ROOM_TO_LEAVE: Final = 5.0
"""Seconds that a benchmark has to end its servers, once it has been told to."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One of them, as its file says without being run."""

    name: str
    asked: str


def run(names: Sequence[str], *, quick: bool, out: Path | None, listed: bool, as_json: bool) -> int:
    """Ask the questions of these names, else all; gives the exit code: 1 where one could not be answered."""
    home = _home()
    chosen = _chosen(names, _benchmarks(home / "benchmarks"))
    if listed:
        _list(chosen, as_json=as_json)
        return 0
    require("matplotlib", extra="bench")
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    began, told = time.monotonic(), list[dict[str, Any]]()
    for number, benchmark in enumerate(chosen, 1):
        with errors.status(f"{number} of {len(chosen)}: {benchmark.name}"):
            found = _asked(home, benchmark, quick=quick, out=out)
        if found is None:
            continue
        told.append(found)
        if not as_json:
            say(f"{benchmark.name}: {benchmark.asked}", style="bold")
            say(f"  {found['answer']}")
    if as_json:
        print_json({"benchmarks": told})
    else:
        _sum_up(len(chosen), len(told), time.monotonic() - began, quick=quick, out=out)
    return int(len(told) < len(chosen))


def _home() -> Path:
    """The folder to look in for `benchmarks`: within the package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "_bench", package.parent):
        if (folder / "benchmarks" / "question.py").is_file():
            return folder
    raise FileNotFoundError("the benchmarks did not come with this installation; install the package again")


def _benchmarks(folder: Path) -> list[Benchmark]:
    return [Benchmark(path.stem, asked) for path in sorted(folder.glob("*.py")) if (asked := _question_of(path))]


def _question_of(path: Path) -> str | None:
    """What a file asks: the second argument of its `QUESTION`; nothing is imported for it."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            named = any(isinstance(target, ast.Name) and target.id == "QUESTION" for target in node.targets)
            given = [*node.value.args[1:2], *(each.value for each in node.value.keywords if each.arg == "asked")]
            if named and given and isinstance(given[0], ast.Constant):
                return str(given[0].value)
    return None


def _chosen(names: Iterable[str], known: Sequence[Benchmark]) -> list[Benchmark]:
    by_name = {benchmark.name: benchmark for benchmark in known}
    for name in names:
        if name not in by_name:
            raise ValueError(f"there is no benchmark {name!r}; there are {', '.join(by_name)}")
    return [by_name[name] for name in dict.fromkeys(names)] or list(known)


def _list(chosen: Sequence[Benchmark], *, as_json: bool) -> None:
    if as_json:
        print_json({"benchmarks": chosen})
        return
    widest = max(len(benchmark.name) for benchmark in chosen)
    for benchmark in chosen:
        say(f"{benchmark.name:<{widest}}  {benchmark.asked}")


def _asked(home: Path, benchmark: Benchmark, *, quick: bool, out: Path | None) -> dict[str, Any] | None:
    """What came of it; None where it failed, which is said."""
    with TemporaryDirectory() as kept:
        file = Path(out or kept).resolve() / f"{benchmark.name}.json"
        options = [*(["--quick"] if quick else []), *(["--plots", str(file.parent)] if out else [])]
        code, said = _ran(home, "-P", "-m", f"benchmarks.{benchmark.name}", "--json", str(file), *options)
        if code:
            last = said.strip().splitlines()[-1:] or [f"it ended with {code} and said nothing"]
            warn(f"{benchmark.name} could not be answered: {last[0]}")
            return None
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return found


def _ran(home: Path, *arguments: str) -> tuple[int, str]:
    """Run Python, with the benchmarks to be imported; gives its exit code and what it said on standard error.

    It ends with this process, and so do the servers that it started: they end with whoever started them.
    """
    before = os.environ.get("PYTHONPATH")
    paths = os.pathsep.join([str(home), *([before] if before else [])])
    with subprocess.Popen(  # noqa: S603 - our own interpreter and our own modules
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
    ) as process:
        try:
            said = process.communicate()[1]
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(_ROOM_TO_LEAVE)
                except subprocess.TimeoutExpired:
                    process.kill()
    return process.returncode, said


def _sum_up(asked: int, answered: int, seconds: float, *, quick: bool, out: Path | None) -> None:
    where = "" if out is None else f"; figures and pictures are in {out}"
    little = " They were measured quickly, and mean little." if quick else ""
    say(f"{answered} of {asked} questions answered in {seconds:.0f} s{where}.{little}", style="bold")
