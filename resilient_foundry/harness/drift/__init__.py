"""Drift: what is otherwise in one server than in another, judged for a client that was built on the first."""

from resilient_foundry.harness.drift.comparison import compare, drift
from resilient_foundry.harness.drift.finding import Area, Drift, Finding, Grade
from resilient_foundry.harness.drift.timing import Times

__all__ = ["Area", "Drift", "Finding", "Grade", "Times", "compare", "drift"]
