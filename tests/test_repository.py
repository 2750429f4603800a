"""The repository's outside: pages that are true, commands that exist, a set-up that works from nothing.

Everything a reader could copy from a page is taken out of the pages and tried: commands are parsed, task files and
settings are loaded, links are followed.
"""

from __future__ import annotations

import ast
import contextlib
import io
import itertools
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from ooda.cli.main import parser
from ooda.config import load_settings
from ooda.task import load_task_text

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = ("README.md", "CHANGELOG.md", "AGENTS.md", "CONTRIBUTING.md")
PAGES = sorted([*(ROOT / name for name in OUTSIDE), *(ROOT / "docs").rglob("*.md")])
KINDS = ("tutorials", "how-to", "explanation", "reference")

_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?:^(?: {4}.*)?\n)+", re.MULTILINE)
_TYPED = re.compile(r"^\$ .*\n", re.MULTILINE)
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, *languages: str) -> Iterator[str]:
    """The fenced blocks of a page in one of these languages, without their indent."""
    for indent, language, text in _BLOCK.findall(page.read_text()):
        if language in languages:
            yield "".join(line.removeprefix(indent) for line in text.splitlines(keepends=True))


def commands(page: Path, program: str) -> Iterator[list[str]]:
    """Every call of `program` in the shell blocks and indented blocks of a page, as words after its name."""
    texts = [*blocks(page, "sh")]
    texts += [line.removeprefix("$ ") for text in blocks(page, "console") for line in _TYPED.findall(text)]
    texts += _INDENTED.findall(_BLOCK.sub("", page.read_text()))
    for line in "".join(texts).splitlines():
        words = shlex.shlex(line.strip(), posix=True, punctuation_chars=True)
        words.whitespace_split = True
        for sign, command in itertools.groupby(words, lambda word: set(word) <= set(";&|<>()")):
            called = list(command)
            if not sign and called[0] == program:
                yield called[1:]


def anchor(heading: str) -> str:
    """The anchor GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    """Every link inside the repository names a file, and where it has one a heading, that exists."""
    broken = []
    for link in _LINK.findall(_BLOCK.sub("", page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, fragment = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        headings = _HEADING.findall(target.read_text()) if fragment and target.is_file() else []
        if not target.exists() or (fragment and fragment not in map(anchor, headings)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_on_a_page_are_commands_of_ooda(page: Path) -> None:
    """A page never shows an option or a subcommand that the command line does not have."""
    wrong = []
    for words in commands(page, "ooda"):
        complaint = io.StringIO()
        with contextlib.redirect_stderr(complaint):
            try:
                parser().parse_args(words)
            except SystemExit:
                wrong.append(f"ooda {shlex.join(words)}: {complaint.getvalue().splitlines()[-1]}")
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_task_files_on_a_page_are_valid(page: Path) -> None:
    """A task shown whole can be copied and run; the reference's example of mistakes stays one."""
    tasks = [text for text in blocks(page, "yaml") if re.search(r"^kind: ", text, re.MULTILINE)]
    for text in tasks:
        if "remote_ulr" not in text:
            load_task_text(text, name_of(page))
    assert tasks or page.name not in ("task.md", "run-a-task.md")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_settings_on_a_page_are_settings(page: Path, tmp_path: Path) -> None:
    """A configuration shown as TOML loads; files of rules, hooks and prices are other formats."""
    folder = tmp_path / "config" / "ooda"
    folder.mkdir(parents=True)
    for text in blocks(page, "toml"):
        if set(tomllib.loads(text)) & {"rule", "hook", "models", "aliases"}:
            continue
        (folder / "config.toml").write_text(text)
        environ = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config")}
        loaded = load_settings(environ=environ, cwd=tmp_path)
        assert loaded.places.config_file == folder / "config.toml"


