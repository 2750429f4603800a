"""What an agent can plant in its tree, and that none of it runs on the host.

Each payload touches a file when it fires. Every one is first shown to fire under plain git (so that the test is not
empty), then planted again and met by every operation of a run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import pytest

from ooda.services.git import Author, GitSettings, Remote, WorkRepo
from tests.services.git.hosts import git, make_remote

_PLAIN = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
_AUTHOR = "-c user.name=a -c user.email=a@b"


@dataclass(frozen=True)
class Payload:
    """Something planted in the tree; `{fire}` stands for the program that touches the marker."""

    trigger: str
    """Plain git command that a careless host would run."""
    config: str = ""
    """For the tree's `.git/config`."""
    attributes: str = ""
    files: dict[str, str] = field(default_factory=dict)
    nested: str = ""
    """Configuration of a repository in the subfolder `inner`, which is tracked there."""


_DRIVER = "* filter=evil diff=evil merge=evil\n"
PAYLOADS = {
    "hook pre-commit": Payload(f"git {_AUTHOR} commit -qam x", files={".git/hooks/pre-commit": "{fire}"}),
    "hook pre-push": Payload("git push -q {remote} HEAD:refs/heads/y", files={".git/hooks/pre-push": "{fire}"}),
    "hook post-checkout": Payload("git checkout -q -b y", files={".git/hooks/post-checkout": "{fire}"}),
    "hook post-index-change": Payload("git add -A", files={".git/hooks/post-index-change": "{fire}"}),
    "hooks path": Payload(
        f"git {_AUTHOR} commit -qam x",
        config="[core]\n\thooksPath = evil-hooks\n",
        files={"evil-hooks/pre-commit": "{fire}"},
    ),
    "fsmonitor": Payload("git status", config="[core]\n\tfsmonitor = {fire}\n"),
    "filter clean": Payload("git add -A", config='[filter "evil"]\n\tclean = {fire}\n', attributes=_DRIVER),
    "filter smudge": Payload(
        "rm app.py && git checkout -q app.py", config='[filter "evil"]\n\tsmudge = {fire}\n', attributes=_DRIVER
    ),
    "filter process": Payload("git add -A", config='[filter "evil"]\n\tprocess = {fire}\n', attributes=_DRIVER),
    "textconv": Payload("git diff", config='[diff "evil"]\n\ttextconv = {fire}\n', attributes=_DRIVER),
    "diff driver": Payload("git diff", config='[diff "evil"]\n\tcommand = {fire}\n', attributes=_DRIVER),
    "external diff": Payload("git diff", config="[diff]\n\texternal = {fire}\n"),
    "receivepack": Payload(
        "git push -q origin HEAD:refs/heads/y",
        config='[remote "origin"]\n\turl = {remote}\n\treceivepack = {fire}\n',
    ),
    "uploadpack": Payload("git fetch -q origin", config='[remote "origin"]\n\turl = {remote}\n\tuploadpack = {fire}\n'),
    "ssh command": Payload("git ls-remote -q git@127.0.0.1:x", config="[core]\n\tsshCommand = {fire}\n"),
    "url rewriting": Payload(
        "git -c protocol.ext.allow=always ls-remote -q {remote}",
        config='[url "ext::{fire} "]\n\tinsteadOf = /\n[protocol "ext"]\n\tallow = always\n',
    ),
    "alias": Payload("git st", config="[alias]\n\tst = !{fire}\n"),
    "pager": Payload(
        "script -qec 'git log' /dev/null", config="[core]\n\tpager = {fire}\n[pager]\n\tlog = {fire}\n\tdiff = {fire}\n"
    ),
    "editor": Payload(f"git {_AUTHOR} commit -qa", config="[core]\n\teditor = {fire}\n"),
    "credential helper": Payload(
        "printf 'protocol=https\\nhost=x\\n' | git credential fill", config="[credential]\n\thelper = {fire}\n"
    ),
    "askpass": Payload(
        "printf 'protocol=https\\nhost=x\\n' | git credential fill", config="[core]\n\taskPass = {fire}\n"
    ),
    "gpg program": Payload(
        f"git {_AUTHOR} commit -qam x", config="[commit]\n\tgpgSign = true\n[gpg]\n\tprogram = {fire}\n"
    ),
    "included configuration": Payload(
        "git status", config="[include]\n\tpath = ../evil.conf\n", files={"evil.conf": "[core]\n\tfsmonitor = {fire}\n"}
    ),
    "conditionally included configuration": Payload(
        "git status",
        config='[includeIf "gitdir:**"]\n\tpath = ../evil.conf\n',
        files={"evil.conf": "[core]\n\tfsmonitor = {fire}\n"},
    ),
    "worktree configuration": Payload(
        "git status",
        config="[core]\n\trepositoryformatversion = 1\n[extensions]\n\tworktreeConfig = true\n",
        files={".git/config.worktree": "[core]\n\tfsmonitor = {fire}\n"},
    ),
    "trailer command": Payload(
        "printf 'x\\n' | git interpret-trailers", config='[trailer "evil"]\n\tcommand = {fire}\n\tkey = Evil\n'
    ),
    "sequence editor": Payload(
        f"git {_AUTHOR} rebase -q -i --root", config="[sequence]\n\teditor = {fire}\n[rebase]\n\tautoStash = true\n"
    ),
    "nested repository, filter": Payload(
        "git status", nested='[filter "evil"]\n\tclean = {fire}\n', files={"inner/.gitattributes": _DRIVER}
    ),
    "nested repository, fsmonitor": Payload("git status", nested="[core]\n\tfsmonitor = {fire}\n"),
}


