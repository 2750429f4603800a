"""Waits are bounded and random, `Retry-After` is read in both forms, and a bucket lets no more through than it says."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ooda.notify.pace import Bucket, Patience, retry_after_s

NOW = 1_700_000_000_000_000_000
AT = datetime.fromtimestamp(NOW / 1e9, tz=UTC)


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_a_wait_is_a_random_part_of_a_doubling_time(attempts: int, jitter: float) -> None:
    """Full jitter: from nothing up to the time itself, which is never above its bound."""
    patience = Patience()
    wait_s = patience.wait_s(attempts, jitter)
    assert 0 <= wait_s <= min(patience.longest_s, patience.base_s * 2 ** min(attempts - 1, 60))
    assert patience.wait_s(attempts, 1.0) >= wait_s


@given(st.floats(0, 10**9), st.floats(0, 1))
def test_a_wait_that_is_asked_for_is_kept(asked_s: float, jitter: float) -> None:
    """Never shorter, but for what nobody should wait: more than a day."""
    patience = Patience()
    wait_s = patience.wait_s(3, jitter, asked_s)
    asked_s = min(asked_s, patience.longest_asked_s)
    assert asked_s <= wait_s <= asked_s * 1.1


@given(st.integers(-(10**6), 10**6))
def test_seconds_and_dates_say_the_same(seconds: int) -> None:
    """To the second; what has passed is now."""
    date = format_datetime(AT + timedelta(seconds=seconds), usegmt=True)
    assert retry_after_s(date, NOW) == max(0, seconds)
    if seconds >= 0:
        assert retry_after_s(f" {seconds} ", NOW) == seconds


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("1.5", 1.5),
        ("-3", 0.0),
        ("Tuesday, 14-Nov-23 22:13:30 GMT", 10.0),
        ("", None),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("٣", None),
        ("9" * 400, 999_999_999_999.0),
        ("Tue, 99 Nov 2023 22:14:50 GMT", None),
    ],
)
def test_other_spellings_are_read_or_left(value: str, seconds: float | None) -> None:
    """Nothing raises."""
    assert retry_after_s(value, NOW) == seconds


@given(st.text(max_size=60))
def test_no_header_stops_a_delivery(value: str) -> None:
    """Any text gives seconds or nothing."""
    found = retry_after_s(value, NOW)
    assert found is None or (found >= 0 and math.isfinite(found))


@given(st.lists(st.floats(0, 5), min_size=1, max_size=200), st.integers(1, 20), st.floats(0.5, 50))
def test_a_bucket_keeps_its_rate(gaps: list[float], burst: int, per_second: float) -> None:
    """In any span of time at most the burst and the rate; who waits as long as it says gets a token."""
    bucket, now_s, taken = Bucket(per_second, burst), 100.0, 0
    for gap in gaps:
        now_s += gap
        wait_s = bucket.wait_s(now_s)
        if wait_s:
            now_s += wait_s
            assert bucket.wait_s(now_s + 1e-6) == 0
        taken += 1
    assert taken <= burst + (now_s - 100.0 + 1e-6) * per_second + 1
