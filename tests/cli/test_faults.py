"""Providers, remotes and repositories that misbehave: a documented status, one sentence, nothing half done."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime

import pytest

from ooda.models.scripted import say
from ooda.models.select import LOCAL_PORTS
from ooda.testing.provider import (
    Behaviour,
    ScriptedProvider,
    broken,
    busy,
    cut_off,
    declined,
    empty,
    garbled,
    held,
    hung_up,
    silent,
    twin_calls,
)
from tests.cli.home import FINISH, GOOD, MEND, NO_WALL, PLAN, Home, ended

Make = Callable[..., Home]


def test_a_provider_with_a_bad_day_costs_patience_and_nothing_else(home: Make) -> None:
    """429, 500, a connection cut before and inside a reply, JSON that breaks off, an empty reply, ids used twice, bad
    arguments and an unknown tool, all in one run: it ends as if nothing had been."""
    confused = say("Hm.", ("edit_fiel", {"path": "sums.py"}), ("read_file", '{"path": '))
    twins = twin_calls(say("Twice.", ("read_file", {"path": "sums.py"}), ("read_file", {"path": "README.md"})))
    first, then = (hung_up(), PLAN, busy(0.2), twins), (broken(500), empty(), cut_off(MEND), confused, garbled(MEND))
    there = home([*first, *then, MEND, FINISH])
    done = there.run()

    assert done.code == 0
    for said in (
        "answered 429, saying 'Rate limit reached'; it asks to wait 0 s; again in",
        "answered 500, saying 'The server had an error'; again in",
        "the connection closed before a reply came; again in",
        "a truncated reply: the connection closed before the reply was complete; again in",
        "no chat completion (Input data was truncated); again in",
        "told the model: Your reply was empty.",
        "edit_fiel refused (unknown_tool): There is no tool `edit_fiel`. Did you mean `edit_file`?",
        "read_file refused (arguments): the arguments are not valid JSON",
        "read_file ✓ [sums.py",
        "read_file ✓ [README.md",
    ):
        assert said in done.err
    ids = [call["id"] for m in there.provider.requests[-1]["messages"] for call in m.get("tool_calls", ())]
    assert len(set(ids)) == len(ids)
    assert len(there.commits()) == 1


PATIENT = ("--set", "model.attempts=2")
ENDS: dict[str, tuple[tuple[Behaviour, ...], tuple[str, ...], int, str]] = {
    "busy": (
        (busy(0.1),) * 2,
        PATIENT,
        6,
        "answered 429, saying 'Rate limit reached'; it asks to wait 0 s (2 attempts",
    ),
    "failing": (
        (broken(500),) * 2,
        PATIENT,
        6,
        "answered 500, saying 'The server had an error' (2 attempts",
    ),
    "timeout": ((silent(),), ("--set", "model.first_byte_timeout=1", "--set", "model.attempts=1"), 6, "no reply began"),
    "truncated": (
        (cut_off(PLAN),) * 3,
        ("--set", "model.attempts=1"),
        1,
        "3 unusable replies in a row. The last one: ",
    ),
    "refusal": (
        (declined("I cannot help with that."),),
        (),
        1,
        "declined to answer (refusal): I cannot help with that.",
    ),
}


@pytest.mark.parametrize("fault", ENDS)
def test_a_provider_that_stays_bad_ends_the_run_which_can_be_resumed(home: Make, fault: str) -> None:
    """Once it is well again the same run goes on where it was."""
    script, settings, code, said = ENDS[fault]
    there = home(script)
    done = there.run(*settings)

    assert done.code == code
    assert said in done.out.splitlines()[0]
    assert there.provider.url in done.out or fault == "refusal"
    assert there.commits() == []

    there.provider.then(*GOOD)
    run = next(line.split()[1] for line in done.out.splitlines() if line.startswith("  run "))
    again = there.ooda("runs", "resume", run, *NO_WALL, "-q")
    assert (again.code, len(there.commits())) == (0, 1)


def test_a_prompt_that_outgrew_the_window_is_compacted_and_the_run_goes_on(home: Make) -> None:
    """The provider says so, the old turns make room, and the run replays over the same cut."""
    too_long = broken(400, "This model's maximum context length is 8192 tokens, your messages resulted in 9000 tokens.")
    looks = [
        say(f"Look {last}.", ("read_file", {"path": "sums.py", "start_line": 1, "end_line": last}))
        for last in range(1, 9)
    ]
    there = home([PLAN, *looks, too_long, MEND, FINISH])
    done = there.run()

    assert (done.code, len(there.commits())) == (0, 1)
    assert "prompt compacted: the model's window overflowed" in done.err
    refused, answered = (len(asked["messages"]) for asked in there.provider.requests[-3:-1])
    assert answered < refused
    assert "no divergence" in there.ooda("runs", "replay", there.runs()[0]["run"]).out


def test_another_model_answers_while_the_first_is_down(home: Make) -> None:
    """One request goes to the fallback; the next one is asked of the run's own model again."""
    there = home([PLAN, broken(503), broken(503), MEND, FINISH])
    done = there.run("--set", "model.fallbacks=second", *PATIENT)

    assert (done.code, len(there.commits())) == (0, 1)
    asked = [request["model"] for request in there.provider.requests]
    assert asked == ["scripted", "scripted", "scripted", "second", "scripted"]


