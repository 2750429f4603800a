"""What is kept of a run: listed, shown, exported, replayed by itself and as the model of a new run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.home import GOOD, NO_WALL, Home

Make = Callable[..., Home]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home with one run that succeeded, and its cassette beside it. Tests add runs to it and change none."""
    with Home(tmp_path_factory.mktemp("kept"), GOOD) as there:
        assert there.run().code == 0
        run = there.runs()[0]["run"]
        assert there.ooda("runs", "export", run, "-o", str(there.folder / "run.jsonl")).code == 0
        yield there


@pytest.fixture
def run(kept: Home) -> str:
    return str(json.loads((kept.folder / "run.jsonl").read_text().splitlines()[0])["run"])


@pytest.fixture
def cassette(kept: Home) -> Path:
    return kept.folder / "run.jsonl"


def test_runs_are_listed_by_status(kept: Home, run: str) -> None:
    """A table for people, objects for programs, an error that names the statuses there are."""
    table = kept.ooda("runs", "list", "--status", "success").out.splitlines()
    assert table[0].split() == ["run", "agent", "status", "phase", "steps", "cost", "last", "task"]
    assert table[1].split()[:5] == [run, "coding", "success", "report", "8"]
    assert [line["run"] for line in kept.ooda("runs", "list", "--jsonl", "--status", "success").lines()] == [run]
    assert kept.ooda("runs", "list", "--status", "stuck").out == "No run has the status stuck.\n"
    wrong = kept.ooda("runs", "list", "--status", "sucess")
    assert (wrong.code, "did you mean `success`?" in wrong.err) == (2, True)


def test_a_run_is_shown_as_it_went(kept: Home, run: str) -> None:
    """The lines of its progress, the chain verified; every event where they are asked for."""
    shown = kept.ooda("runs", "show", run).out
    assert "    4 edit_file ✓ Edited `sums.py` at line 2.  [$0.000000 spent, $1.0000 left]" in shown
    assert "chain intact" in shown.splitlines()[-1]
    events = kept.ooda("runs", "show", run, "--events").lines()
    assert (events[0]["event"]["kind"], events[-1]["event"]["kind"]) == ("RunStarted", "Stopped")


@pytest.mark.parametrize("command", ["show", "export", "replay", "resume"])
def test_an_unknown_run_names_the_nearest(kept: Home, run: str, command: str) -> None:
    """A slip of the finger is no riddle."""
    done = kept.ooda("runs", command, run[:-1] + "~")
    assert (done.code, done.out) == (2, "")
    assert f"did you mean `{run}`?" in done.err


def test_a_run_and_its_cassette_replay_without_divergence(kept: Home, run: str, cassette: Path) -> None:
    """Every request and every call of the record is what the loop asks for today."""
    for what in (run, str(cassette)):
        done = kept.ooda("runs", "replay", what, "--json")
        assert (done.code, done.json()["divergence"]) == (0, None)
        assert (done.json()["model_calls"], done.json()["tool_calls"]) == (3, 8)


def test_a_doctored_cassette_says_where_it_first_differs(kept: Home, cassette: Path, tmp_path: Path) -> None:
    """A result that was not returned, a decision that was not taken: each is found, and shown."""

    def doctored(mark: str, old: str, new: str) -> tuple[int, str]:
        lines = cassette.read_text().splitlines()
        at = next(i for i, line in enumerate(lines) if mark in line and old in line)
        lines[at] = lines[at].replace(old, new)
        (tmp_path / "doctored.jsonl").write_text("\n".join(lines) + "\n")
        done = kept.ooda("runs", "replay", str(tmp_path / "doctored.jsonl"))
        assert done.code == 1
        return at - 1, done.out

    at, said = doctored('"ToolReturned"', "at line 2", "at line 9")
    assert f"diverges at event {at + 2}" in said  # the next request
    assert "+[tool] Edited `sums.py` at line 9." in said
    at, said = doctored('"Decided"', "validation passed", "validation failed")
    assert f"diverges at event {at}" in said
    assert '-  "reason": "validation failed"' in said
    assert '+  "reason": "validation passed"' in said