def test_every_make_target_on_a_page_exists() -> None:
    """README, AGENTS and CONTRIBUTING name targets of the Makefile only."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {word for page in PAGES for words in commands(page, "make") for word in words if word.isidentifier()}
    assert {"demo", "test"} <= named
    assert named <= targets


@pytest.mark.parametrize("kind", KINDS)
def test_every_page_says_for_whom_it_is(kind: str) -> None:
    """The first words after the title name the reader; a how-to also says how to undo it."""
    for page in sorted((ROOT / "docs" / kind).glob("*.md")):
        title, *parts = [part for part in page.read_text().split("\n\n") if not part.startswith("<!--")]
        assert title.startswith("# "), name_of(page)
        assert re.match(r"For \w+", parts[0]), f"{name_of(page)} does not say for whom it is"
        if kind == "how-to":
            assert "\n**Undo.** " in page.read_text(), f"{name_of(page)} does not say how to undo it"


def test_the_index_leads_to_every_page() -> None:
    """Nothing is written that nobody finds: each page is linked from the index or from the list of decisions."""
    linked = set()
    for page in (ROOT / "docs" / "index.md", ROOT / "docs" / "adr" / "README.md"):
        linked |= {(page.parent / link.partition("#")[0]).resolve() for link in _LINK.findall(page.read_text())}
    pages = set((ROOT / "docs").rglob("*.md")) - {ROOT / "docs" / "index.md"}
    assert sorted(map(name_of, pages - linked)) == []


def test_the_changelog_says_what_is_unreleased() -> None:
    """The newest section is *Unreleased*, and it is not empty."""
    first = (ROOT / "CHANGELOG.md").read_text().split("\n## ")[1]
    assert first.startswith("Unreleased\n")
    assert "\n- " in first


def test_the_readme_can_be_read_in_a_minute() -> None:
    """Its parts stand in the order a stranger needs them, and the first command comes early."""
    text = (ROOT / "README.md").read_text()
    assert _HEADING.findall(_BLOCK.sub("", text))[1:] == [
        "Install",
        "Quickstart",
        "Four agents on one loop",
        "What it will not do without permission",
        "Read on",
        "Status and licence",
    ]
    assert len(text.splitlines()) <= 100
    assert "make demo" in "\n".join(text.splitlines()[:10])


def test_make_alone_lists_every_target() -> None:
    """`make help` has one line for everything that can be made."""
    makefile = (ROOT / "Makefile").read_text()
    phony = {word for line in re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE) for word in line.split()}
    said = subprocess.run(["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True)
    listed = set(re.findall(r"^  make ([a-z-]+) ", said.stdout, re.MULTILINE))
    assert listed == phony - {"sandbox"}


SCRIPTS = sorted(
    path
    for path in (ROOT / ".ci" / "run", *(ROOT / "scripts").rglob("*"))
    if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
)


@pytest.mark.parametrize("script", SCRIPTS, ids=name_of)
def test_shell_scripts_are_well_formed(script: Path) -> None:
    """Each says what it is for, can be parsed, and is executable unless it is a library."""
    first, second = script.read_text().splitlines()[:2]
    assert (second if first.startswith("#!") else first).startswith("# ")
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    assert os.access(script, os.X_OK) == (script.suffix == "")


def test_a_service_that_does_not_run_says_how_to_start_it(tmp_path: Path) -> None:
    """`env` fails with the command; `all` carries a command out with the addresses of what runs."""
    environ = {
        "PATH": os.environ["PATH"],
        "SERVICES_DIR": str(tmp_path / "a b"),
        "SERVICES_DOCKER_DIR": str(tmp_path / "d"),
    }
    services = ROOT / "scripts" / "services"
    for name in ("docker", "postgres", "redis", "nats"):
        said = subprocess.run([services / name, "env"], env=environ, capture_output=True, text=True, check=False)
        assert (said.returncode, said.stdout) == (1, "")
        assert said.stderr.strip().endswith(f"{name} up")
    said = subprocess.run(
        [services / "all", "exec", "sh", "-c", "echo ${TEST_REDIS_URL:-none}"],
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout == "none\n"


def test_a_measurement_that_is_not_there_is_named() -> None:
    """`make bench-…` never passes for want of a file."""
    said = subprocess.run([ROOT / "scripts" / "bench", "nothing"], capture_output=True, text=True, check=False)
    assert said.returncode == 1
    assert "no measurement benchmarks/nothing.py" in said.stderr
    assert "core" in said.stderr


@pytest.mark.parametrize("wanted", ["/nowhere/python", "false"])
def test_a_python_that_will_not_do_is_refused_by_name(wanted: str, tmp_path: Path) -> None:
    """The set-up stops with one sentence before it makes anything."""
    script = tmp_path / "scripts" / "setup"
    script.parent.mkdir()
    script.write_text((ROOT / "scripts" / "setup").read_text())
    environ = {"PATH": os.environ["PATH"], "PYTHON": wanted}
    said = subprocess.run(["sh", script, "run"], env=environ, capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout) == (1, "")
    assert said.stderr.startswith(f"PYTHON={wanted} is not Python 3.11 or newer")
    assert not (tmp_path / ".venv").exists()


DISTRIBUTIONS = {"yaml": "pyyaml", "git": "gitpython", "dateutil": "python-dateutil", "pydantic_core": "pydantic"}
"""Modules whose distribution has another name, or comes with another one."""
DATA = {"tzdata"}
"""What is used without an import: `zoneinfo` looks for it."""


def imported() -> set[str]:
    """Distributions that some module of the package imports."""
    found = set()
    for path in (ROOT / "ooda").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    outside = found - set(sys.stdlib_module_names) - {"ooda"}
    return {DISTRIBUTIONS.get(name, name) for name in outside}


def test_dependencies_are_what_is_imported() -> None:
    """A plain install carries nothing that nobody imports, and everything imported is declared somewhere."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {
        extra: {_distribution(line) for line in lines} for extra, lines in project["optional-dependencies"].items()
    }
    plain = {_distribution(line) for line in project["dependencies"]}
    extras = set().union(*(names[extra] for extra in names if extra not in ("all", "dev")))
    assert plain - imported() == DATA
    assert imported() - plain - extras == set()
    everything = re.search(r"\[(.*)\]", project["optional-dependencies"]["all"][0])
    assert everything
    assert set(everything[1].split(",")) == set(names) - {"all", "dev"}


def _distribution(requirement: str) -> str:
    return re.split(r"[\[<>=~! ]", requirement)[0].lower()
