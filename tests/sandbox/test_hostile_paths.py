"""Paths that try to lead out of the workspace, to hang the reader or to write elsewhere. All must fail, quietly."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from pathlib import Path

import pytest
import pytest_asyncio

from ooda.errors import ToolArgumentsError, ToolError, ToolFailedError

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIB = 1 << 20

OUTSIDE = [
    "..",
    "../",
    "../etc/passwd",
    "a/../../etc/passwd",
    "./../etc/passwd",
    "//etc/passwd",
    "/etc/passwd",
    "/",
    "/workspace/../etc/passwd",
    "/workspace/../workspace/../etc/passwd",
    "/workspacesecret",
    "/proc/self/root/etc/passwd",
    "/proc/self/cwd/../etc/passwd",
    "/proc/1/environ",
    "/dev/zero",
    "/home/agent/.profile",
    "/tmp/x",
    "/run/ooda/state",
    "/.ooda/guest/main.py",
]

LINKS = {
    "to-file": "/etc/passwd",
    "to-folder": "/etc",
    "to-root": "/",
    "to-parent": "..",
    "to-proc": "/proc/self/root",
    "to-device": "/dev/zero",
    "to-tmp": "/tmp",
    "by-steps": "a/../../etc",
    "chained": "to-folder",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def _links(box):
    """Planted links."""
    await box.sh("mkdir -p a; " + "; ".join(f"ln -sfn {target} {name}" for name, target in LINKS.items()))


@pytest.mark.parametrize("path", OUTSIDE)
async def test_no_path_text_leads_outside(box, path):
    """Dots, absolute paths and the ways through /proc are refused by every operation, before anything is opened."""
    for operation in (
        box.sandbox.read(path, max_bytes=MIB),
        box.sandbox.write(path, b"x"),
        box.sandbox.write(path, b"x", sha256="0" * 64),
        box.sandbox.list(path),
        box.sandbox.search("root", path=path),
    ):
        with pytest.raises(ToolArgumentsError, match="outside the workspace"):
            await operation


@pytest.mark.parametrize("name", LINKS)
@pytest.mark.usefixtures("_links")
async def test_no_link_leads_outside(box, name):
    """A link out of the workspace is refused wherever it stands in the path."""
    for path in (name, f"{name}/passwd", f"{name}/../etc/passwd", f"a/../{name}/hostname"):
        for operation in (
            box.sandbox.read(path, max_bytes=MIB),
            box.sandbox.list(path),
            box.sandbox.search("root", path=path),
        ):
            with pytest.raises(ToolArgumentsError):
                await operation
    with pytest.raises(ToolArgumentsError):
        await box.sandbox.write(f"{name}/planted", b"x")
    with pytest.raises(ToolArgumentsError, match="is a link"):
        await box.sandbox.write(name, b"x")
    assert await box.sh("ls /tmp/planted /etc/planted /planted 2>/dev/null || echo none") == "none\n"


@pytest.mark.usefixtures("_links")
async def test_links_that_stay_inside_are_walked(box):
    """Repositories hold links; those that stay inside lead where they say, relative and absolute ones."""
    await box.sh("mkdir -p a real/deep; echo hi > real/deep/file; ln -sfn real/deep near; ln -sfn /workspace/real far")
    await box.sh("ln -sfn ../real/deep/file a/up")
    for path in ("near/file", "far/deep/file", "a/up", "near/../deep/file"):
        assert (await box.sandbox.read(path, max_bytes=10)).data == b"hi\n"
    await box.sandbox.write("near/new", b"1")
    assert await box.sh("cat real/deep/new") == "1"
    hits = (await box.sandbox.search("hi", path=".")).hits
    assert [hit.path for hit in hits if hit.path.endswith("file")] == ["real/deep/file"]


async def test_link_loops_end(box):
    """A loop is an error, not a hang."""
    await box.sh("ln -sfn loop-b loop-a; ln -sfn loop-a loop-b; ln -sfn . self; ln -sfn absent dangling")
    for path in ("loop-a", "loop-a/x", "/".join(["self"] * 60)):
        with pytest.raises(ToolArgumentsError):
            await box.sandbox.read(path, max_bytes=10)
    with pytest.raises(ToolArgumentsError, match="does not exist"):
        await box.sandbox.read("dangling", max_bytes=10)


async def test_swapping_a_folder_for_a_link_wins_no_race(box):
    """While a command flips a folder and a link to /etc as fast as it can, no read or write goes through the link."""
    await box.sh("mkdir -p race-real; echo mine > race-real/passwd; ln -sfn /etc race-link; mv race-real race")
    flip = """import os
