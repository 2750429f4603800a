"""`agents_config.json`, settings and environment: one policy, and a known order of who is heard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ooda.agents.steward import AllDay, Policy
from ooda.agents.steward.configuration import agents_config, policy_of, ttl_policy_of
from ooda.agents.steward.ttl import TtlPolicy
from ooda.config import load_settings
from ooda.errors import ConfigError

SAMPLE = {
    "quiet_hours": {
        "enabled": True,
        "start_time": "18:00",
        "end_time": "08:00",
        "timezone": "UTC",
        "grace_period_hours": 1,
        "excluded_users": ["admin", "on-call"],
        "excluded_templates": ["production", "critical"],
    },
    "ttl_monitor": {"enabled": True, "warning_threshold_hours": 1, "check_interval_minutes": 15},
    "autostop": {"enabled": True, "batch_size": 10, "notification_enabled": True},
    "notifications": {"email_enabled": False, "slack_webhook": "", "teams_webhook": ""},
}


def load(tmp_path: Path, overrides: dict[str, object] | None = None, **environ: str) -> Any:
    return load_settings(environ={"HOME": str(tmp_path), **environ}, cwd=tmp_path, overrides=overrides)


def test_the_requirements_file_is_the_defaults(tmp_path: Path) -> None:
    """The sample of the requirement, and no file at all, give the same policy."""
    config = agents_config(json.dumps(SAMPLE))
    assert config.mail is False
    settings = load(tmp_path, config.over({}, frozenset())).settings
    assert policy_of(settings) == policy_of(load(tmp_path).settings) == Policy()
    assert ttl_policy_of(settings) == TtlPolicy()
    assert settings.notify.slack_webhook_url is None


def test_environment_and_command_line_are_heard_before_the_file(tmp_path: Path) -> None:
    """Command line > environment > agents_config.json > defaults."""
    config = agents_config(
        json.dumps({"quiet_hours": {"start_time": "20:00", "end_time": "06:00", "grace_period_hours": 0.5}})
    )
    environ = {"QUIET_HOURS_START": "19:00"}
    stronger = frozenset(n for n, o in load(tmp_path, **environ).origins.items() if o.kind == "environment")
    overrides = config.over({"steward.quiet_hours.timezone": "Asia/Tokyo"}, stronger)
    policy = policy_of(load(tmp_path, overrides, **environ).settings)
    assert (policy.start, policy.end, policy.grace_minutes, policy.timezone) == ("19:00", "06:00", 30, "Asia/Tokyo")


def test_every_policy_field_can_be_set(tmp_path: Path) -> None:
    """Those the requirement does not know stand under `steward.policy`."""
    settings = load(
        tmp_path,
        {
            "steward.policy.tz_source": "owner",
            "steward.policy.days": "mon,tue",
            "steward.policy.all_day_weekdays": "sun",
            "steward.policy.all_day_dates": "2026-12-25",
            "steward.policy.skip_dates": "2026-12-31",
            "steward.policy.warn": "10m",
            "steward.policy.idle": "1h",
            "steward.policy.respect_activity": "false",
            "steward.policy.overdue_grace": "0s",
            "steward.policy.max_clock_skew": "1m",
            "steward.ttl_monitor.longest_ttl": "8h",
            "steward.ttl_monitor.require_deadline": "true",
        },
    ).settings
    assert policy_of(settings, excluded=("root", "admin")) == Policy(
        tz_source="owner",
        days=("mon", "tue"),
        all_day=AllDay(weekdays=("sun",), dates=("2026-12-25",)),
        skip_dates=("2026-12-31",),
        warn_minutes=10,
        idle_minutes=60,
        respect_activity=False,
        overdue_grace_minutes=0,
        max_clock_skew_s=60,
        excluded_users=("admin", "on-call", "root"),
    )
    asked = policy_of(settings, timezone="Europe/Berlin")
    assert (asked.timezone, asked.tz_source) == ("Europe/Berlin", "policy")
    assert ttl_policy_of(settings, soon_s=7_200) == TtlPolicy(soon_s=7_200, is_required=True, longest_s=28_800)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is no JSON"),
        ("[]", "expected an object with `quiet_hours`"),
        ('{"quiet_hour": {}}', "did you mean `quiet_hours`"),
        ('{"quiet_hours": []}', "expected an object"),
        ('{"quiet_hours": {"start": "18:00"}}', "did you mean `start_time`"),
        ('{"autostop": {"colour": 1}}', "known are `enabled`"),
        ('{"notifications": {"email_enabled": "yes"}}', "expected true or false"),
    ],
)
def test_mistakes_of_the_file_are_named(text: str, says: str) -> None:
    """With the nearest word that is known."""
    with pytest.raises(ConfigError) as caught:
        agents_config(text)
    assert says in str(caught.value)


def test_values_are_judged_as_settings_are(tmp_path: Path) -> None:
    """A value out of range is the setting's own complaint."""
    config = agents_config(
        '{"quiet_hours": {"grace_period_hours": -1}, "ttl_monitor": {"check_interval_minutes": NaN}}'
    )
    with pytest.raises(ConfigError, match=r"steward\.quiet_hours\.grace"):
        load(tmp_path, config.over({}, frozenset()))
