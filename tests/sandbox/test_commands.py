"""What a command may expect of any sandbox: the contract of `exec`, `start`, `poll`, `stop` on every backend."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from ooda.errors import ToolArgumentsError, ToolFailedError
from ooda.sandbox.protocol import Output

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("code", [0, 1, 2, 77, 124, 126, 127, 137, 255])
async def test_the_exit_code_is_the_commands_own(box, code):
    """No code is ours: 124 and 137 are as much the command's as 0."""
    result = await box.sandbox.exec(f"exit {code}")
    assert (result.exit_code, result.signal, result.timed_out) == (code, None, False)


@pytest.mark.parametrize("number", [2, 6, 9, 11, 15])
async def test_death_by_a_signal_is_told_apart_from_an_exit_code(box, number):
    """A signal is no exit code, and no time-out either."""
    result = await box.sandbox.exec(f"kill -{number} $$")
    assert (result.exit_code, result.signal, result.timed_out) == (None, number, False)


async def test_both_streams_come_in_the_order_written(box):
    """Standard output and error are one stream."""
    assert await box.sh("echo 1; echo 2 >&2; echo 3; echo 4 >&2") == "1\n2\n3\n4\n"


async def test_standard_input_is_empty(box):
    """A command that reads gets the end of file at once instead of hanging."""
    assert await box.sh("cat; echo $?") == "0\n"


async def test_an_unfinished_quote_is_the_shells_error_and_nothing_else(box):
    """Text that no shell can parse ends as a syntax error; the sandbox is not confused by it."""
    result = await box.sandbox.exec("echo 'unfinished")
    assert result.exit_code == 2
    assert "nterminated" in result.output.head
    assert await box.sh("echo fine") == "fine\n"


@pytest.mark.parametrize(
    "text",
    ["echo 'it''s'", 'echo "$(echo a; echo b)"', "cat <<'END'\n$HOME `x`\nEND", "echo \\\\", "# only a comment", ""],
    ids=["quotes", "substitution", "here-document", "backslash", "comment", "empty"],
)
async def test_text_reaches_the_shell_unchanged(box, text):
    """What the shell sees is the text, byte for byte."""
    import subprocess

    expected = subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=True)
    assert await box.sh(text) == expected.stdout


async def test_directory_and_exported_variables_last(box):
    """`cd` and `export` of one command are seen by the next, also values that need quoting."""
    value = """a b'c"d$e`f\\g\th
    second line; export X=1 # ü"""
    await box.sandbox.write("value.txt", value.encode())
    await box.sh('mkdir -p deep/er; cd deep/er; export VALUE="$(cat /workspace/value.txt)"; local_only=1')
    assert await box.sh('pwd; printf %s "$VALUE"; echo "[$local_only]"') == f"/workspace/deep/er\n{value}[]\n"
    result = await box.sandbox.exec("cd /workspace; unset VALUE")
    assert result.cwd == "/workspace"
    assert await box.sh('echo "[$VALUE]"') == "[]\n"


async def test_state_survives_a_failing_command(box):
    """A failure half-way keeps what was done before it."""
    await box.sandbox.exec("export KEPT=1; cd /tmp; false; exit 3")
    assert await box.sh("echo $KEPT; pwd; unset KEPT; cd /workspace") == "1\n/tmp\n"


async def test_persist_off_changes_nothing(box):
    """A command that is told not to persist leaves directory and variables as they were."""
    result = await box.sandbox.exec("cd /tmp; export GONE=1", persist=False)
    assert result.cwd == "/workspace"
    assert await box.sh('pwd; echo "[$GONE]"') == "/workspace\n[]\n"


async def test_variables_of_one_call_do_not_stay(box):
    """`env` belongs to its call; a variable it hides comes back."""
    await box.sh("export BASE=old")
    assert await box.sh("echo $BASE $EXTRA", env={"BASE": "new", "EXTRA": "x y"}) == "new x y\n"
    assert await box.sh('echo "$BASE [$EXTRA]"; unset BASE') == "old []\n"


