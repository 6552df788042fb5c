"""What every benchmark has in common: a question, figures, one sentence, and pictures.

    QUESTION = Question("pool_sweep", "Which pool?", measure=..., answer=..., table=..., draw=...)

    if __name__ == "__main__":
        QUESTION.main()

    python -m benchmarks.pool_sweep [--quick] [--json FILE] [--plots FOLDER] [--of FILE]

`--of` tells about figures that were measured before, and measures nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from resilient_foundry._extras import require

_TOLD_OF = ("resilient-foundry", "httpx", "httpcore", "httpx2", "httpcore2", "stamina", "pybreaker", "anyio", "openai")
COLOURS = {
    "light": {"text": "#1b1f24", "line": "#c9d1d9", "ground": "#ffffff"},
    "dark": {"text": "#e6edf3", "line": "#3d444d", "ground": "#0d1117"},
}
"""Of pictures, for pages that are light, and pages that are dark."""
LINES = ("#3b82d6", "#e0703a", "#2fa36b", "#b05cc8", "#c9a227", "#d14d72", "#2aa5b3", "#8a8f98")
"""Of lines and bars: to be told apart on both grounds, in this order."""

Figures = dict[str, Any]
"""What was measured, as JSON has it."""


@dataclass(frozen=True, slots=True)
class Question:
    """One benchmark."""

    name: str
    """That of its module."""
    asked: str
    """The question, in a sentence."""
    measure: Callable[[bool], Figures]
    """Measures; quickly, if so asked: within some twenty seconds, to see that it works rather than what comes of it."""
    answer: Callable[[Figures], str]
    """The answer, in one sentence with a number in it."""
    table: Callable[[Figures], str]
    """For people who want to know more; Markdown."""
    draw: Callable[[Figures, Any, Mapping[str, str]], None] | None = None
    """Draws on a matplotlib Figure, in these colours (`text`, `line`, `ground`)."""
    size: tuple[float, float] = (9.0, 5.0)
    """Of the picture, in inches."""

    def main(self, arguments: Sequence[str] | None = None) -> None:
        """The benchmark as a command."""
        parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{self.name}", description=self.asked)
        parser.add_argument("--quick", action="store_true", help="see that it works; what it says means little")
        parser.add_argument("--json", type=Path, metavar="FILE", help="write what was measured there; - prints it")
        parser.add_argument("--plots", type=Path, metavar="FOLDER", help="draw there, light and dark; extra `bench`")
        parser.add_argument("--of", type=Path, metavar="FILE", help="tell about these figures, and measure nothing")
        asked = parser.parse_args(arguments)
        if asked.plots:
            require("matplotlib.figure", extra="bench")  # before anything is measured
        found = json.loads(asked.of.read_text(encoding="utf-8")) if asked.of else self.found(quick=asked.quick)
        if asked.json and str(asked.json) != "-":
            asked.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        if asked.json and str(asked.json) == "-":
            print(json.dumps(found))
        else:
            print(f"{self.asked}\n{self.answer(found['figures'])}\n\n{self.table(found['figures'])}")
        if asked.plots:
            self.plot(found["figures"], asked.plots)

    def found(self, *, quick: bool) -> Figures:
        """Measure, and say where and when."""
        began = time.monotonic()
        figures = self.measure(quick)
        return {
            "question": self.name,
            "quick": quick,
            "seconds": round(time.monotonic() - began, 1),
            "machine": machine(),
            "answer": self.answer(figures),
            "figures": figures,
        }

    def plot(self, figures: Figures, folder: Path) -> list[Path]:
        """Draw NAME-light.svg and NAME-dark.svg; gives where they are."""
        if self.draw is None:
            return []
        folder.mkdir(parents=True, exist_ok=True)
        made: list[Path] = []
        matplotlib: Any = require("matplotlib", extra="bench")
        canvas: Any = require("matplotlib.figure", extra="bench")
        for ground, colours in COLOURS.items():
            with matplotlib.rc_context(_style(colours)):
                figure: Any = canvas.Figure(figsize=self.size, layout="constrained")
                self.draw(figures, figure, colours)
                made.append(folder / f"{self.name}-{ground}.svg")
                figure.savefig(made[-1], metadata={"Date": None})
        return made


def machine() -> dict[str, str | int]:
    """What the figures were measured on."""
    told: dict[str, str | int] = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count() or 0,
        "commit": _commit(),
    }
    for name in _TOLD_OF:
        try:
            told[name] = version(name)
        except PackageNotFoundError:
            continue
    return told


def _commit() -> str:
    try:
        ran = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],  # noqa: S607 - whichever git there is
            capture_output=True,
            text=True,
            check=False,
            cwd=Path(__file__).parent,
        )
    except OSError:
        return ""
    return ran.stdout.strip()


def _style(colours: Mapping[str, str]) -> dict[str, Any]:
    matplotlib: Any = sys.modules["matplotlib"]
    text, line, ground = colours["text"], colours["line"], colours["ground"]
    return {
        "figure.facecolor": ground,
        "axes.facecolor": ground,
        "savefig.facecolor": ground,
        "axes.edgecolor": line,
        "axes.labelcolor": text,
        "axes.titlecolor": text,
        "axes.titlesize": 11,
        "axes.grid": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "grid.color": line,
        "grid.linewidth": 0.5,
        "text.color": text,
        "xtick.color": text,
        "ytick.color": text,
        "legend.frameon": False,
        "legend.fontsize": 9,
        "font.size": 10,
        "svg.fonttype": "none",
        "svg.hashsalt": "benchmarks",  # the same figures give the same file
        "axes.prop_cycle": matplotlib.cycler(color=LINES),
    }
