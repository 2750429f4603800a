"""Which runs are kept and which go: by age, number and size, failures longer; and what each takes.

Nothing that a process carries or a person is asked about is ever removed. What was spent, the activities of a task
and the audit outlive the runs they tell of.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from ooda.api.runs import export_cassette
from ooda.api.session import Session
from ooda.errors import ConfigError, IntegrationError, OodaError
from ooda.governance.audit import AuditFact
from ooda.governance.audit import append as append_audit
from ooda.store import Tx, is_alive, leases, process_owner, runs
from ooda.store.runs import RunSummary

__all__ = ["Collected", "Keep", "Sizes", "collect", "sizes_of"]

_DAY_S = 86_400
_GRACE_S = 3_600.0
"""What was made less than an hour ago may belong to a run that is just beginning."""
_NAMED = re.compile(rb'"digest":"([0-9a-f]{64})"')
_SUCCEEDED = frozenset({"success", "unverified"})


class Keep(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept. A run goes when any rule says so."""

    age_s: int | None = 30 * _DAY_S
    """Runs that succeeded, since their last event; None keeps them for ever."""
    failure_age_s: int | None = 90 * _DAY_S
    """All others."""
    count: int | None = None
    """So many runs at most: the oldest go first, those that succeeded before the others."""
    total_bytes: int | None = None
    """So much in journals, blobs and folders at most; in the same order. A blob counts for each run that names it."""


class Sizes(msgspec.Struct, frozen=True, kw_only=True):
    """What one run takes."""

    events: int
    journal_bytes: int
    blobs: int
    blob_bytes: int
    """Blobs it names; other runs may name the same ones."""
    folder_bytes: int
    """Workspace, repository and full outputs."""


class Collected(msgspec.Struct, frozen=True, kw_only=True):
    """What was removed, or would be."""

    runs: tuple[str, ...] = ()
    kept: Mapping[str, str] = {}
    """Runs that a rule would remove and that stay, with the reason."""
    exported: tuple[str, ...] = ()
    """Cassettes written before."""
    folders: int = 0
    """Folders of runs that never began."""
    blobs: int = 0
    blob_bytes: int = 0
    freed_bytes: int = 0
    """Of journals, folders and blobs together."""
    note: str = ""
    """What could not be done, for people."""


class _Run(msgspec.Struct, frozen=True):
    summary: RunSummary
    sizes: Sizes
    named: frozenset[str]


def sizes_of(session: Session, run: str) -> Sizes:
    """What a run takes in the database, beside it and in its folder."""
    return _measured(session, run)[0]


def collect(session: Session, keep: Keep, *, is_dry: bool = False, export_to: Path | None = None) -> Collected:
    """Remove what `keep` does not keep, then what nobody names any more.

    Args:
        is_dry: Only say what would be removed.
        export_to: A folder for the cassette of each run that goes. A run that cannot be exported stays.

    Raises:
        ConfigError: the folder cannot be written.
    """
    every = [_Run(s, *_measured(session, s.run)) for s in session.store.read(lambda tx: runs.listed(tx, limit=2**31))]
    going, kept = _chosen(session, every, keep)
    gone: list[_Run] = []
    exported: list[str] = []
    for run in going:
        name = run.summary.run
        try:
            if export_to is not None and not is_dry:
                exported.append(str(_export(session, name, export_to)))
            if is_dry or _remove(session, run.summary):
                gone.append(run)
        except OodaError as error:
            kept[name] = str(error)
    staying = frozenset().union(*(run.named for run in every if run not in gone))
    blobs = session.store.blobs
    swept = blobs.unnamed(staying, _GRACE_S) if is_dry else blobs.remove_unnamed(lambda: _all_named(session), _GRACE_S)
    folders = _strays(session, {run.summary.run for run in every}, is_dry=is_dry)
    note = "" if is_dry or not gone else _compacted(session)
    return Collected(
        runs=tuple(run.summary.run for run in gone),
        kept=kept,
        exported=tuple(exported),
        folders=folders,
        blobs=len(swept),
        blob_bytes=sum(swept.values()),
        freed_bytes=sum(run.sizes.journal_bytes + run.sizes.folder_bytes for run in gone) + sum(swept.values()),
        note=note,
    )


def _chosen(session: Session, every: Iterable[_Run], keep: Keep) -> tuple[list[_Run], dict[str, str]]:
    """The runs that go, the oldest first, and why others that would go stay."""
    now_ns = session.clock.now_ns()
    protected: dict[str, str] = {}
    free: list[_Run] = []
    for run in sorted(every, key=lambda run: (run.summary.status not in _SUCCEEDED, run.summary.updated_ns)):
        why = session.store.read(lambda tx, run=run: _why_kept(tx, run.summary, now_ns))  # type: ignore[misc]
        if why:
            protected[run.summary.run] = why
        else:
            free.append(run)
    going = [run for run in free if _is_old(run.summary, keep, now_ns)]
    staying = [run for run in free if run not in going]
    while staying and _is_too_much(every, staying, protected, keep):
        going.append(staying.pop(0))
    wanted = {run.summary.run for run in every if _is_old(run.summary, keep, now_ns)}
    return going, {run: why for run, why in protected.items() if run in wanted}


