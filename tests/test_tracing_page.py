"""The page about tracing: its example runs, and it names what is told."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any

from resilient_foundry.telemetry.names import STABLE
from tests.documents import HERE

PAGE = (HERE / "docs" / "tracing.md").read_text(encoding="utf-8")


def test_the_trace_contract_of_the_page_holds() -> None:
    """It fails by itself where it does not."""
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(blocks[-1], "docs/tracing.md", "exec"), names)  # noqa: S102 - our own page
    assert names["exporter"].get_finished_spans()


def test_every_metric_and_every_attribute_of_calls_and_attempts_is_on_the_page() -> None:
    """By its last words, since the page writes what several have in common once."""
    ours = {"outcome", "attempts", "total_delay", "deadline", "deadline_remaining", "attempt_number", "attempt_outcome"}
    ours |= {
        "stream_completed",
        "stream_chunks",
        "stream_bytes",
        "time_to_headers",
        "time_to_first_event",
        "hedge",
        "aside",
    }
    metrics = {"request_duration", "operation_duration", "operation_first_chunk", "operation_per_chunk", "token_usage"}
    metrics |= {"call_duration", "call_attempts", "retry_delay", "rejections", "timeouts", "hedges", "circuit_state"}
    wanted = {each.name: str(getattr(STABLE, each.name)) for each in fields(STABLE) if each.name in ours | metrics}
    assert len(wanted) == len(ours | metrics)
    missing = [name for name in wanted.values() if name.rpartition(".")[2] not in PAGE]
    assert missing == []
