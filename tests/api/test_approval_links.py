"""Answers by link: one named person, one question as it was shown, one answer, once; whatever else is refused."""

from __future__ import annotations

import asyncio
import http.client
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ooda.api.approval_links import answer_by_link, link_token, opened_link
from ooda.api.approval_server import PATH, answering
from ooda.api.people import answer_approval, waiting_for
from ooda.api.session import Session
from ooda.engines.local import Ending
from ooda.errors import ConfigError, RefusedError
from ooda.events import CallRefused, ToolReturned
from ooda.models.scripted import say
from ooda.store.approvals import Approval
from ooda.testing.runs import RunBench

RULES = """
[[rule]]
name = "echo-asks"
decision = "ask"
reason = "a person looks at every echo"
command = ["echo"]
match = ["echo hi"]
not_match = ["ls"]
"""
PLAN = say("Plan.", ("update_plan", {"steps": [{"description": "x"}], "files_to_modify": ["sums.py"]}))
ECHO = say("May I?", ("run_shell_command", {"command": "echo '<script>alert(1)</script>' p\u0430ypal"}))
MEND = say("Mend.", ("edit_file", {"path": "sums.py", "old": "a - b", "new": "a + b"}))
FINISH = say("Done.", ("finish", {"summary": "add() adds now."}))


@pytest.fixture
def bench(tmp_path: Path) -> RunBench:
    rules = tmp_path / "rules.toml"
    rules.write_text(RULES)
    return RunBench(tmp_path, settings={"sandbox.backend": "none", "governance.rules_file": str(rules)})


async def asked(bench: RunBench, session: Session) -> tuple[Ending, Approval]:
    """A run that waits for an answer."""
    ending = await bench.run(bench.task(), [PLAN, ECHO], session=session)
    (row,) = waiting_for(session)
    return ending, row


class Reply(msgspec.Struct):
    status: int
    headers: dict[str, str]
    text: str


async def ask(url: str, method: str = "GET", body: bytes = b"", **headers: str) -> Reply:
    """One request, from another thread, as a browser would."""
    parts = urlsplit(url)

    def work() -> Reply:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
        connection.request(method, parts.path, body or None, {k.replace("_", "-"): v for k, v in headers.items()})
        got = connection.getresponse()
        return Reply(got.status, {k.lower(): v for k, v in got.getheaders()}, got.read().decode())

    return await asyncio.to_thread(work)


FORM = {"content_type": "application/x-www-form-urlencoded"}


def buttons(page: Reply) -> dict[str, str]:
    return {word: token for token, word in re.findall(r'value="([^"]+)">([^<]+)</button>', page.text)}


async def test_a_link_shows_on_get_and_answers_on_post_once(bench: RunBench) -> None:
    """Opening it, twice, answers nothing; the button does, with the person's name; the run goes on."""
    with bench.session() as session:
        ending, row = await asked(bench, session)
        token = link_token(session, row.id, "ada@example.org")
        async with answering(session, "127.0.0.1", 0) as url:
            page = await ask(f"{url}{PATH}{token}")
            again = await ask(f"{url}{PATH}{token}")
            assert (page.status, again.status, len(waiting_for(session))) == (200, 200, 1)
            assert "&lt;script&gt;alert(1)" in page.text
            assert "<script" not in page.text
            assert "p\\u0430ypal" in page.text
            assert page.headers["cache-control"] == "no-store"
            assert page.headers["referrer-policy"] == "no-referrer"
            assert "form-action 'self'" in page.headers["content-security-policy"]

            chosen = urlencode({"answer": buttons(page)["Approve"], "note": "go on"}).encode()
            assert (await ask(f"{url}{PATH}{token}", "POST", chosen, **FORM)).status == 200
            twice = await ask(f"{url}{PATH}{token}", "POST", chosen, **FORM)
            assert (twice.status, "was answered before" in twice.text) == (403, True)
            assert "It was answered by ada@example.org (link): approve" in (await ask(f"{url}{PATH}{token}")).text
        done = await bench.resume(ending.state.run, [MEND, FINISH], session=session)
        assert done.status == "success"
        audit = session.store.read(
            lambda tx: tx.execute("SELECT actor, decision, reason FROM audit WHERE action = 'answer'")
        )
        assert audit == [("ada@example.org (link)", "approve", "go on")]


