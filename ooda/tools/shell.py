"""Shell tools: run a command in the sandbox, follow and stop background processes, read a long output back.

The sandbox is the wall; nothing here judges commands. What the model reads starts with how the command ended, so
that a cap on length can never hide it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from ooda.errors import ToolArgumentsError, ToolFailedError
from ooda.governance.call import ToolOutcome
from ooda.governance.cap import capped
from ooda.governance.operations import Operation
from ooda.governance.secret_files import label_of_shell
from ooda.sandbox.protocol import ExecResult, Output, PollResult
from ooda.tools.declare import tool
from ooda.tools.room import ToolRoom

__all__ = ["poll_process", "read_output", "run_shell_command", "stop_process"]

_MAX_TIMEOUT_S = 1800
_MARGIN_S = 30
"""What a call may take beyond its command: starting it, ending its tree, fetching its output."""
_FRAME_BYTES = 600
"""Room for the lines around an output."""


@tool(operation=Operation.RUN_IN_SANDBOX, effect="local", timeout_s=_MAX_TIMEOUT_S + _MARGIN_S)
async def run_shell_command(
    room: ToolRoom,
    command: Annotated[str, Field(min_length=1, description="Text for `sh -c`.")],
    timeout_s: Annotated[int, Field(ge=1, le=_MAX_TIMEOUT_S, description="Seconds until it is killed.")] = 120,
    background: Annotated[bool, Field(description="Start it and return a handle at once.")] = False,
    cwd: Annotated[str | None, Field(description="Folder to run in; stays for later commands.")] = None,
) -> ToolOutcome:
    """Run a shell command in the sandbox, starting in the repository (/workspace). Working directory and exported
    variables persist between commands. There is no terminal and no input. Use background for servers and watchers."""
    sandbox = room.the_sandbox()
    if background:
        handle = await sandbox.start(command, cwd=cwd)
        return ToolOutcome(
            text=f"Started in the background as `{handle}`. poll_process shows its output, stop_process ends it.",
            data={"handle": handle, "running": True},
            label=label_of_shell(command),
        )
    allowed_s = room.remaining_s(timeout_s)
    result = await sandbox.exec(command, timeout_s=allowed_s, cwd=cwd, spool=f"out-{room.call.seq}")
    shown, handle = _shown(result.output, room)
    lines = [_ending(result, allowed_s), shown]
    if result.killed and not result.timed_out:
        lines.append(f"[{result.killed} left-over processes of the command were ended]")
    return ToolOutcome(
        status="timeout" if result.timed_out else "ok",
        text="\n".join(line for line in lines if line),
        data={
            "exit_code": result.exit_code,
            "signal": result.signal,
            "timed_out": result.timed_out,
            "cwd": result.cwd,
            "output_bytes": result.output.total_bytes,
            "duration_ms": result.duration_ms,
        },
        spool=handle,
        label=label_of_shell(command),
    )


@tool(operation=Operation.RUN_IN_SANDBOX, effect="pure", timeout_s=90, is_poll=True)
async def poll_process(
    room: ToolRoom,
    handle: Annotated[str, Field(description="Handle of the background process.")],
    wait_s: Annotated[int, Field(ge=0, le=60, description="Wait up to this long for it to end.")] = 0,
) -> ToolOutcome:
    """Show what a background process wrote since the last poll, and whether it still runs."""
    result = await room.the_sandbox().poll(handle, wait_s=room.remaining_s(wait_s) if wait_s else 0.0)
    return _process(result, room)


@tool(operation=Operation.RUN_IN_SANDBOX, effect="local", timeout_s=60)
async def stop_process(
    room: ToolRoom, handle: Annotated[str, Field(description="Handle of the background process.")]
) -> ToolOutcome:
    """End a background process and everything it started; shows its last output."""
    return _process(await room.the_sandbox().stop(handle), room)


@tool(operation=Operation.READ_WORKSPACE, effect="pure", timeout_s=30)
async def read_output(
    room: ToolRoom,
    handle: Annotated[str, Field(description="Handle named by the result whose output was cut.")],
    offset: Annotated[int, Field(ge=0, description="First byte.")] = 0,
    limit: Annotated[int, Field(ge=1, le=1_000_000, description="Most bytes.")] = 12_000,
) -> ToolOutcome:
    """Read back part of a long output that was shown with its middle left out."""
    if room.spool is None:
        raise ToolFailedError("this run keeps no full outputs; run the command again and filter what it prints")
    part = room.spool.read(handle, offset, min(limit, room.output_bytes - _FRAME_BYTES))
    if not part.data:
        raise ToolArgumentsError(
            f"output `{handle}` has {part.total_bytes} bytes, so nothing is at offset {offset}; choose a smaller one"
        )
    end = offset + len(part.data)
    more = f"; continue with offset={end}" if end < part.total_bytes else "; this is its end"
    text = part.data.decode("utf-8", errors="replace")
    return ToolOutcome(
        text=f"[bytes {offset}-{end} of {part.total_bytes} of {handle}{more}]\n{text}",
        data={"offset": offset, "end": end, "total_bytes": part.total_bytes},
    )


def _ending(result: ExecResult, timeout_s: float) -> str:
    seconds = f"{result.duration_ms / 1000:.1f} s"
    if result.timed_out:
        return (
            f"[timed out after {timeout_s:g} s and was killed with everything it had started; working directory "
            f"{result.cwd}. Use a larger timeout_s, or background=true for what does not end]"
        )
    ended = f"killed by signal {result.signal}" if result.exit_code is None else f"exit code {result.exit_code}"
    return f"[{ended} after {seconds}; working directory {result.cwd}]"


def _shown(output: Output, room: ToolRoom) -> tuple[str, str]:
    """The output within the cap, and the handle of the full one when something is left out."""
    handle = Path(output.spool).name if output.spool else ""
    where = f"; read_output with handle {handle!r} reads all {output.total_bytes}" if handle else ""
    gap = f"\n… {output.dropped_bytes} bytes left out{where} …\n" if output.dropped_bytes else ""
    whole = output.head + gap + output.tail
    text = capped(whole, room.output_bytes - _FRAME_BYTES, handle)
    if not gap and text == whole:
        if handle and room.spool is not None:
            room.spool.forget(handle)
        return text or "[no output]", ""
    return text, handle


def _process(result: PollResult, room: ToolRoom) -> ToolOutcome:
    if result.running:
        ended = "still running"
    elif result.exit_code is None:
        ended = f"killed by signal {result.signal}"
    else:
        ended = f"ended with exit code {result.exit_code}"
    shown, handle = _shown(result.output, room)
    return ToolOutcome(
        text=f"[`{result.handle}` {ended}]\n{shown}",
        data={
            "handle": result.handle,
            "running": result.running,
            "exit_code": result.exit_code,
            "signal": result.signal,
        },
        spool=handle,
    )