def test_an_endpoint_nobody_listens_at_is_told_within_seconds(home: Make) -> None:
    """Offline is an error, never a hang."""
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody else can answer there
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        done = home().run("--base-url", url)

    assert done.code == 6
    assert f"`scripted` at {url} gave no reply: no connection" in done.out
    assert "3 attempts in" in done.out


def test_without_a_provider_it_says_what_to_set_and_what_works_without(home: Make) -> None:
    """Servers on this machine are named, the demo is offered; nothing is recorded."""
    there = home()
    free = next(port for port in LOCAL_PORTS if _is_free(port))
    with ScriptedProvider(model="llama-here", port=free) as local:
        done = there.ooda("run", there.task(), *NO_WALL, environ={"OODA_MODEL__BASE_URL": ""})

    assert (done.code, done.out) == (6, "")
    for said in ("OPENROUTER_API_KEY", "OODA_MODEL__BASE_URL", f"{local.url} (llama-here)", "`ooda demo`"):
        assert said in done.err
    assert (there.runs(), list((there.folder / "home").rglob("run-*"))) == ([], [])


def _is_free(port: int) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.parametrize(
    ("url", "said"),
    [("https://gateway.invalid/v1", "set OODA_MODEL__API_KEY"), ("https://api.openai.com/v1", "set OPENAI_API_KEY")],
)
def test_a_missing_key_is_named_by_its_variable(home: Make, url: str, said: str) -> None:
    """For the host that would be asked; `ooda demo` needs none."""
    there = home()
    done = there.ooda("run", there.task(), *NO_WALL, environ={"OODA_MODEL__BASE_URL": url})

    assert (done.code, done.out) == (6, "")
    assert said in done.err
    assert "`ooda demo`" in done.err


def test_a_model_without_a_price_is_refused_with_the_line_to_add(home: Make) -> None:
    """Money is capped, and nobody knows what it would cost."""
    there = home()
    environ = {"OODA_MODEL__BASE_URL": "https://gateway.invalid/v1", "OODA_MODEL__API_KEY": "sk-none-whatever"}
    done = there.ooda("run", there.task(), *NO_WALL, environ=environ)

    assert (done.code, done.out) == (2, "")
    assert "no known price" in done.err
    assert '"scripted" = { input' in done.err


REPOSITORIES = {
    "wrong branch": ({"a.txt": "a"}, {"branch": "mian"}, "clone: ", "`main`"),
    "empty": ({}, {}, "clone: ", "empty"),
    "none": ({"a.txt": "a"}, {"remote_url": "/nowhere/at/all.git"}, "clone: ", "Check repository.remote_url"),
}


