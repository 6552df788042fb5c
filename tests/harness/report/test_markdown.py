"""The report for a summary of a build."""

from __future__ import annotations

from resilient_foundry.harness import SHOULD
from resilient_foundry.harness.report.markdown import written
from resilient_foundry.harness.verdict import Verdict
from tests.harness.subjects import outcome, verification


def test_it_is_a_table_and_a_line_for_each_contract_to_look_at() -> None:
    """Failures first."""
    report = written(
        [
            verification(
                outcome(name="chat.holds"),
                outcome(Verdict.BROKEN, name="chat.breaks", level=SHOULD, why="It is otherwise."),
                outcome(Verdict.DEVIATES, name="models.deviates", why="It does not."),
                outcome(Verdict.BROKEN, name="models.breaks", why="It is otherwise."),
            )
        ]
    )
    assert report == (
        "## foundry-local 2.2.1 (live)\n\n"
        "Of 4 contracts foundry-local 2.2.1 (live) breaks 1 that it must keep.\n\n"
        "| area | held | broken | deviates |\n"
        "| --- | ---: | ---: | ---: |\n"
        "| chat | 1 | 1 |  |\n"
        "| models |  | 1 | 1 |\n"
        "| all | 1 | 2 | 1 |\n\n"
        "- **broken** MUST `models.breaks`: It is otherwise.\n"
        "- **broken** SHOULD `chat.breaks`: It is otherwise.\n"
        "- **deviates** MUST `models.deviates`: It does not. ([seen here](https://example.org/1))\n\n"
    )


def test_what_a_server_said_is_no_markup() -> None:
    report = written([verification(outcome(Verdict.BROKEN, why="| a\n\n# <b> `c` *d* [e](f)"))])
    assert r": \| a \# \<b\> \`c\` \*d\* \[e\](f)" in report
