"""`config show`: every setting with its value and origin; secrets masked everywhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from ooda.amounts import NANO
from ooda.config import SettingRow, Settings, describe, load_settings, reference
from ooda.config.catalogue import is_secret, known_settings
from ooda.errors import ConfigError
from ooda.events import Limits
from tests.config.test_sources import Home


def test_every_setting_has_a_row_with_value_and_origin(tmp_path: Path) -> None:
    """Values as a person would write them."""
    loaded = Home(tmp_path).user("[sandbox]\nmemory = '4GiB'\n").load(OPENROUTER_API_KEY="sk-or-1", DRY_RUN="yes")
    rows = {row.name: row for row in describe(loaded)}
    assert list(rows) == list(known_settings())
    shown = {
        "limits.wall_clock": ("24h", "default"),
        "budget.task_usd": ("1 USD", "default"),
        "sandbox.memory": ("4GiB", f"user file {tmp_path}/home/.config/ooda/config.toml"),
        "sandbox.hosts": ("none", "default"),
        "steward.quiet_hours.excluded_users": ("admin, on-call", "default"),
        "steward.dry_run": ("true", "environment DRY_RUN"),
        "store.url": ("not set", "default"),
        "providers.openrouter_api_key": ("**********", "environment OPENROUTER_API_KEY"),
    }
    assert {name: rows[name] for name in shown} == {name: SettingRow(name, *cells) for name, cells in shown.items()}


_SECRETS = [name for name, field in known_settings().items() if is_secret(field)]


_LISTS = ("redaction.extra_values", "notify.webhook_old_secrets")


@settings(deadline=None)
@given(
    name=st.sampled_from(_SECRETS),
    secret=st.text(st.characters(codec="utf-8", exclude_characters=",", exclude_categories=["C", "Z"])).map(
        "hunter2-".__add__
    ),
    mistake=st.booleans(),
)
def test_no_secret_is_shown_in_rows_reprs_and_errors(name: str, secret: str, mistake: bool) -> None:
    """Whether the settings load or not."""
    overrides = {name: [secret] if name in _LISTS else secret}
    if mistake:
        overrides |= {"limits.steps": "x", f"{name}x": secret, "mcp": secret}
    try:
        loaded = load_settings(environ={"HOME": "/nonexistent"}, cwd=Path("/"), overrides=overrides)
        said = f"{describe(loaded)!r} {loaded!r} {loaded.settings!r} {loaded.settings.model_dump_json()}"
    except ConfigError as error:
        said = f"{error} {error!r} {error.problems!r} {error.__context__!s} {error.__cause__!s}"
    assert secret not in said


def test_what_carries_a_secret_is_a_secret() -> None:
    """Database, Redis, NATS and webhook addresses hold passwords or signatures."""
    assert {"store.url", "governance.redis_url", "telemetry.nats_url", "notify.slack_webhook_url"} <= set(_SECRETS)
    assert all(
        field.annotation == SecretStr | None for name, field in known_settings().items() if name.endswith("_key")
    )


def test_every_setting_is_described(tmp_path: Path) -> None:
    """Type in words, description, environment name: what the reference needs."""
    for entry in reference():
        assert entry.description.endswith("."), entry.name
        assert entry.allowed != "a value", entry.name
        assert entry.environ[0].startswith("OODA_"), entry.name


def test_defaults_are_safe_and_small() -> None:
    """No network, lowest level, a real sandbox, one dollar a task, nothing sent anywhere."""
    settings = Settings()
    assert settings.limit_defaults() == Limits()
    assert [settings.budget.nano(window) for window in ("task", "hour", "day", "total")] == [
        NANO,
        2 * NANO,
        10 * NANO,
        100 * NANO,
    ]
    assert (settings.governance.level, settings.governance.degraded) == (None, "fail_closed")
    assert (settings.governance.approval_timeout, settings.sandbox.command_timeout) == (900, 120)
    assert (settings.sandbox.backend, settings.sandbox.hosts) == ("auto", ())
    assert settings.steward.stops_per_minute == 10
    assert [
        name
        for name, row in ((row.name, row) for row in reference())
        if is_secret(known_settings()[name]) and row.default not in ("not set", "none")
    ] == []


def test_settings_are_frozen() -> None:
    """Built once, passed down."""
    with pytest.raises(Exception, match="frozen"):
        Settings().limits.steps = 1  # type: ignore[misc]
