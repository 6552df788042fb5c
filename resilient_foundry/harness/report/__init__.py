"""Reports: what was verified, for programs (JSON), for build servers (JUnit), for people (HTML, Markdown, terminal)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from resilient_foundry.harness.report import html, json, junit, markdown
from resilient_foundry.harness.verdict import Verification

__all__ = ["FORMATS", "Format", "formats", "write"]

Verifications = Sequence[Verification]


@dataclass(frozen=True, slots=True)
class Format:
    """A form of report: the file that it is written to, and what writes it."""

    file: str
    written: Callable[[Verifications], str]


FORMATS: Final[Mapping[str, Format]] = {
    "html": Format("contracts.html", html.page),
    "junit": Format("contracts.xml", junit.written),
    "json": Format("contracts.json", json.written),
    "md": Format("contracts.md", markdown.written),
}
"""By the name that asks for it."""


def formats(names: Iterable[str]) -> tuple[Format, ...]:
    """The forms with these names, each of which may be several with commas between; `ValueError` for one unknown."""
    asked = [name.strip() for each in names for name in each.split(",")]
    for name in asked:
        if name not in FORMATS:
            raise ValueError(f"there is no report {name!r}; it takes {', '.join(FORMATS)}")
    return tuple(FORMATS[name] for name in dict.fromkeys(asked))


def write(verifications: Verifications, wanted: Iterable[Format], folder: Path) -> tuple[Path, ...]:
    """Write the reports into a folder, which is made where it is missing; the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    for form in wanted:
        file = folder / form.file
        file.write_text(form.written(verifications), "utf-8", newline="\n")
        files.append(file)
    return tuple(files)
