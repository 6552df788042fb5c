"""Stacks over doubles: which library and colour those belong to is decided when they run, and no checker can know."""

from typing import Any

from resilient_foundry import Stack


def over(stack: Stack, double: Any) -> Any:
    """The stack over a scripted transport."""
    put: Any = stack
    return put.over(double)
