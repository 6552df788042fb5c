"""The tables and pictures of docs/, out of the figures in docs/figures/.

    python -m benchmarks.pages                       # fill in the pages, and draw
    python -m benchmarks.pages --measure             # measure everything anew before that
    python -m benchmarks.pages --measure refusals    # or only this

A page has blocks that are written here, and by nobody else:

    <!-- figures: refusals -->       the question, its answer, its table and its picture
    <!-- figures: goals -->          every figure to reach, and whether it was
    <!-- figures: refusals.table --> what this function of the benchmark says of its figures
    <!-- end -->                     closes each of them
"""

from __future__ import annotations

import argparse
import importlib
import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.goals import table as goals
from benchmarks.question import COLOURS, Figures, Question
from resilient_foundry._extras import require

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
FIGURES, PICTURES = "figures", "pictures"
_BLOCK = re.compile(r"(?m)^(<!-- figures: ([\w.]+) -->\n)(?:.*\n)*?(<!-- end -->$)")
_TOLD_OF = ("httpx", "httpx2")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, if so asked; draw, and fill in."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages", description="Fill in the pages of docs/.")
    parser.add_argument("--measure", nargs="*", metavar="NAMES", help="measure these before, or all that pages show")
    asked = parser.parse_args(arguments)
    require("matplotlib", extra="bench")
    pages = [page for page in sorted(DOCS.glob("*.md")) if shown(page.read_text(encoding="utf-8"))]
    if asked.measure is not None:
        measure(asked.measure or sorted({name for page in pages for name in shown(page.read_text(encoding="utf-8"))}))
    for file in sorted((DOCS / FIGURES).glob("*.json")):
        question(file.stem).plot(json.loads(file.read_text(encoding="utf-8"))["figures"], DOCS / PICTURES)
    for page in pages:
        page.write_text(filled(page.read_text(encoding="utf-8"), DOCS), encoding="utf-8", newline="\n")
        print(page.relative_to(ROOT))


def shown(page: str) -> set[str]:
    """The benchmarks whose figures a page shows."""
    return {name.partition(".")[0] for _, name, _ in _BLOCK.findall(page)} - {"goals"}


def measure(names: Sequence[str]) -> None:
    """Each in a process of its own; what it measured goes to docs/figures/."""
    (DOCS / FIGURES).mkdir(exist_ok=True)
    for number, name in enumerate(names, 1):
        print(f"{number} of {len(names)}: {name}", flush=True)
        file = DOCS / FIGURES / f"{name}.json"
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}", "--json", str(file)], check=True, cwd=ROOT)  # noqa: S603 - our own interpreter and modules


def filled(page: str, docs: Path) -> str:
    """The page, each of its blocks as the figures of this folder have it. Raises ValueError for an unknown block."""
    found = figures_of(docs)
    return _BLOCK.sub(lambda block: f"{block[1]}{told(block[2], found, docs).strip()}\n{block[3]}", page)


def figures_of(docs: Path) -> dict[str, Figures]:
    """What was measured, by the names of the benchmarks; with machine and time around it."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in (docs / FIGURES).glob("*.json")}


def told(block: str, found: dict[str, Figures], docs: Path) -> str:
    """What stands in this block."""
    if block == "goals":
        return goals({name: of["figures"] for name, of in found.items()})
    name, _, part = block.partition(".")
    if name not in found:
        return f"Not measured yet: `python -m benchmarks.pages --measure {name}`."
    of = found[name]
    if part:
        say: Callable[[Figures], str] = getattr(_module(name), part)
        return say(of["figures"])
    asked = question(name)
    pieces = [f"**{asked.asked}** {asked.answer(of['figures'])}", asked.table(of["figures"]), _where(of)]
    if (docs / PICTURES / f"{name}-light.svg").exists():
        pieces.insert(1, _picture(name, asked.asked))
    return "\n\n".join(pieces)


def question(name: str) -> Question:
    """The benchmark of this name; ValueError where there is none."""
    asked = getattr(_module(name), "QUESTION", None)
    if not isinstance(asked, Question):
        raise ValueError(f"{name} is no benchmark: benchmarks/{name}.py has no QUESTION")  # noqa: TRY004 - a name is wrong
    return asked


@cache
def _module(name: str) -> Any:
    return importlib.import_module(f"benchmarks.{name}")


def _picture(name: str, asked: str) -> str:
    sources = {ground: f"{PICTURES}/{name}-{ground}.svg" for ground in COLOURS}
    return (
        f'<picture><source media="(prefers-color-scheme: dark)" srcset="{sources["dark"]}">'
        f'<img alt="{asked}" src="{sources["light"]}"></picture>'
    )


def _where(of: Figures) -> str:
    machine = of["machine"]
    packages = [f"{name} {machine[name]}" for name in _TOLD_OF if name in machine]
    where = ", ".join([f"Python {machine['python']}", *packages, f"{machine['cores']} cores", str(machine["system"])])
    little = "A quick run, whose figures mean little. " if of["quick"] else ""
    return f"*{little}{where}.*"


if __name__ == "__main__":
    main()
