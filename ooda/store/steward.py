"""What the workspace steward remembers: builds it asked for, holds, timers, violations, warnings, past use.

A build is written down before it is asked for and settled afterwards, so that whoever takes over after a crash knows
what may have happened. Knows rows; what they mean to a fleet is the steward's.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from ooda.store.tx import Tx, columns, records

__all__ = [
    "BuildRow",
    "BuildState",
    "HoldRow",
    "Timer",
    "Violation",
    "add_hold",
    "add_use",
    "ask",
    "builds_since",
    "find",
    "find_timer",
    "forget_uses",
    "last_stopping_run",
    "live_holds",
    "of_run",
    "open_builds",
    "release_holds",
    "see_violation",
    "set_timer",
    "settle",
    "stops_since",
    "undone",
    "uses_of",
    "violations",
    "warn_once",
]

BuildState = Literal["asked", "made", "done", "failed", "left", "error"]
"""asked: the outcome is not known; made: the build exists; done and failed: its job has ended; left: it was not
needed or not wanted any more; error: Coder refused."""


class BuildRow(msgspec.Struct, frozen=True, kw_only=True):
    """One build the steward asked for."""

    key: str
    """Idempotency key of the call."""
    run: str
    deployment: str
    workspace: str
    """Id."""
    title: str
    """`owner/name`."""
    owner: str
    template: str
    transition: Literal["start", "stop"]
    cause: str
    """Why: the decision's reason, or what a person gave."""
    after_build: str
    """Id of the latest build when it was asked for."""
    after_number: int
    template_version: str
    would_end_ns: int | None = None
    """When the workspace would have stopped by itself."""
    undoes: str = ""
    """Key of the stop that this start takes back."""
    asked_ns: int
    state: BuildState = "asked"
    build: str = ""
    """Id of the build, once there is one."""
    detail: str = ""
    ended_ns: int | None = None


class HoldRow(msgspec.Struct, frozen=True, kw_only=True):
    """One hold, as it was made."""

    id: str
    deployment: str
    scope: Literal["workspace", "owner", "fleet"]
    target: str
    until_ns: int
    made_by: str
    reason: str
    made_ns: int
    released_ns: int | None = None
    released_by: str = ""
    title: str = ""
    """What people call it, where `target` is an id."""


class Timer(msgspec.Struct, frozen=True, kw_only=True):
    """When a job of a deployment is due next."""

    deployment: str
    job: str
    next_ns: int
    last_ns: int | None = None
    last_run: str = ""


class Violation(msgspec.Struct, frozen=True, kw_only=True):
    """A violation of the rules about times to live, as long as it lasted."""

    deployment: str
    workspace: str
    kind: str
    since_ns: int
    title: str
    detail: str
    first_seen_ns: int
    last_seen_ns: int


# -- builds -------------------------------------------------------------------------------------------------------


def ask(tx: Tx, row: BuildRow) -> bool:
    """Write down a build that is about to be asked for; False when this call was written down before.

    A call that did not happen before a restart is made again under its key: its row is opened again.
    """
    if _insert(tx, "steward_builds", row):
        return True
    tx.change(
        "UPDATE steward_builds SET state = 'asked', detail = '', ended_ns = NULL, asked_ns = ?, after_build = ?, "
        "after_number = ?, template_version = ? WHERE key = ? AND state IN ('left', 'error') AND build = ''",
        (row.asked_ns, row.after_build, row.after_number, row.template_version, row.key),
    )
    return False


def settle(
    tx: Tx, key: str, state: BuildState, at_ns: int, *, build: str = "", detail: str = "", is_ended: bool = False
) -> bool:
    """Record what came of a build; False when that is known already: a build that was made was not left or refused."""
    return bool(
        tx.change(
            "UPDATE steward_builds SET state = ?, detail = ?, ended_ns = ?, "
            "build = CASE WHEN ? = '' THEN build ELSE ? END "
            "WHERE key = ? AND (state = 'asked' OR (state = 'made' AND ? NOT IN ('left', 'error')))",
            (state, detail, at_ns if is_ended else None, build, build, key, state),
        )
    )


