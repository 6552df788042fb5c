"""Traces as trees."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_foundry.traces.tree import Span, SpanEvent, Trace, traces_of

TRACE = "a" * 32
IDS = [f"{number:016x}" for number in range(1, 9)]


def span(number: int, parent: int | None = None, *, start: int = 0, end: int | None = 0) -> Span:
    """The span with this number."""
    return Span(
        trace_id=TRACE,
        span_id=IDS[number],
        parent_id=None if parent is None else IDS[parent],
        name=str(number),
        start=start,
        end=end,
    )


def names(trace: Trace) -> list[tuple[int, str]]:
    return [(depth, each.name) for depth, each in trace.walk()]


def test_children_come_in_the_order_in_which_they_began() -> None:
    """Exporters give spans in the order of their ends, and Jaeger in any."""
    trace = Trace([span(2, 0, start=7), span(1, 0, start=3), span(0, start=1)])
    assert names(trace) == [(0, "0"), (1, "1"), (1, "2")]


def test_whose_parent_is_not_there_is_a_root() -> None:
    """As a span whose caller is another program, or was sampled out."""
    trace = Trace([span(0, start=1), span(1, 7, start=2), span(2, 1, start=3)])
    assert names(trace) == [(0, "0"), (0, "1"), (1, "2")]


def test_parents_that_go_round_in_a_circle_are_cut_before_the_first_of_them() -> None:
    """Nobody should send such a thing, and nobody should hang on it."""
    trace = Trace([span(0, 2, start=5), span(1, 0, start=3), span(2, 1, start=4), span(3, 3, start=9), span(4, 2)])
    assert names(trace) == [(0, "1"), (1, "2"), (2, "4"), (2, "0"), (0, "3")]


@given(st.lists(st.tuples(st.none() | st.integers(0, 7), st.integers(0, 5)), min_size=1, max_size=8))
def test_every_span_stands_in_the_tree_once(given: list[tuple[int | None, int]]) -> None:
    """Whatever the parents are."""
    spans = [span(number, parent, start=start) for number, (parent, start) in enumerate(given)]
    assert sorted(name for _, name in names(Trace(spans))) == sorted(each.name for each in spans)


def test_a_thousand_spans_one_under_the_other_are_walked() -> None:
    """A tree may be deeper than Python calls."""
    spans = [
        Span(trace_id=TRACE, span_id=f"{number:016x}", parent_id=f"{number - 1:016x}" if number > 1 else None)
        for number in range(1, 3001)
    ]
    assert max(depth for depth, _ in Trace(spans).walk()) == 2999


def test_a_span_that_was_sent_twice_is_there_once() -> None:
    assert len(Trace([span(0), span(0)]).spans) == 1


def test_a_trace_lasts_until_the_last_thing_that_is_known_of_it() -> None:
    """A span that never ended counts as far as it told something."""
    open_ = Span(trace_id=TRACE, span_id=IDS[1], start=10, events=(SpanEvent("said", 2_000_000_010),))
    assert Trace([open_, Span(trace_id=TRACE, span_id=IDS[2], start=11, end=1_000_000_010)]).duration == 2.0
    assert open_.duration is None


def test_a_clock_that_was_set_back_makes_no_negative_duration() -> None:
    assert span(0, start=9, end=4).duration == 0


def test_spans_are_sorted_into_traces_by_start() -> None:
    other = Span(trace_id="b" * 32, span_id=IDS[0], start=1)
    assert [trace.trace_id[0] for trace in traces_of([span(0, start=2), other, span(1, start=0)])] == ["a", "b"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"trace_id": "1"}, "trace_id is 32 lower-case hexadecimal digits, not '1'"),
        ({"span_id": "X" * 16}, "span_id is 16 lower-case hexadecimal digits, not 'XXXXXXXXXXXXXXXX'"),
        ({"parent_id": ""}, "parent_id is 16 lower-case hexadecimal digits, not ''"),
        ({"kind": "CLIENT"}, "kind is one of internal, client, server, producer, consumer, not 'CLIENT'"),
        ({"status": "bad"}, "status is one of unset, ok, error, not 'bad'"),
    ],
)
def test_what_is_no_span_cannot_be_built(wrong: dict[str, str], said: str) -> None:
    values = {"trace_id": TRACE, "span_id": IDS[0]} | wrong
    with pytest.raises(ValueError, match=said):
        Span(**values)  # type: ignore[arg-type]  # what is wrong is the point


def test_a_trace_is_of_one_trace_and_of_something() -> None:
    with pytest.raises(ValueError, match="at least one span"):
        Trace([])
    with pytest.raises(ValueError, match="of 2 traces"):
        Trace([span(0), Span(trace_id="b" * 32, span_id=IDS[0])])
