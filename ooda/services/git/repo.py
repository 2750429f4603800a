"""`WorkRepo`: the repository of one run, on the host's side of the wall.

Its GIT_DIR belongs to the host and lies outside the workspace; the agent's tree is only ever its work tree, and the
agent's own throw-away `.git` is never read. Remotes come typed from the task. Operations that reach a remote are
retried with back-off while it cannot be reached; errors name what git said and what to do.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from datetime import date
from pathlib import Path

import msgspec

from ooda.errors import IntegrationError, TaskSpecError, ToolArgumentsError, ToolFailedError, nearest
from ooda.governance.call import ProbeAnswer
from ooda.services.git.branch import branch_name, is_valid_branch, unique_branch
from ooda.services.git.command import GitResult, GitRunner, GitSettings
from ooda.services.git.explain import explain, push_error, read_push
from ooda.services.git.intake import EXCLUDED, Intake, Taken, printable
from ooda.services.git.lend import ASKPASS, lend
from ooda.services.git.remote import Remote
from ooda.services.git.snapshots import Moment, Restoration, Snapshot, Snapshots
from ooda.services.git.worktree import WorkTree

__all__ = ["Author", "Change", "Cloned", "Commit", "Diff", "Pushed", "WorkRepo"]

_BASE = "refs/ooda/base"
_INNER_DEPTH = 50
_INNER_MAX_BYTES = 200 << 20
_NOTHING = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
"""The empty tree (git hash-object -t tree /dev/null)."""


class Author(msgspec.Struct, frozen=True):
    """Who a commit is by."""

    name: str = "ooda"
    email: str = "ooda@localhost"


class Cloned(msgspec.Struct, frozen=True, kw_only=True):
    branch: str
    commit: str
    files: int
    size_bytes: int
    """Of the packed history."""
    warnings: tuple[str, ...] = ()


class Change(msgspec.Struct, frozen=True):
    """One changed file; counts are -1 for a binary one."""

    path: str
    status: str
    """git's letter: A added, D deleted, M modified, R renamed, T changed kind."""
    insertions: int
    deletions: int


class Diff(msgspec.Struct, frozen=True, kw_only=True):
    """What the work tree changes against the base."""

    changes: tuple[Change, ...] = ()
    text: str = ""
    text_bytes: int = 0
    """Size of the whole diff; `text` may be cut."""
    left_out: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()

    @property
    def insertions(self) -> int:
        return sum(max(0, change.insertions) for change in self.changes)

    @property
    def deletions(self) -> int:
        return sum(max(0, change.deletions) for change in self.changes)


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    hash: str
    branch: str
    files: int
    is_new: bool
    """False when the commit of an earlier attempt was found."""
    left_out: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()


class Pushed(msgspec.Struct, frozen=True, kw_only=True):
    branch: str
    commit: str
    remote: str
    is_new: bool
    """False when the remote had it already."""
    message: str = ""
    """What the remote printed, often the address for a pull request."""