@pytest.fixture(scope="module")
def seed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A remote to copy: making one anew for every test would be most of its time."""
    return make_remote(tmp_path_factory.mktemp("seed"), {"app.py": "one\n", "docs/a.md": "a\n"})


class Ground:
    """A workspace and a remote, and the marker a payload leaves."""

    def __init__(self, folder: Path, seed: Path) -> None:
        self.folder = folder
        self.marker = folder / "fired"
        self.fire = folder / "fire.sh"
        self.fire.write_text(f"#!/bin/sh\ntouch {self.marker}\nexit 1\n")
        self.fire.chmod(0o755)
        self.bare = folder / "remote.git"
        shutil.copytree(seed, self.bare)

    def plant(self, workspace: Path, payload: Payload) -> None:
        """Write the payload as an agent with a shell would."""
        if payload.nested:
            inner = workspace / "inner"
            inner.mkdir()
            (inner / "f.txt").write_text("one\n")
            git(inner, "init", "--quiet")
            git(inner, "add", "--all")
            git(inner, "commit", "--quiet", "--message", "x")
            git(workspace, "add", "inner")
            self._append(inner / ".git/config", payload.nested)
            (inner / "f.txt").write_text("two\n")
        for name, content in payload.files.items():
            self._append(
                workspace / name, content if "{fire}" not in content or "\n" in content else "#!/bin/sh\n{fire}"
            )
            (workspace / name).chmod(0o755)
        self._append(workspace / ".gitattributes", payload.attributes)
        self._append(workspace / ".git/config", payload.config)
        (workspace / "app.py").write_text("two\n")

    def _append(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.read_text() if path.exists() else ""
        path.write_text(before + text.replace("{fire}", str(self.fire)).replace("{remote}", str(self.bare)))


@pytest.fixture
def ground(tmp_path: Path, seed: Path) -> Ground:
    return Ground(tmp_path, seed)


@pytest.mark.parametrize("name", PAYLOADS)
def test_the_payload_is_armed(ground: Ground, name: str) -> None:
    """Plain git on the agent's tree runs it: the test below is not empty."""
    payload = PAYLOADS[name]
    git(ground.folder, "clone", "--quiet", str(ground.bare), "plain")
    ground.plant(ground.folder / "plain", payload)
    command = payload.trigger.replace("{remote}", str(ground.bare))
    subprocess.run(command, shell=True, cwd=ground.folder / "plain", env=_PLAIN, capture_output=True, timeout=20)
    assert ground.marker.exists()


