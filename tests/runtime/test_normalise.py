"""The normaliser: what two honest recordings may differ in goes, what a person would read a meaning into stays."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ooda.runtime.normalise import normalise


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("1 failed, 2 passed in 0.10s", "1 failed, 2 passed in <duration>"),
        ("3 passed in 75.31s (0:01:15)", "3 passed in <duration>"),
        ("Ran 3 tests in 0.010s", "Ran 3 tests in <duration>"),
        ("took 5 seconds, 20 ms and 3us", "took <duration>, <duration> and <duration>"),
        ("<object object at 0x7f54df1a5740>", "<object object at <address>>"),
        ("FAILED - <object object at 0x7f5...", "FAILED - <object object at <address>..."),
        (
            "platform linux -- Python 3.11.7, pytest-9.2.0, pluggy-1.7.0 -- /usr/bin/python\ncachedir: x",
            "<platform>\ncachedir: x",
        ),
        ("rootdir: /tmp/gold/a\nconfigfile: x", "<rootdir>\nconfigfile: x"),
        ("plugins: asyncio-1.5.0, hypothesis-6.170.15\n3 items", "<plugins>\n3 items"),
        ("git version 2.39.5", "<version>"),
        ("Python 3.11.7", "<version>"),
        ("pytest 9.2.0.dev1+g12ab", "<version>"),
        ("2026-11-21T09:44:09.123Z x", "<time> x"),
        ("2026-11-21 09:44:09 +0000", "<time>"),
        ("Date:   Sat Nov 21 09:44:09 2026 +0000", "Date:   <time>"),
        ("commit d5619a968317538525dcc2de9add0231bd11a6dc", "<commit>"),
        ("[master (root-commit) d5619a9] first", "<commit> first"),
        ("/tmp/pytest-of-root/pytest-0/test_x0/a.txt:12: no", "<tmp>:12: no"),
        ("killed pid 4711", "killed <pid>"),
    ],
)
def test_what_is_volatile_is_named_by_its_kind(text: str, normal: str) -> None:
    """One placeholder for each kind, so that a difference in kind still shows."""
    assert normalise(text) == normal


@pytest.mark.parametrize(
    "text",
    [
        "3 failed, 10 passed, 1 skipped, 2 errors",
        "FAILED (failures=1, skipped=1)",
        "collected 12 items / 3 deselected / 9 selected",
        "[ 33%]",
        "assert 30 == 31",
        "AssertionError: 2 != 3",
        "app.py:12:5: F401 unused import",
        'File "app.py", line 41, in main',
        "exit code 137",
        "0xff 0x1F4",
        "a[12345] = 7",
        "1 file changed, 6 insertions(+), 2 deletions(-)",
        "index e69de29..d00491f 100644",
        "@@ -1,7 +1,9 @@",
        "version = 1.2.3",
        "requests==2.31.0",
        "10 sessions, 3 systems, 5 users, 4 sockets, 2 months",
        "plugins: [foo, bar]",
        "rootdir: .",
        "tmp/build/x and mytmp/x",
        "chapter 12:30",
        "2026-11-21",
        "rapid 12",
        "[tool.ruff] line",
        "commit abc",
    ],
)
def test_what_carries_a_meaning_stays(text: str) -> None:
    """Counts, line numbers, codes, contents' ids and constants are what a replay is compared by."""
    assert normalise(text) == text


# -- real programs ----------------------------------------------------------------------------------------

TESTS = """\
import time, unittest

class Parser(unittest.TestCase):
    def test_empty(self):
        time.sleep({pause})

    def test_quotes(self):
        self.assertEqual({found}, 3, object())

    @unittest.skip("later")
    def test_escapes(self):
        pass
"""


