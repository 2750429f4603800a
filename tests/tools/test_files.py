"""File tools on a real sandbox, with and without a wall."""

from __future__ import annotations

import os
import stat

import pytest

from ooda.errors import ToolArgumentsError
from tests.tools.bench import Bench


async def test_a_file_is_read_with_its_facts(bench: Bench) -> None:
    """The head line says how long it is; the text follows unchanged."""
    (bench.workspace / "a.py").write_text("one\ntwo\n")
    outcome = await bench("read_file", path="a.py")
    assert outcome.text == "[a.py: 2 lines; 8 bytes]\none\ntwo"
    assert (outcome.data["lines"], outcome.data["first"], outcome.data["last"]) == (2, 1, 2)


async def test_some_lines_of_a_file_are_read_with_numbers(bench: Bench) -> None:
    """Both ends are included; the rest is announced."""
    (bench.workspace / "a.txt").write_text("".join(f"line {number}\n" for number in range(1, 101)))
    outcome = await bench("read_file", path="a.txt", start_line=9, end_line=11, line_numbers=True)
    assert outcome.text == "[a.txt: 100 lines; 792 bytes; lines 9 to 11 shown]\n 9  line 9\n10  line 10\n11  line 11"


async def test_a_long_file_is_shown_as_far_as_it_fits(bench: Bench) -> None:
    """Whole lines only, and the line to go on with is named."""
    bench.refit(output_bytes=1_000)
    (bench.workspace / "a.txt").write_text("".join(f"{number:09}\n" for number in range(1, 101)))
    outcome = await bench("read_file", path="a.txt")
    assert "lines 1 to 60 shown; continue with start_line=61" in outcome.text
    assert outcome.text.endswith("\n000000060")
    rest = await bench("read_file", path="a.txt", start_line=61)
    assert rest.text.endswith("\n000000100")


async def test_one_read_shows_at_most_1_mb(bench: Bench) -> None:
    """However much the run may show."""
    bench.refit(output_bytes=8_000_000)
    (bench.workspace / "a.txt").write_text("0123456789\n" * 300_000)
    outcome = await bench("read_file", path="a.txt")
    assert 1_000_000 < len(outcome.text) < 1024 * 1024 + 200
    assert "continue with start_line=95326" in outcome.text


async def test_one_endless_line_is_cut_and_counted(bench: Bench) -> None:
    """A minified file does not push everything else out."""
    bench.refit(output_bytes=500)
    (bench.workspace / "a.js").write_text("x" * 10_000)
    outcome = await bench("read_file", path="a.js")
    assert outcome.text.endswith("x… [line 1 has 10000 characters]")
    assert len(outcome.text) < 500


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"ok\ncaf\xe9\n", r"not valid UTF-8: byte 0xe9 at offset 6 \(line 2\)", id="latin-1"),
        pytest.param(b"\x7fELF\0\0\0", r"is a binary file \(7 bytes\)", id="binary"),
        pytest.param(b"x" * (5 * 1024 * 1024 + 1), "5242881", id="above 5 MB"),
    ],
)
async def test_what_is_no_text_is_refused_with_a_reason(bench: Bench, content: bytes, message: str) -> None:
    """Binary and oversized files are named as such; invalid UTF-8 with its byte offset."""
    (bench.workspace / "f").write_bytes(content)
    with pytest.raises(ToolArgumentsError, match=message):
        await bench("read_file", path="f")


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "missing.txt", "folder", "link"])
async def test_paths_outside_or_without_a_file_are_refused(bench: Bench, path: str) -> None:
    """No way out of the workspace, by `..`, absolute path or link."""
    (bench.workspace / "folder").mkdir()
    (bench.workspace / "link").symlink_to("/etc/passwd")
    with pytest.raises(ToolArgumentsError):
        await bench("read_file", path=path)


async def test_lines_beyond_the_end_are_refused(bench: Bench) -> None:
    """The message says how many there are."""
    (bench.workspace / "a").write_text("one\n")
    with pytest.raises(ToolArgumentsError, match="has 1 line; lines 5 to the end"):
        await bench("read_file", path="a", start_line=5)


async def test_an_empty_file_is_said_to_be_empty(bench: Bench) -> None:
    """Instead of an empty answer."""
    (bench.workspace / "a").touch()
    assert (await bench("read_file", path="a")).text == "[a is empty]"


