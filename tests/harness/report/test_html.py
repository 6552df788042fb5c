"""The report for people, as it is written; how it looks and behaves is asked of a browser, beside this."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from urllib.parse import unquote

import pytest

from resilient_foundry.harness import Answer, BrokenError
from resilient_foundry.harness.evidence import COMPLETE, Chunk, Ended, Exchange, Request, Response
from resilient_foundry.harness.report.axis import axis
from resilient_foundry.harness.report.compared import Kind, Row, compared
from resilient_foundry.harness.report.html import page
from resilient_foundry.harness.report.sentences import Missed, missed
from resilient_foundry.harness.report.text import laid_out, of_body, visible
from resilient_foundry.harness.verdict import Outcome, Runtime, Verdict, Verification
from tests.harness.report.sample import (
    HOSTILE,
    REFUSED,
    answered,
    deviates,
    event,
    held,
    new,
    promise,
    streamed,
    verifications,
    whole,
    words,
)

_VOID = {"meta", "link", "input", "br"}


class Read(HTMLParser):
    """A page as its elements: tags, ids and addresses; notes what is not closed in its order."""

    def __init__(self, written: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.feed(written)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in {"href", "src", "action", "srcset", "poster"}:
                self.addresses.append(value or "")
            if name.startswith("on") or name == "style":
                self.handlers.append(name)
        if tag not in _VOID and not (self.get_starttag_text() or "").endswith("/>"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes something else"


def test_every_element_is_closed_and_every_link_leads_somewhere() -> None:
    """Each verdict, difference and contract has an address of its own, which can be sent to somebody."""
    read = Read(page(verifications()))
    assert not read.open
    assert len(read.ids) == len(set(read.ids))
    inside = {unquote(each[1:]) for each in read.addresses if each.startswith("#") and len(each) > 1}
    assert inside <= set(read.ids)
    assert {"errors.a_wrong_path@1.2.4", "errors.a_wrong_path@1.2.4~2.2.1", "errors.a_wrong_path@contract"} <= inside


def test_it_asks_for_nothing_else() -> None:
    """It works offline, in an attachment, and tells nobody who reads it."""
    read = Read(page(verifications()))
    elsewhere = [each for each in read.addresses if not each.startswith(("#", "data:"))]
    assert set(elsewhere) == {"https://github.com/microsoft/Foundry-Local/issues/383", f"https://{'x' * 160}.invalid"}
    assert not {"img", "iframe", "object", "embed", "base"} & set(read.tags)
    assert not read.handlers


def test_no_verification_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        page([])


def test_what_a_server_says_stays_text() -> None:
    """A server that is verified may be anybody's: bodies, headers, reasons, links and names are all its own."""
    body = {"error": HOSTILE}
    exchanges = [
        answered(500, body, headers=[("x-" + HOSTILE, HOSTILE)], path="/" + HOSTILE),
        streamed(
            words(HOSTILE), f"data: {HOSTILE}\n\nevent: {HOSTILE}\ndata: 1\n\n".encode(), how=HOSTILE, says=HOSTILE
        ),
        replace(answered(), response=None, ended=Ended(HOSTILE, 1, HOSTILE)),
    ]
    outcomes = (
        deviates("errors.link", HOSTILE, exchanges[:1], "javascript:alert(1)"),
        replace(held("errors.all", *exchanges), smallest=(HOSTILE,), reason=HOSTILE),
        Outcome(promise("errors." + HOSTILE, words=HOSTILE), Verdict.BROKEN, HOSTILE, tuple(exchanges)),
    )
    hostile = [Verification(Runtime(HOSTILE, version, HOSTILE), outcomes, HOSTILE) for version in ("1", HOSTILE)]
    read = Read(page(hostile))
    assert (read.tags.count("script"), read.tags.count("img"), read.handlers) == (1, 0, [])
    assert not [each for each in read.addresses if not each.startswith(("#", "data:"))]


def test_no_character_hides() -> None:
    """Bytes that no page can hold, and characters that turn a line round, are written as their escapes."""
    assert visible("a\x00b\u202ec\ud800d\u200be\n\tf") == "a\\u0000b\\u202ec\\ud800d\\u200be\n\tf"
    outcome = held(
        "a.b", answered(200, b'{"a": "\\ud800", "b": "\xe2\x80\xae"}'), answered(200, b"\x00\xff\xed\xa0\x80")
    )
    written = page([Verification(Runtime("p", "1"), (outcome, replace(outcome, reason="\ud800")), "live")])
    assert "\\u202e" in written.encode().decode()