WRONG: dict[str, Callable[[str], tuple[str, str, bytes, dict[str, str], int]]] = {
    "another token": lambda token: ("GET", token[:-2] + "AA", b"", {}, 403),
    "no token": lambda token: ("GET", "", b"", {}, 403),
    "not base64": lambda token: ("GET", "%ff.%00", b"", {}, 403),
    "the link itself as the answer": lambda token: ("POST", token, urlencode({"answer": token}).encode(), FORM, 403),
    "no answer": lambda token: ("POST", token, b"", FORM, 403),
    "a word as the answer": lambda token: ("POST", token, b"answer=approve", FORM, 403),
    "json": lambda token: ("POST", token, b"{}", {"content_type": "application/json"}, 415),
    "from another site": lambda token: ("POST", token, b"answer=x", {**FORM, "sec_fetch_site": "cross-site"}, 403),
    "under another name": lambda token: ("GET", token, b"", {"host": "evil.example"}, 421),
    "put": lambda token: ("PUT", token, b"", {}, 405),
    "too long": lambda token: ("POST", token, b"answer=" + b"x" * 40_000, FORM, 413),
}


@pytest.mark.parametrize("make", WRONG.values(), ids=WRONG)
async def test_whatever_else_is_sent_answers_nothing(bench: RunBench, make: Any) -> None:
    """A page says why; the question waits on."""
    with bench.session() as session:
        _, row = await asked(bench, session)
        method, token, body, headers, status = make(link_token(session, row.id, "ada"))
        async with answering(session, "127.0.0.1", 0) as url:
            assert (await ask(f"{url}{PATH}{token}", method, body, **headers)).status == status
        assert len(waiting_for(session)) == 1


async def test_a_token_is_for_one_question_and_for_what_was_shown(bench: RunBench) -> None:
    """The answer of one does not open another; a text that was changed in the store is not answered."""
    with bench.session() as session:
        ending, first = await asked(bench, session)
        opened = opened_link(session, link_token(session, first.id, "ada"))
        answer_by_link(session, opened.tokens["reject"], "no")
        await bench.resume(ending.state.run, [ECHO], session=session)
        (second,) = waiting_for(session)
        with pytest.raises(RefusedError, match="never changed"):
            answer_by_link(session, opened.tokens["approve"], "")
        assert [row.id for row in waiting_for(session)] == [second.id]

        token = link_token(session, second.id, "ada")
        session.store.write_now(
            lambda tx: tx.change("UPDATE approvals SET shown = 'Allow nothing?' WHERE id = ?", (second.id,))
        )
        with pytest.raises(RefusedError, match="is not what the question says now"):
            opened_link(session, token)


async def test_two_people_at_once_and_one_answer_counts(bench: RunBench) -> None:
    """The second is told who was first."""
    with bench.session() as session:
        _, row = await asked(bench, session)
        links = [opened_link(session, link_token(session, row.id, name)) for name in ("ada", "bob")]
        answer_by_link(session, links[0].tokens["approve"], "")
        with pytest.raises(RefusedError, match=r"ada \(link\) answered `approve` before"):
            answer_by_link(session, links[1].tokens["stop"], "")
        with pytest.raises(RefusedError, match="does not wait any more: approve"):
            link_token(session, row.id, "eve")


async def test_a_link_expires_with_its_question_and_survives_a_restart(bench: RunBench) -> None:
    """A new session reads the same key; after the question's end the link is worth nothing."""
    with bench.session() as session:
        _, row = await asked(bench, session)
        token = link_token(session, row.id, "ada")
        key = session.places.config / "approvals.key"
        assert key.stat().st_mode & 0o777 == 0o600
    with bench.session() as session:
        assert opened_link(session, token).person == "ada"
        session.clock = Later(session.clock.now_ns() + 16 * 60 * 10**9)
        with pytest.raises(RefusedError, match="expired"):
            opened_link(session, token)


class Later:
    def __init__(self, now_ns: int) -> None:
        self._now_ns = now_ns

    def now_ns(self) -> int:
        return self._now_ns


async def test_a_changed_call_is_decided_anew(bench: RunBench) -> None:
    """`modify`: what the person writes is checked, canonical, and passes the gate itself: here a rule asks again."""
    with bench.session() as session:
        ending, row = await asked(bench, session)
        with pytest.raises(ConfigError, match="no arguments of `run_shell_command`"):
            answer_approval(session, row.id, "modify", "", arguments='{"comand": "ls"}')
        answer_approval(
            session, row.id, "modify", "list instead", arguments='{"command": "rm -rf / --no-preserve-root"}'
        )
        done = await bench.resume(ending.state.run, [MEND, FINISH], session=session)
        assert done.status == "success"
        audit = session.store.read(
            lambda tx: tx.execute("SELECT reason FROM audit WHERE action = 'refuse' AND decision = 'rule'")
        )
        assert len(audit) == 1
        assert "delete-root" in audit[0][0]


