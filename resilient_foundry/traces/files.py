"""The spans in a file, whoever wrote it: an exporter, the collector, or Jaeger."""

from __future__ import annotations

import json
from typing import Any, cast

from resilient_foundry.traces.jaeger_json import is_jaeger_json, spans_of_jaeger_json
from resilient_foundry.traces.otlp import from_otlp_json, spans_of_otlp
from resilient_foundry.traces.tree import Span


def from_json(text: str | bytes) -> list[Span]:
    """The spans in OTLP JSON, in what Jaeger's UI saves, or in what its API answers.

    ValueError says in one sentence what is not as it must be, and where.
    """
    try:
        found: Any = json.loads(text)
    except (RecursionError, ValueError):  # lines of documents, or nothing that is known: who reads it says what
        return from_otlp_json(text)
    if is_jaeger_json(found):
        return spans_of_jaeger_json(found)
    document = cast("dict[str, object]", found) if isinstance(found, dict) else {}
    if isinstance(document.get("result"), dict):
        return spans_of_otlp(document["result"])
    return from_otlp_json(text)