while not os.path.exists("race-stop"):
    os.rename("race", "race-aside"); os.rename("race-link", "race")
    os.rename("race", "race-link"); os.rename("race-aside", "race")
"""
    await box.sandbox.write("flip.py", flip.encode())
    handle = await box.sandbox.start("python3 flip.py")
    known = hashlib.sha256(b"mine\n").hexdigest()
    seen = set()
    for attempt in range(300):
        try:
            if attempt % 3:
                seen.add((await box.sandbox.read("race/passwd", max_bytes=MIB)).data)
            else:
                await box.sandbox.write("race/passwd", b"mine\n", sha256=known)
        except ToolError:
            continue
    await box.sh("touch race-stop")
    assert (await box.sandbox.poll(handle, wait_s=10)).exit_code == 0
    assert seen == {b"mine\n"}


async def test_swapping_a_file_for_a_link_wins_no_race(box):
    """The same for the last name of a path: what is written stays inside, what is read is no file outside."""
    await box.sh("echo mine > victim")
    flip = """import os
while not os.path.exists("file-stop"):
    for target in ("/etc/passwd", "/proc/self/environ", "/tmp/outside"):
        os.symlink(target, "victim.new"); os.rename("victim.new", "victim")
        open("victim.new", "w").write("mine\\n"); os.rename("victim.new", "victim")
"""
    await box.sandbox.write("flip-file.py", flip.encode())
    handle = await box.sandbox.start("python3 flip-file.py")
    seen = set()
    for attempt in range(300):
        try:
            if attempt % 2:
                seen.add((await box.sandbox.read("victim", max_bytes=MIB)).data)
            else:
                await box.sandbox.write("victim", b"mine\n")
        except ToolError:
            continue
    await box.sh("touch file-stop")
    assert (await box.sandbox.poll(handle, wait_s=10)).exit_code == 0
    assert seen <= {b"mine\n", b""}
    assert await box.sh("ls /tmp/outside 2>/dev/null || echo none") == "none\n"


async def test_an_edit_loses_no_concurrent_change(box):
    """Someone appends without a lock meanwhile: an edit either sees the lines or is refused, and no line is lost."""
    await box.sandbox.write("log.txt", b"")
    handle = await box.sandbox.start("i=0; while [ $i -lt 300 ]; do echo $i >> log.txt; i=$((i+1)); done")
    edits = 0
    while (await box.sandbox.poll(handle)).running:
        data = (await box.sandbox.read("log.txt", max_bytes=MIB)).data
        try:
            await box.sandbox.write("log.txt", data + b"edit\n", sha256=hashlib.sha256(data).hexdigest())
            edits += 1
        except ToolArgumentsError:
            continue
    lines = (await box.sandbox.read("log.txt", max_bytes=MIB)).data.split()
    assert lines.count(b"edit") == edits
    assert [line for line in lines if line != b"edit"] == [b"%d" % number for number in range(300)]


async def test_a_file_that_is_held_open_for_writing_is_not_edited_under_its_writer(box):
    """What the writer wrote next would be lost; an edit says so, at once, and works when it is closed."""
    await box.sandbox.write("held.txt", b"one\n")
    known = hashlib.sha256(b"one\n").hexdigest()
    handle = await box.sandbox.start("exec 3>>held.txt; echo open; sleep 60")
    await box.sandbox.poll(handle, wait_s=10)
    with pytest.raises(ToolArgumentsError, match="open for writing"):
        await asyncio.wait_for(box.sandbox.write("held.txt", b"two\n", sha256=known), 5)
    await box.sandbox.stop(handle)
    await box.sandbox.write("held.txt", b"two\n", sha256=known)
    assert await box.sh("cat held.txt; ls -a | grep ooda-write || true") == "two\n"


async def test_an_edit_notices_a_file_put_in_the_place_of_the_one_it_judged(box):
    """Replacing by rename, as editors and tools do it, loses nothing either."""
    await box.sandbox.write("swap.txt", b"0\n")
    loop = "i=0; while [ $i -lt 200 ]; do i=$((i+1)); (cat swap.txt; echo $i) > swap.new; mv swap.new swap.txt; done"
    handle = await box.sandbox.start(loop)
    while (await box.sandbox.poll(handle)).running:
        data = (await box.sandbox.read("swap.txt", max_bytes=MIB)).data
        with contextlib.suppress(ToolArgumentsError):
            await box.sandbox.write("swap.txt", data, sha256=hashlib.sha256(data).hexdigest())
    lines = (await box.sandbox.read("swap.txt", max_bytes=MIB)).data.split()
    assert lines == [b"%d" % number for number in range(201)]


async def test_hard_links_reach_nothing_of_the_host(box):
    """Files of the host cannot be linked in; a file with two names inside is replaced under one of them only."""
    result = await box.sandbox.exec("ln /etc/passwd stolen || ln /usr/bin/env stolen || ln /etc/ld.so.cache stolen")
    assert result.exit_code != 0
    await box.sh("echo one > first; ln first second")
    await box.sandbox.write("first", b"two\n")
    assert await box.sh("cat second") == "one\n"


async def test_special_files_are_neither_read_nor_written(box):
    """A FIFO, a socket or a device never blocks or feeds the file tools."""
    await box.sh(
        "mkfifo -m 666 fifo; python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"sock\")'; "
        "mknod null c 1 3 2>/dev/null; mknod disk b 254 0 2>/dev/null; ln -sfn /dev/zero zero; true"
    )
    for name in ("fifo", "sock"):
        with pytest.raises(ToolArgumentsError, match="not a regular file"):
            await asyncio.wait_for(box.sandbox.read(name, max_bytes=10), 5)
        with pytest.raises(ToolArgumentsError, match="not a regular file"):
            await asyncio.wait_for(box.sandbox.write(name, b"x"), 5)
    assert not (box.workspace / "null").exists()
    assert not (box.workspace / "disk").exists()
    found = await asyncio.wait_for(box.sandbox.search("x", path="."), 10)
    assert found.truncated is False


async def test_a_sparse_giant_is_refused_by_its_size(box):
    """A file that claims to be large is not read to find out."""
    await box.sh("truncate -s 900M giant")
    with pytest.raises(ToolArgumentsError, match="943718400 bytes"):
        await box.sandbox.read("giant", max_bytes=MIB)
    assert (await box.sandbox.search("x", path="giant")).hits == ()


NEST = """import os
for _ in range(45):
    os.mkdir("d" * 200)
    os.chdir("d" * 200)