def test_a_damaged_or_missing_cassette_says_so(kept: Home, cassette: Path, tmp_path: Path) -> None:
    """And how to make one."""
    (tmp_path / "half.jsonl").write_bytes(cassette.read_bytes()[:5000])
    for name, said in (("half.jsonl", "ooda runs export RUN --format cassette"), ("none.jsonl", "No such file")):
        done = kept.ooda("runs", "replay", str(tmp_path / name))
        assert (done.code, done.out) == (2, "")
        assert said in done.err


def test_a_cassette_that_cannot_be_written_says_so(kept: Home, run: str) -> None:
    """A mistake of the person, hence a sentence and no trace."""
    done = kept.ooda("runs", "export", run, "-o", "/nowhere/at/all.jsonl")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("ooda: `/nowhere/at/all.jsonl` cannot be written: No such file or directory")


def test_a_run_whose_credentials_never_showed_is_exported_when_told_and_searched(home: Make) -> None:
    """By itself it refuses, since nothing proves that redaction knew them; with the word, each is looked for."""
    secret = {"DB_PASSWORD": "swordfish-of-the-quay-81"}
    kept = home(GOOD)
    assert (
        kept.ooda(
            "run", kept.task(environment={"env": {"DB_PASSWORD": "${DB_PASSWORD}"}}), *NO_WALL, environ=secret
        ).code
        == 0
    )
    run = kept.runs()[0]["run"]

    refused = kept.ooda("runs", "export", run, environ=secret)
    assert (refused.code, refused.out) == (2, "")
    assert "say `--nothing-to-redact`" in refused.err
    unknown = kept.ooda("runs", "export", run, "--nothing-to-redact")
    assert (unknown.code, unknown.out) == (6, "")
    assert "`DB_PASSWORD` is not set" in unknown.err
    told = kept.ooda("runs", "export", run, "--nothing-to-redact", environ=secret)
    assert (told.code, secret["DB_PASSWORD"] in told.out) == (0, False)
    (kept.folder / "told.jsonl").write_text(told.out)
    assert "no divergence" in kept.ooda("runs", "replay", str(kept.folder / "told.jsonl")).out

    showed = kept.ooda("runs", "export", run, "--nothing-to-redact", environ={"DB_PASSWORD": "add() adds now."})
    assert "add() adds now." not in showed.out


def test_a_cassette_drives_a_new_run_with_real_tools_elsewhere(kept: Home, run: str, cassette: Path) -> None:
    """A new id, another remote, no request to any model; the recorded remote is refused, and nothing there changes."""
    before = kept.bench.branches()
    same = kept.ooda("run", kept.task(), "--replay", str(cassette), *NO_WALL)
    assert (same.code, "git clone --bare" in same.err) == (2, True)

    copy = {"remote_url": kept.copy("copy.git"), "branch": "main"}
    task = kept.task(repository=copy)
    done = kept.ooda("run", task, "--replay", str(cassette), *NO_WALL, "--json")
    assert done.code == 0
    assert "The model's replies come from a cassette; everything else is real." in done.err
    assert done.json()["run_id"] != run
    assert kept.bench.branches() == before
    assert len(kept.provider.requests) == 3

    other = {"id": "T-1", "title": "Make add add", "description": "add() multiplies."}
    parted = kept.ooda("run", kept.task(repository=copy, task=other), "--replay", str(cassette), *NO_WALL)
    assert parted.code == 1
    assert "-add() subtracts.\n+add() multiplies." in parted.err


def test_an_interrupted_replay_goes_on_behind_the_replies_it_has_used(kept: Home, cassette: Path) -> None:
    """The cassette is named again; another one, or none, is refused."""
    copy = {"remote_url": kept.copy("second.git"), "branch": "main"}
    task = kept.task(repository=copy, limits={"steps": 4})
    assert kept.ooda("run", task, "--replay", str(cassette), *NO_WALL, "-q").code == 5
    run = kept.runs()[0]["run"]

    bare = kept.ooda("runs", "resume", run, "--limit", "steps=40", *NO_WALL)
    assert (bare.code, "--replay FILE" in bare.err) == (2, True)
    done = kept.ooda("runs", "resume", run, "--limit", "steps=40", "--replay", str(cassette), *NO_WALL)
    assert done.code == 0
    assert len(kept.provider.requests) == 3
