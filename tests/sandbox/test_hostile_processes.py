"""Commands that try to outlive their end, to fill the process table, or to reach the processes that hold them."""

from __future__ import annotations

import asyncio
import time

import pytest

from ooda.errors import ToolFailedError
from ooda.sandbox import SandboxLimits

pytestmark = pytest.mark.asyncio(loop_scope="module")

FORK_BOMBS = {
    "shell": "b() { b | b & }; b; sleep 30",
    "python": "python3 -c '\nimport os\nwhile True:\n try: os.fork()\n except OSError: pass'",
    "setsid": "python3 -c '\nimport os\nwhile True:\n try:\n  if os.fork() == 0: os.setsid()\n except OSError: pass'",
    "sleepers": "while :; do sleep 60 & done",
    "respawning": "python3 -c '\nimport os\nwhile True:\n try:\n  if os.fork(): os._exit(0)\n except OSError: pass'",
}


# Known and not understood: in 3 of 5 whole runs of the suite the second or third bomb left the helper silent for 16 s,
# on either backend; in 2,300 bombs by themselves never. Until it is, `make soak` has all but the first.
@pytest.mark.parametrize(
    "bomb", [name if name == "shell" else pytest.param(name, marks=pytest.mark.soak) for name in FORK_BOMBS]
)
async def test_a_fork_bomb_ends_with_its_time_out(box, bomb):
    """Under the caps on processes and CPU a bomb is an ordinary command that ran out of time."""
    began = time.monotonic()
    result = await box.sandbox.exec(FORK_BOMBS[bomb], timeout_s=0.5)
    # Nearly all of it is the exits of 190 processes on a busy machine; `make bench-sandbox` measures the overshoot.
    assert time.monotonic() - began < 20
    assert result.timed_out or result.exit_code is not None
    assert (await box.sandbox.stats()).processes == 0
    assert await box.sh("echo alive") == "alive\n"


FILL = """import os, time
children = 0
try:
    while children < 500:
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        children += 1
except OSError:
    pass
print(children, flush=True)
time.sleep(60)
"""
SPIN = """import time
end = time.monotonic() + 1
while time.monotonic() < end:
    pass
print(time.process_time())
"""


async def test_the_cap_on_processes_stands(backend, opener):
    """As many processes as the limit says, the helper's own few included, and not one more."""
    async with opener(backend, limits=SandboxLimits(pids=40)) as opened:
        await opened.sandbox.write("fill.py", FILL.encode())
        handle = await opened.sandbox.start("exec python3 fill.py")
        started = int((await opened.sandbox.poll(handle, wait_s=10)).output.head)
        assert 25 <= started < 40


async def test_the_cap_on_cpu_stands(box):
    """Two busy loops side by side get one CPU's worth together."""
    await box.sandbox.write("spin.py", SPIN.encode())
    used = (await box.sh("python3 spin.py & python3 spin.py & wait")).split()
    assert len(used) == 2
    assert sum(map(float, used)) < 1.35


async def _outcome(opened, command: str) -> str:
    try:
        return str((await opened.sandbox.exec(command, timeout_s=5)).exit_code)
    except ToolFailedError as error:
        return str(error).partition(" can be started")[0]


async def test_a_full_process_table_blocks_only_what_needs_more(backend, opener):
    """When background processes fill the cap, the process kept ready still serves; what needs more is refused in
    words or fails by itself; files are reached all the same, and stopping helps."""
    async with opener(backend, limits=SandboxLimits(pids=40)) as opened:
        await opened.sandbox.write("fill.py", FILL.encode())
        handle = await opened.sandbox.start("exec python3 fill.py")
        await opened.sandbox.poll(handle, wait_s=10)
        assert await _outcome(opened, "true") in ("0", "no process")
        assert await _outcome(opened, "for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; wait") != "0"
        assert (await opened.sandbox.read("fill.py", max_bytes=1000)).data == FILL.encode()
        await opened.sandbox.stop(handle)
        assert await opened.sh("echo again") == "again\n"


KILLERS = {
    "everything": "kill -9 -1",
    "init": "kill -9 1; kill -TERM 1; kill -STOP 1; kill -INT 1",
    "parent": "kill -STOP $PPID; kill -9 $PPID",
    "all-pids": "for p in /proc/[0-9]*; do p=${p#/proc/}; [ $p = $$ ] || kill -9 $p; done 2>/dev/null",
    "group": "kill -9 0",
    "numbers": "i=1; while [ $i -lt 400 ]; do [ $i = $$ ] || kill -9 $i; i=$((i+1)); done 2>/dev/null",
}


