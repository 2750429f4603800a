"""What test runners print, as counts. Pure; a format that is not recognised gives None, never a guess.

pytest: the last summary line (`3 failed, 2 passed, 1 error in 0.12s`) and the short summary's FAILED and ERROR lines.
unittest: `Ran N tests` with `OK` or `FAILED (failures=…, errors=…)` and the FAIL and ERROR headings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

__all__ = ["Counts", "read_pytest", "read_report", "read_unittest"]

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_PYTEST_SUMMARY = re.compile(
    r"^=*[ ]*(?P<counts>\d+ [a-z]+(?: [a-z]+)?(?:, \d+ [a-z]+(?: [a-z]+)?)*|no tests ran)"
    r" in [\d.]+ ?s(?:econds)?(?: \([\d:]+\))?[ ]*=*[ ]*$",
    re.MULTILINE,
)
_PYTEST_LINE = re.compile(r"^(?:FAILED|ERROR|SUBFAILED\S*) +(?P<what>\S.*)$", re.MULTILINE)
_UNITTEST_RAN = re.compile(r"^Ran (\d+) tests? in [\d.]+s$", re.MULTILINE)
_UNITTEST_END = re.compile(r"^(?P<word>OK|FAILED|NO TESTS RAN)(?: \((?P<counts>[^)]*)\))?$", re.MULTILINE)
_UNITTEST_HEADING = re.compile(r"^(?:FAIL|ERROR|UNEXPECTED SUCCESS): (?P<what>\S.*)$", re.MULTILINE)
_UNITTEST_NAME = re.compile(r"(?P<method>\w+) \((?P<place>[\w.]+)\)(?P<rest>.*)")
_UNITTEST_OUTSIDE = re.compile(r"^ERROR: (?:setUp|tearDown)(?:Class|Module) ", re.MULTILINE)
_MOST_FAILURES = 20


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """One test run in numbers."""

    passed: int = 0
    failed: int = 0
    """Failures and errors together: both say that the code is not right."""
    skipped: int = 0
    failures: tuple[str, ...] = ()
    """Names of the first 20 that failed, with the reason where the runner gives one."""

    @property
    def ran(self) -> int:
        """Tests that came to a verdict."""
        return self.passed + self.failed


def read_report(output: str) -> Counts | None:
    """The counts of whichever runner printed `output`."""
    return read_pytest(output) or read_unittest(output)


def read_pytest(output: str) -> Counts | None:
    """Counts of pytest's last summary line. Expected failures count as passed, unexpected passes too (unless strict,
    when pytest itself calls them failed)."""
    text = _ANSI.sub("", output).replace("\r\n", "\n")
    summaries = list(_PYTEST_SUMMARY.finditer(text))
    if not summaries:
        return None
    found: dict[str, int] = {}
    for number, word in re.findall(r"(\d+) ([a-z ]+)", summaries[-1]["counts"]):
        found[word.removesuffix("s")] = int(number)
    if not found.keys() <= _PYTEST_WORDS:
        return None  # a plugin's own word may well mean failure; the exit code then speaks alone
    return Counts(
        passed=found.get("passed", 0) + found.get("xfailed", 0) + found.get("xpassed", 0),
        failed=found.get("failed", 0) + found.get("error", 0),
        skipped=found.get("skipped", 0),
        failures=_first(line["what"] for line in _PYTEST_LINE.finditer(text)),
    )


_PYTEST_WORDS = {"passed", "failed", "error", "skipped", "xfailed", "xpassed", "deselected", "warning", "rerun"} | {
    "subtests passed",
    "subtests failed",
}


def read_unittest(output: str) -> Counts | None:
    """Counts of unittest's last run. Expected failures count as passed, unexpected successes as failed."""
    text = _ANSI.sub("", output).replace("\r\n", "\n")
    ran = list(_UNITTEST_RAN.finditer(text))
    if not ran:
        return None
    end = _UNITTEST_END.search(text, ran[-1].end())
    counts = dict(re.findall(r"([a-z ]+)=(\d+)", (end["counts"] if end else "") or ""))
    numbers = {name.strip(): int(number) for name, number in counts.items()}
    failed = numbers.get("failures", 0) + numbers.get("errors", 0) + numbers.get("unexpected successes", 0)
    skipped = numbers.get("skipped", 0)
    # An error in setUpClass counts as an error, but the tests it prevented do not count as run.
    outside = len(_UNITTEST_OUTSIDE.findall(text))
    return Counts(
        passed=max(0, int(ran[-1][1]) - (failed - outside) - skipped),
        failed=failed,
        skipped=skipped,
        failures=_first(_dotted(line["what"]) for line in _UNITTEST_HEADING.finditer(text)),
    )


def _dotted(heading: str) -> str:
    """A test by its full dotted name: from Python 3.11 on the bracket ends with the method, before it does not."""
    found = _UNITTEST_NAME.fullmatch(heading)
    if found is None:
        return heading
    method, place, rest = found["method"], found["place"], found["rest"]
    return (place if place.rpartition(".")[2] == method else f"{place}.{method}") + rest


def _first(names: Iterable[str]) -> tuple[str, ...]:
    seen: dict[str, None] = {}
    for name in names:
        seen.setdefault(name.strip()[:300], None)
    return tuple(seen)[:_MOST_FAILURES]