def _is_old(summary: RunSummary, keep: Keep, now_ns: int) -> bool:
    age_s = keep.age_s if summary.status in _SUCCEEDED else keep.failure_age_s
    return age_s is not None and now_ns - summary.updated_ns > age_s * 1_000_000_000


def _is_too_much(every: Iterable[_Run], staying: list[_Run], protected: Mapping[str, str], keep: Keep) -> bool:
    there = [*staying, *(run for run in every if run.summary.run in protected)]
    if keep.count is not None and len(there) > keep.count:
        return True
    taken = sum(run.sizes.journal_bytes + run.sizes.folder_bytes + run.sizes.blob_bytes for run in there)
    return keep.total_bytes is not None and taken > keep.total_bytes


def _why_kept(tx: Tx, summary: RunSummary, now_ns: int) -> str:
    lease = leases.find(tx, summary.run)
    if lease is not None and lease.expires_ns > now_ns and is_alive(lease.owner):
        return "a process carries it on"
    if summary.status == "waiting":
        return "it waits for a person"
    return ""


def _measured(session: Session, run: str) -> tuple[Sizes, frozenset[str]]:
    """What a run takes, and the blobs it names."""
    events = journal_bytes = 0
    named: set[str] = set()
    for row in session.store.rows(run):
        events += 1
        journal_bytes += len(row.body)
        named.update(found.decode() for found in _NAMED.findall(row.body))
    there = session.store.blobs.sizes(named)
    sizes = Sizes(
        events=events,
        journal_bytes=journal_bytes,
        blobs=len(there),
        blob_bytes=sum(there.values()),
        folder_bytes=_folder_bytes(session.places.run(run).folder),
    )
    return sizes, frozenset(there)


def _folder_bytes(folder: Path) -> int:
    total = 0
    for place, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.lstat(os.path.join(place, name)).st_size
            except FileNotFoundError:  # a run that works there
                continue
    return total


def _all_named(session: Session) -> frozenset[str]:
    every = session.store.read(lambda tx: runs.listed(tx, limit=2**31))
    return frozenset(
        found.decode() for s in every for row in session.store.rows(s.run) for found in _NAMED.findall(row.body)
    )


def _export(session: Session, run: str, folder: Path) -> Path:
    """Write the run's cassette, whole or not at all."""
    path = folder / f"{run}.cassette.jsonl"
    lines = list(export_cassette(session, run))
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
    except OSError as error:
        raise ConfigError(f"the cassette {path} cannot be written: {error.strerror}") from error
    return path


def _remove(session: Session, summary: RunSummary) -> bool:
    """Remove a run's rows, with its lease in hand, and then its folder; False when somebody else removed it.

    Raises:
        LeaseLostError: a process carries it on.
        ConfigError: it went on since it was chosen.
    """
    run = summary.run
    now_ns = session.clock.now_ns()
    owner = process_owner(session.ids.new("own"))
    fact = AuditFact(at_ns=now_ns, actor=session.user, action="remove", run=run, subject="runs gc", decision="allow")

    def work(tx: Tx) -> bool:
        now = runs.find(tx, run)
        if now is None:
            return False
        leases.take(tx, run, owner, 60, now_ns, is_alive)
        if now != summary:
            raise ConfigError("it went on meanwhile")
        runs.remove(tx, run)
        append_audit(tx, fact)
        return True

    is_ours = session.store.write_now(work)
    if is_ours:
        _remove_folder(session.places.run(run).folder)
    return is_ours


def _strays(session: Session, known: set[str], *, is_dry: bool) -> int:
    """Folders and leases of runs that never began, or whose removal was cut off."""
    if not is_dry:
        session.store.write_now(lambda tx: leases.remove_unused(tx, session.clock.now_ns()))
    if not session.places.runs.is_dir():
        return 0
    before = time.time() - _GRACE_S
    strays = [
        place
        for place in session.places.runs.iterdir()
        if place.name not in known and place.is_dir() and _changed_s(place) <= before
    ]
    for place in strays:
        if not is_dry:
            _remove_folder(place)
    return len(strays)


def _changed_s(place: Path) -> float:
    try:
        return place.stat().st_mtime
    except FileNotFoundError:  # another `gc` was faster
        return math.inf


def _remove_folder(folder: Path) -> None:
    """Remove a folder with what an agent made in it, folders it took its own permissions from included.

    What another `gc` removes at the same time is removed.
    """

    def again(remove: Callable[..., object], path: str, _: object) -> None:
        with suppress(FileNotFoundError):
            os.chmod(os.path.dirname(path), 0o700)
            if os.path.isdir(path) and not os.path.islink(path):
                os.chmod(path, 0o700)
                shutil.rmtree(path, onerror=_unless_gone)
            else:
                os.unlink(path)

    if folder.exists():
        shutil.rmtree(folder, onerror=again)


def _unless_gone(remove: Callable[..., object], path: str, error: tuple[type, BaseException, object]) -> None:
    if not isinstance(error[1], FileNotFoundError):
        raise error[1]


def _compacted(session: Session) -> str:
    try:
        session.store.compact()
    except IntegrationError as error:
        return f"the database keeps its size for now: {error}"
    return ""
