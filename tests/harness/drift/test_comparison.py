"""Each kind of difference, and how bad it is for a client of the first server."""

from __future__ import annotations

from dataclasses import replace

import pytest
from packaging.specifiers import SpecifierSet

from resilient_foundry.foundry.deviations import Deviation
from resilient_foundry.harness.contract import MAY, MUST, SHOULD, Level
from resilient_foundry.harness.drift import Area, Grade, compare
from resilient_foundry.harness.evidence import ABANDONED, Ended, Exchange, Request
from resilient_foundry.harness.verdict import Verdict, Verification
from tests.harness.drift.sides import CUT, EVENTS, JSON, answered, content, drifted, finish, said, side, streamed

ERROR = {"error": {"message": "no", "type": "server_error"}}


@pytest.mark.parametrize(("level", "grade"), [(MUST, "breaking"), (SHOULD, "suspicious"), (MAY, "compatible")])
def test_a_promise_that_is_no_longer_kept_is_as_bad_as_its_level(level: Level, grade: str) -> None:
    found = compare(side(answered({}), level=level), side(answered({}), level=level, verdict=Verdict.DEVIATES))
    assert said(found.findings) == [(grade, f"no longer kept ({level.value}): It answers.")]


def test_a_promise_that_is_kept_at_last_breaks_nobody() -> None:
    found = compare(side(answered({}), verdict=Verdict.BROKEN), side(answered({})))
    assert said(found.findings) == [("compatible", "kept, and was not before")]


def test_what_one_side_could_not_be_asked_is_counted_and_not_compared() -> None:
    """A live server has fewer models than a tape; that is no drift."""
    found = compare(side(answered({"a": 1})), side((), verdict=Verdict.NOT_EXERCISED))
    assert (found.findings, found.compared, found.left_out) == ((), 0, 1)


@pytest.mark.parametrize(("ledger", "grade"), [("the same line", Grade.COMPATIBLE), ("none", Grade.BREAKING)])
def test_how_one_known_flaw_shows_on_both_sides_is_chance(ledger: str, grade: Grade) -> None:
    """A body left unread is the next request or ends the connection, as the race goes; before it all is compared."""
    flaw = Deviation(contract="chat.answers", versions=SpecifierSet(), reason="It does not.", link="")
    line = flaw if ledger == "the same line" else None
    one, other = (broken(answered({"a": 1}) + answered({"a": 1}, status=status), line) for status in (200, 404))
    assert compare(one, other).grade is grade
    sound = broken(answered({"b": 1}) + answered({"a": 1}), line)
    assert ("breaking", "a is gone") in said(compare(one, sound).findings) or grade is Grade.BREAKING


def broken(exchanges: list[Exchange], line: Deviation | None) -> Verification:
    """The last exchange broke the contract, which this line of the ledger says."""
    found = side(exchanges, verdict=Verdict.DEVIATES if line else Verdict.BROKEN)
    (outcome,) = found.outcomes
    return replace(found, outcomes=(replace(outcome, culprit=exchanges[-1], deviation=line),))


@pytest.mark.parametrize(
    ("before", "after", "grade", "says"),
    [
        (500, 400, "breaking", "the status is 400, not 500"),
        (200, 500, "breaking", "the status is 500, not 200"),
        (400, 422, "suspicious", "the status is 422, not 400"),
        (400, 200, "suspicious", "the status is 200, not 400: what was refused is accepted"),
    ],
)
def test_another_status(before: int, after: int, grade: str, says: str) -> None:
    """Clients tell by the class of a status whose fault it was, and whether to try again."""
    found = drifted(answered({"a": 1}, status=before), answered({"b": 1}, status=after))
    assert said(found.findings) == [(grade, says)]


def test_json_where_nothing_was_and_nothing_where_json_was() -> None:
    loaded = {"status": "loaded"}
    assert said(drifted(answered(b""), answered(loaded)).findings) == [("breaking", "the body is object, not nothing")]
    assert said(drifted(answered(loaded), answered(b"")).findings) == [("breaking", "the body is nothing, not object")]


def test_a_member_of_another_type() -> None:
    found = drifted(answered({"code": "x", "n": 1}), answered({"code": None, "n": "1"}))
    assert said(found.findings) == [("breaking", "code is null, not string"), ("breaking", "n is string, not integer")]


