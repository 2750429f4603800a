"""Money, durations and sizes as people write them, turned into exact integers and back.

Pure and free of dependencies. Amounts of money are integer nano-USD everywhere below the door (1 USD is
1,000,000,000); durations are whole seconds; sizes are bytes. Each parser refuses what it does not understand
with a ValueError whose text completes the sentence "expected …".
"""

from __future__ import annotations

import re
from decimal import Decimal

__all__ = [
    "NANO",
    "format_bytes",
    "format_duration",
    "format_usd",
    "nano_to_usd",
    "parse_bytes",
    "parse_duration",
    "parse_usd",
    "usd_to_nano",
]

NANO = 1_000_000_000
"""Nano-USD in one USD."""

_USD = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?", re.ASCII)
_DURATION = re.compile(r"(?:[0-9]{1,12}\s*[smhdw]\s*)+", re.ASCII)
_DURATION_PART = re.compile(r"([0-9]+)\s*([smhdw])", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_SIZE = re.compile(r"([0-9]{1,15})\s*([A-Za-z]*)", re.ASCII)
_SIZES = {
    "": 1,
    "b": 1,
    "k": 1 << 10,
    "kb": 10**3,
    "kib": 1 << 10,
    "m": 1 << 20,
    "mb": 10**6,
    "mib": 1 << 20,
    "g": 1 << 30,
    "gb": 10**9,
    "gib": 1 << 30,
    "t": 1 << 40,
    "tb": 10**12,
    "tib": 1 << 40,
}

_USD_SAYS = "an amount in USD such as 0.50 (digits, at most 9 decimals)"
_DURATION_SAYS = "a duration such as `90s`, `15m`, `24h` or whole seconds"
_SIZE_SAYS = "a size such as `16KiB`, `2GiB` or whole bytes"


def parse_usd(value: object) -> Decimal:
    """An exact amount without trailing zeros. Floats are read by their shortest spelling, so 0.1 is 0.1.

    Raises:
        ValueError: negative, not a number, more than nine decimals, or not an amount at all.
    """
    if isinstance(value, bool):
        raise ValueError(_USD_SAYS)
    if isinstance(value, float):
        value = Decimal(repr(value))
    # An exponent such as 1E+999999 must not be written out in full; nothing near it is an amount.
    if isinstance(value, Decimal) and (not value.is_finite() or abs(value.adjusted()) > 20):
        if value == 0:
            return Decimal(0)
        raise ValueError(_USD_SAYS)
    if isinstance(value, int) and abs(value) >= 10**12:  # more digits than Python may be willing to print
        raise ValueError(_USD_SAYS)
    text = f"{value:f}" if isinstance(value, Decimal) else str(value) if isinstance(value, int) else value
    text = text.strip() if isinstance(text, str) else ""
    if "." in text:
        text = text.rstrip("0").removesuffix(".")
    if not _USD.fullmatch(text):
        raise ValueError(_USD_SAYS)
    return Decimal(text)


def usd_to_nano(amount: Decimal) -> int:
    """Nano-USD of an amount that `parse_usd` gave; exact."""
    return int(amount * NANO)


def nano_to_usd(nano: int) -> Decimal:
    """The amount in USD, exact, without trailing zeros."""
    return parse_usd(Decimal(nano) / NANO)


def format_usd(nano: int) -> str:
    """`0.0042 USD`: exact, at least two decimals; a minus sign for debts."""
    whole, rest = divmod(abs(nano), NANO)
    decimals = f"{rest:09d}".rstrip("0").ljust(2, "0")
    return f"{'-' if nano < 0 else ''}{whole}.{decimals} USD"


def parse_duration(value: object) -> int:
    """Whole seconds from `90`, `"90s"`, `"1h30m"`, `"7d"`.

    Raises:
        ValueError: a fraction, a sign, an unknown unit, or not a duration at all.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = value.strip().lower() if isinstance(value, str) else ""
    if text.isascii() and text.isdigit() and len(text) <= 12:
        return int(text)
    if not _DURATION.fullmatch(text):
        raise ValueError(_DURATION_SAYS)
    return sum(int(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(text))


def format_duration(seconds: int) -> str:
    """The shortest exact spelling: `24h`, `1h30m`, `45s`. The inverse of `parse_duration`."""
    if seconds <= 0:
        return f"{seconds}s"
    parts = []
    # Days and weeks are written as hours up to 48 h, because "24h" is how limits are spoken of.
    for unit in ("d", "h", "m", "s") if seconds > 172_800 else ("h", "m", "s"):
        count, seconds = divmod(seconds, _SECONDS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)


def parse_bytes(value: object) -> int:
    """Bytes from `4096`, `"16KiB"`, `"2 GB"`; k, m, g alone are binary.

    Raises:
        ValueError: a fraction, a sign, an unknown unit, or not a size at all.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    found = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None or found[2].lower() not in _SIZES:
        raise ValueError(_SIZE_SAYS)
    return int(found[1]) * _SIZES[found[2].lower()]


def format_bytes(size_bytes: int) -> str:
    """`2GiB`, `16KiB` where exact, else plain bytes. The inverse of `parse_bytes`."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        count, rest = divmod(size_bytes, _SIZES[unit.lower()])
        if count and not rest:
            return f"{count}{unit}"
    return f"{size_bytes}B" if size_bytes >= 0 else str(size_bytes)