def test_only_its_own_script_and_style_are_allowed() -> None:
    """The policy names them by their hashes, so nothing that gets in can run; the browser checks that it fits."""
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page([new()]))
    assert policy is not None
    assert "default-src &#39;none&#39;" in policy[1]
    assert "unsafe" not in policy[1]


def test_says_first_how_every_runtime_stands() -> None:
    """MUST first, worst first."""
    written = page(verifications())
    assert "A MUST is broken on 1.2.4." in written
    cards = re.findall(r'<article class="card (\S+)">.*?<span>([^<]*)</span></p>', written, re.DOTALL)
    assert cards == [("broken", "1 MUST is broken"), ("held", "Every MUST holds"), ("held", "Every MUST holds")]
    levels = re.findall(r'<b class="level">(\w+)</b>', written)
    assert levels == ["MUST", "SHOULD", "MAY"] * 3


@pytest.mark.parametrize(
    ("outcomes", "headline"),
    [
        ((held("a.b"),), "Every MUST holds."),
        (
            (held("a.b"), deviates("a.c", "It does.", [answered(500)], "")),
            "Every MUST holds, but for known deviations.",
        ),
        (
            (held("a.b"), Outcome(promise("a.c"), Verdict.FIXED)),
            "No MUST is broken, and the ledger or the tapes are out of date.",
        ),
        ((Outcome(promise("a.c"), Verdict.NOT_EXERCISED),), "No MUST was exercised."),
        ((held("a.b"), Outcome(promise("a.c"), Verdict.NOT_EXERCISED)), "Every MUST that was exercised holds."),
    ],
)
def test_the_headline_says_what_matters(outcomes: tuple[Outcome, ...], headline: str) -> None:
    assert headline in page([Verification(Runtime("p", "1"), outcomes, "live")])


def test_a_bar_shows_the_one_that_broke_among_hundreds() -> None:
    """It is what somebody looks for."""
    outcomes = (*(held(f"a.b{n}") for n in range(400)), Outcome(promise("a.c"), Verdict.BROKEN, "It is."))
    written = page([Verification(Runtime("p", "1"), outcomes, "live")])
    parts = re.findall(r'<rect class="(held|broken)" x="([\d.]+)" width="([\d.]+)"', written)
    assert [name for name, _, _ in parts] == ["held", "broken"]
    assert float(parts[1][2]) > 1.5
    assert sum(float(width) for _, _, width in parts) == pytest.approx(100, abs=0.1)


def test_the_same_runtime_may_be_asked_in_two_ways() -> None:
    """Its tape and the live server stand side by side."""
    written = page([new(), replace(new(), way="live"), replace(new(), way="live")])
    assert all(f"</span> 2.2.1 {way}</th>" in written for way in ("tapes", "live"))
    assert len(set(Read(written).ids)) == len(Read(written).ids)


def test_a_contract_that_one_runtime_was_not_asked_has_an_empty_cell() -> None:
    assert page(verifications()).count(">not asked<") == 6


def test_the_exchange_that_broke_it_is_marked() -> None:
    """The second of two, and it is open; the first is closed."""
    panel = panels(page(verifications()))["errors.a_wrong_path@1.2.4"]
    first, second = panel.split('<details class="exchange')[1:]
    assert ("it broke here" in first, "it broke here" in second) == (False, True)
    assert (first.startswith('"'), second.startswith(' culprit" open')) == (True, True)


def test_an_exchange_that_was_looked_at_before_its_end_is_found_all_the_same() -> None:
    """A contract may break in mid-stream; what is kept is the whole stream."""
    seen = streamed(*whole())
    assert seen.response is not None
    then = replace(seen, response=replace(seen.response, chunks=seen.response.chunks[:2]), ended=Ended("abandoned", 9))
    outcome = Outcome(promise("a.b"), Verdict.BROKEN, "It stops.", (answered(), seen), then)
    written = page([Verification(Runtime("p", "1"), (outcome,), "live")])
    assert "it broke here" in panels(written)["a.b@1"].split('<details class="exchange')[2]