def printed(folder: Path, *command: str) -> str:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=60, env={"PATH": "/usr/bin:/bin"}
    )
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same project in two folders, slower in the second; and one with another bug."""
    folders = {}
    for name, pause, found in (("first", 0, 2), ("again", 0.02, 2), ("worse", 0, 4)):
        folder = tmp_path_factory.mktemp(name)
        (folder / "test_parser.py").write_text(TESTS.format(pause=pause, found=found))
        folders[name] = folder
    return folders


PYTEST = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", ".", "--tb=short")
UNITTEST = (sys.executable, "-B", "-m", "unittest")


@pytest.mark.parametrize("command", [PYTEST, UNITTEST], ids=["pytest", "unittest"])
def test_the_same_tests_in_another_folder_and_another_time_print_the_same(
    projects: dict[str, Path], command: tuple[str, ...]
) -> None:
    """Run twice for real: only what is volatile differed, and another failure is another text."""
    first, again, worse = (printed(projects[name], *command) for name in ("first", "again", "worse"))
    assert "2 != 3" in first
    assert first != again, "addresses and durations differ between two runs"
    assert normalise(first) == normalise(again)
    assert normalise(first) != normalise(worse)


@pytest.mark.parametrize("command", [PYTEST, UNITTEST], ids=["pytest", "unittest"])
def test_counts_survive(projects: dict[str, Path], command: tuple[str, ...]) -> None:
    """Every number of passed, failed, skipped and collected tests is still there."""
    text = printed(projects["first"], *command)
    counts = re.findall(r"\d+ (?:failed|passed|skipped|tests|items)|(?:failures|skipped)=\d+|\d+ != \d+", text)
    assert len(counts) >= 4
    assert (
        re.findall(r"\d+ (?:failed|passed|skipped|tests|items)|(?:failures|skipped)=\d+|\d+ != \d+", normalise(text))
        == counts
    )


def test_git_prints_the_same_for_the_same_work_at_another_time(projects: dict[str, Path]) -> None:
    """Commits carry their time; what they hold does not."""
    texts = []
    for name, year in (("first", 2024), ("again", 2025), ("worse", 2025)):
        folder = projects[name]
        when = f"{year}-01-02T03:04:05+0100"
        printed(folder, "git", "init", "-q", "-b", "main")
        printed(folder, "git", "add", "test_parser.py")
        identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "core.abbrev=7")
        dated = ("env", f"GIT_AUTHOR_DATE={when}", f"GIT_COMMITTER_DATE={when}", "git", *identity)
        texts.append(
            printed(folder, *dated, "commit", "-m", "Add a parser test")
            + printed(folder, "git", "log")
            + printed(folder, "git", "--version")
            + printed(folder, "git", "ls-tree", "HEAD")
        )
    first, again, worse = texts
    assert " 1 file changed, 12 insertions(+)" in normalise(first)
    assert first.splitlines()[:-1] != again.splitlines()[:-1]
    blobs = re.compile(r"[0-9a-f]{40}(?=\ttest_parser)")
    assert blobs.sub("x", normalise(first)) == blobs.sub("x", normalise(again))
    assert blobs.search(normalise(first)) is not None, "ids of contents stay"
    assert normalise(first) != normalise(worse)


# -- for every text ---------------------------------------------------------------------------------------

WORDS = """
1 12 0.5 s ms sec seconds us ns 0x 0x7f54df /tmp/ a b / . , - : T Z + ( ) [ ] < > = pid python Python pytest git
version 3.11 2026-11-21 09:44:09 +0100 Sat Nov 21 2026 platform linux -- plugins: rootdir: commit abcdef1
d5619a968317538525dcc2de9add0231bd11a6dc (0:01:15) _ é ٣ <duration> <time>
"""
PIECES = st.sampled_from([*WORDS.split(), "\n"])
TEXTS = st.one_of(
    st.text(max_size=200),
    st.lists(st.one_of(PIECES, st.just(" ")), max_size=30).map("".join),
    st.lists(PIECES, max_size=15).map(" ".join),
)


@settings(max_examples=1500, deadline=None)
@given(TEXTS)
def test_a_normal_text_is_normal(text: str) -> None:
    """Normalising twice is normalising once, for every text there is."""
    once = normalise(text)
    assert normalise(once) == once


@settings(max_examples=300, deadline=None)
@given(TEXTS, st.integers(0, 10**6), st.integers(0, 10**6))
def test_counts_between_any_words_stay(text: str, passed: int, failed: int) -> None:
    """Whatever stands before it, a line of counts is read as it was written."""
    line = f"\n{failed} failed, {passed} passed in 0.5s"
    assert normalise(text + line).endswith(f"\n{failed} failed, {passed} passed in <duration>")


@pytest.mark.parametrize(
    "piece",
    [
        "[",
        "[a ",
        "1",
        "1.",
        "0x",
        "/tmp/",
        "plugins: -",
        "plugins: \n",
        "1111-11-11 ",
        "python-1.1",
        "[ abcdef1",
        "5 s (1:11:",
    ],
)
def test_no_text_makes_it_slow(piece: str) -> None:
    """Its work grows with the length of the text and not with its square: a tool's output is anybody's."""
    began = time.process_time()
    normalise(piece * 100_000 + "] :")
    assert time.process_time() - began < 5
