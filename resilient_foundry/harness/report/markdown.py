"""The report for a summary of a build: Markdown, the counts as a table and a line for each contract to look at."""

from __future__ import annotations

import re
from collections.abc import Sequence

from resilient_foundry.harness.report.summary import conclusion, counts, worth_saying
from resilient_foundry.harness.report.text import visible
from resilient_foundry.harness.verdict import Outcome, Verification

_SPECIAL = re.compile(r"([\\`*_\[\]<>|#])")


def written(verifications: Sequence[Verification]) -> str:
    """The report as text."""
    return "\n".join(line for each in verifications for line in _lines(each)) + "\n"


def _lines(verification: Verification) -> list[str]:
    verdicts, rows = counts(verification)
    said = worth_saying(verification)
    return [
        f"## {verification.runtime} ({verification.way})",
        "",
        _escaped(conclusion(verification)),
        "",
        _row(["area", *(verdict.value for verdict in verdicts)]),
        _row(["---", *("---:" for _ in verdicts)]),
        *(_row([_escaped(area), *(str(number or "") for number in numbers)]) for area, numbers in rows),
        "",
        *(_item(each) for each in said),
        *([""] if said else []),
    ]


def _item(outcome: Outcome) -> str:
    link = f" ([seen here]({outcome.deviation.link}))" if outcome.deviation else ""
    contract = outcome.contract
    return f"- **{outcome.verdict.value}** {contract.level.value} `{contract.name}`: {_escaped(outcome.reason)}{link}"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    """Text on one line that Markdown takes for nothing else."""
    return _SPECIAL.sub(r"\\\1", " ".join(visible(text).split()))
