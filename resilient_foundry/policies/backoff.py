"""How long to wait, as a pure function of the attempt and a draw."""

from __future__ import annotations

from dataclasses import dataclass

from resilient_foundry.policies._checks import number


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Exponential growth with full jitter: after attempt n, `draw * min(cap, base * factor ** (n - 1))` seconds.

    The jitter reaches down to nothing and stays at the cap, so callers that failed together do not come back together
    (M. Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015).
    `base` and `cap` are seconds; `factor` is at least 1.
    """

    base: float = 0.1
    factor: float = 2.0
    cap: float = 8.0

    def __post_init__(self) -> None:
        number("Backoff.base", self.base, at_least=0.0)
        number("Backoff.factor", self.factor, at_least=1.0)
        number("Backoff.cap", self.cap, at_least=self.base)

    def wait(self, attempt: int, draw: float) -> float:
        """Seconds to wait after this attempt (counted from 1), for a draw in [0, 1)."""
        exponent = min(attempt - 1, 1000)  # 2.0 ** 1024 overflows; the cap is reached long before
        try:
            longest = min(self.cap, self.base * self.factor**exponent)
        except OverflowError:
            longest = self.cap
        return draw * longest
