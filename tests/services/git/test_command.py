"""One hardened git process: environment, deadline, cancellation, output."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from ooda.errors import ConfigError, IntegrationError
from ooda.services.git import GitSettings
from ooda.services.git.command import GitRunner


def _spy(folder: Path, script: str) -> GitSettings:
    """A program in git's place."""
    program = folder / "spy"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return GitSettings(git=str(program))


async def test_git_gets_none_of_our_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only named variables, whatever stands in ours; a proxy is handed on when settings name it."""
    for name in ("OPENAI_API_KEY", "GIT_DIR", "GIT_CONFIG_PARAMETERS", "GIT_EXTERNAL_DIFF", "LD_PRELOAD_X", "HOME"):
        monkeypatch.setenv(name, "ours")
    proxied = GitSettings(git=_spy(tmp_path, "env").git, env={"https_proxy": "http://proxy:3128"})
    runner = GitRunner(tmp_path, proxied)
    seen = dict(line.split("=", 1) for line in (await runner.run("status")).lines() if "=" in line)
    runner.close()
    assert "ours" not in seen.values()
    assert seen["https_proxy"] == "http://proxy:3128"
    assert seen["GIT_CONFIG_GLOBAL"] == "/dev/null"
    assert seen["GIT_CONFIG_NOSYSTEM"] == "1"
    assert seen["GIT_ALLOW_PROTOCOL"] == ""


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (GitSettings(env={"GIT_SSH_COMMAND": "evil"}), "`GIT_SSH_COMMAND`"),
        (GitSettings(git="git"), "absolute path"),
        (GitSettings(git="/nowhere/git"), "install git"),
    ],
    ids=["a variable that is none of the list", "a relative git", "no git"],
)
def test_settings_that_cannot_work_are_refused_at_once(tmp_path: Path, settings: GitSettings, message: str) -> None:
    """Before any repository is made."""
    with pytest.raises(ConfigError, match=message):
        GitRunner(tmp_path, settings)


async def test_a_git_that_does_not_end_is_ended_with_its_children(tmp_path: Path) -> None:
    """At the deadline, as an error that may be tried again."""
    pid = tmp_path / "pid"
    runner = GitRunner(tmp_path, _spy(tmp_path, f"sleep 60 & echo $! >{pid}; wait"))
    started = time.monotonic()
    with pytest.raises(IntegrationError, match=r"git fetch did not finish within 0\.5 s") as caught:
        await runner.run("fetch", timeout_s=0.5)
    runner.close()
    assert caught.value.facts["retryable"] is True
    assert time.monotonic() - started < 5
    assert _is_gone(int(pid.read_text()))


async def test_a_cancelled_operation_ends_its_git(tmp_path: Path) -> None:
    """And only then goes on being cancelled."""
    pid = tmp_path / "pid"
    os.mkfifo(pid)
    runner = GitRunner(tmp_path, _spy(tmp_path, f"sleep 60 & echo $! >{pid}; wait"))
    task = asyncio.create_task(runner.run("fetch"))
    child = int(await asyncio.to_thread(pid.read_text))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    runner.close()
    assert _is_gone(child)


async def test_output_is_cut_at_its_cap_and_counted(tmp_path: Path) -> None:
    """A flood costs no memory."""
    runner = GitRunner(tmp_path, _spy(tmp_path, "head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2"))
    done = await runner.run("diff", max_bytes=1_000)
    runner.close()
    assert (len(done.out), done.out_bytes, len(done.err)) == (1_000, 3_000_000, 1_000)


async def test_a_child_that_keeps_the_pipe_does_not_keep_us(tmp_path: Path) -> None:
    """git is done when git has ended."""
    runner = GitRunner(tmp_path, _spy(tmp_path, "setsid sleep 5 & echo done"))
    started = time.monotonic()
    assert (await runner.run("push")).text() == "done"
    runner.close()
    assert time.monotonic() - started < 4


async def test_a_failure_carries_gits_last_words(tmp_path: Path) -> None:
    """Code, operation, and what it said."""
    runner = GitRunner(tmp_path, _spy(tmp_path, "echo 'fatal: broken' >&2; exit 128"))
    with pytest.raises(IntegrationError, match="git gc failed with exit code 128: fatal: broken") as caught:
        await runner.run("gc")
    runner.close()
    assert (caught.value.facts["service"], caught.value.facts["status"]) == ("git", 128)


async def test_input_of_any_size_reaches_git(tmp_path: Path) -> None:
    """More than a pipe holds."""
    runner = GitRunner(tmp_path, _spy(tmp_path, "wc -c"))
    assert (await runner.run("hash-object", stdin=b"x" * 3_000_000)).text() == "3000000"
    runner.close()


def _is_gone(pid: int) -> bool:
    """Whether the process has ended; one that nobody has collected yet counts as ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
