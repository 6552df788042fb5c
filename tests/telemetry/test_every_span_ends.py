"""Every span that is started is ended, whatever becomes of its call, and no context is left behind."""

from __future__ import annotations

from benchmarks.spans_of_many_calls import ENDS, measure


def test_of_many_calls_in_every_colour_no_span_stays_open() -> None:
    """Read, closed half-way, dropped, cancelled, lost and broken: from threads, on asyncio and on trio."""
    told = measure(480)
    assert set(ENDS) < set(told.became)
    assert told.became["ReadError"] > 0
    assert told.started == told.ended
    assert told.started > 2 * told.calls
    assert told.contexts_left == 0
