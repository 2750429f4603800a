"""Money, durations and sizes are read exactly or refused, and written so that they read back."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ooda.amounts import (
    NANO,
    format_bytes,
    format_duration,
    format_usd,
    nano_to_usd,
    parse_bytes,
    parse_duration,
    parse_usd,
    usd_to_nano,
)


@pytest.mark.parametrize(
    ("written", "nano"),
    [
        (1, NANO),
        (0.1, NANO // 10),
        ("0.1", NANO // 10),
        ("1.50", 3 * NANO // 2),
        (" 2 ", 2 * NANO),
        (1e-9, 1),
        ("0.000000001", 1),
        (Decimal("0.5"), NANO // 2),
        (0, 0),
        (Decimal("0E-30"), 0),
    ],
)
def test_an_amount_is_exact_to_the_nano(written: object, nano: int) -> None:
    """Floats are read by their shortest spelling, never by their binary value."""
    assert usd_to_nano(parse_usd(written)) == nano


@pytest.mark.parametrize(
    "written",
    [
        -1,
        "-0.1",
        "1e3",
        "1_000",
        "1,5",
        "5 USD",
        "",
        ".",
        "٣",
        True,
        None,
        [],
        float("nan"),
        float("inf"),
        Decimal("NaN"),
        Decimal("1E+999999"),
        "0.0000000001",
        10**12,
        10**5000,
        10**300 * 1.0,
    ],
    ids=lambda written: str(type(written).__name__),
)
def test_what_is_no_amount_is_refused(written: object) -> None:
    """Signs, exponents, separators, currencies, fractions of a nano and absurd sizes are refused, quickly."""
    with pytest.raises(ValueError, match="an amount in USD"):
        parse_usd(written)


@given(st.integers(min_value=0, max_value=10**21))
def test_nano_survives_the_way_to_usd_and_back(nano: int) -> None:
    """`nano_to_usd` and `usd_to_nano` are inverse."""
    if nano < 10**21:
        assert usd_to_nano(nano_to_usd(nano)) == nano


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "0.00 USD"),
        (NANO, "1.00 USD"),
        (4_200_000, "0.0042 USD"),
        (1, "0.000000001 USD"),
        (-NANO // 2, "-0.50 USD"),
    ],
)
def test_an_amount_is_shown_exactly(nano: int, text: str) -> None:
    """Two decimals at least, all that are there at most."""
    assert format_usd(nano) == text


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (90, 90),
        ("90", 90),
        ("90s", 90),
        ("15m", 900),
        ("24h", 86_400),
        ("1h30m", 5_400),
        ("1H 30M", 5_400),
        ("7d", 604_800),
        ("1w", 604_800),
        (-5, -5),
    ],
)
def test_a_duration_is_whole_seconds(written: object, seconds: int) -> None:
    """Numbers are seconds (their range is the field's business); text needs known units."""
    assert parse_duration(written) == seconds


@pytest.mark.parametrize("written", ["", "h", "1.5h", "-1h", "2 fortnights", "1h30", 1.5, True, None, "9" * 20])
def test_what_is_no_duration_is_refused(written: object) -> None:
    """Fractions, signs, unknown units and a bare number after a unit are refused."""
    with pytest.raises(ValueError, match="a duration"):
        parse_duration(written)


@given(st.integers(min_value=0, max_value=10**9))
def test_a_shown_duration_reads_back(seconds: int) -> None:
    """`format_duration` and `parse_duration` are inverse."""
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("written", "size"),
    [(4096, 4096), ("4096", 4096), ("16KiB", 16_384), ("2 GB", 2 * 10**9), ("1g", 1 << 30), ("5b", 5)],
)
def test_a_size_is_whole_bytes(written: object, size: int) -> None:
    """`k`, `m`, `g` alone are binary; `KB` is decimal, `KiB` binary."""
    assert parse_bytes(written) == size


@pytest.mark.parametrize("written", ["", "KiB", "1.5GiB", "-1", "5 bytes", 1.5, False, None])
def test_what_is_no_size_is_refused(written: object) -> None:
    """Fractions, signs and unknown units are refused."""
    with pytest.raises(ValueError, match="a size"):
        parse_bytes(written)


@given(st.integers(min_value=0, max_value=10**15 - 1))
def test_a_shown_size_reads_back(size: int) -> None:
    """`format_bytes` and `parse_bytes` are inverse."""
    assert parse_bytes(format_bytes(size)) == size
