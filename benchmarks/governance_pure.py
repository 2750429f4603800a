"""What the pure parts of governance cost: redaction, rules with shell text, prices. Prints a table; no server, no disk.

CPU time, so that other work on the machine does not move the figures. Aims stand beside what was measured; a missed
aim makes the exit code 1.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ooda.events import Usage
from ooda.governance.levels import Level
from ooda.governance.operations import Operation
from ooda.governance.prices import PriceBook
from ooda.governance.redaction import Redactor
from ooda.governance.rules import RuleSet
from ooda.governance.shell_text import parse_shell

ROOT = Path(__file__).parents[1]

LOG_LINE = (
    "2026-11-21T10:00:07.123Z INFO worker[7] request_id=6f9619ff-8b86-d011-b42d-00c04fc964ff GET /api/v1/items/7?p=3 "
    '200 12ms user-agent="Mozilla/5.0 (X11; Linux)"\n'
)
EVENT = json.dumps(
    {
        "kind": "ModelReplied",
        "seq": 12,
        "usage": {"input_tokens": 5120, "cached_input_tokens": 4096, "output_tokens": 512},
        "text": "I will edit src/app/models.py and run the tests again to see whether the failure is gone.",
        "sha": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    }
)
COMMANDS = [
    "ls -la",
    "pytest -q tests 2>&1 | tail -20",
    "cd src && python -m pytest -x -q && git diff --stat",
    "for f in $(git ls-files '*.py'); do sed -i 's/a/b/' \"$f\"; done",
    "cat > x.py <<'EOF'\n" + "print(1)\n" * 30 + "EOF\npython x.py",
]


def costs(runs: int, call: Callable[[], object], before: Callable[[], object] = lambda: None) -> list[float]:
    """Seconds of CPU of each run, sorted."""
    found = []
    for _ in range(runs):
        before()
        start = time.thread_time_ns()
        call()
        found.append((time.thread_time_ns() - start) / 1e9)
    return sorted(found)


def median_us(runs: int, inner: int, call: Callable[[], object]) -> float:
    """Median microseconds of one call, in batches, because the clock of CPU time is coarse."""

    def batch() -> None:
        for _ in range(inner):
            call()

    found = costs(runs, batch)
    return found[len(found) // 2] / inner * 1e6


def main() -> int:
    rows: list[tuple[str, float, float | None, str]] = []
    plain, five = Redactor(), Redactor()
    for number in range(5):
        five.register(f"KEY_{number}", f"sk-or-v1-{number}a8F7{number}d6e5c4b3a2")
    source = (ROOT / "ooda/events.py").read_text()
    for name, text in (("code", source[3000:4024]), ("log", (LOG_LINE * 8)[:1024]), ("event", (EVENT * 4)[:1024])):
        rows.append(
            (f"redact 1 KB of {name}, nothing registered", median_us(40, 250, lambda t=text: plain.redact(t)), 20, "us")
        )
        rows.append(
            (f"redact 1 KB of {name}, 5 registered values", median_us(40, 250, lambda t=text: five.redact(t)), 20, "us")
        )
    clean = LOG_LINE * 20_000
    rows.append(("clean logs", -len(clean) / costs(5, lambda: five.redact(clean))[2] / 1e6, -5, "MB/s"))
    dirty = (LOG_LINE * 50 + "login with password=swordfish99 and token=abcdef123456\n") * 200
    rows.append(
        ("logs with two secrets in 10 KB", -len(dirty) / costs(5, lambda: five.redact(dirty))[2] / 1e6, None, "MB/s")
    )
    rules = RuleSet.load()

    def decide() -> None:
        for command in COMMANDS:
            arguments = json.dumps({"command": command}).encode()
            rules.decide(Operation.RUN_IN_SANDBOX, "run_shell_command", arguments, Level.SANDBOX_ONLY)

    found = [cost / len(COMMANDS) * 1e3 for cost in costs(400, decide, parse_shell.cache_clear)]
    rows.append((f"decision, {len(rules.rules)} rules, shell text, median", found[200], None, "ms"))
    rows.append((f"decision, {len(rules.rules)} rules, shell text, 99 %", found[396], 0.2, "ms"))
    rows.append(("load rules and try their examples", costs(7, RuleSet.load)[3] * 1e3, None, "ms"))
    rows.append(("load prices", costs(7, PriceBook.load)[3] * 1e3, 5, "ms"))
    book = PriceBook.load()
    price = book.find("gpt-5")
    assert price is not None
    usage = Usage(10_000, 8_000, 0, 1_000, 600)
    rows.append(("find a price", median_us(20, 500, lambda: book.find("openrouter/z-ai/glm-4.6:exacto")), None, "us"))
    rows.append(("cost of a call", median_us(20, 500, lambda: price.cost_nano(usage)), None, "us"))

    missed = 0
    for what, value, aim, unit in rows:
        is_missed = aim is not None and value > aim
        missed += is_missed
        bound = (
            "" if aim is None else f"  aim {'>=' if aim < 0 else '<='} {abs(aim):g}{'  MISSED' if is_missed else ''}"
        )
        print(f"{what:<48} {abs(value):9.2f} {unit:<5}{bound}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
