"""`ooda permissions`: the gate is asked, says why, and nothing comes of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ooda.api.permissions import explain
from ooda.errors import ConfigError, UserError
from ooda.governance.operations import strictest
from ooda.labels import UNTRUSTED, Confidentiality, Integrity, Label
from ooda.models.scripted import say
from ooda.testing.runs import RunBench
from tests.cli.home import FINISH, MEND, NO_WALL, PLAN, Home

Make = Callable[..., Home]
SECRET = Label(Integrity.UNTRUSTED, Confidentiality.SECRET)

CALLS = {
    "a read": (["read_file", '{"path":"a"}'], False, UNTRUSTED, "allow", "all"),
    "harm by rule": (["rm -rf /"], False, UNTRUSTED, "deny", "rules"),
    "harm as words": (["git", "push", "--force", "origin", "main"], False, UNTRUSTED, "deny", "rules"),
    "not granted": (["git_push", "{}"], False, UNTRUSTED, "ask", "level"),
    "granted and named": (["git_push", "{}"], True, UNTRUSTED, "allow", "all"),
    "granted, with all three of the rule of two": (["git_push", "{}"], True, SECRET, "ask", "labels"),
    "a secret to nobody named": (["git_push", "{}"], False, SECRET, "deny", "labels"),
    "broken arguments": (["read_file", '{"pth":"a"}'], False, UNTRUSTED, "deny", "arguments"),
}


@pytest.mark.parametrize(("words", "has_task", "label", "verdict", "by"), CALLS.values(), ids=CALLS)
def test_the_verdict_is_the_gates_and_the_chain_says_who_decided(
    tmp_path: Path, words: list[str], has_task: bool, label: Label, verdict: str, by: str
) -> None:
    """The strictest of the chain is the verdict; nothing is recorded, reserved or asked."""
    bench = RunBench(tmp_path)
    with bench.session() as session:
        task = bench.task().task if has_task else None
        found = explain(session, words, task=task, label=label)
        assert (found.verdict, found.decided_by) == (verdict, by), found.reason
        if found.chain:
            assert strictest(said.decision for said in found.chain) == verdict
            assert [said.judge for said in found.chain] == ["level", "rules", "labels"]
        for table in ("audit", "events", "reservations", "approvals", "agents", "leases"):
            rows = session.store.read(lambda tx, name=table: tx.execute(f"SELECT count(*) FROM {name}"))  # type: ignore[misc]
            assert rows == [(0,)], table


def test_a_call_that_is_none_says_what_a_call_looks_like(tmp_path: Path) -> None:
    """A mistyped tool is named; an unknown run too."""
    with RunBench(tmp_path).session() as session:
        with pytest.raises(UserError, match="did you mean `read_file`"):
            explain(session, ["read_fil", "{}"])
        with pytest.raises(UserError, match="give a tool's name"):
            explain(session, [" "])
        with pytest.raises(ConfigError, match="no run"):
            explain(session, ["ls"], run="run-nope")


def test_the_chain_is_drawn_and_a_run_is_asked_about_as_it_stands(home: Make) -> None:
    """Level, rules and labels in order, the deciding one marked; a run's own task, branch and label count."""
    rules = '[[rule]]\nname = "no-echo"\ndecision = "ask"\nreason = "a person looks"\ncommand = ["echo"]\n'
    rules += 'match = ["echo hi"]\nnot_match = ["ls"]\n'
    there = home([PLAN, say("May I?", ("run_shell_command", {"command": "echo hi"})), MEND, FINISH])
    settings = (*NO_WALL, "--set", f"governance.rules_file={there.write('rules.toml', rules)}")
    assert there.ooda("run", there.task(), *settings).code == 75
    run = there.runs()[0]["run"]

    drawn = there.ooda("permissions", "explain", "echo \u202ehi", *settings).out
    assert "● rules   ask   no-echo · a person looks" in drawn
    assert "▼ ASKS A PERSON (rules): a person looks" in drawn
    assert "\u202e" not in drawn
    pushed = there.ooda("permissions", "explain", "git_push", "--run", run, "--json", *settings).json()
    assert (pushed["verdict"], pushed["grants"]) == ("allow", ["push_feature_branch"])
    assert pushed["targets"][1].startswith("feat/")
    unlabelled = there.ooda("permissions", "explain", "ls", "--label", "dubious")
    assert (unlabelled.code, "`trusted`, `tool` or `untrusted`" in unlabelled.err) == (2, True)

    shown = there.ooda("permissions", "show", "--task", there.task(), "--json").json()
    assert (shown["agent"], shown["level"]) == ("coding_agent", "sandbox_only")
    now = {row["operation"]: row["now"] for row in shown["operations"]}
    assert (now["push_feature_branch"], now["deploy_production"], now["stop_workspace"]) == ("granted", "no", "asks")
    assert "push_feature_branch" in there.ooda("permissions", "show").out
