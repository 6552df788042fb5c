"""The real Foundry Local in a process of its own: with models that are made here, or with one from its catalogue."""

from resilient_foundry.foundry.runtime.builtin import (
    BREAKING,
    BUILTIN_MODELS,
    EMBEDDING,
    EMPTY,
    ENDLESS,
    JSON_TEXT,
    NOT_DOWNLOADED,
    RESILIENCE,
    SLOW,
    SPLIT_UTF8,
    THINKING,
    TOOL_CALL,
    TWO_TOOL_CALLS,
)
from resilient_foundry.foundry.runtime.graph import Ending
from resilient_foundry.foundry.runtime.local import LocalRuntime
from resilient_foundry.foundry.runtime.model import BuiltinModel, octets, words
from resilient_foundry.foundry.runtime.process import RuntimeStartError, ServedModel

__all__ = [
    "BREAKING",
    "BUILTIN_MODELS",
    "EMBEDDING",
    "EMPTY",
    "ENDLESS",
    "JSON_TEXT",
    "NOT_DOWNLOADED",
    "RESILIENCE",
    "SLOW",
    "SPLIT_UTF8",
    "THINKING",
    "TOOL_CALL",
    "TWO_TOOL_CALLS",
    "BuiltinModel",
    "Ending",
    "LocalRuntime",
    "RuntimeStartError",
    "ServedModel",
    "octets",
    "words",
]