def test_a_member_that_may_be_null_now() -> None:
    found = drifted(answered({"n": 1}, {"n": 2}), answered({"n": 1}, {"n": None}))
    assert said(found.findings) == [("breaking", "n may be null too, and was always integer")]


def test_a_member_that_is_never_filled_any_more() -> None:
    """Null is allowed for it, and still whoever counts on usage gets none."""
    found = drifted(answered({"usage": None}, {"usage": {"n": 1}}), answered({"usage": None}, {"usage": None}))
    assert said(found.findings) == [("suspicious", "usage is always null, and held object before")]


def test_an_integer_that_has_a_fraction_now() -> None:
    """Typed clients read it into an integer; the other way round nobody minds."""
    whole, broken = answered({"created": 1}), answered({"created": 1.5})
    assert said(drifted(whole, broken).findings) == [
        ("suspicious", "created may have a fraction, and was always an integer")
    ]
    assert drifted(broken, whole).findings == ()


def test_a_member_that_comes_only_at_times_now() -> None:
    found = drifted(answered({"n": 1}, {"n": 2}), answered({"n": 1}, {}))
    assert said(found.findings) == [("breaking", "n is there at times only, and always was before")]


def test_a_member_that_came_at_times_and_is_gone() -> None:
    assert said(drifted(answered({"n": 1}, {}), answered({}, {})).findings) == [
        ("suspicious", "n is gone, which was there at times")
    ]


def test_a_new_word_in_a_small_field() -> None:
    """A client that knows "stop" and "length" may wait for ever for one of them."""
    found = drifted(answered({"finish_reason": "stop"}), answered({"finish_reason": "done"}))
    assert said(found.findings) == [("suspicious", "finish_reason may be 'done', which it never was")]


def test_what_the_client_sent_along_is_no_shape() -> None:
    """Metadata come back as they were sent."""
    assert drifted(answered({"metadata": {"a": "1"}}), answered({"metadata": {}})).findings == ()


def test_a_member_of_events_is_told_by_the_kind_of_event() -> None:
    """Usage in every chunk is not the usage in a chunk of its own."""
    found = drifted(streamed(content(usage={"n": 1}), finish()), streamed(content(), finish()))
    assert said(found.findings) == [("breaking", "usage is gone")]
    assert found.findings[0].where == "POST /v1/chat/completions, content events"


def test_a_lost_end_marker() -> None:
    found = drifted(streamed(content(), finish()), streamed(content(), finish(), done=False))
    assert ("breaking", "the end marker [DONE] no longer comes") in said(found.findings)
    assert ("suspicious", "the end comes after finish, which never was so") in said(found.findings)


def test_an_end_marker_lost_at_times() -> None:
    before = [*streamed(content(), finish()), *streamed(content(), finish())]
    after = [*streamed(content(), finish()), *streamed(content(), finish(), done=False)]
    assert ("breaking", "a stream ends without [DONE] that ended with it") in said(drifted(before, after).findings)


def test_another_order_of_known_events() -> None:
    found = drifted(streamed(content(), finish()), streamed(finish(), content()))
    assert ("suspicious", "finish comes after the start, which never was so") in said(found.findings)
    assert {each.area for each in found.findings} == {Area.STREAMS}


def test_how_often_an_event_comes_does_not_matter() -> None:
    """That depends on the text."""
    assert drifted(streamed(content(), finish()), streamed(content(), content(), content(), finish())).findings == ()


def test_a_failure_that_was_a_cut_connection_and_is_an_event_now() -> None:
    """Who trusted the transport to fail takes half an answer for a whole one."""
    found = drifted(streamed(content(), done=False, ended=CUT), streamed(content(), ERROR, done=False))
    assert [each.grade for each in found.findings] == [Grade.BREAKING]
    assert found.findings[0].says.startswith("a failure is an event within a stream that ends properly")


def test_an_answer_that_breaks_off_now() -> None:
    found = drifted(answered({"a": 1}), answered({"a": 1}, ended=CUT))
    assert said(found.findings) == [("breaking", "the answer does not come to its end (RemoteProtocolError)")]


def test_an_answer_that_no_longer_breaks_off() -> None:
    found = drifted(answered({"a": 1}, ended=CUT), answered({"a": 1}))
    assert found.grade is Grade.COMPATIBLE
    assert len(found.findings) == 1


