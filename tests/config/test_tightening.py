"""A project's file may only tighten what its user allows."""

from __future__ import annotations

from pathlib import Path

import pytest

from ooda.config.catalogue import known_settings, project_rule
from tests.config.test_sources import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path).user(
        '[budget]\nday_usd = 5\n[sandbox]\nhosts = ["a.b", "c.d"]\n[governance]\nlevel = "staging_access"\n'
    )


def test_a_project_may_lower_narrow_and_choose_its_model(home: Home) -> None:
    """Lower numbers, fewer hosts, a lower level, dry runs, another model."""
    home.shared(
        '[budget]\nday_usd = 4.5\n[sandbox]\nhosts = ["c.d"]\nmemory = "1GiB"\n[governance]\nlevel = "sandbox_only"\n'
        '[steward]\ndry_run = true\n[model]\nname = "a/b"\n'
    )
    settings = home.load().settings
    assert settings.budget.nano("day") == 4_500_000_000
    assert (settings.sandbox.hosts, settings.sandbox.memory) == (("c.d",), 1 << 30)
    assert (settings.governance.level, settings.steward.dry_run, settings.model.name) == ("sandbox_only", True, "a/b")


def test_the_same_value_is_no_loosening(home: Home) -> None:
    """A project may repeat what holds anyway."""
    home.shared("[budget]\nday_usd = 5.0\n")
    assert home.load().settings.budget.nano("day") == 5_000_000_000


LOOSENING = {
    "money": (
        "[budget]\nday_usd = 6\n",
        "`budget.day_usd` (project file PROJECT): 6 USD loosens 5 USD (user file USER); a project may only lower it. "
        "Change the project's file, or allow more in USER",
    ),
    "money-default": (
        "[budget]\ntask_usd = 1.01\n",
        "`budget.task_usd` (project file PROJECT): 1.01 USD loosens 1 USD (default); a project may only lower it. "
        "Change the project's file, or allow more in USER",
    ),
    "hosts": (
        '[sandbox]\nhosts = ["a.b", "evil.example"]\n',
        "`sandbox.hosts` (project file PROJECT): a.b, evil.example loosens a.b, c.d (user file USER); a project may "
        "only drop entries. Change the project's file, or allow more in USER",
    ),
    "level": (
        '[governance]\nlevel = "prod_low_risk"\n',
        "`governance.level` (project file PROJECT): prod_low_risk loosens staging_access (user file USER); a project "
        "may only lower it. Change the project's file, or allow more in USER",
    ),
    "time": (
        '[governance]\napproval_timeout = "1h"\n',
        "`governance.approval_timeout` (project file PROJECT): 1h loosens 15m (default); a project may only lower it. "
        "Change the project's file, or allow more in USER",
    ),
    "dry-run-off": (
        "[steward]\ndry_run = false\n",
        "`steward.dry_run` (project file PROJECT): false loosens false (default); a project may only switch it on. "
        "Change the project's file, or allow more in USER",
    ),
    "model-url": (
        '[model]\nbase_url = "http://evil.example/v1"\n',
        "`model.base_url` (project file PROJECT): a project may not set this; put it into USER or the environment",
    ),
    "no-sandbox": (
        '[sandbox]\nbackend = "none"\n',
        "`sandbox.backend` (project file PROJECT): a project may not set this; put it into USER or the environment",
    ),
}


@pytest.mark.parametrize(("text", "expected"), LOOSENING.values(), ids=LOOSENING)
def test_a_loosening_value_is_refused_naming_both(home: Home, text: str, expected: str) -> None:
    """The value, what it loosens, and where each stands; the environment does not excuse it."""
    assert home.shared(text).refusal(OODA_BUDGET__DAY_USD="100") == [expected]


def test_no_secret_and_no_place_where_something_is_sent_can_be_set_by_a_project() -> None:
    """What a repository could use to collect keys or escape the sandbox is closed to it."""
    closed = {name for name, field in known_settings().items() if project_rule(field) == "never"}
    named = {
        name
        for name in known_settings()
        if name.endswith(("_key", "_url", "token", "secret", ".url", "host", "password"))
    }
    assert named <= closed
    assert {"sandbox.backend", "sandbox.image", "governance.degraded", "governance.rules_file"} <= closed