async def test_a_directory_can_be_given_for_one_command(box):
    """`cwd` is relative to the workspace, or absolute below it."""
    await box.sh("mkdir -p given/here")
    assert await box.sh("pwd", cwd="given/here", persist=False) == "/workspace/given/here\n"
    assert await box.sh("pwd", cwd="/workspace/given", persist=False) == "/workspace/given\n"


@pytest.mark.parametrize("cwd", ["..", "/etc", "given/../../etc", "/workspace/../tmp", "/workspacex"])
async def test_a_directory_outside_the_workspace_is_refused(box, cwd):
    """The caller's directory is held to the workspace like every path."""
    with pytest.raises(ToolArgumentsError, match="outside the workspace"):
        await box.sandbox.exec("pwd", cwd=cwd)


async def test_a_missing_directory_is_named(box):
    """A directory that does not exist is the caller's mistake, not a broken sandbox."""
    with pytest.raises(ToolArgumentsError, match="nowhere"):
        await box.sandbox.exec("pwd", cwd="nowhere")


async def test_a_vanished_directory_falls_back_to_the_workspace(box):
    """Removing the directory one stands in does not end all work."""
    await box.sh("mkdir -p doomed; cd doomed; rm -r ../doomed")
    assert await box.sh("pwd") == "/workspace\n"


async def test_a_command_longer_than_an_argument_runs(box):
    """The kernel's limit for one argument (128 KiB) is none for a command."""
    text = f"x='{'y' * 300_000}'; echo ${{#x}}; cd /tmp"
    assert await box.sh(text) == "300000\n"
    assert await box.sh("pwd; cd /workspace") == "/tmp\n"


async def test_a_nul_in_the_command_is_refused(box):
    """No shell can be given a NUL; the refusal says so."""
    with pytest.raises(ToolArgumentsError, match="NUL"):
        await box.sandbox.exec("echo a\0b")


@pytest.mark.parametrize(
    "command",
    [
        "sleep 30",
        "sleep 30 & sleep 30 & wait",
        "trap '' TERM INT HUP; sleep 30; sleep 30",
        "(setsid sleep 30 &); sleep 30",
        "setsid sh -c 'setsid sh -c \"sleep 30\" & sleep 30' & sleep 30",
        "sh -c '(sleep 30 & (sleep 30 &) &) & kill -STOP $$'",
        "kill -STOP $$; sleep 30",
        "nohup sleep 30 >/dev/null 2>&1 & sleep 30",
        "python3 -c '\nimport os, time\nif os.fork() == 0:\n os.setsid()\n if os.fork(): os._exit(0)\ntime.sleep(30)'",
    ],
    ids=["plain", "children", "ignores", "setsid", "nested", "double-fork", "stopped", "nohup", "daemon"],
)
async def test_a_time_out_ends_the_whole_tree_in_time(box, command):
    """Whatever the tree does, one second after the time-out nothing of it lives."""
    began = time.monotonic()
    result = await box.sandbox.exec(command, timeout_s=0.15)
    assert result.timed_out
    assert result.exit_code is None
    assert time.monotonic() - began < 1.15
    assert (await box.sandbox.stats()).processes == 0


async def test_output_before_a_time_out_is_kept(box):
    """What was said before the end is not lost."""
    result = await box.sandbox.exec("echo early; sleep 30", timeout_s=0.3)
    assert (result.timed_out, result.output.head) == (True, "early\n")


async def test_left_overs_of_a_finished_command_are_ended_and_counted(box):
    """What a command leaves behind does not outlive it: only `start` starts something lasting."""
    result = await box.sandbox.exec("sleep 30 & (setsid sleep 30 &) ; echo done")
    assert (result.exit_code, result.output.head, result.killed) == (0, "done\n", 2)
    assert (await box.sandbox.stats()).processes == 0


async def test_a_child_that_holds_the_output_does_not_delay_the_result(box):
    """The result comes with the command's end, not with the end of everything that inherited its output."""
    began = time.monotonic()
    assert await box.sh("sleep 20 & echo now") == "now\n"
    assert time.monotonic() - began < 1