with open("hidden", "wb") as file:
    file.write(b"x" * 3_000_000)
"""


async def test_a_deep_nest_breaks_nothing(box):
    """Folders nested deeper than any path may be long are listed, searched and measured; nothing hides in them."""
    await box.sandbox.write("nest.py", NEST.encode())
    before = (await box.sandbox.stats()).workspace_bytes
    await box.sh("mkdir nest; cd nest; python3 ../nest.py; chmod 300 .; cd ..")
    assert (await box.sandbox.stats()).workspace_bytes - before >= 3_000_000
    assert await box.sh("stat -c %a nest; chmod 700 nest") == "300\n"
    assert len(await box.sandbox.list("nest", depth=10_000)) == 46
    assert (await box.sandbox.search("xxx", path="nest")).files_searched == 1
    await box.sh("rm -rf nest")


async def test_many_entries_are_capped(box):
    """A folder with more entries than asked for is cut, not collected."""
    await box.sh("mkdir many; cd many; seq 1 5000 | xargs touch; cd /workspace")
    assert len(await box.sandbox.list("many", max_entries=100)) == 100


async def test_a_pattern_that_takes_for_ever_is_ended(box):
    """Catastrophic backtracking costs its caller a refusal and nobody else anything."""
    await box.sandbox.write("evil.txt", b"a" * 60 + b"!")
    arguments = {"pattern": "(a+)+$", "path": "evil.txt", "regex": True, "max_hits": 1, "timeout_s": 0.5}
    with pytest.raises(ToolFailedError, match=r"took longer than 0\.5 s"):
        await box.sandbox._client.request("search", arguments, deadline_s=20)
    assert (await box.sandbox.read("evil.txt", max_bytes=100)).info.size_bytes == 61


async def test_set_id_bits_cannot_be_set(box):
    """A file with a set-user-id bit would outlive the sandbox on the host."""
    await box.sandbox.exec(
        "touch suid; chmod u+s suid; chmod 6755 suid; install -m 4755 suid suid2; "
        "python3 -c 'import os; os.open(\"suid3\", os.O_CREAT, 0o4755)'"
    )
    modes = [path.stat().st_mode for path in box.workspace.glob("suid*")]
    assert modes
    assert not any(mode & 0o6000 for mode in modes)


async def test_the_hosts_file_system_is_untouched(box):
    """After all of the above nothing outside the workspace has a trace of it."""
    places = [Path(folder, "planted") for folder in ("/usr", "/etc", "/", "/var", "/opt", "/root")]
    await box.sandbox.exec("touch " + " ".join(map(str, places)))
    assert [place for place in places if os.path.lexists(place)] == []