@pytest.mark.parametrize("repository", REPOSITORIES)
def test_a_repository_nothing_can_start_from_fails_before_a_model_is_asked(home: Make, repository: str) -> None:
    """One sentence with what there is and what to change."""
    files, changes, where, said = REPOSITORIES[repository]
    there = home(files=files)
    given = {"remote_url": str(there.bench.remote), "branch": "main", **changes}
    done = there.run(repository=given)

    assert done.code == 1
    assert done.out.startswith(f"failed: {where}")
    assert said in done.out.splitlines()[0]
    assert there.provider.requests == []


def test_a_branch_that_was_missing_is_found_by_the_same_run_once_it_is_there(home: Make) -> None:
    """Nothing of the failed clone is in the way."""
    there = home(GOOD)
    given = {"remote_url": str(there.bench.remote), "branch": "mian"}
    assert there.run(repository=given).code == 1
    there.bench.git("branch", "mian", "main")

    again = there.ooda("runs", "resume", there.runs()[0]["run"], *NO_WALL)
    assert (again.code, len(there.commits())) == (0, 1)


def test_a_repository_that_was_empty_is_cloned_by_the_same_run_once_it_is_not(
    home: Make, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The first commit comes from somewhere else meanwhile."""
    there = home(GOOD, files={})
    assert there.run().code == 1
    with Home(tmp_path_factory.mktemp("elsewhere")) as elsewhere:
        elsewhere.bench.git("push", "--quiet", str(there.bench.remote), "main")

    again = there.ooda("runs", "resume", there.runs()[0]["run"], *NO_WALL)
    assert (again.code, len(there.commits())) == (0, 1)


def test_a_push_the_remote_rejects_fails_and_is_made_when_it_no_longer_does(home: Make) -> None:
    """The commit is kept; resuming pushes that one."""
    there = home(GOOD)
    hook = there.bench.remote / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho no pushes on Fridays >&2\nexit 1\n")
    hook.chmod(0o755)
    done = there.run()
    assert done.code == 1
    assert "push: " in done.out
    assert "no pushes on Fridays" in done.out
    assert there.commits() == []

    hook.unlink()
    again = there.ooda("runs", "resume", there.runs()[0]["run"], *NO_WALL)
    assert again.code == 0
    assert len(there.commits()) == 1
    assert len(there.provider.requests) == 3


def test_a_branch_somebody_else_pushed_meanwhile_is_left_as_it_is(home: Make) -> None:
    """Never by force: the run fails and says so, and pushes the same commit once the branch is out of the way."""
    gate = threading.Event()
    there = home([PLAN, MEND, held(FINISH, gate)])
    process = there.start("run", there.task(), *NO_WALL)
    there.provider.wait_for(3)
    branch = f"feat/{datetime.now(UTC):%Y%m%d}-make-add-add"
    theirs = there.bench.git("commit-tree", "-p", "main", "-m", "Theirs", "main^{tree}").strip()
    there.bench.git("update-ref", f"refs/heads/{branch}", theirs)
    gate.set()
    done = ended(process)

    assert done.code == 1
    assert done.out.startswith("failed: push: ")
    assert "Nothing was pushed" in done.out.splitlines()[0]
    assert there.bench.git("rev-parse", branch).strip() == theirs
    again = there.ooda("runs", "resume", there.runs()[0]["run"], *NO_WALL)
    assert (again.code, there.bench.git("rev-parse", branch).strip()) == (1, theirs)

    there.bench.git("branch", "--move", branch, "theirs")
    last = there.ooda("runs", "resume", there.runs()[0]["run"], *NO_WALL)
    assert last.code == 0
    assert there.bench.git("rev-list", "--count", f"main..{branch}").strip() == "1"
    assert len(there.provider.requests) == 3