def panels(written: str) -> dict[str, str]:
    """The pieces of evidence by their names."""
    return dict(
        re.findall(r'<section class="panel" id="([^"]*)">(.*?)(?=<section class="panel"|<footer>)', written, re.DOTALL)
    )


def broken_by(answer: Answer, check: str) -> str:
    """The sentence of a check that fails."""
    checks = {
        "status": lambda: answer.status(404, 400),
        "shape": lambda: answer.has({"object": "list", "data": [], "id": str}),
        "media": lambda: answer.media("text/plain"),
        "ended": lambda: answer.ended("ReadTimeout"),
        "else": lambda: answer.holds(condition=False, message="nothing fits"),
    }
    with pytest.raises(BrokenError) as error:
        checks[check]()
    return str(error.value)


def test_what_was_expected_stands_beside_what_came() -> None:
    """Out of the sentences of real checks; a sentence of another kind has no such table and loses nothing."""
    answer = Answer(answered(200, {"object": "lost", "data": "a, not b"}))
    assert missed(broken_by(answer, "status")) == (Missed("the status", "404 or 400", "200"),)
    assert missed(broken_by(answer, "media")) == (Missed("the media type", "text/plain", "application/json"),)
    assert missed(broken_by(answer, "ended")) == (Missed("the exchange", "ReadTimeout", "complete"),)
    assert missed(broken_by(answer, "shape")) == (
        Missed("$.object", "'list'", "'lost'"),
        Missed("$.data", "an array", "'a, not b'"),
        Missed("$", "a member 'id'", "missing"),
    )
    assert missed(broken_by(answer, "else")) == ()


def rows(first: Exchange, second: Exchange) -> list[Row]:
    """The differences of two exchanges that are more than another value."""
    (step,) = compared([first], [second])
    return list(step.rows)


def test_a_difference_names_what_is_there_on_one_side_only() -> None:
    """Of what stands in it nothing more is said."""
    first, second = answered(200, {"a": {"b": {"c": 1}}, "d": 1}), answered(200, {"d": "1", "e": None})
    assert rows(first, second) == [
        Row("$.a", Kind.FIRST, "object", "missing"),
        Row("$.d", Kind.OTHERWISE, "1", '"1"'),
        Row("$.e", Kind.SECOND, "missing", "null"),
    ]


def test_a_header_that_came_twice_is_a_difference() -> None:
    twice = streamed(*whole(), headers=[("content-type", "text/event-stream")])
    assert rows(streamed(*whole()), twice) == [
        Row("header content-type", Kind.OTHERWISE, "text/event-stream", "text/event-stream · 2 times")
    ]


def test_another_value_of_the_same_kind_is_set_apart() -> None:
    """Ids and times always differ; who looks for what broke does not want to read them."""
    (step,) = compared([answered(200, {"id": "a"})], [answered(200, {"id": "b"})])
    assert (step.rows, step.values) == ((), (Row("$.id", Kind.VALUE, '"a"', '"b"'),))


def test_streams_are_compared_by_order_and_by_how_often_a_field_is_there() -> None:
    """As with 1.x, which sends usage in every event."""
    always = streamed(*whole(3, usage={"total": 3}))
    once = streamed(*whole(3)[:-1], event(choices=[], usage={"total": 3}), b"data: [DONE]\n\n")
    found = rows(always, once)
    assert found[0].place == "order of events"
    assert found[0].second == "content ×3 · finish · usage · done"  # noqa: RUF001 - the sign for times
    assert Row("event.usage", Kind.OTHERWISE, "object in each of 4 events", "object in 1 of 5 events") in found


def test_an_exchange_that_one_side_did_not_come_to_is_said() -> None:
    """It broke before."""
    _, step = compared([answered()], [answered(), answered(404, REFUSED)])
    assert step.rows == (Row("the exchange", Kind.SECOND, "not asked", "404 Not Found, complete"),)


def test_no_answer_is_a_difference() -> None:
    lost = replace(answered(), response=None, ended=Ended("ConnectError", 0.1, "refused"))
    assert rows(answered(), lost) == [Row("answer", Kind.OTHERWISE, "200 OK, complete", "ConnectError (refused)")]


