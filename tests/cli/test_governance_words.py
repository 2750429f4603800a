"""Mistakes at the commands of governance: what was given, what was expected, what to do next; never a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from ooda.cli.main import main

BAD: dict[str, tuple[tuple[str, ...], int, str]] = {
    "a port that is none": (("approvals", "serve", "--port", "99999"), 2, "'99999' is no port; expected 0 to 65535"),
    "a limit below one": (("budget", "history", "--limit", "0"), 2, "'0' is no number of entries; expected 1 or more"),
    "a limit in words": (("reputation", "history", "coding", "--limit", "few"), 2, "'few' is no number of entries"),
    "a scope nobody spent in": (("budget", "history", "agent:x"), 2, "nothing was spent by 'agent:x'"),
    "a cap of another shape": (
        ("budget", "show", "--set", 'budget.caps=["agent week 1 USD"]'),
        2,
        "`budget.caps[0]` (command line): found 'agent week 1 USD'; expected a cap such as",
    ),
    "several caps, one wrong": (
        ("budget", "show", "--set", "budget.caps=global day 1 USD, agent day -1 USD"),
        2,
        "`budget.caps[1]` (command line): found 'agent day -1 USD'",
    ),
    "a tool with broken JSON": (("permissions", "explain", 'write_file {"path'), 0, "not valid JSON"),
    "a tool and its arguments as one word": (
        ("permissions", "explain", 'read_file {"path": "x"}'),
        0,
        "read_file · read_workspace",
    ),
    "an unknown question": (("approvals", "show", "apr-1"), 2, "`ooda approvals list` shows those that wait"),
    "changed arguments from nowhere": (
        ("approvals", "answer", "apr-1", "--modify", "/nowhere.json"),
        2,
        "`--modify /nowhere.json` cannot be read",
    ),
    "an unknown level": (("permissions", "explain", "--label", "secret", "ls"), 2, "label"),
    "nothing spent": (("budget", "history"), 0, "Nothing was spent yet."),
    "books that agree": (("budget", "check"), 0, "budget: 0 windows, 0 reservations, they agree"),
    "an audit without an anchor": (("audit", "verify"), 0, "audit.anchors"),
}


@pytest.mark.parametrize(("words", "code", "said"), BAD.values(), ids=BAD)
def test_a_mistake_is_answered_in_words(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    """With the documented exit code."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    try:
        ended = main(list(words))
    except SystemExit as exit_:
        ended = int(str(exit_.code))
    out = capsys.readouterr()
    assert said in out.out + out.err
    assert ended == code
