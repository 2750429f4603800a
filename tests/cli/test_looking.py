"""Commands that look and change nothing: doctor, config, budget, audit; and how they look at a terminal."""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Callable

import pexpect
import pytest

from tests.cli.home import GOOD, Home

Make = Callable[..., Home]


def test_doctor_says_what_works_and_where_a_model_is_asked(home: Make) -> None:
    """Text for people, one object a check for programs."""
    there = home()
    found = {check["name"]: check for check in there.ooda("doctor", "--json", "--set", "sandbox.backend=none").json()}
    assert found["git"]["ok"]
    assert found["store"]["ok"]
    assert there.provider.url in found["model"]["detail"]
    assert found["settings"]["detail"].endswith("home/.config/ooda/config.toml")


def test_an_image_without_debootstrap_names_the_fix(home: Make) -> None:
    """Nothing is built, nothing is left behind, and the next command is in the sentence."""
    there = home()
    tools = there.folder / "bin"
    tools.mkdir()
    done = there.ooda("sandbox", "build-image", "--package", "jq", environ={"PATH": str(tools)})

    assert done.code == 1
    assert "debootstrap is not installed; as root on Debian: apt-get install -y debootstrap" in done.err
    assert not list((there.folder).rglob("rootfs"))


def test_doctor_without_a_sandbox_fails_and_names_the_fix(home: Make) -> None:
    """No bubblewrap on PATH, no Docker Engine: no run would be allowed."""
    there = home()
    tools = there.folder / "bin"
    tools.mkdir()
    (tools / "git").symlink_to("/usr/bin/git")
    bare = {"PATH": str(tools), "DOCKER_HOST": f"unix://{there.folder}/none.sock"}
    done = there.ooda("doctor", environ=bare)

    assert done.code == 1
    (line,) = [line for line in done.out.splitlines() if line.startswith("no  sandbox ")]
    assert "none works, so runs are refused" in line
    assert "→ install bubblewrap (`apt-get install bubblewrap`) or start a Docker Engine" in done.out
    run = there.ooda("run", there.task(), environ=bare)
    assert (run.code, run.out) == (1, "")
    assert "bubblewrap" in run.err
    assert there.provider.requests == []


def test_config_shows_each_setting_with_its_origin_and_no_secret(home: Make) -> None:
    """Command line before environment before file before default."""
    there = home()
    folder = there.folder / "home/.config/ooda"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text('[model]\nname = "from-file"\n[limits]\nsteps = 77\nrounds = 3\n')
    environ = {"OPENROUTER_API_KEY": "sk-or-very-secret", "OODA_LIMITS__STEPS": "88"}
    done = there.ooda("config", "show", "--json", "--set", "limits.rounds=4", environ=environ)

    rows = {row["name"]: (row["value"], row["origin"]) for row in done.json()}
    assert rows["model.name"] == ("from-file", f"user file {folder / 'config.toml'}")
    assert rows["limits.steps"] == ("88", "environment OODA_LIMITS__STEPS")
    assert rows["limits.rounds"] == ("4", "command line")
    assert rows["limits.tokens"][1] == "default"
    assert rows["providers.openrouter_api_key"] == ("**********", "environment OPENROUTER_API_KEY")
    assert "very-secret" not in done.out + there.ooda("config", "show", environ=environ).out


def test_budget_and_audit_of_a_run_and_a_row_that_was_changed(home: Make) -> None:
    """What was spent stands in every window; a doctored audit row is found, and named."""
    there = home(GOOD)
    assert there.run().code == 0
    run = there.runs()[0]["run"]
    spent = {row["scope"]: row["spent_tokens"] for row in there.ooda("budget", "show", "--json").json()}
    assert (spent["global"], spent[f"run:{run}"], spent["task:local/local/T-1"]) == (330, 330, 330)
    assert there.ooda("budget", "show").out.splitlines()[0].split()[:3] == ["scope", "window", "used"]

    intact = there.ooda("audit", "verify")
    assert intact.code == 0
    assert "rows, intact" in intact.out
    with sqlite3.connect(there.folder / "home/.local/share/ooda/ooda.db") as database:
        changed = database.execute("UPDATE audit SET reason = 'nothing to see' WHERE seq = 3").rowcount
    database.close()
    assert changed == 1
    found = there.ooda("audit", "verify", "--json")
    assert found.code == 1
    assert found.json()["findings"][0]["seq"] == 3
    assert "row 3: " in there.ooda("audit", "verify").out


@pytest.mark.parametrize(
    ("options", "environ", "is_coloured"),
    [
        ((), {}, True),
        ((), {"NO_COLOR": "1"}, False),
        (("--color", "always"), {"NO_COLOR": "1"}, True),
        (("--color", "never"), {}, False),
    ],
    ids=["terminal", "NO_COLOR", "always", "never"],
)
def test_colours_are_shown_at_a_terminal_unless_told(
    home: Make, options: tuple[str, ...], environ: dict[str, str], is_coloured: bool
) -> None:
    """A word on the command line comes before the environment's."""
    there = home()
    shown = pexpect.run(
        f"{sys.executable} -m ooda config show {' '.join(options)}",
        cwd=str(there.folder),
        env=there.environ | environ,
        timeout=60,
    )
    assert (b"\x1b[" in shown) is is_coloured


def test_a_reader_who_leaves_is_no_failure(home: Make) -> None:
    """`ooda config show | head -1` says nothing about a broken pipe."""
    there = home()
    read, write = os.pipe()
    os.close(read)
    process = there.start("config", "show", stdout=write)
    os.close(write)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, "")
