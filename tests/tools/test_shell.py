"""Shell tools on a real sandbox: endings, time-outs, long outputs, background processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from ooda.errors import ToolArgumentsError, ToolFailedError
from ooda.tools.room import FolderSpool
from tests.tools.bench import Bench, granted


async def test_a_command_answers_with_code_folder_and_output(bench: Bench) -> None:
    """Failure of the command is its result, not ours."""
    outcome = await bench("run_shell_command", command="echo out; echo err >&2; exit 3")
    assert outcome.status == "ok"
    assert outcome.text.startswith("[exit code 3 after ")
    assert sorted(outcome.text.splitlines()[1:]) == ["err", "out"]
    assert (outcome.data["exit_code"], outcome.data["timed_out"]) == (3, False)


async def test_the_folder_and_exported_variables_persist(bench: Bench) -> None:
    """As in one terminal."""
    await bench("run_shell_command", command="mkdir deep && cd deep && export WORD=here")
    outcome = await bench("run_shell_command", command="pwd; echo $WORD")
    assert outcome.text.splitlines()[1].endswith("/deep")
    assert outcome.text.splitlines()[2] == "here"


async def test_a_command_without_output_says_so(bench: Bench) -> None:
    """Silence is an answer too, and leaves no file in the spool."""
    outcome = await bench("run_shell_command", command="true")
    assert outcome.text.endswith("\n[no output]")
    assert list((bench.workspace.parent / "spool").iterdir()) == []


async def test_a_command_that_does_not_end_is_killed_and_said_so(bench: Bench) -> None:
    """Status `timeout`, with what it had written and what to do."""
    outcome = await bench("run_shell_command", command="echo begun; sleep 60", timeout_s=1)
    assert outcome.status == "timeout"
    assert outcome.text.startswith("[timed out after 1 s and was killed")
    assert outcome.text.endswith("begun\n")


async def test_a_long_output_shows_head_and_tail_and_can_be_read_back(bench: Bench) -> None:
    """The cap is on what is shown; everything is kept under the handle."""
    bench.refit(output_bytes=2_000)
    outcome = await bench("run_shell_command", command="seq 1 5000")
    handle = outcome.spool
    assert handle
    assert len(outcome.text) < 2_000
    assert "\n1\n2\n3\n" in outcome.text
    assert outcome.text.endswith("\n4999\n5000\n")
    assert f'`read_output` with handle "{handle}"' in outcome.text
    back = await bench("read_output", handle=handle, offset=100, limit=50)
    assert back.text.startswith(f"[bytes 100-150 of 23893 of {handle}; continue with offset=150]\n")
    end = await bench("read_output", handle=handle, offset=23_880)
    assert end.text.endswith("; this is its end]\n98\n4999\n5000\n")


async def test_a_flood_keeps_its_head_and_tail(bench: Bench) -> None:
    """More than the sandbox keeps: the gap is counted and the handle named."""
    outcome = await bench("run_shell_command", command="seq 1 200000")
    assert outcome.data["output_bytes"] == 1_288_895
    assert outcome.text.endswith("\n199999\n200000\n")
    assert len(outcome.text.encode()) <= 16_384


@pytest.mark.parametrize("handle", ["../secret", "unknown", "/etc/passwd", "", "."])
def test_a_handle_that_names_no_output_is_refused(tmp_path: Path, handle: str) -> None:
    """No path of the host can be read through it."""
    (tmp_path / "secret").write_text("s")
    (tmp_path / "spool").mkdir()
    with pytest.raises(ToolArgumentsError, match="no output is kept"):
        FolderSpool(tmp_path / "spool").read(handle, 0, 10)


def test_a_link_in_the_spool_is_not_followed(tmp_path: Path) -> None:
    """Nor is anything but a regular file read."""
    (tmp_path / "secret").write_text("s")
    (tmp_path / "out-1").symlink_to("secret")
    with pytest.raises(ToolArgumentsError, match="no output is kept"):
        FolderSpool(tmp_path).read("out-1", 0, 10)


def test_a_text_kept_by_the_gate_reads_back(tmp_path: Path) -> None:
    """Whatever the call's id holds, the handle is a plain name."""
    spool = FolderSpool(tmp_path / "spool")
    handle = spool.keep("call/../7", "long text")
    assert spool.read(handle, 5, 100).data == b"text"


async def test_reading_beyond_an_output_is_refused(bench: Bench) -> None:
    """The message names its size."""
    bench.refit(output_bytes=1_000)
    outcome = await bench("run_shell_command", command="seq 1 1000")
    with pytest.raises(ToolArgumentsError, match="has 3893 bytes"):
        await bench("read_output", handle=outcome.spool, offset=99_999)


async def test_a_background_process_is_followed_and_stopped(bench: Bench) -> None:
    """Started at once, polled for news, ended with everything it started."""
    started = await bench("run_shell_command", command="echo up; sleep 60", background=True)
    handle = started.data["handle"]
    polled = await bench("poll_process", handle=handle, wait_s=1)
    assert polled.data["running"] is True
    stopped = await bench("stop_process", handle=handle)
    assert stopped.data["running"] is False
    assert "up" in polled.text + stopped.text


async def test_a_background_process_that_ended_gives_its_code(bench: Bench) -> None:
    """Waiting returns when it ends, not later."""
    started = await bench("run_shell_command", command="exit 4", background=True)
    polled = await bench("poll_process", handle=started.data["handle"], wait_s=20)
    assert (polled.data["running"], polled.data["exit_code"]) == (False, 4)


async def test_an_unknown_handle_is_a_tool_error(bench: Bench) -> None:
    """The model can correct it."""
    with pytest.raises(ToolArgumentsError):
        await bench("poll_process", handle="no-such-process")


async def test_a_run_without_sandbox_says_so(bare_bench: Bench) -> None:
    """Tools of other agents work without one; these do not."""
    with pytest.raises(ToolFailedError, match="no sandbox"):
        await bare_bench("run_shell_command", command="true")
    with pytest.raises(ToolFailedError, match="keeps no full outputs"):
        await bare_bench("read_output", handle="out-1")


async def test_a_command_gets_no_more_time_than_its_call(bench: Bench) -> None:
    """The deadline in the grant is the call's; the model's own wish is cut to it."""
    room = bench.room
    now_ns = room.clock.now_ns()
    tool = bench.toolbox.find("run_shell_command")
    assert tool is not None
    parsed = tool.parse('{"command": "sleep 60", "timeout_s": 600}')
    outcome = await tool.run(granted(tool, parsed.canonical, deadline_ns=now_ns + 1_000_000_000), parsed)
    assert outcome.status == "timeout"
