"""The steward's log lines, `2024-01-15 18:00:00 [QUIET_HOURS] INFO: …`, from the notices of a pass."""

from __future__ import annotations

from collections.abc import Callable

from ooda.clock import to_datetime
from ooda.events import Entry, Notified

__all__ = ["line_of", "log_line", "logging_to"]


def log_line(at_ns: int, source: str, message: str, level: str = "INFO") -> str:
    """One line, in UTC; line breaks in the message become spaces."""
    return f"{to_datetime(at_ns):%Y-%m-%d %H:%M:%S} [{source}] {level}: {' '.join(message.split())}"


def line_of(entry: Entry) -> str:
    """The line a journal's entry is worth; empty for none."""
    event = entry.event
    if not isinstance(event, Notified) or "source" not in event.details:
        return ""
    return log_line(entry.at_ns, str(event.details["source"]), event.message, str(event.details.get("level", "INFO")))


def logging_to(write: Callable[[str], None]) -> Callable[[int, Entry], None]:
    """What to hand to a pass as `heard` so that its lines are written as they happen."""

    def heard(seq: int, entry: Entry) -> None:
        if line := line_of(entry):
            write(line)

    return heard
