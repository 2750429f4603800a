"""Git tools over a real repository: a run's fixed steps, what they answer, and what a model cannot choose."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ooda.clock import ManualClock
from ooda.errors import ToolArgumentsError, ToolFailedError
from ooda.services.git import GitSettings, Remote, WorkRepo
from ooda.tools.room import GitTarget, ToolRoom
from tests.services.git.hosts import git, make_remote
from tests.tools.bench import Bench

_START_NS = 1_795_000_000 * 10**9
"""2026-11-18 UTC."""


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    return make_remote(tmp_path / "host", {"app.py": "print('one')\n"})


@pytest.fixture
def git_bench(tmp_path: Path, bare: Path) -> Iterator[Bench]:
    """A run's tools over its repository; no sandbox is needed for git."""

    async def no_wait(seconds: float) -> None:
        assert seconds >= 0

    settings = GitSettings(attempts=2)
    repo = WorkRepo(tmp_path / "run/git", tmp_path / "run/workspace", settings=settings, sleep=no_wait)
    target = GitTarget(remote=Remote.parse(str(bare)), base="main", title="Fix the crash", task="task-7")
    room = ToolRoom(run="run-1", clock=ManualClock(_START_NS), git=repo, target=target)
    yield Bench(room, tmp_path / "run/workspace")
    repo.close()


async def test_a_run_clones_branches_commits_and_pushes(git_bench: Bench, bare: Path) -> None:
    """The five steps with their facts, as a policy reads them."""
    cloned = await git_bench("git_clone")
    assert (cloned.data["branch"], cloned.data["files"], cloned.data["warnings"]) == ("main", 1, [])
    branched = await git_bench("git_branch")
    assert branched.data == {"branch": "feat/20261118-fix-the-crash", "base": "main"}
    (git_bench.workspace / "app.py").write_text("print('two')\n")
    shown = await git_bench("git_diff")
    assert shown.text.startswith("1 file changed, +1 -1\nM app.py +1 -1\n\ndiff --git a/app.py b/app.py\n")
    assert shown.data["files"] == ["app.py"]
    committed = await git_bench("git_commit", message="Fix the crash\n\ntask-7: print two.")
    pushed = await git_bench("git_push")
    assert pushed.data["commit"] == committed.data["commit"] == git(bare, "rev-parse", "feat/20261118-fix-the-crash")
    assert pushed.text.startswith("Pushed feat/20261118-fix-the-crash at ")


async def test_the_date_of_the_branch_is_the_runs_start(git_bench: Bench) -> None:
    """So that a run resumed or replayed on another day keeps its name."""
    git_bench.refit(started_at_ns=1_700_000_000 * 10**9)
    await git_bench("git_clone")
    assert (await git_bench("git_branch")).data["branch"] == "feat/20231114-fix-the-crash"


async def test_nothing_to_commit_is_no_data(git_bench: Bench) -> None:
    """And so is a diff of nothing."""
    await git_bench("git_clone")
    assert (await git_bench("git_diff")).status == "no_data"
    assert (await git_bench("git_commit", message="x")).status == "no_data"


async def test_the_base_branch_is_never_pushed_to(git_bench: Bench, bare: Path) -> None:
    """Whatever order the steps come in."""
    await git_bench("git_clone")
    (git_bench.workspace / "app.py").write_text("x\n")
    before = git(bare, "rev-parse", "main")
    await git_bench("git_commit", message="x")
    with pytest.raises(ToolFailedError, match="`main` is the base branch"):
        await git_bench("git_push")
    assert git(bare, "rev-parse", "main") == before


async def test_targets_come_from_the_task(git_bench: Bench) -> None:
    """What the gate binds a grant to: remote and branch, before anything is done."""
    await git_bench("git_clone")
    await git_bench("git_branch")
    remote = git_bench.room.target.remote.url if git_bench.room.target else ""
    push = git_bench.toolbox.find("git_push")
    clone = git_bench.toolbox.find("git_clone")
    assert push is not None
    assert clone is not None
    assert push.targets(push.parse("{}")) == (remote, "feat/20261118-fix-the-crash")
    assert clone.targets(clone.parse("{}")) == (remote,)


@pytest.mark.parametrize("name", ["git_clone", "git_branch", "git_push"])
def test_a_model_can_name_neither_remote_nor_branch(git_bench: Bench, name: str) -> None:
    """These tools take no arguments at all."""
    tool = git_bench.toolbox.find(name)
    assert tool is not None
    with pytest.raises(ToolArgumentsError, match="takes no arguments"):
        tool.parse('{"remote": "https://evil/x"}')


async def test_the_probe_asks_the_remote(git_bench: Bench) -> None:
    """Whether an interrupted push happened."""
    await git_bench("git_clone")
    await git_bench("git_branch")
    (git_bench.workspace / "app.py").write_text("x\n")
    await git_bench("git_commit", message="x")
    push = git_bench.toolbox.find("git_push")
    assert push is not None
    parsed = push.parse("")
    assert await push.probe(parsed, "key") == "did_not"
    await git_bench("git_push")
    assert await push.probe(parsed, "key") == "happened"


async def test_failures_of_the_remote_are_told_to_the_decider(git_bench: Bench, tmp_path: Path) -> None:
    """A wrong branch, a missing repository: one sentence each, with what caused it."""
    target = git_bench.room.target
    assert target is not None
    git_bench.refit(target=GitTarget(remote=target.remote, base="mian", title="x"))
    with pytest.raises(ToolFailedError, match="Did you mean `main`") as caught:
        await git_bench("git_clone")
    assert caught.value.facts["cause"] == "TaskSpecError"
    git_bench.refit(target=GitTarget(remote=Remote.parse(str(tmp_path / "gone")), base="main"))
    with pytest.raises(ToolFailedError, match="there is no repository") as caught:
        await git_bench("git_clone")
    assert caught.value.facts["cause"] == "IntegrationError"


async def test_what_was_left_out_is_said(git_bench: Bench) -> None:
    """A nested repository is neither committed nor passed over in silence."""
    await git_bench("git_clone")
    await git_bench("git_branch")
    (git_bench.workspace / "lib").mkdir()
    git(git_bench.workspace / "lib", "init", "--quiet")
    (git_bench.workspace / "app.py").write_text("x\n")
    done = await git_bench("git_commit", message="x")
    assert done.text.endswith("\nNote: left out lib: a repository of its own")
    assert done.data["left_out"] == ["lib: a repository of its own"]


async def test_a_long_diff_is_cut_to_what_is_shown(git_bench: Bench) -> None:
    """Files first; the patch as far as it fits."""
    await git_bench("git_clone")
    for number in range(60):
        (git_bench.workspace / f"file-{number:02}.txt").write_text("line\n" * 200)
    shown = await git_bench("git_diff")
    assert len(shown.text) <= 16_384
    assert "… and 20 more" in shown.text
    assert shown.data["files_changed"] == 60
    brief = await git_bench("git_diff", patch=False)
    assert "diff --git" not in brief.text


async def test_a_task_without_repository_says_so(bare_bench: Bench) -> None:
    """Naming the field to fill in."""
    with pytest.raises(ToolFailedError, match=r"repository\.remote_url"):
        await bare_bench("git_clone")
    with pytest.raises(ToolFailedError, match="no repository"):
        await bare_bench("git_diff")