async def test_commands_run_side_by_side(box):
    """Several commands may run at once; each gets its own answer."""
    began = time.monotonic()
    results = await asyncio.gather(*(box.sh(f"sleep 0.4; echo {n}", persist=False) for n in range(4)))
    assert results == [f"{n}\n" for n in range(4)]
    assert time.monotonic() - began < 1.4


async def _until_something_runs(box):
    while (await box.sandbox.stats()).processes == 0:
        await asyncio.sleep(0.01)


async def test_a_cancelled_caller_takes_its_command_along(box):
    """Whoever stops waiting does not leave the command running."""
    task = asyncio.create_task(box.sandbox.exec("sleep 30"))
    await _until_something_runs(box)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await box.sandbox.stats()).processes == 0


# -- output ------------------------------------------------------------------------------------------------


async def test_short_output_is_whole(box):
    """Up to 128 KiB nothing is dropped."""
    result = await box.sandbox.exec("head -c 131072 /dev/zero | tr '\\0' x")
    assert result.output == Output("x" * 131072, "", 131072)


async def test_long_output_keeps_head_and_tail_and_says_what_is_missing(box):
    """Beyond it the first and the last 64 KiB stay, and the gap is counted."""
    result = await box.sandbox.exec("seq 1 100000")
    whole = "".join(f"{n}\n" for n in range(1, 100001))
    assert result.output == Output(whole[:65536], whole[-65536:], len(whole), None, len(whole) - 131072)


async def test_control_characters_do_not_reach_the_reader(box):
    """Terminal sequences and control characters are removed; text, tabs and line breaks stay."""
    command = r"printf 'a\033[31mred\033[0m\tb\007\r\nc\033]0;title\007d\000e\177f\302\205x\n\033'"
    assert await box.sh(command) == "ared\tb\ncdefx\n"


async def test_bytes_that_are_not_utf8_are_replaced(box):
    """Output is text for a reader; what is none becomes the replacement character."""
    assert await box.sh(r"printf 'a\377b\303'") == "a\ufffdb\ufffd"


async def test_the_full_stream_can_be_kept_on_the_host(box):
    """With `spool` the whole output stands in a file of the host, byte for byte."""
    result = await box.sandbox.exec("seq 1 200000", spool="numbers.log")
    assert result.output.spool == str(box.spool / "numbers.log")
    assert (box.spool / "numbers.log").read_bytes() == b"".join(b"%d\n" % n for n in range(1, 200001))


async def test_the_spool_is_capped_at_16_mib(box):
    """The full stream is kept up to 16 MiB; the total is still stated."""
    result = await box.sandbox.exec("head -c 30000000 /dev/zero", spool="zeros.log")
    assert (box.spool / "zeros.log").stat().st_size == 16 << 20
    assert result.output.total_bytes == 30_000_000


@pytest.mark.parametrize("name", ["../out", "/tmp/out", "a/b", "", ".hidden", "x" * 200])
async def test_a_spool_is_a_plain_name(box, name):
    """A spool's name cannot lead out of the spool folder."""
    with pytest.raises(ToolArgumentsError, match="output spool"):
        await box.sandbox.exec("true", spool=name)


# -- background --------------------------------------------------------------------------------------------


async def test_a_background_process_lives_between_commands(box):
    """`start` gives a handle; output comes by `poll`; the process outlives the commands in between."""
    handle = await box.sandbox.start("echo ready; while ! [ -e go ]; do sleep 0.02; done; echo went; exec sleep 30")
    first = await box.sandbox.poll(handle, wait_s=5)
    assert (first.running, first.output.head) == (True, "ready\n")
    await box.sh("touch go")
    second = await box.sandbox.poll(handle, wait_s=5)
    assert (second.running, second.output.head) == (True, "went\n")
    assert (await box.sandbox.poll(handle)).output.head == ""
    stopped = await box.sandbox.stop(handle)
    assert (stopped.running, stopped.signal) == (False, 15)
    assert (await box.sandbox.stop(handle)).running is False


async def test_a_background_process_that_ends_says_how(box):
    """Its exit code is kept for the next poll."""
    handle = await box.sandbox.start("exit 5")
    result = await box.sandbox.poll(handle, wait_s=5)
    assert (result.running, result.exit_code) == (False, 5)


