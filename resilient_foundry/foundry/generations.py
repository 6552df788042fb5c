"""The three generations of Foundry Local, told apart by what they say about themselves."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class Generation(Enum):
    """Which server is on the other side: they take different names, refuse different things and fail differently."""

    ZERO = "0.x"
    """The service behind the `foundry` command up to 0.9. Recognised, not spoken to."""

    ONE = "1.x"
    """The web service of foundry-local-sdk 1.x (Kestrel)."""

    TWO = "2.x"
    """The web service of foundry-local-sdk 2.x (oatpp)."""


def generation_of(status: Mapping[str, object]) -> Generation | None:
    """The generation that answers GET /status with this object; None if it is no Foundry Local."""
    if "modelCachePath" in status:
        return Generation.TWO
    if "modelDirPath" in status:
        return Generation.ONE
    return None
