from __future__ import annotations

import math

from resilient_foundry.tuning.figures import estimated_quantile


def test_the_interval_of_a_quantile_is_of_figures_that_were_measured() -> None:
    """Of 1000, the 990th, and 6.2 ranks to each side (1.96 times the root of 9.9)."""
    seen = estimated_quantile(range(1, 1001), 0.99)
    assert (seen.median, seen.low, seen.high) == (990, 983, 997)


def test_of_few_figures_the_greatest_is_the_end() -> None:
    assert estimated_quantile([3, 1, 2], 0.99).high == 3


def test_of_no_figures_it_is_none() -> None:
    assert math.isnan(estimated_quantile([], 0.99).median)
