"""A warning of ours points at the program that it is meant for."""

from __future__ import annotations

import inspect
import warnings


def warn(text: str) -> None:
    """Warn as from the first line of code that is not ours."""
    frame, level = inspect.currentframe(), 0
    while frame is not None and frame.f_globals.get("__name__", "").startswith("resilient_foundry."):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, RuntimeWarning, stacklevel=level + 1)
