"""Git tools: the coding agent's fixed steps on the run's repository, on the host's side.

Remote, base branch and author come from the typed task in the room; the only thing a caller words is the commit
message. Secrets never pass through here. A push acts once: its probe asks the remote whether our commit is there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from pydantic import Field

from ooda.clock import to_datetime
from ooda.errors import CredentialError, IntegrationError, TaskSpecError, ToolFailedError
from ooda.governance.call import ProbeAnswer, ToolOutcome
from ooda.governance.operations import Operation
from ooda.services.git import Diff
from ooda.tools.declare import tool
from ooda.tools.room import ToolRoom
from ooda.tools.text import plural, size

__all__ = ["git_branch", "git_clone", "git_commit", "git_diff", "git_push"]

_REMOTE_S = 3600.0
_SHOWN_FILES = 40
_FRAME_BYTES = 3_000


def _remote(room: ToolRoom, arguments: Any) -> tuple[str, ...]:
    return (room.target.remote.url,) if room.target is not None else ()


def _remote_branch(room: ToolRoom, arguments: Any) -> tuple[str, ...]:
    branch = room.git.branch if room.git is not None else ""
    return (*_remote(room, arguments), branch)


@tool(operation=Operation.WRITE_WORKSPACE, effect="local", timeout_s=_REMOTE_S, targets=_remote)
async def git_clone(room: ToolRoom) -> ToolOutcome:
    """Clone the task's repository into the workspace and check out the task's base branch."""
    repository, target = room.the_repository()
    with _told():
        done = await repository.clone(target.remote, target.base)
    warnings = "".join(f"\nWarning: {warning}." for warning in done.warnings)
    return ToolOutcome(
        text=f"Cloned {target.remote.url}, branch {done.branch} at {done.commit[:12]}: "
        f"{plural(done.files, 'file')}, {size(done.size_bytes)} of history.{warnings}",
        data={
            "branch": done.branch,
            "commit": done.commit,
            "files": done.files,
            "size_bytes": done.size_bytes,
            "warnings": list(done.warnings),
        },
    )


@tool(operation=Operation.WRITE_WORKSPACE, effect="local", timeout_s=300, targets=_remote)
async def git_branch(room: ToolRoom) -> ToolOutcome:
    """Make and enter the feature branch named by the run's date and the task's title."""
    repository, target = room.the_repository()
    day = to_datetime(room.started_at_ns or room.clock.now_ns()).date()
    with _told():
        name = await repository.create_branch(target.remote, target.base, target.title, day)
    return ToolOutcome(text=f"On branch {name}.", data={"branch": name, "base": target.base})


@tool(operation=Operation.READ_WORKSPACE, effect="pure", timeout_s=300)
async def git_diff(
    room: ToolRoom, patch: Annotated[bool, Field(description="Show the changed lines, not only the files.")] = True
) -> ToolOutcome:
    """Show what the workspace changes against the base branch."""
    if room.git is None:
        raise ToolFailedError("this run has no repository to compare with")
    with _told():
        diff = await room.git.diff(text_bytes=max(0, room.output_bytes - _FRAME_BYTES) if patch else 0)
    facts = _facts(diff)
    if not diff.changes:
        return ToolOutcome(status="no_data", text="Nothing is changed." + _remarks(diff), data=facts)
    lines = [f"{change.status} {change.path} {_counts(change.insertions, change.deletions)}" for change in diff.changes]
    more = [f"… and {len(lines) - _SHOWN_FILES} more"] if len(lines) > _SHOWN_FILES else []
    cut = f"\n… {diff.text_bytes} bytes of changed lines in all" if len(diff.text.encode()) < diff.text_bytes else ""
    head = f"{plural(len(diff.changes), 'file')} changed, +{diff.insertions} -{diff.deletions}"
    text = "\n".join([head, *lines[:_SHOWN_FILES], *more]) + _remarks(diff)
    return ToolOutcome(text=f"{text}\n\n{diff.text}{cut}".rstrip(), data=facts)


@tool(operation=Operation.WRITE_WORKSPACE, effect="local", timeout_s=300)
async def git_commit(
    room: ToolRoom,
    message: Annotated[str, Field(min_length=1, max_length=20_000, description="Subject line, then the body.")],
) -> ToolOutcome:
    """Commit everything that is changed in the workspace to the feature branch."""
    repository, target = room.the_repository()
    with _told():
        done = await repository.commit(
            message, author=target.author, run=room.run, task=target.task, at_ns=room.clock.now_ns()
        )
    if done is None:
        return ToolOutcome(status="no_data", text="Nothing is changed, so there is nothing to commit.", data={})
    verb = "Committed" if done.is_new else "Already committed"
    remarks = [f"left out {entry}" for entry in done.left_out] + [f"look at {path}" for path in done.notices]
    return ToolOutcome(
        text=f"{verb} {plural(done.files, 'file')} as {done.hash[:12]} on {done.branch}."
        + "".join(f"\nNote: {remark}" for remark in remarks[:_SHOWN_FILES]),
        data={
            "commit": done.hash,
            "branch": done.branch,
            "files": done.files,
            "is_new": done.is_new,
            "left_out": list(done.left_out[:20]),
            "notices": list(done.notices[:20]),
        },
    )


async def _was_pushed(room: ToolRoom, arguments: Any, key: str) -> ProbeAnswer:
    repository, target = room.the_repository()
    return await repository.probe_push(target.remote, repository.branch)


@tool(
    operation=Operation.PUSH_FEATURE_BRANCH,
    effect="once",
    timeout_s=_REMOTE_S,
    targets=_remote_branch,
    probe=_was_pushed,
)
async def git_push(room: ToolRoom) -> ToolOutcome:
    """Push the feature branch to the task's remote, never by force."""
    repository, target = room.the_repository()
    branch = repository.branch
    if branch == target.base:
        raise ToolFailedError(
            f"`{branch}` is the base branch, which is never pushed to; make the feature branch first (git_branch)"
        )
    with _told():
        done = await repository.push(target.remote, branch)
    said = f" The remote says: {done.message}" if done.message else ""
    verb = "Pushed" if done.is_new else "The remote already has"
    return ToolOutcome(
        text=f"{verb} {branch} at {done.commit[:12]} to {done.remote}.{said}",
        data={"branch": branch, "commit": done.commit, "remote": done.remote, "is_new": done.is_new},
    )


@contextmanager
def _told() -> Iterator[None]:
    """Failures of the remote and of the task's own facts, as what a decider reads. Retries lie behind them."""
    try:
        yield
    except (IntegrationError, CredentialError, TaskSpecError) as error:
        raise ToolFailedError(str(error), **{"cause": type(error).__name__, **error.facts}) from error


def _facts(diff: Diff) -> dict[str, object]:
    return {
        "files": [change.path for change in diff.changes[:_SHOWN_FILES]],
        "files_changed": len(diff.changes),
        "insertions": diff.insertions,
        "deletions": diff.deletions,
        "left_out": list(diff.left_out[:20]),
        "notices": list(diff.notices[:20]),
    }


def _counts(insertions: int, deletions: int) -> str:
    return "(binary)" if insertions < 0 else f"+{insertions} -{deletions}"


def _remarks(diff: Diff) -> str:
    return "".join(f"\nLeft out: {entry}" for entry in diff.left_out[:20])
