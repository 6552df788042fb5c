"""What servers are known to do otherwise than they ought to: data, read by the contracts and by the client.

The lines stand in deviations.toml. A contract that a line says is broken must be broken, so that no line outlives its
reason; and what the client does about it hangs on the line, so that it tolerates nothing which is not written there.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from importlib import resources
from typing import Any, Final

from packaging.specifiers import SpecifierSet

from resilient_foundry.foundry.generations import Generation

MEASURED: Final[Mapping[Generation, tuple[str, ...]]] = {
    Generation.ONE: ("1.2.4",),
    Generation.TWO: ("2.0.1", "2.2.1"),
}
"""The versions that were seen, the latest last. A server says its generation only, so the client is ready for any."""


class Tolerance(Enum):
    """What the client does about a deviation."""

    REFUSE = "refuse"
    """Refuse `parameters` that the server would not heed, unless the caller is not strict."""
    PART_THOUGHTS = "part thoughts"
    """Take what stands between `<think>` and `</think>` out of the text."""
    PART_CALLS = "part calls"
    """Take the markup of tool calls that were parsed out of the text."""
    UNWRAP_SCHEMAS = "unwrap schemas"
    """Send the bare schema, without OpenAI's wrapper around it."""
    NAME_THE_CAP = "name the cap"
    """Say that the default cap ended an answer where the server says that it ended by itself."""
    ASK_CALLS_WHOLE = "ask calls whole"
    """Ask without streaming where tools are given, because calls are streamed as text."""
    LOOK_BEFORE_STREAMING = "look before streaming"
    """See that the model is loaded first, and look for the cause afterwards: a stream that fails is merely cut."""
    LOOK_BEFORE_LOADING = "look before loading"
    """See what is loaded and what is on the disk first: a load that fails says nothing."""
    LOAD_BY_ALIAS = "load by alias"
    """Find the alias of a model, load and unload by that, and learn which id it came to."""
    EMBED_BY_NAME = "embed by name"
    """Ask for embeddings only of models whose name says that they embed: others kill the server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deviation:
    """One line: which contract these versions do not keep, why, and where that can be read.

    `versions` are as PEP 440 writes them. `tolerance` is what the client does about it, if it does something;
    `parameters` are the parameters of a chat that are meant by it.
    """

    contract: str
    versions: SpecifierSet
    reason: str
    link: str
    tolerance: Tolerance | None = None
    parameters: tuple[str, ...] = ()

    def covers(self, contract: str, version: str) -> bool:
        """Whether it is about this contract and this version."""
        return contract == self.contract and self.versions.contains(version, prereleases=True)

    def concerns(self, generation: Generation) -> bool:
        """Whether it is about any version of this generation that was seen."""
        return any(self.versions.contains(version) for version in MEASURED.get(generation, ()))


@cache
def deviations() -> tuple[Deviation, ...]:
    """All lines."""
    return read(resources.files("resilient_foundry.foundry").joinpath("deviations.toml").read_text("utf-8"))


def read(text: str) -> tuple[Deviation, ...]:
    """The lines of a ledger; raises `ValueError` for a line that can't be understood."""
    lines: Iterable[Mapping[str, Any]] = tomllib.loads(text).get("deviation", ())
    return tuple(map(_deviation, lines))


@cache
def tolerances(generation: Generation) -> frozenset[Tolerance]:
    """What the client does about servers of this generation."""
    return frozenset(
        line.tolerance for line in deviations() if line.tolerance is not None and line.concerns(generation)
    )


def tolerates(generation: Generation, tolerance: Tolerance) -> bool:
    """Whether the client does this about servers of this generation."""
    return tolerance in tolerances(generation)


@cache
def refused(generation: Generation) -> tuple[str, ...]:
    """The parameters of a chat that the latest seen server of this generation does not heed, in order."""
    latest = MEASURED[generation][-1]
    lines = [line for line in deviations() if line.tolerance is Tolerance.REFUSE and line.versions.contains(latest)]
    return tuple(sorted({parameter for line in lines for parameter in line.parameters}))


def _deviation(line: Mapping[str, Any]) -> Deviation:
    unknown = sorted(line.keys() - {"contract", "versions", "reason", "link", "tolerance", "parameters"})
    if unknown:
        raise ValueError(f"the deviation from {line.get('contract')!r} has a key {unknown[0]!r}, which says nothing")
    try:
        return Deviation(
            contract=line["contract"],
            versions=SpecifierSet(line["versions"]),
            reason=line["reason"],
            link=line["link"],
            tolerance=Tolerance(line["tolerance"]) if "tolerance" in line else None,
            parameters=tuple(line.get("parameters", ())),
        )
    except KeyError as error:
        raise ValueError(f"the deviation from {line.get('contract')!r} has no {error.args[0]!r}") from error
