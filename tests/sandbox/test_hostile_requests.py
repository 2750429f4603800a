"""Requests that nobody sensible makes, and states in which no later command could start: each is refused or
answered at once, in the caller's terms, and the sandbox stands."""

from __future__ import annotations

import asyncio
import time

import pytest

from ooda.errors import ToolArgumentsError, ToolError
from ooda.sandbox import SandboxLimits

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIB = 1 << 20


@pytest.mark.parametrize("timeout_s", [-1, 0, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.01])
async def test_a_time_out_before_the_command_began_ends_it_all_the_same(box, timeout_s):
    """However early: while its namespace is being made, before its first instruction, in the middle of its start."""
    for _ in range(5):
        began = time.monotonic()
        result = await asyncio.wait_for(box.sandbox.exec("sleep 30", timeout_s=timeout_s), 10)
        assert result.timed_out
        assert result.exit_code is None
        assert time.monotonic() - began < 1 + max(timeout_s, 0)
    assert (await box.sandbox.stats()).processes == 0


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), float("-inf")])
async def test_what_is_no_time_is_refused(box, seconds):
    """A time-out that never comes, and one that cannot be compared."""
    handle = await box.sandbox.start("sleep 30")
    for operation in (box.sandbox.exec("true", timeout_s=seconds), box.sandbox.poll(handle, wait_s=seconds)):
        with pytest.raises(ToolArgumentsError, match="number of seconds"):
            await operation
    await box.sandbox.stop(handle)


LARGE = {
    "one": {"BIG": "x" * 200_000},
    "many": {f"V{number}": "x" * 1000 for number in range(3000)},
}


@pytest.mark.parametrize("what", LARGE)
async def test_an_environment_larger_than_the_kernel_takes_is_the_callers_mistake(box, what):
    """It fails this one command, in words."""
    with pytest.raises(ToolArgumentsError, match="environment is too large"):
        await box.sandbox.exec("true", env=LARGE[what])
    assert await box.sh("echo alive") == "alive\n"


async def test_a_variable_too_long_to_start_with_does_not_end_every_later_command(fresh):
    """It is dropped from the state; the rest of the state is kept."""
    await fresh.sh("export BIG=$(head -c 140000 /dev/zero | tr '\\0' x) SMALL=kept; cd /tmp")
    assert await fresh.sh('echo "$SMALL ${#BIG}"; pwd') == "kept 0\n/tmp\n"


async def test_poisoned_loader_variables_can_be_taken_back(fresh):
    """What the loader reads goes to the programs of a command and not to its shell, as if that one had exported it."""
    await fresh.sh('cp /bin/ls libc.so.6; export LD_LIBRARY_PATH="/workspace:it\'s" LD_PRELOAD=/workspace/absent.so')
    assert await fresh.sh('echo "$LD_LIBRARY_PATH"') == "/workspace:it's\n"
    assert (await fresh.sandbox.exec("/bin/ls")).exit_code != 0
    await fresh.sh("unset LD_LIBRARY_PATH LD_PRELOAD")
    assert await fresh.sh("ls") == "libc.so.6\n"


async def test_a_path_that_hides_every_program_can_be_taken_back(fresh):
    """The shell itself is started by its own name."""
    await fresh.sh("export PATH=/nowhere HOME=/nowhere IFS=x TMPDIR=/nowhere")
    assert (await fresh.sandbox.exec("ls")).exit_code == 127
    assert await fresh.sh("export PATH=/usr/bin:/bin; ls /workspace; echo back") == "back\n"


async def test_a_file_no_frame_can_carry_is_refused_by_its_size(box):
    """Whatever limit the caller names; and one too large to send is refused before it is sent."""
    await box.sh("head -c 45000000 /dev/zero > large")
    with pytest.raises(ToolArgumentsError, match="45000000 bytes"):
        await box.sandbox.read("large", max_bytes=1 << 40)
    with pytest.raises(ToolArgumentsError, match="too large"):
        await box.sandbox.write("large", bytes(60 * MIB))
    await box.sh("rm large")


async def test_a_search_or_listing_without_bound_has_one(box):
    """More hits or entries than anyone reads cost neither memory nor the sandbox."""
    await box.sh("mkdir -p hits; yes a | head -c 200000 > hits/a")
    found = await box.sandbox.search("a", path="hits", max_hits=10**12)
    assert (len(found.hits), found.truncated) == (10_000, True)
    assert len(await box.sandbox.list("hits", depth=10**12, max_entries=10**12)) == 1
    await box.sh("rm -r hits")


ODD_DIRECTORIES = ["x" * 300, "x" * 5000, "\ud800", "a\0b", "/proc/self/cwd/..", "/workspace/../..", "\x1b[2J" * 200]


@pytest.mark.parametrize("cwd", ODD_DIRECTORIES)
async def test_a_directory_that_is_none_is_said_in_one_short_sentence(box, cwd):
    """Names longer than the kernel takes, ones that are no text, ways round."""
    with pytest.raises(ToolArgumentsError) as caught:
        await box.sandbox.exec("pwd", cwd=cwd)
    assert len(str(caught.value)) < 1200


