"""Ours keeps every rule, and docs/sse-decoders.md is true of the others."""

from __future__ import annotations

import pytest

from tests.documents import tables
from tests.sse.decoders import OURS, PEERS, Peer
from tests.sse.page import COMMAND, HELD, column, heading
from tests.sse.rules import RULES, Finding, Rule, findings
from tests.test_sse import literal

WRITTEN = tables("sse-decoders.md")


@pytest.mark.parametrize("finding", findings(OURS), ids=lambda finding: finding.says)
def test_ours_keeps_the_rule(finding: Finding) -> None:
    """However the stream is cut."""
    assert finding.instead == ""


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.says)
def test_what_the_table_expects_is_what_the_text_says(rule: Rule) -> None:
    """The table was written by hand; a slow and literal reading of the text comes to the same."""
    assert literal(rule.stream) == list(rule.events)


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.package)
def test_the_page_says_what_the_decoder_does(peer: Peer) -> None:
    """Of the version that was compared; another one may do otherwise, and then the page is to be written anew."""
    place = PEERS.index(peer) + 1
    if WRITTEN[0][place] != heading(peer):
        pytest.skip(f"the page is about {WRITTEN[0][place]}, not {heading(peer)}; `{COMMAND}` writes it anew")
    assert [row[place] for row in WRITTEN[2:-1]] == column(peer), f"`{COMMAND}` writes the page anew"


def test_the_page_has_every_rule() -> None:
    """In the order of the rules, one row each."""
    assert [row[0] for row in WRITTEN[2:-1]] == [each.says for each in findings(OURS)]


def test_each_of_the_others_departs_from_some_rule() -> None:
    """A comparison in which everything is kept by everybody would show nothing."""
    for place, peer in enumerate(PEERS[1:], start=2):
        assert any(row[place] != HELD for row in WRITTEN[2:-1]), peer.name
