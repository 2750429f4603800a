"""What the file operations of any sandbox promise: bytes untouched, atomic replacement, clear refusals."""

from __future__ import annotations

import hashlib
import os

import pytest

from ooda.errors import SandboxError, ToolArgumentsError
from ooda.sandbox.protocol import Entry, FileInfo, SearchHit, SearchResult

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIB = 1 << 20


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    "data",
    [b"", b"a", b"one\r\ntwo\r\n", b"\xef\xbb\xbfbom", bytes(range(256)), b"no newline", b"\0" * 3],
    ids=["empty", "byte", "crlf", "bom", "binary", "unfinished", "nul"],
)
async def test_bytes_come_back_as_they_were_written(box, data):
    """No line ending, byte order mark or binary byte is touched on the way in or out."""
    written = await box.sandbox.write("bytes.bin", data)
    read = await box.sandbox.read("bytes.bin", max_bytes=MIB)
    assert read.data == data
    assert (box.workspace / "bytes.bin").read_bytes() == data
    assert (written.size_bytes, written.sha256) == (len(data), _sha256(data))


async def test_five_mib_pass_in_both_directions(box):
    """The largest file the tools allow is no special case."""
    data = os.urandom(5 * MIB)
    await box.sandbox.write("large.bin", data)
    assert (await box.sandbox.read("large.bin", max_bytes=5 * MIB)).data == data


async def test_writing_makes_the_parents(box):
    """Folders on the way are created, and the answer says that the file is new."""
    info = await box.sandbox.write("new/folder/file.txt", b"x")
    assert info == FileInfo("new/folder/file.txt", 1, 0o644, _sha256(b"x"), created=True)
    assert (await box.sandbox.write("new/folder/file.txt", b"y")).created is False


async def test_an_existing_file_keeps_its_mode(box):
    """Replacing a script leaves it executable; `mode` changes it on purpose."""
    await box.sh("printf a > script; chmod 750 script")
    assert (await box.sandbox.write("script", b"b")).mode == 0o750
    assert await box.sh("stat -c %a script") == "750\n"
    assert (await box.sandbox.write("script", b"c", mode=0o600)).mode == 0o600
    assert await box.sh("stat -c %a script") == "600\n"


async def test_a_written_file_belongs_to_the_commands(box):
    """What the file tools write, the shell may change."""
    await box.sandbox.write("shared.txt", b"1\n")
    assert await box.sh("echo 2 >> shared.txt; cat shared.txt; rm shared.txt") == "1\n2\n"


async def test_no_temporary_file_stays_behind(box):
    """Atomic writing leaves nothing but the file."""
    await box.sh("mkdir clean")
    for data in (b"1", b"2"):
        await box.sandbox.write("clean/file", data)
    await box.sandbox.write("clean/file", b"3", sha256=_sha256(b"2"))
    assert await box.sh("ls -A clean") == "file\n"


async def test_a_reader_never_sees_half_a_file(box):
    """A file is replaced in one step: whoever reads meanwhile sees the old or the new."""
    await box.sandbox.write("swap.txt", b"a" * 100_000)
    watcher = (
        "while [ ! -e stop ]; do tr -d '\\n' < swap.txt | fold -w 100000 | cut -c1,100000 | sort -u; done | sort -u"
    )
    handle = await box.sandbox.start(watcher)
    for letter in b"bcdefgh":
        await box.sandbox.write("swap.txt", bytes([letter]) * 100_000)
    await box.sh("touch stop; sleep 0.1")
    seen = (await box.sandbox.poll(handle, wait_s=10)).output.head.split()
    assert all(len(pair) == 2 and pair[0] == pair[1] for pair in seen)


async def test_editing_needs_the_known_content(box):
    """With a hash, only that very content is replaced, and the mode stays."""
    await box.sh("printf old > edit.txt; chmod 640 edit.txt")
    info = await box.sandbox.write("edit.txt", b"new", sha256=_sha256(b"old"))
    assert (info.sha256, info.mode, info.created) == (_sha256(b"new"), 0o640, False)
    with pytest.raises(ToolArgumentsError, match="changed since it was read"):
        await box.sandbox.write("edit.txt", b"newer", sha256=_sha256(b"old"))
    assert await box.sh("cat edit.txt") == "new"
    with pytest.raises(ToolArgumentsError, match="does not exist"):
        await box.sandbox.write("absent.txt", b"x", sha256=_sha256(b""))


