"""Nothing is left: not after a sandbox closes, not after its process was killed, not after a thousand times."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from ooda.sandbox import SandboxSpec, open_sandbox, reap
from ooda.sandbox.docker import connect
from ooda.sandbox.owners import Mark, Owning, is_alive, making_name, this_process
from ooda.sandbox.registry import Entry, entries, register

CYCLES = [
    pytest.param(15, id="15"),
    pytest.param(500, marks=[pytest.mark.soak, pytest.mark.timeout(3600)], id="500"),
]


def _traces(name: str) -> list[str]:
    """What this machine still shows of a sandbox: cgroups, mounts, processes."""
    # os.walk passes over folders that vanish meanwhile, as the cgroups of other sandboxes do.
    found = [folder for folder, _, _ in os.walk("/sys/fs/cgroup") if os.path.basename(folder) == name]
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if name in line]
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (process / "cmdline").read_bytes()
            if b"sleep\x004242" in command or name.encode() in command:
                found.append(command.decode())
    return found


async def _containers() -> list[str]:
    return [names for found in await connect().containers("ooda.sandbox") for names in found["Names"]]


async def _wait_until_gone(name: str, backend: str) -> None:
    """The kernel and the engine take a moment after a kill."""
    deadline = time.monotonic() + 20
    while True:
        left = _traces(name)
        # An empty cgroup is not removed by anyone but the reaper.
        left = [trace for trace in left if "/sys/fs/cgroup" not in trace]
        if backend == "docker":
            left += [container for container in await _containers() if name in container]
        if not left:
            return
        assert time.monotonic() < deadline, left
        await asyncio.sleep(0.05)


def _start(backend: str, workspace: Path, cache: Path) -> tuple[subprocess.Popen[str], str]:
    workspace.mkdir(exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("leave_open.py")), backend, str(workspace), str(cache)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


@pytest.mark.parametrize("cycles", CYCLES)
async def test_closed_and_killed_sandboxes_leave_nothing(backend, cycles, tmp_path):
    """Open and close, open and kill -9: afterwards no container, process, cgroup, mount or folder is there."""
    cache = tmp_path / "cache"
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    for cycle in range(cycles):
        if cycle % 5:
            spec = SandboxSpec(run="run-x", workspace=workspace, spool=tmp_path / "spool", backend=backend)
            async with await open_sandbox(spec, cache_dir=cache) as sandbox:
                await sandbox.start("sleep 4242")
                name = sandbox.id
        else:
            process, name = await asyncio.to_thread(_start, backend, workspace, cache)
            process.kill()
            await asyncio.to_thread(process.wait)
            assert process.stdout is not None
            process.stdout.close()
            await _wait_until_gone(name, backend)
            assert name in await reap(cache)
        assert _traces(name) == []
    assert list((cache / "sandboxes").iterdir()) == []
    assert {path.lstat().st_uid for path in (workspace, *workspace.rglob("*"))} == {os.geteuid()}
    if backend == "docker":
        assert not [container for container in await _containers() if name in container]


async def test_a_killed_process_takes_everything_along_at_once(backend, tmp_path):
    """Without any reaper: the processes end with their owner, and what it wrote stays."""
    process, name = await asyncio.to_thread(_start, backend, tmp_path / "workspace", tmp_path / "cache")
    assert name
    process.kill()
    await asyncio.to_thread(process.wait)
    assert process.stdout is not None
    process.stdout.close()
    await _wait_until_gone(name, backend)
    assert (tmp_path / "workspace" / "made.txt").read_text() == "made\n"
    assert [entry.mark.name for entry in entries(tmp_path / "cache")] == [name]
    assert name in await reap(tmp_path / "cache")
    assert name not in await reap(tmp_path / "cache")


async def test_an_interpreter_that_forgot_to_close_cleans_up_at_its_end(backend, tmp_path):
    """An error on the way out leaves no cgroup, folder or lent workspace for the next start to find."""
    (tmp_path / "workspace").mkdir()
    script = f"""import asyncio, os, warnings
from pathlib import Path
from ooda.sandbox import SandboxSpec, open_sandbox
async def main():
    place = Path({str(tmp_path)!r})
    spec = SandboxSpec(run="r", workspace=place / "workspace", spool=place, backend={backend!r})
    sandbox = await open_sandbox(spec, cache_dir=place / "cache")
    await sandbox.write("x", b"1")
    print(sandbox.id, flush=True)
    raise SystemExit(3)
