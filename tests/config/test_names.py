"""Environment names: ours for every setting, and the documented names of others in one table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from ooda.config import model_environ
from ooda.config.aliases import ALIASES, QUIET_HOURS_KEYS, environ_name
from ooda.config.catalogue import known_settings, value_of
from tests.config.test_sources import Home

VALUES = {
    "OPENAI_BASE_URL": "http://127.0.0.1:1/v1",
    "OPENAI_API_BASE": "http://127.0.0.1:1/v1",
    "SUPABASE_URL": "https://x.supabase.co",
    "NATS_HTTP_URL": "http://localhost:8222",
    "CODER_URL": "https://coder.example",
    "DRY_RUN": "true",
    "FLEET_MCP_AUTH_ENABLED": "true",
    "QUIET_HOURS_START": "18:00",
    "QUIET_HOURS_END": "08:00",
    "GRACE_PERIOD_HOURS": "2",
    "AGENT_TIMEOUT": "10m",
    "AGENT_ALLOWED_TOOLS": "Read,Grep",
}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.mark.parametrize("variable", ALIASES)
def test_every_documented_name_sets_its_setting(home: Home, variable: str) -> None:
    """The origin names the variable as it was set."""
    alias = ALIASES[variable]
    environ: dict[str, Any] = {variable: VALUES.get(variable, "some-text")}
    loaded = home.load(**environ)
    assert str(loaded.origins[alias.setting]) == f"environment {variable}"
    value = value_of(loaded.settings, alias.setting)
    assert value not in (None, ())
    if isinstance(value, SecretStr):
        assert value.get_secret_value() == VALUES.get(variable, "some-text")


def test_our_own_name_comes_before_an_alias(home: Home) -> None:
    """And of two aliases the earlier one in the table wins."""
    loaded = home.load(CODER_URL="https://a.example", OODA_CODER__URL="https://b.example")
    assert loaded.settings.coder.url == "https://b.example"
    key = home.load(ANTHROPIC_API_KEY="first", CLAUDE_API_KEY="second").settings.providers.anthropic_api_key
    assert key is not None
    assert key.get_secret_value() == "first"


def test_hours_become_seconds(home: Home) -> None:
    """The required variable counts hours, whole or not; ours is a duration."""
    assert home.load(GRACE_PERIOD_HOURS="1.5").settings.steward.quiet_hours.grace == 5_400
    assert home.refusal(GRACE_PERIOD_HOURS="nan") == [
        "`steward.quiet_hours.grace` (environment GRACE_PERIOD_HOURS): found 'nan'; expected a duration such as "
        "`90s`, `15m`, `24h` or whole seconds"
    ]


def test_the_whole_of_quiet_hours_may_stand_in_one_variable(home: Home) -> None:
    """The required dictionary as JSON; a single variable comes before it."""
    config = (
        '{"start_time": "19:00", "end_time": "07:00", "timezone": "Europe/Berlin", "grace_period_hours": 2, '
        '"excluded_users": ["root"], "excluded_templates": [], "dry_run": true}'
    )
    loaded = home.load(QUIET_HOURS_CONFIG=config, QUIET_HOURS_END="06:30")
    steward = loaded.settings.steward
    assert steward.dry_run is True
    assert steward.quiet_hours.model_dump() == {
        "enabled": True,
        "start": "19:00",
        "end": "06:30",
        "timezone": "Europe/Berlin",
        "grace": 7_200,
        "excluded_users": ("root",),
        "excluded_templates": (),
    }
    assert str(loaded.origins["steward.quiet_hours.start"]) == "environment QUIET_HOURS_CONFIG"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "18-8",
            "environment QUIET_HOURS_CONFIG: expected a JSON object with `start_time`, `end_time`, `timezone`, "
            "`grace_period_hours`, `excluded_users`, `excluded_templates`, `enabled`, `dry_run`",
        ),
        (
            '{"start_tim": "18:00"}',
            "environment QUIET_HOURS_CONFIG: unknown key `start_tim`; did you mean `start_time`?",
        ),
        (
            '{"start_time": "25:00"}',
            "`steward.quiet_hours.start` (environment QUIET_HOURS_CONFIG): found '25:00'; expected a time of day such "
            "as `18:00`",
        ),
    ],
)
def test_a_bad_quiet_hours_object_is_told(home: Home, text: str, expected: str) -> None:
    """Not JSON, an unknown key, a value out of range."""
    assert home.refusal(QUIET_HOURS_CONFIG=text) == [expected]


def test_the_tables_name_only_settings_that_exist() -> None:
    """And every setting has a name of its own in the environment."""
    stands_for = {alias.setting for alias in (*ALIASES.values(), *QUIET_HOURS_KEYS.values())}
    assert stands_for <= set(known_settings())
    own = [environ_name(name) for name in known_settings()]
    assert len(own) == len(set(own))
    assert environ_name("steward.quiet_hours.start") == "OODA_STEWARD__QUIET_HOURS__START"


def test_model_settings_go_back_under_their_environment_names(home: Home) -> None:
    """A key from a file has to count like one from the environment, and never under two names."""
    home.user('[providers]\nopenai_api_key = "from-file"\n[model]\nbase_url = "http://127.0.0.1:8000/v1"\n')
    settings = home.load(CLAUDE_API_KEY="claude").settings
    environ = {
        "PATH": "/bin",
        "CLAUDE_API_KEY": "claude",
        "OPENAI_API_KEY": "",
        "OODA_PROVIDERS__OPENAI_API_KEY": "old",
    }
    assert model_environ(settings, environ) == {
        "PATH": "/bin",
        "ANTHROPIC_API_KEY": "claude",
        "OPENAI_API_KEY": "from-file",
        "OODA_MODEL__BASE_URL": "http://127.0.0.1:8000/v1",
    }