def find(tx: Tx, key: str) -> BuildRow | None:
    """One build by the key of its call."""
    return next(iter(_builds(tx, "key = ?", key)), None)


def open_builds(tx: Tx, deployment: str) -> list[BuildRow]:
    """Builds whose outcome is not known yet, the oldest first."""
    return _builds(tx, "deployment = ? AND state IN ('asked', 'made')", deployment)


def of_run(tx: Tx, run: str) -> list[BuildRow]:
    """The builds of one run, in the order they were asked for."""
    return _builds(tx, "run = ?", run)


def builds_since(tx: Tx, deployment: str, from_ns: int) -> list[BuildRow]:
    """All builds of a deployment asked for since an instant, the oldest first."""
    return _builds(tx, "deployment = ? AND asked_ns >= ?", deployment, from_ns)


def stops_since(tx: Tx, deployment: str, from_ns: int) -> list[int]:
    """When stops that happened, or may have, were asked for since an instant, the oldest first."""
    rows = tx.execute(
        "SELECT asked_ns FROM steward_builds WHERE deployment = ? AND asked_ns >= ? AND transition = 'stop' "
        "AND state NOT IN ('left', 'error') ORDER BY asked_ns",
        (deployment, from_ns),
    )
    return [int(row[0]) for row in rows]


def last_stopping_run(tx: Tx, deployment: str) -> str:
    """The run that stopped a workspace last; empty when none ever did."""
    rows = tx.execute(
        "SELECT run FROM steward_builds WHERE deployment = ? AND transition = 'stop' AND state IN ('made', 'done') "
        "ORDER BY asked_ns DESC LIMIT 1",
        (deployment,),
    )
    return str(rows[0][0]) if rows else ""


def undone(tx: Tx, keys: list[str]) -> set[str]:
    """Those of these stops that a start of ours has taken back, or may have."""
    found = set()
    for key in keys:
        if tx.execute("SELECT 1 FROM steward_builds WHERE undoes = ? AND state IN ('made', 'done') LIMIT 1", (key,)):
            found.add(key)
    return found


def _builds(tx: Tx, where: str, *values: object) -> list[BuildRow]:
    rows = tx.execute(
        f"SELECT {columns(BuildRow)} FROM steward_builds WHERE {where} ORDER BY asked_ns, key",  # noqa: S608 - own words
        values,
    )
    return records(BuildRow, rows)


# -- holds --------------------------------------------------------------------------------------------------------


def add_hold(tx: Tx, row: HoldRow) -> bool:
    """Keep a hold; False when it is kept already."""
    return _insert(tx, "steward_holds", row)


def live_holds(tx: Tx, deployment: str, now_ns: int) -> list[HoldRow]:
    """Holds that are neither over nor released, those that end first in front."""
    rows = tx.execute(
        f"SELECT {columns(HoldRow)} FROM steward_holds WHERE deployment = ? AND until_ns > ? AND released_ns IS NULL "  # noqa: S608
        "ORDER BY until_ns, id",
        (deployment, now_ns),
    )
    return records(HoldRow, rows)


def release_holds(tx: Tx, deployment: str, scope: str, target: str, by: str, now_ns: int) -> int:
    """Release every live hold of a scope and target; how many there were."""
    return tx.change(
        "UPDATE steward_holds SET released_ns = ?, released_by = ? WHERE deployment = ? AND scope = ? "
        "AND lower(target) = lower(?) AND until_ns > ? AND released_ns IS NULL",
        (now_ns, by, deployment, scope, target, now_ns),
    )


# -- timers, violations, warnings, use --------------------------------------------------------------------------------