class WorkRepo:
    """One run's repository.

    Args:
        git_dir: Host-owned folder for the repository, outside every sandbox; made with mode 0700.
        workspace: The agent's tree. Files put there get its owner when we are root (the sandbox works as another user).
        is_owned: Whether the workspace is the run's own clone (False: a person's folder).
        sleep: How to wait between tries.
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
        self._tree = WorkTree(self.workspace)
        self._intake = Intake(self._runner, self._tree)
        self._snapshots = Snapshots(self._runner, self._tree, self._intake, is_owned=is_owned)
        self._sleep = sleep
        self._lock = asyncio.Lock()

    # -- start ----------------------------------------------------------------------------------------------------

    async def clone(self, remote: Remote, branch: str) -> Cloned:
        """Fetch `branch` with its whole history and fill the workspace with it. May be repeated before any work.

        Raises:
            TaskSpecError: the remote has no such branch (its branches are named), or no commit at all.
            CredentialError: the remote wants other credentials.
            IntegrationError: the remote cannot be reached, even after retries.
        """
        async with self._lock:
            heads = await self._heads(remote)
            if not heads:
                raise TaskSpecError(
                    f"the repository {remote.url} is empty: it has no branch to start from. Push a first commit to it"
                )
            if branch not in heads:
                raise TaskSpecError(_no_branch(remote, branch, heads))
            await self._prepare()
            await self._remotely(
                remote,
                "clone",
                "fetch",
                "--quiet",
                "--force",
                "--no-write-fetch-head",
                "--no-recurse-submodules",
                remote.url,
                f"+refs/heads/{branch}:refs/remotes/origin/{branch}",
            )
            commit = (await self._runner.run("rev-parse", f"refs/remotes/origin/{branch}")).text()
            await self._runner.run("update-ref", _BASE, commit)
            await self._runner.run("update-ref", f"refs/heads/{branch}", commit)
            await self._runner.run("symbolic-ref", "HEAD", f"refs/heads/{branch}")
            self.workspace.mkdir(parents=True, exist_ok=True)
            limit_s = self._settings.remote_timeout_s
            await self._runner.run("read-tree", "--reset", "-u", commit, work_tree=self.workspace, timeout_s=limit_s)
            size_bytes = await self._packed_bytes()
            warnings = await self._warnings(size_bytes)
            await self._inner_git(branch, size_bytes)
            await self._runner.off_loop(self._tree.give_away)
            files = len((await self._runner.run("ls-files", "-z")).fields())
            return Cloned(branch=branch, commit=commit, files=files, size_bytes=size_bytes, warnings=warnings)

    async def adopt(self) -> None:
        """Take a folder as it is, without a remote: for snapshots and diffs of a person's own folder."""
        async with self._lock:
            await self._prepare()
            if (await self._runner.run("rev-parse", "--verify", "-q", _BASE, ok=(0, 1))).exit_code:
                taken = await self._intake.take()
                commit = await self._commit_tree(taken.tree, (), "As found", Author(), 0)
                await self._runner.run("update-ref", _BASE, commit)
                await self._runner.run("update-ref", "HEAD", commit)

    async def create_branch(self, remote: Remote, base: str, title: str, day: date) -> str:
        """Make and enter `feat/YYYYMMDD-<slug>`, unlike any branch of the remote; a second call finds the first one."""
        async with self._lock:
            current = self.branch
            if current != base:
                return current
            name = unique_branch(branch_name(day, title), set(await self._heads(remote)))
            await self._runner.run("update-ref", f"refs/heads/{name}", await self._head())
            await self._runner.run("symbolic-ref", "HEAD", f"refs/heads/{name}")
            return name

    # -- look -----------------------------------------------------------------------------------------------------

    @property
    def branch(self) -> str:
        """The branch commits go to; empty before the clone."""
        head = self.git_dir / "HEAD"
        return head.read_text().strip().removeprefix("ref: refs/heads/") if head.exists() else ""

    async def head(self) -> str:
        """Id of the last commit."""
        return await self._head()

    async def diff(self, *, text_bytes: int = 0, committed_too: bool = True) -> Diff:
        """What the work tree changes against the base (or the last commit), with at most `text_bytes` of patch."""
        async with self._lock:
            taken = await self._intake.take()
            since = _BASE if committed_too else "HEAD"
            changes = await self._changes(since, taken.tree)
            patch = GitResult(0, b"", "", 0)
            if text_bytes and changes:
                patch = await self._runner.run(*_DIFF, "-p", since, taken.tree, max_bytes=text_bytes)
            return Diff(
                changes=changes,
                text=patch.out.decode(errors="replace"),
                text_bytes=patch.out_bytes,
                left_out=taken.left_out,
                notices=taken.notices,
            )

    # -- keep -----------------------------------------------------------------------------------------------------

    async def commit(self, message: str, *, author: Author, run: str, task: str, at_ns: int) -> Commit | None:
        """Commit the whole work tree with trailers `Ooda-Run` and `Ooda-Task`; None when there is nothing to commit.

        When the tree is what this run committed last, that commit is given again (`is_new` False).
        """
        async with self._lock:
            taken = await self._intake.take()
            head = await self._head()
            branch = self.branch
            if taken.tree == await self._tree_of(head):
                if not await self._is_by(head, run):
                    return None
                return await self._as_commit(head, branch, taken, is_new=False)
            text = _with_trailers(message, {"Ooda-Run": run, "Ooda-Task": task})
            made = await self._commit_tree(taken.tree, (head,), text, author, at_ns)
            await self._runner.run("update-ref", f"refs/heads/{branch}", made, head)
            return await self._as_commit(made, branch, taken, is_new=True)

    async def probe_commit(self, run: str) -> ProbeAnswer:
        """Whether the last commit is of this run and holds the work tree as it is."""
        async with self._lock:
            head = await self._head()
            taken = await self._intake.take()
            same = taken.tree == await self._tree_of(head)
            return "happened" if same and await self._is_by(head, run) else "did_not"

    async def push(self, remote: Remote, branch: str) -> Pushed:
        """Push the last commit of `branch` to the branch of the same name, never by force.

        Raises:
            ToolFailedError: the remote refused it; nothing was pushed. The message carries the remote's own words.
            CredentialError, IntegrationError: it was not let in, or not reached.
        """
        if not is_valid_branch(branch):
            raise ToolArgumentsError(f"{branch!r} is no branch name git takes; use feat/YYYYMMDD-words")
        async with self._lock:
            commit = (await self._runner.run("rev-parse", f"refs/heads/{branch}")).text()
            result = await self._remotely(
                remote,
                "push to",
                "push",
                "--porcelain",
                "--no-verify",
                "--no-signed",
                "--no-follow-tags",
                "--recurse-submodules=no",
                remote.url,
                f"{commit}:refs/heads/{branch}",
                ok=(0, 1),
            )
            line = read_push(result.out.decode(errors="replace"))
            if line is None:
                failed = IntegrationError("git push gave no answer", stderr=result.err, status=result.exit_code)
                raise explain(failed, remote, "push to")
            if line.flag == "!":
                raise push_error(line, result.err, remote, branch)
            words = [text.removeprefix("remote:").strip() for text in result.err.splitlines() if "remote:" in text]
            return Pushed(
                branch=branch,
                commit=commit,
                remote=remote.url,
                is_new=line.flag != "=",
                message=" ".join(word for word in words if word)[:1000],
            )

    async def probe_push(self, remote: Remote, branch: str) -> ProbeAnswer:
        """Whether the remote's branch holds our last commit of it; `unknown` when the remote does not answer."""
        async with self._lock:
            found = await self._runner.run("rev-parse", "--verify", "-q", f"refs/heads/{branch}", ok=(0, 1))
            commit = found.text()
            if not commit:
                return "did_not"
            try:
                theirs = (await self._heads(remote)).get(branch)
                if theirs is None:
                    return "did_not"
                if theirs == commit:
                    return "happened"
                await self._remotely(
                    remote,
                    "look at",
                    "fetch",
                    "--quiet",
                    "--no-write-fetch-head",
                    "--no-tags",
                    remote.url,
                    f"+refs/heads/{branch}:refs/ooda/theirs",
                )
            except (IntegrationError, ToolFailedError):
                return "unknown"
            within = await self._runner.run("merge-base", "--is-ancestor", commit, "refs/ooda/theirs", ok=(0, 1))
            return "happened" if within.exit_code == 0 else "did_not"

    async def snapshot(self, step: int, moment: Moment = "before") -> Snapshot:
        """Keep the work tree as it is before (or after) a step that writes."""
        async with self._lock:
            return await self._snapshots.take(step, moment)

    async def preview(self, step: int) -> Restoration:
        """What `restore(step)` would write, remove and keep."""
        async with self._lock:
            return await self._snapshots.preview(step)

    async def restore(self, step: int) -> Restoration:
        """Put back exactly the paths that differ from before `step`; the present state is kept under a ref."""
        async with self._lock:
            return await self._snapshots.restore(step)

    async def snapshot_steps(self) -> tuple[int, ...]:
        """Steps that can be gone back to."""
        return await self._snapshots.steps()

    def close(self) -> None:
        """Let go of threads; the repository stays. Idempotent."""
        self._runner.close()

    # -- private --------------------------------------------------------------------------------------------------

    async def _prepare(self) -> None:
        """The empty host-owned repository, with every way to run programs by attributes shut."""
        if not (self.git_dir / "HEAD").exists():
            self.git_dir.mkdir(parents=True, exist_ok=True)
            self.git_dir.chmod(0o700)
            await self._runner.run("init", "--quiet", "--bare", "--template=", str(self.git_dir))
        (self.git_dir / "index.lock").unlink(missing_ok=True)  # left by a killed process; the run's lease is ours alone
        info = self.git_dir / "info"
        info.mkdir(exist_ok=True)
        (info / "attributes").write_text("* !filter !diff !merge\n")
        (info / "exclude").write_text("\n".join(EXCLUDED) + "\n")
        (self.git_dir / "askpass").write_text(ASKPASS)
        (self.git_dir / "askpass").chmod(0o700)

    async def _remotely(self, remote: Remote, doing: str, *arguments: str, ok: tuple[int, ...] = (0,)) -> GitResult:
        """Run git against the remote, again while it cannot be reached; errors come explained."""
        from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential

        async def once() -> GitResult:
            with lend(
                remote,
                self.git_dir / "askpass",
                self.git_dir / "known_hosts",
                strict_host_keys=self._settings.strict_host_keys,
            ) as env:
                try:
                    return await self._runner.run(*arguments, env=env, timeout_s=self._settings.remote_timeout_s, ok=ok)
                except IntegrationError as error:
                    raise explain(error, remote, doing) from error

        retrying = AsyncRetrying(
            stop=stop_after_attempt(self._settings.attempts),
            wait=wait_random_exponential(multiplier=0.5, max=10),
            retry=retry_if_exception(_is_retryable),
            sleep=self._sleep,
            reraise=True,
        )
        return await retrying(once)

    async def _heads(self, remote: Remote) -> dict[str, str]:
        """Branches of the remote and their commits."""
        await self._prepare()
        listed = await self._remotely(remote, "read", "ls-remote", "--heads", remote.url)
        pairs = (line.split("\t", 1) for line in listed.lines() if "\t" in line)
        return {name.removeprefix("refs/heads/"): commit for commit, name in pairs}

    async def _inner_git(self, branch: str, size_bytes: int) -> None:
        """The sandbox's throw-away repository: some history to look at; nothing in it is ever read again by us."""
        inner = self.workspace / ".git"
        if inner.is_symlink() or inner.is_file():
            inner.unlink()
        elif inner.exists():
            shutil.rmtree(inner)
        if size_bytes > _INNER_MAX_BYTES:
            return
        await self._runner.run(
            "clone",
            "--quiet",
            "--bare",
            "--template=",
            f"--depth={_INNER_DEPTH}",
            "--single-branch",
            f"--branch={branch}",
            self.git_dir.as_uri(),
            str(inner),
            env={"GIT_ALLOW_PROTOCOL": "file"},
        )
        (inner / "config").write_text("[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n")
        local = GitRunner(inner, self._settings)
        try:
            await local.run("read-tree", "HEAD")
            await local.run("update-index", "-q", "--refresh", work_tree=self.workspace, ok=(0, 1))
        finally:
            local.close()

    async def _warnings(self, size_bytes: int) -> tuple[str, ...]:
        found = []
        if size_bytes > self._settings.large_bytes:
            found.append(f"the repository has {size_bytes / (1 << 30):.1f} GiB of history; clone and push take longer")
        large = await self._runner.run("grep", "-q", "filter=lfs", "HEAD", "--", ".gitattributes", ok=(0, 1))
        if large.exit_code == 0:
            found.append("files kept in Git LFS are there as pointers only")
        if (await self._runner.run("ls-tree", "-r", "HEAD", ".gitmodules")).out:
            found.append("submodules are not fetched; their folders are empty")
        return tuple(found)

    async def _packed_bytes(self) -> int:
        facts = dict(line.split(": ", 1) for line in (await self._runner.run("count-objects", "-v")).lines())
        return (int(facts.get("size-pack", 0)) + int(facts.get("size", 0))) * 1024

    async def _head(self) -> str:
        return (await self._runner.run("rev-parse", "HEAD")).text()

    async def _tree_of(self, commit: str) -> str:
        return (await self._runner.run("rev-parse", f"{commit}^{{tree}}")).text()

    async def _is_by(self, commit: str, run: str) -> bool:
        form = "--format=%(trailers:key=Ooda-Run,valueonly,separator=%x00)"
        return (await self._runner.run("log", "-1", form, commit)).text() == run

    async def _commit_tree(self, tree: str, parents: tuple[str, ...], text: str, author: Author, at_ns: int) -> str:
        moment = f"@{at_ns // 1_000_000_000} +0000"
        env = {
            f"GIT_{role}_{fact}": value
            for role in ("AUTHOR", "COMMITTER")
            for fact, value in (("NAME", author.name), ("EMAIL", author.email), ("DATE", moment))
        }
        arguments = [word for parent in parents for word in ("-p", parent)]
        made = await self._runner.run(
            "commit-tree", "--no-gpg-sign", tree, *arguments, "-F", "-", stdin=text.encode(), env=env
        )
        return made.text()

    async def _as_commit(self, commit: str, branch: str, taken: Taken, *, is_new: bool) -> Commit:
        files = await self._changes(_BASE, taken.tree)
        return Commit(
            hash=commit,
            branch=branch,
            files=len(files),
            is_new=is_new,
            left_out=taken.left_out,
            notices=taken.notices,
        )

    async def _changes(self, since: str, tree: str) -> tuple[Change, ...]:
        letters = (await self._runner.run(*_DIFF, "-z", "--name-status", since, tree)).fields()
        counts = (await self._runner.run(*_DIFF, "-z", "--numstat", since, tree)).fields()
        return tuple(
            Change(printable(path), status, _count(added), _count(removed))
            for status, path, (added, removed) in zip(
                letters[::2], letters[1::2], (line.split("\t")[:2] for line in counts), strict=True
            )
        )


_DIFF = ("diff-tree", "-r", "--no-renames", "--no-ext-diff", "--no-textconv", "--no-color", "--ignore-submodules=all")


def _count(number: str) -> int:
    return -1 if number == "-" else int(number)


def _is_retryable(error: BaseException) -> bool:
    return isinstance(error, IntegrationError) and bool(error.facts.get("retryable"))


def _no_branch(remote: Remote, branch: str, heads: dict[str, str]) -> str:
    shown = ", ".join(f"`{name}`" for name in sorted(heads)[:10]) + (" …" if len(heads) > 10 else "")
    near = nearest(branch, heads)
    hint = f"Did you mean `{near}`? " if near else ""
    return f"the repository {remote.url} has no branch `{branch}`. {hint}It has {shown}. Set repository.branch"


def _with_trailers(message: str, trailers: dict[str, str]) -> str:
    lines = [f"{name}: {' '.join(value.split())}" for name, value in trailers.items() if value]
    return message.strip() + "\n\n" + "\n".join(lines) + "\n"