ODD_COMMANDS = [
    "",
    " ",
    "\n",
    "#",
    "(((",
    "cat <<EOF\nx",
    "exec 1>&- 2>&-",
    "exit 300",
    "\r\n",
    "\udcff",
    "\\",
    "'",
    '"$(',
]


@pytest.mark.parametrize("command", ODD_COMMANDS)
async def test_any_text_is_a_command_with_an_outcome(box, command):
    """Empty ones, unfinished ones, ones that close their own output."""
    result = await box.sandbox.exec(command, timeout_s=10)
    assert result.exit_code is not None
    assert await box.sh("echo alive") == "alive\n"


async def test_more_commands_at_once_than_there_are_processes_are_refused_or_run(box):
    """None waits for ever, and the sandbox has room again afterwards."""
    outcomes = await asyncio.wait_for(
        asyncio.gather(*(box.sandbox.exec("sleep 0.3; echo x") for _ in range(120)), return_exceptions=True), 60
    )
    assert {type(outcome) for outcome in outcomes if isinstance(outcome, BaseException)} <= {
        *ToolError.__subclasses__()
    }
    assert await box.sh("echo alive") == "alive\n"


HOGS = {
    "memfd": """import os
fd = os.memfd_create("hog")
while True: os.write(fd, bytes(1 << 20))
""",
    "shared-segments": """import ctypes
libc = ctypes.CDLL(None)
libc.shmat.restype = ctypes.c_void_p
while True:
    segment = libc.shmget(0, ctypes.c_size_t(20 << 20), 0o1666)
    if segment < 0: raise SystemExit(1)
    ctypes.memset(libc.shmat(segment, None, 0), 1, 20 << 20)
""",
    "shared-map": """import mmap
maps = []
while True:
    maps.append(mmap.mmap(-1, 20 << 20))
    maps[-1].write(bytes(20 << 20))
""",
    "pipes": """import fcntl, os, time
held = []
try:
    while True:
        held.append(os.pipe()); fcntl.fcntl(held[-1][1], 1031, 1 << 20); os.write(held[-1][1], bytes(1 << 20))
except OSError: time.sleep(0.1)
""",
    "sockets": """import socket, time
held = []
try:
    while True:
        one, other = socket.socketpair(); one.setblocking(False); held.append((one, other))
        while True:
            try: one.send(bytes(1 << 16))
            except BlockingIOError: break
except OSError: time.sleep(0.1)
""",
}


@pytest.mark.parametrize("how", HOGS)
async def test_memory_that_is_no_process_own_ends_the_command_and_not_the_helper(backend, opener, how):
    """Memory that belongs to files, segments and queues: the kernel ends commands before the helper."""
    async with opener(backend, limits=SandboxLimits(memory_bytes=192 * MIB)) as opened:
        await opened.sandbox.write("hog.py", HOGS[how].encode())
        for _ in range(2):
            await opened.sandbox.exec("python3 hog.py", timeout_s=10)
            assert await opened.sh("echo alive") == "alive\n"
        assert (await opened.sandbox.read("hog.py", max_bytes=MIB)).data == HOGS[how].encode()


async def test_shared_segments_do_not_outlive_their_command(box):
    """Nor do they those that are in use by a background process go with another command."""
    made = """import ctypes, sys, time
libc = ctypes.CDLL(None)
libc.shmat.restype = ctypes.c_void_p
segment = libc.shmget(0, ctypes.c_size_t(1 << 20), 0o1666)
libc.shmat(segment, None, 0)
print(segment, flush=True)
time.sleep(float(sys.argv[1]))
"""
    await box.sandbox.write("segment.py", made.encode())
    handle = await box.sandbox.start("exec python3 segment.py 60")
    held = (await box.sandbox.poll(handle, wait_s=10)).output.head.strip()
    await box.sh("python3 segment.py 0; python3 segment.py 0")
    left = await box.sh("tail -n +2 /proc/sysvipc/shm | while read key id rest; do echo $id; done")
    assert left.split() == [held]
    await box.sandbox.stop(handle)


async def test_full_temporary_folders_leave_memory_to_empty_them(backend, opener):
    """All of them together, with little memory and the usual sizes: commands still run."""
    async with opener(backend, limits=SandboxLimits(memory_bytes=128 * MIB)) as opened:
        for folder in ("/tmp", "/home/agent", "/dev/shm", "/var/tmp"):
            await opened.sandbox.exec(f"head -c 700000000 /dev/zero > {folder}/fill")
        await opened.sh("python3 -c 'print(1)'; rm /tmp/fill /home/agent/fill /dev/shm/fill /var/tmp/fill")


FILES = """import os
number = 0
while True:
    os.close(os.open(f"/tmp/{number}", os.O_CREAT))
    number += 1
"""


async def test_empty_files_without_number_end_the_command(backend, opener):
    """They take nothing of a folder's size, and the kernel's memory all the same."""
    async with opener(backend, limits=SandboxLimits(tmp_bytes=64 * MIB)) as opened:
        await opened.sandbox.write("files.py", FILES.encode())
        result = await opened.sandbox.exec("python3 files.py", timeout_s=30)
        assert result.limit == "disk"
        assert int(await opened.sh("ls -f /tmp | wc -l")) < 400_000
        assert await opened.sh("echo alive") == "alive\n"