async def test_write_creates_a_file_and_its_folders(bench: Bench) -> None:
    """And says that it is new."""
    outcome = await bench("write_file", path="pkg/deep/mod.py", content="x = 1\n")
    assert (bench.workspace / "pkg/deep/mod.py").read_text() == "x = 1\n"
    assert outcome.text == "Created `pkg/deep/mod.py`, 6 bytes."
    assert outcome.data["created"] is True


async def test_write_keeps_the_mode_of_an_existing_file(bench: Bench) -> None:
    """A script stays executable."""
    script = bench.workspace / "run.sh"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    outcome = await bench("write_file", path="run.sh", content="#!/bin/sh\necho hi\n")
    assert stat.S_IMODE(os.stat(script).st_mode) == 0o755
    assert outcome.text == "Replaced `run.sh`, 18 bytes."


@pytest.mark.parametrize(
    ("before", "content", "after", "is_told"),
    [
        pytest.param(b"a\r\nb\r\n", "c\nd\n", b"c\r\nd\r\n", True, id="CRLF file, LF text"),
        pytest.param(b"a\r\nb\n", "c\nd\n", b"c\nd\n", False, id="mixed file takes what is given"),
        pytest.param(b"a\r\nb\r\n", "c\r\nd\n", b"c\r\nd\n", False, id="text with its own CRLF is left alone"),
        pytest.param(b"a\nb\n", "c\r\n", b"c\r\n", False, id="LF file, CRLF text"),
    ],
)
async def test_write_keeps_crlf_line_ends(
    bench: Bench, before: bytes, content: str, after: bytes, is_told: bool
) -> None:
    """A model writes LF; a file whose every line ends in CRLF stays so, and the answer says it."""
    (bench.workspace / "f").write_bytes(before)
    outcome = await bench("write_file", path="f", content=content)
    assert (bench.workspace / "f").read_bytes() == after
    assert ("CRLF line ends were kept" in outcome.text) is is_told


async def test_a_byte_order_mark_is_named_and_kept(bench: Bench) -> None:
    """A model never sees it in the text, so it cannot know that it has to write it."""
    file = bench.workspace / "f.cs"
    file.write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n")
    assert (await bench("read_file", path="f.cs")).text == (
        "[f.cs: 2 lines; 13 bytes; CRLF line ends; byte order mark]\none\ntwo"
    )
    await bench("edit_file", path="f.cs", old="one", new="1")
    assert file.read_bytes() == b"\xef\xbb\xbf1\r\ntwo\r\n"
    outcome = await bench("write_file", path="f.cs", content="three\n")
    assert file.read_bytes() == b"\xef\xbb\xbfthree\r\n"
    assert outcome.text.endswith("; its CRLF line ends were kept; its byte order mark was kept.")


async def test_a_form_feed_is_no_line_end(bench: Bench) -> None:
    """Only what ends a line for an editor ends it here; lines ended by CR alone are lines too."""
    (bench.workspace / "f").write_bytes("a\fb\u2028c".encode())
    assert (await bench("read_file", path="f")).text.endswith("]\na\fb\u2028c")
    (bench.workspace / "f").write_bytes(b"a\rb\r")
    assert (await bench("read_file", path="f", start_line=2)).text.startswith(
        "[f: 2 lines; 4 bytes; lines 2 to 2 shown]\nb"
    )


async def test_write_refuses_more_than_5_mb(bench: Bench) -> None:
    """Before anything is written."""
    with pytest.raises(ToolArgumentsError, match=r"5\.0 MiB"):
        await bench("write_file", path="big", content="x" * (5 * 1024 * 1024 + 1))
    assert not (bench.workspace / "big").exists()


async def test_edit_replaces_one_place_and_keeps_the_rest(bench: Bench) -> None:
    """CRLF, mode and the missing line end at the end stay."""
    file = bench.workspace / "a.py"
    file.write_bytes(b"a = 1\r\nb = 2\r\nc = 3")
    file.chmod(0o755)
    outcome = await bench("edit_file", path="a.py", old="a = 1\nb = 2", new="a = 5\nb = 6\nx = 7")
    assert file.read_bytes() == b"a = 5\r\nb = 6\r\nx = 7\r\nc = 3"
    assert stat.S_IMODE(file.stat().st_mode) == 0o755
    assert outcome.text == "Edited `a.py` at line 1."
    assert (outcome.data["replaced"], outcome.data["how"]) == (1, "exact")