def find_timer(tx: Tx, deployment: str, job: str) -> Timer | None:
    """A job's timer; None before it was ever set."""
    rows = tx.execute(
        f"SELECT {columns(Timer)} FROM steward_timers WHERE deployment = ? AND job = ?",  # noqa: S608
        (deployment, job),
    )
    return records(Timer, rows)[0] if rows else None


def set_timer(tx: Tx, timer: Timer) -> None:
    """Set or move a job's timer."""
    tx.change(
        "INSERT INTO steward_timers (deployment, job, next_ns, last_ns, last_run) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (deployment, job) DO UPDATE SET next_ns = excluded.next_ns, last_ns = excluded.last_ns, "
        "last_run = excluded.last_run",
        (timer.deployment, timer.job, timer.next_ns, timer.last_ns, timer.last_run),
    )


def see_violation(tx: Tx, row: Violation) -> bool:
    """Keep a violation, or that it still lasts; True when it is new."""
    if _insert(tx, "steward_violations", row):
        return True
    tx.change(
        "UPDATE steward_violations SET last_seen_ns = ?, detail = ? "
        "WHERE deployment = ? AND workspace = ? AND kind = ? AND since_ns = ?",
        (row.last_seen_ns, row.detail, row.deployment, row.workspace, row.kind, row.since_ns),
    )
    return False


def violations(tx: Tx, deployment: str, from_ns: int) -> list[Violation]:
    """Violations seen since an instant, the newest first."""
    rows = tx.execute(
        f"SELECT {columns(Violation)} FROM steward_violations WHERE deployment = ? AND last_seen_ns >= ? "  # noqa: S608
        "ORDER BY since_ns DESC, title, kind",
        (deployment, from_ns),
    )
    return records(Violation, rows)


def warn_once(
    tx: Tx, deployment: str, workspace: str, build: str, cause: str, stop_ns: int, now_ns: int, again_after_ns: int
) -> bool:
    """Whether an owner is to be told of a stop now; False when they were told less than `again_after_ns` ago."""
    return bool(
        tx.change(
            "INSERT INTO steward_warnings (deployment, workspace, build, cause, stop_ns, warned_ns) "
            "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (deployment, workspace, build, cause) DO UPDATE SET "
            "stop_ns = excluded.stop_ns, warned_ns = excluded.warned_ns "
            "WHERE steward_warnings.warned_ns < excluded.warned_ns - ?",
            (deployment, workspace, build, cause, stop_ns, now_ns, again_after_ns),
        )
    )


def add_use(tx: Tx, deployment: str, workspace: str, owner: str, used_ns: int) -> bool:
    """Keep that a workspace was in use; False when that is known."""
    return bool(
        tx.change(
            "INSERT INTO steward_uses (deployment, workspace, used_ns, owner) VALUES (?, ?, ?, ?) "
            "ON CONFLICT DO NOTHING",
            (deployment, workspace, used_ns, owner),
        )
    )


def uses_of(tx: Tx, deployment: str, from_ns: int) -> dict[str, list[int]]:
    """When each owner's workspaces were seen in use since an instant."""
    found: dict[str, list[int]] = {}
    for owner, used_ns in tx.execute(
        "SELECT owner, used_ns FROM steward_uses WHERE deployment = ? AND used_ns >= ? ORDER BY owner, used_ns",
        (deployment, from_ns),
    ):
        found.setdefault(str(owner), []).append(int(used_ns))
    return found


def forget_uses(tx: Tx, deployment: str, before_ns: int) -> int:
    """Drop past use from before an instant; how many rows."""
    return tx.change("DELETE FROM steward_uses WHERE deployment = ? AND used_ns < ?", (deployment, before_ns))


def _insert(tx: Tx, table: str, row: msgspec.Struct) -> bool:
    names = row.__struct_fields__
    marks = ", ".join("?" for _ in names)
    values = [getattr(row, name) for name in names]
    sql = f"INSERT INTO {table} ({columns(type(row))}) VALUES ({marks}) ON CONFLICT DO NOTHING"  # noqa: S608
    return bool(tx.change(sql, values))
