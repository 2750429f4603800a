"""What a person types wrong: task files, settings, words of the command line. One answer names every mistake."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.home import Home

Make = Callable[..., Home]

SPECS = {
    "malformed YAML": ("kind: coding\nrepository: {remote_url: /x\ntask: [\n", ("line 3, column 5: this is not YAML",)),
    "unknown agent": ("kind: codin\n", ("line 1, `kind`: found 'codin'; expected one of", "did you mean `coding`?")),
    "empty": ("", ("the document is empty; expected a mapping with `kind`",)),
    "unknown fields": (
        "kind: coding\nrepository:\n  remote_ur: /x\n  branch: a..b\ntask:\n  id: T\n  title: x\n  description: y\n"
        "grants: [push_feture_branch]\nlimits: {steps: -1}\n",
        (
            "has 5 problems; nothing was started",
            "line 2, `repository.remote_url`: is missing",
            "line 3, `repository.remote_ur`: unknown field; did you mean `remote_url`?",
            "line 4, `repository.branch`: found 'a..b'; expected a branch name git allows",
            "line 9, `grants[0]`: found 'push_feture_branch'",
            "line 10, `limits.steps`: found the number -1; expected a whole number, from 1 to 100,000",
        ),
    ),
}


@pytest.mark.parametrize("spec", SPECS)
def test_a_task_with_mistakes_starts_nothing_and_names_each(home: Make, spec: str) -> None:
    """`task validate` and `run` say the same."""
    text, said = SPECS[spec]
    there = home()
    task = there.write("task.yaml", text)

    validated = there.ooda("task", "validate", task)
    assert (validated.code, validated.out) == (2, "")
    for words in said:
        assert words in validated.err
    if spec == "unknown fields":
        assert there.ooda("run", task) == validated
        assert not list((there.folder / "home").rglob("ooda.db"))


def test_a_valid_task_is_said_to_be_one_with_what_it_lacks(home: Make) -> None:
    """From a file or standard input; the secret it needs and the grant it misses are named."""
    there = home()
    assert "a valid coding task, digest " in there.ooda("task", "validate", there.task()).out
    token = {"credential_type": "access_token", "access_token": "${GIT_TOKEN}"}
    given = {"remote_url": "https://git.example/x.git", "branch": "main", "credentials": token}
    done = there.ooda("task", "validate", "-", stdin=Path(there.task(repository=given, grants=[])).read_text())
    assert done.code == 0
    assert "add `push_feature_branch`" in done.out
    assert "needs env:GIT_TOKEN" in done.out
    lacking = there.ooda("run", there.task(repository=given))
    assert (lacking.code, lacking.out) == (6, "")
    assert "GIT_TOKEN" in lacking.err


def test_the_schema_is_one_that_accepts_our_own_tasks(home: Make) -> None:
    """What editors and other programs check by."""
    import jsonschema

    there = home()
    schema = there.ooda("task", "schema").json()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(Path(there.task()).read_text()), schema)


WORDS = {
    "command": (("rnu",), "did you mean `run`?"),
    "subcommand": (("runs", "lst"), "did you mean `list`?"),
    "option": (
        ("run", "task.yaml", "--modl", "x"),
        "ooda run: error: unrecognized arguments: --modl x; did you mean `--model`?",
    ),
    "no task": (("run",), "the following arguments are required: task"),
    "no such file": (("run", "tsk.yaml"), "there is no such file; did you mean `task.yaml`?"),
    "unknown setting": (("config", "show", "--set", "sandbox.bakend=none"), "did you mean `sandbox.backend`?"),
    "wrong value": (("config", "show", "--set", "sandbox.backend=dokcer"), "did you mean `docker`?"),
    "no value": (("config", "show", "--set", "sandbox.backend"), "write `--set NAME=VALUE`"),
    "not a number": (("runs", "list", "--set", "limits.steps=many"), "`limits.steps` (command line): found 'many'"),
    "no terminal": (("chat",), "no terminal here; give an agent a task without a person by `ooda run TASK.yaml`"),
}


@pytest.mark.parametrize("mistake", WORDS)
def test_a_mistyped_command_line_is_a_usage_error_with_the_nearest_word(home: Make, mistake: str) -> None:
    """Exit code 2, the message on standard error, nothing on standard output."""
    arguments, said = WORDS[mistake]
    there = home()
    there.task()
    done = there.ooda(*arguments)

    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert "Traceback" not in done.err