async def test_an_edit_by_spacing_shows_what_it_made(bench: Bench) -> None:
    """The model sees where its text went."""
    (bench.workspace / "a.py").write_text("def f():\n    if  x:\n        y()\n")
    outcome = await bench("edit_file", path="a.py", old="if x:\n    y()", new="if x:\n    z()")
    assert (bench.workspace / "a.py").read_text() == "def f():\n    if x:\n        z()\n"
    assert outcome.text == (
        "Edited `a.py` at line 2. `old` was matched although its spacing differs from the file's. The new lines were "
        "indented by 4 more, like the lines they replace. It now reads:\n    if x:\n        z()"
    )


async def test_an_edit_that_fits_nowhere_leaves_the_file_alone(bench: Bench) -> None:
    """Not even its time of change."""
    file = bench.workspace / "a.py"
    file.write_text("a = 1\n")
    before = file.stat().st_mtime_ns
    with pytest.raises(ToolArgumentsError, match="1: a = 1"):
        await bench("edit_file", path="a.py", old="b = 1", new="b = 2")
    assert (file.read_text(), file.stat().st_mtime_ns) == ("a = 1\n", before)


async def test_an_edit_over_content_that_changed_meanwhile_is_refused(bench: Bench) -> None:
    """Compare and swap: the write names the content it was matched against."""
    sandbox = bench.room.the_sandbox()
    await sandbox.write("a", b"one\n")
    with pytest.raises(ToolArgumentsError):
        await sandbox.write("a", b"two\n", sha256="0" * 64)
    assert (await sandbox.read("a", max_bytes=10)).data == b"one\n"


async def test_a_folder_is_listed_with_kinds_and_sizes(bench: Bench) -> None:
    """Directories end with a slash, links with an at sign."""
    (bench.workspace / "pkg").mkdir()
    (bench.workspace / "pkg/mod.py").write_text("x" * 2048)
    (bench.workspace / "link").symlink_to("pkg")
    outcome = await bench("list_directory", depth=2)
    assert sorted(outcome.text.splitlines()) == ["link@", "pkg/", "pkg/mod.py  2.0 KiB"]
    assert outcome.data == {"entries": 3, "truncated": False}


async def test_an_empty_folder_is_said_to_be_empty(bench: Bench) -> None:
    """Instead of an empty answer."""
    assert (await bench("list_directory")).text == "`.` is an empty folder."


async def test_a_listing_beyond_the_cap_says_so(bench: Bench) -> None:
    """Whole entries only."""
    bench.refit(output_bytes=600)
    for number in range(50):
        (bench.workspace / f"file-{number:02}").touch()
    outcome = await bench("list_directory")
    assert outcome.data == {"entries": 50, "truncated": True}
    assert "entries shown" in outcome.text


async def test_search_shows_path_line_and_text(bench: Bench) -> None:
    """In path order, narrowed by a glob."""
    (bench.workspace / "a.py").write_text("import os\n\ndef find(): pass\n")
    (bench.workspace / "b.txt").write_text("def find\n")
    outcome = await bench("search_files", pattern=r"def \w+\(", glob="*.py")
    assert outcome.text == "a.py:3: def find(): pass\n[1 line in 1 file]"
    plain = await bench("search_files", pattern="find()", regex=False)
    assert plain.data["hits"] == 1


async def test_a_search_without_hits_is_no_data(bench: Bench) -> None:
    """An answer, not an error."""
    outcome = await bench("search_files", pattern="nothing")
    assert (outcome.status, outcome.data["hits"]) == ("no_data", 0)


async def test_a_bad_pattern_is_a_tool_error(bench: Bench) -> None:
    """The model can correct it."""
    with pytest.raises(ToolArgumentsError):
        await bench("search_files", pattern="(")


async def test_a_listing_leaves_git_out_unless_it_is_asked_for(bench: Bench) -> None:
    """The folder of the throw-away repository tells nothing about the project."""
    (bench.workspace / ".git").mkdir()
    (bench.workspace / ".git/HEAD").write_text("ref: refs/heads/main\n")
    (bench.workspace / "a.txt").write_text("x")

    assert ".git" not in (await bench("list_directory", depth=2)).text
    assert "HEAD" in (await bench("list_directory", path=".git")).text