async def test_reading_above_the_limit_names_size_and_limit(box):
    """A file that is too large is not cut silently."""
    await box.sandbox.write("eleven", b"x" * 11)
    with pytest.raises(ToolArgumentsError, match="11 bytes; at most 10"):
        await box.sandbox.read("eleven", max_bytes=10)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("absent", "does not exist"),
        ("absent/file", "does not exist"),
        ("folder", "is a directory"),
        ("folder/", "is a directory"),
        (".", "is a directory"),
        ("plain/below", "not a directory"),
        ("pipe", "not a regular file"),
        ("secret", "permission denied"),
        ("", "not a path"),
        ("a\0b", "not a path"),
        ("x" * 300, "too long"),
        ("x/" * 3000, "longer than"),
    ],
)
async def test_what_cannot_be_read_is_said_in_one_sentence(box, path, words):
    """Each mistake has its own words, and no path longer than 200 characters is repeated."""
    await box.sh(
        "mkdir -p folder; touch plain; [ -p pipe ] || mkfifo pipe; [ -e secret ] || { touch secret; chmod 0 secret; }"
    )
    with pytest.raises(ToolArgumentsError, match=words) as caught:
        await box.sandbox.read(path, max_bytes=10)
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a b", "-rf", "*", "$(id)", "'", '"', "\\", "\n", "ü☃", ";", "#", "~", "a" * 255])
async def test_odd_names_are_names(box, name):
    """No name is ever part of a shell text."""
    await box.sandbox.write(f"odd/{name}", name.encode())
    assert (await box.sandbox.read(f"odd/{name}", max_bytes=MIB)).data == name.encode()
    assert Entry(f"odd/{name}", "file", len(name.encode()), 0o644) in await box.sandbox.list("odd")


async def test_a_listing_names_links_and_does_not_follow_them(box):
    """Parents before children, sorted; links, pipes and folders are told apart."""
    await box.sh("mkdir -p tree/b/c; echo hi > tree/a; ln -s /etc tree/link; mkfifo tree/pipe; chmod 700 tree/b")
    entries = await box.sandbox.list("tree", depth=2)
    assert [(entry.path, entry.kind) for entry in entries] == [
        ("tree/a", "file"),
        ("tree/b", "directory"),
        ("tree/b/c", "directory"),
        ("tree/link", "link"),
        ("tree/pipe", "other"),
    ]
    assert entries[0] == Entry("tree/a", "file", 3, 0o644)
    assert [entry.path for entry in await box.sandbox.list("tree", max_entries=2)] == ["tree/a", "tree/b"]
    with pytest.raises(ToolArgumentsError, match="not a directory"):
        await box.sandbox.list("tree/a")


async def test_names_that_are_not_utf8_are_shown_escaped(box):
    """A listing is text whatever the disk holds."""
    await box.sh(r"mkdir -p bytes; touch bytes/$(printf 'x\377y')")
    assert [entry.path for entry in await box.sandbox.list("bytes")] == ["bytes/x\\xffy"]


async def test_search_finds_lines_in_path_order(box):
    """Text and pattern, glob and cap; binary files and `.git` are passed over."""
    await box.sh(
        "mkdir -p find/sub/.git find/.git; printf 'one\\ntwo\\nTwo\\n' > find/b.txt; printf 'two' > find/sub/a.py; "
        "printf 'two\\0' > find/binary; echo two > find/.git/config; echo 'a.c' > find/dot.md; echo abc > find/dots.md"
    )
    hits = (SearchHit("find/b.txt", 2, "two"), SearchHit("find/sub/a.py", 1, "two"))
    assert await box.sandbox.search("two", path="find") == SearchResult(hits, 4, truncated=False)
    assert (await box.sandbox.search("two", path="find", glob="*.py")).hits == hits[1:]
    assert (await box.sandbox.search("two", path="find", glob="**/*.txt")).hits == hits[:1]
    assert (await box.sandbox.search("two", path="find", glob="sub/*.txt")).hits == ()
    assert (await box.sandbox.search("^[tT]wo$", path="find/b.txt")).hits == (
        hits[0],
        SearchHit("find/b.txt", 3, "Two"),
    )
    assert (await box.sandbox.search("a.c", path="find", regex=False)).hits == (SearchHit("find/dot.md", 1, "a.c"),)
    assert await box.sandbox.search("two", path="find", max_hits=1) == SearchResult(hits[:1], 4, truncated=True)


async def test_a_broken_pattern_is_explained(box):
    """The refusal says what is wrong with it and what else can be done."""
    with pytest.raises(ToolArgumentsError, match=r"not a regular expression.*regex to false"):
        await box.sandbox.search("(")


async def test_a_locked_workspace_is_opened_again(fresh):
    """`chmod 000` on the workspace ends neither commands nor file operations."""
    await fresh.sandbox.write("kept", b"1")
    await fresh.sh("chmod 000 /workspace")
    assert (await fresh.sandbox.read("kept", max_bytes=10)).data == b"1"
    await fresh.sh("chmod 000 /workspace")
    assert await fresh.sh("cat kept") == "1"


async def test_a_closed_sandbox_says_so(backend, opener):
    """Using a sandbox after its end is the program's error, never a result."""
    async with opener(backend) as opened:
        await opened.sandbox.close()
        with pytest.raises(SandboxError, match="closed"):
            await opened.sandbox.read("x", max_bytes=1)
