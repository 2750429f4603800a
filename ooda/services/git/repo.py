"""`WorkRepo`: the repository of one run, on the host's side of the wall.

Its GIT_DIR belongs to the host and lies outside the workspace; the agent's tree is only ever its work tree, and the
agent's own throw-away `.git` is never read. Remotes come typed from the task. One operation runs at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path

from ooda.errors import TaskSpecError, ToolArgumentsError, nearest
from ooda.governance.call import ProbeAnswer
from ooda.services.git.branch import branch_name, is_valid_branch, unique_branch
from ooda.services.git.command import GitRunner, GitSettings
from ooda.services.git.home import give_inner_git, make_home
from ooda.services.git.intake import Intake, Taken, printable
from ooda.services.git.remote import Remote
from ooda.services.git.snapshots import Moment, Restoration, Snapshot, Snapshots
from ooda.services.git.transport import Transport
from ooda.services.git.values import Author, Change, Cloned, Commit, Diff, Pushed
from ooda.services.git.worktree import WorkTree

__all__ = ["WorkRepo"]

_BASE = "refs/ooda/base"
_DIFF = ("diff-tree", "-r", "--no-renames", "--no-ext-diff", "--no-textconv", "--no-color", "--ignore-submodules=all")


class WorkRepo:
    """One run's repository.

    Args:
        git_dir: Host-owned folder for the repository, outside every sandbox; made with mode 0700.
        workspace: The agent's tree. Files put there get its owner when we are root (the sandbox works as another user).
        is_owned: Whether the workspace is the run's own clone (False: a person's folder).
        sleep: How to wait between tries of a remote operation.
    """

    def __init__(
        self,
        git_dir: Path,
        workspace: Path,
        *,
        is_owned: bool = True,
        settings: GitSettings | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.git_dir = git_dir.absolute()
        self.workspace = workspace.absolute()
        self._settings = settings or GitSettings()
        self._runner = GitRunner(self.git_dir, self._settings)
        self._transport = Transport(self._runner, self._settings, sleep)
        self._tree = WorkTree(self.workspace)
        self._intake = Intake(self._runner, self._tree)
        self._snapshots = Snapshots(self._runner, self._tree, self._intake, is_owned=is_owned)
        self._lock = asyncio.Lock()
        self._is_ready = False

    async def clone(self, remote: Remote, branch: str) -> Cloned:
        """Fetch `branch` with its whole history and fill the workspace with it. May be repeated before any work.

        Raises:
            TaskSpecError: the remote has no such branch (its branches are named), or no commit at all.
            CredentialError: the remote wants other credentials.
            IntegrationError: the remote cannot be reached, even after retries.
        """
        async with self._turn():
            heads = await self._transport.heads(remote)
            if branch not in heads:
                raise TaskSpecError(_no_branch(remote, branch, heads))
            tracking = f"refs/remotes/origin/{branch}"
            await self._transport.fetch(remote, branch, tracking)
            commit = (await self._runner.run("rev-parse", tracking)).text()
            await self._runner.run("update-ref", _BASE, commit)
            await self._runner.run("update-ref", f"refs/heads/{branch}", commit)
            await self._runner.run("symbolic-ref", "HEAD", f"refs/heads/{branch}")
            self.workspace.mkdir(parents=True, exist_ok=True)
            limit_s = self._settings.remote_timeout_s
            await self._runner.run("read-tree", "--reset", "-u", commit, work_tree=self.workspace, timeout_s=limit_s)
            size_bytes, warnings = await self._packed_bytes(), []
            if size_bytes > self._settings.large_bytes:
                warnings.append(f"the history is {size_bytes / (1 << 30):.1f} GiB; clone and push take longer")
            if not await give_inner_git(self._runner, self._settings, self.workspace, branch, size_bytes):
                warnings.append("the history is too large to be copied into the sandbox; `git log` does not work there")
            warnings += await self._not_fetched()
            await self._runner.off_loop(self._tree.give_away)
            files = len((await self._runner.run("ls-files", "-z")).fields())
            return Cloned(branch=branch, commit=commit, files=files, size_bytes=size_bytes, warnings=tuple(warnings))

    async def adopt(self) -> None:
        """Take a folder as it is, without a remote: for snapshots and diffs of a person's own folder. Idempotent."""
        async with self._turn():
            if (await self._runner.run("rev-parse", "--verify", "-q", _BASE, ok=(0, 1))).exit_code:
                taken = await self._intake.take()
                commit = await self._commit_tree(taken.tree, (), "As found\n", Author(), 0)
                await self._runner.run("update-ref", _BASE, commit)
                await self._runner.run("update-ref", "HEAD", commit)

    async def create_branch(self, remote: Remote, base: str, title: str, day: date) -> str:
        """Make and enter `feat/YYYYMMDD-<slug>`, unlike any branch of the remote; a second call finds the first's."""
        async with self._turn():
            current = self.branch
            if current != base:
                return current
            name = unique_branch(branch_name(day, title), set(await self._transport.heads(remote)))
            await self._runner.run("update-ref", f"refs/heads/{name}", await self._id("HEAD"))
            await self._runner.run("symbolic-ref", "HEAD", f"refs/heads/{name}")
            return name

    @property
    def branch(self) -> str:
        """The branch commits go to; empty before the clone."""
        head = self.git_dir / "HEAD"
        return head.read_text().strip().removeprefix("ref: refs/heads/") if head.exists() else ""

    async def head(self) -> str:
        """Id of the last commit."""
        async with self._turn():
            return await self._id("HEAD")

    async def diff(self, *, text_bytes: int = 0, since_commit: bool = False) -> Diff:
        """What the work tree changes against the base (or the last commit), with at most `text_bytes` of patch."""
        async with self._turn():
            taken = await self._intake.take()
            since = "HEAD" if since_commit else _BASE
            found = Diff(changes=await self._changes(since, taken.tree), left_out=taken.left_out, notices=taken.notices)
            if not text_bytes or not found.changes:
                return found
            patch = await self._runner.run(*_DIFF, "-p", since, taken.tree, max_bytes=text_bytes)
            return Diff(
                changes=found.changes,
                text=patch.out.decode(errors="replace"),
                text_bytes=patch.out_bytes,
                left_out=taken.left_out,
                notices=taken.notices,
            )

    async def diff_to(self, other: WorkRepo, *, text_bytes: int = 0) -> Diff:
        """What turns this work tree into another run's, with at most `text_bytes` of patch; neither is changed."""
        async with self._turn(), other._turn():
            ours, theirs = (await self._intake.take()).tree, (await other._intake.take()).tree
            env = {"GIT_ALTERNATE_OBJECT_DIRECTORIES": str(other.git_dir / "objects")}
            changes = await self._changes(ours, theirs, env)
            if not text_bytes or not changes:
                return Diff(changes=changes)
            patch = await self._runner.run(*_DIFF, "-p", ours, theirs, max_bytes=text_bytes, env=env)
            return Diff(changes=changes, text=patch.out.decode(errors="replace"), text_bytes=patch.out_bytes)

    async def commit(self, message: str, *, author: Author, run: str, task: str, at_ns: int) -> Commit | None:
        """Commit the whole work tree with trailers `Ooda-Run` and `Ooda-Task`; None when there is nothing to commit.

        When the tree is what this run committed last, that commit is given again (`is_new` False).
        """
        async with self._turn():
            taken = await self._intake.take()
            head = await self._id("HEAD")
            if taken.tree == await self._id(f"{head}^{{tree}}"):
                return await self._as_commit(head, taken, is_new=False) if await self._is_by(head, run) else None
            text = _with_trailers(message, {"Ooda-Run": run, "Ooda-Task": task})
            made = await self._commit_tree(taken.tree, (head,), text, author, at_ns)
            await self._runner.run("update-ref", f"refs/heads/{self.branch}", made, head)
            return await self._as_commit(made, taken, is_new=True)

    async def probe_commit(self, run: str) -> ProbeAnswer:
        """Whether the last commit is of this run and holds the work tree as it is."""
        async with self._turn():
            tree = (await self._intake.take()).tree
            same = tree == await self._id("HEAD^{tree}")
            return "happened" if same and await self._is_by("HEAD", run) else "did_not"

    async def push(self, remote: Remote, branch: str) -> Pushed:
        """Push the last commit of `branch` to the branch of the same name, never by force.

        Raises:
            ToolFailedError: the remote refused it; nothing was pushed. The message carries the remote's own words.
            CredentialError, IntegrationError: it was not let in, or not reached.
        """
        if not is_valid_branch(branch):
            raise ToolArgumentsError(f"{branch!r} is no branch name git takes; use feat/YYYYMMDD-words")
        async with self._turn():
            return await self._transport.push(remote, branch, await self._id(f"refs/heads/{branch}"))

    async def probe_push(self, remote: Remote, branch: str) -> ProbeAnswer:
        """Whether the remote's branch holds our last commit of it; `unknown` when the remote does not answer."""
        async with self._turn():
            commit = (await self._runner.run("rev-parse", "--verify", "-q", f"refs/heads/{branch}", ok=(0, 1))).text()
            return await self._transport.holds(remote, branch, commit) if commit else "did_not"

    async def snapshot(self, step: int, moment: Moment = "before") -> Snapshot:
        """Keep the work tree as it is before (or after) a step that writes."""
        async with self._turn():
            return await self._snapshots.take(step, moment)

    async def snapshot_steps(self) -> tuple[int, ...]:
        """Steps that can be gone back to."""
        async with self._turn():
            return await self._snapshots.steps()

    async def preview(self, step: int) -> Restoration:
        """What `restore(step)` would write, remove and keep. ToolArgumentsError when there is no such snapshot."""
        async with self._turn():
            return await self._snapshots.preview(step)

    async def restore(self, step: int) -> Restoration:
        """Put back exactly the paths that differ from before `step`; the present state is kept under a reference."""
        async with self._turn():
            return await self._snapshots.restore(step)

    def close(self) -> None:
        """Let go of threads; the repository stays. Idempotent."""
        self._runner.close()

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """One operation at a time, on a repository that is made and ready."""
        async with self._lock:
            if not self._is_ready:
                await make_home(self._runner)
                self._is_ready = True
            yield

    async def _id(self, name: str) -> str:
        return (await self._runner.run("rev-parse", "--verify", name)).text()

    async def _not_fetched(self) -> list[str]:
        found = []
        if (self.git_dir / "shallow").exists():
            found.append("the remote is a shallow clone itself, so older commits are missing")
        attributes = await self._runner.run("cat-file", "-p", "HEAD:.gitattributes", ok=(0, 128))
        if b"filter=lfs" in attributes.out:
            found.append("files kept in Git LFS are there as pointers only")
        if (await self._runner.run("ls-tree", "HEAD", ".gitmodules")).out:
            found.append("submodules are not fetched; their folders are empty")
        return found

    async def _packed_bytes(self) -> int:
        facts = dict(line.split(": ", 1) for line in (await self._runner.run("count-objects", "-v")).lines())
        return (int(facts["size-pack"]) + int(facts["size"])) * 1024

    async def _is_by(self, commit: str, run: str) -> bool:
        form = "--format=%(trailers:key=Ooda-Run,valueonly,separator=%x00)"
        return (await self._runner.run("log", "-1", form, commit)).text() == run

    async def _commit_tree(self, tree: str, parents: tuple[str, ...], text: str, author: Author, at_ns: int) -> str:
        env = {
            f"GIT_{role}_{fact}": value
            for role in ("AUTHOR", "COMMITTER")
            for fact, value in (
                ("NAME", author.name),
                ("EMAIL", author.email),
                ("DATE", f"@{at_ns // 1_000_000_000} +0000"),
            )
        }
        arguments = [word for parent in parents for word in ("-p", parent)]
        made = await self._runner.run(
            "commit-tree", "--no-gpg-sign", tree, *arguments, "-F", "-", stdin=text.encode(), env=env
        )
        return made.text()

    async def _as_commit(self, commit: str, taken: Taken, *, is_new: bool) -> Commit:
        return Commit(
            hash=commit,
            branch=self.branch,
            files=len(await self._changes(_BASE, taken.tree)),
            is_new=is_new,
            left_out=taken.left_out,
            notices=taken.notices,
        )

    async def _changes(self, since: str, tree: str, env: Mapping[str, str] | None = None) -> tuple[Change, ...]:
        letters = (await self._runner.run(*_DIFF, "-z", "--name-status", since, tree, env=env)).fields()
        counts = (await self._runner.run(*_DIFF, "-z", "--numstat", since, tree, env=env)).fields()
        return tuple(
            Change(printable(path), status, _count(added), _count(removed))
            for status, path, (added, removed) in zip(
                letters[::2], letters[1::2], (line.split("\t")[:2] for line in counts), strict=True
            )
        )


def _count(number: str) -> int:
    return -1 if number == "-" else int(number)


def _no_branch(remote: Remote, branch: str, heads: dict[str, str]) -> str:
    if not heads:
        return f"the repository {remote.url} is empty: it has no branch to start from. Push a first commit to it"
    shown = ", ".join(f"`{name}`" for name in sorted(heads)[:10]) + (" …" if len(heads) > 10 else "")
    near = nearest(branch, heads)
    hint = f"Did you mean `{near}`? " if near else ""
    return f"the repository {remote.url} has no branch `{branch}`. {hint}It has {shown}. Set repository.branch"


def _with_trailers(message: str, trailers: dict[str, str]) -> str:
    lines = [f"{name}: {' '.join(value.split())}" for name, value in trailers.items() if value.strip()]
    return message.strip() + "\n\n" + "\n".join(lines) + "\n"