def test_json_is_laid_out_and_its_tokens_stay() -> None:
    """How a server writes a number or a letter is evidence, and so is a member that comes twice."""
    assert laid_out('{"a":1.0,"a":"\\u00e9","b":[]}') == '{ "a": 1.0, "a": "\\u00e9", "b": [] }'
    assert laid_out('{"a":[1,2],"b":{"c":"d"}}', width=12) == '{\n  "a": [1, 2],\n  "b": {\n    "c": "d"\n  }\n}'
    assert laid_out('{"a":') is None
    assert laid_out("[" * 100 + "]" * 100) is None
    assert laid_out("[" * 100_000 + "]" * 100_000) is None


def test_a_long_body_is_cut_and_the_page_says_so() -> None:
    assert of_body(b"x" * 10_000, 100).left_out == 9_900
    written = page([Verification(Runtime("p", "1"), (held("a.b", answered(200, b"x" * 50_000)),), "live")])
    assert "46,000 more characters are left out here." in written


def test_a_long_stream_is_cut_and_the_page_says_so() -> None:
    """The order is that of all events."""
    written = page([Verification(Runtime("p", "1"), (held("a.b", streamed(*whole(500))),), "live")])
    assert "486 events in between are left out here" in written
    assert "content ×500 · finish · done" in written  # noqa: RUF001 - the sign for times


def test_many_exchanges_are_cut_but_not_the_one_that_broke() -> None:
    culprit = answered(500, {"a": "culprit"})
    outcome = Outcome(promise("a.b"), Verdict.BROKEN, "It is.", (*[answered()] * 40, culprit), culprit)
    written = page([Verification(Runtime("p", "1"), (outcome,), "live")])
    assert "17 more exchanges are left out here." in written
    assert written.count("it broke here") == 1


def test_the_axis_draws_a_long_silence_short_and_says_how_long() -> None:
    """A server that thinks for seconds and then talks fast would show one line at the end otherwise."""
    chunks = tuple(Chunk(5 + place / 100, words("a")) for place in range(20))
    response = Response(200, (("content-type", "text/event-stream"),), 0.01, chunks)
    drawn = axis(Exchange(Request("POST", "/"), response, Ended(COMPLETE, 5.2)), response)
    assert [each.label for each in drawn.gaps] == ["4.99 s"]
    places = [float(each.x.rstrip("%")) for each in drawn.moments]
    assert places == sorted(places)
    assert places[-1] - places[0] > 70
    assert len({tick.x for tick in drawn.ticks}) >= 3


@pytest.mark.parametrize(("how", "mark"), [("complete", "complete"), ("abandoned", "left"), ("ReadTimeout", "cut")])
def test_the_axis_shows_how_it_ended(how: str, mark: str) -> None:
    exchange = streamed(*whole(), how=how)
    assert exchange.response is not None
    assert axis(exchange, exchange.response).how == mark


def test_an_axis_of_no_time_at_all_is_drawn() -> None:
    """A tape by plain vcrpy has no times."""
    response = Response(200, (("content-type", "text/event-stream"),), 0.0, (Chunk(0.0, b"".join(whole())),))
    drawn = axis(Exchange(Request("POST", "/"), response), response)
    assert len(drawn.moments) == 8
    assert len({(each.row, each.aside) for each in drawn.moments}) == 8


def test_events_too_large_to_read_are_said() -> None:
    response = Response(200, (("content-type", "text/event-stream"),), 0.0, (Chunk(0.0, b"data: " + b"x" * 2_000_000),))
    assert "larger than" in axis(Exchange(Request("POST", "/"), response), response).trouble


def test_evidence_that_occurs_twice_is_written_once() -> None:
    """Runtimes mostly answer alike, and a page of hundreds of contracts has to open at once."""
    body = {"words": ["unmistakable" * 20]}
    both = [Verification(Runtime("p", version), (held("a.b", answered(200, body)),), "live") for version in "12"]
    assert page(both).count("unmistakable" * 20) == 1


def test_a_verdict_costs_a_few_kilobytes() -> None:
    """150 contracts with three runtimes stay below 3 MB: 6.7 kB for each verdict."""
    many = [
        replace(each, outcomes=tuple(numbered(one, n) for n in range(20) for one in each.outcomes))
        for each in verifications()
    ]
    verdicts = sum(len(each.outcomes) for each in many)
    assert len(page(many).encode()) / verdicts < 6_700


def numbered(outcome: Outcome, number: int) -> Outcome:
    """The same outcome of another contract."""
    return replace(outcome, contract=replace(outcome.contract, name=f"{outcome.contract.name}_{number}"))
