"""What servers are known to do otherwise than they ought to: data, read by the contracts and by the client.

The lines stand in deviations.toml. A contract that a line says is broken must be broken, so that no line outlives its
reason; a line that names a tolerance has the client cope with it.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

from packaging.specifiers import SpecifierSet


@dataclass(frozen=True, slots=True, kw_only=True)
class Deviation:
    """One line: which contract these versions do not keep, why, and where that can be read.

    `versions` are as PEP 440 writes them.
    """

    contract: str
    versions: SpecifierSet
    reason: str
    link: str

    def covers(self, contract: str, version: str) -> bool:
        """Whether it is about this contract and this version."""
        return contract == self.contract and self.versions.contains(version, prereleases=True)


@cache
def deviations() -> tuple[Deviation, ...]:
    """All lines."""
    text = resources.files("resilient_foundry.foundry").joinpath("deviations.toml").read_text("utf-8")
    return tuple(
        Deviation(
            contract=line["contract"],
            versions=SpecifierSet(line["versions"]),
            reason=line["reason"],
            link=line["link"],
        )
        for line in tomllib.loads(text).get("deviation", ())
    )
