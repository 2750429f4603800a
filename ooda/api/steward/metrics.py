"""The steward's counters, from its own records: by the requirement's names, and as Prometheus text."""

from __future__ import annotations

from collections import Counter

import msgspec

from ooda.api.session import Session
from ooda.store import Tx
from ooda.store import steward as rows

__all__ = ["METRICS", "metrics", "prometheus"]

METRICS = (
    "workspaces_stopped_quiet_hours",
    "workspaces_stopped_ttl",
    "workspaces_stopped_autostop",
    "api_errors",
    "notification_failures",
)
"""Names of the counters, in the requirement's order."""

_HELP = {
    "workspaces_stopped_quiet_hours": "Workspaces stopped because of quiet hours.",
    "workspaces_stopped_ttl": "Workspaces stopped because their time to live was over.",
    "workspaces_stopped_autostop": "Workspaces stopped by passes that carry out autostop.",
    "api_errors": "Builds that Coder refused.",
    "notification_failures": "Attempts to deliver the steward's notices that failed or may not have arrived.",
}


class _Check(msgspec.Struct, frozen=True):
    check: str = ""


def metrics(session: Session, deployment: str, from_ns: int = 0) -> dict[str, int]:
    """The counters of a deployment since an instant; a stop counts once, under what stopped it.

    A stop made by an autostop pass counts as autostop whatever its cause; one for a passed deadline as time to live.
    """

    def read(tx: Tx) -> dict[str, int]:
        counted: Counter[str] = Counter()
        checks: dict[str, str] = {}
        for row in rows.builds_since(tx, deployment, from_ns):
            if row.state == "error":
                counted["api_errors"] += 1
            elif row.transition == "stop" and row.state in ("made", "done"):
                if row.run not in checks:
                    checks[row.run] = _check_of(tx, row.run)
                counted[_counter(checks[row.run], row.cause)] += 1
        failed = tx.execute(
            "SELECT COUNT(*) FROM message_attempts a WHERE a.outcome IN ('failed', 'unknown') AND a.started_ns >= ? "
            "AND EXISTS (SELECT 1 FROM message_notices n JOIN outbox o ON o.id = n.notice "
            "WHERE n.message = a.message AND o.channel LIKE 'steward.%')",
            (from_ns,),
        )
        counted["notification_failures"] = int(failed[0][0])
        return {name: counted[name] for name in METRICS}

    return session.store.read(read)


def _counter(check: str, cause: str) -> str:
    if check == "autostop":
        return "workspaces_stopped_autostop"
    return "workspaces_stopped_ttl" if cause in ("ttl", "max_deadline") else "workspaces_stopped_quiet_hours"


def _check_of(tx: Tx, run: str) -> str:
    found = tx.execute("SELECT body FROM events WHERE run = ? AND seq = 0", (run,))
    if not found:
        return ""
    started = msgspec.json.decode(bytes(found[0][0]), type=_Started)
    return msgspec.json.decode(started.task.text, type=_Check).check if started.task.text else ""


class _Text(msgspec.Struct, frozen=True):
    text: str = ""


class _Started(msgspec.Struct, frozen=True):
    task: _Text


def prometheus(counters: dict[str, int], deployment: str) -> str:
    """The counters in Prometheus' text format (version 0.0.4)."""
    label = deployment.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    lines = []
    for name in METRICS:
        lines += [
            f"# HELP ooda_steward_{name}_total {_HELP[name]}",
            f"# TYPE ooda_steward_{name}_total counter",
            f'ooda_steward_{name}_total{{deployment="{label}"}} {counters[name]}',
        ]
    return "\n".join(lines) + "\n"