async def test_stopping_takes_a_stubborn_tree_along(box):
    """After a second of grace the whole tree is killed."""
    handle = await box.sandbox.start(
        "trap '' TERM; (trap '' TERM; setsid sh -c 'sleep 30; sleep 30' &); while :; do sleep 1; done"
    )
    await asyncio.sleep(0.2)
    began = time.monotonic()
    assert (await box.sandbox.stop(handle)).running is False
    assert time.monotonic() - began < 2.5
    assert (await box.sandbox.stats()).processes == 0


async def test_background_processes_are_limited(fresh):
    """Eight at a time; the refusal says what to do."""
    for _ in range(8):
        await fresh.sandbox.start("sleep 30")
    with pytest.raises(ToolFailedError, match="stop one"):
        await fresh.sandbox.start("sleep 30")


async def test_an_unknown_handle_is_the_callers_mistake(box):
    """The refusal names the handle."""
    with pytest.raises(ToolArgumentsError, match="bg-999"):
        await box.sandbox.poll("bg-999")


async def test_a_background_server_is_reached_by_later_commands(box):
    """Loopback inside the sandbox works: a test suite may talk to the server it started."""
    server = """import socket
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
listener.accept()[0].sendall(b"hello")
"""
    await box.sandbox.write("server.py", server.encode())
    handle = await box.sandbox.start("python3 server.py")
    port = (await box.sandbox.poll(handle, wait_s=10)).output.head.strip()
    client = f"python3 -c 'import socket; print(socket.create_connection((\"127.0.0.1\", {port})).recv(9).decode())'"
    assert await box.sh(client) == "hello\n"


# -- life --------------------------------------------------------------------------------------------------


async def test_closing_twice_is_closing_once(backend, opener):
    """`close` is idempotent, and what runs ends with it."""
    async with opener(backend) as opened:
        await opened.sandbox.start("sleep 30")
        await opened.sandbox.close()
        await opened.sandbox.close()


async def test_the_environment_is_the_specifications_and_nothing_inherited(backend, opener, monkeypatch):
    """The variables of this process are not shown; those of the specification are."""
    monkeypatch.setenv("OODA_TEST_SECRET", "hunter2")
    async with opener(backend, env={"GREETING": "hello  world"}) as opened:
        shown = await opened.sh("env")
    names = {line.split("=", 1)[0] for line in shown.splitlines()}
    assert "GREETING=hello  world" in shown.splitlines()
    assert "hunter2" not in shown
    assert names <= {
        "GREETING",
        "GIT_PAGER",
        "HOME",
        "LANG",
        "LOGNAME",
        "OLDPWD",
        "PAGER",
        "PATH",
        "PWD",
        "SHELL",
        "SHLVL",
        "TERM",
        "TMPDIR",
        "USER",
        "_",
    }


async def test_the_workspace_is_given_back(backend, opener, tmp_path):
    """Files made inside belong to the host's user afterwards, without set-id bits."""
    import os
    import stat

    workspace = tmp_path / "workspace"
    async with opener(backend, workspace=workspace) as opened:
        await opened.sh("mkdir -p a/b; echo x > a/b/c; ln -s c a/b/link; chmod 4755 a/b/c || true")
    owners = {path.lstat().st_uid for path in (workspace, *workspace.rglob("*"))}
    assert owners == {os.geteuid()}
    assert not (workspace / "a/b/c").stat().st_mode & (stat.S_ISUID | stat.S_ISGID)


async def test_what_the_host_puts_there_meanwhile_can_be_changed(box):
    """Files and folders written by the host's user while the sandbox is open are the commands' as well."""
    (box.workspace / "from-host" / "below").mkdir(parents=True)
    (box.workspace / "from-host" / "below" / "file").write_text("1\n")
    (box.workspace / "from-host-link").symlink_to("/etc/passwd")
    before = Path("/etc/passwd").stat().st_uid
    assert await box.sh("cd from-host/below; echo 2 >> file; touch new; cat file; cd /workspace") == "1\n2\n"
    assert Path("/etc/passwd").stat().st_uid == before