@pytest.mark.parametrize("name", PAYLOADS)
async def test_no_payload_fires_in_any_operation(ground: Ground, open_repo: Callable[..., WorkRepo], name: str) -> None:
    """Snapshot, diff, commit, push, probe, restore, and all of them again: nothing planted runs."""
    remote = Remote.parse(str(ground.bare))
    repo = open_repo()
    await repo.clone(remote, "main")
    branch = await repo.create_branch(remote, "main", "Fix", date(2026, 1, 1))
    await repo.snapshot(1)
    ground.plant(repo.workspace, PAYLOADS[name])
    for step in (2, 3):
        await repo.snapshot(step)
        (repo.workspace / "docs/a.md").write_text(f"{step}\n")
        assert await repo.commit("Fix", author=Author(), run="run-1", task="t", at_ns=10**18) is not None
    await repo.diff(text_bytes=10_000)
    await repo.push(remote, branch)
    await repo.probe_push(remote, branch)
    await repo.probe_commit("run-1")
    await repo.restore(1)
    assert (repo.workspace / "app.py").read_text() == "one\n"
    assert not ground.marker.exists()
    listed = git(ground.bare, "ls-tree", "-r", branch)
    assert "160000" not in listed
    assert "\t.git/" not in listed


async def test_attributes_name_no_program_even_where_one_is_configured(
    ground: Ground, open_repo: Callable[..., WorkRepo]
) -> None:
    """The second wall: should our own repository ever configure a driver, the tree cannot call it by its name."""
    repo = open_repo()
    await repo.clone(Remote.parse(str(ground.bare)), "main")
    for name in ("filter.evil.clean", "filter.evil.smudge", "diff.evil.command", "diff.evil.textconv"):
        git(repo.git_dir, "config", name, str(ground.fire))
    await repo.snapshot(1)
    (repo.workspace / ".gitattributes").write_text(_DRIVER)
    (repo.workspace / "app.py").write_text("two\n")
    await repo.diff(text_bytes=10_000)
    await repo.commit("Fix", author=Author(), run="run-1", task="t", at_ns=10**18)
    await repo.snapshot(2)
    (repo.workspace / "app.py").write_text("three\n")
    await repo.restore(2)
    assert (repo.workspace / "app.py").read_text() == "two\n"
    assert not ground.marker.exists()


async def test_nested_repositories_are_left_out_and_reported(
    ground: Ground, open_repo: Callable[..., WorkRepo]
) -> None:
    """As a gitlink they would point nowhere; disguised as plain files they would run on whoever checks them out."""
    repo = open_repo()
    await repo.clone(Remote.parse(str(ground.bare)), "main")
    for name in ("lib", "empty"):
        (repo.workspace / name).mkdir()
        git(repo.workspace / name, "init", "--quiet")
    (repo.workspace / "lib/x.py").write_text("x\n")
    git(repo.workspace / "docs", "init", "--quiet")
    (repo.workspace / "linked").mkdir()
    (repo.workspace / "linked/.git").write_text(f"gitdir: {ground.bare}\n")
    (repo.workspace / "linked/y.py").write_text("y\n")
    disguise = repo.workspace / "fixtures/repo"
    disguise.mkdir(parents=True)
    git(disguise, "init", "--quiet", "--bare")
    (disguise / "objects/aa").mkdir()
    (disguise / "objects/aa/bb").write_text("x")
    (disguise / "refs/heads/main").write_text("x")
    (repo.workspace / ".gitmodules").write_text('[submodule "x"]\n\tpath = x\n\turl = ./x\n\tupdate = !evil\n')
    (repo.workspace / "app.py").write_text("two\n")
    found = await repo.diff()
    assert [change.path for change in found.changes] == [".gitmodules", "app.py"]
    assert found.left_out == (
        "empty: a repository of its own",
        "fixtures/repo: a repository of its own",
        "lib: a repository of its own",
        "linked: a repository of its own",
        "docs/.git: git data inside the tree",
    )
    assert found.notices == (".gitmodules",)


async def test_special_files_are_left_out(ground: Ground, open_repo: Callable[..., WorkRepo]) -> None:
    """A pipe in the place of a tracked file blocks nobody; the file keeps its last content."""
    repo = open_repo()
    await repo.clone(Remote.parse(str(ground.bare)), "main")
    (repo.workspace / "app.py").unlink()
    os.mkfifo(repo.workspace / "app.py")
    os.mkfifo(repo.workspace / "pipe")
    found = await repo.diff()
    assert found.changes == ()
    assert found.left_out == ("app.py: no regular file below the size limit",)


