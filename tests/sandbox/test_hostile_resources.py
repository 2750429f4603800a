"""Commands that use up memory, disk, descriptors or our own patience: each ends by itself, the sandbox stands."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import subprocess
from pathlib import Path

import pytest

from ooda.errors import ToolFailedError
from ooda.sandbox import SandboxLimits
from ooda.sandbox.protocol import DiskQuota

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIB = 1 << 20
SMALL = SandboxLimits(
    memory_bytes=160 * MIB, disk_bytes=48 * MIB, tmp_bytes=16 * MIB, file_bytes=256 * MIB, open_files=256
)


@pytest.fixture(scope="module")
def small(backend, opener):
    """Opens a sandbox with little of everything."""
    return lambda **more: opener(backend, limits=SMALL, **more)


HOG = "b = bytearray({size} << 20); b[::4096] = b'x' * len(b[::4096]); import time; time.sleep({rest})"
MEMORY = {
    "one": f'python3 -c "{HOG.format(size=400, rest=0)}"',
    "many": f'for i in 1 2 3 4 5; do python3 -c "{HOG.format(size=60, rest=1)}" & done; wait; false',
    "pipes": "head -c 400000000 /dev/zero | sort > /dev/null; [ $? = 0 ] && echo no; false",
    "shell": "a=x; while :; do a=$a$a$a$a; done",
}


@pytest.mark.parametrize("how", MEMORY)
async def test_memory_ends_the_command_and_not_the_sandbox(small, how):
    """Who takes more memory than there is loses; the helper and the files stay."""
    async with small() as opened:
        await opened.sandbox.write("kept", b"1")
        result = await opened.sandbox.exec(MEMORY[how], timeout_s=20)
        assert result.exit_code != 0, result
        assert not result.timed_out
        assert await opened.sh("cat kept") == "1"


async def test_temporary_folders_are_limited(small):
    """What can be written outside the workspace has a size, and filling it harms the command that does it only."""
    async with small() as opened:
        for folder in ("/tmp", "$HOME", "/dev/shm", "/var/tmp", "/run/ooda"):
            result = await opened.sandbox.exec(f"head -c 100000000 /dev/zero > {folder}/fill")
            assert "No space" in result.output.head, (folder, result)
            used = int(await opened.sh(f"stat -c %s {folder}/fill"))
            assert used <= 17 * MIB
        assert await opened.sh("cd /workspace && echo fine") == "fine\n"
        await opened.sh("rm -f /tmp/fill $HOME/fill /dev/shm/fill /var/tmp/fill /run/ooda/fill")
        assert await opened.sh("export A=1; echo works") == "works\n"


FILL = {
    "one-file": "dd if=/dev/zero of=big bs=1M count=240 2>/dev/null; sleep 9",
    "small-files": 'python3 -c \'for i in range(9000): open(str(i), "wb").write(b"x" * 20000)\'; sleep 9',
    "empty-files": "mkdir e; seq 1 30000 | (cd e && xargs touch); sleep 9",
    "hidden": "mkdir d; cd d; chmod 300 .; dd if=/dev/zero of=big bs=1M count=200 2>/dev/null; sleep 9",
}


@pytest.mark.parametrize("how", FILL)
async def test_a_workspace_that_outgrows_its_quota_ends_the_command(small, how):
    """Above the quota the command is ended and says why; the next one may clean up."""
    async with small() as opened:
        result = await opened.sandbox.exec(FILL[how], timeout_s=30)
        assert result.limit == "disk", result
        assert "disk-quota" in opened.sandbox.report.missing
        assert await opened.sh("cd /workspace; chmod -R u+rwx .; rm -rf ./*; echo cleaned") == "cleaned\n"
        await opened.sandbox.write("again", b"1")


TIGHT = SandboxLimits(disk_bytes=12 * MIB)


async def test_file_tools_are_under_the_quota_at_once(backend, opener):
    """No command need run for it: the write that would pass the quota is refused, and what shrinks it is not."""
    async with opener(backend, limits=TIGHT) as opened:
        for number in range(10):
            await opened.sandbox.write(f"part-{number}", bytes(MIB))
        known = hashlib.sha256(bytes(MIB)).hexdigest()
        for path, size, expected in (("part-10", 3, None), ("part-0", 6, None), ("part-0", 6, known)):
            with pytest.raises(ToolFailedError, match="left of its quota"):
                await opened.sandbox.write(path, bytes(size * MIB), sha256=expected)
        stats = await opened.sandbox.stats()
        assert stats.workspace_bytes <= stats.workspace_limit_bytes == 12 * MIB
        await opened.sandbox.write("part-0", b"short")
        await opened.sh("rm part-1 part-2 part-3")
        await opened.sandbox.write("again", bytes(3 * MIB))


async def test_what_a_command_wrote_counts_for_the_next_file(backend, opener):
    """The bound follows what commands do, up and down, and empty files are not free."""
    async with opener(backend, limits=TIGHT) as opened:
        await opened.sh("head -c 9000000 /dev/zero > big")
        with pytest.raises(ToolFailedError, match="left of its quota"):
            await opened.sandbox.write("more", bytes(4 * MIB))
        await opened.sh("rm big; mkdir many; cd many; seq 1 2500 | xargs touch; cd ..")
        with pytest.raises(ToolFailedError, match="left of its quota"):
            await opened.sandbox.write("more", bytes(4 * MIB))
        await opened.sh("rm -rf many")
        await opened.sandbox.write("more", bytes(4 * MIB))


async def test_many_writes_at_once_do_not_pass_the_quota_together(backend, opener):
    """Each counts from the moment it is let through."""
    async with opener(backend, limits=TIGHT) as opened:
        outcomes = await asyncio.gather(
            *(opened.sandbox.write(f"file-{number}", bytes(MIB)) for number in range(20)), return_exceptions=True
        )
        assert 9 <= sum(not isinstance(outcome, BaseException) for outcome in outcomes) <= 12
        assert (await opened.sandbox.stats()).workspace_bytes <= 12 * MIB


async def test_the_report_names_the_quota(small):
    """What bounds the workspace, and that a watched bound is not a hard one."""
    async with small() as opened:
        assert opened.sandbox.report.disk == DiskQuota(48 * MIB)
        assert "disk-quota" in opened.sandbox.report.missing


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
async def test_a_workspace_on_a_file_system_of_its_own_has_a_hard_quota(small, tmp_path):
    """Nothing outruns it, and the report says so."""
    workspace = tmp_path / "mounted"
    workspace.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(workspace)], check=True)
    try:
        async with small(workspace=workspace) as opened:
            assert opened.sandbox.report.disk == DiskQuota(32 * MIB, is_hard=True)
            assert "disk-quota" not in opened.sandbox.report.missing
            result = await opened.sandbox.exec("head -c 100000000 /dev/zero > fill")
            assert "No space left" in result.output.head
            with pytest.raises(ToolFailedError, match="no space left"):
                await opened.sandbox.write("more", bytes(2 * MIB))
            await opened.sh("rm fill; echo fine > note")
    finally:
        subprocess.run(["umount", str(workspace)], check=True)


async def test_a_single_file_has_a_largest_size(small):
    """The limit for one file holds for commands and file tools alike."""
    async with small() as opened:
        result = await opened.sandbox.exec(
            "truncate -s 300M giant; dd if=/dev/zero of=giant bs=1M seek=300 count=1 2>&1"
        )
        assert result.exit_code != 0
        assert not (opened.workspace / "giant").exists() or (opened.workspace / "giant").stat().st_size <= 256 * MIB


async def test_descriptors_are_limited(small):
    """A command can open so many files and no more, and nobody else runs out."""
    async with small() as opened:
        script = "n = []\ntry:\n while True: n.append(open('/dev/null'))\nexcept OSError: print(len(n))\n"
        await opened.sandbox.write("fds.py", script.encode())
        assert 200 < int(await opened.sh("python3 fds.py")) < 256
        assert await opened.sh("echo fine") == "fine\n"


async def test_no_core_is_dumped(box):
    """A crash leaves no image of memory in the workspace."""
    await box.sandbox.exec("mkdir -p crash; cd crash; kill -ABRT $$")
    assert await box.sh("ls -A /workspace/crash") == ""


@pytest.mark.parametrize("size", [200_000_000, pytest.param(1_000_000_000, marks=pytest.mark.soak)])
async def test_a_flood_costs_this_process_little(box, size):
    """Output is cut where it is made: our memory grows by less than 20 MB, and the total is still told."""
    before = _peak_kib()
    result = await box.sandbox.exec(f"head -c {size} /dev/zero", timeout_s=60)
    assert result.output.total_bytes == size
    assert len(result.output.head) + len(result.output.tail) <= 131_072
    assert _peak_kib() - before < 20 * 1024


async def test_a_line_without_end_and_odd_bytes_are_cut_like_any(box):
    """No line break is waited for, and characters cut in two do not spoil their neighbours."""
    result = await box.sandbox.exec('python3 -c \'print("ü" * 200001, end="")\'')
    assert set(result.output.head) == set(result.output.tail) == {"ü"}
    kept = (len(result.output.head) + len(result.output.tail)) * 2
    assert result.output.dropped_bytes == 400_002 - kept


async def test_escapes_cannot_hide_what_follows(box):
    """An unfinished terminal sequence does not swallow the lines after it."""
    assert await box.sh(r"printf 'before\033]0;title'; echo; echo after; printf '\033P'; echo; echo last") == (
        "before\nafter\n\nlast\n"
    )


def _peak_kib() -> int:
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found
    return int(found[1])