BOUND = {
    "run": "run-other",
    "call": "call-other",
    "tool": "read_file",
    "definition": "0" * 64,
    "arguments": '{"command":"echo bye"}',
    "targets": '["elsewhere"]',
    "policy": "0" * 64,
    "labels": "trusted/public",
    "shown": "Allow nothing?",
    "state": "reject",
}


@pytest.mark.parametrize("column", BOUND)
async def test_an_approval_is_good_for_nothing_but_what_was_approved(bench: RunBench, column: str) -> None:
    """Of another run, call, tool, definition, target or policy, replayed with other arguments, or given before the run
    read worse: it opens nothing, and the call is asked about again."""
    with bench.session() as session:
        ending, row = await asked(bench, session)
        answer_approval(session, row.id, "approve", "")
        session.store.write_now(
            lambda tx: tx.change(f"UPDATE approvals SET {column} = ? WHERE id = ?", (BOUND[column], row.id))
        )
        again = await bench.resume(ending.state.run, [MEND, FINISH], session=session)
        echoed = [e for e in bench.heard if isinstance(e, ToolReturned) and e.tool == "run_shell_command"]
        assert echoed == []
        if column == "state":  # a person's no: the model goes on otherwise
            assert again.status == "success"
        else:
            assert (again.status, len(waiting_for(session))) == ("waiting", 1)


async def test_an_approval_given_under_other_rules_is_asked_for_again(bench: RunBench) -> None:
    """The policy's version is part of it: rules that changed between answer and resumption count as they are now."""
    with bench.session() as session:
        ending, row = await asked(bench, session)
        answer_approval(session, row.id, "approve", "")
    Path(str(bench.settings["governance.rules_file"])).write_text(RULES.replace("every echo", "each echo"))
    with bench.session() as session:
        again = await bench.resume(ending.state.run, [MEND, FINISH], session=session)
        (second,) = waiting_for(session)
        assert again.status == "waiting"
        assert "each echo" in second.shown
    Path(str(bench.settings["governance.rules_file"])).write_text(RULES.replace('"ask"', '"deny"'))
    with bench.session() as session:
        answer_approval(session, second.id, "approve", "")
        denied = await bench.resume(ending.state.run, [MEND, FINISH], session=session)
        assert denied.status == "success"
        assert not [e for e in bench.heard if isinstance(e, ToolReturned) and e.tool == "run_shell_command"]
        assert [e.why for e in bench.heard if isinstance(e, CallRefused)] == ["rule"]


@pytest.fixture
async def session_with_question(bench: RunBench) -> AsyncIterator[tuple[Session, str]]:
    with bench.session() as session:
        _, row = await asked(bench, session)
        yield session, link_token(session, row.id, "ada")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(place=st.integers(0, 10_000), byte=st.integers(1, 255), cut=st.booleans())
def test_no_changed_token_opens_anything(
    session_with_question: tuple[Session, str], place: int, byte: int, cut: bool
) -> None:
    """Any other text than the token itself is refused."""
    session, token = session_with_question
    at = place % len(token)
    changed = token[:at] if cut else token[:at] + chr(ord(token[at]) ^ byte) + token[at + 1 :]
    if changed == token:
        return
    with pytest.raises(RefusedError):
        opened_link(session, changed)


WRITES = """
[[rule]]
name = "writes-ask"
decision = "ask"
reason = "a person looks at every new text"
tools = ["write_file"]
match = [{ tool = "write_file", path = "a", content = "b" }]
not_match = [{ tool = "read_file", path = "a" }]
"""
WRITE = say("Whole.", ("write_file", {"path": "README.md", "content": "# mine\n"}))


@pytest.mark.parametrize("is_changed", [False, True], ids=["as it was", "changed meanwhile"])
async def test_an_approved_write_is_bound_to_the_content_it_replaces(bench: RunBench, is_changed: bool) -> None:
    """The person is shown its hash; when the file is another by then, they are asked again, in another process too."""
    (bench.folder / "rules.toml").write_text(WRITES)
    with bench.session() as session:
        ending = await bench.run(bench.task(), [PLAN, WRITE], session=session)
        (row,) = waiting_for(session)
        assert "README.md: takes the place of 7 bytes, SHA-256 " in row.shown
        answer_approval(session, row.id, "approve", "")
        if is_changed:
            (session.places.run(ending.state.run).workspace / "README.md").write_text("# theirs\n")
    with bench.session() as session:
        again = await bench.resume(ending.state.run, [MEND, FINISH], session=session)
        asked_again = waiting_for(session)
    assert (again.status == "waiting", len(asked_again)) == ((True, 1) if is_changed else (False, 0))
    if is_changed:
        assert asked_again[0].id != row.id
        assert "takes the place of 9 bytes" in asked_again[0].shown