async def test_a_link_swapped_in_never_leaks_a_host_file(ground: Ground, open_repo: Callable[..., WorkRepo]) -> None:
    """While a process of the agent swaps a file and a folder for links to the host, no snapshot holds host content."""
    secret = ground.folder / "secrets"
    secret.mkdir()
    (secret / "key").write_text("HOST SECRET\n")
    repo = open_repo()
    await repo.clone(Remote.parse(str(ground.bare)), "main")
    workspace = repo.workspace
    (workspace / "dir").mkdir()
    stop = threading.Event()
    turns = 0

    def swap() -> None:
        nonlocal turns
        while not stop.is_set():
            (workspace / "tmp").write_text(f"{turns}\n")
            os.replace(workspace / "tmp", workspace / "key")
            os.symlink(secret / "key", workspace / "tmp")
            os.replace(workspace / "tmp", workspace / "key")
            if (workspace / "dir").is_symlink():
                os.unlink(workspace / "dir")
                os.mkdir(workspace / "dir")
                (workspace / "dir/key").write_text(f"{turns}\n")
            else:
                os.rename(workspace / "dir", workspace / f".old{turns % 2}-{turns}")
                os.symlink(secret, workspace / "dir")
            turns += 1

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for step in range(6):
            await repo.snapshot(step)
    finally:
        stop.set()
        thread.join()
    assert turns > 6
    objects = git(repo.git_dir, "cat-file", "--batch-all-objects", "--batch-check=%(objectname) %(objecttype)")
    blobs = [line.split()[0] for line in objects.splitlines() if line.endswith("blob")]
    assert len(blobs) > 3
    assert not [blob for blob in blobs if git(repo.git_dir, "cat-file", "-p", blob) == "HOST SECRET"]


async def test_git_reads_no_content_from_the_agents_tree(
    ground: Ground, open_repo: Callable[..., WorkRepo], tmp_path: Path
) -> None:
    """git opens files of its work tree by name, so a link swapped in between its look and its open would be followed.
    The only commands that are given the agent's tree compare and list; what is stored comes from a copy of ours."""
    spy, seen = tmp_path / "spy", tmp_path / "seen"
    spy.write_text(f'#!/bin/sh\necho "$*" >>{seen}\nexec /usr/bin/git "$@"\n')
    spy.chmod(0o755)
    repo = open_repo(settings=GitSettings(git=str(spy)))
    await repo.clone(Remote.parse(str(ground.bare)), "main")
    seen.unlink()
    await repo.snapshot(1)
    (repo.workspace / "app.py").write_text("two\n")
    (repo.workspace / "new.py").write_text("new\n")
    await repo.commit("Fix", author=Author(), run="run-1", task="t", at_ns=10**18)
    await repo.restore(1)
    calls = seen.read_text().splitlines()
    in_tree = [
        call.partition(" advice.detachedHead=false ")[2] for call in calls if f"--work-tree={repo.workspace} " in call
    ]
    assert {" ".join(call.split()[:3]) for call in in_tree} == {
        "ls-files -z -t",
        "update-index -q --ignore-submodules",
    }
    assert any("update-index -z --add" in call and "/intake-" in call for call in calls)


async def test_a_restore_writes_through_no_link(ground: Ground, open_repo: Callable[..., WorkRepo]) -> None:
    """A folder or file that became a link is put back; what the link points to is not touched."""
    outside = ground.folder / "outside"
    outside.mkdir()
    (outside / "a.md").write_text("mine\n")
    repo = open_repo()
    await repo.clone(Remote.parse(str(ground.bare)), "main")
    await repo.snapshot(1)
    (repo.workspace / "docs/a.md").unlink()
    (repo.workspace / "docs").rmdir()
    (repo.workspace / "docs").symlink_to(outside)
    (repo.workspace / "app.py").unlink()
    (repo.workspace / "app.py").symlink_to(outside / "a.md")
    done = await repo.restore(1)
    assert (done.written, done.removed, done.kept) == (("app.py", "docs/a.md"), ("docs",), ())
    assert (outside / "a.md").read_text() == "mine\n"
    assert (repo.workspace / "docs/a.md").read_text() == "a\n"
    assert not (repo.workspace / "docs").is_symlink()