asyncio.run(main())
"""
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", script], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == 3, done.stderr
    name = done.stdout.strip()
    await _wait_until_gone(name, backend)
    assert _traces(name) == []
    assert list((tmp_path / "cache" / "sandboxes").iterdir()) == []
    assert (tmp_path / "workspace" / "x").lstat().st_uid == os.geteuid()


async def test_the_living_are_never_reaped(backend, tmp_path):
    """A sandbox whose owner lives is left alone."""
    (tmp_path / "workspace").mkdir()
    spec = SandboxSpec(run="r", workspace=tmp_path / "workspace", spool=tmp_path / "spool", backend=backend)
    async with await open_sandbox(spec, cache_dir=tmp_path / "cache") as sandbox:
        assert sandbox.id not in await reap(tmp_path / "cache")
        assert (await sandbox.exec("echo alive")).output.head == "alive\n"


async def test_a_record_of_a_reused_process_id_is_dead(tmp_path):
    """A process number alone is no owner: its start time must agree."""
    mine = this_process()
    assert is_alive(mine)
    assert not is_alive(msgspec.structs.replace(mine, started=mine.started - 1))
    assert not is_alive(msgspec.structs.replace(mine, boot="another boot"))
    assert is_alive(msgspec.structs.replace(mine, namespace="pid:[1]", pid=1))
    dead = Entry(Mark("ooda-dead", "r", Owning(1, 1, mine.boot, mine.namespace)), str(tmp_path), "bubblewrap")
    register(tmp_path, dead)
    assert "ooda-dead" in await reap(tmp_path)


KILLED_AT = """import os, sys
from pathlib import Path
from ooda.sandbox.owners import Mark, this_process
from ooda.sandbox.registry import Entry, clean_up, register
wanted, cache, leave = sys.argv[1], Path(sys.argv[2]), sys.argv[3] == "leave"
entry = Entry(Mark("ooda-half", "r", this_process()), str(cache), "bubblewrap")
if leave:
    (register(cache, entry) / "ca.key").write_text("key")
def kill(event, arguments):
    if event == wanted and any(word in str(arguments) for word in ("ooda-half", "ca.key")):
        os.kill(os.getpid(), 9)
sys.addaudithook(kill)
clean_up(cache, entry) if leave else register(cache, entry)
"""


@pytest.mark.parametrize(
    ("event", "step"),
    [
        ("open", "enter"),
        ("os.rename", "enter"),
        ("shutil.rmtree", "leave"),
        ("os.remove", "leave"),
        ("os.rmdir", "leave"),
    ],
)
async def test_a_kill_between_the_steps_of_the_record_leaves_nothing_for_ever(tmp_path, event, step):
    """Killed after its folder was made and before its record stands, or while both are being removed."""
    command = [sys.executable, "-c", KILLED_AT, event, str(tmp_path), step]
    done = await asyncio.to_thread(subprocess.run, command, cwd=Path(__file__).parents[2])
    assert done.returncode == -9
    assert len(list((tmp_path / "sandboxes").iterdir())) == 1
    assert "ooda-half" in await reap(tmp_path)
    assert list((tmp_path / "sandboxes").iterdir()) == []


async def test_only_what_dead_processes_were_making_is_swept(tmp_path):
    """Half an environment of a process that lives is being made; one of a dead process never will be."""
    rooms = [tmp_path / "environments", tmp_path / "images", tmp_path / "roots"]
    command = [sys.executable, "-c", "from ooda.sandbox.owners import making_name; print(making_name('half'))"]
    dead = (await asyncio.to_thread(subprocess.check_output, command, text=True, cwd=Path(__file__).parents[2])).strip()
    mine = making_name("half")
    for room in rooms:
        for name in (mine, dead, "whole"):
            (room / name / "deep" / "er").mkdir(parents=True)
    await reap(tmp_path)
    assert [sorted(path.name for path in room.iterdir()) for room in rooms] == [[mine, "whole"]] * 3


async def test_damaged_records_are_passed_over(tmp_path):
    """A record that cannot be read stops nobody."""
    folder = tmp_path / "sandboxes" / "ooda-broken"
    folder.mkdir(parents=True)
    (folder / "sandbox.json").write_text("{")
    assert "ooda-broken" not in await reap(tmp_path)


@pytest.mark.docker
async def test_containers_of_dead_owners_are_found_by_their_labels(tmp_path, available):
    """Also those whose record is lost, as after a move of the cache."""
    if not available["docker"]:
        pytest.skip("no Docker Engine answers; start one with `scripts/services/docker up`")
    from ooda.sandbox.docker import resolve_image
    from ooda.sandbox.ownership import Owner

    engine = connect()
    image = await resolve_image(engine, None, Owner(1000, 1000))
    mine = this_process()
    mark = Mark(f"ooda-test-{os.getpid()}", "r", Owning(1, 1, mine.boot, mine.namespace))
    await engine.create(mark.name, {"Image": image.digest, "Cmd": ["/bin/true"], "Labels": mark.labels()})
    assert mark.name in await reap(tmp_path)
    assert await engine.inspect(mark.name) is None
