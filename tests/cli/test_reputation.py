"""`ooda reputation`: what a run did to its agent's record, and what a person says to it."""

from __future__ import annotations

from collections.abc import Callable

from tests.cli.home import GOOD, Home

Make = Callable[..., Home]


def test_a_record_is_shown_explained_and_decided_on(home: Make) -> None:
    """One run, its event, why there is no promotion yet, an appeal; each as text and as data."""
    there = home(GOOD)
    assert there.ooda("reputation", "show").out == "No agent is registered yet: the first run registers one.\n"
    assert there.run().code == 0

    (agent,) = there.ooda("reputation", "show", "--json").json()
    assert (agent["agent"], agent["score"], agent["permission_level"]) == ("coding_agent", 102, "sandbox_only")
    shown = there.ooda("reputation", "show", "coding").out
    assert "no promotion: it needs 10 checked successes at its level; it has 1" in shown
    refused = there.ooda("reputation", "promote", "coding", "staging_access", "--note", "I trust it")
    assert (refused.code, "cannot be promoted to staging_access now" in refused.err) == (3, True)
    wrong = there.ooda("reputation", "promote", "codin", "staging", "--note", "x")
    assert (wrong.code, "did you mean `staging_access`?" in wrong.err) == (2, True)

    (line,) = there.ooda("reputation", "history", "coding_agent", "--jsonl").lines()
    assert (line["event"]["kind"], line["delta"], line["score"]) == ("task_success", 2, 102)
    event = line["event"]["id"]
    done = there.ooda("reputation", "appeal", "coding", event, "--note", "the tests were switched off")
    assert done.out == "coding_agent: score 100, granted sandbox_only.\n"
    last = there.ooda("reputation", "history", "coding").out.splitlines()[-1]
    assert f"appeal_granted of {event} by " in last
    assert "the tests were switched off" in last
