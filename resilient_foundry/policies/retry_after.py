"""How long a server asks its callers to wait, as seconds, or nothing."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+", re.ASCII)
_MILLISECONDS = ("retry-after-ms", "x-ms-retry-after-ms")


def retry_after(headers: Mapping[str, str], today: float) -> float | None:
    """Seconds that the server asks for, or None where it asks for nothing that can be read.

    `retry-after-ms` and `x-ms-retry-after-ms` (milliseconds) come before `Retry-After` (RFC 9110 section 10.2.3),
    which is a number of seconds, fractions allowed, or an HTTP date. A date is compared with the answer's own `Date`,
    so that a wrong clock on this side does not matter; `today` (seconds since 1970) stands in where there is none.
    What is past is 0.
    """
    for name in _MILLISECONDS:
        milliseconds = _number(headers.get(name))
        if milliseconds is not None:
            return milliseconds / 1000.0
    asked = headers.get("retry-after")
    if asked is None:
        return None
    for value in _values(asked):
        seconds = _number(value)
        if seconds is not None:
            return seconds
        moment = _date(value)
        if moment is not None:
            said = _date(headers.get("date"))
            return max(0.0, moment - (today if said is None else said))
    return None


def _values(text: str) -> list[str]:
    """Repeated headers arrive joined by commas; a date has a comma of its own, so the whole is tried first."""
    return [text, *text.split(",")]


def _number(text: str | None) -> float | None:
    if text is None or not _NUMBER.fullmatch(text.strip()):
        return None
    value = float(text)
    return value if math.isfinite(value) else None


def _date(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        moment = parsedate_to_datetime(text.strip())
        if moment.tzinfo is None:  # asctime's form names no zone and means UTC (RFC 9110 section 5.6.7)
            moment = moment.replace(tzinfo=UTC)
        return moment.timestamp()
    except (ValueError, OverflowError):
        return None