def test_what_the_client_left_is_not_judged_by_its_end() -> None:
    assert drifted(streamed(content(), ended=Ended(ABANDONED)), streamed(content(), finish())).findings == ()


@pytest.mark.parametrize(
    ("before", "after", "grade", "says"),
    [
        ((), (("server", "b"),), "compatible", "server is b, and was not there"),
        (
            (("connection", "keep-alive"),),
            (("connection", "close"),),
            "compatible",
            "the connection is closed after it",
        ),
        ((("content-length", "2"),), (("transfer-encoding", "chunked"),), "compatible", "the body is sent in chunks"),
        ((("retry-after", "7"),), (), "suspicious", "retry-after is not there, and was there"),
        ((), (("content-type", "application/json"),), "suspicious", "said twice in the head: content-type"),
    ],
)
def test_heads(before: tuple[tuple[str, str], ...], after: tuple[tuple[str, str], ...], grade: str, says: str) -> None:
    found = said(drifted(answered({}, headers=JSON + before), answered({}, headers=JSON + after)).findings)
    assert [each for each, _ in found] == [grade]
    assert found[0][1].startswith(says)


def test_another_media_type_is_breaking_and_another_charset_is_not() -> None:
    plain = (("content-type", "text/plain"),)
    charset = (("content-type", "application/json; charset=utf-8"),)
    assert drifted(answered({}), answered({}, headers=plain)).grade is Grade.BREAKING
    assert said(drifted(answered({}), answered({}, headers=charset)).findings) == [
        ("compatible", "the parameters of the media type: charset=utf-8; before: none")
    ]


def test_a_stream_that_is_one_object_now() -> None:
    """Where plain answers are JSON too, JSON in the place of a stream is still another media type."""
    whole = answered({"object": "chat.completion"})
    found = drifted(whole + streamed(content(), finish()), whole + whole)
    assert said(found.findings) == [("breaking", "the media type is application/json, and was text/event-stream")]


def test_line_ends_and_comments_of_a_stream() -> None:
    lf, crlf = b"data: [DONE]\n\n", b": hello\r\n\r\ndata: [DONE]\r\n\r\n"
    assert said(drifted(answered(lf, headers=EVENTS), answered(crlf, headers=EVENTS)).findings) == [
        ("suspicious", "lines end with CRLF, not LF"),
        ("suspicious", "the stream holds comments, and held no comments"),
    ]


def test_the_same_request_to_other_models_is_the_same() -> None:
    """Each server has a model of its own for a part."""
    one = Request("POST", "/v1/chat/completions", body=b'{"model":"a","stream":true}')
    other = Request("POST", "/v1/chat/completions", body=b'{"stream":true,"model":"b"}')
    assert drifted(answered({"n": 1}, request=one), answered({}, request=other)).grade is Grade.BREAKING


def test_other_requests_are_not_compared() -> None:
    """A contract that was broken early asked less."""
    other = Request("POST", "/v1/chat/completions", body=b'{"stream":true}')
    assert drifted(answered({"n": 1}), answered({}, request=other)).findings == ()


def test_ids_in_paths_are_names() -> None:
    one, other = Request("GET", "/v1/models/a:1"), Request("GET", "/v1/models/b:2")
    found = drifted(answered({"n": 1}, request=one), answered({}, request=other))
    assert [each.where for each in found.findings] == ["GET /v1/models/{} 200"]


def test_the_worst_comes_first_and_each_is_said_once() -> None:
    found = drifted(answered({"a": 1}, {"a": 1}), answered({"b": 1}, {"b": 1}))
    assert said(found.findings) == [("breaking", "a is gone"), ("compatible", "b is new")]


def test_each_finding_shows_both_sides() -> None:
    before, after = answered({"a": 1}), answered({})
    (finding,) = drifted(before, after).findings
    assert (finding.before, finding.after) == (before[0], after[0])


def test_times_are_told_and_not_judged() -> None:
    slow = streamed(content(), finish(), ended=Ended(at=99.0))
    found = drifted(streamed(content(), finish()), slow)
    assert found.findings == ()
    (times,) = found.times
    assert times.where == "POST /v1/chat/completions 200 stream"
    assert (times.before.head, times.before.first) == (0.1, 0.1)
    assert times.before.between == pytest.approx(0.1)