@pytest.mark.parametrize("how", KILLERS)
async def test_the_helper_cannot_be_killed(box, how):
    """Whatever a command signals, the sandbox answers the next request."""
    await asyncio.wait_for(box.sandbox.exec(KILLERS[how], timeout_s=3), 6)
    assert await box.sh("echo alive") == "alive\n"
    assert (await box.sandbox.write("after-kill", b"1")).size_bytes == 1


async def test_the_helpers_memory_and_environment_are_closed(box):
    """A command can neither read nor write what holds it: memory, environment, descriptors, root."""
    probe = """import os
opened = []
for pid in filter(str.isdigit, os.listdir("/proc")):
    if int(pid) in (os.getpid(), os.getppid()): continue
    try:
        if b"guest.main" not in open(f"/proc/{pid}/cmdline", "rb").read(): continue
    except OSError: continue
    for name, how in (("mem", "r+b"), ("environ", "rb"), ("maps", "rb")):
        try:
            file = open(f"/proc/{pid}/{name}", how)
            file.read(1) if name != "mem" else file
            opened.append(f"{pid}/{name}")
        except OSError: pass
    for name in ("fd", "root", "cwd"):
        try:
            os.listdir(f"/proc/{pid}/{name}")
            opened.append(f"{pid}/{name}")
        except OSError: pass
print(opened)
"""
    await box.sandbox.write("probe.py", probe.encode())
    assert await box.sh("python3 probe.py") == "[]\n"


async def test_another_command_is_out_of_reach(box):
    """A command can signal only its own tree; behind bubblewrap it cannot even see another."""
    handle = await box.sandbox.start("echo mine; exec sleep 321")
    await box.sandbox.poll(handle, wait_s=5)
    seen = await box.sh("cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c 'sleep 32[1]' || true")
    if box.backend == "bubblewrap":
        assert seen == "0\n"
    await box.sandbox.exec("pkill -9 sleep; kill -9 -1", timeout_s=3)
    if box.sandbox.report.backend == "bubblewrap" or "landlock" not in box.sandbox.report.missing:
        assert (await box.sandbox.poll(handle)).running
    await box.sandbox.stop(handle)


async def test_a_command_can_forge_neither_result_nor_state_of_another(box):
    """Writing into the folder where state is saved changes at most the writer's own next start."""
    await box.sandbox.exec("for f in /run/ooda/*; do echo /etc > $f; done; ln -sf /etc/passwd /run/ooda/x; exit 3")
    assert await box.sh("pwd") == "/workspace\n"
    assert (await box.sandbox.exec("trap 'echo forged' EXIT; exit 4")).exit_code == 4
    assert (await box.sandbox.exec("rm -rf /run/ooda/*; mkdir /run/ooda/d; exit 5")).exit_code == 5
    await box.sandbox.exec("head -c 100000000 /dev/zero > /run/ooda/full; cd /tmp")
    await box.sandbox.exec("rm -f /run/ooda/full; cd /workspace")
    assert await box.sh("cd /workspace; pwd") == "/workspace\n"


async def test_a_broken_state_does_not_stick(box):
    """Exporting nonsense harms the command that does it, not the sandbox."""
    await box.sandbox.exec("export PATH=/nowhere LD_PRELOAD=/nowhere.so HOME=/ IFS=x PYTHONHOME=/x")
    assert (await box.sandbox.write("still-works", b"1")).size_bytes == 1
    assert "ok\n" in await box.sh("export PATH=/usr/bin:/bin; unset LD_PRELOAD IFS PYTHONHOME; echo ok")
    assert await box.sh("echo fine") == "fine\n"


async def test_closing_output_does_not_end_the_minding(box):
    """A command that closes its streams is still under its deadline."""
    result = await box.sandbox.exec("exec >&- 2>&-; sleep 30", timeout_s=0.3)
    assert result.timed_out


async def test_a_command_that_never_stops_writing_is_ended_in_time(box):
    """A flood does not delay the deadline."""
    began = time.monotonic()
    result = await box.sandbox.exec("yes", timeout_s=0.5)
    assert result.timed_out
    assert time.monotonic() - began < 1.5
    assert result.output.total_bytes > 1_000_000


async def test_closing_with_a_bomb_inside_leaves_nothing(backend, opener):
    """The end of the sandbox is the end of everything in it."""
    async with opener(backend) as opened:
        await opened.sandbox.start(FORK_BOMBS["shell"])
        await asyncio.sleep(0.3)
        began = time.monotonic()
        await opened.sandbox.close()
        assert time.monotonic() - began < 10
