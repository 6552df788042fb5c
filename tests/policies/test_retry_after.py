"""What a server asks its callers to wait, read from its headers."""

import math
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import format_datetime

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resilient_foundry.policies.retry_after import retry_after

NOON = 784111777.0
"""Sun, 06 Nov 1994 08:49:37 GMT, the moment that RFC 9110 shows dates with."""
IMF = "Sun, 06 Nov 1994 08:49:37 GMT"


def read(*headers: tuple[str, str], today: float = 0.0) -> float | None:
    return retry_after(httpx.Headers(list(headers)), today)


@given(text=st.text(max_size=60), name=st.sampled_from(["retry-after", "retry-after-ms", "date"]))
@example(text="0:", name="retry-after")
@example(text="Sun, 06 Nov 99999 08:49:37 GMT", name="retry-after")
@example(text="9" * 400, name="retry-after")
@example(text="9" * 400, name="retry-after-ms")
@example(text="1 Jan 0 0:0:0 +9999999999", name="retry-after")
@example(text=" ", name="retry-after")
def test_no_text_of_a_server_is_an_error_here(text: str, name: str) -> None:
    """Whatever it wrote, the answer is a finite number of seconds, not below nothing, or None."""
    headers = {"retry-after": IMF, name: text}
    seconds = retry_after(headers, NOON)
    assert seconds is None or (math.isfinite(seconds) and seconds >= 0)


@given(
    text=st.lists(st.sampled_from([*"0123456789:,+-. /", "Sun, ", "Nov ", "GMT", "94", "-0000", "Sunday", "am"])).map(
        "".join
    )
)
def test_nothing_that_looks_like_a_date_is_an_error_here(text: str) -> None:
    seconds = retry_after({"retry-after": text, "date": text}, NOON)
    assert seconds is None or (math.isfinite(seconds) and seconds >= 0)


@given(seconds=st.integers(0, 10**12))
def test_whole_seconds_are_read_to_the_letter(seconds: int) -> None:
    assert read(("retry-after", str(seconds))) == seconds


@pytest.mark.parametrize(
    ("written", "seconds"), [("1.5", 1.5), ("0.25", 0.25), (".5", 0.5), ("2.", 2.0), (" 3 ", 3.0), ("0", 0.0)]
)
def test_fractions_are_understood(written: str, seconds: float) -> None:
    """RFC 9110 knows whole seconds only; servers send fractions all the same."""
    assert read(("retry-after", written)) == seconds


@pytest.mark.parametrize(
    "garbage", ["", "soon", "-1", "+5", "1e3", "nan", "NaN", "inf", "0x10", "1_000", "٣", "²", "5s"]
)
def test_what_cannot_be_read_is_nothing_asked(garbage: str) -> None:
    """Arabic-Indic and superscript digits are digits to `str.isdigit`, and not to HTTP."""
    assert retry_after({"retry-after": garbage}, 0.0) is None


@pytest.mark.parametrize("name", ["retry-after-ms", "x-ms-retry-after-ms"])
def test_milliseconds_come_before_seconds(name: str) -> None:
    assert read(("retry-after", "60"), (name, "1500")) == 1.5


def test_milliseconds_that_cannot_be_read_leave_the_word_to_the_seconds() -> None:
    assert read(("retry-after-ms", "NaN"), ("retry-after", "2")) == 2.0


def test_a_date_is_compared_with_the_answers_own_date() -> None:
    """So that a wrong clock on this side does not matter: `today` is off by decades here."""
    assert read(("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT"), ("date", IMF), today=2e9) == 30.0


def test_a_date_without_a_date_of_the_answer_is_compared_with_today() -> None:
    assert read(("retry-after", IMF), today=NOON - 12) == 12.0


def test_an_unreadable_date_of_the_answer_is_as_none() -> None:
    assert read(("retry-after", IMF), ("date", "yesterday"), today=NOON - 12) == 12.0


def test_a_date_that_is_past_means_now() -> None:
    assert read(("retry-after", IMF), today=NOON + 3600) == 0.0


@pytest.fixture
def _far_from_greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:  # pyright: ignore[reportUnusedFunction]
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("_far_from_greenwich")
@pytest.mark.parametrize(
    "written",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "Sun, 06 Nov 1994 08:49:37 -0000",
    ],
)
def test_all_forms_of_a_date_are_understood_wherever_this_machine_stands(written: str) -> None:
    """RFC 9110 section 5.6.7: IMF-fixdate, RFC 850 and asctime; the last names no zone, and means UTC."""
    assert read(("retry-after", written), today=NOON - 5) == 5.0


@given(ahead=st.integers(0, 10**9))
def test_any_date_is_read_back(ahead: int) -> None:
    text = format_datetime(datetime.fromtimestamp(NOON + ahead, UTC), usegmt=True)
    assert read(("retry-after", text), ("date", IMF)) == ahead


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        (["soon", "5"], 5.0),
        (["5", "10"], 5.0),
        (["-1", "7"], 7.0),
        (["soon", "later"], None),
        (["soon", "Sun, 06 Nov 1994 08:50:07 GMT"], 30.0),
        (["Sun, 06 Nov 1994 08:50:07 GMT", "5"], 30.0),
    ],
)
def test_the_first_of_several_that_can_be_read_counts(values: list[str], seconds: float | None) -> None:
    """Each layer of proxies may add one of its own; they arrive joined by commas, and dates have one too."""
    assert read(*(("retry-after", value) for value in values), ("date", IMF)) == seconds


def test_nothing_asked_is_none() -> None:
    assert read(("date", IMF)) is None
